"""Settings: which of their sources wins, and what is said about a value that cannot be.

Strongest first: environment, `.env`, `run()`, constructor, `Settings` object, default.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from enfilade import MCPApp, Settings
from enfilade.settings import PREFIX, Secret, SettingsError, find_dotenv, load


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without variables of the machine."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SOURCES: list[str] = ["environment", "dotenv", "run", "constructor", "settings"]


@pytest.mark.parametrize("strongest", range(len(SOURCES) + 1), ids=[*SOURCES, "default"])
def test_precedence(
    strongest: int, nowhere: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every source but the stronger ones sets the port; the strongest of those wins."""
    ports = {name: 1000 + place for place, name in enumerate(SOURCES) if place >= strongest}
    if "environment" in ports:
        monkeypatch.setenv("ENFILADE_PORT", str(ports["environment"]))
    if "dotenv" in ports:
        (nowhere / ".env").write_text(f"ENFILADE_PORT={ports['dotenv']}\n", encoding="utf-8")
    settings = Settings(port=ports["settings"]) if "settings" in ports else None
    app = MCPApp(port=ports.get("constructor"), settings=settings)
    served: list[int] = []
    monkeypatch.setattr(app, "_run_http", lambda reload: served.append(app.settings.port))
    app.run("http", port=ports.get("run"))
    assert served == [1000 + strongest if strongest < len(SOURCES) else 8000]


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


def test_a_bad_variable_in_a_file_is_explained(nowhere: Path) -> None:
    (nowhere / ".env").write_text("ENFILADE_PORT=abc\n", encoding="utf-8")
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


def test_settings_stay_as_they_are() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]  # the mistake under test


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_COLOUR", "red")
    monkeypatch.setenv("PORT", "1")
    assert load({}) == Settings()


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
def test_which_file_counts(nowhere: Path, files: list[str], found: str | None) -> None:
    tree(nowhere, "a/b/server.py", *files)
    assert find_dotenv(nowhere / "a" / "b") == (None if found is None else nowhere.resolve() / found)


def test_the_file_is_read_as_it_is(nowhere: Path) -> None:
    """Quotes and comments are the format's; a dollar sign is the author's."""
    (nowhere / ".env").write_text(
        "# settings\nENFILADE_SECRET='$HOME-0123456789abcdef0123456789abcdef'\nexport ENFILADE_PORT=7 # here\n",
        encoding="utf-8",
    )
    settings = load({})
    assert settings.secret[0].get_secret_value() == "$HOME-0123456789abcdef0123456789abcdef"
    assert settings.port == 7


def test_the_file_does_not_reach_the_environment(nowhere: Path) -> None:
    (nowhere / ".env").write_text("ENFILADE_PORT=7\nTOKEN=secret\n", encoding="utf-8")
    load({})
    assert "ENFILADE_PORT" not in os.environ
    assert "TOKEN" not in os.environ
