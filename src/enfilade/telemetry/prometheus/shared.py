"""Metrics of several workers: files in a folder, from which any of them, or their parent, answers for all.

The files are those of `prometheus_client`: it maps them into memory, so a worker that is killed leaves behind
what it has counted. The library decides when it is imported whether it uses them, by a variable of the
environment, which therefore has to be there when a worker starts. Gauges of a worker end with it.

Easy to get wrong: who cleans up. A folder that this process made is removed with the last of its workers. One
that the variable named before, as under another process manager, is left to whoever named it.
"""

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

from enfilade.telemetry.prometheus import definitions
from enfilade.telemetry.prometheus.ended import merge_ended
from enfilade.telemetry.prometheus.exposition import FOLDER_VARIABLE

log = logging.getLogger("enfilade")


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Let the processes that are started within the block share metrics by a folder."""
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(FOLDER_VARIABLE, None)


class WorkerDeaths:
    """Counts workers that died, ends their gauges and keeps their counts; for the parent of workers.

    Args:
        folder: that of the metrics.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        if died:
            self._deaths.inc()
        try:
            mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
            if pid is not None:
                merge_ended(self._folder, pid)
        except (OSError, RuntimeError, struct.error) as error:
            log.warning("the metrics of worker %s stay in files of their own: %s", pid, error)
