"""A file that fails when it is imported: its author's frames are shown, and ours at a debug level."""

from pathlib import Path

import pytest

from support.cli.runner import CommandLine, spawned

BEGIN = """
from enfilade import MCPApp, tool

app = MCPApp("failing")


def named(a: "Nope") -> str:
    "Names a type that nobody defined."
    return ""


def starred(*words):
    "Takes anything."


class Hooked:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        raise LookupError("from the hook")


"""
#: What the author wrote last, the error, and the lines of the author's that the traceback shows.
FAILURES: dict[str, tuple[str, str, list[str]]] = {
    "a decorator": ("@app.tool\ndef f(a: 'Nope') -> str: ...", "TypeError: f(), parameter", ["@app.tool"]),
    "a decorator's option": ("@app.tool(nonsense=1)\ndef f(): ...", "TypeError: a tool has no", ["@app.tool(n"]),
    "add_tool": ("app.add_tool(starred)", "TypeError: starred() takes *words", ["app.add_tool(starred)"]),
    "in a function": (
        "def register():\n    app.add_tool(named)\n\nregister()",
        'TypeError: named(), parameter "a"',
        ["app.add_tool(named)", "register()"],
    ),
    "a resource": ("app.add_resource(named, 'x://{b}')", "Error: ", ["app.add_resource("]),
    "a prompt": ("app.add_prompt(starred)", "TypeError: ", ["app.add_prompt(starred)"]),
    "a schema": ("app.add_tool(print, input_schema=3)", "Error: ", ["app.add_tool(print"]),
    "the app": ("MCPApp('x', nonsense=1)", "TypeError: ", ["MCPApp('x', nonsense=1)"]),
}


def written(folder: Path, text: str) -> str:
    file = folder / "failing.py"
    file.write_text(f"{BEGIN}{text}\n", encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("case", FAILURES)
def test_a_mistake_at_registration_shows_the_authors_lines(
    case: str, run_cli: CommandLine, tmp_path: Path
) -> None:
    text, error, lines = FAILURES[case]
    result = run_cli("inspect", written(tmp_path, text))
    assert (result.status, result.out) == (2, "")
    trace = result.err.partition("Traceback")[2]
    assert error in trace
    assert all(f"    {line}" in trace for line in lines)
    files = {line.split('"')[1] for line in trace.splitlines() if line.startswith("  File ")}
    assert files == {str(tmp_path / "failing.py")}
    assert "The above exception" not in result.err


@pytest.mark.parametrize("case", ["a decorator", "the app"])
def test_the_debug_level_shows_all_frames(
    case: str, run_cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, FAILURES[case][0])
    by_option = run_cli("run", file, "--log-level", "debug")
    monkeypatch.setenv("ENFILADE_LOG_LEVEL", "debug")
    for expected in (by_option, run_cli("run", file), run_cli("inspect", file), run_cli("dev", file)):
        assert "With all frames:" in expected.err
        assert "/enfilade/" in expected.err.partition("With all frames:")[2].replace("\\", "/")


def test_frames_of_libraries_that_the_author_calls_stay(run_cli: CommandLine, tmp_path: Path) -> None:
    result = run_cli("inspect", written(tmp_path, "import json\njson.loads('{')"))
    assert "in raw_decode" in result.err
    assert "JSONDecodeError" in result.err


def test_frames_of_the_author_below_ours_stay(run_cli: CommandLine, tmp_path: Path) -> None:
    """A hook of the author's that pydantic calls for us; the frames between are left out."""
    text = "def f(a: Hooked) -> str: ...\n\napp.add_tool(f)"
    result = run_cli("inspect", written(tmp_path, text))
    assert "app.add_tool(f)" in result.err
    assert "LookupError" in result.err
    assert "pydantic/" not in result.err.replace("\\", "/").partition("Traceback")[2].replace("_pydantic_", "")


def test_a_cause_of_the_authors_own_stays(run_cli: CommandLine, tmp_path: Path) -> None:
    text = "try:\n    {}['key']\nexcept KeyError as error:\n    raise RuntimeError('no key') from error"
    result = run_cli("inspect", written(tmp_path, text))
    assert "KeyError: 'key'" in result.err
    assert "The above exception was the direct cause" in result.err
    assert "RuntimeError: no key" in result.err


def test_a_syntax_error_shows_its_line(run_cli: CommandLine, tmp_path: Path) -> None:
    result = run_cli("inspect", written(tmp_path, "def f(:"))
    assert "def f(:" in result.err
    assert "SyntaxError" in result.err


def test_a_command_without_quotes_is_explained() -> None:
    result = spawned("call", "--", "python", "up.py", "add", "a=1")
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "enfilade: put the command in quotes, as in `enfilade call 'python up.py' add NAME=VALUE`\n"
    )
