"""Metrics of several workers: files in a folder, from which any of them, or their parent, answers for all.

The files are those of `prometheus_client`: it maps them into memory, so a worker that is killed leaves behind
what it has counted. The library decides when it is imported whether it uses them, by a variable of the
environment, which therefore has to be there when a worker starts. Gauges of a worker end with it.

Easy to get wrong: who cleans up. A folder that this process made is removed with the last of its workers. One
that the variable named before, as under another process manager, is left to whoever named it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

from enfilade.telemetry.prometheus import definitions
from enfilade.telemetry.prometheus.exposition import FOLDER_VARIABLE


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Let the processes that are started within the block share metrics by a folder."""
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(FOLDER_VARIABLE, None)


class WorkerDeaths:
    """Counts workers that died, and ends their gauges; for the parent, which has no other metrics."""

    def __init__(self) -> None:
        usual = values.ValueClass
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # the parent may not share
        try:
            self._deaths = definitions.counter(definitions.DEATHS)
        finally:
            values.ValueClass = usual

    def ended(self, pid: int | None, died: bool) -> None:
        """Note the end of a worker.

        Args:
            pid: of its process.
            died: whether it was not told to stop.
        """
        with suppress(OSError):  # somebody else has removed them
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        if died:
            self._deaths.inc()
