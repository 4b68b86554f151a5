"""`enfilade call`: arguments in, results out, and a person in between who is asked at the terminal."""

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from enfilade.cli.call import ProgressBar
from support.cli.runner import SHOP, CommandLine, at_terminal, spawned
from support.servers.asking_server import PIXEL

PACKED = "x ['a', 'b'] [1, 2] wood 0.5"

CALLS: dict[str, tuple[list[str], str]] = {
    "numbers": (["add", "a=40", "b=2"], "42\n"),
    "a default": (["add", "a=-3"], "-2\n"),
    "all kinds": (
        ["pack", 'box={"label":"x","tags":["a","b"]}', "sizes=1", "sizes=2", "kind=wood", "weight=.5"],
        f"{PACKED}\n",
    ),
    "as JSON": (["add", "--json", '{"a": 1, "b": 1}'], "2\n"),
    "JSON, and a word that outranks it": (["add", "b=5", "--json", '{"a": 1, "b": 1}'], "6\n"),
    "a picture": (["picture"], f"[image, image/png, {len(PIXEL)} bytes; --save DIR writes it to a file]\n"),
    "a model": (["advise", "--sample", "Tea [b]now[/b]."], "Tea [b]now[/b].\n"),
    "a root": (["look_around", "--root", "file:///x"], '[\n  "file:///x"\n]\n'),
}

MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "another name": (["ad", "a=1"], 2, "the server has no tool 'ad'; did you mean 'add'"),
    "another type": (["add", "a=x"], 2, "add: argument 'a': expected an integer, got 'x'"),
    "nothing": (["add"], 2, "add: missing argument: a=<an integer: the first>"),
    "an option": (
        ["add", "--a", "1"],
        2,
        "--a; an argument of the tool is written a=1; see enfilade call --help",
    ),
    "an option with =": (["add", "-a=x y"], 2, "-a; an argument of the tool is written a='x y'; see"),
    "an option of the command": (["add", "--timeot", "1"], 2, "--timeot; did you mean --timeout? see"),
    "a bare object": (["add", '{"a": 1}'], 2, "add: all arguments as one JSON object are given by --json, as in"),
    "a bare object with =": (["add", '{"a": "x=y"}'], 2, "are given by --json, as in"),
    "no JSON": (["add", "--json", "{"], 2, "--json takes a JSON object, and this is not JSON"),
    "no object": (["add", "--json", "[1]"], 2, "--json takes a JSON object"),
    "a tool that fails": (["fail"], 1, "Out of ]0;teatea."),
    "what the server refuses": (["add", "--json", '{"a": "x"}'], 1, "a"),
    "no model": (["advise"], 1, "The server asks the model: Tea or coffee?"),
    "no model, and no code": (["advise"], 1, "advise failed: there is no model here\n"),
}


@pytest.mark.parametrize("era", ["stateless", "session"])
@pytest.mark.parametrize("case", CALLS)
def test_a_call(case: str, era: str, run_cli: CommandLine) -> None:
    arguments, out = CALLS[case]
    result = run_cli("call", SHOP, *arguments, "--era", era)
    assert (result.status, result.out, result.err) == (0, out, "")


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_and_its_status(case: str, run_cli: CommandLine) -> None:
    arguments, status, expected = MISTAKES[case]
    result = run_cli("call", SHOP, *arguments)
    assert (result.status, result.out) == (status, "")
    assert expected in result.err
    assert "\x1b" not in result.err
    assert "Traceback" not in result.err


UNQUOTED = {
    "enfilade run server.py add a=1": "as in `enfilade call 'enfilade run server.py' add NAME=VALUE`",
    "python server.py add": "as in `enfilade call 'python server.py' add NAME=VALUE`",
    "python server.py --reload add": "put a command with options in quotes, as in 'python server.py --reload'",
}


@pytest.mark.parametrize("line", UNQUOTED)
def test_a_command_without_quotes_is_not_started(
    line: str, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name in ("enfilade", "python") else None)
    result = run_cli("call", *line.split())
    assert (result.status, result.out) == (2, "")
    assert UNQUOTED[line] in result.err


def test_the_clock_of_the_bar_stands_still_while_somebody_is_asked() -> None:
    now = [0.0]
    shown = io.StringIO()
    bar = ProgressBar(Console(file=shown, force_terminal=True, width=80, get_time=lambda: now[0]), "pack")
    try:
        asyncio.run(bar.progress(1, 3, None))
        now[0] = 2.0
        with bar.paused():
            now[0] = 3602.0
        now[0] = 3603.0
        asyncio.run(bar.progress(2, 3, None))
    finally:
        bar.end()
    assert "0:00:03" in shown.getvalue()
    assert "1:00:" not in shown.getvalue()


def test_the_whole_result(run_cli: CommandLine) -> None:
    found = json.loads(run_cli("call", SHOP, "add", "a=1", "--raw").out)
    assert found["structuredContent"] == {"result": 2}
    failed = run_cli("call", SHOP, "fail", "--raw")
    assert (failed.status, json.loads(failed.out)["isError"]) == (1, True)


def test_data_are_kept(run_cli: CommandLine, tmp_path: Path) -> None:
    result = run_cli("call", SHOP, "picture", "--save", str(tmp_path / "new"))
    assert (tmp_path / "new" / "picture-1.png").read_bytes() == PIXEL
    assert "picture-1.png" in result.out


def test_what_happens_along_the_way_is_on_stderr() -> None:
    """Without a terminal there is nobody to ask, so the question is declined, and this is said."""
    result = spawned("call", SHOP, "order", "item=tea", "--era", "session")
    assert (result.status, json.loads(result.out)) == (0, {"action": "decline"})
    assert result.err.splitlines() == [
        "info     packing [31m[red]it[/red]",
        "1/2 packed",
        "The server asks: How much tea?",
        "This is not a terminal, so nobody can be asked: declined.",
    ]


@pytest.mark.parametrize("era", ["session", "stateless"])
def test_a_page_without_a_terminal(era: str) -> None:
    """A21: the page is not declined, as somebody may visit it before the next call."""
    result = spawned("call", SHOP, "pay", "--era", era)
    assert (result.status, result.out) == (2, "")
    assert result.err.splitlines() == [
        "The server asks: Pay here",
        "enfilade: open this page, and then call again: https://pay.example/1",
    ]


def test_a_server_that_does_not_answer_in_time(run_cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "slow_server.py"
    text = "import asyncio\nfrom enfilade import MCPApp\napp = MCPApp()\n@app.tool\nasync def wait() -> None:\n"
    file.write_text(f"{text}    await asyncio.sleep(60)\n", encoding="utf-8")
    result = run_cli("call", str(file), "wait", "--timeout", "0.3")
    assert result.status == 2
    assert "wait has not answered within 0.3 s; --timeout SECONDS gives it more" in result.err


terminal = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are of POSIX")


@terminal
def test_a_form_at_the_terminal() -> None:
    result = at_terminal(
        ["call", SHOP, "order", "item=tea", "--era", "session"],
        [
            ("name [string]:", "Ada"),
            ("amount [integer]:", "many"),
            ("expected an integer, got 'many'", ""),
            ("this is needed", "10"),
            ("10 is greater than the maximum of 9", "2"),
            ("weight [number, 0.5 if empty]:", ""),
            ("gift [y/n, n if empty]:", "y"),
            ("[number or name, s if empty]:", "Large"),
            ("[numbers or names, separated by commas", "1,lemon"),
        ],
    )
    assert result.status == 0, result.err
    assert json.loads(result.out) == {
        "item": "tea",
        "name": "Ada",
        "amount": 2,
        "weight": 0.5,
        "gift": True,
        "size": "l",
        "extras": ["milk", "lemon"],
    }
    assert "The server asks: How much tea?" in result.err
    assert "1  Small  (s)" in result.err
    assert "packing [31m[red]it[/red]" in result.err


@terminal
def test_a_page_to_visit_at_the_terminal() -> None:
    replies = [("Did you, or will you? [y/N/c to cancel]", "maybe"), ("y for yes", "y")]
    result = at_terminal(["call", SHOP, "pay"], replies, {"NO_COLOR": "1"})
    assert (result.status, result.out) == (0, "accept\n"), result.err
    assert "https://pay.example/1" in result.err


@terminal
def test_a_call_that_ends_while_somebody_types_ends() -> None:
    result = at_terminal(
        ["call", SHOP, "order", "item=tea", "--era", "session", "--timeout", "0.5"], [("name [string]:", "A" * 3)]
    )
    assert result.status == 2
    assert "has not answered within 0.5 s" in result.err
    assert "Fatal" not in result.err
