"""ASGI middleware around an app: `MCPApp(asgi_middleware=[...])`.

Each entry is a class or a function that takes the application first and returns one, alone or with its keyword
arguments: `(GZipMiddleware, {"minimum_size": 500})`. Starlette's `Middleware(cls, ...)` has the members `cls`,
`args` and `kwargs`, so Starlette is not imported for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Asgi = Callable[..., Any]
Factory = Callable[[Asgi], Asgi]

_USAGE: Final = (
    "asgi_middleware takes a list of classes, of pairs of a class and its arguments, as in "
    '[(GZipMiddleware, {"minimum_size": 500})], '
    "or of Starlette's Middleware(...)"
)


def read_asgi_middleware(entries: object) -> tuple[Factory, ...]:
    """Return what makes each middleware of its inner application, outermost first.

    Raises:
        TypeError: an entry is none of these; the text says what to write.
    """
    if isinstance(entries, str | bytes | Mapping) or callable(entries) or not isinstance(entries, Iterable):
        raise TypeError(f"{_USAGE}, not {entries!r}")
    return tuple(_factory(entry) for entry in entries)


def _factory(entry: Any) -> Factory:
    factory, positional, named = entry, (), {}
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], Mapping):
            raise TypeError(f"{_USAGE}, not {entry!r}")
        factory, named = entry[0], dict(entry[1])
    elif hasattr(entry, "cls") and hasattr(entry, "kwargs"):
        factory, positional, named = entry.cls, tuple(getattr(entry, "args", ())), dict(entry.kwargs)
    if not callable(factory):
        raise TypeError(f"{_USAGE}, not {entry!r}")
    return lambda app: factory(app, *positional, **named)


def wrapped(app: Asgi, factories: Iterable[Factory]) -> Asgi:
    """Return an application with middleware around it, the first outermost.

    Raises:
        TypeError: a middleware cannot be made with its arguments, or is no application.
    """
    for factory in reversed(tuple(factories)):
        outer = factory(app)
        if not callable(outer):
            raise TypeError(f"asgi_middleware returned {outer!r} where an ASGI application is due")
        app = outer
    return app
