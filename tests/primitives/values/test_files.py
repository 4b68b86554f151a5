"""`media.py`, `Directory`: what a client can read of a directory, and what it cannot (R-520)."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from enfilade.primitives.errors import ResourceError, ResourceNotFound
from enfilade.primitives.values.media import Directory, file_reader, size_of

SECRET = "the password is swordfish"

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with something of everything, beside files that are nobody's business."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "rootless").mkdir()
    (tmp_path / "rootless" / "secret.txt").write_text(SECRET)
    root = tmp_path / "root"
    (root / "notes" / "old").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "readme.md").write_text("# Hi", encoding="utf-8")
    (root / "notes" / "a b#c.txt").write_text("é", encoding="utf-8")
    (root / "notes" / "old" / "pixel.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "LICENSE").write_text("free")
    (root / "noise").write_bytes(b"\xff\xfe\x00")
    (root / ".env").write_text(SECRET)
    (root / ".git" / "config").write_text(SECRET)
    return root


def directory(root: Path, **options: Any) -> Directory:
    return Directory("docs://", root, **{"hidden": False, "max_size": 100, "limit": 100, **options})


def test_lists_files_in_the_order_of_their_paths(root: Path) -> None:
    """R-2A5, R-521: stable, and each under a legal URI with its size."""
    found = directory(root).definitions()
    assert [(each.uri, each.name, each.size) for each in found] == [
        ("docs://LICENSE", "LICENSE", 4),
        ("docs://noise", "noise", 3),
        ("docs://readme.md", "readme.md", 4),
        ("docs://notes/a%20b%23c.txt", "notes/a b#c.txt", 2),
        ("docs://notes/old/pixel.png", "notes/old/pixel.png", 8),
    ]
    assert [each.mime_type for each in found] == [UNSET, UNSET, "text/markdown", "text/plain", "image/png"]


@pytest.mark.parametrize(
    ("path", "mime_type", "member"),
    [
        ("readme.md", "text/markdown", "text"),
        ("notes/a b#c.txt", "text/plain", "text"),
        ("notes/old/pixel.png", "image/png", "blob"),
        ("LICENSE", "text/plain", "text"),
        ("noise", "application/octet-stream", "blob"),
    ],
)
def test_reads_files_by_their_kind(root: Path, path: str, mime_type: str, member: str) -> None:
    contents = directory(root).read(path)
    assert contents.mime_type == mime_type
    assert getattr(contents, member) is not UNSET
    assert contents.uri == next(each.uri for each in directory(root).definitions() if each.name == path)


OUTSIDE = [
    "../secret.txt",
    "notes/../../secret.txt",
    "../rootless/secret.txt",
    "notes/../readme.md",
    "./readme.md",
    "/etc/passwd",
    "//readme.md",
    "readme.md/",
    "",
    ".",
    "..",
    "notes",
    "notes\\a b#c.txt",
    "..\\secret.txt",
    ".env",
    ".git/config",
    "gone.txt",
    "readme.md/x",
    "x\0y",
    "x" * 5000,
    "\ud800",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_not_there(root: Path, path: str) -> None:
    """R-520: no traversal, no hidden files, no directories; all the same to a client."""
    with pytest.raises(ResourceNotFound) as caught:
        directory(root).read(path)
    assert str(caught.value) == "Resource not found"


def test_hidden_files_by_wish(root: Path) -> None:
    found = directory(root, hidden=True)
    assert {".env", ".git/config"} <= {each.name for each in found.definitions()}
    assert found.read(".env").text == SECRET
    with pytest.raises(ResourceNotFound):
        found.read("../secret.txt")


@needs_links
def test_links_stay_inside(root: Path) -> None:
    """R-520: a symbolic link is followed, and what counts is where it leads."""
    (root / "out.txt").symlink_to(root.parent / "secret.txt")
    (root / "out").symlink_to(root.parent / "rootless")
    (root / "hidden.txt").symlink_to(root / ".env")
    (root / "in.txt").symlink_to(root / "LICENSE")
    (root / "round").symlink_to(root / "round")
    (root / "broken").symlink_to(root / "nothing")
    found = directory(root)
    names = {each.name for each in found.definitions()}
    assert names & {
        "out.txt",
        "hidden.txt",
        "round",
        "broken",
        "in.txt",
    } == {"in.txt"}
    assert found.read("in.txt").text == "free"
    for path in ("out.txt", "out/secret.txt", "hidden.txt", "round", "broken"):
        with pytest.raises(ResourceNotFound):
            found.read(path)


@needs_links
def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert directory(link).read("LICENSE").text == "free"


@needs_links
def test_what_is_no_regular_file_is_not_there(root: Path) -> None:
    """A pipe would be waited for."""
    os.mkfifo(root / "pipe")
    assert "pipe" not in [each.name for each in directory(root).definitions()]
    with pytest.raises(ResourceNotFound):
        directory(root).read("pipe")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text_are_left_out(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.txt")).write_text("x")
    assert all(each.name.isprintable() for each in directory(root).definitions())


def test_is_bounded(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 101)
    found = directory(root, limit=2)
    assert [each.name for each in found.definitions()] == ["LICENSE", "large"]
    assert found.read("readme.md").text == "# Hi"
    with pytest.raises(ResourceError, match="The file large is larger than 100 bytes"):
        found.read("large")


def test_suggests_paths(root: Path) -> None:
    assert directory(root).suggest("notes/o") == ["notes/old/pixel.png"]


def test_needs_a_directory(root: Path) -> None:
    with pytest.raises(ValueError, match="is no directory"):
        directory(root / "readme.md")


@pytest.mark.parametrize(("uri", "template"), [("docs://", "docs://{+path}"), ("docs://a", "docs://a/{+path}")])
def test_the_template_of_its_files(root: Path, uri: str, template: str) -> None:
    assert Directory(uri, root, hidden=False, max_size=1, limit=1).uri_template == template


def test_a_single_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    read = file_reader("a://b", path, None, 100)
    with pytest.raises(ResourceNotFound):
        read()
    assert size_of(path) is None
    path.write_text("one")
    assert (read().text, size_of(path)) == ("one", 3)
    path.write_text("three")
    assert (read().text, size_of(path)) == ("three", 5)


def test_a_file_that_cannot_be_read_is_told_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        file_reader("a://b", tmp_path, None, 100)()
    assert str(tmp_path.parent) not in str(caught.value)
