"""Writing the files of others: whole or not at all, with a copy, and with all that belongs to a file."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.client_config import ClientFileError
from enfilade.client_config.entry import RegisteredServer
from enfilade.client_config.locations import Location, read
from enfilade.client_config.plan import PlannedChange, client_named, plan_addition, plan_removal
from support.client_config.machines import linux

BEFORE = b'\xef\xbb\xbf{\r\n  "big": 123456789012345678901234567890,\r\n  "mcpServers": {"o": {"n": 1.0}}\r\n}'
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners as POSIX has them")


def change(file: Path) -> PlannedChange:
    server = RegisteredServer(name="sums", url="http://127.0.0.1:8000/mcp")
    return plan_addition(client_named("cursor"), server, linux(file.parent), Location(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mcp.json"
    file.write_bytes(BEFORE)
    return file


def test_a_mark_line_ends_and_a_missing_last_one_are_kept(file: Path) -> None:
    change(file).write()
    after = file.read_bytes()
    assert after.startswith(BEFORE[:-5])
    assert after.count(b"\n") == after.count(b"\r\n")
    assert after.endswith(b"}\r\n}")
    assert b'"n": 1.0}, "sums": {"url": ' in after
    plan_removal(client_named("cursor"), "sums", Location(file)).write()
    assert file.read_bytes() == BEFORE


def test_a_copy_is_kept_of_each_state(file: Path) -> None:
    first = change(file).write()
    second = plan_removal(client_named("cursor"), "sums", Location(file)).write()
    assert first is not None
    assert second is not None
    assert [each.name for each in (first, second)] == ["mcp.json.bak", "mcp.json.bak.1"]
    assert first.read_bytes() == BEFORE
    assert b"sums" in second.read_bytes()
    assert sorted(os.listdir(file.parent)) == ["mcp.json", "mcp.json.bak", "mcp.json.bak.1"]


def test_a_file_is_made_with_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "mcp.json"
    assert change(file).write() is None
    assert os.listdir(file.parent) == ["mcp.json"]
    assert plan_removal(client_named("cursor"), "sums", Location(file)).state == "gone"


@POSIX
def test_modes(file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.json"
    change(new).write()
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    file.chmod(0o644)
    copy = change(file).write()
    assert copy is not None
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, copy)] == [0o644, 0o644]


@POSIX
def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    real = tmp_path / "kept" / "real.json"
    file.rename(real)
    file.symlink_to(Path("kept") / "real.json")
    copy = change(file).write()
    assert file.is_symlink()
    assert b"sums" in real.read_bytes()
    assert copy == real.with_name("real.json.bak")


def test_a_change_in_between_is_noticed(file: Path) -> None:
    ours = change(file)
    theirs = BEFORE.replace(b"1.0", b"2.0")
    file.write_bytes(theirs)
    with pytest.raises(ClientFileError, match="was changed by another program meanwhile"):
        ours.write()
    assert file.read_bytes() == theirs
    assert os.listdir(file.parent) == ["mcp.json"]


def test_a_file_that_comes_or_goes_in_between_is_noticed(file: Path, tmp_path: Path) -> None:
    gone, come = change(file), change(tmp_path / "new.json")
    (tmp_path / "new.json").write_bytes(b"{}")
    with pytest.raises(ClientFileError, match="changed by another program"):
        come.write()
    file.unlink()
    with pytest.raises(ClientFileError, match="cannot be written"):
        gone.write()
    assert {each: (tmp_path / each).read_bytes() for each in os.listdir(tmp_path)} == {"new.json": b"{}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            b'{\n  "mcpServers": {\n',
            "Line 3, column 1: the file ends before '}'. Put that right, or give another file",
        ),
        (b'{\n  "\xff": 1}', "Line 2, column 4: this is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "Line 1, column 1: this is not UTF-8"),
        (b'{"mcpServers": []}', "Line 1, column 16: 'mcpServers' should be an object here"),
    ],
)
def test_a_broken_file_is_refused_untouched(file: Path, text: bytes, said: str) -> None:
    file.write_bytes(text)
    with pytest.raises(ClientFileError) as caught:
        change(file)
    assert said in str(caught.value)
    assert f"{file} cannot be edited, and was not touched" in str(caught.value)
    assert file.read_bytes() == text
    assert os.listdir(file.parent) == ["mcp.json"]


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Yield a folder in which this process may not write, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    (folder / "mcp.json").write_bytes(BEFORE)
    (folder / "mcp.json").chmod(0o644)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@POSIX
def test_a_folder_that_nobody_may_write_to(read_only: Path) -> None:
    ours = change(read_only / "mcp.json")
    with pytest.raises(ClientFileError, match=r"mcp.json cannot be written: Permission denied; it is as it was"):
        ours.write()
    assert (read_only / "mcp.json").read_bytes() == BEFORE
    assert os.listdir(read_only) == ["mcp.json"]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClientFileError, match="cannot be read"):
        read(tmp_path)


def test_a_diff_tells_of_line_ends_that_are_missing(file: Path) -> None:
    lines = list(change(file).diff())
    assert lines[:2] == [f"--- {file}", f"+++ {file}"]
    assert '-  "mcpServers": {"o": {"n": 1.0}}' in lines
    file.write_bytes(b'{"mcpServers": {}}')
    text = '{"mcpServers": {"sums": {"url": "http://127.0.0.1:8000/mcp"}}}'
    missing = "\\ No newline at end of file"
    assert list(change(file).diff())[3:] == ['-{"mcpServers": {}}', missing, f"+{text}", missing]
