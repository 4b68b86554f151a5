"""A file that fails when it is imported: its author's frames are shown, and ours at a debug level."""

from pathlib import Path

import pytest

from support.cli.runner import Line, spawned

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
def test_a_mistake_at_registration_shows_the_authors_lines(case: str, typed: Line, tmp_path: Path) -> None:
    text, error, lines = FAILURES[case]
    said = typed("inspect", written(tmp_path, text))
    assert (said.status, said.out) == (2, "")
    trace = said.err.partition("Traceback")[2]
    assert error in trace
    assert all(f"    {line}" in trace for line in lines)
    files = {line.split('"')[1] for line in trace.splitlines() if line.startswith("  File ")}
    assert files == {str(tmp_path / "failing.py")}
    assert "The above exception" not in said.err


@pytest.mark.parametrize("case", ["a decorator", "the app"])
def test_the_debug_level_shows_all_frames(
    case: str, typed: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, FAILURES[case][0])
    by_option = typed("run", file, "--log-level", "debug")
    monkeypatch.setenv("ENFILADE_LOG_LEVEL", "debug")
    for said in (by_option, typed("run", file), typed("inspect", file), typed("dev", file)):
        assert "With all frames:" in said.err
        assert "/enfilade/" in said.err.partition("With all frames:")[2].replace("\\", "/")


def test_frames_of_libraries_that_the_author_calls_stay(typed: Line, tmp_path: Path) -> None:
    said = typed("inspect", written(tmp_path, "import json\njson.loads('{')"))
    assert "in raw_decode" in said.err
    assert "JSONDecodeError" in said.err


def test_frames_of_the_author_below_ours_stay(typed: Line, tmp_path: Path) -> None:
    """A hook of the author's that pydantic calls for us; the frames between are left out."""
    text = "def f(a: Hooked) -> str: ...\n\napp.add_tool(f)"
    said = typed("inspect", written(tmp_path, text))
    assert "app.add_tool(f)" in said.err
    assert "LookupError" in said.err
    assert "pydantic/" not in said.err.replace("\\", "/").partition("Traceback")[2].replace("_pydantic_", "")


def test_a_cause_of_the_authors_own_stays(typed: Line, tmp_path: Path) -> None:
    text = "try:\n    {}['key']\nexcept KeyError as error:\n    raise RuntimeError('no key') from error"
    said = typed("inspect", written(tmp_path, text))
    assert "KeyError: 'key'" in said.err
    assert "The above exception was the direct cause" in said.err
    assert "RuntimeError: no key" in said.err


def test_a_syntax_error_shows_its_line(typed: Line, tmp_path: Path) -> None:
    said = typed("inspect", written(tmp_path, "def f(:"))
    assert "def f(:" in said.err
    assert "SyntaxError" in said.err


def test_a_command_without_quotes_is_explained() -> None:
    said = spawned("call", "--", "python", "up.py", "add", "a=1")
    assert (said.status, said.out) == (2, "")
    assert 'enfilade: put the command in quotes, as in `enfilade call "python server.py" TOOL' in said.err
