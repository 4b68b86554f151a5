"""`enfilade check`: the exit status for CI, the formats, the snapshot."""

import json
import re
from pathlib import Path

import pytest

from support.cli.runner import SHOP, CommandLine
from support.servers.processes import ROOT

SERVER = '''
from enfilade import MCPApp
app = MCPApp(name="Sums")
@app.tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: the first
        b: the second
    """
    return a + b
'''


@pytest.fixture
def server(tmp_path: Path) -> Path:
    file = tmp_path / "sums_server.py"
    file.write_text(SERVER, encoding="utf-8")
    return file


def test_a_server_that_is_as_it_should_be(run_cli: CommandLine) -> None:
    result = run_cli("check", str(ROOT / "examples/quickstart/server.py:app"), "--fail-on", "error")
    assert (result.status, result.err) == (0, "")
    assert "quickstart: 3 tools, about" in result.out
    assert "stateless and session." in result.out
    *found, total = result.out.splitlines()
    assert max(map(len, found)) <= 80
    assert re.fullmatch(
        r"quickstart: 3 tools, about .* stateless and session\. .*\.", total
    )  # a line, however long


def test_notes_fail_nothing(server: Path, run_cli: CommandLine) -> None:
    result = run_cli("check", str(server))
    assert result.status == 0
    assert "note annotations" in result.out
    assert "→ declare it with annotations" in result.out


def test_warnings_fail_unless_only_errors_count(run_cli: CommandLine) -> None:
    result = run_cli("check", SHOP)
    assert result.status == 1
    assert "warning argument-description\n  tool pack: no description of box, sizes, kind, weight\n" in result.out
    assert run_cli("check", SHOP, "--fail-on", "error").status == 0


def test_a_change_that_breaks_clients(server: Path, run_cli: CommandLine, tmp_path: Path) -> None:
    snapshot = tmp_path / "surface.json"
    stored = run_cli("check", str(server), "--snapshot", str(snapshot), "--save")
    assert (stored.status, "Stored in" in stored.err) == (0, True)
    assert run_cli("check", str(server), "--snapshot", str(snapshot), "--fail-on", "breaking").status == 0
    server.write_text(SERVER.replace("b: int = 1", "b: int"), encoding="utf-8")
    arguments = ("check", str(server), "--snapshot", str(snapshot), "--fail-on", "breaking")
    result = run_cli(*arguments)
    assert result.status == 1
    assert "breaking removed-or-narrowed\n  tool add, argument b: is required now" in result.out
    found = json.loads(run_cli(*arguments, "--format", "json").out)
    assert found["counts"]["breaking"] == 1
    lines = run_cli(*arguments, "--format", "github").out.splitlines()
    assert lines[0].startswith("::error file=")
    assert lines[0].endswith("store a new snapshot)")
    assert "sums_server.py,title=removed-or-narrowed%3A tool add%2C argument b::is required now" in lines[0]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no file": (["nowhere.py"], "there is no file 'nowhere.py' here"),
    "no server": (["http://127.0.0.1:9/mcp"], "cannot be reached"),
    "no snapshot": (
        [SHOP, "--snapshot", "nowhere.json"],
        "there is no snapshot 'nowhere.json'; store one",
    ),
    "nowhere to store": ([SHOP, "--save"], "say which with --snapshot FILE"),
    "no format": ([SHOP, "--format", "xml"], "there is no format 'xml'; use text, json, github"),
    "no level": ([SHOP, "--fail-on", "luck"], "--fail-on takes warning, error, breaking, not 'luck'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_could_not_be_checked_has_another_status(mistake: str, run_cli: CommandLine) -> None:
    arguments, expected = MISTAKES[mistake]
    result = run_cli("check", *arguments)
    assert (result.status, result.out) == (2, "")
    assert expected in result.err
