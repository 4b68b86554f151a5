"""What each client's file says of a server, compared with files written by hand."""

import json
import os
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from enfilade.client_config import ClientFileError, entry, plan
from enfilade.client_config.entry import CLIENTS, RegisteredServer, own_command
from enfilade.client_config.locations import Places
from enfilade.client_config.plan import client_named, location_of, plan_addition, plan_removal
from support.client_config.machines import linux, windows, wsl

STARTED = RegisteredServer(name="sums", file="/work/server.py", folder=Path("/work"), env=["API_KEY"])
LISTENING = RegisteredServer(name="sums", url="http://127.0.0.1:8000/mcp")
RUN = ["run", "/work/server.py"]
THERE = [*RUN, "--directory", str(Path("/work"))]
PROGRAM, WORDS = own_command()[0], own_command()[1:]


def stdio(args: list[str], before: dict[str, Any] | None = None, **after: Any) -> dict[str, Any]:
    return {**(before or {}), "command": PROGRAM, "args": [*WORDS, *args], **after}


BY_STDIO: dict[str, Any] = {
    "claude-desktop": {"mcpServers": {"sums": stdio(THERE)}},
    "claude-code": {"mcpServers": {"sums": stdio(THERE, {"type": "stdio"}, env={"API_KEY": "${API_KEY}"})}},
    "cursor": {"mcpServers": {"sums": stdio(THERE, {"type": "stdio"}, env={"API_KEY": "${env:API_KEY}"})}},
    "vscode": {
        "servers": {
            "sums": stdio(
                RUN, {"type": "stdio"}, cwd=str(Path("/work")), env={"API_KEY": "${input:sums-api-key}"}
            )
        },
        "inputs": [
            {"type": "promptString", "id": "sums-api-key", "description": "API_KEY for sums", "password": True}
        ],
    },
    "gemini": {"mcpServers": {"sums": stdio(RUN, cwd=str(Path("/work")), env={"API_KEY": "${API_KEY}"})}},
    "windsurf": {"mcpServers": {"sums": stdio(THERE, env={"API_KEY": "${env:API_KEY}"})}},
    "zed": {"context_servers": {"sums": stdio(THERE)}},
    "mcp.json": {"mcpServers": {"sums": stdio(THERE)}},
}
URL = "http://127.0.0.1:8000/mcp"
BY_HTTP: dict[str, Any] = {
    "claude-code": {"mcpServers": {"sums": {"type": "http", "url": URL}}},
    "cursor": {"mcpServers": {"sums": {"url": URL}}},
    "vscode": {"servers": {"sums": {"type": "http", "url": URL}}},
    "gemini": {"mcpServers": {"sums": {"httpUrl": URL}}},
    "windsurf": {"mcpServers": {"sums": {"serverUrl": URL}}},
    "zed": {"context_servers": {"sums": {"url": URL}}},
    "mcp.json": {"mcpServers": {"sums": {"url": URL}}},
}
GOOSE_BY_STDIO = f"""\
extensions:
  sums:
    enabled: true
    type: "stdio"
    description: ""
    timeout: 300
    name: "sums"
    cmd: {json.dumps(PROGRAM)}
    args: {json.dumps([*WORDS, *THERE])}
    env_keys: ["API_KEY"]
"""
GOOSE_BY_HTTP = """\
extensions:
  sums:
    enabled: true
    type: "streamable_http"
    description: ""
    timeout: 300
    name: "sums"
    uri: "http://127.0.0.1:8000/mcp"
"""


def written(name: str, server: RegisteredServer, places: Places) -> tuple[str, list[str]]:
    client = client_named(name)
    change = plan_addition(client, server, places, location_of(client, places))
    return change.new_content.decode(), list(change.notes)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_server_that_the_client_starts(name: str, tmp_path: Path) -> None:
    text, _ = written(name, STARTED, linux(tmp_path))
    assert text == (GOOSE_BY_STDIO if name == "goose" else json.dumps(BY_STDIO[name], indent=2) + "\n")


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "claude-desktop"])
def test_a_server_that_listens(name: str, tmp_path: Path) -> None:
    text, _ = written(name, LISTENING, linux(tmp_path))
    assert text == (GOOSE_BY_HTTP if name == "goose" else json.dumps(BY_HTTP[name], indent=2) + "\n")


def test_a_client_that_cannot_connect_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClientFileError) as caught:
        written("claude-desktop", LISTENING, linux(tmp_path))
    said = str(caught.value)
    assert "over stdio" in said
    assert "under Connectors" in said
    bridge = json.loads(said[said.index("{") :])
    assert bridge == {"command": "npx", "args": ["-y", "mcp-remote", URL]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("claude-desktop", "API_KEY: Claude Desktop cannot refer to variables; put it into "),
        ("zed", "API_KEY: Zed cannot refer to variables; put it into "),
        ("claude-code", "API_KEY: set it where Claude Code is started"),
        ("vscode", "API_KEY: VS Code asks for it"),
        ("goose", "API_KEY: Goose takes it from its environment or its keyring"),
    ],
)
def test_where_a_secret_comes_from_is_said(name: str, said: str, tmp_path: Path) -> None:
    _, notes = written(name, STARTED, linux(tmp_path))
    assert notes[0].startswith(said)
    if "put it into" in said:
        assert str(Path("/work/.env")) in notes[0]


def test_values_of_secrets_are_not_taken(tmp_path: Path) -> None:
    """D51."""
    given = RegisteredServer(name="sums", file="/work/server.py", env=["API_KEY=hunter2"])
    with pytest.raises(ClientFileError, match="not copied into the files of clients") as caught:
        written("cursor", given, linux(tmp_path))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ClientFileError, match="set it where this server is started"):
        written("cursor", RegisteredServer(name="sums", url=URL, env=["API_KEY"]), linux(tmp_path))


def test_across_wsl_the_command_is_one_of_windows(tmp_path: Path) -> None:
    text, notes = written("claude-desktop", STARTED, wsl(tmp_path, "ada"))
    args = ["--distribution", "Ubuntu", "--cd", str(Path("/work")), "--exec", PROGRAM, *WORDS, *RUN]
    assert json.loads(text) == {"mcpServers": {"sums": {"command": "wsl.exe", "args": args}}}
    assert notes == [
        "API_KEY: no variable gets to the other side of WSL; put it into "
        f"{Path('/work/.env')}, where the server looks for secrets"
    ]


def test_a_project_of_wsl_is_opened_on_this_side(tmp_path: Path) -> None:
    text, notes = written("vscode", STARTED, wsl(tmp_path, "ada"))
    assert json.loads(text)["servers"]["sums"]["command"] == PROGRAM
    assert notes[-1] == "the entry has paths of this machine: keep the file to yourself, or take --user"


def test_paths_of_windows_are_written_as_json_has_them(tmp_path: Path) -> None:
    server = RegisteredServer(name="sums", file=r"C:\work\server.py", folder=Path(r"C:\work"))
    text, _ = written("claude-desktop", server, windows(tmp_path))
    assert r"C:\\work\\server.py" in text
    assert json.loads(text)["mcpServers"]["sums"]["args"][-1] == r"C:\work"


def test_the_command_is_found_from_anywhere() -> None:
    assert os.path.isabs(PROGRAM)
    assert os.access(PROGRAM, os.X_OK)


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "x" * 65, "a\n"])
def test_names_that_clients_would_not_take_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ClientFileError, match="is no name for a server"):
        written("cursor", RegisteredServer(name=name, url=URL), linux(tmp_path))


# -- what is there already -------------------------------------------------------------------------------------


def test_inputs_come_and_go_with_their_entry(tmp_path: Path) -> None:
    places, client = linux(tmp_path), client_named("vscode")
    location = location_of(client, places)
    location.path.parent.mkdir(parents=True)
    before = '{\n\t"inputs": [\n\t\t{"id": "theirs"}\n\t],\n\t"servers": {\n\t\t"o": {} // 1.0\n\t}\n}\n'
    location.path.write_text(before, encoding="utf-8")
    change = plan_addition(client, STARTED, places, location)
    assert change.state == "new"
    change.write()
    assert '{"id": "theirs"}' in location.path.read_text(encoding="utf-8")
    assert plan_addition(client, STARTED, places, location).state == "same"
    gone = plan_removal(client, "sums", location)
    assert (gone.state, gone.new_content.decode()) == ("gone", before)


@pytest.mark.parametrize("name", CLIENTS)
def test_states(name: str, tmp_path: Path) -> None:
    places, client = linux(tmp_path), client_named(name)
    location = location_of(client, places)
    assert plan_removal(client, "sums", location).state == "absent"
    first = plan_addition(client, STARTED, places, location)
    assert (first.state, first.changes, first.write()) == ("new", True, None)
    second = plan_addition(client, STARTED, places, location)
    assert (second.state, second.changes, list(second.diff())) == ("same", False, [])
    other = plan_addition(client, RegisteredServer(name="sums", file="/other.py"), places, location)
    assert (other.state, other.changes) == ("other", True)
    assert any(line.startswith("-") and "/work/server.py" in line for line in other.diff())
    assert plan_removal(client, "sums", location).state == "gone"


@pytest.mark.parametrize("name", ["claude-desktop", "claude-code"])
def test_comments_are_broken_for_those_who_read_none(name: str, tmp_path: Path) -> None:
    places, client = linux(tmp_path), client_named(name)
    location = location_of(client, places)
    location.path.parent.mkdir(parents=True)
    location.path.write_text('{\n  "a": 1, // b\n}\n', encoding="utf-8")
    with pytest.raises(ClientFileError, match=r"not touched. Line 2, column 9: a comma before a closing bracket"):
        plan_addition(client, STARTED, places, location)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [(plan, "adding", plan_addition), (plan, "removing", plan_removal), (entry, "Server", RegisteredServer)],
    ids=["adding", "removing", "Server"],
)
def test_old_names_still_work(module: ModuleType, old: str, new: type | FunctionType) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module.__name__}.{old} is now called {new.__name__}"):
        assert getattr(module, old) is new
