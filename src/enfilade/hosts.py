"""ASGI hosts that contain an app: FastAPI, Starlette, middleware around them, and functions that call an app.

Easy to get wrong: a server's file may hold both, an app and its host. What the host checks, such as tokens, holds
only for what is served through it, so whoever serves the app alone has to be told.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from msgspec.structs import replace

from enfilade.app import MCPApp
from enfilade.launch import Host
from enfilade.loading import LoadError
from enfilade.primitives.tool import Tool
from enfilade.settings import Settings, SettingsError
from enfilade.state.store import Store
from enfilade.transports.asgi import Receive, Scope, Send
from enfilade.transports.lifespans import serve_lifespans

_MAX_DEPTH: Final = 16  # of nested hosts and middleware
_NEEDS_PATH: Final = "say where it is by path=, such as path='/mcp'"


def contained_app(host: Any) -> tuple[MCPApp, str]:
    """Return the app in a host, and the path of its endpoint there.

    Raises:
        ValueError: no app is found, or several.
    """
    apps = {path: app for app, path in _apps(host, "", _MAX_DEPTH)}
    name = type(host).__name__
    if not apps:
        raise ValueError(f"no MCPApp is found among the routes of this {name}; {_NEEDS_PATH}")
    if len(apps) > 1:
        raise ValueError(f"this {name} holds several MCPApps, at {', '.join(sorted(apps))}; {_NEEDS_PATH}")
    path, app = apps.popitem()
    return app, path


def apps_of(host: Any) -> list[MCPApp]:
    """Return all apps in a host, without duplicates."""
    return list({id(app): app for app, _ in _apps(host, "", _MAX_DEPTH)}.values())


def _apps(holder: Any, prefix: str, depth: int) -> Iterator[tuple[MCPApp, str]]:
    """Yield apps and their paths: in routes, behind middleware, and behind their bound methods."""
    owner = getattr(holder, "__self__", None)
    if isinstance(owner, MCPApp):
        holder = owner
    if isinstance(holder, MCPApp):
        yield holder, _endpoint(holder, prefix)
    elif depth and isinstance(routes := getattr(holder, "routes", None), list | tuple):
        for route in routes:
            path = str(getattr(route, "path", ""))
            if path.startswith("/.well-known/"):  # metadata, or the catalog: no endpoint
                continue
            exact = not hasattr(route, "routes")  # a route matches its path only, a mount all paths below
            inner = getattr(route, "app", None) or getattr(route, "endpoint", None)
            for app, endpoint in _apps(inner, prefix + path.partition("{")[0].rstrip("/"), depth - 1):
                yield app, (prefix + path.partition("{")[0]).rstrip("/") or "/" if exact else endpoint
    elif depth and (inner := getattr(holder, "app", None)) is not None:
        yield from _apps(inner, prefix, depth - 1)


def _endpoint(app: MCPApp, prefix: str) -> str:
    """Return the path of a mounted app's endpoint: below the mount, or the mount's own path with a slash."""
    own = app.settings.path
    return f"{prefix}/" if prefix.endswith(own) else f"{prefix}{own}"


# -- a host that is served ---------------------------------------------------------------------------------------
class ServedHost:
    """A host that is served as an app is: settings, workers, stores and the end are those of the app.

    Args:
        original: the ASGI application around one or more apps.

    Attributes:
        apps: those in it; settings of the process are those of the first.

    Raises:
        LoadError: there is no app in it.
    """

    def __init__(self, original: Any) -> None:
        self.original = original
        self.apps = _apps_around(original)
        if not self.apps:
            raise LoadError(
                f"no MCPApp is found in this {type(original).__name__}; mount one, or add host_route()"
            )
        paths = {path for app, path in _apps(original, "", _MAX_DEPTH) if app is self.apps[0]}
        self.endpoint_path = min(paths, default=self.apps[0].settings.path)
        routes = getattr(original, "routes", None)
        own = {str(getattr(route, "path", "")) for route in routes} if isinstance(routes, list | tuple) else set()
        self._paths: Final = own

    @property
    def launched(self) -> Host:
        """What other processes need to make this again."""
        return Host(self.original, ServedHost)

    @property
    def settings(self) -> Settings:
        """The settings of the first app."""
        return self.apps[0].settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        if settings.transport != "http":
            settings = replace(settings, transport="http")
        if settings.path != self.settings.path:
            raise SettingsError(
                "Invalid settings: the path of the endpoint is that of a route of the host; "
                f"write MCPApp(path={settings.path!r}), and mount it anew"
            )
        for app in self.apps:
            app.settings = replace(settings, path=app.settings.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application; probes and metrics are the app's, unless the host has such routes."""
        if scope["type"] == "lifespan":
            await serve_lifespans([*self.apps, self.original], scope, receive, send)
            return
        settings, path = self.settings, scope.get("path")
        paths = (
            settings.health_path,
            settings.ready_path,
            settings.metrics_path if settings.serves_metrics else "",
        )
        is_probe = path and path in paths and path not in self._paths
        await (self.apps[0] if is_probe else self.original)(scope, receive, send)

    def drain(self) -> None:
        """Prepare for shutdown: open streams are told to end."""
        for app in self.apps:
            app.drain()

    def add_middleware(self, middleware: Any, *, outermost: bool = False) -> None:
        """Add middleware to all apps."""
        for app in self.apps:
            app.add_middleware(middleware, outermost=outermost)

    @property
    def tools(self) -> list[Tool]:
        """The tools of all apps."""
        return [tool for app in self.apps for tool in app.tools]

    @property
    def store(self) -> Store:
        """A store that workers cannot share, or else that of the first app."""
        return next((app.store for app in self.apps if not app.store.shared), self.apps[0].store)

    @property
    def given_store(self) -> Store | None:
        """A store that an app was given as an object."""
        return next((store for app in self.apps if (store := app.given_store) is not None), None)


def _apps_around(value: Any) -> list[MCPApp]:
    """Return the apps to which an ASGI application passes requests on."""
    try:
        inner = _called_by(value) if isinstance(value, FunctionType) else _held_by(value)
        apps = [app for entry in inner for app in apps_of(entry)]
    except Exception:  # of an object that answers with errors
        return []
    return list({id(app): app for app in apps}.values())


# -- hosts beside an app in its module ---------------------------------------------------------------------------
def hosts_in(module: ModuleType, app: MCPApp | None = None) -> list[str]:
    """Return the variables of a module that are ASGI applications around an app; None for around any."""
    return [name for name, value in list(vars(module).items()) if _contains(value, app)]


def _contains(value: Any, app: MCPApp | None) -> bool:
    """Return whether an ASGI application passes requests on to an app."""
    try:
        if isinstance(value, MCPApp | ModuleType | type) or not callable(value):
            return False
    except Exception:  # a proxy, say, that answers with errors; it is no host that serves this app
        return False
    return any(app is None or contained is app for contained in _apps_around(value))


def _called_by(function: FunctionType) -> list[object]:
    """Return what a function that is an ASGI application refers to."""
    code = function.__code__
    if code.co_varnames[: code.co_argcount][:1] != ("scope",):
        return []
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [*cells, *(function.__globals__.get(name) for name in code.co_names)]


def _held_by(value: Any) -> list[object]:
    """Return an object that is an ASGI application, and its attributes."""
    code = type(value).__call__.__code__
    return [value, *vars(value).values()] if code.co_argcount == 4 else []  # self, scope, receive, send


def hosts_in_source(source: str) -> list[str]:
    """Return the variables of a file that look like hosts of an app, without importing it."""
    apps, hosts = set[str](), list[str]()
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    for node in body:
        value = getattr(node, "value", None)
        if not isinstance(value, ast.Call):
            continue
        function = value.func
        targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        called = str(getattr(function, "attr", None) or getattr(function, "id", ""))
        if called == "MCPApp":
            apps.update(names)
        elif _mentions_app(value, apps):
            if isinstance(node, ast.Expr) and called in ("mount", "append"):  # api.router.routes.append(...)
                while isinstance(function, ast.Attribute):
                    function = function.value
                names = [function.id] if isinstance(function, ast.Name) else []
            elif not called[:1].isupper():  # a function may do anything with an app; a class is middleware
                names = []
            hosts += [name for name in names if name not in hosts]
    return hosts


def _mentions_app(call: ast.Call, apps: set[str]) -> bool:
    """Return whether an app, or its route, is among the arguments of a call."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    nodes = [node for argument in arguments for node in ast.walk(argument)]
    return any(
        (isinstance(node, ast.Name) and node.id in apps)
        or (isinstance(node, ast.Attribute) and node.attr == "host_route")
        for node in nodes
    )


def run_arguments(file: Path | None, module: str, host: str) -> list[str]:
    """Return the arguments of `enfilade run` for a host, seen from the working directory."""
    if file is None:
        return ["--module", f"{module}:{host}"]
    path, here = file.resolve(), Path.cwd()
    return [f"{(path.relative_to(here) if path.is_relative_to(here) else path).as_posix()}:{host}"]
