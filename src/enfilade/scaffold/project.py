"""A new project: which files it has, and how they come to be there all at once.

The easy thing to get wrong is to stop half-way. Everything is made in a folder beside the place, which then gets
its name in one step; whatever goes wrong before that leaves nothing behind.
"""

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec

from enfilade.scaffold.containers import ContainerOptions, container_files
from enfilade.scaffold.errors import ScaffoldError
from enfilade.scaffold.names import Names, names_of
from enfilade.scaffold.origin import VENDOR, Origin, put_wheel
from enfilade.scaffold.render import render, require_templates

#: What every project has: the path, in which names are put, and the template below `templates/project/`.
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
#: What it has besides if it is to show everything.
FULL: Final = (
    ("src/{package}/notebook.py", "notebook.py"),
    ("src/{package}/prompts.py", "prompts.py"),
    ("src/{package}/resources.py", "resources.py"),
    ("src/{package}/tools/notes.py", "notes.py"),
    ("src/{package}/tools/signing.py", "signing.py"),
    ("tests/test_notes.py", "test_notes.py"),
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made.

    Attributes:
        names: what it is called.
        transport: how `enfilade run` serves it unless told otherwise.
        full: whether it shows everything: resources, prompts, progress, questions, secrets, a lifespan.
        docker: whether it has the files for containers.
        origin: where it gets Enfilade from.
    """

    names: Names
    transport: Literal["stdio", "http"] = "http"
    full: bool = False
    docker: bool = False
    origin: Origin = Origin()

    @classmethod
    def named(cls, title: str) -> "Plan":
        """Return the plan of a small server.

        Raises:
            ScaffoldError: no good names follow from its name.
        """
        return cls(names=names_of(title))


def make_project(plan: Plan, parent: Path) -> Path:
    """Make a project, in a folder of its own, and return that folder.

    Args:
        plan: what to make.
        parent: where to make the folder.

    Raises:
        ScaffoldError: jinja2 is not installed, something is there already, it cannot be written, or a wheel of
            Enfilade is needed and cannot be built; nothing was made.
    """
    require_templates()
    place = check_free(plan.names, parent)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=parent))
    except OSError as error:
        raise ScaffoldError(f"nothing can be written in {str(parent)!r}: {error.strerror}") from None
    try:
        folder = made / place.name
        origin = put_wheel(plan.origin, folder)
        _write(folder, _texts(plan, origin))
        if plan.docker:
            _write(folder, container_files(folder, ContainerOptions(origin=origin)))
        if place.exists():
            place.rmdir()  # empty; and Windows gives no folder the name of another
        os.rename(folder, place)
    except OSError as error:
        raise ScaffoldError(f"{str(place)!r} could not be made: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def check_free(names: Names, parent: Path) -> Path:
    """Return the folder that a project would be made in.

    Raises:
        ScaffoldError: there is something already, or nowhere to make it.
    """
    if not parent.is_dir():
        raise ScaffoldError(f"there is no folder {str(parent)!r}; make it first")
    place = parent / names.directory
    if place.is_symlink() or place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise ScaffoldError(f"{str(place)!r} exists already; give another name, or another --directory")
    return place


def next_steps(plan: Plan, place: Path) -> list[tuple[str, str]]:
    """Return what to type next, and what for."""
    over_http = plan.transport == "http"
    install = ('pip install -e ".[dev]"', "best in a virtual environment")
    if plan.origin.source is not None:
        install = (f'pip install --find-links {VENDOR} -e ".[dev]"', "")
    return [
        (f"cd {shlex.quote(str(place))}", ""),
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
    """Return the files of a project by their paths, but for those of containers and a wheel."""
    values = {
        **msgspec.structs.asdict(plan.names),
        **msgspec.structs.asdict(plan),
        "origin": origin,
        "vendor": VENDOR if origin.source is not None else "",
    }
    return {
        path.format(package=plan.names.package): render(f"project/{template}", **values)
        for path, template in (*FILES, *(FULL if plan.full else ()))
    }


def _write(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
