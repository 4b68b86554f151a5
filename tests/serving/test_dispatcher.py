"""Middleware: its order, what it sees, what it may change, and what becomes of its failures."""

import logging
import re
from typing import Any

import pytest

from enfilade import Context, MCPApp, Request, ResourceError, ResourceNotFound, ToolError
from enfilade.serving.channel import MissingCapabilityError
from enfilade.serving.dispatcher import MethodHandler
from enfilade.wire.content import TextContent
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import CallToolResult
from support.http_client.asgi_calls import AsgiClient

pytestmark = pytest.mark.anyio


def app_with(*middleware: Any) -> AsgiClient:
    app = MCPApp("middleware", middleware=middleware)

    @app.tool
    async def leaf(ctx: Context) -> str:
        return str(ctx.request_data.get("note", "nothing"))

    @app.tool
    async def branch(ctx: Context) -> str:
        first = await ctx.tools.call("leaf")
        second = await ctx.tools.call("leaf")
        return f"{first} {second}"

    return AsgiClient(app)


async def call(asgi: AsgiClient, tool: str = "leaf") -> Any:
    return await asgi.modern("tools/call", {"name": tool, "arguments": {}})


async def test_the_first_is_the_outermost() -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        async def middleware(request: Request, call_next: MethodHandler) -> Message:
            seen.append(f"{name} in")
            result = await call_next(request)
            seen.append(f"{name} out")
            return result

        return middleware

    await call(app_with(named("a"), named("b")))
    assert seen == ["a in", "b in", "b out", "a out"]


async def test_it_sees_every_request() -> None:
    """D35: those of tools that call tools as well; nothing goes round it."""
    seen: list[tuple[str, str | None]] = []

    async def watch(request: Request, call_next: MethodHandler) -> Message:
        seen.append((request.method, getattr(request.params, "name", None)))
        return await call_next(request)

    asgi = app_with(watch)
    await asgi.modern("server/discover")
    await asgi.modern("tools/list")
    await asgi.initialize()
    await call(asgi, "branch")
    assert seen == [
        ("server/discover", None),
        ("tools/list", None),
        ("initialize", None),
        ("tools/call", "branch"),
        ("tools/call", "leaf"),
        ("tools/call", "leaf"),
    ]


async def test_what_it_leaves_is_there_for_the_tool() -> None:
    async def annotate(request: Request, call_next: MethodHandler) -> Message:
        request.state["note"] = f"from {request.params.name}" if request.method == "tools/call" else None
        return await call_next(request)

    asgi = app_with(annotate)
    assert (await call(asgi)).result["content"][0]["text"] == "from leaf"


async def test_it_may_answer_by_itself() -> None:
    async def instead(request: Request, call_next: MethodHandler) -> Message:
        return CallToolResult(content=[TextContent(text="from the cache")])

    assert (await call(app_with(instead))).result["content"][0]["text"] == "from the cache"


async def test_it_may_change_the_result() -> None:
    async def shout(request: Request, call_next: MethodHandler) -> Message:
        result = await call_next(request)
        if isinstance(result, CallToolResult):
            result.content.append(TextContent(text="!"))
        return result

    assert len((await call(app_with(shout))).result["content"]) == 2


class TestFailures:
    """D28, R-719: whatever fails, the caller gets an answer, and learns nothing of the inside."""

    @pytest.mark.parametrize("where", ["before", "after"])
    async def test_a_failure_is_an_error_under_an_id_of_the_log(
        self, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken(request: Request, call_next: MethodHandler) -> Message:
            if where == "after":
                await call_next(request)
            raise KeyError("/etc/secret")

        with caplog.at_level(logging.ERROR, "enfilade"):
            answered = await call(app_with(broken))
        error = answered.response["error"]
        assert (answered.status, error["code"]) == (200, -32603)
        assert "secret" not in error["message"]
        (record,) = caplog.records
        assert re.findall(r"[0-9a-f]{12}", error["message"])[0] in record.getMessage()
        assert record.exc_info is not None

    async def test_an_error_meant_for_the_client(self) -> None:
        async def refuse(request: Request, call_next: MethodHandler) -> Message:
            raise RpcError(1234, "Not on Sundays", {"day": "Sunday"})

        assert (await call(app_with(refuse))).response["error"] == {
            "code": 1234,
            "message": "Not on Sundays",
            "data": {"day": "Sunday"},
        }

    @pytest.mark.parametrize("where", ["outer", "inner"])
    @pytest.mark.parametrize(
        ("error", "read"),
        [
            (ToolError("Not on Sundays", meta={"day": "Sunday"}), "Not on Sundays"),
            (ExceptionGroup("two", [ToolError("No milk"), ToolError("No tea")]), "No milk\nNo tea"),
            (MissingCapabilityError({"sampling": {}}), "sampling"),
        ],
        ids=["one", "several", "a capability"],
    )
    async def test_words_for_the_model_around_a_call_are_its_result(
        self, error: Exception, read: str, where: str
    ) -> None:
        """The model can correct itself, as it can after a `ToolError` of the tool."""

        async def refuse(request: Request, call_next: MethodHandler) -> Message:
            if request.method == "tools/call":
                raise error
            return await call_next(request)

        async def pass_on(request: Request, call_next: MethodHandler) -> Message:
            return await call_next(request)

        asgi = app_with(refuse, pass_on) if where == "outer" else app_with(pass_on, refuse)
        token = (await asgi.initialize()).headers["mcp-session-id"]
        answered = (await asgi.ask(token, "tools/call", {"name": "leaf", "arguments": {}})).result
        assert answered["isError"] is True
        assert read in answered["content"][0]["text"]
        if isinstance(error, ToolError) and not isinstance(error, MissingCapabilityError):
            assert answered["_meta"] == {"day": "Sunday"}

    async def test_words_around_a_chained_call_are_its_result_too(self) -> None:
        async def refuse(request: Request, call_next: MethodHandler) -> Message:
            if request.parent is not None:
                raise ToolError("Not from here")
            return await call_next(request)

        asgi = app_with(refuse)

        @asgi.app.tool
        async def careful(ctx: Context) -> str:
            found = await ctx.tools.call_raw("leaf")
            return f"{found.is_error} {found.content[0].text}"  # type: ignore[union-attr]

        assert (await call(asgi, "careful")).result["content"][0]["text"] == "True Not from here"
        assert (await call(asgi, "branch")).result["content"][0]["text"] == "Not from here"

    @pytest.mark.parametrize(
        ("method", "params", "error", "code"),
        [
            ("tools/list", {}, ToolError("No lists today"), -32603),
            ("resources/read", {"uri": "a://b"}, ResourceError("No lists today"), -32603),
            ("resources/read", {"uri": "a://b"}, ResourceNotFound("No lists today"), -32602),
        ],
        ids=["a list", "a resource", "no resource"],
    )
    async def test_words_around_other_methods_are_those_of_an_error(
        self, method: str, params: dict[str, Any], error: Exception, code: int
    ) -> None:
        async def refuse(request: Request, call_next: MethodHandler) -> Message:
            raise error

        asgi = app_with(refuse)
        asgi.app.add_text_resource("a://b", "c")
        found = (await asgi.modern(method, params)).response["error"]
        assert (found["code"], found["message"]) == (code, "No lists today")

    @pytest.mark.parametrize("returned", [None, {}, "text", RpcError])
    async def test_a_result_that_is_none(self, returned: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The log says which middleware it was."""

        async def forgetful(request: Request, call_next: MethodHandler) -> Any:
            await call_next(request)
            return returned

        with caplog.at_level(logging.ERROR, "enfilade"):
            assert (await call(app_with(forgetful))).response["error"]["code"] == -32603
        assert "forgetful" in caplog.text

    async def test_the_next_request_is_served(self) -> None:
        turns = iter([True, False])

        async def once(request: Request, call_next: MethodHandler) -> Message:
            if next(turns):
                raise RuntimeError
            return await call_next(request)

        asgi = app_with(once)
        assert "error" in (await call(asgi)).response
        assert "result" in (await call(asgi)).response


async def test_it_cannot_come_too_late() -> None:
    """What is added after the first request would see some requests and not others."""
    asgi = app_with()
    await call(asgi)

    async def late(request: Request, call_next: MethodHandler) -> Message:
        return await call_next(request)

    with pytest.raises(RuntimeError, match="before"):
        asgi.app.add_middleware(late)


async def test_what_is_not_offered_is_not_advertised() -> None:
    """R-213, R-284, D16: every advertised capability has its methods, and no method is served without one."""
    asgi = app_with()
    offered = (await asgi.modern("server/discover")).result["capabilities"]
    methods = {
        "tools": ["tools/list"],
        "prompts": ["prompts/list"],
        "resources": ["resources/list", "resources/templates/list"],
    }
    for capability, names in methods.items():
        for name in names:
            answered = await asgi.modern(name)
            assert answered.status == (200 if capability in offered else 404), name
