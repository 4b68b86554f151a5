"""Files of ended workers are merged, and a scrape at any moment counts each of them once."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from enfilade.telemetry.prometheus import ended
from enfilade.telemetry.prometheus.ended import SharedMetrics, merge_ended
from support.telemetry.scrape import Scrape


def worker_file(folder: Path, pid: int, calls: float, size: int = 1) -> None:
    """Write what a worker leaves behind."""
    file: Any = MmapedDict(str(folder / f"counter_{pid}.db"))  # type: ignore[no-untyped-call]
    for number in range(size):
        file.write_value(mmap_key("calls", "calls_total", ["n"], [str(number)], "help"), calls, 0.0)  # type: ignore[no-untyped-call]
    file.close()


def total(folder: Path) -> float:
    registry = CollectorRegistry()
    registry.register(SharedMetrics(str(folder)))
    return Scrape(generate_latest(registry).decode()).total("calls_total", n="0")


def test_the_number_of_files_does_not_grow(tmp_path: Path) -> None:
    worker_file(tmp_path, 1, 5)
    for pid in range(2, 30):
        worker_file(tmp_path, pid, 1, size=2000)  # more than one page
        assert total(tmp_path) == 5 + pid - 1
        merge_ended(tmp_path, pid)
        assert total(tmp_path) == 5 + pid - 1
    assert len(list(tmp_path.glob("*.db"))) == 2  # that of the living worker, and the merged one


def test_a_worker_without_files_changes_nothing(tmp_path: Path) -> None:
    worker_file(tmp_path, 1, 5)
    merge_ended(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


def test_a_scrape_within_each_step_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    replace, merge = ended._replace_index, ended._merge

    def looking_replace(folder: Path, index: dict[str, Any]) -> None:
        replace(folder, index)
        seen.append(total(folder))

    def looking_merge(*arguments: Any) -> None:
        merge(*arguments)
        seen.append(total(tmp_path))

    monkeypatch.setattr(ended, "_replace_index", looking_replace)
    monkeypatch.setattr(ended, "_merge", looking_merge)
    for pid in (1, 2, 3):
        worker_file(tmp_path, pid, 10)
    merge_ended(tmp_path, 1)
    merge_ended(tmp_path, 2)
    assert seen == [30.0] * 6
    assert json.loads((tmp_path / "ended.json").read_text()) == {"number": 2, "left_out": []}
    worker_file(tmp_path, 1, 7)  # another process with the id of the first
    assert total(tmp_path) == 37
