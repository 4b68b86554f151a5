"""Settings: which of their sources wins, and what is said about a value that cannot be.

Strongest first: command line, environment, `.env`, `run()`, constructor, `Settings` object, default.
"""

import ast
import asyncio
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import enfilade
from enfilade import MCPApp, Settings
from enfilade.cli.command import command_line
from enfilade.setting_sources import OF_THE_TESTS, find_dotenv, load
from enfilade.settings import PREFIX, Secret, SettingsError, fields
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without variables of the machine."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SOURCES: list[str] = ["command line", "environment", "dotenv", "run", "constructor", "settings"]
#: Ways to start a server, and the sources that each of them has.
DOORS = {
    "run": SOURCES[1:],
    "run_async": SOURCES[1:],
    "enfilade run": [name for name in SOURCES if name != "run"],
    "enfilade dev": [name for name in SOURCES if name != "run"],
}
SERVER = """
import enfilade
from enfilade import MCPApp, Settings
app = MCPApp(port={constructor}, settings={settings})
@app.tool
def one() -> int: "one"; return 1
"""


@pytest.mark.parametrize("door", DOORS)
def test_precedence(door: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are added from the weakest to the strongest; each time the last one sets the port that is served.

    The door is the real one: all that is replaced is what would listen on that port.
    """
    served: list[int] = []
    monkeypatch.setattr("enfilade.launch.launch", lambda app, *_, **__: served.append(app.settings.port))

    async def embedded(app: Any) -> None:
        served.append(app.settings.port)

    monkeypatch.setattr("enfilade.launch.serve_embedded", embedded)
    ports = {name: 1000 + place for place, name in enumerate(SOURCES)}
    present: set[str] = set()
    for name in [None, *reversed(DOORS[door])]:
        if name is not None:
            present.add(name)
        if name == "environment":
            monkeypatch.setenv("ENFILADE_PORT", str(ports[name]))
        if name == "dotenv":
            (empty_folder / ".env").write_text(f"ENFILADE_PORT={ports[name]}\n", encoding="utf-8")
        enter(door, empty_folder, {each: ports[each] for each in present})
        assert served.pop() == (8000 if name is None else ports[name]), name
        assert not served
    assert present == set(DOORS[door])


def enter(door: str, folder: Path, ports: dict[str, int]) -> None:
    """Start a server by one of the doors, with ports from the sources that are named."""
    typed = ["-p", str(ports["command line"])] if "command line" in ports else []
    settings = f"Settings(port={ports['settings']})" if "settings" in ports else "None"
    text = SERVER.format(constructor=ports.get("constructor"), settings=settings)
    file = folder / f"server_{len(ports)}.py"  # another file, and so another module, each time
    file.write_text(text, encoding="utf-8")
    if door == "enfilade run":
        command_line.main(["run", file.name, "-t", "http", *typed], standalone_mode=False)
    elif door == "enfilade dev":
        command_line.main(["dev", file.name, *typed], standalone_mode=False)
    else:
        found: dict[str, Any] = {}
        exec(text, found)
        app, port = found["app"], ports.get("run")
        app.run("http", port=port) if door == "run" else asyncio.run(app.run_async("http", port=port))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("transport", "http", "http"),
        ("transport", "streamable-http", "http"),
        ("transport", "streamable", "http"),
        ("port", "9", 9),
        ("log_level", "DEBUG", "debug"),
        ("allowed_hosts", "a.example, *.b.example ,", ("a.example", "*.b.example")),
        ("allowed_origins", "https://a.example", ("https://a.example",)),
        ("sessions", "false", False),
        ("sessions", "0", False),
        ("json_response", "yes", True),
        ("stream_grace", "0.25", 0.25),
        ("body_limit", "2048", 2048),
        ("tool_names", "qualified", "qualified"),
        ("port", " 9 ", 9),
        ("port", "", 8000),
    ],
)
def test_a_variable_is_read(name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ENFILADE_{name.upper()}", text)
    assert getattr(load({}), name) == value


def test_secrets_are_a_list_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_SECRET", "n" * 32 + "," + "o" * 32)
    settings = load({})
    assert [each.get_secret_value() for each in settings.secret] == ["n" * 32, "o" * 32]
    assert "nnn" not in repr(settings)
    assert load({"secret": SecretStr("x" * 32)}).secret[0].get_secret_value() == "n" * 32


def test_one_secret_needs_no_list() -> None:
    assert [each.get_secret_value() for each in load({"secret": "x" * 32}).secret] == ["x" * 32]


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "port": (lambda: MCPApp(port=70_000), "port (argument): Input should be less than or equal to 65535"),
    "transport": (lambda: MCPApp(transport="carrier"), "transport (argument): Input should be 'stdio' or 'http'"),
    "path": (lambda: MCPApp(path="mcp"), "path (argument): String should match pattern '^/'"),
    "tool_names": (
        lambda: MCPApp(tool_names="long"),
        "tool_names (argument): Input should be 'plain' or 'qualified'",
    ),
    "secret": (lambda: MCPApp(secret="short"), "secret (argument): a secret must have at least 32 bytes"),
    "second secret": (lambda: MCPApp(secret=["x" * 32, "y"]), "secret (argument): a secret must have at least"),
    "store": (lambda: MCPApp(store="cupboard://").store, "store='cupboard://': unknown kind of store 'cupboard'"),
    "run": (lambda: MCPApp().run(log_level="loud"), "log_level (argument): Input should be 'debug', 'info'"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_a_bad_argument_is_explained(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("PORT", "abc", "port (ENFILADE_PORT): Input should be a valid integer"),
        ("SESSIONS", "perhaps", "sessions (ENFILADE_SESSIONS): Input should be a valid boolean"),
        ("KEEP_ALIVE", "0", "keep_alive (ENFILADE_KEEP_ALIVE): Input should be greater than 0"),
        ("SECRET", "short", "secret (ENFILADE_SECRET): a secret must have at least 32 bytes"),
    ],
)
def test_a_bad_variable_is_explained(name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ENFILADE_{name}", text)
    with pytest.raises(SettingsError) as caught:
        MCPApp()
    assert said in str(caught.value)


def test_a_bad_variable_in_a_file_is_explained(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text("ENFILADE_PORT=abc\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"port \(ENFILADE_PORT in \.env\): Input should be a valid integer"):
        load({})


def test_everything_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_PORT", "abc")
    with pytest.raises(SettingsError) as caught:
        load({"path": "mcp"})
    assert "port (ENFILADE_PORT)" in str(caught.value)
    assert "path (argument)" in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Settings(colour="red")  # type: ignore[call-arg]  # the mistake under test


MISTYPED: dict[str, tuple[Callable[..., object], dict[str, Any], str]] = {
    "setting": (
        MCPApp,
        {"idle_timeout": 3},
        "MCPApp() has no argument 'idle_timeout'; it is a setting: write settings=Settings(idle_timeout=3)",
    ),
    "setting with a text": (
        MCPApp,
        {"allowed_hosts": ["a.example"]},
        "MCPApp() has no argument 'allowed_hosts'; it is a setting: write settings=Settings(allowed_hosts=...)",
    ),
    "nearly a setting": (
        MCPApp,
        {"idle_timout": 3},
        "MCPApp() has no argument 'idle_timout'; did you mean 'idle_timeout'? It is a setting: write "
        "settings=Settings(idle_timeout=3)",
    ),
    "nearly an argument": (
        MCPApp,
        {"instruction": "x"},
        "no argument 'instruction'; did you mean 'instructions'?",
    ),
    "nothing like it": (
        MCPApp,
        {"colour": 1},
        "caching, public_url, tool_auth, auth_prompt, auth_timeout, auth, "
        "audit, audit_required, audit_arguments, metrics, metrics_path, metrics_port, "
        "schema_refs, settings",
    ),
    "run": (
        MCPApp().run,
        {"body_limit": 2048},
        "run() has no argument 'body_limit'; it is a setting: write MCPApp(settings=Settings(body_limit=2048))",
    ),
    "run_async": (
        MCPApp().run_async,
        {"worker": 2},
        "run_async() has no argument 'worker'; did you mean 'workers'?",
    ),
    "a dictionary": (
        MCPApp,
        {"settings": {"port": 1, "page_size": 3}},
        "settings must be a Settings object, not dict; write settings=Settings(port=..., page_size=...)",
    ),
    "a list": (
        MCPApp,
        {"settings": []},
        "settings must be a Settings object, not list; write settings=Settings(port=9000)",
    ),
    "Settings": (Settings, {"idle_timout": 3}, "there is no setting 'idle_timout'; did you mean 'idle_timeout'?"),
    "Settings, nothing like it": (Settings, {"colour": 1}, "there is no setting 'colour'"),
}


@pytest.mark.parametrize(("call", "options", "said"), MISTYPED.values(), ids=MISTYPED)
def test_a_setting_in_the_wrong_place_is_told_the_right_one(
    call: Callable[..., object], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call(**options)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("port", 8000.0, 8000),
        ("port", "9", 9),
        ("keep_alive", 3, 3.0),
        ("json_response", "ON", True),
        ("sessions", 0, False),
        ("allowed_hosts", ["a.example"], ("a.example",)),
        ("secret", "x" * 32, (Secret("x" * 32),)),
        ("secret", [SecretStr("x" * 32), Secret("y" * 32)], (Secret("x" * 32), Secret("y" * 32))),
    ],
)
def test_a_value_becomes_what_its_setting_is(name: str, given: Any, kept: Any) -> None:
    settings = Settings(**{name: given})
    assert getattr(settings, name) == kept
    assert type(getattr(settings, name)) is type(kept)
    assert pickle.loads(pickle.dumps(settings)) == settings  # as it goes to a worker


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("port", -1, "greater than or equal to 0"),
        ("port", 1.5, "a valid integer"),
        ("port", None, "a valid integer"),
        ("keep_alive", "nan", "greater than 0"),
        ("keep_alive", [], "a valid number"),
        ("host", 1, "a valid string"),
        ("sessions", 2, "a valid boolean"),
        ("sessions", None, "a valid boolean"),
        ("allowed_hosts", "a.example", "a list of strings"),
        ("allowed_hosts", [1], "a valid string"),
        ("transport", [], "'stdio' or 'http'"),
        ("secret", 7, "a valid string"),
        ("health_path", "healthz", "should match pattern"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^Invalid settings: {name}: .*{said}"):
        Settings(**{name: given})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000/mcp"),
        ({"host": "example.org", "port": 80, "path": "/x"}, "http://example.org:80/x"),
        ({"host": "::1"}, "http://[::1]:8000/mcp"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8000/mcp"),
        ({"host": "::"}, "http://[::1]:8000/mcp"),  # which is not bound for version 4 as well
    ],
    ids=["default", "elsewhere", "version-6", "anywhere", "anywhere-version-6"],
)
def test_where_a_client_finds_it(given: dict[str, Any], url: str) -> None:
    assert Settings(**given).url == url


def test_annotations_of_a_class_are_read_from_the_class() -> None:
    """Since Python 3.14 an instance does not have them, so `self.__annotations__` fails there and only there."""
    sources = [*(Path(enfilade.__file__).parent.rglob("*.py"))]
    read = [
        f"{file.name}: {ast.unparse(node)}"
        for file in sources
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"__annotations__", "__annotate__"}
    ]
    assert sorted(read) == [
        "options.py: BudgetOptions.__annotations__",
        "options.py: LimitOptions.__annotations__",
        "options.py: OutcomeOptions.__annotations__",
        "options.py: TaskOptions.__annotations__",
        "other_frameworks.py: options.__annotations__",  # a TypedDict
        "registration.py: ToolOptions.__annotations__",
        "settings.py: Settings.__annotations__",
    ]


@pytest.mark.parametrize("name", fields())
def test_every_setting_can_be_given(name: str) -> None:
    """Its default, as a value and as the text that a variable would have, is a value that it can have."""
    default = fields()[name].default
    given = [default] if default in ((), None, Secret("")) else [default, str(default).lower()]
    assert [getattr(Settings(**{name: each}), name) for each in given] == [default] * len(given)


def test_settings_stay_as_they_are() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]  # the mistake under test


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_COLOUR", "red")
    monkeypatch.setenv("PORT", "1")
    assert load({}) == Settings()


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_store_in_a_directory_that_is_not_there_is_refused_at_start(transport: str, empty_folder: Path) -> None:
    app = MCPApp("Tea", store="sqlite:///nodir/x.db")
    with pytest.raises(SettingsError) as caught:
        app.run(transport, port=0)
    assert str(caught.value) == (
        "Invalid settings: store='sqlite:///nodir/x.db': there is no directory "
        f"{empty_folder.resolve() / 'nodir'}; make it, or name another file"
    )


# -- names that may be allowed ---------------------------------------------------------------------------------

NO_NAMES = {
    ("allowed_hosts", "https://a.example"): "'a.example'",
    ("allowed_hosts", "https://me@a.example:8443/mcp?x"): "'a.example:8443'",
    ("allowed_hosts", "a.example/mcp"): "'a.example'",
    ("allowed_hosts", "a.example b.example"): "one such as 'mcp.example.com', an IP address, '\\*.example.com'",
    ("allowed_hosts", "a.*"): "one such as",
    ("allowed_hosts", "*.*.example"): "one such as",
    ("allowed_hosts", "*.[::1]"): "one such as",
    ("allowed_hosts", "a.example:99999"): "one such as",
    ("allowed_hosts", "bücher.example"): "'xn--bcher-kva.example'",
    ("allowed_origins", "a.example"): "'https://a.example'",
    ("allowed_origins", "http://a.example/x"): "'http://a.example'",
    ("allowed_origins", "a.example/x"): "'https://a.example'",
    ("allowed_origins", "*.a.example"): "scheme and host, such as 'https://app.example.com', or '\\*' for any",
    ("allowed_origins", "https://*.a.example"): "scheme and host",
    ("allowed_origins", "https://a.example https://b.example"): "scheme and host",
}


@pytest.mark.parametrize(("name", "text"), NO_NAMES)
@pytest.mark.parametrize("source", ["environment", "dotenv", "code", "option"])
def test_a_name_that_no_client_can_send_is_refused(
    name: str, text: str, source: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, typed = f"ENFILADE_{name.upper()}", {name: text} if source == "option" else {}
    if source == "environment":
        monkeypatch.setenv(key, text)
    if source == "dotenv":
        (empty_folder / ".env").write_text(f"{key}='{text}'\n", encoding="utf-8")
    origin = {"environment": key, "dotenv": f"{key} in .env", "code": "argument"}
    shown = re.escape(f"{name} ({origin.get(source, '--' + name.replace('_', '-'))}): {text!r} is not a")
    with pytest.raises(SettingsError, match=rf"{shown}.*; write {NO_NAMES[name, text]}"):
        load({name: [text]} if source == "code" else {}, command_line=typed)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("allowed_hosts", ("*", "*.b.example", "a.example", "A.example:8443", "a.example.", "10.0.0.1")),
        ("allowed_hosts", ("2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80", "my_service:80")),
        ("allowed_origins", ("*", "null", "https://a.example", "http://a.example:80/", "http://[::1]:3000")),
        ("allowed_origins", ("chrome-extension://abc", "vscode-webview://x_y", "http://10.0.0.1:1")),
    ],
)
def test_names_that_clients_send_may_be_allowed(name: str, texts: tuple[str, ...]) -> None:
    assert getattr(Settings(**{name: texts}), name) == texts


# -- which .env counts ---------------------------------------------------------------------------------------


def tree(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["a/b/.env", "a/.env", "a/pyproject.toml"], "a/b/.env"),
        (["a/.env", "a/pyproject.toml"], "a/.env"),
        ([".env", "pyproject.toml"], ".env"),
        (["a/.env"], None),
        ([".env", "pyproject.toml", "a/pyproject.toml"], None),
    ],
    ids=["working-directory", "project", "project-further-up", "no-project", "not-past-the-nearest-project"],
)
def test_which_file_counts(empty_folder: Path, files: list[str], found: str | None) -> None:
    tree(empty_folder, "a/b/server.py", *files)
    assert find_dotenv(empty_folder / "a" / "b") == (None if found is None else empty_folder.resolve() / found)


def test_the_file_is_read_as_it_is(empty_folder: Path) -> None:
    """Quotes and comments are the format's; a dollar sign is the author's."""
    (empty_folder / ".env").write_text(
        "# settings\nENFILADE_SECRET='$HOME-0123456789abcdef0123456789abcdef'\nexport ENFILADE_PORT=7 # here\n",
        encoding="utf-8",
    )
    settings = load({})
    assert settings.secret[0].get_secret_value() == "$HOME-0123456789abcdef0123456789abcdef"
    assert settings.port == 7


def test_the_file_does_not_reach_the_environment(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text("ENFILADE_PORT=7\nTOKEN=secret\n", encoding="utf-8")
    load({})
    assert "ENFILADE_PORT" not in os.environ
    assert "TOKEN" not in os.environ


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_refused_in_one_line(empty_folder: Path, encoding: str) -> None:
    (empty_folder / ".env").write_text("NAME=café\n", encoding=encoding)
    with pytest.raises(SettingsError) as caught:
        load({})
    file = empty_folder.resolve() / ".env"
    assert str(caught.value) == f"Invalid settings: {file} is not UTF-8; save it as UTF-8"


def test_a_mark_at_the_start_of_the_file_is_no_part_of_a_name(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text("ENFILADE_PORT=7\n", encoding="utf-8-sig")
    assert load({}).port == 7


def test_lines_that_set_nothing_are_warned_of_when_a_server_starts(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the line and does not show it, for it may be a secret."""
    monkeypatch.setattr("enfilade.launch.launch", lambda *_, **__: None)
    text = "\n# a comment\nENFILADE_PORT 9000\n\nTOKEN\nENFILADE_PATH: /x\nEMPTY=\nexport OK=1\n"
    (empty_folder / ".env").write_text(text, encoding="utf-8")
    app = MCPApp("Tea")
    app.add_tool(lambda: 1, name="pour")
    assert caplog.messages == []  # to import a server is not to start it
    app.run("http")
    file = empty_folder.resolve() / ".env"
    assert caplog.messages == [f"{file}, line {number}, has no effect; write NAME=value" for number in (3, 5, 6)]


# -- variables that are no settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("ENFILADE_PROT", "; did you mean ENFILADE_PORT?"),
        ("ENFILADE_ALLOWED_HOST", "; did you mean ENFILADE_ALLOWED_HOSTS?"),
        ("ENFILADE_SESSION_TLL", "; did you mean ENFILADE_SESSION_TTL?"),
        ("enfilade_port", "; did you mean ENFILADE_PORT?"),
        ("ENFILADE_LOG_FORMATS", "; did you mean ENFILADE_LOG_FORMAT?"),
        ("ENFILADE_TYPO", ""),
        ("ENFILADE_", ""),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_unknown_variable_is_warned_of_when_a_server_starts(
    place: str,
    name: str,
    end: str,
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("enfilade.launch.launch", lambda *_, **__: None)
    if place == "environment":
        monkeypatch.setenv(name, "1")
    else:
        (empty_folder / ".env").write_text(f"{name}=1\nENFILADE_PORT=7\nOTHER=1\n", encoding="utf-8")
    app = MCPApp("Tea")
    app.add_tool(lambda: 1, name="pour")  # a server that offers nothing says so
    assert caplog.messages == []  # to import a server is not to start it
    app.run("http")
    where = "" if place == "environment" else " in .env"
    assert caplog.messages == [f"{name}{where} is no setting of this version, so it has no effect{end}"]


def test_known_empty_and_foreign_variables_are_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("enfilade.launch.launch", lambda *_, **__: None)
    for name, field in fields().items():
        default = field.default
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", "" if default in ((), None, Secret("")) else str(default))
    for name, text in (("ENFILADE_NOTHING", ""), ("MY_ENFILADE_PORT", "1"), ("_ENFILADE_COMPLETE", "x")):
        monkeypatch.setenv(name, text)
    app = MCPApp("Tea")
    app.add_tool(lambda: 1, name="pour")
    app.run("http")
    assert caplog.messages == []


def test_the_variables_of_the_tests_are_those_that_they_read() -> None:
    """They are in the environment of every server that `make test` starts."""
    tests = Path(__file__).parent
    texts = [file.read_text(encoding="utf-8") for file in tests.rglob("*.py") if file != Path(__file__)]
    makefile = (tests.parent / "Makefile").read_text(encoding="utf-8")
    given = set(re.findall(r"\b(ENFILADE_\w+)=", makefile)) - {PREFIX + name.upper() for name in fields()}
    assert given <= OF_THE_TESTS
    for name in OF_THE_TESTS:
        assert any(f'"{name}"' in text for text in texts), name


@pytest.mark.parametrize(
    "words", [["run", "server.py", "-t", "http", "-w", "2"], ["dev", "server.py"]], ids=["run", "dev"]
)
def test_it_is_said_once_however_many_processes_serve(words: list[str], empty_folder: Path) -> None:
    text = SERVER.format(constructor=None, settings=None)
    (empty_folder / "server.py").write_text(text, encoding="utf-8")
    command = enfilade_command(*words, "-p", "{port}")
    with ServerProcess(command, cwd=empty_folder, env={"ENFILADE_PROT": "1", "NO_COLOR": "1"}) as server:
        Http(server.port).initialize()
        server.stop()
        assert server.output.count("ENFILADE_PROT is no setting") == 1
        assert server.output.count("did you mean ENFILADE_PORT?") == 1
