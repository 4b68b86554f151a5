"""Where the folder lies that workers share, and when it goes; killed servers are in `test_workers.py`."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from enfilade.state import private_folder as module
from enfilade.state.private_folder import candidate_folders, private_folder
from enfilade.timings import Timings
from support.servers.processes import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other places and locks are used there")

HOLDER = "import sys, pathlib; from enfilade.state.private_folder import hold; hold(pathlib.Path(sys.argv[1])); "


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path


@pytest.mark.skipif(sys.platform == "darwin", reason="it is in the Library there")
def test_it_lies_where_state_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_folder() as folder:
        assert folder.parent == home / "state" / "enfilade"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which counts as not set
    assert candidate_folders()[0] == home / "home" / ".local" / "state" / "enfilade"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    assert candidate_folders()[1] == home / "enfilade"


def test_it_lies_elsewhere_if_that_place_cannot_be_used(home: Path) -> None:
    (home / "state").write_text("a file, where a folder should be", encoding="utf-8")
    (home / "home").write_text("and here", encoding="utf-8")
    with private_folder() as folder:
        assert folder.parent == home / "temporary" / f"enfilade-{os.getuid()}"


def test_a_place_that_others_can_write_to_is_not_used(home: Path) -> None:
    """Somebody else may have made it, in a temporary folder that all share."""
    for place in candidate_folders():
        place.mkdir(parents=True)
        place.chmod(0o777)
    with pytest.raises(PermissionError), private_folder():
        pass
    for place in candidate_folders():
        assert not any(place.glob("workers-*"))


def test_without_any_place_it_is_said(home: Path) -> None:
    for place in candidate_folders():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("", encoding="utf-8")
    with pytest.raises(OSError), private_folder():
        pass


def test_it_stays_while_another_process_holds_it_and_goes_with_the_last() -> None:
    with private_folder() as folder:
        holder = subprocess.Popen(
            [sys.executable, "-c", f"{HOLDER} print(flush=True); sys.stdin.read()", str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        holder.stdout.readline()
    assert folder.exists(), "a worker that ends after its parent still has it"
    with private_folder() as other:
        assert folder.exists()
        assert other != folder
        holder.kill()
        holder.communicate()
        with private_folder():
            assert not folder.exists(), "what nobody holds is removed at the next start"
            assert other.exists()


def test_one_that_was_never_locked_is_a_leftover() -> None:
    """Whoever made it was killed at once; nobody else makes one at the same moment."""
    with private_folder() as folder:
        unlocked = folder.with_name("workers-unlocked")
        unlocked.mkdir()
        with private_folder():
            assert not unlocked.exists()


def test_a_server_that_hangs_while_it_makes_one_holds_nobody_up() -> None:
    first = candidate_folders()[0]
    first.mkdir(parents=True, mode=0o700)
    with module._exclusive(first, 5), private_folder(Timings(folder_lock_wait=0.05)) as folder:
        assert folder.parent != first
