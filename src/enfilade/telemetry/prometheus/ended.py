"""Files of ended workers, merged into one of each type: else a server whose workers come and go gets ever slower.

A scrape may come at any moment, and must count nothing twice: a total that falls looks like a restart. So a file
says which merged files count and which files of workers do not count any more; it is replaced as a whole before
any other file is removed. A scrape that meets a file which has just been removed begins again.
"""

import glob
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: The types that add up; gauges end with their worker.
_TYPES: Final = ("counter", "histogram", "summary")
_INDEX: Final = "ended.json"
_ENDED: Final = "_ended"


class SharedMetrics(Collector):
    """Reads the metrics of all processes that share a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Return the totals.

        Raises:
            OSError, RuntimeError, struct.error: a file was removed, or is being made.
        """
        return MultiProcessCollector.merge(_files(self._folder))  # type: ignore[no-untyped-call,no-any-return]


def merge_ended(folder: Path, pid: int) -> None:
    """Add the counts of an ended worker to the merged ones, and remove its files.

    Raises:
        OSError: the files cannot be read or written; its own still count then.
    """
    index = _index(str(folder))
    number = index["number"] + 1
    own = [f"{kind}_{pid}.db" for kind in _TYPES if (folder / f"{kind}_{pid}.db").exists()]
    if not own:
        return
    earlier = [f"{kind}{_ENDED}{number - 1}.db" for kind in _TYPES]
    for kind, before in zip(_TYPES, earlier, strict=True):
        sources = [folder / name for name in (before, f"{kind}_{pid}.db") if (folder / name).exists()]
        if sources:
            _merge(sources, folder / f"{kind}{_ENDED}{number}.db")
    _replace_index(folder, {"number": number, "left_out": own})
    for name in (*own, *earlier):
        (folder / name).unlink(missing_ok=True)
    _replace_index(folder, {"number": number, "left_out": []})  # another process may get the id


def _merge(sources: Iterable[Path], target: Path) -> None:
    totals: dict[str, float] = {}
    for source in sources:
        values: Any = MmapedDict.read_all_values_from_file(str(source))  # type: ignore[no-untyped-call]
        for key, value, _, _ in values:
            totals[key] = totals.get(key, 0.0) + value
    target.unlink(missing_ok=True)  # of an attempt that failed
    merged: Any = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    for key, value in totals.items():
        merged.write_value(key, value, 0.0)
    merged.close()


def _files(folder: str) -> list[str]:
    """Return the files that count."""
    index = _index(folder)
    left_out = set(index["left_out"])
    merged = {f"{kind}{_ENDED}{index['number']}.db" for kind in _TYPES}
    names = [os.path.basename(path) for path in glob.glob(os.path.join(glob.escape(folder), "*.db"))]
    counting = [name for name in names if name in merged or (_ENDED not in name and name not in left_out)]
    return [os.path.join(folder, name) for name in counting]


def _index(folder: str) -> dict[str, Any]:
    try:
        with open(os.path.join(folder, _INDEX), encoding="utf-8") as file:
            index: dict[str, Any] = json.load(file)
            return index
    except FileNotFoundError:
        return {"number": 0, "left_out": []}


def _replace_index(folder: Path, index: dict[str, Any]) -> None:
    new = folder / f"{_INDEX}.new"
    new.write_text(json.dumps(index), encoding="utf-8")
    os.replace(new, folder / _INDEX)
