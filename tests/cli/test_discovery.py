"""`enfilade run` finds the server by itself: in projects of every layout, under every usual name.

Most cases look in this process and import nothing. Those that import are processes of their own, because a module
that is imported once stays: `where` prints what was found, and `test_serves...` talk to a server.
"""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from enfilade.cli.run import run
from enfilade.discovery import AppTarget, find_target
from enfilade.loading import LoadError, module_of
from support.servers.processes import ROOT, ServerProcess, enfilade_command

SERVER = """
from enfilade import MCPApp

{name} = MCPApp(name={shown!r})


@{name}.tool
def brew() -> str:
    return __name__
"""
PACKAGED = """
from enfilade import MCPApp
from tea.tools.kettle import boil

from .tools import kettle

app = MCPApp(name="Packaged")
app.add_tool(boil)
assert kettle.boil is boil
"""
KETTLE = "from tea import TEMPERATURE\n\ndef boil() -> int:\n    return TEMPERATURE\n"
PACKAGE = {
    "src/tea/__init__.py": "TEMPERATURE = 95\n",
    "src/tea/server.py": PACKAGED,
    "src/tea/tools/__init__.py": "",
    "src/tea/tools/kettle.py": KETTLE,
}


def server(app_name: str = "Found", name: str = "app") -> str:
    return SERVER.format(name=name, shown=app_name)


def declares(line: str) -> str:
    return f"[tool.enfilade]\n{line}\n"


def lay_out(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1", "COLUMNS": "200"}


FOUND: dict[str, tuple[dict[str, str], str, str]] = {
    "server.py": ({"server.py": ""}, "server.py", ""),
    "src": ({"src/tea/server.py": ""}, "src/tea/server.py", ""),
    "server.py before src": ({"server.py": "", "src/tea/server.py": ""}, "server.py", ""),
    "a declared file": (
        {"pyproject.toml": declares("server = 'src/tea/serve.py:mcp'"), "src/tea/serve.py": "", "server.py": ""},
        "src/tea/serve.py",
        "mcp",
    ),
    "a declared module": (
        {"pyproject.toml": declares("module = 'tea.server:mcp'"), "server.py": ""},
        "tea.server",
        "mcp",
    ),
    "a table of others": (
        {"pyproject.toml": "[tool.enfilade.checks]\nstrict = true\n", "server.py": ""},
        "server.py",
        "",
    ),
    "a project without the table": (
        {"pyproject.toml": "[project]\nname = 'a'\n", "server.py": ""},
        "server.py",
        "",
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_finds(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, output, name = FOUND[case]
    monkeypatch.chdir(lay_out(tmp_path, files))
    found = find_target()
    assert (str(found), found.name) == (output, name)


def test_finds_in_another_folder(tmp_path: Path) -> None:
    lay_out(tmp_path, {"src/tea/server.py": ""})
    assert find_target(str(tmp_path)) == AppTarget(folder=tmp_path, file=tmp_path / "src/tea/server.py")
    assert find_target(f"{tmp_path}:mcp").name == "mcp"


MISTAKES: dict[str, tuple[dict[str, str], list[str], str]] = {
    "nothing": (
        {},
        [],
        "there is no server here: looked for [tool.enfilade] in pyproject.toml, for server.py and for "
        "src/*/server.py; give the Python file, as in `enfilade run FILE`, or make a server with "
        "`enfilade new NAME`",
    ),
    "nothing in a folder": ({"docs/readme.md": ""}, ["docs"], "there is no server in 'docs'"),
    "several": (
        {"src/tea/server.py": "", "src/cake/server.py": ""},
        [],
        "there are several servers here: src/cake/server.py, src/tea/server.py; give one of them, as in "
        '`enfilade run src/cake/server.py`, or write `server = "src/cake/server.py"` under [tool.enfilade]',
    ),
    "a declared file that is gone": (
        {"pyproject.toml": declares("server = 'serve.py'")},
        [],
        "there is no file 'serve.py', which 'pyproject.toml' has as the server",
    ),
    "both declared": (
        {"pyproject.toml": declares("server = 'server.py'\nmodule = 'tea'"), "server.py": ""},
        [],
        "'pyproject.toml' must have one of these under [tool.enfilade], as a text",
    ),
    "no text": ({"pyproject.toml": declares("server = 3")}, [], "must have one of these under [tool.enfilade]"),
    "no TOML": ({"pyproject.toml": "[tool"}, [], "'pyproject.toml' cannot be read"),
    "no module's name": ({}, ["-m", "tea/server.py"], "'tea/server.py' is no name of a module; it looks like"),
    "a file and a module": (
        {"server.py": ""},
        ["server.py", "-m", "tea"],
        "give a file or a module to serve, not both",
    ),
}

MISTAKES_WHEN_IMPORTED: dict[str, tuple[dict[str, str], list[str], str]] = {
    "nothing": ({}, [], "enfilade: there is no server here"),
    "no such module": (
        {"src/tea/__init__.py": ""},
        ["-m", "tea.server"],
        "there is no module 'tea.server': 'tea.server' is not installed, and not in",
    ),
    "no such package": (
        {"a.py": ""},
        ["-m", "coffee.server"],
        "there is no module 'coffee.server': 'coffee' is not",
    ),
    "a module that needs another": (
        {"tea.py": "import coffee_of_nobody\n"},
        ["-m", "tea"],
        "'tea' failed while it was imported",
    ),
    "a package that fails": (
        {**PACKAGE, "src/tea/__init__.py": "1 / 0\n"},
        [],
        "'server.py' failed while it was imported",
    ),
    "no app": ({"src/tea/__init__.py": "", "src/tea/server.py": ""}, [], "'src/tea/server.py' makes no MCPApp"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_says_what_is_wrong(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, arguments, expected = MISTAKES[case]
    monkeypatch.chdir(lay_out(tmp_path, files))
    parameters = run.make_context("run", arguments).params
    with pytest.raises(LoadError) as caught:
        find_target(parameters["target"], parameters["module"])
    assert expected in str(caught.value)


@pytest.mark.parametrize("case", MISTAKES_WHEN_IMPORTED)
def test_says_what_is_wrong_when_it_is_imported(case: str, tmp_path: Path) -> None:
    files, arguments, expected = MISTAKES_WHEN_IMPORTED[case]
    completed = subprocess.run(
        enfilade_command("run", *arguments),
        cwd=lay_out(tmp_path, files),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    assert expected in completed.stderr
    assert "importlib" not in completed.stderr


NAMES = {
    "one usual name": (server(name="mcp"), "Found"),
    "app before mcp": (server("Other", "mcp") + server(), "Found"),
    "mcp before server": (server("Other", "server") + server(name="mcp"), "Found"),
    "something else is called app": ("app = 3\n" + server(name="mcp"), "Found"),
    "the only one": (server(name="anything"), "Found"),
}


@pytest.mark.parametrize("case", NAMES)
def test_takes_the_usual_variable(case: str, tmp_path: Path) -> None:
    text, output = NAMES[case]
    code = "from enfilade.discovery import load_app; print(load_app().name)"
    lay_out(tmp_path, {"server.py": text})
    assert printed(code, tmp_path) == output


def printed(code: str, folder: Path) -> str:
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return completed.stdout.strip()


@pytest.mark.parametrize(
    ("file", "root", "module"),
    [
        ("server.py", ".", "server"),
        ("src/tea/server.py", "src", "tea.server"),
        ("src/plain/server.py", "src", "plain.server"),
        ("src/tea/tools/kettle.py", "src", "tea.tools.kettle"),
        ("src/tea/__init__.py", "src", "tea"),
        ("src/tea/server.v2.py", "src/tea", "server.v2"),
        ("other/server.py", "other", "server"),
        ("my-tea/server.py", "my-tea", "server"),
    ],
)
def test_a_file_has_the_name_that_imports_it(file: str, root: str, module: str, tmp_path: Path) -> None:
    lay_out(tmp_path, {**PACKAGE, "my-tea/__init__.py": ""})
    assert module_of(tmp_path / file) == ((tmp_path / root), module)


WAYS = {
    "run": [],
    "run FILE": ["src/tea/server.py"],
    "run -m MODULE:NAME": ["-m", "tea.server:app"],
}


async def boiled(client: Client) -> object:
    async with client:
        return (await client.call_tool("boil", {})).structured_content


@pytest.mark.parametrize("way", WAYS)
def test_serves_a_package_that_is_not_installed(way: str, tmp_path: Path) -> None:
    """Relative imports and imports of itself work, and there is one copy of everything."""
    lay_out(tmp_path, PACKAGE)
    arguments = enfilade_command("run", *WAYS[way])
    parameters = StdioServerParameters(command=arguments[0], args=arguments[1:], env=environment(), cwd=tmp_path)
    assert asyncio.run(boiled(Client(parameters))) == {"result": 95}


def test_what_is_written_here_comes_before_what_is_installed(tmp_path: Path) -> None:
    project = lay_out(tmp_path / "project", PACKAGE)
    installed = lay_out(tmp_path / "installed", {**PACKAGE, "src/tea/__init__.py": "TEMPERATURE = 20\n"})
    code = f"""
        import sys
        sys.path.append({str(installed / "src")!r})
        from enfilade.discovery import load_app
        load_app()
        import tea
        print(tea.TEMPERATURE)
    """
    assert printed(textwrap.dedent(code), project) == "95"


def test_a_package_whose_name_is_taken_is_still_served(tmp_path: Path) -> None:
    """`src/json/server.py`: the name is that of a module which is long imported."""
    lay_out(tmp_path, {"src/json/__init__.py": "", "src/json/server.py": "import beside\n" + server()})
    lay_out(tmp_path, {"src/json/beside.py": ""})
    assert printed("from enfilade.discovery import load_app; print(load_app().name)", tmp_path) == "Found"


def test_what_lies_beside_a_file_of_a_package_is_found_last(tmp_path: Path) -> None:
    """A `queue.py` in a package must not stand in the way of Python's own."""
    files = {
        "src/tea/queue.py": "",
        "src/tea/beside.py": "",
        "src/tea/server.py": "import beside, queue\n" + server(),
    }
    lay_out(tmp_path, {**PACKAGE, **files})
    code = "from enfilade.discovery import load_app; load_app(); import queue; print(hasattr(queue, 'Queue'))"
    assert printed(code, tmp_path) == "True"


@pytest.mark.parametrize(
    "manner", [["--workers", "2"], ["-m", "tea.server", "--reload"]], ids=["workers", "reload"]
)
def test_other_processes_find_it_again(manner: list[str], tmp_path: Path) -> None:
    lay_out(tmp_path, {**PACKAGE, "pyproject.toml": declares("server = 'src/tea/server.py:app'")})
    command = enfilade_command("run", "-t", "http", "-p", "{port}", *manner)
    with ServerProcess(command, env=environment(), cwd=tmp_path) as running:
        assert asyncio.run(boiled(Client(running.url))) == {"result": 95}


def test_run_loads_no_other_verb_and_no_tables(tmp_path: Path) -> None:
    lay_out(tmp_path, {"server.py": server()})
    code = """
        import sys
        from enfilade.cli import main
        sys.argv = ["enfilade", "run", "-t", "stdio"]
        main()
        verbs = ("call", "check", "configure", "dev", "inspect", "project")
        unwanted = {"rich", *(f"enfilade.cli.{verb}" for verb in verbs)}
        print(unwanted & set(sys.modules) or "nothing", file=sys.stderr)
    """
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert completed.stderr.splitlines()[-1] == "nothing"
