"""A new project: its names, its files, and how they are written.

A server's name gives the names of its folder and its package: "Tea shop", `tea-shop`, `tea_shop`.

Easy to get wrong:
- A failure half-way. All files are written to a temporary folder, which is renamed in one step, so a failure
  leaves nothing behind.
- A name that works until it is imported or installed: `email` is a module of the standard library, and a project
  called `mcp` would depend on itself.
"""

import importlib.metadata
import keyword
import os
import re
import shlex
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from enfilade.scaffold.containers import ContainerOptions, container_files
from enfilade.scaffold.origin import VENDOR, Origin, put_wheel
from enfilade.scaffold.render import ScaffoldError, render, require_templates

#: Longest name, in characters. Longer folder names are valid, but paths are limited on Windows.
MAX_NAME_LENGTH: Final = 64

_ALLOWED: Final = re.compile(r"[A-Za-z0-9 _.,:;'&+()!?#@-]*")
_RESERVED: Final = {"enfilade", "conftest", "evals", "src", "test", "tests"}
#: Names that a file cannot have on Windows.
_DEVICES: Final = {"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


class Names(msgspec.Struct, frozen=True):
    """The names of a project.

    Attributes:
        title: its name as the author wrote it, which clients see.
        directory: the name of its folder and of its distribution.
        package: the name of its Python package.
    """

    title: str
    directory: str
    package: str


#: Files of every project: the path, with placeholders for names, and the template in `templates/project/`.
FILES: Final = (
    ("pyproject.toml", "pyproject.toml"),
    ("README.md", "README.md"),
    (".gitignore", "gitignore"),
    (".env.example", "env.example"),
    ("src/{package}/__init__.py", "init.py"),
    ("src/{package}/server.py", "server.py"),
    ("src/{package}/tools/__init__.py", "tools.py"),
    ("src/{package}/tools/text.py", "text.py"),
    ("tests/conftest.py", "conftest.py"),
    ("tests/test_server.py", "test_server.py"),
    ("evals/eval_tools.py", "eval_tools.py"),
)
#: Further files of a full project.
FULL: Final = (
    ("src/{package}/notebook.py", "notebook.py"),
    ("src/{package}/prompts.py", "prompts.py"),
    ("src/{package}/resources.py", "resources.py"),
    ("src/{package}/tools/notes.py", "notes.py"),
    ("src/{package}/tools/signing.py", "signing.py"),
    ("tests/test_notes.py", "test_notes.py"),
)
#: Further files of a project whose tools act for users at a service, by its name.
AUTH: Final = {
    "github": (
        ("src/{package}/tools/github.py", "github.py"),
        ("tests/test_github.py", "test_github.py"),
    ),
}
#: The services of these.
Service = Literal["github"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a new project.

    Attributes:
        names: its names.
        transport: the default transport of `enfilade run`.
        full: whether it has examples of resources, prompts, progress, questions, secrets and a lifespan.
        docker: whether it has files for containers.
        auth: the service at which a tool acts for its caller; None for none.
        origin: the source from which Enfilade is installed.
    """

    names: Names
    transport: Literal["stdio", "http"] = "http"
    full: bool = False
    docker: bool = False
    auth: Service | None = None
    origin: Origin = Origin()

    @classmethod
    def named(cls, title: str) -> "Plan":
        """Return the plan of a small server.

        Raises:
            ScaffoldError: the title gives no valid names.
        """
        return cls(names=names_of(title))


def make_project(plan: Plan, parent: Path) -> Path:
    """Create a project in a new folder, and return the folder.

    Args:
        plan: the options of the project.
        parent: the folder in which the new folder is created.

    Raises:
        ScaffoldError: jinja2 is not installed, the folder exists already or cannot be written, or a wheel of
            Enfilade is needed and cannot be built; nothing was created.
    """
    require_templates()
    target = check_free(plan.names, parent)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
    except OSError as error:
        raise ScaffoldError(f"nothing can be written in {str(parent)!r}: {error.strerror}") from None
    try:
        folder = temporary / target.name
        origin = put_wheel(plan.origin, folder)
        _write(folder, _texts(plan, origin))
        if plan.docker:
            _write(folder, container_files(folder, ContainerOptions(origin=origin)))
        if target.exists():
            target.rmdir()  # it is empty, and Windows does not replace a folder by renaming
        os.rename(folder, target)
    except OSError as error:
        raise ScaffoldError(f"{str(target)!r} could not be made: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def check_free(names: Names, parent: Path) -> Path:
    """Return the folder of a new project.

    Raises:
        ScaffoldError: it exists already and is not empty, or its parent does not exist.
    """
    if not parent.is_dir():
        raise ScaffoldError(f"there is no folder {str(parent)!r}; make it first")
    target = parent / names.directory
    if target.is_symlink() or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ScaffoldError(f"{str(target)!r} exists already; give another name, or another --directory")
    return target


def next_steps(plan: Plan, folder: Path) -> list[tuple[str, str]]:
    """Return the commands to run next, each with its purpose."""
    over_http = plan.transport == "http"
    install = ('pip install -e ".[dev]"', "best in a virtual environment")
    if plan.origin.source is not None:
        install = (f'pip install --find-links {VENDOR} -e ".[dev]"', "")
    return [
        (f"cd {shlex.quote(str(folder))}", ""),
        install,
        ("pytest", "its tests pass"),
        ("enfilade call . greet name=Ada", "calls a tool"),
        ("enfilade run", "serves it over http, and says how to connect" if over_http else "serves it over stdio"),
        ("enfilade configure --list", "shows which clients it can tell"),
        ("enfilade check", "finds what hosts and models trip over"),
        ("docker compose up --build", "serves it in a container")
        if plan.docker
        else ("enfilade docker", "adds files for containers"),
    ]


def _texts(plan: Plan, origin: Origin) -> dict[str, str]:
    """Return the files of a project by path, without the files for containers and a wheel."""
    values = {
        **msgspec.structs.asdict(plan.names),
        **msgspec.structs.asdict(plan),
        "origin": origin,
        "vendor": VENDOR if origin.source is not None else "",
    }
    return {
        path.format(package=plan.names.package): render(f"project/{template}", **values)
        for path, template in (*FILES, *(FULL if plan.full else ()), *(AUTH[plan.auth] if plan.auth else ()))
    }


def _write(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")


def names_of(title: str) -> Names:
    """Return the names that follow from a server's title.

    Raises:
        ScaffoldError: the title gives no valid names; the text suggests one that does.
    """
    title = " ".join(title.split())
    words = _words(title)
    for problem in _problems(title, words):
        excerpt = title if len(title) <= MAX_NAME_LENGTH else f"{title[:MAX_NAME_LENGTH]}…"
        raise ScaffoldError(f'{excerpt!r} {problem}; call it "{_suggestion(title)}", for instance')
    return Names(title, "-".join(words), "_".join(words))


def _words(title: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", title.lower().replace("'", ""))


def _problems(title: str, words: list[str]) -> Iterator[str]:
    """Yield the problems of a name, the most important one first."""
    package = "_".join(words)
    if "/" in title or "\\" in title:
        yield "is a path, and the name of a server is wanted (--directory says where to make it)"
    if not title.isascii():
        yield "has letters that names of packages cannot have"
    if not words:
        yield "has no letters to make a name of"
    if not _ALLOWED.fullmatch(title):
        yield "has characters that are for code, not for names"
    if len(title) > MAX_NAME_LENGTH:
        yield f"is too long: at most {MAX_NAME_LENGTH} characters"
    if package[:1].isdigit():
        yield "begins with a digit, which the name of a package cannot"
    if keyword.iskeyword(package):
        yield "is a word of the Python language"
    if package in sys.stdlib_module_names:
        yield "is the name of a module of Python's own"
    if package in _reserved_names():
        yield "is the name of something that every server needs"
    if package in _DEVICES:
        yield "is a name that Windows keeps for a device"


@cache
def _reserved_names() -> set[str]:
    """Return the names that a package must not have: ours, and those of the dependencies of every project."""
    try:
        required = importlib.metadata.requires("enfilade") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree without an installation
        required = []
    matches = (re.match(r"[\w.-]+", requirement) for requirement in required)
    return _RESERVED | {re.sub(r"[-.]", "_", match[0].lower()) for match in matches if match}


def _suggestion(title: str) -> str:
    """Return a valid name that is similar."""
    last = re.split(r"[/\\]", title.rstrip("/\\"))[-1]
    ascii_only = unicodedata.normalize("NFKD", last.casefold()).encode("ascii", "ignore").decode()
    words = _words(ascii_only)
    while len("-".join(words)) > MAX_NAME_LENGTH - len("my--server"):
        words = words[:-1] if len(words) > 1 else [words[0][: MAX_NAME_LENGTH // 2]]
    if not words:
        words = ["my", "server"]
    if words[0][0].isdigit():
        words.insert(0, "my")
    name = "-".join(words)
    return f"{name}-server" if any(_problems(name, words)) else name
