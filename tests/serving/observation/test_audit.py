"""The audit: what is recorded, masked and refused, and how files survive workers, full disks and kills."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from enfilade import MCPApp, connect
from enfilade.settings import SettingsError
from support.harness import eventually
from support.http_client.connection import Http, modern_headers, request_of, stateless_meta
from support.servers.processes import ServerProcess, python_command

SCRIPT = "tests/support/servers/audited_server.py"


@contextmanager
def audited(folder: Path, file: Path | str | None = None, **variables: str) -> Iterator[ServerProcess]:
    env = {
        "AUDIT_FILE": str(file or folder / "audit.jsonl"),
        "AUDIT_DONE": str(folder / "done"),
        "API_KEY": "hush-hush",
        **variables,
    }
    with ServerProcess(python_command(SCRIPT, "{port}"), env=env, start_timeout=60) as server:
        yield server


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_what_is_recorded_and_what_is_masked(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    with audited(tmp_path) as server:
        http = Http(server.port)
        http.modern_call("transfer", amount=3, note="rent\nnext line")
        http.modern_call("log_in", login={"user": "ada", "password": "hush"}, tags=["a"], pin="1234")
        http.modern_call("names_only", token="t")
        http.modern_call("nothing", token="t")
        http.modern_call("leak", text="it is hush-hush")
        http.modern_call("transfer", amount="x", unknown="secret?")
        params = {"name": "transfer", "arguments": {"amount": 12345}}
        infinite = request_of("tools/call", params, 1, stateless_meta())
        http.post(json.dumps(infinite).replace("12345", "1e999").encode(), **modern_headers(infinite))
        http.modern_call("chain")
        http.modern_call("missing", token="t")
        http.modern("tools/list")
        eventually(lambda: len(entries(file)) >= 10)
        assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert [(entry["target"], entry["arguments"], entry["outcome"]) for entry in entries(file)] == [
        ("transfer", {"amount": 3, "note": "rent\nnext line"}, "ok"),
        ("log_in", {"login": {"user": "ada", "password": "[secret]"}, "tags": ["a"], "pin": "[secret]"}, "ok"),
        ("names_only", ["token"], "ok"),
        ("nothing", None, "tool_error"),
        ("leak", {"text": "it is [secret]"}, "ok"),
        ("transfer", {"amount": "x", "unknown": "[secret]"}, "tool_error"),
        ("transfer", {"amount": "1e999"}, "tool_error"),
        ("names_only", ["token"], "ok"),
        ("chain", {}, "ok"),
        ("missing", ["token"], "-32602"),
    ]
    chained = entries(file)[7]
    assert chained["called_by"] == "chain"
    assert chained["request_id"] == entries(file)[8]["request_id"]
    assert {entry["event"] for entry in entries(file)} == {"ended"}


def test_a_required_audit_brackets_each_call_also_that_of_a_killed_process(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    with audited(tmp_path, AUDIT_REQUIRED="1") as server:
        http = Http(server.port)
        http.modern_call("transfer", amount=3)
        first = entries(file)  # without waiting: it was written before the response left
        pending = http.start_modern("tools/call", {"name": "hang", "arguments": {}})
        eventually(lambda: len(entries(file)) == 3)
        server.kill()
        pending.close()
    assert [(entry["event"], entry["target"]) for entry in first] == [
        ("begun", "transfer"),
        ("ended", "transfer"),
    ]
    assert first[0]["id"] == first[1]["id"]
    assert [(entry["event"], entry["target"]) for entry in entries(file)[2:]] == [("begun", "hang")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_refuses_calls_before_they_do_anything(tmp_path: Path) -> None:
    with audited(tmp_path, "/dev/full", AUDIT_REQUIRED="1") as server:
        reply = Http(server.port).modern_call("transfer", amount=3)
        assert reply.status == 503
        assert "nothing was done: it cannot be recorded" in reply.response["error"]["message"]
        assert Http(server.port).modern("tools/list").status == 200
        eventually(lambda: "No space left on device" in server.output)
    assert not (tmp_path / "done").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_without_required_a_full_disk_is_logged(tmp_path: Path) -> None:
    with audited(tmp_path, "/dev/full") as server:
        assert "moved" in str(Http(server.port).modern_call("transfer", amount=3).response)
        eventually(lambda: "the audit log cannot be written" in server.output)


def test_four_workers_write_whole_lines_and_follow_a_rotation(tmp_path: Path) -> None:
    file, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    variables = {"AUDIT_REQUIRED": "1", "AUDIT_WORKERS": "4", "ENFILADE_LOG_LEVEL": "info"}
    with audited(tmp_path, **variables) as server:
        eventually(lambda: server.output.count(": serving") == 4, server.output, timeout=60)

        def call(number: int) -> None:
            Http(server.port).modern_call("transfer", amount=number, note="x" * 3000)

        async def call_all(numbers: range) -> None:
            await asyncio.gather(*(asyncio.to_thread(call, number) for number in numbers))

        asyncio.run(call_all(range(60)))
        file.rename(rotated)
        asyncio.run(call_all(range(60, 80)))
    before, after = entries(rotated), entries(file)
    assert len(before) + len(after) == 160
    assert len(after) >= 40
    for event in ("begun", "ended"):
        amounts = [entry["arguments"]["amount"] for entry in [*before, *after] if entry["event"] == event]
        assert sorted(amounts) == list(range(80))
    assert len({entry["worker"] for entry in before}) > 1


async def call_with(audit: Any, **options: Any) -> str:
    """Call a tool of an app in this process, and return its text or the error."""
    app = MCPApp("Audited", audit=audit, **options)
    app.add_tool(lambda: "done", name="act", description="Act.")
    async with connect(app) as client:
        try:
            result = await client.call_tool("act", {})
        except Exception as error:
            return str(error)
        return str(result.content[0].text)


@pytest.mark.parametrize("is_async", [False, True])
def test_functions_take_entries(is_async: bool) -> None:
    taken: list[dict[str, Any]] = []

    async def take_async(entry: dict[str, Any]) -> None:
        taken.append(entry)

    take = take_async if is_async else taken.append
    assert asyncio.run(call_with(take, audit_required=True)) == "done"
    assert [(entry["event"], entry.get("outcome", "")) for entry in taken] == [
        ("begun", ""),
        ("ended", "ok"),
    ]


class Password(BaseModel):
    user: str
    password: SecretStr


class Token(BaseModel):
    tokens: list[SecretStr]


class Note(BaseModel):
    tokens: str


Credentials: TypeAlias = Password | Token
CANARY = "canary"


class Holder(BaseModel):
    credentials: Credentials | None = None


@pytest.mark.parametrize(
    ("kind", "value", "recorded"),
    [
        (Password, {"user": "ada", "password": CANARY}, {"user": "ada", "password": "[secret]"}),
        (Password, json.dumps({"user": "ada", "password": CANARY}), "[secret]"),
        (Password, CANARY, "[secret]"),
        (Password, [CANARY], ["[secret]"]),
        (Password, {"user": "ada", "pasword": CANARY}, {"user": "ada", "pasword": "[secret]"}),
        (tuple[str, SecretStr], ["ada", CANARY], ["ada", "[secret]"]),
        (list[int] | list[SecretStr], [CANARY], ["[secret]"]),
        (Credentials | None, {"tokens": [CANARY]}, {"tokens": ["[secret]"]}),
        (Credentials | None, None, None),
        (Holder, {"credentials": {"tokens": [CANARY]}}, {"credentials": {"tokens": ["[secret]"]}}),
        (Note | Token, {"tokens": [CANARY]}, {"tokens": ["[secret]"]}),
        (Note | Token, {"tokens": "a note"}, {"tokens": "a note"}),
        (str | Password, "a note", "a note"),
        (int | SecretStr, CANARY, "[secret]"),
        (dict[str, list[SecretStr]], {"a": [CANARY]}, {"a": ["[secret]"]}),
        (dict[str, Any], {"a": [1]}, {"a": [1]}),
    ],
)
def test_secrets_are_masked_wherever_they_stand(kind: Any, value: Any, recorded: Any) -> None:
    taken: list[dict[str, Any]] = []
    app = MCPApp("Audited", audit=taken.append)

    async def act(secret: Any, plain: dict[str, Any]) -> str:
        return ""

    async def call() -> None:
        async with connect(app) as client:
            await client.call_tool("act", {"secret": value, "plain": {"any": "thing"}})

    act.__annotations__["secret"] = kind
    app.add_tool(act, description="Act.")
    asyncio.run(call())
    [entry] = taken
    assert entry["arguments"] == {"secret": recorded, "plain": {"any": "thing"}}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("event", "text"), [("begun", "nothing was done"), ("ended", "was carried out, but")])
def test_a_failing_function_refuses(is_async: bool, event: str, text: str) -> None:
    def fail(entry: dict[str, Any]) -> None:
        if entry["event"] == event:
            raise OSError("needle")

    async def fail_async(entry: dict[str, Any]) -> None:
        fail(entry)

    answer = asyncio.run(call_with(fail_async if is_async else fail, audit_required=True))
    assert text in answer
    assert "needle" not in answer


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"audit_required": True}, "needs audit="),
        ({"audit": 3}, "a path of a file or a function"),
        ({"audit": "x", "audit_arguments": "some"}, "'all', 'names' or 'none'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text.replace("a path", "the path")):
        MCPApp("x", **options)
    with pytest.raises(ValueError, match="audit is"):
        MCPApp("x").add_tool(lambda: 1, name="x", audit="some")  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["missing/audit.jsonl", "."])
async def test_a_file_that_cannot_be_is_refused_at_the_start(tmp_path: Path, path: str) -> None:
    app = MCPApp("audited", audit=tmp_path / path)
    with pytest.raises(SettingsError, match=r"audit=.* cannot be written: .*name another file"):
        async with app.running():
            pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_probe_and_a_metric_say_that_entries_are_lost(tmp_path: Path) -> None:
    with audited(tmp_path, "/dev/full", AUDIT_REQUIRED="1", ENFILADE_METRICS="true") as server:
        base = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{base}/readyz?verbose").status_code == 200
        assert Http(server.port).modern_call("transfer", amount=3).status == 503
        probe = httpx.get(f"{base}/readyz?verbose")
        assert probe.status_code == 503
        assert "the audit log cannot be written" in probe.text
        assert "enfilade_audit_entries_dropped_total 1.0" in httpx.get(f"{base}/metrics").text
