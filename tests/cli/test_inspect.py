"""`enfilade inspect`: for people within 80 columns, for programs as JSON, of every kind of target."""

import json
import shlex
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.cli.runner import SHOP, CommandLine
from support.servers.processes import ServerProcess, python_command


def test_for_people(run_cli: CommandLine) -> None:
    result = run_cli("inspect", SHOP)
    assert (result.status, result.err) == (0, "")
    for arguments in (
        "Shop 1.2.3  2026-07-28 (stateless)",
        "Be [bold]nice[/bold].",
        "Tools (8)",
        "reads only",
        "a  integer  required  the first",
        "b  integer  = 1       the second",
        "→ result: integer",
        "box.label  string            required",
        "kind       paper | wood      = 'paper'",
        "sizes      array of integer  required",
        "weight     number | null     = None",
        "shop://prices",
        "prices  (text/plain)",
        "Greet somebody.",
    ):
        assert arguments in result.out, result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "\x1b" not in result.out


def test_for_programs(run_cli: CommandLine) -> None:
    found = json.loads(run_cli("inspect", f"{SHOP}:app", "--json", "--era", "session").out)
    assert found["revision"] == "2025-11-25"
    assert found["tools"][0]["inputSchema"]["required"] == ["a"]
    assert found["resources"][0]["uri"] == "shop://prices"


SCOPED = """
from enfilade import MCPApp, Settings
app = MCPApp("Scoped shop", settings=Settings(tool_names="qualified"))
@app.tool(requires_scopes=["a:write", "b:write"])
def write(text: str) -> str: "Write."; return text
@app.tool
def read() -> str: "Read."; return ""
@app.resource("shop://one", requires_scopes=["one"])
def one() -> str: "One."; return ""
@app.resource("shop://{n}", requires_scopes=["many"])
def many(n: int) -> str: "Many."; return ""
@app.prompt(requires_scopes=["ask"])
def ask() -> str: "Ask."; return ""
"""


def test_scopes_of_a_file(run_cli: CommandLine, tmp_path: Path) -> None:
    """Lists do not say them, so over the wire they stay absent."""
    file = tmp_path / "scoped.py"
    file.write_text(SCOPED, encoding="utf-8")
    shown = json.loads(run_cli("inspect", str(file), "--json").out)
    assert [item.get("requires_scopes") for item in shown["tools"]] == [["a:write", "b:write"], None]
    assert [shown[kind][0]["requires_scopes"] for kind in ("resources", "templates", "prompts")] == [
        ["one"],
        ["many"],
        ["ask"],
    ]
    text = run_cli("inspect", str(file)).out
    for line in ("needs scopes a:write b:write", "needs scope one", "needs scope many", "needs scope ask"):
        assert f"\n    {line}\n" in text
    assert text.count("needs scope") == 4
    command = f"{shlex.quote(sys.executable)} -m enfilade run {shlex.quote(str(file))}"
    assert "requires_scopes" not in run_cli("inspect", command, "--json").out


def test_what_a_file_prints_is_no_result(run_cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "noisy.py"
    file.write_text("print('hello')\nfrom support.servers.asking_server import app\n", encoding="utf-8")
    result = run_cli("inspect", str(file), "--json")
    assert result.err == "hello\n"
    assert json.loads(result.out)["server"]["name"] == "Shop"


def test_a_command_and_a_url(run_cli: CommandLine) -> None:
    arguments = python_command("examples/quickstart/server.py")
    result = run_cli("inspect", "--", *arguments)
    assert (result.status, "quickstart 1.0.0" in result.out) == (0, True), result
    command = "import sys; sys.argv[1:] = ['http']; sys.path.insert(0, 'tests')\n"
    command += "from support.servers.asking_server import app; app.run('http', port={port}, log_level='warning')"
    with ServerProcess([sys.executable, "-c", command.replace("{port}", "{port}")]) as server:
        result = run_cli("inspect", server.url, "--json")
    assert json.loads(result.out)["server"]["version"] == "1.2.3"


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no target": ([], "there is no server here"),
    "no file": (["nowhere.py"], "there is no file 'nowhere.py' here"),
    "no app in it": ([f"{SHOP}:nothing"], "has no app called 'nothing'"),
    "no command": (["enfilade-no-such"], "the command `enfilade-no-such` cannot be reached"),
    "a command that fails": (
        [shlex.join([sys.executable, "-c", "raise SystemExit('no database')"])],
        "It said:\nno database",
    ),
    "no server": (["http://127.0.0.1:9/mcp"], "http://127.0.0.1:9/mcp cannot be reached"),
    "no such era": ([SHOP, "--era", "future"], "there is no era 'future'"),
    "no header": ([SHOP, "-H", "key"], "'key' is not a header; write it as 'Name: value'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake: str, run_cli: CommandLine) -> None:
    arguments, expected = MISTAKES[mistake]
    result = run_cli("inspect", *arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("enfilade: ")
    assert expected in result.err
    assert "Traceback" not in result.err


def test_headers_go_with_each_request(run_cli: CommandLine) -> None:
    sent: list[tuple[str, str | None]] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, self.headers["X-Key"]))
            self.send_error(403)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = run_cli("inspect", f"http://127.0.0.1:{server.server_port}/mcp", "-H", "X-Key: a:b")
        server.shutdown()
    assert result.status == 2
    assert "refused the request: it answers 403" in result.err
    assert set(sent) == {("/mcp", "a:b")}


NESTED = """
from typing import Annotated
from pydantic import BaseModel, Field
from enfilade import MCPApp

class Address(BaseModel):
    city: Annotated[str, Field(description="the town")]
    code: str = ""

class Line(BaseModel):
    text: str

class Contact(BaseModel):
    address: Address
    lines: list[Line] = []
    friend: "Contact | None" = None

app = MCPApp("nested")

@app.tool
def add(contact: Contact, more: list[Line] | None = None) -> str:
    "Add a contact."
    return contact.address.city
"""


def test_objects_in_arguments_are_opened_up(run_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "nested.py").write_text(NESTED, encoding="utf-8")
    expected = run_cli("inspect", str(tmp_path / "nested.py")).out
    rows = [line.split(maxsplit=1) for line in expected.splitlines() if line.startswith("    ")]
    found = {name: " ".join(rest.split()) for name, rest in (row for row in rows if len(row) == 2)}
    assert found["contact"] == "object required"
    assert found["contact.address.city"] == "string required the town"
    assert found["contact.address.code"].startswith("string =")
    assert found["contact.lines[].text"] == "string required"
    assert found["contact.friend"] == "object | null = None"
    assert found["more[].text"] == "string required"
    assert expected.count("friend.friend.friend") == 0


HELD = """
from dataclasses import dataclass
from enfilade import MCPApp

app = MCPApp("held")


@dataclass
class Code:
    digits: int


@dataclass
class Town:
    name: str
    code: Code | None = None
    near: "list[Town] | None" = None


@app.tool
def f(
    a: dict[str, Town], b: dict[str, list[Town]], c: tuple[Code, int], d: dict[str, int], e: list[Town] | Town
) -> {returned}:
    "X."
"""
WITHIN = {"name": "string", "code": "object | null", "code.digits": "integer", "near": "array of object | null"}
ARGUMENTS = {
    "a": ("object of object", ["{}."]),
    "b": ("object of array of object", ["{}[]."]),
    "c": ("array (object, integer)", []),
    "d": ("object of integer", []),
    "e": ("array of object | object", ["[].", "."]),
}
RETURNED = {
    "int": ("result: integer", {}),
    "dict": ("object", {}),
    "dict[str, int]": ("object of integer", {}),
    "dict[str, Town]": ("object of object", {f"{{}}.{key}": kind for key, kind in WITHIN.items()}),
    "dict[str, list[Code]]": ("object of array of object", {"{}[].digits": "integer"}),
    "list[Code]": ("result: array of object", {"result[].digits": "integer"}),
    "tuple[Code, int]": ("result: array (object, integer)", {"result[0].digits": "integer"}),
    "Town": ("name: string, code: object | null, near: array of object | null", {"code.digits": "integer"}),
}


@pytest.mark.parametrize("returned", RETURNED)
def test_whatever_holds_objects_is_opened_up(returned: str, run_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(HELD.replace("{returned}", returned), encoding="utf-8")
    output = run_cli("inspect", str(tmp_path / "held.py")).out
    arguments, _, result = output.partition("→ ")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in arguments.splitlines() if line.split()}
    for name, (kind, ways) in ARGUMENTS.items():
        assert rows[name] == f"{kind} required"
        for way in ways:
            assert all(rows[f"{name}{way}{key}"].startswith(inner) for key, inner in WITHIN.items()), rows
    assert rows["c[0].digits"] == "integer required"
    line, members = RETURNED[returned]
    assert " ".join(result.splitlines()[0].split()) == line
    below = {row.split()[0]: " ".join(row.split()[1:]) for row in result.splitlines()[1:] if row.split()}
    for name, kind in members.items():
        assert below[name].startswith(kind), below
    assert "near[].near[]" not in output


@pytest.mark.parametrize("verb", ["inspect", "check", "call"])
def test_a_variable_that_is_no_setting_is_named(
    verb: str, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENFILADE_PROT", "9000")
    run_cli(verb, SHOP, *(["add", "a=1"] if verb == "call" else []))
    assert "ENFILADE_PROT is no setting of this version" in caplog.text


@pytest.mark.parametrize("verb", ["inspect", "check", "call"])
def test_neither_a_file_nor_a_command(verb: str, run_cli: CommandLine) -> None:
    result = run_cli(verb, "nopython up.py", *(["add"] if verb == "call" else []))
    assert result.status == 2
    assert "there is no file 'nopython up.py' here, and no program 'nopython'" in result.err


@pytest.mark.parametrize("verb", ["inspect", "check"])
def test_a_pipe_gets_no_blanks_at_the_ends_of_lines(verb: str, run_cli: CommandLine) -> None:
    lines = run_cli(verb, SHOP).out.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("verb", ["inspect", "check"])
def test_a_command_may_end_like_a_file(
    verb: str, run_cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a server.py").write_text(NESTED, encoding="utf-8")
    (tmp_path / "up.py").write_text(f"{NESTED}\nif __name__ == '__main__':\n    app.run()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = shlex.join([sys.executable, "up.py"])
    for arguments in ([command], ["--", sys.executable, "up.py"], ["a server.py"], ["up.py"]):
        result = run_cli(verb, *arguments)
        assert "nested" in result.out, (arguments, result)
    assert "there is no file 'no server.py' here" in run_cli(verb, "no server.py").err


def test_a_quotation_mark_that_is_not_closed(run_cli: CommandLine) -> None:
    result = run_cli("inspect", f"{sys.executable} -c 'import")
    assert (result.status, result.err.startswith("enfilade: ")) == (2, True)
    assert "No closing quotation" in result.err


SKILLED = """
from enfilade import MCPApp
from enfilade.extensions.skills import Skill
app = MCPApp("Skilled")
app.add_skill(Skill("refunds", "Decide about refunds.", "Up to 30 days: yes.", files={"a.txt": "a"}))
@app.skill
def stock_list() -> str: "What is in stock."; return "- lamp"
"""


def test_skills(run_cli: CommandLine, tmp_path: Path) -> None:
    """Of a server with the extension for them, its skills with what there is to load of each."""
    server = tmp_path / "server.py"
    server.write_text(SKILLED, encoding="utf-8")
    for era in ("stateless", "session"):
        result = run_cli("inspect", str(server), "--era", era)
        lines = [line.strip() for line in result.out.splitlines()]
        assert lines[lines.index("Skills (2)") + 1 :] == [
            "skill://refunds/SKILL.md",
            "Decide about refunds.",
            "2 files, 82 bytes",
            "skill://stock-list/SKILL.md",
            "What is in stock.",
            "written at each request",
        ]
        found = json.loads(run_cli("inspect", str(server), "--json", "--era", era).out)
        assert [skill["frontmatter"]["name"] for skill in found["skills"]] == ["refunds", "stock-list"]
