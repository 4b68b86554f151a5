"""`enfilade run`: what it prints and serves; a mistake ends with one sentence and exit status 2.

Each case is a process, as it is for whoever types it.
"""

import asyncio
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pytest
from mcp import Client, StdioServerParameters

import enfilade
from enfilade import Settings
from enfilade.cli.command import Option, command_line
from enfilade.cli.run import WITHOUT_OPTION, greet, run, setting_options
from enfilade.setting_sources import load
from enfilade.settings import fields
from support.servers.processes import ROOT, ServerProcess, enfilade_command

TOOL = """
@app.tool
def origin() -> str:
    \"\"\"Say which app this is.\"\"\"
    return app.name
"""

LATE = """
from contextlib import asynccontextmanager
from enfilade import MCPApp

@asynccontextmanager
async def lifespan(app):
    app.add_tool(lambda: 1, name="late")
    yield

app = MCPApp("Late", lifespan=lifespan)
"""

FILES = {
    "server.py": f"from enfilade import MCPApp\napp = MCPApp(name='Main', version='2.0')\n{TOOL}",
    "port.py": f"from enfilade import MCPApp\napp = MCPApp(name='Port', port=1, path='/code')\n{TOOL}",
    "only.py": "from enfilade import MCPApp\nanything = MCPApp(name='Only')\n"
    "anything.add_tool(lambda: 1, name='one')\n",
    "twice.py": f"from enfilade import MCPApp\napp = MCPApp(name='Twice')\nagain = app\n{TOOL}",
    "several.py": "from enfilade import MCPApp\nred = MCPApp(name='Red')\nblue = MCPApp(name='Blue')\n"
    "blue.add_tool(lambda: 1, name='one')\n",
    "imports.py": "import beside\nfrom enfilade import MCPApp\napp = MCPApp()\napp.add_tool(beside.neighbour)\n",
    "beside.py": "def neighbour() -> str:\n    return 'hello'\n",
    "guarded.py": f"from enfilade import MCPApp\napp = MCPApp(name='Guarded')\n{TOOL}\n"
    "if __name__ == '__main__':\n    raise SystemExit('the main block ran')\n",
    "none.py": "answer = 42\n",
    "late.py": LATE,
    "empty.py": "from enfilade import MCPApp\napp = MCPApp()\n",
    "failing.py": "def fail():\n    raise KeyError('colour')\n\nfail()\n",
    "broken.py": "def broken(:\n",
    "setting.py": "from enfilade import MCPApp\napp = MCPApp(port=-1)\n",
    "words.txt": "no Python at all",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def environment(**variables: str) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1", "COLUMNS": "200", **variables}


def enfilade_says(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; its input has ended already, so that a server ends, too."""
    return subprocess.run(
        enfilade_command(*arguments),
        cwd=folder,
        env={**os.environ, **environment(**variables)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


async def opened(client: Client) -> tuple[str, list[str]]:
    """Return the name of the server and of its tools, as the official client gets them."""
    async with client:
        info = client.server_info
        assert info is not None
        return info.name, [tool.name for tool in (await client.list_tools()).tools]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "missing file": (["nowhere.py"], "there is no file 'nowhere.py' here; give the path of the Python file"),
    "no Python": (["words.txt"], "'words.txt' is not a Python file"),
    "no app": (["none.py"], "'none.py' makes no MCPApp; write `app = MCPApp(name=...)` in it"),
    "no app, and a name": (["none.py:app"], "'none.py' has no app called 'app': it makes no MCPApp at all"),
    "wrong name": (["several.py:green"], "'several.py' has no app called 'green': it has red, blue"),
    "name of something else": (["none.py:answer"], "'answer': that is of type int, not an MCPApp"),
    "several apps": (["several.py"], "several apps; say which: several.py:red or several.py:blue"),
    "nothing to offer": (["empty.py"], "'empty.py' has an app that offers nothing; add a tool with @app.tool"),
    "bad setting in the file": (["setting.py"], "port (argument): Input should be greater than or equal to 0"),
    "bad transport": (
        ["server.py", "-t", "carrier"],
        "transport (--transport): Input should be 'stdio' or 'http'",
    ),
    "bad port": (
        ["server.py", "-t", "http", "-p", "99999"],
        "port (--port): Input should be less than or equal",
    ),
    "bad path": (["server.py", "--path", "mcp"], "path (--path): String should match pattern '^/'"),
    "workers over stdio": (["server.py", "--workers", "2"], "workers needs transport='http'"),
    "reload over stdio": (["server.py", "--reload"], "reload needs transport='http'"),
    "reload and workers": (
        ["server.py", "-t", "http", "--reload", "--workers", "2"],
        "reload and workers=2 exclude each other",
    ),
    "no such directory": (
        ["server.py", "--directory", "nowhere"],
        "there is no folder 'nowhere' to work in: No such file",
    ),
    "no workers": (["server.py", "-t", "http", "--workers", "0"], "workers (--workers): Input should be greater"),
    "bad store": (
        ["server.py", "--store", "cupboard://"],
        "unknown kind of store 'cupboard'; use one of memory://",
    ),
    "bad level": (
        ["server.py", "--log-level", "loud"],
        "log_level (--log-level): Input should be 'debug', 'info'",
    ),
    "a file that fails": (["failing.py"], "'failing.py' failed while it was imported"),
    "a syntax error": (["broken.py"], "'broken.py' failed while it was imported"),
}


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Make every mistake once, several at a time: starting Python is what takes the time here."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        completed = pool.map(lambda case: enfilade_says(folder, "run", *case[0]), MISTAKES.values())
        return dict(zip(MISTAKES, completed, strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained(mistake: str, outcomes: dict[str, subprocess.CompletedProcess[str]]) -> None:
    completed = outcomes[mistake]
    assert completed.returncode == 2
    assert completed.stderr.startswith("enfilade: ")
    assert MISTAKES[mistake][1] in completed.stderr
    assert completed.stdout == ""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ENFILADE_PORT": "abc"}, "port (ENFILADE_PORT): Input should be a valid integer"),
        (
            {"ENFILADE_SECRET": "short"},
            "secret (ENFILADE_SECRET): a secret must have at least 32 bytes; make one",
        ),
        ({"ENFILADE_STORE": "cupboard://"}, "unknown kind of store 'cupboard'; use one of memory://"),
    ],
    ids=["port", "secret", "store"],
)
def test_a_mistake_in_the_environment_is_explained(
    folder: Path, variables: dict[str, str], expected: str
) -> None:
    completed = enfilade_says(folder, "run", "server.py", **variables)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert expected in completed.stderr
    assert "Traceback" not in completed.stderr


def test_the_traceback_of_a_failing_file_begins_in_that_file(folder: Path) -> None:
    lines = enfilade_says(folder, "run", "failing.py").stderr.splitlines()
    places = [line for line in lines if line.startswith("  File ")]
    assert len(places) == 2
    assert all("failing.py" in place for place in places)
    assert lines[-1] == "KeyError: 'colour'"


def test_a_syntax_error_shows_the_place(folder: Path) -> None:
    error = enfilade_says(folder, "run", "broken.py").stderr
    assert "def broken(:" in error
    assert "importlib" not in error


def test_an_app_without_tools_is_greeted_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    greet(enfilade.MCPApp("Late"), "http://127.0.0.1:8000/mcp")
    assert capsys.readouterr().err.splitlines()[1] == "  Late 0.1.0"


def test_version(folder: Path) -> None:
    for option in ("--version", "-V"):
        completed = enfilade_says(folder, option)
        assert (completed.returncode, completed.stdout) == (0, f"enfilade {enfilade.__version__}\n")


def test_help(folder: Path) -> None:
    completed = enfilade_says(folder, "run", "--help")
    assert completed.returncode == 0
    for word in (
        "FILE[:NAME]",
        "--transport",
        "--host",
        "(default 127.0.0.1)",
        "--port",
        "(default 8000)",
        "--workers",
        "--reload",
        "--store",
    ):
        assert word in completed.stdout
    assert "The options given here outrank ENFILADE_* environment variables" in completed.stdout


def test_without_a_verb_it_shows_the_verbs(folder: Path) -> None:
    completed = enfilade_says(folder)
    assert "run" in completed.stdout
    assert "Serve an MCP server" in completed.stdout


@pytest.mark.parametrize(
    ("target", "found"),
    {
        "server.py": ("Main", ["origin"]),
        "only.py": ("Only", ["one"]),
        "twice.py": ("Twice", ["origin"]),
        "several.py:blue": ("Blue", ["one"]),
        "imports.py": ("enfilade", ["neighbour"]),
        "guarded.py": ("Guarded", ["origin"]),
        "late.py": ("Late", ["late"]),
    }.items(),
)
def test_stdio(folder: Path, target: str, found: tuple[str, list[str]]) -> None:
    """It finds the app, and what the file imports from beside it; the `__main__` block does not run."""
    arguments = enfilade_command("run", str(folder / target))
    parameters = StdioServerParameters(command=arguments[0], args=arguments[1:], env=environment())
    assert asyncio.run(opened(Client(parameters))) == found


@pytest.mark.parametrize(
    ("arguments", "variables", "path"),
    [
        (["server.py", "-t", "http", "-p", "{port}"], {}, "/mcp"),
        (["server.py", "--transport", "streamable-http", "--port", "{port}", "--path", "/x"], {}, "/x"),
        (["port.py", "-t", "http", "-p", "{port}"], {}, "/code"),
        (["port.py", "-t", "http", "-p", "{port}"], {"ENFILADE_PATH": "/environment"}, "/environment"),
        (
            ["server.py", "-t", "http", "-p", "{port}"],
            {"ENFILADE_TRANSPORT": "stdio"},
            "/mcp",
        ),
        (
            ["port.py", "-t", "http", "-p", "{port}", "--path", "/typed", "-w", "2"],
            {"ENFILADE_PATH": "/environment", "ENFILADE_WORKERS": "1"},
            "/typed",
        ),
    ],
    ids=[
        "options",
        "other-name-and-path",
        "code",
        "environment-over-code",
        "options-over-environment",
        "workers",
    ],
)
def test_http(folder: Path, arguments: list[str], variables: dict[str, str], path: str) -> None:
    command = enfilade_command("run", str(folder / arguments[0]), *arguments[1:])
    with ServerProcess(command, env=environment(**variables), path=path) as server:
        name, tools = asyncio.run(opened(Client(server.url)))
        greeting = server.output
    assert (name, tools) == ("Main" if arguments[0] == "server.py" else "Port", ["origin"])
    assert server.url in greeting
    assert f"claude mcp add --transport http {name.lower()} {server.url}" in greeting


def test_the_greeting_is_on_stderr_alone(folder: Path) -> None:
    """Whoever pipes the output of a server gets none of it."""
    arguments = enfilade_command("run", str(folder / "server.py"), "-t", "http", "-p", "0")
    process = subprocess.Popen(
        arguments, env={**os.environ, **environment()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Stop with Ctrl-C" in line:
            break
    process.terminate()
    assert process.communicate(timeout=20)[0] == ""


WORDS: dict[str, dict[str, object]] = {
    "run": {},
    "run -t http": {"transport": "http"},
    "run -m tea.server": {"module": "tea.server"},
    "run server.py": {"target": "server.py"},
    "run server.py:app --transport http -p 80": {"target": "server.py:app", "transport": "http", "port": 80},
    "run server.py --directory /work": {"target": "server.py", "directory": "/work"},
    "run --reload server.py -w 2": {"target": "server.py", "reload": True, "workers": 2},
    "run -t http --host ::1 --path /x --store memory:// --log-level debug a.py": {
        "target": "a.py",
        "transport": "http",
        "host": "::1",
        "path": "/x",
        "store": "memory://",
        "log_level": "debug",
    },
    "run a.py --session-ttl 0.5 --keep-alive 15 --max-requests 7": {
        "target": "a.py",
        "session_ttl": 0.5,
        "keep_alive": 15.0,
        "max_requests": 7,
    },
    "run a.py --no-allow-localhost --json-response --allowed-hosts a.example,*.b.example": {
        "target": "a.py",
        "allow_localhost": False,
        "json_response": True,
        "allowed_hosts": "a.example,*.b.example",
    },
    "run server.py --port=80": {"target": "server.py", "port": 80},
    "run server.py -p80": {"target": "server.py", "port": 80},
    "run server.py -p 80 --port 81": {"target": "server.py", "port": 81},
    "run -- server.py": {"target": "server.py"},
}


@pytest.mark.parametrize(("line", "expected"), WORDS.items(), ids=list(WORDS))
def test_options_of_run_are_read(line: str, expected: dict[str, object]) -> None:
    parameters = run.make_context("run", line.split()[1:]).params
    assert {
        name: value
        for name, value in parameters.items()
        if value is not None and (name, value) != ("reload", False)
    } == expected


#: A value that is not the default, for each type of setting; the text of it is what is typed.
OTHERWISE: dict[Any, Any] = {int: 4321, float: 43.5, str: "/other"}
#: The same for settings whose text has a form.
FORMS = {
    "uds_mode": "600",
    "rate_limit": "60/minute",
    "max_result": "2000 tokens",
    "registry_name": "com.example/notes",
    "public_url": "https://mcp.example.com/mcp",
    "repository": "https://github.com/ada/notes",
}


@pytest.mark.parametrize("option", setting_options(), ids=lambda option: option.name)
def test_every_option_sets_its_setting(option: Option) -> None:
    """An option outranks the code, and sets no other setting."""
    assert option.name is not None
    field = fields()[option.name]
    long = option.opts[0]
    if field.kind is bool:
        arguments, value = [option.secondary_opts[0] if field.default else long], not field.default
    elif get_origin(field.kind) is Literal:
        value = next(value for value in reversed(get_args(field.kind)) if value != field.default)
        arguments = [long, value]
    elif get_origin(field.kind) is tuple:
        value = (
            ("https://a.example", "https://b.example") if "origin" in option.name else ("a.example", "b.example")
        )
        arguments = [long, ", ".join(value)]
    else:
        value = "X-Other" if option.name.endswith("_header") else FORMS.get(option.name, OTHERWISE[field.kind])
        arguments = [long, str(value)]
    parameters = run.make_context("run", arguments).params
    settings = load({}, Settings(), {name: text for name, text in parameters.items() if name in fields()})
    assert getattr(settings, option.name) == value != field.default
    assert [name for name in fields() if getattr(settings, name) != fields()[name].default] == [option.name]


def test_settings_without_an_option_are_known() -> None:
    """A new setting has an option, or is one of those for which there is a reason."""
    assert set(fields()) - {option.name for option in setting_options()} == WITHOUT_OPTION


def test_the_module_can_be_run_without_the_script() -> None:
    """The command is only a name for a function: nothing in it is out of a library user's reach."""
    from enfilade.cli import main
    from enfilade.discovery import load_app
    from enfilade.loading import LoadError

    assert callable(main)
    verbs = command_line.list_commands(click.Context(command_line))
    usual = {"new", "run", "dev", "inspect", "call", "check", "configure", "docker", "auth"}
    assert set(verbs) == {*usual, "registry", "tasks"}
    with pytest.raises(LoadError):
        load_app("nowhere.py")


@pytest.mark.parametrize(
    "offered",
    [
        '@app.resource("tea://menu")\ndef menu() -> str:\n    "The menu."\n    return "green"\n',
        '@app.resource("tea://cups/{name}")\ndef cup(name: str) -> str:\n    "A cup."\n    return name\n',
        '@app.prompt\ndef order() -> str:\n    "Order tea."\n    return "tea, please"\n',
    ],
    ids=["resource", "template", "prompt"],
)
def test_an_app_without_tools_is_served_if_it_offers_anything_else(tmp_path: Path, offered: str) -> None:
    file = tmp_path / "server.py"
    file.write_text(f"from enfilade import MCPApp\napp = MCPApp('Tea')\n{offered}", encoding="utf-8")
    completed = enfilade_says(tmp_path, "run", file.name)
    assert (completed.returncode, completed.stderr) == (0, "")
