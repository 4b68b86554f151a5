"""A whole check: real servers, good and bad, in each era; snapshots in files; reports for programs."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from enfilade import MCPApp
from enfilade.extensions import Message, MethodHandler, Request
from enfilade.lint import snapshot
from enfilade.lint.findings import FAILING, FailOn, Finding, Severity, fails
from enfilade.lint.run import CheckOutcome, as_github, as_json, check
from enfilade.testing import Command, ConnectError, Surface, connect, read_surface
from support.servers import asking_server

#: Speaks sessions only, answers every method it does not know with an empty result, and takes any arguments.
CARELESS = """
import json, sys
TOOLS = [{"name": "add", "inputSchema": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}]
ME = {"name": "X", "version": "1"}
INFO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": ME}
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if "id" not in message:
        continue
    answer = {"result": {"content": []}}
    if method == "server/discover":
        answer = {"error": {"code": -32601, "message": "?"}}
    if method == "initialize":
        answer = {"result": INFO}
    if method == "tools/list":
        answer = {"result": {"tools": TOOLS}}
    if method == "ping":
        answer = {"error": {"code": -32601, "message": "?"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""
#: Lists what is no list.
WRONG = CARELESS.replace('{"tools": TOOLS}', '{"tools": 5}')
#: Has one more page, always.
ENDLESS = CARELESS.replace('{"tools": TOOLS}', '{"tools": TOOLS, "nextCursor": "again"}')
#: Is no more itself once it was asked for something that it does not have, or is not there any more at all.
ILL = CARELESS.replace(
    '{"code": -32601, "message": "?"}}\n    print', '{"code": -32603, "message": "?"}}\n    print'
)
GONE = CARELESS.replace(
    '    if method == "tools/list":',
    '    if method == "tools/call":\n        break\n    if method == "tools/list":',
)


def python(code: str) -> Command:
    return Command([sys.executable, "-c", code])


@pytest.fixture(scope="module")
def outcome_of_good_server() -> CheckOutcome:
    return asyncio.run(check(asking_server.app))


def test_a_good_server_keeps_to_the_protocol_in_both_eras(outcome_of_good_server: CheckOutcome) -> None:
    assert outcome_of_good_server.eras == ["stateless", "session"]
    assert {each.severity for each in outcome_of_good_server.findings} == {"warning", "note"}
    assert "argument-description" in {each.rule for each in outcome_of_good_server.findings}
    assert outcome_of_good_server.tokens > 0


def test_the_tools_of_a_server_are_not_run(outcome_of_good_server: CheckOutcome) -> None:
    calls: list[int] = []
    asking_server.app.add_tool(lambda: calls.append(1), name="bomb")
    try:
        asyncio.run(check(asking_server.app))
    finally:
        asking_server.app.remove_tool("bomb")
    assert calls == []


def test_a_careless_server_is_caught() -> None:
    outcome = asyncio.run(check(python(CARELESS), timeout=20))
    found = {each.rule: each for each in outcome.findings}
    assert outcome.eras == ["session"]
    assert {"unknown-method", "unknown-tool", "malformed-arguments", "ping", "era"} <= set(found)
    assert found["unknown-method"].problem == "an unknown method is answered with a result"
    assert found["malformed-arguments"].where == "2025-11-25, tool add"
    assert found["era"].severity == "note"


def test_a_list_that_is_none_is_caught() -> None:
    outcome = asyncio.run(check(python(WRONG), timeout=20))
    assert [each.rule for each in outcome.findings if each.severity == "error"] == ["list"]


def test_a_list_without_end_is_caught() -> None:
    outcome = asyncio.run(check(python(ENDLESS), timeout=20))
    (found,) = [each for each in outcome.findings if each.severity == "error"]
    assert (found.rule, found.where) == ("endless-list", "2025-11-25")
    assert found.problem == "the pages of tools/list do not end: cursor 'again' after 2 pages"


@pytest.mark.parametrize("server", [ILL, GONE], ids=["ill", "gone"])
def test_a_server_that_errors_bring_down_is_caught(server: str) -> None:
    outcome = asyncio.run(check(python(server), timeout=20))
    found = {each.rule: each for each in outcome.findings}
    assert found["alive"].problem.startswith("ping is answered with the error -32")
    assert "ping" not in found


def test_a_server_that_is_not_there_cannot_be_checked() -> None:
    with pytest.raises(ConnectError):
        asyncio.run(check(python("raise SystemExit")))


async def _surface() -> Surface:
    async with connect(asking_server.app) as client:
        return await read_surface(client)


def test_a_snapshot_is_what_was_stored(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "surface.json"
    surface = asyncio.run(_surface())
    snapshot.save(surface, file)
    assert snapshot.load(file).tools == surface.tools
    assert "1.2.3" not in file.read_text(encoding="utf-8")  # a release alone changes nothing
    outcome = asyncio.run(check(asking_server.app, baseline=snapshot.load(file)))
    assert not fails(outcome.findings, "breaking")
    asking_server.app.remove_prompt("greet")
    try:
        outcome = asyncio.run(check(asking_server.app, baseline=snapshot.load(file)))
    finally:
        asking_server.app.add_prompt(asking_server.greet)
    assert [each.where for each in outcome.findings if each.severity == "breaking"] == ["server", "prompt greet"]
    assert fails(outcome.findings, "breaking")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no snapshot"),
        ("{", "cannot be read"),
        ("[]", "is no snapshot of this version"),
        ('{"snapshot": 99}', "is no snapshot of this version"),
        ('{"snapshot": 1, "tools": 5}', "is no snapshot: Expected `array`"),
    ],
)
def test_what_is_no_snapshot_is_explained(text: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "surface.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(snapshot.SnapshotError, match=said):
        snapshot.load(file)


OUTCOME = CheckOutcome(
    surface=Surface(server={"name": "X"}),
    eras=["session"],
    tokens=7,
    findings=[
        Finding(
            rule="tool-name", severity="error", where="tool a,b", problem="100% wrong\nreally", fix="mend it"
        ),
        Finding(rule="changed", severity="note", where="tool a", problem="is new", fix="look"),
    ],
)


def test_lines_for_github_are_one_for_each_finding() -> None:
    assert as_github(OUTCOME, "a:b.py").splitlines() == [
        "::error file=a%3Ab.py,title=tool-name%3A tool a%2Cb::100%25 wrong%0Areally (mend it)",
        "::notice file=a%3Ab.py,title=changed%3A tool a::is new (look)",
    ]
    assert as_github(OUTCOME, None).startswith("::error title=")


def test_json_has_all_of_it() -> None:
    found = json.loads(as_json(OUTCOME))
    assert found["counts"] == {"error": 1, "breaking": 0, "warning": 0, "note": 1}
    assert (found["tokens"], found["eras"], found["server"]) == (7, ["session"], {"name": "X"})
    assert found["findings"][0]["rule"] == "tool-name"
    assert "1 to 128" in found["findings"][0]["why"]


#: By severity, at which settings a build fails.
FAILS: dict[Severity, set[FailOn]] = {
    "error": {"warning", "error"},
    "breaking": {"warning", "error", "breaking"},
    "warning": {"warning"},
    "note": set(),
}


@pytest.mark.parametrize(("severity", "failing"), FAILS.items())
def test_what_fails_a_build(severity: Severity, failing: set[FailOn]) -> None:
    finding = Finding(rule="x", severity=severity, where="", problem="", fix="")
    assert {each for each in FAILING if fails([finding], each)} == failing


@pytest.mark.anyio
async def test_probes_say_which_tool_they_call() -> None:
    """A probe without the name of a tool would be refused for that, whatever the server does with arguments."""
    names: list[str] = []

    async def record(request: Request, call_next: MethodHandler) -> Message:
        if request.method == "tools/call":
            names.append(request.params.name)
        return await call_next(request)

    app = MCPApp("probed", middleware=[record])
    app.add_tool(lambda: "text", name="say", description="Say.")
    await check(app)
    assert set(names) == {"enfilade_no_such_tool"}
