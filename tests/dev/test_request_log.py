"""What is told of a request: how it ended, by whom it was asked, what was said in between; each once."""

import io
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import Principal
from enfilade.dev import serve
from enfilade.dev.request_log import Line, Screen, advice, observed as shown_on
from enfilade.loading import AppSource
from enfilade.serving.observation.record import clean
from enfilade.wire.jsonrpc import RpcError
from support.harness import Serving, eventually
from support.http_client.connection import Http


class ObservedServer:
    """A watched app on a real socket, and what is shown of it."""

    def __init__(self) -> None:
        self.app = MCPApp(name="Watched", secret="s" * 32)
        self.reached = threading.Event()
        self._shown = io.StringIO()
        self.screen = Screen(Console(file=self._shown, width=80, color_system=None))

    def lines(self, count: int) -> list[str]:
        """Return the first lines, without the times, once there are so many."""
        eventually(lambda: self._shown.getvalue().count("\n") >= count, self._shown.getvalue())
        text = re.sub(r"\d[\d.,]* m?s\b", "", self._shown.getvalue())
        return [" ".join(re.sub(r"^\d\d:\d\d:\d\d", "", line).split()) for line in text.splitlines()]


@pytest.fixture
def observed() -> ObservedServer:
    observed = ObservedServer()
    app, reached = observed.app, observed.reached

    @app.tool
    async def talk(ctx: Context) -> str:
        """Say what happens."""
        ctx.log.debug({"step": 1})
        ctx.progress.report(1, 4, "a quarter")
        return "done"

    @app.tool
    async def outer(ctx: Context) -> Any:
        """Call another tool."""
        return await ctx.tools.call("talk", {})

    @app.tool
    def fail() -> str:
        """Fail."""
        raise ToolError("Not today.\nTry tomorrow.")

    @app.tool
    def deny() -> str:
        """Refuse by protocol."""
        raise RpcError(-32000, "Closed \x1b[31m")

    @app.tool
    async def wait() -> str:
        """Wait for ever."""
        import asyncio

        reached.set()
        await asyncio.Event().wait()
        return ""

    @app.tool
    async def ask(ctx: Context) -> str:
        """Ask the client."""
        return str(await ctx.elicit("Sure?", bool))

    @app.resource("notes://all")
    def notes() -> str:
        """Return all notes."""
        return "nothing"

    return observed


STATELESS = "stateless 2026-07-28"


def test_outcomes_in_both_eras(observed: ObservedServer) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        session = serving.http.initialize()
        session.call("fail")
        session.call("deny")
        session.call("none")
        session.ask("resources/read", {"uri": "notes://all"})
        session.delete()
        serving.http.modern_call("fail")
    lines = observed.lines(11)
    era = "session 2025-11-25 harness 1"
    assert lines == [
        f"initialize ok {era}",
        f"tools/call fail tool error {era}",
        "Not today. Try tomorrow.",
        f"tools/call deny error -32000 {era}",
        "Closed �[31m",
        f"tools/call none error -32602 {era}",
        "Unknown tool: none",
        f"resources/read notes://all ok {era}",
        "DELETE /mcp session ended",
        f"tools/call fail tool error {STATELESS}",
        "Not today. Try tomorrow.",
    ]


def test_who_calls_is_shown_and_what_is_refused_for_lack_of_scopes(observed: ObservedServer) -> None:
    """The subject of the caller stands after the client; a token never does."""
    observed.app.add_tool(lambda: "x", name="scoped", requires_scopes=["notes:write"])
    inner = shown_on(observed.app, observed.screen)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["enfilade.principal"] = Principal("ada\n\x1b[31m", scopes=["a"])
        await inner(scope, receive, send)

    with Serving(host) as serving:
        serving.http.modern_call("none")
        assert serving.http.modern_call("scoped").status == 403
    lines = observed.lines(5)
    assert lines[0] == f"tools/call none error -32602 {STATELESS} for ada �[31m"
    assert lines[2] == f"tools/call scoped refused 403 {STATELESS} for ada �[31m"
    assert lines[3:] == [
        "This needs the scope notes:write, which the caller lacks",
        "the caller's token lacks scopes of this operation; see requires_scopes=",
    ]


def test_notes_are_shown_and_sent_to_those_alone_who_asked(observed: ObservedServer) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        quiet = serving.http.modern_call("talk")
        params = {"name": "talk", "arguments": {}}
        meta = {"progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"}
        loud = serving.http.modern("tools/call", params, meta=meta)
        serving.http.modern_call("outer")
    assert [each.get("method") for each in quiet.messages] == [None]
    assert [each.get("method") for each in loud.messages] == [
        "notifications/message",
        "notifications/progress",
        None,
    ]
    lines = observed.lines(8)
    assert lines[0] == 'talk: debug: {"step":1}'
    assert lines[2:4] == ['talk: debug: {"step":1}', "talk: 1 of 4 a quarter"]
    assert lines[5] == 'outer: debug: {"step":1}'
    assert lines[6].startswith("↳ tools/call talk ok")
    assert lines[7].startswith("tools/call outer ok")


def test_who_gives_up_is_told_of(observed: ObservedServer) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        session = serving.http.initialize()
        with session.start_post(
            {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}
        ):
            assert observed.reached.wait(30)
            session.cancel(7)
            assert observed.lines(2)[1].startswith("tools/call wait cancelled session")


def test_a_question_of_the_stateless_era_is_no_failure(observed: ObservedServer) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        meta = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
        reply = serving.http.modern("tools/call", {"name": "ask", "arguments": {}}, meta=meta)
    assert reply.result["resultType"] == "input_required"
    assert observed.lines(1)[0].startswith(f"tools/call ask asks the client {STATELESS}")


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "talk", "arguments": {}}}
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "accept": (
        {"accept": "text/html"},
        "POST /mcp refused 406",
        "Accept must allow",
        "send Accept: application/json,",
    ),
    "origin": ({"origin": "https://evil.example"}, "POST /mcp refused 403", "is not allowed", ""),
    "host": ({"host": "evil.example"}, "POST /mcp refused 421", "is not allowed", ""),
    "no session": (
        {},
        "tools/call talk refused 400",
        "Missing session ID",
        "a client up to 2025-11-25 sends initialize",
    ),
    "lost session": (
        {"mcp_session_id": "lost"},
        "tools/call talk refused 404",
        "Session not found",
        "the session has ended",
    ),
    "type": ({"content_type": "text/plain"}, "POST /mcp refused 415", "Content-Type must be", ""),
}


@pytest.mark.parametrize(("headers", "line", "said", "advised"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_explained(
    observed: ObservedServer, headers: dict[str, Any], line: str, said: str, advised: str
) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        serving.http.post(CALL, **headers)
    lines = observed.lines(3 if advised else 2)
    assert lines[0] == line
    assert said in lines[1]
    assert [each.startswith(advised) for each in lines[2:]] == ([True] if advised else [])


def test_methods_that_nobody_offers_and_wrong_paths(observed: ObservedServer) -> None:
    with Serving(shown_on(observed.app, observed.screen)) as serving:
        serving.http.initialize().ask("prompts/print")
        Http(serving.port, "/").post(CALL)
    lines = observed.lines(5)
    assert lines[1].startswith("prompts/print error -32601")
    assert [line for line in lines if line.startswith("POST / refused 404")]
    assert "configure the client with the complete URL, including the path" in lines


# -- lines ------------------------------------------------------------------------------------------------------


def drawn(width: int, *lines: Line, color: bool = False) -> list[str]:
    shown = io.StringIO()
    console = Console(file=shown, width=width, force_terminal=True, color_system="standard" if color else None)
    screen = Screen(console)
    for line in lines:
        screen.show(line)
    return re.sub(r"\x1b\[[\d;]*m" if not color else "$^", "", shown.getvalue()).splitlines()


LONG = Line(
    subject="tools/call " + "x" * 90,
    milliseconds=12_345,
    outcome="tool error",
    kind="warning",
    peer="session 2025-11-25 client 1.0",
    reasons=("word " * 40,),
)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(width, LONG, LONG)
    assert max(map(len, lines)) <= width
    assert " ".join(lines).count("word") == 80
    assert sum("── session" in line for line in lines) == (0 if width >= 110 else 1)
    assert sum("12.3 s" in line for line in lines) == (2 if width > 40 else 0)


def test_a_pipe_gets_whole_lines() -> None:
    shown = io.StringIO()
    Screen(Console(file=shown, width=80)).show(LONG)
    line, reason = shown.getvalue().splitlines()
    assert "x" * 90 in line
    assert line.endswith("12.3 s  tool error          session 2025-11-25 client 1.0")
    assert reason.strip() == ("word " * 40).strip()


def test_colours_say_how_it_went() -> None:
    assert "\x1b[33mtool error" in "".join(drawn(80, LONG, color=True))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\x1b[2Jb", "a�[2Jb"),
        ("a\nb\tc", "a b c"),
        ("\u202eabc", "�abc"),
        ("é 漢", "é 漢"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_what_clients_send_is_safe_to_show(sent: str, shown: str) -> None:
    assert clean(sent) == shown


@pytest.mark.parametrize(
    ("status", "message", "begins"),
    [
        (400, "Parse error: the body is not valid UTF-8 JSON", "the body must be one JSON-RPC message"),
        (400, "Unsupported protocol version '1'", "the MCP-Protocol-Version header"),
        (400, "anything", None),
        (413, "anything", "send a smaller body"),
        (503, "anything", "the store is unavailable"),
        (418, "anything", None),
    ],
)
def test_advice(status: int, message: str, begins: str | None) -> None:
    found = advice(status, message)
    assert found is None if begins is None else str(found).startswith(begins)


@pytest.mark.parametrize(
    ("tools", "resources", "prompts", "expected"),
    [
        (1, 2, 1, "and 2 resources and 1 prompt"),
        (1, 1, 0, "and 1 resource"),
        (1, 0, 2, "and 2 prompts"),
        (0, 1, 1, "1 resource and 1 prompt"),
    ],
)
def test_the_greeting_counts_in_words(tools: int, resources: int, prompts: int, expected: str) -> None:
    app = MCPApp("counted")
    for index in range(tools):
        app.add_tool(lambda: 1, name=f"tool{index}")
    for index in range(resources):
        app.add_text_resource(f"a://{index}", "text")
    for index in range(prompts):
        app.add_prompt(lambda: "text", name=f"prompt{index}")
    shown = io.StringIO()
    source = AppSource("server", str(Path.cwd() / "server.py"), "app")
    serve.greet(Screen(Console(file=shown, width=80)), app, Path(), "http://x/mcp", source)
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert expected in lines
    assert "Connect: enfilade configure CLIENT server.py --url http://x/mcp" in lines
