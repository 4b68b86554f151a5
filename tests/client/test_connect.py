"""`enfilade.testing.connect`: any transport, either era, and what goes wrong says so."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import MCPError
from mcp.types import CreateMessageResult, TextContent

import enfilade
from enfilade import Context, MCPApp
from enfilade.loading import LoadError
from enfilade.testing import (
    Command,
    ConnectError,
    LogMessage,
    OutOfAnswersError,
    Question,
    Report,
    accept,
    cancel,
    connect,
    decline,
)
from support.servers import asking_server

ERAS = ("stateless", "session")
FILLED = {"name": "Ada", "amount": 2, "weight": 1.5, "gift": True, "size": "l", "extras": ["milk"]}

#: Speaks sessions only, and says everything a client needs to open one.
SESSIONS_ONLY = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        info = {"name": "Old", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
        answer = {"result": result}
    elif "id" in message:
        answer = {"error": {"code": -32601, "message": "what?"}}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


async def ordered(**options: Any) -> Any:
    """Order with a scripted client; return the client and what the tool returned."""
    async with connect(asking_server.app, **options) as client:
        result = await client.call_tool("order", {"item": "tea"})
        return client, result.structured_content


@pytest.mark.parametrize("era", ERAS)
def test_a_result_that_the_client_cannot_parse_is_an_error_that_says_so(era: Any) -> None:
    app = MCPApp("deep")

    @app.tool
    def deep() -> list[Any]:
        value: list[Any] = []
        for _ in range(199):
            value = [value]
        return value

    async def call() -> None:
        async with connect(app, era=era) as client:
            await client.call_tool("deep", {})

    with pytest.raises(MCPError, match="cannot read this response: it is nested too deeply for its parser"):
        asyncio.run(call())


def test_an_option_that_nothing_takes_is_named() -> None:
    async def misspelled() -> None:
        async with connect(MCPApp(), eras="session"):
            pass

    with pytest.raises(TypeError, match=r"^connect\(\) has no argument 'eras'; is it 'era'\?$"):
        asyncio.run(misspelled())


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["memory", "http", "stdio"])
def test_every_way_gives_the_same(transport: Any, era: Any) -> None:
    client, result = asyncio.run(
        ordered(transport=transport, era=era, answers=[accept(FILLED)], log_level="info")
    )
    assert result == {"item": "tea", **FILLED}
    assert set(client.logs) == {LogMessage("info", "packing \x1b[31m[red]it[/red]")}
    assert set(client.progress) == {Report(1, 2, "packed")}
    assert [(each.kind, each.message) for each in client.questions] == [("elicitation", "How much tea?")]
    assert client.questions[0].schema["properties"]["amount"]["maximum"] == 9
    assert client.answers_left == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (decline(), {"action": "decline"}),
        (cancel(), {"action": "cancel"}),
        ({"name": "Bo", "amount": 1}, {"item": "tea", "name": "Bo", "amount": 1}),
    ],
    ids=["decline", "cancel", "fields"],
)
def test_an_answer_of_each_kind(era: Any, answer: Any, outcome: dict[str, Any]) -> None:
    _, result = asyncio.run(ordered(era=era, answers=[answer]))
    assert result == outcome


@pytest.mark.parametrize("era", ERAS)
def test_running_out_of_answers_names_the_question(era: Any) -> None:
    async def scenario() -> None:
        async with connect(asking_server.app, era=era, answers=[decline()]) as client:
            await client.call_tool("order", {"item": "tea"})
            with pytest.raises(OutOfAnswersError, match=r"asked 'How much milk\?' \(elicitation\).* 2 in all"):
                await client.call_tool("order", {"item": "milk"})
            assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 2}

    asyncio.run(scenario())


@pytest.mark.parametrize("era", ERAS)
def test_an_answer_that_is_none_is_the_tests_own_mistake(era: Any) -> None:
    with pytest.raises(TypeError, match="42 answers no question"):
        asyncio.run(ordered(era=era, answers=[42]))


@pytest.mark.parametrize("era", ERAS)
def test_a_value_alone_is_that_of_a_form_with_one_field(era: Any) -> None:
    app = MCPApp()

    @app.tool
    async def ask(ctx: Context) -> list[Any]:
        text = await ctx.elicit("Name?", str)
        choice = await ctx.elicit("Sure?", bool)
        several = await ctx.elicit("Which?", list[Literal["a", "b"]])
        return [text.data, choice.data, several.data]

    async def scenario() -> Any:
        answers = [accept("Ada"), accept(False), accept(["b"])]
        async with connect(app, era=era, answers=answers) as client:
            return (await client.call_tool("ask")).structured_content

    assert asyncio.run(scenario()) == {"result": ["Ada", False, ["b"]]}


@pytest.mark.parametrize("era", ERAS)
def test_a_value_alone_for_a_form_of_several_fields_says_what_to_write(era: Any) -> None:
    with pytest.raises(TypeError, match=r'the form has 6 fields: write accept\(\{"name": \.\.\., "amount": '):
        asyncio.run(ordered(era=era, answers=[accept("Ada")]))


WRONG_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "one answer": ({"answers": accept({"a": 1})}, r"answers= takes a list, such as \[accept\({\.\.\.}\)\]"),
    "fields": ({"answers": {"a": 1}}, r"answers= takes a list"),
    "one reply": ({"sampling": "x"}, r'sampling= takes a list, such as \["reply"\]'),
    "one root": ({"roots": "/tmp"}, r"roots= takes a list of directories: \[folder\]"),
    "number of roots": ({"roots": 5}, r"roots= takes a list"),
    "timeout of text": ({"timeout": "5"}, r"timeout= takes a number of seconds, such as 5, or None; not str"),
    "negative timeout": ({"timeout": -1}, r"timeout= takes a number of seconds above 0"),
    "list of headers": ({"headers": ["a"]}, r"headers= takes a dict of texts"),
    "headers of numbers": ({"headers": {"a": 1}}, r"headers= takes a dict of texts"),
    "principal of a number": (
        {"principal": 5},
        r"principal= takes a Principal, or a .*, not int",
    ),
    "path of a number": ({"path": 5}, r"path= takes a text, not int"),
    "level": ({"log_level": "loud"}, r"there is no log level 'loud'; use debug, info, "),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_an_option_of_another_type_says_what_to_give(case: str) -> None:
    options, said = WRONG_OPTIONS[case]

    async def scenario() -> None:
        async with connect(MCPApp(), **options):
            raise AssertionError

    with pytest.raises((TypeError, ValueError), match=said):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("server.py", r'\["python", "server\.py"\]'),
        ("python -m office", r'\["python", "-m", "office"\]'),
        ("localhost:8000/mcp", "begins with http://"),
        ("", r'\["python", "server\.py"\]'),
    ],
)
def test_a_text_that_is_no_url_says_what_to_give(target: str, command: str) -> None:
    async def scenario() -> None:
        async with connect(target):
            raise AssertionError

    with pytest.raises(ValueError, match=command):
        asyncio.run(scenario())


def test_answers_that_nobody_asked_for_can_be_seen() -> None:
    client, _ = asyncio.run(ordered(answers=[decline(), accept()]))
    assert client.answers_left == [accept()]


@pytest.mark.parametrize("era", ERAS)
def test_functions_answer(era: Any) -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> dict[str, Any]:
        asked.append(question)
        return {"name": question.message, "amount": 3}

    client, result = asyncio.run(ordered(era=era, answers=answer))
    assert result == {"item": "tea", "name": "How much tea?", "amount": 3}
    assert asked == client.questions


@pytest.mark.parametrize("era", ERAS)
def test_models_and_roots(era: Any, tmp_path: Path) -> None:
    whole = CreateMessageResult(role="assistant", content=TextContent(type="text", text="Coffee."), model="m")

    async def scenario() -> tuple[list[str], Any, list[Question]]:
        async with connect(
            asking_server.app, era=era, sampling=["Tea.", whole], roots=[tmp_path, "file:///x"]
        ) as client:
            said = [(await client.call_tool("advise", {})).content[0].text for _ in range(2)]
            roots = (await client.call_tool("look_around", {})).structured_content
            return said, roots, client.questions

    said, roots, questions = asyncio.run(scenario())
    assert said == ["Tea.", "Coffee."]
    assert roots == {"result": [tmp_path.as_uri(), "file:///x"]}
    assert [each.message for each in questions] == ["Tea or coffee?", "Tea or coffee?", "roots"]


def test_without_answers_a_client_cannot_be_asked() -> None:
    async def scenario() -> str:
        async with connect(asking_server.app, era="session") as client:
            result = await client.call_tool("order", {"item": "tea"})
            assert result.is_error
            return result.content[0].text

    assert "elicitation" in asyncio.run(scenario())


class Own(BaseException):
    """Like the outcomes of pytest, no Exception."""


@pytest.mark.parametrize("error", [AssertionError("mine"), Own("mine")], ids=["exception", "outcome"])
@pytest.mark.parametrize("transport", ["memory", "http"])
def test_what_a_test_raises_arrives_as_it_was(transport: Any, error: BaseException) -> None:
    async def scenario() -> None:
        async with connect(asking_server.app, transport=transport):
            raise error

    with pytest.raises(type(error), match="mine"):
        asyncio.run(scenario())


@pytest.mark.parametrize("transport", ["memory", "http"])
def test_what_a_lifespan_raises_arrives_as_it_was(transport: Any) -> None:
    @asynccontextmanager
    async def lifespan(app: MCPApp) -> AsyncIterator[None]:
        raise KeyError("no database")
        yield

    async def scenario() -> None:
        async with connect(MCPApp(lifespan=lifespan), transport=transport):
            raise AssertionError("it must not connect")

    with pytest.raises(KeyError, match="no database"):
        asyncio.run(scenario())


async def _connected(target: Any, **options: Any) -> str:
    async with connect(target, timeout=20, **options) as client:
        assert client.server_info is not None
        return client.server_info.name


FAILURES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a command that fails": (
        Command([sys.executable, "-c", "raise SystemExit('no database')"]),
        {},
        r"the command `.*` cannot be reached: (.|\n)*It said:\nno database",
    ),
    "no such command": (
        Command(["enfilade-no-such"]),
        {},
        "`enfilade-no-such` cannot be reached: .*No such file|cannot",
    ),
    "nobody listens": (
        "http://user:word@127.0.0.1:9/mcp?key=1",
        {},
        r"^http://127.0.0.1:9/mcp cannot be reached: All connection attempts failed$",
    ),
    "another era": (
        Command([sys.executable, "-c", SESSIONS_ONLY]),
        {"era": "stateless"},
        "does not speak 2026-07-28; it speaks 2025-11-25",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_server_that_cannot_be_reached_is_named(failure: str) -> None:
    target, options, said = FAILURES[failure]
    with pytest.raises(ConnectError, match=said):
        asyncio.run(_connected(target, **options))


@pytest.mark.parametrize("era", [*ERAS, "auto"])
def test_a_command_that_never_answers_has_one_limit(era: Any) -> None:
    """The official client's own limit for its first question, and that of the second, do not add up."""
    silent = Command([sys.executable, "-c", "import sys; sys.stdin.read()"])
    with pytest.raises(ConnectError, match=r"cannot be reached: it has not answered within 0\.5 s"):
        asyncio.run(_reached(silent, era, 0.5))


@pytest.mark.parametrize("era", [*ERAS, "auto"])
def test_a_url_that_never_answers_has_one_limit(era: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        with pytest.raises(ConnectError, match=r"cannot be reached: it has not answered within 0\.5 s"):
            asyncio.run(_reached(url, era, 0.5))


async def _reached(target: Any, era: Any, timeout: float) -> None:
    async with connect(target, era=era, timeout=timeout):
        raise AssertionError("it must not connect")


def test_auto_takes_what_the_server_has() -> None:
    assert asyncio.run(_connected(Command([sys.executable, "-c", SESSIONS_ONLY]))) == "Old"


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        (asking_server.app, {"era": "future"}, "there is no era 'future'"),
        (asking_server.app, {"transport": "pigeon"}, "there is no transport 'pigeon'"),
        ("http://127.0.0.1:9/mcp", {"transport": "stdio"}, "a URL is reached by transport='http'"),
        (Command(["x"]), {"transport": "memory"}, "a command is reached by transport='stdio'"),
    ],
)
def test_what_cannot_be_is_refused(target: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asyncio.run(_connected(target, **options))


def test_the_era_has_one_name() -> None:
    assert enfilade.connect is connect
    with pytest.raises(TypeError, match="takes era= in place of mode="):
        asyncio.run(_connected(asking_server.app, mode="legacy"))


def test_over_stdio_an_app_must_be_in_a_file() -> None:
    with pytest.raises(LoadError, match="at the top level"):
        asyncio.run(_connected(MCPApp(name="Nowhere"), transport="stdio"))


def test_over_stdio_tools_from_elsewhere_are_missed() -> None:
    asking_server.app.add_tool(lambda: 1, name="late")
    try:
        with pytest.raises(ConnectError, match=r"asking_server.py makes the app without late"):
            asyncio.run(_connected(asking_server.app, transport="stdio"))
    finally:
        asking_server.app.remove_tool("late")


def test_without_the_official_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "enfilade\[client\]"'):
        asyncio.run(_connected(asking_server.app))


#: The status and `WWW-Authenticate` of a response, and what the error says.
REFUSED: dict[tuple[int, str], str] = {
    (
        400,
        "",
    ): "it answers 400 Bad Request; if it needs a token, send one by --header 'Authorization: Bearer ...'",
    (
        401,
        'Bearer realm="x"',
    ): "it answers 401 Unauthorized (WWW-Authenticate: Bearer); send a token that it accepts",
    (
        403,
        'Bearer error="insufficient_scope", error_description="This needs the scope a"',
    ): "it answers 403 Forbidden (WWW-Authenticate: Bearer): This needs the scope a; it may need another token",
    (
        403,
        'Bearer error="insufficient_scope", scope="a b"',
    ): "it answers 403 Forbidden (WWW-Authenticate: Bearer): insufficient_scope; send a token with these scopes",
    (403, ""): "it answers 403 Forbidden; it may need another token, by --header 'Authorization: Bearer ...'",
    (404, ""): "it answers 404 Not Found; is the path of its endpoint in the URL, such as /mcp?",
    (418, ""): "it answers 418 I'm a Teapot",
    (500, ""): "it answers 500 Internal Server Error; its log may say why",
    (503, ""): "it answers 503 Service Unavailable; the server behind this address may not run",
    (599, ""): "it answers 599 an error; its log may say why",
}


@pytest.mark.parametrize("era", [*ERAS, "auto"])
@pytest.mark.parametrize(
    ("refusal", "said"), REFUSED.items(), ids=[f"{status} {challenge}" for status, challenge in REFUSED]
)
def test_a_refused_client_is_told_the_status_and_the_way_out(
    refusal: tuple[int, str], said: str, era: Any
) -> None:
    status, challenge = refusal

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
            lines = head.lower().split(b"\r\n")
            await reader.readexactly(
                next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            )
            header = f"www-authenticate: {challenge}\r\n" if challenge else ""
            writer.write(f"HTTP/1.1 {status} -\r\n{header}content-length: 0\r\n\r\n".encode())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        try:
            async with connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", era=era):
                raise AssertionError("it is not reached")
        finally:
            server.close()

    with pytest.raises(ConnectError) as caught:
        asyncio.run(scenario())
    failure = "refused the request" if status in (401, 403, 503) else "cannot be reached"
    assert f"/mcp {failure}: {said}" in str(caught.value)
