"""From a server's name to the names of its folder and its package: "Tea shop", `tea-shop`, `tea_shop`.

The easy thing to get wrong is a name that works until it is imported or installed: `email` is a module of
Python's own, and a project called `mcp` would depend on itself.
"""

import importlib.metadata
import keyword
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec

from enfilade.scaffold.errors import ScaffoldError

#: Longest name, in characters. A folder may have more, but a path of several has its limits on Windows.
LONGEST: Final = 64

_ALLOWED: Final = re.compile(r"[A-Za-z0-9 _.,:;'&+()!?#@-]*")
_OURS: Final = {"enfilade", "conftest", "evals", "src", "test", "tests"}
#: Names that a file cannot have on Windows.
_DEVICES: Final = {"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


class Names(msgspec.Struct, frozen=True):
    """What a project is called.

    Attributes:
        title: as its author wrote it; what clients are told.
        directory: its folder, and its name as a distribution.
        package: what Python imports.
    """

    title: str
    directory: str
    package: str


def names_of(title: str) -> Names:
    """Return the names that follow from a server's name.

    Raises:
        ScaffoldError: it makes no good names; the text has one that does.
    """
    title = " ".join(title.split())
    words = _words(title)
    for problem in _problems(title, words):
        shown = title if len(title) <= LONGEST else f"{title[:LONGEST]}…"
        raise ScaffoldError(f'{shown!r} {problem}; call it "{_suggestion(title)}", for instance')
    return Names(title, "-".join(words), "_".join(words))


def _words(title: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", title.lower().replace("'", ""))


def _problems(title: str, words: list[str]) -> Iterator[str]:
    """Say what is wrong with a name, the first thing first."""
    package = "_".join(words)
    if "/" in title or "\\" in title:
        yield "is a path, and the name of a server is wanted (--directory says where to make it)"
    if not title.isascii():
        yield "has letters that names of packages cannot have"
    if not words:
        yield "has no letters to make a name of"
    if not _ALLOWED.fullmatch(title):
        yield "has characters that are for code, not for names"
    if len(title) > LONGEST:
        yield f"is too long: at most {LONGEST} characters"
    if package[:1].isdigit():
        yield "begins with a digit, which the name of a package cannot"
    if keyword.iskeyword(package):
        yield "is a word of the Python language"
    if package in sys.stdlib_module_names:
        yield "is the name of a module of Python's own"
    if package in _taken():
        yield "is the name of something that every server needs"
    if package in _DEVICES:
        yield "is a name that Windows keeps for a device"


@cache
def _taken() -> set[str]:
    """Return the names of what a project depends on, besides ours."""
    try:
        required = importlib.metadata.requires("enfilade") or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        required = []
    found = (re.match(r"[\w.-]+", requirement) for requirement in required)
    return _OURS | {re.sub(r"[-.]", "_", name[0].lower()) for name in found if name}


def _suggestion(title: str) -> str:
    """Return a name like this one that is good."""
    last = re.split(r"[/\\]", title.rstrip("/\\"))[-1]
    ascii_only = unicodedata.normalize("NFKD", last.casefold()).encode("ascii", "ignore").decode()
    words = _words(ascii_only)
    while len("-".join(words)) > LONGEST - len("my--server"):
        words = words[:-1] if len(words) > 1 else [words[0][: LONGEST // 2]]
    if not words:
        words = ["my", "server"]
    if words[0][0].isdigit():
        words.insert(0, "my")
    name = "-".join(words)
    return f"{name}-server" if any(_problems(name, words)) else name
