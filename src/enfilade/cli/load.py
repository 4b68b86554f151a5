"""Find the app in a Python file, and say clearly what is wrong if there is none."""

from pathlib import Path
from types import ModuleType

from enfilade.app import MCPApp
from enfilade.source import LoadError, import_file


def load_app(target: str | None) -> MCPApp:
    """Return the app of `FILE` or `FILE:NAME`.

    Without a name it is the one called `app`, or else the only one in the file. The file's directory comes first
    on the import path, as when Python runs it, and its `if __name__ == "__main__"` block does not run.

    Raises:
        LoadError: the file is missing or fails, there is no such app, or it offers nothing.
        SettingsError: the file makes an app with a setting that cannot be.
    """
    if target is None:
        raise LoadError("say which server: the Python file that makes the MCPApp, as in server.py")
    file, name = _split(target)
    path = Path(file)
    if not path.is_file():
        raise LoadError(f"there is no file {file!r} here; give the path of the Python file that makes the MCPApp")
    if path.suffix != ".py":
        raise LoadError(f"{file!r} is not a Python file")
    app = _pick(import_file(path), file, name)
    if not any(len(offered) for offered in (app.tools, app.resources, app.templates, app.prompts)):
        raise LoadError(f"{file!r} has an app but no tools; add one with @app.tool")
    return app


def _split(target: str) -> tuple[str, str | None]:
    """Split `FILE:NAME`; the colon of a Windows drive is part of the file."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and name.isidentifier() and len(file) > 1 else (target, None)


def _pick(module: ModuleType, file: str, name: str | None) -> MCPApp:
    apps = {key: value for key, value in vars(module).items() if isinstance(value, MCPApp)}
    if name is not None:
        if name in apps:
            return apps[name]
        found = vars(module).get(name)
        what = f"that is of type {type(found).__name__}, not an MCPApp" if found is not None else _choices(apps)
        raise LoadError(f"{file!r} has no app called {name!r}: {what}")
    if "app" in apps:
        return apps["app"]
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not apps:
        raise LoadError(f"{file!r} makes no MCPApp; write `app = MCPApp(name=...)` in it")
    raise LoadError(f"{file!r} has several apps; say which: " + " or ".join(f"{file}:{key}" for key in apps))


def _choices(apps: dict[str, MCPApp]) -> str:
    return "it has " + ", ".join(apps) if apps else "it makes no MCPApp at all"
