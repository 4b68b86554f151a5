"""Middleware that ships, and middleware of one tool: around real calls, in sessions and without."""

import logging
from typing import Any

import anyio
import pytest

from enfilade import MCPApp, Request, ToolError, connect
from enfilade.middleware import FailureReport, Timing, error_reporting, structured_log, timing

timings: list[Timing] = []
failures: list[FailureReport] = []
seen: list[str] = []


def noting(name: str) -> Any:
    async def note(request: Request, call_next: Any) -> Any:
        if request.method != "tools/call":
            return await call_next(request)
        seen.append(name)
        try:
            return await call_next(request)
        except ToolError as error:
            seen.append(f"{name} saw {error}")
            raise

    return note


async def shouting(request: Request, call_next: Any) -> Any:
    request.params.arguments = {"text": "HI"}
    return await call_next(request)


@pytest.fixture
def app() -> MCPApp:
    timings.clear()
    failures.clear()
    seen.clear()
    around = [error_reporting(failures.append), timing(timings.append), structured_log(), noting("app")]
    app = MCPApp("office", middleware=around)

    @app.tool(middleware=[noting("outer"), noting("inner")], requires_secrets=[], timeout=5)
    async def echo(text: str) -> str:
        if text == "fail":
            raise ToolError("as meant")
        return text

    @app.tool(middleware=[shouting])
    def shout(text: str) -> str:
        return text

    @app.tool
    def broken() -> str:
        raise ZeroDivisionError("by accident")

    @app.resource("broken://x")
    def broken_resource() -> str:
        raise KeyError("gone")

    return app


def called(app: MCPApp, era: str, name: str, **arguments: Any) -> Any:
    async def call() -> Any:
        async with connect(app, era=era) as client:  # type: ignore[arg-type]
            return await client.call_tool(name, arguments)

    return anyio.run(call)


eras = pytest.mark.parametrize("era", ["session", "stateless"])


@eras
def test_middleware_of_one_tool_is_inside_that_of_the_app(app: MCPApp, era: str) -> None:
    assert called(app, era, "echo", text="a").structured_content == {"result": "a"}
    assert seen[-3:] == ["app", "outer", "inner"]
    assert called(app, era, "echo", text="fail").is_error
    assert seen[-2:] == ["inner saw as meant", "outer saw as meant"]
    seen.clear()
    assert called(app, era, "shout", text="a").structured_content == {"result": "HI"}
    assert "outer" not in seen
    assert failures == []


def test_what_cannot_be_middleware_of_a_tool() -> None:
    with pytest.raises(TypeError, match="middleware is one function"):
        MCPApp("office").tool(middleware=[3])(lambda: "x")  # type: ignore[list-item]


@eras
def test_failures_are_reported_once_with_the_id_of_the_client(app: MCPApp, era: str) -> None:
    result = called(app, era, "broken")
    (failure,) = failures
    assert (failure.method, failure.target) == ("tools/call", "broken")
    assert isinstance(failure.error, ZeroDivisionError)
    assert failure.error.__traceback__ is not None
    assert failure.correlation in result.content[0].text

    async def read() -> None:
        async with connect(app, era=era) as client:  # type: ignore[arg-type]
            with pytest.raises(Exception, match="id "):
                await client.read_resource("broken://x")

    anyio.run(read)
    assert [type(failure.error) for failure in failures] == [ZeroDivisionError, KeyError]
    assert failures[-1].target == "broken://x"


def test_times_and_lines(app: MCPApp, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "enfilade.calls"):
        called(app, "auto", "echo", text="fail")
    (timed,) = [timed for timed in timings if timed.method == "tools/call"]
    assert (timed.target, timed.outcome) == ("echo", "tool error")
    assert timed.seconds >= 0
    (record,) = [record for record in caplog.records if getattr(record, "target", None) == "echo"]
    assert record.getMessage().startswith("tools/call 'echo': tool error in ")
    assert (record.method, record.outcome, record.principal) == ("tools/call", "tool error", None)  # type: ignore[attr-defined]


def test_a_report_that_fails_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    def report(_: object) -> None:
        raise RuntimeError("full")

    app = MCPApp("office", middleware=[timing(report), error_reporting(report)])

    @app.tool
    def broken() -> str:
        raise ZeroDivisionError

    assert called(app, "auto", "broken").is_error
    assert "a function of middleware failed: RuntimeError('full')" in caplog.text


def test_only_slow_requests() -> None:
    slow: list[Timing] = []
    app = MCPApp("office", middleware=[timing(slow.append, slower_than=60)])
    app.add_tool(lambda: "x", name="quick")
    called(app, "auto", "quick")
    assert slow == []
