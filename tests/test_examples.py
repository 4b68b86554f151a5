"""P18: every example is started over both transports and called by the official client, in both eras.

Easy to get wrong: an example that nobody calls. A folder that is in no table of this file fails.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
)

from enfilade import connect
from support.proxy import recording_app
from support.servers.processes import ROOT, ServerProcess

EXAMPLES = ROOT / "examples"
#: What is neither in a table of this file nor a project of its own is tested elsewhere.
ELSEWHERE = {"api_keys", "bring_your_own_server", "everything", "quickstart", "resource_server", "scoped_tools"}
ELSEWHERE |= {"oauth_proxy", "observability", "tool_auth"}
HANDSHAKE, STATELESS = "legacy", "auto"
SECRET = "a key of this test"


class User:
    """The people and the model behind a client: they answer in turn, and what is said to them is kept."""

    def __init__(self) -> None:
        self.begin([])

    def begin(self, answers: list[ElicitResult]) -> None:
        """Forget what was, and have these answers ready."""
        self.answers, self.heard = list(answers), list[Any]()

    async def answer(self, context: Any, params: Any) -> ElicitResult:
        self.heard.append(params.message)
        return self.answers.pop(0)

    async def write(self, context: Any, params: Any) -> CreateMessageResult:
        asked = params.messages[0].content.text
        self.heard.append(asked)
        written = TextContent(type="text", text=f"<{asked}>")
        return CreateMessageResult(role="assistant", model="a poet", content=written)

    async def log(self, params: Any) -> None:
        self.heard.append((params.level, params.data))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.heard.append((progress, total, message))


@dataclass
class Call:
    """One call of a tool, and what must come of it.

    Attributes:
        text: a pattern that the text of the result fits; all of it.
        answers: the user's, in order.
        data: what the structured result must be.
        meta: a member that the result's `_meta` must have.
        heard: what must have been said to the user or the client, in order.
        able: whether the client can be asked anything.
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    text: str = ".*"
    data: Any = None
    answers: list[ElicitResult] = field(default_factory=list)
    heard: list[Any] | None = None
    meta: str | None = None
    fails: bool = False
    able: bool = True


def accept(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


DECLINE, CANCEL = ElicitResult(action="decline"), ElicitResult(action="cancel")
SIGNATURE = hmac.new(SECRET.encode(), b"hello", hashlib.sha256).hexdigest()

CALLS: dict[str, list[Call]] = {
    "apps": [
        Call("forecast", {"city": "Riga", "days": 1}, "Riga:\nMonday: 6 to 21 °C, windy\n.*MCP Apps.*"),
        Call("another_day", {"city": "Riga", "day": 0}, "06:00 .*", data=None),
        Call("another_day", {"city": "Riga", "day": 7}, ".*day.*", fails=True),
    ],
    "echo": [
        Call("echo", {"text": "hello"}, "hello", data={"result": "hello"}),
        Call("shout", {"text": "tea", "times": 2}, data={"result": ["TEA", "TEA"]}),
        Call("whoami", text='.*"revision":"20.*'),
    ],
    "evaluations": [
        Call("convert", {"amount": 42195, "unit": "metre", "into": "mile"}, data={"result": 26.219}),
        Call("remind", {"text": "tea", "minutes": 3}, "In 3 minutes: tea"),
        Call(
            "remind", {"text": "tea", "minutes": 0}, "A reminder needs at least a minute, and not 0.", fails=True
        ),
    ],
    "local_filesystem": [
        Call("list_directory", text=".*garden/.*list.txt.*"),
        Call("list_directory", {"path": "garden"}, data={"result": ["plan.md", "way-out"]}),
        Call("list_directory", {"path": "cellar"}, "There is no directory 'cellar'.", fails=True),
        Call("read_file", {"path": "garden/plan.md"}, "Plant a tree\nin autumn\n"),
        Call("read_file", {"path": "garden"}, "There is no file 'garden'.*list_directory.*", fails=True),
        *(
            Call("read_file", {"path": path}, ".*is outside of the directory.*", fails=True)
            for path in ("../secret.txt", "/etc/passwd", "garden/../../secret.txt", "garden/way-out")
        ),
        Call("read_file", {"path": "a\0b"}, ".*is no path.", fails=True),
        Call("search", {"word": "tree"}, data={"result": ["garden/plan.md:1: Plant a tree"]}),
        Call(
            "write_file",
            {"path": "list.txt", "text": "Milk"},
            "list.txt was left as it was.",
            answers=[DECLINE],
            heard=["Replace list.txt?"],
        ),
        Call(
            "write_file",
            {"path": "list.txt", "text": "Tea"},
            "list.txt was written.",
            answers=[accept(value=True)],
        ),
        Call("read_file", {"path": "list.txt"}, "Tea"),
        Call("write_file", {"path": "../new", "text": ""}, ".*is outside.*", fails=True),
    ],
    "inside_fastapi": [
        Call("price", {"item": "tea"}, data={"result": 3.5}),
        Call("price", {"item": "gold"}, "There is no gold. There are tea, coffee.", fails=True),
    ],
    "sampling": [
        Call(
            "summarize", {"text": "It rained.", "sentences": 1}, "<Summarize this in 1 sentences:\n\nIt rained.>"
        ),
        Call(
            "debate",
            {"motion": "tea"},
            data={
                "pro": "<Give one sentence in favour of this: tea>",
                "contra": "<Give one sentence against this: tea>",
            },
        ),
        Call("headline", {"text": "One two three"}, "<Write a headline.*"),
        Call(
            "headline", {"text": "one two three four five six seven"}, "one two three four five six", able=False
        ),
        Call("summarize", {"text": "x"}, ".*sampling.*", fails=True, able=False),
        Call("summarize", {"text": "x", "sentences": 11}, ".*sentences.*", fails=True),
    ],
    "elicitation": [
        Call(
            "choose_nickname", text="Hello, Bo!", answers=[accept(value="Bo")], heard=["What shall I call you?"]
        ),
        Call("choose_nickname", text="Then I shall not.*", answers=[DECLINE]),
        Call("choose_nickname", text=".*another time.*", answers=[CANCEL]),
        Call(
            "book_table",
            {"restaurant": "Ada's"},
            r"Booking \d+: 2 guests, terrace\.",
            answers=[accept(guests=2, where="terrace")],
        ),
        Call(
            "book_table",
            {"restaurant": "Ada's"},
            r"Booking \d+: 9 guests, inside\.",
            answers=[accept(guests=9), accept()],
            heard=["A table at Ada's: for whom, and where?", "A large table costs a deposit of 50 EUR. Go on?"],
        ),
        Call("book_table", {"restaurant": "x"}, "Nothing was.*", answers=[accept(guests=9), DECLINE]),
        Call("book_table", {"restaurant": "x"}, "Nothing was.*", answers=[CANCEL]),
    ],
    "progress": [
        Call(
            "bake",
            {"cakes": 2},
            "2 cakes",
            heard=[(0, 2, "cake 1 is in the oven"), (1, 2, "cake 2 is in the oven"), (2, 2, "all done")],
        ),
        Call("search", {"word": "tea"}, "3", heard=[(page, None, f"{page} pages read") for page in (1, 2, 3, 4)]),
        Call("stretch", {"password": "x", "rounds": 3}, "[0-9a-f]{64}", heard=[(n, 3, None) for n in (1, 2, 3)]),
    ],
    "logging": [
        Call(
            "order",
            {"item": "lamp", "amount": 11},
            "11 × lamp",
            heard=[
                ("debug", "looking at the shelf"),
                ("info", {"item": "lamp", "amount": 11}),
                ("notice", "this customer orders for the first time"),
                ("warning", {"msg": "the shelf is nearly empty", "extra": {"item": "lamp", "left": 2}}),
            ],
        ),
        Call(
            "alarm",
            heard=[
                ("error", "a lamp is broken"),
                ("critical", "the till does not open"),
                ("alert", "somebody must come at once"),
                ("emergency", "the shop is on fire"),
            ],
        ),
    ],
    "tool_chaining": [
        Call("locate", {"city": "Ulm"}, data={"city": "Ulm", "latitude": 48.4, "longitude": 10.0}),
        Call("temperature", {"latitude": 48.4, "longitude": 10}, data={"result": 17.6}),
        Call("warmth", {"city": "Ulm"}, data={"result": 17.6}),
        Call("warmth", {"city": "Atlantis"}, "I do not know Atlantis.*", fails=True),
        Call("compare", {"cities": ["Oslo", "Lisbon", "Ulm"]}, "Lisbon"),
        Call("known", {"city": "Atlantis"}, data={"result": False}),
        Call("known", {"city": "Oslo"}, data={"result": True}),
    ],
    "prebuilt_and_custom_tools": [
        Call("multiply", {"a": 6, "b": 7}, data={"result": 42.0}),
        Call("divide", {"a": 1, "b": 0}, "Nothing can be divided by zero.", fails=True),
        Call("mean", {"numbers": [1, 2, 6]}, data={"result": 3.0}),
        Call("mean", {"numbers": []}, ".*numbers.*", fails=True),
        Call("compound", {"capital": 100, "percent": 10, "years": 2}, data={"result": 121.0}),
    ],
    "secrets": [
        Call("sign", {"message": "hello"}, SIGNATURE),
        Call("is_signed_by_us", {"message": "hello", "signature": SIGNATURE}, data={"result": True}),
        Call("is_signed_by_us", {"message": "hello", "signature": "0" * 64}, data={"result": False}),
        Call("careless", text=r"Tool 'careless' failed with an internal error \(id .*", fails=True),
    ],
    "resources": [
        Call("write_note", {"title": "tea", "text": "Ceylon"}, "note://tea"),
        Call("write_note", {"title": "Not a title", "text": ""}, ".*title.*", fails=True),
    ],
    "prompts": [],
    "skills": [Call("note_change", {"text": "Quicker start"}, r"\d+ noted")],
    "scaling_out": [
        Call("served_by", text=r".+/\d+"),
        Call(
            "brew",
            {"cups": 1},
            "1 cups with milk",
            answers=[accept(value=True)],
            heard=["Milk in 1 cups?", (0, 1, "cup 1 is brewing"), (1, 1, "all done")],
        ),
        Call("brew", {"cups": 0}, "0 cups without milk", answers=[DECLINE]),
        Call("brew", {"cups": 1}, ".*", fails=True, able=False),
        Call("steep", {"seconds": 0.1}, "steeped for 0.1 seconds"),
    ],
    "typed_errors": [
        Call("order", {"item": "lamp", "amount": 2}, "2 × lamp"),
        Call("order", {"item": "lamp", "amount": 0}, ".*amount.*1.*", fails=True),
        Call("order", {"item": "table"}, r"There is no 'table'\. There are lamp, chair\.", fails=True),
        Call("order", {"item": "chair"}, "Only 0.*", fails=True, meta="example.org/out-of-stock"),
        Call("crash", text=r"Tool 'crash' failed with an internal error \(id [0-9a-f]+\)\.", fails=True),
        Call("lie", fails=True),
    ],
}


async def make(client: Client, call: Call, user: User) -> None:
    """Make a call and see what comes of it."""
    user.begin(call.answers)
    if call.fails and not call.able and client.protocol_version >= "2026-07-28":
        with pytest.raises(MCPError, match=call.text):  # it has a code of its own there
            await client.call_tool(call.tool, call.arguments)
        return
    result = await client.call_tool(call.tool, call.arguments, progress_callback=user.progress)
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    assert bool(result.is_error) == call.fails, text
    assert re.fullmatch(call.text, text, re.DOTALL), text
    if call.data is not None:
        assert result.structured_content == call.data
    if call.meta is not None:
        assert call.meta in (result.meta or {})
    if call.heard is not None:
        assert user.heard == call.heard
    assert user.answers == [], "there were fewer questions than answers"


async def read_resources(client: Client) -> None:
    """What `write_note` and `pin_note` have done is there to be read."""

    async def read(uri: str) -> str:
        (contents,) = (await client.read_resource(uri)).contents
        return str(contents.text)  # type: ignore[union-attr]

    listed = {str(each.uri) for each in (await client.list_resources()).resources}
    assert listed >= {"about://server", "guide://notes", "calendar://today"}
    (template,) = (await client.list_resource_templates()).resource_templates
    assert template.uri_template == "note://{title}"
    assert await read("about://server") == "Notes that can be read and written."
    assert (await read("guide://notes")).startswith("# Writing notes")
    assert str(date.today().year) in await read("calendar://today")
    assert await read("note://tea") == "Ceylon"
    with pytest.raises(MCPError, match="There is no note called coffee"):
        await client.read_resource("note://coffee")
    reference = ResourceTemplateReference(type="ref/resource", uri="note://{title}")
    completion = await client.complete(reference, {"name": "title", "value": "sh"})
    assert "shopping" in completion.completion.values
    title = f"plans-{client.protocol_version}"
    await client.call_tool("write_note", {"title": title, "text": "Plant two trees"})
    pinned = await client.call_tool("pin_note", {"title": title})
    assert not pinned.is_error
    assert await read(f"pinned://{title}") == "Plant two trees"


async def get_prompts(client: Client) -> None:
    async def get(name: str, **arguments: str) -> list[tuple[str, str]]:
        messages = (await client.get_prompt(name, arguments)).messages
        return [(each.role, each.content.text) for each in messages]  # type: ignore[union-attr]

    async def complete(name: str, argument: str, value: str) -> list[str]:
        reference = PromptReference(type="ref/prompt", name=name)
        return list((await client.complete(reference, {"name": argument, "value": value})).completion.values)

    assert [each.name for each in (await client.list_prompts()).prompts] == ["review", "reply", "interview"]
    ((role, text),) = await get("review", code="print(1)", language="rust")
    assert (role, "rust code" in text, "print(1)" in text) == ("user", True, True)
    ((_, text),) = await get("reply", letter="Dear all", words="20")
    assert "friendly tone, in at most 20 words" in text
    assert [role for role, _ in await get("interview", role="baker")] == ["user", "assistant", "user"]
    for wrong in ({"letter": "x", "words": "many"}, {}):
        with pytest.raises(MCPError):
            await get("reply", **wrong)
    assert await complete("review", "language", "p") == ["python", "typescript"]
    assert await complete("reply", "tone", "f") == ["friendly", "formal", "funny"]


async def read_skills(client: Client) -> None:
    """Skills are resources for any client; the instructions of one are made when they are read."""

    async def read(uri: str) -> str:
        (contents,) = (await client.read_resource(uri)).contents
        return str(contents.text)  # type: ignore[union-attr]

    listed = {str(each.uri): each for each in (await client.list_resources()).resources}
    assert listed.keys() == {
        f"skill://{path}/SKILL.md"
        for path in ("incident-review", "release-notes", "team/house-style", "open-changes")
    }
    assert listed["skill://release-notes/SKILL.md"].name == "release-notes"
    assert (await read("skill://release-notes/SKILL.md")).startswith("---\nname: release-notes\n")
    assert "# What we change" in await read("skill://incident-review/templates/short.md")
    assert "- simply" in await read("skill://team/house-style/references/words.md")
    assert "- Quicker start" in await read("skill://open-changes/SKILL.md")


async def unknown_tool(client: Client) -> None:
    with pytest.raises(MCPError) as caught:
        await client.call_tool("no_such_tool", {})
    assert caught.value.code == -32602


async def read_files(client: Client) -> None:
    """The files are resources as well; what a link leads out to is not."""
    listed = {str(each.uri) for each in (await client.list_resources()).resources}
    assert {"files:///list.txt", "files:///garden/plan.md"} <= listed
    assert not [uri for uri in listed if "way-out" in uri]
    (contents,) = (await client.read_resource("files:///garden/plan.md")).contents
    assert contents.text == "Plant a tree\nin autumn\n"  # type: ignore[union-attr]
    with pytest.raises(MCPError):
        await client.read_resource("files:///garden/way-out")
    new = f"new/{client.protocol_version}.txt"
    assert not (await client.call_tool("write_file", {"path": new, "text": "fresh"})).is_error
    (contents,) = (await client.read_resource(f"files:///{new}")).contents
    assert contents.text == "fresh"  # type: ignore[union-attr]


#: What there is to be seen of an example besides its tools.
MORE: dict[str, Callable[[Client], Awaitable[None]]] = {
    "resources": read_resources,
    "prompts": get_prompts,
    "skills": read_skills,
    "local_filesystem": read_files,
    "typed_errors": unknown_tool,
}


async def visit(example: str, address: Any, mode: str) -> None:
    """Call everything of an example, by a client that can be asked and by one that cannot."""
    for able in {call.able for call in CALLS[example]} | {True}:
        user = User()
        asked = {"elicitation_callback": user.answer, "sampling_callback": user.write} if able else {}
        async with Client(address, mode=mode, logging_callback=user.log, log_level="debug", **asked) as client:
            if mode == HANDSHAKE:
                await client.set_logging_level("debug")
            for call in CALLS[example]:
                if call.able == able:
                    await make(client, call, user)
            if able and example in MORE:
                await MORE[example](client)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_KEY", SECRET)


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the directory that `local_filesystem` is for; around it is what it must not show."""
    root = tmp_path / "files"
    (root / "garden").mkdir(parents=True)
    (root / "list.txt").write_text("Eggs")
    (root / "garden" / "plan.md").write_text("Plant a tree\nin autumn\n")
    (tmp_path / "secret.txt").write_text("a tree that nobody may see")
    if sys.platform != "win32":
        (root / "garden" / "way-out").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setenv("FILES_ROOT", str(root))
    return root


#: The client warns of what later revisions have dropped.
older = pytest.mark.filterwarnings("ignore:.*deprecated as of 2026-07-28")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Return where a server's messages are recorded; in the end each is held against its revision's schema."""
    path = tmp_path / "left.jsonl"
    yield path
    assert recording_app.validate_log(path) > 0


def command(example: str, transport: str, log: Path) -> list[str]:
    return recording_app.command(EXAMPLES / example / "server.py", transport, "{port}", log)


@older
@pytest.mark.parametrize("example", CALLS)
def test_over_http(example: str, log: Path) -> None:
    """P18."""
    with ServerProcess(command(example, "http", log)) as server:
        for mode in (HANDSHAKE, STATELESS):
            asyncio.run(visit(example, server.url, mode))
    for hidden in ("hunter2", SECRET):
        assert hidden not in server.output or (example, hidden) == ("typed_errors", "hunter2")


@older
@pytest.mark.parametrize("mode", [HANDSHAKE, STATELESS])
@pytest.mark.parametrize("example", CALLS)
def test_over_stdio(example: str, mode: str, log: Path, files: Path) -> None:
    program, *arguments = command(example, "stdio", log)
    server = StdioServerParameters(
        command=program, args=arguments, env={"SIGNING_KEY": SECRET, "FILES_ROOT": str(files)}
    )
    asyncio.run(visit(example, server, mode))


def test_a_secret_that_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path) -> None:
    """The message names it and says where to set it."""
    monkeypatch.delenv("SIGNING_KEY")
    program, *arguments = command("secrets", "stdio", log)

    async def sign() -> Any:
        async with Client(StdioServerParameters(command=program, args=arguments, cwd=tmp_path)) as client:
            return await client.call_tool("sign", {"message": "hello"})

    result = asyncio.run(sign())
    assert result.is_error
    assert "SIGNING_KEY" in result.content[0].text


def test_inside_fastapi_pages_and_tools_work_on_the_same_data() -> None:
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES / "inside_fastapi"), "--port", "{port}"]

    async def change(url: str, ticket: str) -> None:
        async with connect(url, headers={"Authorization": f"Bearer {ticket}"}) as client:
            await client.call_tool("set_price", {"item": "tea", "amount": 5})

    with ServerProcess([*uvicorn, "server:web"]) as server:
        ticket = httpx.post(
            server.url.replace("/mcp", "/login"), json={"name": "ada", "password": "tea-at-five"}
        ).text
        page = server.url.replace("/mcp", "/prices")
        assert httpx.get(f"{page}/tea").json() == {"tea": 3.5}
        assert httpx.get(f"{page}/gold").status_code == 404
        asyncio.run(change(server.url, ticket))
        assert httpx.get(f"{page}/tea").json() == {"tea": 5}


#: What a project needs besides Enfilade alone.
NEEDED = {"scaling_out": ["enfilade[redis]"], "inside_fastapi": ["enfilade", "fastapi>=0.115"]}
NEEDED["skills"] = ["enfilade[skills]"]

FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if (path / "server.py").is_file())


def test_every_example_is_tested() -> None:
    assert set(FOLDERS) == set(CALLS) | ELSEWHERE


def test_the_index_has_every_example_and_the_line_that_runs_it() -> None:
    """Run from the top of the repository; each file is loaded as the command does it."""
    rows = re.findall(
        r"^\| \[(\w+)\]\([^)]+\) \| `([^`]+)` \|", (EXAMPLES / "README.md").read_text("utf-8"), re.M
    )
    assert sorted(name for name, _ in rows) == FOLDERS
    load = "import sys; from enfilade.discovery import load_app; print(*map(load_app, sys.argv[1:]))"
    files = []
    for name, line in rows:
        program, *words = line.split()
        if program == "docker":
            continue  # there is no engine here; `test_scaling_out` runs each of its parts
        assert words[-1 if program == "python" else 1] == f"examples/{name}/server.py", line
        if program == "enfilade":
            assert words[0] == "run"
            files.append(words[1])
    # In one process: other tests start each of them in one of its own.
    done = subprocess.run(
        [sys.executable, "-c", load, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", CALLS)
def test_is_a_project_of_its_own(example: str) -> None:
    folder = EXAMPLES / example
    settings = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    project = settings["project"]
    assert settings["build-system"]["build-backend"] == "hatchling.build"
    assert project["name"] == f"enfilade-example-{example.replace('_', '-')}"
    assert project["dependencies"] == NEEDED.get(example, ["enfilade"])
    for name in (project["readme"], *settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]):
        assert (folder / name).exists(), name


@pytest.mark.parametrize("example", CALLS)
def test_the_readme_names_what_there_is(example: str) -> None:
    readme = (EXAMPLES / example / "README.md").read_text("utf-8")
    missing = {call.tool for call in CALLS[example] if f"`{call.tool}`" not in readme}
    missing -= {"locate", "temperature"}  # they are only there to be called by the others
    assert missing == set()
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        assert (EXAMPLES / example / link).resolve().exists(), link


# -- evaluations -------------------------------------------------------------------------------------------------

MARATHON = {"amount": 42195.0, "unit": "metre", "into": "mile"}
PLANTS = {"text": "Water the plants!", "minutes": 60}
#: What a model asks for, one after the other, and what is then said.
MODELS: dict[str, tuple[list[list[tuple[str, dict[str, Any]]]], list[str]]] = {
    "good": ([[("convert", MARATHON)], [("remind", PLANTS)]], ["2 of 2 went well"]),
    "another tool": ([[("remind", PLANTS)], [("remind", PLANTS)]], ["asked for remind, and not for convert"]),
    "silent": ([[], [("remind", PLANTS)]], ["asked for 0 calls, and not for one", "1 of 2 went well"]),
    "hours": (
        [[("convert", MARATHON)], [("remind", {**PLANTS, "minutes": 1})]],
        ["minutes is 1, and not 60", "1 of 2 went well"],
    ),
    "another text": (
        [[("convert", MARATHON)], [("remind", {**PLANTS, "text": "buy milk"})]],
        ["text is 'buy milk'"],
    ),
    "too much": ([[("convert", {**MARATHON, "exactly": True})], []], ["exactly is True, and not None", "0 of 2"]),
}


def evaluated(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "evals/eval_tools.py"],
        cwd=EXAMPLES / "evaluations",
        env={**{key: value for key, value in os.environ.items() if not key.startswith("EVAL_")}, **env},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_evaluations_can_be_met() -> None:
    done = evaluated()
    assert done.returncode == 0, done.stderr
    assert "2 of 2 went well; no model was asked (EVAL_URL)" in done.stdout


def test_evaluations_say_in_a_line_that_no_model_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: nothing can connect
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        done = evaluated(EVAL_URL=url)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"{url} cannot be reached (")
    assert done.stderr.endswith(
        "; set EVAL_URL to the base of such an API, and EVAL_MODEL and EVAL_KEY to what it needs\n"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:11434/v1", "http://", "http://localhost:port", "ftp://127.0.0.1/v1"])
def test_evaluations_say_in_a_line_what_is_no_url(url: str) -> None:
    done = evaluated(EVAL_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"EVAL_URL is {url!r}, and no URL such as http://127.0.0.1:11434/v1\n"


@pytest.mark.parametrize("kind", MODELS)
def test_evaluations_of_a_model(kind: str) -> None:
    """P4: the model here is a script behind the same API, and is asked as any other would be."""
    replies, said = MODELS[kind]
    waiting, asked = list(replies), list[Any]()

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(
                (
                    self.path,
                    self.headers["Authorization"],
                    json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
                )
            )
            calls = [
                {"function": {"name": name, "arguments": json.dumps(arguments)}}
                for name, arguments in waiting.pop(0)
            ]
            body = json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = evaluated(EVAL_URL=f"http://127.0.0.1:{server.server_port}/v1", EVAL_MODEL="m", EVAL_KEY="k")
        server.shutdown()
    assert done.returncode == (kind != "good"), done.stdout + done.stderr
    assert all(each in done.stdout for each in said), done.stdout
    path, key, request = asked[0]
    assert (path, key, request["model"]) == ("/v1/chat/completions", "Bearer k", "m")
    assert [tool["function"]["name"] for tool in request["tools"]] == ["convert", "remind"]
    assert request["tools"][0]["function"]["parameters"]["properties"]["unit"]["enum"] == [
        "metre",
        "mile",
        "yard",
    ]
