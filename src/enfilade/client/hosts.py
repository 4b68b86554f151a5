"""ASGI applications that hold an app: FastAPI, Starlette and middleware around them.

Easy to get wrong: a host's own lifespan, which no server runs here. What it raises must arrive as it was raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from enfilade.app import MCPApp

_DEPTH: Final = 16  # hosts and middleware inside one another
_NEEDS_PATH: Final = "say where it is by path=, such as path='/mcp'"


def held_app(host: Any) -> tuple[MCPApp, str]:
    """Return the app that an ASGI application holds, and the path of its endpoint there.

    Raises:
        ValueError: it holds none that can be found, or several.
    """
    found = {path: app for app, path in _apps(host, "", _DEPTH)}
    name = type(host).__name__
    if not found:
        raise ValueError(f"no MCPApp is found among the routes of this {name}; {_NEEDS_PATH}")
    if len(found) > 1:
        raise ValueError(f"this {name} holds several MCPApps, at {', '.join(sorted(found))}; {_NEEDS_PATH}")
    path, app = found.popitem()
    return app, path


def apps_of(host: Any) -> list[MCPApp]:
    """Return every app that an ASGI application holds, each once."""
    return list({id(app): app for app, _ in _apps(host, "", _DEPTH)}.values())


def _apps(holder: Any, prefix: str, depth: int) -> Iterator[tuple[MCPApp, str]]:
    """Find apps in routes, behind middleware, and behind their bound methods."""
    owner = getattr(holder, "__self__", None)
    if isinstance(owner, MCPApp):
        holder = owner
    if isinstance(holder, MCPApp):
        yield holder, _endpoint(holder, prefix)
    elif depth and isinstance(routes := getattr(holder, "routes", None), list | tuple):
        for route in routes:
            path = str(getattr(route, "path", ""))
            exact = not hasattr(route, "routes")  # a route has a path of its own, and a mount what is below its
            inner = getattr(route, "app", None) or getattr(route, "endpoint", None)
            for app, found in _apps(inner, prefix + path.partition("{")[0].rstrip("/"), depth - 1):
                yield app, (prefix + path.partition("{")[0]).rstrip("/") or "/" if exact else found
    elif depth and (inner := getattr(holder, "app", None)) is not None:
        yield from _apps(inner, prefix, depth - 1)


def _endpoint(app: MCPApp, prefix: str) -> str:
    """Return the path of a mounted app's endpoint: below the mount, or the mount itself with a slash."""
    own = app.settings.path
    return f"{prefix}/" if prefix.endswith(own) else f"{prefix}{own}"


@asynccontextmanager
async def lifespan_of(host: Any) -> AsyncIterator[dict[str, Any]]:
    """Run an ASGI application's lifespan, if it has one, and yield the state that it leaves for requests."""
    state: dict[str, Any] = {}
    to_host: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_host: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(host(scope, to_host.get, from_host.put))
    has_one = await _stepped("startup", task, to_host, from_host)
    try:
        yield state
    finally:
        if has_one:
            await _stepped("shutdown", task, to_host, from_host)
        task.cancel()
        await asyncio.wait({task})


async def _stepped(step: str, task: asyncio.Future[Any], to_host: Any, from_host: Any) -> bool:
    """Take a step of a lifespan; False if the host has none.

    Raises:
        BaseException: what the host raised in it.
        RuntimeError: the host says that it failed, and raises nothing.
    """
    to_host.put_nowait({"type": f"lifespan.{step}"})
    answer = asyncio.ensure_future(from_host.get())
    await asyncio.wait({task, answer}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        return False  # it has ended, or has raised at the sight of such a scope
    message = answer.result()
    if not message["type"].endswith(".failed"):
        return True
    await asyncio.wait({task}, timeout=1)
    error = task.exception() if task.done() and not task.cancelled() else None
    raise error or RuntimeError(f"the host's lifespan failed: {message.get('message', '')}".rstrip())
