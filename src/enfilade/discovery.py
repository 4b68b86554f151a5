"""Finding the server of a project: from nothing, from a folder, from a file or from the name of a module.

A project says where its server is, in `pyproject.toml`:

    [tool.enfilade]
    server = "src/notes/server.py:app"

or has it where others have theirs: in `server.py`, or else in `src/NAME/server.py`. The easy thing to get wrong
is to guess: where several servers are possible, none is taken, and the error says how to choose.
"""

from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from enfilade.app import MCPApp
from enfilade.loading import LoadError, import_file, import_named

#: What the variable of an app is usually called, the most usual first.
USUAL_NAMES: Final = ("app", "mcp", "server")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be served.

    Attributes:
        folder: the project's folder, or the one that a module is looked for in.
        file: the Python file; None if a module is named.
        module: the module's name, with dots; empty if a file is named.
        name: the variable in it; empty for the usual one.
    """

    folder: Path
    file: Path | None = None
    module: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Return what a user would call it."""
        return self.module if self.file is None else self.file.as_posix()


def load_app(target: str | None = None, module: str | None = None) -> MCPApp:
    """Return the app that is to be served.

    Args:
        target: `FILE`, `FILE:NAME`, a project's folder or `FOLDER:NAME`; None for the working directory.
        module: the name of a module instead, or `MODULE:NAME`.

    Without a name it is the variable called `app`, `mcp` or `server`, or else the only app there. The file's
    folder, or the one that its package is in, comes first on the import path, as when Python runs it. An
    `if __name__ == "__main__"` block does not run.

    Raises:
        LoadError: there is no such file, module or app, or several; or it fails, or offers nothing
            and has no lifespan that could add something.
        SettingsError: the file makes an app with a setting that cannot be.
    """
    found = find_target(target, module)
    app = _pick(_imported(found), found)
    offers = any(len(offered) for offered in (app.tools, app.resources, app.templates, app.prompts))
    if not offers and not app.has_lifespan:  # which may add what there is to offer
        raise LoadError(
            f"{str(found)!r} has an app that offers nothing; add a tool with @app.tool, a resource or a prompt"
        )
    return app


def find_target(target: str | None = None, module: str | None = None) -> Target:
    """Return what is to be served, without importing it. Arguments are those of `load_app`.

    Raises:
        LoadError: there is no such file, or no server or several of them in a folder.
    """
    if module is not None:
        if target is not None:
            raise LoadError(f"give a file or a module to serve, not both: {target!r} or --module {module}")
        return _module_target(Path(), module)
    if target is None:
        return _discover(Path())
    file, name = _split(target)
    path = Path(file)
    if path.is_dir():
        found = _discover(path)
        return msgspec.structs.replace(found, name=name) if name else found
    return Target(folder=path.parent, file=_checked(path, file), name=name)


def _discover(folder: Path) -> Target:
    """Return the server of a project."""
    declared = _declared(folder)
    if declared is not None:
        return declared
    if (folder / "server.py").is_file():
        return Target(folder=folder, file=folder / "server.py")
    found = sorted(folder.glob("src/*/server.py"))
    if len(found) == 1:
        return Target(folder=folder, file=found[0])
    where = "here" if folder == Path() else f"in {str(folder)!r}"
    if not found:
        raise LoadError(
            f"there is no server {where}: looked for [tool.enfilade] in pyproject.toml, for server.py and for "
            "src/*/server.py; give the Python file, as in `enfilade run FILE`, or make a server with "
            "`enfilade new NAME`"
        )
    inside = [path.relative_to(folder).as_posix() for path in found]
    raise LoadError(
        f"there are several servers {where}: {', '.join(inside)}; give one of them, as in "
        f"`enfilade run {found[0].as_posix()}`, or write "
        f'`server = "{inside[0]}"` under [tool.enfilade] in pyproject.toml'
    )


def _declared(folder: Path) -> Target | None:
    """Return what a project says of itself, if it does."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        return None
    table = read_pyproject(file).get("tool", {}).get("enfilade", {})
    said = {key: table[key] for key in ("server", "module") if key in table} if isinstance(table, dict) else {}
    if not said:
        return None
    key, value = next(iter(said.items()))
    if len(said) > 1 or not isinstance(value, str) or not value:
        raise LoadError(
            f"{str(file)!r} must have one of these under [tool.enfilade], as a text: "
            'server = "src/NAME/server.py:app" or module = "NAME.server"'
        )
    if key == "module":
        return _module_target(folder, value)
    name_of_file, name = _split(value)
    path = folder / name_of_file
    return Target(
        folder=folder, file=_checked(path, name_of_file, f", which {str(file)!r} has as the server"), name=name
    )


def read_pyproject(file: Path) -> dict[str, Any]:
    """Return what a `pyproject.toml` says.

    Raises:
        LoadError: it cannot be read.
    """
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{str(file)!r} cannot be read: {error}") from None


def _module_target(folder: Path, said: str) -> Target:
    module, _, name = said.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not (name.isidentifier() or ":" not in said):
        raise LoadError(f"{said!r} is no name of a module; it looks like NAME.server or NAME.server:app")
    return Target(folder=folder, module=module, name=name)


def _checked(path: Path, said: str, why: str = "") -> Path:
    if not path.is_file():
        advice = "" if why else "; give the path of the Python file that makes the MCPApp"
        raise LoadError(f"there is no file {said!r}{why or ' here'}{advice}")
    if path.suffix != ".py":
        raise LoadError(f"{said!r} is not a Python file; give the one that makes the MCPApp")
    return path


def _split(target: str) -> tuple[str, str]:
    """Split `FILE:NAME`; the colon of a Windows drive is part of the file."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and name.isidentifier() and len(file) > 1 else (target, "")


def _imported(found: Target) -> ModuleType:
    return import_named(found.module, found.folder) if found.file is None else import_file(found.file)


def _pick(module: ModuleType, found: Target) -> MCPApp:
    apps = {key: value for key, value in vars(module).items() if isinstance(value, MCPApp)}
    where = str(found)
    if found.name:
        if found.name in apps:
            return apps[found.name]
        other = vars(module).get(found.name)
        what = f"that is of type {type(other).__name__}, not an MCPApp" if other is not None else _choices(apps)
        raise LoadError(f"{where!r} has no app called {found.name!r}: {what}")
    for name in USUAL_NAMES:
        if name in apps:
            return apps[name]
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not apps:
        raise LoadError(f"{where!r} makes no MCPApp; write `app = MCPApp(name=...)` in it")
    raise LoadError(f"{where!r} has several apps; say which: " + " or ".join(f"{where}:{key}" for key in apps))


def _choices(apps: dict[str, MCPApp]) -> str:
    return "it has " + ", ".join(apps) if apps else "it makes no MCPApp at all"
