"""B13: `ctx.state` as handlers have it: over HTTP in both eras, over stdio, and in several processes."""

import asyncio
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from enfilade import Context, MCPApp, Request, connect
from enfilade.serving.principal import Principal
from enfilade.testing import Command
from support.cluster.server_processes import ProcessCluster
from support.http_client.asgi_calls import AsgiClient
from support.servers.processes import enfilade_command

pytestmark = pytest.mark.anyio

SERVER = '''
from enfilade import Context, MCPApp

app = MCPApp("Counting")


@app.tool
async def count(ctx: Context) -> int:
    """Count a call of the caller."""
    return await ctx.state.update("count", lambda value: value + 1, default=0)


@app.tool
async def counted(ctx: Context) -> int:
    """Return how many were counted."""
    return await ctx.state.get("count", 0)


if __name__ == "__main__":
    app.run()
'''


class Authenticated:
    """A host that takes the user's name from a header, as authentication of Starlette would from a token."""

    def __init__(self, app: MCPApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope["headers"]:
            if name == b"x-user":
                scope["user"] = SimpleNamespace(is_authenticated=True, identity=value.decode())
        await self._app(scope, receive, send)


def counting_app(**options: Any) -> MCPApp:
    app = MCPApp("Counting", **options)

    @app.tool
    async def count(ctx: Context, key: str = "count") -> int:
        count: int = await ctx.state.update(key, lambda value: value + 1, default=0)
        return count

    return app


def result_of(reply: Any) -> Any:
    result = reply.result
    return result["content"][0]["text"] if result.get("isError") else result["structuredContent"]["result"]


COUNT = {"name": "count", "arguments": {}}


async def test_a_user_is_counted_over_sessions_and_both_eras(store_url: str) -> None:
    app = counting_app(store=store_url)
    client = AsgiClient(Authenticated(app))
    counts = []
    for user in ("ada", "ada", "bob"):
        token = (await client.initialize(x_user=user)).headers["mcp-session-id"]
        counts.append(result_of(await client.ask(token, "tools/call", COUNT, x_user=user)))
        counts.append(result_of(await client.modern("tools/call", COUNT, x_user=user)))
    assert counts == [1, 2, 3, 4, 1, 2]
    await app._close()


async def test_the_same_subject_of_another_issuer_is_another_user() -> None:
    app = counting_app()
    issuers = (None, "https://a.example", "https://b.example", "https://a.example")
    counts = []
    for issuer in issuers:

        async def host(scope: Any, receive: Any, send: Any, issuer: str | None = issuer) -> None:
            scope["state"] = {"enfilade.principal": Principal("ada", issuer=issuer)}
            await app(scope, receive, send)

        counts.append(result_of(await AsgiClient(host).modern("tools/call", COUNT)))
    assert counts == [1, 1, 1, 2]


async def test_a_session_is_counted_without_a_user_and_after_its_end_no_other_has_its_count() -> None:
    app = counting_app()
    client = AsgiClient(app)
    for _ in range(2):
        token = (await client.initialize()).headers["mcp-session-id"]
        assert [result_of(await client.ask(token, "tools/call", COUNT)) for _ in range(2)] == [1, 2]
        deleted = await client.send(client.scope({"mcp-session-id": token}, "DELETE"), b"")
        assert deleted.status < 300
    assert (await client.ask(token, "tools/call", COUNT)).status == 404


async def test_a_stateless_call_of_nobody_is_told_of_handles() -> None:
    reply = await AsgiClient(counting_app()).modern("tools/call", COUNT)
    assert "return a handle (such as an id) from one tool" in result_of(reply)


async def test_a_tool_that_another_calls_has_the_same_state() -> None:
    app = counting_app()

    @app.tool
    async def twice(ctx: Context) -> list[int]:
        return [await ctx.tools.call("count"), await ctx.tools.call("count"), await ctx.state.get("count")]

    reply = await AsgiClient(Authenticated(app)).modern("tools/call", {"name": "twice"}, x_user="ada")
    assert result_of(reply) == [1, 2, 2]


async def test_the_log_names_a_key_that_cannot_be_and_the_client_reads_an_id() -> None:
    client = AsgiClient(Authenticated(counting_app()))
    reply = await client.modern("tools/call", {"name": "count", "arguments": {"key": ""}}, x_user="ada")
    assert reply.result["isError"]
    assert "characters" not in result_of(reply)


async def test_over_memory_the_connection_is_the_session(tmp_path: Path) -> None:
    app = counting_app(store=f"sqlite:///{tmp_path / 'state.db'}")
    for _ in range(2):
        async with connect(app, era="session") as client:
            counts = [await client.call_tool("count", {}) for _ in range(2)]
        assert [each.structured_content for each in counts] == [{"result": 1}, {"result": 2}]
    for expected in (1, 2):
        async with connect(app, principal="ada") as client:
            result = await client.call_tool("count", {})
        assert result.structured_content == {"result": expected}


async def test_over_stdio_the_connection_is_the_session(tmp_path: Path) -> None:
    file = tmp_path / "server.py"
    file.write_text(SERVER, encoding="utf-8")
    async with connect(Command([sys.executable, str(file)]), era="session") as client:
        counts = [await client.call_tool("count", {}) for _ in range(2)]
    assert [each.structured_content for each in counts] == [{"result": 1}, {"result": 2}]


def test_four_processes_lose_no_update(tmp_path: Path) -> None:
    """Each call of the session is served by another process than the one before."""
    file = tmp_path / "server.py"
    file.write_text(SERVER, encoding="utf-8")
    command = enfilade_command("run", str(file), "-t", "http", "-p", "{port}")
    with ProcessCluster(4, command, f"sqlite:///{tmp_path / 'state.db'}") as cluster:
        session = cluster.http.initialize()
        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(lambda number: session.call("count", id=number), range(80)))
        counts = sorted(result_of(reply) for reply in replies)
        assert counts == list(range(1, 81)), cluster.output()
        assert result_of(session.call("counted")) == 80


# -- names of others -------------------------------------------------------------------------------------------


async def test_names_of_fastmcp_work() -> None:
    app = MCPApp()
    kept = object()

    @app.tool
    async def work(ctx: Context) -> list[Any]:
        await ctx.set_state("a", {"n": 1})
        await ctx.set_state("b", kept, serializable=False)
        values = [await ctx.get_state("a"), await ctx.get_state("b") is kept, ctx.request_data["b"] is kept]
        await ctx.delete_state("b")
        values += [await ctx.get_state("b"), await ctx.state.keys()]
        await ctx.delete_state("a")
        return [*values, await ctx.get_state("a")]

    async with connect(app, principal="ada") as client:
        result = await client.call_tool("work", {})
    assert result.structured_content == {"result": [{"n": 1}, True, True, None, ["a"], None]}


async def test_data_of_middleware_is_there_as_a_dict_with_a_warning() -> None:
    app = MCPApp()
    used: list[Any] = []

    @app.add_middleware
    async def fill(request: Request, call_next: Any) -> Any:
        request.state["user"] = "ada"
        return await call_next(request)

    @app.tool
    async def work(ctx: Context) -> str:
        old: Any = ctx.state
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            used.append((old["user"], "user" in old, next(iter(old)), len(old), list(old.items())))
            old["more"] = 1
            del old["user"]
            used.append(old.setdefault("other", 2))
        assert all(each.category is DeprecationWarning for each in caught)
        assert all("ctx.request_data" in str(each.message) for each in caught)
        assert {each.filename for each in caught} == {__file__}
        used.append(len(caught))
        with pytest.raises(AttributeError, match=r"ctx.state has no 'fromkeys'"):
            old.fromkeys([])
        with pytest.raises(TypeError, match=r"data of middleware is ctx.request_data"):
            await old.update({"a": 1})
        assert ctx.request_data == {"more": 1, "other": 2}
        return "done"

    reply = await AsgiClient(app).modern("tools/call", {"name": "work"})
    assert result_of(reply) == "done"
    assert used == [("ada", True, "user", 1, [("user", "ada")]), 2, 8]


# -- plain functions -------------------------------------------------------------------------------------------


def test_a_plain_function_is_told_to_await() -> None:
    app = MCPApp()

    def gets(ctx: Context) -> str:
        return str(ctx.state.get("user"))

    def sets(ctx: Context) -> None:
        ctx.set_state("user", "ada")  # type: ignore[unused-coroutine]

    async def drops(ctx: Context) -> None:
        ctx.state.set("user", "ada")  # type: ignore[unused-coroutine]

    with pytest.raises(TypeError, match=r"`await ctx.state.get\(…\)`; data of middleware is ctx.request_data"):
        app.add_tool(gets)
    with pytest.raises(TypeError, match=r"make it `async def`, and write `await ctx.set_state\(…\)`"):
        app.add_tool(sets)
    with pytest.raises(TypeError, match=r"does not await ctx.state.set"):
        app.add_tool(drops)

    async def tests_what_it_awaits(ctx: Context) -> bool:
        return await ctx.state.get("user") is None or not await ctx.get_state("user")

    app.add_tool(tests_what_it_awaits)
    assert [tool.name for tool in app.tools] == ["tests_what_it_awaits"]


async def test_a_thread_is_told_to_await() -> None:
    app = MCPApp()

    @app.tool
    def work(ctx: Context) -> str:
        state = ctx.state
        with pytest.raises(RuntimeError, match=r"ctx.state.get must be awaited"):
            getattr(state, "get")("key")  # is not found when it is registered
        return "done"

    reply = await AsgiClient(Authenticated(app)).modern("tools/call", {"name": "work"}, x_user="ada")
    assert result_of(reply) == "done"


def test_state_is_kept_by_an_app_that_is_used_in_one_event_loop_after_another(tmp_path: Path) -> None:
    app = counting_app(store=f"sqlite:///{tmp_path / 'state.db'}")

    async def once() -> Any:
        async with connect(app, principal="ada") as client:
            return (await client.call_tool("count", {})).structured_content

    assert [asyncio.run(once()) for _ in range(3)] == [{"result": number} for number in (1, 2, 3)]
