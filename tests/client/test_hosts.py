"""`connect` to a host that holds an app, as somebody, with headers; and how it ends."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Mount, Route

import enfilade
from enfilade import Context, MCPApp
from enfilade.testing import Command, connect

ERAS = ("stateless", "session")


class Signed:
    """Middleware of a host: whoever has the right header is somebody."""

    is_authenticated = True
    display_name = "ada"

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if (b"authorization", b"Bearer ada") in scope.get("headers", ()):
            scope = {**scope, "user": self}
        await self.app(scope, receive, send)


def make(diary: list[str], **options: Any) -> MCPApp:
    @asynccontextmanager
    async def lifespan(app: MCPApp) -> AsyncIterator[str]:
        diary.append("open")
        yield "tea"
        diary.append("closed")

    app = MCPApp(name="Held", lifespan=lifespan, **options)

    @app.tool
    async def who(ctx: Context) -> str:
        return f"{ctx.peer.principal} drinks {ctx.lifespan}"

    return app


def fastapi_mounted(app: MCPApp) -> Any:
    host = FastAPI()
    host.mount("/tools", app)
    return host


def fastapi_mounted_at_its_path(app: MCPApp) -> Any:
    host = FastAPI()
    host.mount("/mcp", app)
    return host


def fastapi_routed(app: MCPApp) -> Any:
    host = FastAPI()
    host.add_route("/mcp{slash:path}", app)
    return host


def fastapi_at_the_root(app: MCPApp) -> Any:
    host = FastAPI()
    host.mount("", app)
    return host


def nested_with_middleware(app: MCPApp) -> Any:
    inner = Starlette(routes=[Mount("/b", app=GZipMiddleware(app))], middleware=[Middleware(GZipMiddleware)])
    return Signed(Starlette(routes=[Route("/x", lambda request: None), Mount("/a", app=inner)]))


def with_its_lifespan(app: MCPApp) -> Any:
    @asynccontextmanager
    async def lifespan(host: FastAPI) -> AsyncIterator[None]:
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.add_route("/mcp{slash:path}", app)
    return host


HOSTS: list[Callable[[MCPApp], Any]] = [
    *(fastapi_mounted, fastapi_mounted_at_its_path, fastapi_routed, fastapi_at_the_root),
    *(nested_with_middleware, with_its_lifespan),
]


async def asked(target: Any, **options: Any) -> str:
    async with connect(target, **options) as client:
        return str((await client.call_tool("who", {})).structured_content["result"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_reached_where_it_holds_the_app(host: Callable[[MCPApp], Any], era: Any) -> None:
    diary: list[str] = []
    assert asyncio.run(asked(host(make(diary)), era=era)) == "None drinks tea"
    assert diary == ["open", "closed"]


@pytest.mark.parametrize("era", ERAS)
def test_headers_reach_the_hosts_middleware(era: Any) -> None:
    host = Signed(fastapi_mounted(make([])))
    assert asyncio.run(asked(host, era=era, headers={"Authorization": "Bearer ada"})) == "ada drinks tea"
    assert asyncio.run(asked(host, era=era)) == "None drinks tea"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["memory", "http"])
def test_a_client_may_be_somebody(transport: Any, era: Any) -> None:
    assert asyncio.run(asked(make([]), transport=transport, era=era, principal="ada")) == "ada drinks tea"


def test_with_headers_an_app_is_reached_over_http() -> None:
    assert asyncio.run(asked(Guarded(make([])).app, headers={"x-any": "1"})) == "None drinks tea"


class Guarded:
    """Holds an app where nobody looks: no routes, and no middleware that says what it wraps."""

    def __init__(self, app: MCPApp) -> None:
        self.app = app


def test_a_path_may_be_said() -> None:
    app = make([])

    async def closed(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    assert asyncio.run(asked(closed, path="/mcp")) == "None drinks tea"
    with pytest.raises(ValueError, match=r"no MCPApp is found .* this function; say where .*path="):
        asyncio.run(asked(closed))


def test_of_several_apps_none_is_guessed() -> None:
    host = Starlette(routes=[Mount("/a", app=make([])), Mount("/b", app=make([]))])
    with pytest.raises(ValueError, match=r"holds several MCPApps, at /a/mcp, /b/mcp; say where it is by path="):
        asyncio.run(asked(host))
    assert asyncio.run(asked(host, path="/b/mcp")) == "None drinks tea"


def test_the_state_of_the_hosts_lifespan_reaches_requests() -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[dict[str, str]]:
        yield {"cup": "large"}
        seen.append("closed")

    class Looks:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                seen.append(Request(scope).state.cup)
            await self.app(scope, receive, send)

    host = Starlette(routes=[Mount("/m", app=make([]))], lifespan=lifespan, middleware=[Middleware(Looks)])
    assert asyncio.run(asked(host)) == "None drinks tea"
    assert seen[0] == "large"
    assert seen[-1] == "closed"


def test_what_a_hosts_lifespan_raises_arrives_as_it_was() -> None:
    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        raise KeyError("no database")
        yield

    with pytest.raises(KeyError, match="no database"):
        asyncio.run(asked(Starlette(routes=[Mount("/m", app=make([]))], lifespan=lifespan)))


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "headers in memory": (make([]), {"headers": {"a": "b"}, "transport": "memory"}, "headers= belong to HTTP"),
    "somebody over stdio": (
        make([]),
        {"principal": "a", "transport": "stdio"},
        "principal= is for an MCPApp over",
    ),
    "somebody in a host": (fastapi_mounted(make([])), {"principal": "a"}, "principal= is for .* users of a host"),
    "somebody at a URL": ("http://127.0.0.1:9/mcp", {"principal": "a"}, "principal= is for .* users of a URL"),
    "a host in memory": (
        fastapi_mounted(make([])),
        {"transport": "memory"},
        "a host is reached by transport='http'",
    ),
    "a path of an app": (
        make([]),
        {"path": "/mcp"},
        "path= is for a host .* not for an MCPApp",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(case: str) -> None:
    target, options, said = WRONG[case]
    with pytest.raises(ValueError, match=said):
        asyncio.run(asked(target, **options))


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict cannot be connected to; give an MCPApp, an ASGI application"):
        asyncio.run(asked({}))


def test_there_is_one_connect() -> None:
    assert enfilade.connect is connect
    assert asyncio.run(asked(make([]), era="session")) == "None drinks tea"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["memory", "http"])
def test_it_may_be_left_in_another_task(transport: Any, era: Any) -> None:
    diary: list[str] = []

    async def scenario() -> None:
        manager = connect(make(diary), transport=transport, era=era)
        client = await asyncio.create_task(manager.__aenter__())
        assert (await client.call_tool("who", {})).structured_content == {"result": "None drinks tea"}
        await asyncio.create_task(manager.__aexit__(None, None, None))  # type: ignore[arg-type]

    asyncio.run(scenario())
    assert diary == ["open", "closed"]


HANGS = "import time; time.sleep(60)"


@pytest.mark.parametrize("cut", ["while it connects", "while it is connected"])
def test_who_is_cancelled_leaves_nothing_behind(cut: str) -> None:
    diary: list[str] = []
    target = Command([sys.executable, "-c", HANGS]) if cut == "while it connects" else make(diary)

    async def scenario() -> None:
        connected = asyncio.Event()

        async def wait() -> None:
            async with connect(target):
                connected.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        if cut == "while it connects":
            await asyncio.sleep(0.2)
        else:
            await connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert diary == ([] if cut == "while it connects" else ["open", "closed"])


def test_a_scope_that_is_cancelled_around_it_ends_it() -> None:
    diary: list[str] = []

    async def scenario() -> None:
        with anyio.move_on_after(0.2) as scope:
            async with connect(make(diary)):
                await asyncio.sleep(60)
        assert scope.cancelled_caught
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert diary == ["open", "closed"]
