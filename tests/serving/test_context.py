"""What a tool sees of its call, and what leaves through it: progress, log messages, and calls of other tools."""

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import pytest

from enfilade import Context, MCPApp, ToolError
from enfilade.serving import chaining
from support.exchanges import Message
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import modern_headers, request_of, stateless_meta

pytestmark = pytest.mark.anyio

Body = Callable[[Context], Any]


def serve(body: Body) -> AsgiClient:
    """Return a server whose one tool does what `body` does."""
    app = MCPApp("context")

    @app.tool
    async def work(ctx: Context) -> str:
        done = body(ctx)
        if asyncio.iscoroutine(done):
            await done
        return "done"

    return AsgiClient(app)


async def sent(
    asgi: AsgiClient,
    *,
    meta: dict[str, Any] | None = None,
    level: str | None = None,
    tool: str = "work",
    **arguments: Any,
) -> list[Message]:
    """Call the tool in the stateless era, and return the notifications that came before the result."""
    members = stateless_meta() if level is None else stateless_meta(logLevel=level)
    call = request_of("tools/call", {"name": tool, "arguments": arguments}, "call", {**members, **(meta or {})})
    messages = (await asgi.post(call, **modern_headers(call))).messages
    assert messages[-1]["result"]["content"][0]["text"] == "done", messages[-1]
    return messages[:-1]


class TestProgress:
    """R-2B0."""

    @pytest.mark.parametrize("token", [0, 1, "1", "", "é", -5])
    async def test_the_token_keeps_its_type(self, token: Any) -> None:
        (message,) = await sent(serve(lambda ctx: ctx.progress.report(1)), meta={"progressToken": token})
        assert message["params"] == {"progressToken": token, "progress": 1}
        assert type(message["params"]["progressToken"]) is type(token)

    @pytest.mark.parametrize(
        ("reported", "told"),
        [
            ([1, 2, 3], [1, 2, 3]),
            ([0, 0.5, 0.5, 0.25, 1], [0, 0.5, 1]),
            ([-3, -2], [-3, -2]),
            ([1, float("nan"), 2], [1, 2]),
            ([1, float("inf"), 2], [1, 2]),
            ([float("-inf"), 1], [1]),
        ],
    )
    async def test_it_rises(self, reported: list[float], told: list[float]) -> None:
        """Strictly, and only through numbers that JSON has (D49)."""

        def body(ctx: Context) -> None:
            for value in reported:
                ctx.progress.report(value)

        messages = await sent(serve(body), meta={"progressToken": "p"})
        assert [message["params"]["progress"] for message in messages] == told

    @pytest.mark.parametrize("total", [float("inf"), float("nan")])
    async def test_a_total_that_json_has_not(self, total: float) -> None:
        (message,) = await sent(serve(lambda ctx: ctx.progress.report(1, total)), meta={"progressToken": "p"})
        assert "total" not in message["params"]

    async def test_total_and_message(self) -> None:
        body: Body = lambda ctx: ctx.progress.report(1, total=4, message="one of four")  # noqa: E731
        (message,) = await sent(serve(body), meta={"progressToken": "p"})
        assert message["params"] == {"progressToken": "p", "progress": 1, "total": 4, "message": "one of four"}

    async def test_without_a_token_there_is_none(self) -> None:
        assert await sent(serve(lambda ctx: ctx.progress.report(1))) == []

    async def test_it_rises_through_a_chain_of_tools(self) -> None:
        """One token, one order: what a called tool reports must not fall behind its caller's."""
        app = MCPApp("context")

        @app.tool
        async def inner(ctx: Context) -> str:
            for value in (1, 2, 8):
                await ctx.progress.report(value)
            return "done"

        @app.tool
        async def work(ctx: Context) -> str:
            await ctx.progress.report(5)
            await ctx.tools.call("inner")
            await ctx.progress.report(6)
            await ctx.progress.report(9)
            return "done"

        messages = await sent(AsgiClient(app), meta={"progressToken": "p"})
        assert [message["params"]["progress"] for message in messages] == [5, 8, 9]

    async def test_two_calls_at_once_have_nothing_to_do_with_each_other(self) -> None:
        """D13: each reports under its own token, to its own caller."""
        app = MCPApp("context")
        meeting = asyncio.Barrier(2)

        @app.tool
        async def work(steps: int, ctx: Context) -> str:
            for step in range(steps):
                await meeting.wait() if step < 2 else None
                await ctx.progress.report(step)
            return "done"

        asgi = AsgiClient(app)
        few, many = await asyncio.gather(
            sent(asgi, meta={"progressToken": 1}, steps=2), sent(asgi, meta={"progressToken": "1"}, steps=5)
        )
        assert [message["params"]["progressToken"] for message in few] == [1] * 2
        assert [message["params"]["progressToken"] for message in many] == ["1"] * 5


LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


def say_all(ctx: Context) -> None:
    for level in LEVELS:
        getattr(ctx.log, level)(level)


class TestLog:
    async def test_nobody_asked(self) -> None:
        """R-2B2."""
        assert await sent(serve(say_all)) == []

    @pytest.mark.parametrize("level", LEVELS)
    async def test_from_the_asked_level_up(self, level: str) -> None:
        """R-2B4: in the order of severity, not of the alphabet."""
        messages = await sent(serve(say_all), level=level)
        assert [message["params"]["level"] for message in messages] == LEVELS[LEVELS.index(level) :]

    @pytest.mark.parametrize("level", [*LEVELS, None])
    async def test_in_a_session(self, level: str | None) -> None:
        """R-367: from info up, unless the client said otherwise."""
        asgi = serve(say_all)
        token = (await asgi.initialize()).headers["mcp-session-id"]
        if level is not None:
            await asgi.ask(token, "logging/setLevel", {"level": level})
        messages = (await asgi.ask(token, "tools/call", {"name": "work"})).messages[:-1]
        assert [message["params"]["level"] for message in messages] == LEVELS[LEVELS.index(level or "info") :]

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            ("text", "text"),
            ({"a": [1, None]}, {"a": [1, None]}),
            (None, None),
            (datetime.date(2026, 7, 28), "2026-07-28"),
            ({1: "a"}, {"1": "a"}),
        ],
    )
    async def test_data_is_anything_that_json_can_say(self, data: Any, told: Any) -> None:
        """R-502, D49: null is data, too."""
        (message,) = await sent(serve(lambda ctx: ctx.log.info(data, logger="mine")), level="debug")
        assert message["params"] == {"level": "info", "data": told, "logger": "mine"}

    async def test_a_thread_may_log_too(self) -> None:
        app = MCPApp("context")

        @app.tool
        def work(ctx: Context) -> str:
            for number in range(50):
                ctx.log.info(number)
                ctx.progress.report(number)
            return "done"

        messages = await sent(AsgiClient(app), level="info", meta={"progressToken": "p"})
        logged = [
            message["params"]["data"] for message in messages if message["method"] == "notifications/message"
        ]
        assert logged == list(range(50)), "all of them, in their order, before the result"
        steps = [
            message["params"]["progress"] for message in messages if message["method"] == "notifications/progress"
        ]
        assert steps == sorted(set(steps))
        assert steps[-1] == 49


class TestAboutTheCall:
    async def test_ids_and_client(self) -> None:
        """D52."""
        seen: dict[str, Any] = {}

        def look(ctx: Context) -> None:
            seen.update(id=ctx.request_id, revision=ctx.peer.revision, session=ctx.session_id, meta=ctx.meta)

        asgi = serve(look)
        await sent(asgi, meta={"com.example/x": [1]})
        assert (seen["id"], seen["revision"], seen["session"]) == ("call", "2026-07-28", None)
        assert seen["meta"]["com.example/x"] == [1]
        token = (await asgi.initialize("2025-06-18")).headers["mcp-session-id"]
        await asgi.ask(token, "tools/call", {"name": "work"})
        assert (seen["id"], seen["revision"]) == (1, "2025-06-18")
        assert seen["session"] not in (None, token), "not what would open it"
        assert seen["meta"] == {}

    async def test_a_capability_that_is_needed(self) -> None:
        """R-290: an error with a status in the stateless era, decided before the first byte."""
        asgi = serve(lambda ctx: ctx.require_capability("sampling"))
        call = request_of("tools/call", {"name": "work"}, 1, stateless_meta())
        answered = await asgi.post(call, **modern_headers(call))
        error = answered.response["error"]
        assert (answered.status, error["code"]) == (400, -32021)
        assert error["data"] == {"requiredCapabilities": {"sampling": {}}}
        assert await sent(asgi, meta={"io.modelcontextprotocol/clientCapabilities": {"sampling": {}}}) == []


@pytest.fixture
def chained() -> AsgiClient:
    """Tools that call tools."""
    app = MCPApp("Chained Tools")

    @app.tool
    async def descend(depth: int, ctx: Context) -> int:
        if depth == 0:
            return 0
        return 1 + int(await ctx.tools.call("descend", {"depth": depth - 1}))

    @app.tool
    async def relay(tool: str, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await ctx.tools.call_raw(tool, arguments)
        return {"error": result.is_error is True, "text": result.content[0].text}  # type: ignore[union-attr]

    @app.tool
    async def refuse() -> str:
        raise ToolError("not today")

    @app.tool
    async def names(ctx: Context) -> list[str]:
        return [tool.name for tool in ctx.tools.list()]

    @app.tool
    async def who(ctx: Context) -> dict[str, Any]:
        return {"id": ctx.request_id, "revision": ctx.peer.revision}

    return AsgiClient(app)


async def called(asgi: AsgiClient, tool: str, /, **arguments: Any) -> dict[str, Any]:
    return (await asgi.modern("tools/call", {"name": tool, "arguments": arguments})).result


class TestChaining:
    """P7, D34, D35."""

    async def test_a_deep_chain(self, chained: AsgiClient) -> None:
        """D35: it ends in an error, not in a wrong number and not in the depths of the stack."""
        limit = chaining.MAXIMUM_DEPTH
        assert (await called(chained, "descend", depth=limit))["structuredContent"] == {"result": limit}
        result = await called(chained, "descend", depth=limit + 1)
        assert result["isError"] is True
        assert str(limit) in result["content"][0]["text"]

    @pytest.mark.parametrize(
        ("tool", "arguments", "error", "text"),
        [
            ("refuse", {}, True, "not today"),
            ("descend", {"depth": 0}, False, "0"),
            ("descend", {"depth": "deep"}, True, "depth"),
            ("ChainedTools_Descend", {"depth": 0}, False, "0"),
            ("nobody", {}, True, "nobody"),
        ],
        ids=["failing", "listed name", "wrong arguments", "qualified name", "a tool that is not there"],
    )
    async def test_a_result_comes_back(
        self, chained: AsgiClient, tool: str, arguments: dict[str, Any], error: bool, text: str
    ) -> None:
        """A failed call is a result with `is_error`, returned and not raised by `call_raw`."""
        found = (await called(chained, "relay", tool=tool, arguments=arguments))["structuredContent"]
        assert found["error"] is error
        assert text in found["text"]

    async def test_the_list(self, chained: AsgiClient) -> None:
        found = (await called(chained, "names"))["structuredContent"]["result"]
        assert found == ["descend", "relay", "refuse", "names", "who"]

    async def test_it_is_the_same_call(self, chained: AsgiClient) -> None:
        found = (await called(chained, "relay", tool="who", arguments={}))["structuredContent"]
        assert found["text"].replace(" ", "") == '{"id":1,"revision":"2026-07-28"}'.replace(" ", "")
