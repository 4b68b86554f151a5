"""The files that put a project into containers, and units of systemd and manifests of Kubernetes that run it.

Easy to get wrong: assuming a layout. A project that can be installed is installed, and served by the name of its
module; any other project is copied, and served by its file. A lock file is looked for when the image is built, so
one that is added later is used.
"""

import ast
import contextlib
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.discovery import AppTarget, find_target, read_pyproject
from enfilade.loading import LoadError, module_of
from enfilade.primitives.names import check_registry_name
from enfilade.scaffold.origin import VENDOR, Origin, put_wheel, vendored
from enfilade.scaffold.render import ScaffoldError, render

#: The version of Python in the image, unless `--build-arg PYTHON_VERSION=` says otherwise.
PYTHON: Final = "3.13"
#: The files, each with its template in `templates/containers/`.
FILES: Final = {"Dockerfile": "Dockerfile", "compose.yaml": "compose.yaml", ".dockerignore": "dockerignore"}


#: A dependency on Enfilade by URL.
_URL: Final = re.compile(r"\s*enfilade\s*(?:\[[^]]*\])?\s*@\s*([^\s;]+)", re.IGNORECASE)


class ContainerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the files for containers.

    Attributes:
        valkey: whether there is a Valkey service beside the server, as its store.
        systemd: whether there are units of systemd as well; files of containers that exist are left as they are.
        kubernetes: the same for a manifest of Kubernetes.
        origin: the source from which the image installs Enfilade; `container_origin` reads it from a project.
    """

    valkey: bool = False
    systemd: bool = False
    kubernetes: bool = False
    origin: Origin = Origin()


def container_files(folder: Path, options: ContainerOptions | None = None) -> dict[str, str]:
    """Return the files that put a project into containers, or run it otherwise, by name.

    Raises:
        ScaffoldError: there is no server in the project, it does not depend on Enfilade, or jinja2 is not
            installed.
    """
    options = options or ContainerOptions()
    try:
        target = find_target(str(folder))
        pyproject = read_pyproject(folder / "pyproject.toml") if (folder / "pyproject.toml").is_file() else {}
    except LoadError as error:
        raise ScaffoldError(str(error)) from None
    _check_dependencies(folder, pyproject)
    module = _module(target, pyproject)
    values = {
        "command": ["enfilade", "run", *_run_arguments(target, folder, module)],
        "installed": bool(module),
        "metadata": "project" in pyproject,
        "name": _name(folder, pyproject),
        "origin": options.origin,
        "python": PYTHON,
        "registry_name": _registry_name(folder, target),
        "requirements": (folder / "requirements.txt").is_file(),
        "valkey": options.valkey,
        "vendor": VENDOR if options.origin.source or vendored(folder) else "",
    }
    files = {name: render(f"containers/{template}", **values) for name, template in FILES.items()}
    name, arguments = values["name"], ["enfilade", "run", *_run_arguments(target, folder, module)]
    services = (
        {f"{name}.service": "systemd.service", f"{name}.socket": "systemd.socket"} if options.systemd else {}
    )
    if options.kubernetes:
        services["kubernetes.yaml"] = "kubernetes.yaml"
    for file, template in services.items():
        files[file] = render(f"services/{template}", name=name, command=shlex.join(arguments))
    return files


def write_containers(folder: Path, options: ContainerOptions | None = None, *, force: bool = False) -> list[Path]:
    """Write the files that put a project into containers, and return their paths.

    Raises:
        ScaffoldError: a file exists, the folder cannot be written, or a wheel of Enfilade is needed and cannot be
            built; no file was changed.
    """
    if not folder.is_dir():
        raise ScaffoldError(f"there is no folder {str(folder)!r}; give that of a project")
    options = options or ContainerOptions()
    texts = container_files(folder, options)
    if (options.systemd or options.kubernetes) and not force:
        texts = {
            name: text for name, text in texts.items() if name not in FILES or not os.path.lexists(folder / name)
        }
    existing = [name for name in texts if os.path.lexists(folder / name)]
    if existing and not force:
        raise ScaffoldError(f"{', '.join(existing)} would be overwritten; --force does that")
    try:
        with tempfile.TemporaryDirectory(prefix=".enfilade-", dir=folder) as directory:
            temporary = Path(directory)
            if options.origin.source is not None and options.origin != vendored(folder):
                origin = put_wheel(options.origin, temporary)
                complete = container_files(folder, msgspec.structs.replace(options, origin=origin))
                texts = {name: complete[name] for name in texts}
            for name, text in texts.items():
                (temporary / name).write_text(text, encoding="utf-8", newline="\n")
            _move_wheel(temporary / VENDOR, folder / VENDOR)
            for name in texts:
                os.replace(temporary / name, folder / name)
    except OSError as error:
        raise ScaffoldError(f"nothing can be written in {str(folder)!r}: {error.strerror}") from None
    return [folder / name for name in texts]


def container_origin(folder: Path, origin: Origin, *, force: bool = False) -> Origin:
    """Return the source from which the image of a project installs Enfilade.

    Args:
        folder: the folder of the project.
        origin: the source if the project has neither a URL nor a wheel of Enfilade.
        force: whether a wheel is built again, if the source is a local one.

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
        if match := _URL.match(text):
            return Origin(url=match[1])
    if force and origin.source is not None:
        return origin
    return vendored(folder) or origin


def _move_wheel(source: Path, vendor: Path) -> None:
    """Replace the wheel of a project by a new one, if there is one."""
    for wheel in source.glob("*.whl"):
        vendor.mkdir(exist_ok=True)
        for old_wheel in vendor.glob("enfilade-*.whl"):
            old_wheel.unlink()
        os.replace(wheel, vendor / wheel.name)


def _check_dependencies(folder: Path, pyproject: dict[str, Any]) -> None:
    """Refuse a project whose image would not have Enfilade."""
    locks = [name for name in ("uv.lock", "requirements.txt") if (folder / name).is_file()]
    if "project" not in pyproject or locks:
        return
    requirements = pyproject["project"].get("dependencies", [])
    if not any(re.match(r"enfilade\b(?!-)", str(entry).lower()) for entry in requirements):
        raise ScaffoldError(
            "the project does not say that it needs enfilade; add it to `dependencies` in pyproject.toml, "
            "or lock what it needs in requirements.txt"
        )


def _registry_name(folder: Path, target: AppTarget) -> str:
    """Return the name by which a registry knows whose an image is (X-REG-2); empty if there is none.

    It is that in the code of the server, which is not imported, or else that of `server.json`.
    """
    names: list[object] = []
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        if target.file is not None:
            names += _literal_names(ast.parse(target.file.read_text(encoding="utf-8")))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        names.append(json.loads((folder / "server.json").read_text(encoding="utf-8")).get("name"))
    for name in names:
        with contextlib.suppress(ValueError, TypeError):
            return check_registry_name(str(name))
    return ""


def _literal_names(tree: ast.Module) -> Iterator[str]:
    """Yield what is written as `registry_name` of an app or of settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "registry_name" and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _module(target: AppTarget, pyproject: dict[str, Any]) -> str:
    """Return the module of the server in the installed project; empty if the project cannot be installed."""
    if "build-system" not in pyproject or "project" not in pyproject:
        return ""
    if target.file is None:
        return target.module
    _, name = module_of(target.file.resolve())
    return name if "." in name else ""


def _run_arguments(target: AppTarget, folder: Path, module: str) -> list[str]:
    """Return the arguments of `enfilade run`."""
    variable = f":{target.name}" if target.name else ""
    if module or target.file is None:
        return ["--module", f"{module or target.module}{variable}"]
    return [f"{target.file.relative_to(folder).as_posix()}{variable}"]


def _name(folder: Path, pyproject: dict[str, Any]) -> str:
    """Return a name for compose, which accepts lower-case letters, digits and hyphens."""
    title = str(pyproject.get("project", {}).get("name") or folder.resolve().name)
    return "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "server"
