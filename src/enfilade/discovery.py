"""Find the server of a project: in the working directory, a folder, a file or a module.

A project declares its server in `pyproject.toml`:

    [tool.enfilade]
    server = "src/notes/server.py:app"

or has it in a usual place: `server.py`, or else `src/NAME/server.py`.

Easy to get wrong: guessing. If several servers are possible, none is chosen, and the error says how to choose
one.
"""

import shlex
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from enfilade.app import MCPApp
from enfilade.hosts import ServedHost, hosts_in, hosts_in_source, run_arguments
from enfilade.loading import LoadError, import_file, import_named

#: Usual names of the variable of an app, in order of precedence.
USUAL_NAMES: Final = ("app", "mcp", "server")


class AppTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A server to load.

    Attributes:
        folder: the folder of the project, or the one that contains the module.
        file: the Python file; None for a module.
        module: the dotted name of the module; empty for a file.
        name: the variable of the app; empty for the usual names.
    """

    folder: Path
    file: Path | None = None
    module: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Return the file or the module, for messages."""
        return self.module if self.file is None else self.file.as_posix()


class LoadedApp(msgspec.Struct, frozen=True, kw_only=True):
    """An app, and what whoever serves it alone has to be told.

    Attributes:
        app: the app.
        host: the host that was asked for, around the app; None for the app itself.
        warning: names the host that its module has around it; empty without one, or if it was asked for.
    """

    app: MCPApp
    host: ServedHost | None = None
    warning: str = ""


def load_app(target: str | None = None, module: str | None = None) -> MCPApp:
    """Load an app; see `load_with_warning`."""
    return load_with_warning(target, module).app


def load_with_warning(target: str | None = None, module: str | None = None) -> LoadedApp:
    """Load an app, and look for a host around it.

    Args:
        target: `FILE`, `FILE:NAME`, a project's folder or `FOLDER:NAME`; None for the working directory.
        module: the name of a module instead, or `MODULE:NAME`.

    Without a name the app is the variable `app`, `mcp` or `server`, or else the only app in the module, or the
    host around an app if no variable has the app itself. A name may be that of a host. The
    folder of the file, or of its package, comes first on the import path, as when Python runs the file. An
    `if __name__ == "__main__"` block does not run.

    Raises:
        LoadError: there is no such file, module or app, or several; or its import fails; or the app has no tools,
            resources and prompts, and no lifespan that could add some.
        SettingsError: the file makes an app with an invalid setting.
    """
    resolved = find_target(target, module)
    imported = _import(resolved)
    selected = _select(imported, resolved)
    host = selected if isinstance(selected, ServedHost) else None
    app = selected.apps[0] if isinstance(selected, ServedHost) else selected
    is_empty = not any(len(registry) for registry in (app.tools, app.resources, app.templates, app.prompts))
    if is_empty and not app.has_lifespan:  # a lifespan may register tools
        raise LoadError(
            f"{str(resolved)!r} has an app that offers nothing; add a tool with @app.tool, a resource or a prompt"
        )
    warning = "" if host is not None else _host_warning(resolved, hosts_in(imported, app))
    return LoadedApp(app=app, host=host, warning=warning)


def host_warning(target: AppTarget) -> str:
    """Return the warning of a host that a server's file seems to have; empty without one. It is not imported."""
    if target.file is None:
        return ""
    return _host_warning(target, hosts_in_source(target.file.read_text(encoding="utf-8", errors="replace")))


def _host_warning(target: AppTarget, hosts: list[str]) -> str:
    if not hosts:
        return ""
    host = hosts[-1]  # the outermost is made last
    return (
        f"{target} has {host!r} as well, an ASGI application around this app: "
        "what it checks, such as tokens, is not checked when the app is served alone; "
        f"serve it with `{shlex.join(['enfilade', 'run', *run_arguments(target.file, target.module, host)])}`"
    )


def find_target(target: str | None = None, module: str | None = None) -> AppTarget:
    """Find a server without importing it. The arguments are those of `load_app`.

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
        discovered = _discover(path)
        return msgspec.structs.replace(discovered, name=name) if name else discovered
    return AppTarget(folder=path.parent, file=_check_file(path, file), name=name)


def _discover(folder: Path) -> AppTarget:
    """Return the server of a project, declared or in a usual place."""
    declared = _declared(folder)
    if declared is not None:
        return declared
    if (folder / "server.py").is_file():
        return AppTarget(folder=folder, file=folder / "server.py")
    candidates = sorted(folder.glob("src/*/server.py"))
    if len(candidates) == 1:
        return AppTarget(folder=folder, file=candidates[0])
    where = "here" if folder == Path() else f"in {str(folder)!r}"
    if not candidates:
        raise LoadError(
            f"there is no server {where}: looked for [tool.enfilade] in pyproject.toml, for server.py and for "
            "src/*/server.py; give the Python file, as in `enfilade run FILE`, or make a server with "
            "`enfilade new NAME`"
        )
    paths = [path.relative_to(folder).as_posix() for path in candidates]
    raise LoadError(
        f"there are several servers {where}: {', '.join(paths)}; give one of them, as in "
        f"`enfilade run {candidates[0].as_posix()}`, or write "
        f'`server = "{paths[0]}"` under [tool.enfilade] in pyproject.toml'
    )


def _declared(folder: Path) -> AppTarget | None:
    """Return the server that `pyproject.toml` declares, if it does."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        return None
    table = read_pyproject(file).get("tool", {}).get("enfilade", {})
    keys = [key for key in ("server", "module") if key in table] if isinstance(table, dict) else []
    if not keys:
        return None
    key = keys[0]
    value = table[key]
    if len(keys) > 1 or not isinstance(value, str) or not value:
        raise LoadError(
            f"{str(file)!r} must have one of these under [tool.enfilade], as a text: "
            'server = "src/NAME/server.py:app" or module = "NAME.server"'
        )
    if key == "module":
        return _module_target(folder, value)
    name_of_file, name = _split(value)
    path = folder / name_of_file
    return AppTarget(
        folder=folder, file=_check_file(path, name_of_file, f", which {str(file)!r} has as the server"), name=name
    )


def read_pyproject(file: Path) -> dict[str, Any]:
    """Return the content of a `pyproject.toml`.

    Raises:
        LoadError: it cannot be read or parsed.
    """
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{str(file)!r} cannot be read: {error}") from None


def _module_target(folder: Path, spec: str) -> AppTarget:
    module, _, name = spec.partition(":")
    if not all(word.isidentifier() for word in module.split(".")) or not (name.isidentifier() or ":" not in spec):
        raise LoadError(f"{spec!r} is no name of a module; it looks like NAME.server or NAME.server:app")
    return AppTarget(folder=folder, module=module, name=name)


def _check_file(path: Path, spec: str, reason: str = "") -> Path:
    if not path.is_file():
        advice = "" if reason else "; give the path of the Python file that makes the MCPApp"
        raise LoadError(f"there is no file {spec!r}{reason or ' here'}{advice}")
    if path.suffix != ".py":
        raise LoadError(f"{spec!r} is not a Python file; give the one that makes the MCPApp")
    return path


def _split(target: str) -> tuple[str, str]:
    """Split `FILE:NAME`; the colon of a Windows drive is part of the file."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and name.isidentifier() and len(file) > 1 else (target, "")


def _import(target: AppTarget) -> ModuleType:
    return import_named(target.module, target.folder) if target.file is None else import_file(target.file)


def _select(module: ModuleType, target: AppTarget) -> MCPApp | ServedHost:
    apps = {key: value for key, value in vars(module).items() if isinstance(value, MCPApp)}
    where = str(target)
    if target.name:
        if target.name in apps:
            return apps[target.name]
        if target.name in hosts_in(module):
            return ServedHost(getattr(module, target.name))
        other = vars(module).get(target.name)
        problem = (
            f"that is of type {type(other).__name__}, not an MCPApp" if other is not None else _choices(apps)
        )
        raise LoadError(f"{where!r} has no app called {target.name!r}: {problem}")
    for name in USUAL_NAMES:
        if name in apps:
            return apps[name]
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not apps and (hosts := hosts_in(module)):
        return ServedHost(getattr(module, hosts[-1]))
    if not apps:
        raise LoadError(f"{where!r} makes no MCPApp; write `app = MCPApp(name=...)` in it")
    raise LoadError(f"{where!r} has several apps; say which: " + " or ".join(f"{where}:{key}" for key in apps))


def _choices(apps: dict[str, MCPApp]) -> str:
    return "it has " + ", ".join(apps) if apps else "it makes no MCPApp at all"
