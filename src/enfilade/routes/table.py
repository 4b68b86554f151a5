"""The routes of an app: which handler, or which mounted ASGI application, a path leads to.

Looked at only for paths that are not the endpoint's, a probe's or a metadata document's. Among routes the exact
path is first, then paths with `{name}` in the order in which they were added, then the longest mount. Easy to
get wrong: settings come later than routes, and may move the endpoint or a probe onto one, so `check` runs at the
start again.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from enfilade.primitives.access import check_scopes
from enfilade.primitives.schema.signature import raw_name

_METADATA: Final = "/.well-known/oauth-protected-resource"
_PARAMETER: Final = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(:path)?\}")
_METHOD: Final = re.compile(r"[A-Z]+")
_SIGNATURE: Final = "a handler takes the request, or nothing"


class Route(msgspec.Struct, frozen=True, eq=False):
    """A handler and what leads to it.

    Attributes:
        path: as it was given.
        methods: in upper case; with GET there is HEAD.
        handler: the function.
        request_type: the class that it wants of Starlette, made of scope and receive; None for `RouteRequest`.
        takes_request: whether it has a parameter for the request.
        scopes: what a caller must have; None for a route that is public.
        pattern: matches the path; None for one without parameters.
    """

    path: str
    methods: tuple[str, ...]
    handler: Callable[..., Any]
    request_type: type | None
    takes_request: bool
    scopes: tuple[str, ...] | None
    pattern: re.Pattern[str] | None

    @property
    def name(self) -> str:
        """The name of its handler, for errors and the log."""
        return str(raw_name(self.handler))


class Mount(msgspec.Struct, frozen=True, eq=False):
    """An ASGI application at a path and all paths below.

    Attributes:
        path: without a slash at the end; empty for all paths that nothing else has.
        app: the application.
        scopes: what a caller must have; None for one that is public.
    """

    path: str
    app: Callable[..., Any]
    scopes: tuple[str, ...] | None


class Match(NamedTuple):
    """What a path leads to.

    Attributes:
        target: the route or the mount; None if its methods are others.
        parameters: those in the path of the route.
        methods: all that the path has, if it is a route's.
    """

    target: Route | Mount | None
    parameters: Mapping[str, str]
    methods: tuple[str, ...]


class RouteTable:
    """The routes and mounts of one app."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._patterns: list[Route] = []
        self._mounts: list[Mount] = []

    def __iter__(self) -> Iterator[Route | Mount]:
        for routes in self._exact.values():
            yield from routes
        yield from self._patterns
        yield from self._mounts

    def add(
        self, path: str, methods: Sequence[str], handler: Callable[..., Any], scopes: tuple[str, ...] | None
    ) -> None:
        """Add a route.

        Raises:
            TypeError: the handler takes other parameters than the request.
            ValueError: the path or a method cannot be, or another route has both.
        """
        parameters = _parameters(path)
        names = _methods(methods)
        takes_request, request_type = _request_of(handler)
        pattern = _pattern(path) if parameters else None
        route = Route(path, names, handler, request_type, takes_request, scopes, pattern)
        shape = _PARAMETER.sub(r"{\2}", path)
        for other in self:
            if not isinstance(other, Route) or _PARAMETER.sub(r"{\2}", other.path) != shape:
                continue
            if both := [name for name in names if name in other.methods]:
                raise ValueError(f"{both[0]} {path} is taken by {other.name}() at {other.path}")
        if pattern is None:
            self._exact.setdefault(path, []).append(route)
        else:
            self._patterns.append(route)

    def mount(self, path: str, app: Callable[..., Any], scopes: tuple[str, ...] | None) -> None:
        """Add an ASGI application at a path and below.

        Raises:
            TypeError: it cannot be one.
            ValueError: the path cannot be, or another application is mounted there.
        """
        if isinstance(app, type) or not callable(app):
            raise TypeError(
                f"add_route({path!r}, ...) takes an ASGI application, not {app!r}; for a function that answers "
                f"one request write @app.route({path!r})"
            )
        if _parameters(path):
            raise ValueError(f"an application is mounted at a plain path, without {{...}}: {path!r}")
        path = path.rstrip("/")
        if any(mount.path == path for mount in self._mounts):
            raise ValueError(f"another application is mounted at {path or '/'}")
        self._mounts.append(Mount(path, app, scopes))
        self._mounts.sort(key=lambda mount: -len(mount.path))

    def has(self, path: str) -> bool:
        """Whether a route, without parameters, is at exactly this path."""
        return path in self._exact

    def match(self, path: str, method: str) -> Match | None:
        """Return what a request for a path leads to; None if nothing is there."""
        methods: list[str] = []
        for route in self._exact.get(path, ()):
            if method in route.methods:
                return Match(route, {}, route.methods)
            methods += route.methods
        for route in self._patterns:
            assert route.pattern is not None
            if (match := route.pattern.fullmatch(path)) is not None:
                if method in route.methods:
                    return Match(route, match.groupdict(), route.methods)
                methods += route.methods
        if methods:
            return Match(None, {}, tuple(dict.fromkeys(methods)))
        mount = self.mounted_at(path)
        return None if mount is None else Match(mount, {}, ())

    def mounted_at(self, path: str) -> Mount | None:
        """Return the application that is mounted at a path, or above it."""
        for mount in self._mounts:
            if path == mount.path or path.startswith(f"{mount.path}/"):
                return mount
        return None

    def check(self, reserved: Mapping[str, str]) -> None:
        """Refuse routes at paths that have another use.

        Args:
            reserved: the names of what has a path, by path.

        Raises:
            ValueError: a route, or a mount other than that of all paths, is at one of them.
        """
        paths = {path.rstrip("/") or "/": name for path, name in reserved.items() if path}
        for entry in self:
            path = entry.path.rstrip("/") or "/"
            if isinstance(entry, Mount) and path == "/":
                continue
            taken = paths.get(path) or ("the metadata of authorization" if path.startswith(_METADATA) else None)
            if taken is not None:
                raise ValueError(f"the path {entry.path or '/'} is that of {taken}; give the route another one")


def read_scopes(authenticated: bool, scopes: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the scopes of a route that needs a caller; None for one that is public.

    Raises:
        TypeError, ValueError: a scope cannot be one.
    """
    if scopes is not None:
        return check_scopes(scopes, "scopes")
    return () if authenticated else None


def _parameters(path: str) -> list[str]:
    """Return the names of the parameters in a path.

    Raises:
        TypeError: the path is no text.
        ValueError: it cannot be a path.
    """
    if not isinstance(path, str):
        raise TypeError(f'a route has a path, such as @app.route("/status"), not {path!r}')
    if not path.startswith("/") or "//" in path or "?" in path or "#" in path:
        raise ValueError(f"{path!r} is no path of a route; it begins with one slash and has no query: /status")
    names = [match[1] for match in _PARAMETER.finditer(path)]
    if set(_PARAMETER.sub("", path)) & set("{}"):
        raise ValueError(f"{path!r}: a parameter of a path is {{name}}, or {{name:path}} for the rest of it")
    if len(set(names)) < len(names):
        raise ValueError(f"{path!r} has a parameter twice")
    return names


def _pattern(path: str) -> re.Pattern[str]:
    text, end = "", 0
    for match in _PARAMETER.finditer(path):
        text += re.escape(path[end : match.start()]) + f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})"
        end = match.end()
    return re.compile(text + re.escape(path[end:]), re.DOTALL)


def _methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Return HTTP methods in upper case.

    Raises:
        TypeError: they are no list.
        ValueError: there is none, or one cannot be.
    """
    if isinstance(methods, str):
        raise TypeError(f"methods= takes a list: methods=[{methods!r}]")
    names = [str(method).upper() for method in methods]
    if not names or not all(map(_METHOD.fullmatch, names)):
        raise ValueError(f"methods={list(methods)!r} has no HTTP methods, such as GET and POST")
    return tuple(dict.fromkeys([*names, "HEAD"] if "GET" in names else names))


def _request_of(handler: Callable[..., Any]) -> tuple[bool, type | None]:
    """Return whether a handler takes the request, and the class of Starlette's requests that it wants.

    Raises:
        TypeError: it is no function, or takes something else.
    """
    if isinstance(handler, type) or not callable(handler):
        raise TypeError(f"a route needs a function, not {handler!r}; {_SIGNATURE}")
    try:
        signature = inspect.signature(handler, eval_str=True)
    except (NameError, TypeError, ValueError):  # a name for type checkers only
        signature = inspect.signature(handler)
    parameters = list(signature.parameters.values())
    required = [entry for entry in parameters if entry.default is entry.empty and entry.kind not in (2, 4)]
    if len(required) > 1 or any(entry.kind is entry.KEYWORD_ONLY for entry in required):
        names = ", ".join(entry.name for entry in required)
        raise TypeError(
            f"{raw_name(handler)}({names}): {_SIGNATURE}; parameters of the path are in request.path_params"
        )
    if not parameters or parameters[0].kind in (3, 4):
        return False, None
    wanted = parameters[0].annotation
    is_starlette = isinstance(wanted, type) and any(
        base.__module__ == "starlette.requests" for base in wanted.__mro__
    )
    return True, wanted if is_starlette else None
