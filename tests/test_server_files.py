"""What a server's file may be called, and what may import it, without being there twice or hiding anything."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from enfilade import loading
from enfilade.loading import PACKAGES, LoadError, import_file, is_needed
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command, free_port

SERVER = """
from enfilade import MCPApp
{before}
app = MCPApp(name="Tea")
{after}
if __name__ == "__main__":
    app.run()
"""
TOOLS = """
{imports}
@{app}.tool
def brew() -> str:
    "Make tea."
    return __name__
"""
LISTING = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def listed(folder: Path, *words: str) -> tuple[list[str], str]:
    """Return the names of the tools that a script lists over stdio, and what it says on stderr."""
    lines = "".join(f"{json.dumps(each)}\n" for each in LISTING)
    env = {**os.environ, "ENFILADE_LOG_LEVEL": "warning"}  # without the lines of requests
    command = [sys.executable, *words]
    done = subprocess.run(
        command, input=lines, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=True
    )
    (answer,) = [each for each in map(json.loads, done.stdout.splitlines()) if each.get("id") == 2]
    return [each["name"] for each in answer["result"]["tools"]], done.stderr


@pytest.mark.parametrize(
    ("words", "files"),
    [
        pytest.param(
            ["server.py"],
            {
                "server.py": SERVER.format(before="", after="import tools"),
                "tools.py": TOOLS.format(imports="from server import app", app="app"),
            },
            id="script",
        ),
        pytest.param(
            ["-m", "tea.server"],
            {
                "tea/__init__.py": "",
                "tea/server.py": SERVER.format(before="", after="from tea import tools"),
                "tea/tools.py": TOOLS.format(imports="from .server import app", app="app"),
            },
            id="module",
        ),
        pytest.param(
            ["tea/server.py"],
            {
                "tea/__init__.py": "",
                "tea/server.py": SERVER.format(
                    before="import sys; sys.path.append('.')", after="from tea import tools"
                ),
                "tea/tools.py": TOOLS.format(imports="from tea.server import app", app="app"),
            },
            id="script in a package",
        ),
    ],
)
def test_a_script_is_there_once_for_the_modules_that_import_it_back(
    tmp_path: Path, words: list[str], files: dict[str, str]
) -> None:
    write(tmp_path, files)
    assert listed(tmp_path, *words) == (["brew"], "")


def test_the_workers_of_such_a_script_have_the_tools_too(tmp_path: Path) -> None:
    run = 'app.run("http", port=int(sys.argv[1]), workers=2, log_level="warning")'
    write(
        tmp_path,
        {
            "server.py": "import sys\n"
            + SERVER.format(before="", after="import tools").replace("app.run()", run),
            "tools.py": TOOLS.format(imports="from server import app", app="app"),
        },
    )
    with ServerProcess([sys.executable, str(tmp_path / "server.py"), "{port}"], port=free_port()) as server:
        assert Http(server.port).initialize().call("brew").result["structuredContent"] == {"result": "tools"}


def test_a_second_app_that_has_the_tools_is_reported(tmp_path: Path) -> None:
    """Nothing can be done for a script that imports the tools before there is an app; but it can be said."""
    write(
        tmp_path,
        {
            "server.py": SERVER.format(before="import tools", after=""),
            "tools.py": TOOLS.format(imports="import server", app="server.app"),
        },
    )
    names, said = listed(tmp_path, "server.py")
    assert names == []
    assert "imported a second time, as 'server'" in said
    assert "which has brew and is not served" in said


def test_an_app_that_offers_nothing_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"server.py": SERVER.format(before="", after="")})
    names, said = listed(tmp_path, "server.py")
    assert names == []
    assert "'Tea' offers nothing: add a tool with @app.tool" in said


NAMED = """
from {package}served import leaves
import json, mcp
from enfilade import MCPApp
app = MCPApp(name="Tea")
@app.tool
def brew() -> str:
    "Make tea."
    return leaves + mcp.Client.__name__ + json.dumps([1])
"""


@pytest.mark.parametrize(
    ("file", "here"),
    [("mcp.py", True), ("mcp.py", False), ("json.py", False), ("mcp/server.py", True), ("mcp/server.py", False)],
)
def test_a_file_may_be_called_like_a_package_that_is_needed(tmp_path: Path, file: str, here: bool) -> None:
    folder, _, _ = file.rpartition("/")
    served = f"{folder}/served.py" if folder else "served.py"
    write(
        tmp_path, {file: NAMED.format(package="." if folder else ""), served: "leaves = 'green '", "away/a": ""}
    )
    if folder:
        write(tmp_path, {f"{folder}/__init__.py": ""})
    words = [*enfilade_command(), "call", str(tmp_path / file), "brew"]
    cwd = tmp_path if here else tmp_path / "away"
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("green Client[1]", "")


@pytest.mark.parametrize("name", ["mcp.py", "mcp/__init__.py", "anyio.py", "pydantic.py", "jsonschema.py"])
@pytest.mark.parametrize(
    "verb", [["call", "server.py", "brew"], ["inspect", "server.py"], ["check", "server.py"]]
)
def test_a_module_beside_the_server_hides_no_package_of_the_client(
    tmp_path: Path, name: str, verb: list[str]
) -> None:
    tool = "@app.tool\ndef brew() -> str:\n    return 'green'\n"
    write(tmp_path, {name: "leaves = 1", "server.py": SERVER.format(before="", after=tool)})
    words = [sys.executable, "-m", "enfilade", *verb]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout


def test_a_server_that_needs_a_module_of_such_a_name_is_told_what_to_do(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"mcp.py": "leaves = 1", "server.py": SERVER.format(before="from mcp import leaves", after="")},
    )
    words = [sys.executable, "-m", "enfilade", "call", "server.py", "brew"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (
        f"'mcp' is the package of that name here, which is needed, and not {tmp_path / 'mcp.py'}" in done.stderr
    )


def test_a_client_whose_package_is_hidden_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"mcp.py": "leaves = 1"})
    code = "from enfilade.client.connect import require_client; require_client()"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "mcp.py hides the module 'mcp', which is needed; rename it" in done.stderr


def test_a_module_may_be_called_like_a_package_that_is_needed(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "redis/__init__.py": "",
            "redis/server.py": SERVER.format(before="", after="from . import tools"),
            "redis/tools.py": TOOLS.format(imports="from .server import app", app="app"),
        },
    )
    words = [*enfilade_command(), "run", "-m", "redis.server"]
    lines = "".join(f"{json.dumps(each)}\n" for each in LISTING)
    done = subprocess.run(
        words, input=lines, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert '"brew"' in done.stdout, done.stderr


def test_a_package_that_imports_itself_by_such_a_name_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    write(
        tmp_path,
        {
            "queue/__init__.py": "",
            "queue/server.py": SERVER.format(before="from queue.tools import leaves", after=""),
            "queue/tools.py": "leaves = 3",
        },
    )
    with pytest.raises(LoadError, match="'queue' is also the name of a module that is needed"):
        import_file(tmp_path / "queue" / "server.py")


def test_ordinary_names_are_left_alone() -> None:
    assert not any(map(is_needed, ("server", "tools", "main", "app", "notes", "test")))
    assert all(map(is_needed, ("mcp", "json", "enfilade", "types", "pydantic")))


def test_all_that_is_needed_is_known() -> None:
    """Whatever our requirements install here, with all extras and what they require in turn."""
    tops: dict[str, set[str]] = {}
    for name, distributions in importlib.metadata.packages_distributions().items():
        for each in distributions:
            tops.setdefault(plain(each), set()).add(name)
    waiting, seen, needed = ["enfilade"], set[str](), set[str]()
    while waiting:
        if (name := plain(waiting.pop())) in seen:
            continue
        seen.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system or version
            continue
        needed |= {each for each in tops.get(name, ()) if each.isidentifier() and "mypyc" not in each}
        waiting += [
            re.split(r"[^\w.-]", each, maxsplit=1)[0]
            for each in requirements
            if name == "enfilade" or "extra ==" not in each
        ]
    assert needed - PACKAGES == set()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_package_whose_name_begins_like_ours_keeps_its_frames() -> None:
    """Its folder may lie beside ours, so that their paths begin alike."""
    file = f"{Path(loading.__file__).parent}_demo{os.sep}server.py"
    try:
        exec(compile("{}['needle']", file, "exec"))
    except KeyError as error:
        trace = traceback.TracebackException.from_exception(error)
    loading._drop_internal_frames(trace, below_ours=True)
    assert [frame.filename for frame in trace.stack if "_demo" in frame.filename] == [file]
