"""The files that put a project into containers: how to build the image, how to run it, what stays outside.

The easy thing to get wrong is to assume a layout. A project that can be installed is installed, and served by
the name of its module; any other is copied, and served by its file. A lock file is looked for when the image is
built, so one that is added later is used.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.discovery import Target, find_target, read_pyproject
from enfilade.loading import LoadError, module_of
from enfilade.scaffold.errors import ScaffoldError
from enfilade.scaffold.origin import VENDOR, Origin, put_wheel, vendored
from enfilade.scaffold.render import render

#: The version of Python in the image, unless `--build-arg PYTHON_VERSION=` says otherwise.
PYTHON: Final = "3.13"
#: What is written, with the template below `templates/containers/`.
FILES: Final = {"Dockerfile": "Dockerfile", "compose.yaml": "compose.yaml", ".dockerignore": "dockerignore"}


#: What a project depends on if it has a URL of us.
_URL: Final = re.compile(r"\s*enfilade\s*(?:\[[^]]*\])?\s*@\s*([^\s;]+)", re.IGNORECASE)


class ContainerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the files are to have.

    Attributes:
        valkey: a Valkey service beside the server, as its store.
        origin: where the image gets Enfilade from; `container_origin` has what a project says of it.
    """

    valkey: bool = False
    origin: Origin = Origin()


def container_files(folder: Path, options: ContainerOptions | None = None) -> dict[str, str]:
    """Return the files that put a project into containers, by their names.

    Args:
        folder: the project's.
        options: what they are to have.

    Raises:
        ScaffoldError: no server is found in the project, it does not say that it needs us, or jinja2 is not
            installed.
    """
    options = options or ContainerOptions()
    try:
        found = find_target(str(folder))
        pyproject = read_pyproject(folder / "pyproject.toml") if (folder / "pyproject.toml").is_file() else {}
    except LoadError as error:
        raise ScaffoldError(str(error)) from None
    _check_dependencies(folder, pyproject)
    module = _module(found, pyproject)
    values = {
        "command": ["enfilade", "run", *_words(found, folder, module)],
        "installed": bool(module),
        "metadata": "project" in pyproject,
        "name": _name(folder, pyproject),
        "origin": options.origin,
        "python": PYTHON,
        "requirements": (folder / "requirements.txt").is_file(),
        "valkey": options.valkey,
        "vendor": VENDOR if options.origin.source or vendored(folder) else "",
    }
    return {name: render(f"containers/{template}", **values) for name, template in FILES.items()}


def write_containers(folder: Path, options: ContainerOptions | None = None, *, force: bool = False) -> list[Path]:
    """Write the files that put a project into containers.

    Args:
        folder: the project's.
        options: what they are to have.
        force: write over files that are there.

    Returns:
        The files.

    Raises:
        ScaffoldError: a file is there, nothing can be written, or a wheel of Enfilade is needed and cannot be
            built; no file was changed.
    """
    if not folder.is_dir():
        raise ScaffoldError(f"there is no folder {str(folder)!r}; give that of a project")
    options = options or ContainerOptions()
    texts = container_files(folder, options)
    there = [name for name in texts if os.path.lexists(folder / name)]
    if there and not force:
        raise ScaffoldError(f"{', '.join(there)} would be overwritten; --force does that")
    try:
        with tempfile.TemporaryDirectory(prefix=".enfilade-", dir=folder) as made:
            if options.origin.source is not None and options.origin != vendored(folder):
                origin = put_wheel(options.origin, Path(made))
                texts = container_files(folder, msgspec.structs.replace(options, origin=origin))
            for name, text in texts.items():
                (Path(made) / name).write_text(text, encoding="utf-8", newline="\n")
            _move_wheel(Path(made) / VENDOR, folder / VENDOR)
            for name in texts:
                os.replace(Path(made) / name, folder / name)
    except OSError as error:
        raise ScaffoldError(f"nothing can be written in {str(folder)!r}: {error.strerror}") from None
    return [folder / name for name in texts]


def container_origin(folder: Path, origin: Origin, *, force: bool = False) -> Origin:
    """Return where the image of a project gets Enfilade from.

    Args:
        folder: the project's.
        origin: where it comes from if the project has neither a URL nor a wheel of it.
        force: build a wheel anew, if that is where it comes from.

    Raises:
        ScaffoldError: `pyproject.toml` cannot be read.
    """
    texts: list[str] = []
    try:
        if (folder / "pyproject.toml").is_file():
            project = read_pyproject(folder / "pyproject.toml").get("project", {})
            texts += map(str, project.get("dependencies", []))
        if (folder / "requirements.txt").is_file():
            texts += (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    except (LoadError, OSError, ValueError) as error:
        raise ScaffoldError(str(error)) from None
    for text in texts:
        if said := _URL.match(text):
            return Origin(url=said[1])
    if force and origin.source is not None:
        return origin
    return vendored(folder) or origin


def _move_wheel(made: Path, place: Path) -> None:
    """Put a new wheel in the place of an old one."""
    for wheel in made.glob("*.whl"):
        place.mkdir(exist_ok=True)
        for old in place.glob("enfilade-*.whl"):
            old.unlink()
        os.replace(wheel, place / wheel.name)


def _check_dependencies(folder: Path, pyproject: dict[str, Any]) -> None:
    """Refuse a project in whose image we would be missing."""
    locks = [name for name in ("uv.lock", "requirements.txt") if (folder / name).is_file()]
    if "project" not in pyproject or locks:
        return
    said = pyproject["project"].get("dependencies", [])
    if not any(re.match(r"enfilade\b(?!-)", str(each).lower()) for each in said):
        raise ScaffoldError(
            "the project does not say that it needs enfilade; add it to `dependencies` in pyproject.toml, "
            "or lock what it needs in requirements.txt"
        )


def _module(found: Target, pyproject: dict[str, Any]) -> str:
    """Return the module that the server is in once the project is installed; empty if it cannot be."""
    if "build-system" not in pyproject or "project" not in pyproject:
        return ""
    if found.file is None:
        return found.module
    _, name = module_of(found.file.resolve())
    return name if "." in name else ""


def _words(found: Target, folder: Path, module: str) -> list[str]:
    """Return the words after `enfilade run`."""
    variable = f":{found.name}" if found.name else ""
    if module or found.file is None:
        return ["--module", f"{module or found.module}{variable}"]
    return [f"{found.file.relative_to(folder).as_posix()}{variable}"]


def _name(folder: Path, pyproject: dict[str, Any]) -> str:
    """Return a name for compose, which takes small letters, digits and hyphens."""
    said = str(pyproject.get("project", {}).get("name") or folder.resolve().name)
    return "-".join(re.findall(r"[a-z0-9]+", said.lower())) or "server"
