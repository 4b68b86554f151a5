"""The garbage collector: it waits while a server starts, and afterwards works as before."""

import gc
from collections.abc import Iterator

import pytest

from enfilade import MCPApp, launch
from enfilade.startup import gc_pause


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    gc.enable()
    gc.set_threshold(*before)
    gc_pause._saved_thresholds.clear()
    if not frozen:
        gc.unfreeze()


def test_it_waits_and_goes_on() -> None:
    before = gc.get_threshold()
    gc_pause.pause()
    gc_pause.pause()
    assert gc.isenabled()
    assert gc.get_threshold()[0] >= 100_000
    gc_pause.resume()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() > 1000
    gc.unfreeze()
    gc_pause.resume()
    assert gc.get_freeze_count() < 1000


def test_one_that_is_off_stays_off() -> None:
    gc.disable()
    gc_pause.pause()
    gc_pause.resume()
    assert not gc.isenabled()


def test_what_somebody_else_decides_meanwhile_stands() -> None:
    gc_pause.pause()
    gc.set_threshold(5000)
    gc_pause.resume()
    assert gc.get_threshold()[0] == 5000


@pytest.mark.parametrize("fails", [False, True])
def test_run_leaves_it_as_it_was(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    app = MCPApp()
    seen: list[int] = []

    def serve(*_: object, **__: object) -> None:
        seen.append(gc.get_threshold()[0])
        if fails:
            raise OSError

    monkeypatch.setattr(launch, "launch", serve)
    try:
        app.run("http")
    except OSError:
        assert fails
    assert seen == [100_000]
    assert gc.get_threshold() == before
