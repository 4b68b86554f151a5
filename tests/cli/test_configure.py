"""`enfilade configure`: processes that write a client's file, show what they would, or say why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from enfilade.cli.command import CommandError, command_line
from support.cli.runner import at_terminal
from support.cli.terminal import needs_terminal
from support.servers.processes import ROOT, enfilade_command

SERVER = """
import os
from enfilade import MCPApp

app = MCPApp(name="The Sums", port=8123)


@app.tool
def add(a: int, b: int) -> int:
    \"\"\"Add two numbers.\"\"\"
    return a + b


@app.tool
def where() -> str:
    \"\"\"Say where this works.\"\"\"
    return os.getcwd()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configure")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    (folder / "home").mkdir()
    return folder


def configure(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    home = str(folder / "home")
    env = {"PYTHONPATH": str(ROOT / "src"), "HOME": home, "USERPROFILE": home, "COLUMNS": "80"}
    unset = ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "WSL_DISTRO_NAME", "NO_COLOR", "FORCE_COLOR")
    return subprocess.run(
        enfilade_command("configure", *arguments),
        cwd=folder,
        env={**{key: value for key, value in os.environ.items() if key not in unset}, **env, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_from_nothing_to_a_client_that_calls_and_back(folder: Path) -> None:
    """What stands in the file is taken for what it is: a command, run from elsewhere."""
    file = folder / ".cursor" / "mcp.json"
    dry = configure(folder, "cursor", "server.py", "--env", "API_KEY", "--dry-run")
    assert (dry.returncode, dry.stderr, file.exists()) == (0, "", False)
    assert dry.stdout.startswith(f"--- /dev/null\n+++ {file}\n@@ ")
    assert "\x1b" not in dry.stdout
    completed = configure(folder, "cursor", "server.py", "--env", "API_KEY")
    assert completed.returncode == 0, completed.stderr
    assert f"Cursor: configured in {file}\n" in completed.stdout
    assert "API_KEY: set it where Cursor is started" in completed.stdout
    entry = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["the-sums"]
    assert entry["env"] == {"API_KEY": "${env:API_KEY}"}
    assert called(entry["command"], entry["args"]) == str(folder)
    again = configure(folder, "cursor", "server.py", "--env", "API_KEY")
    assert (again.returncode, again.stdout) == (0, f"Cursor: already configured in {file}\n")
    gone = configure(folder, "cursor", "server.py", "--remove")
    assert gone.stdout == f"Cursor: removed from {file} (before: mcp.json.bak)\n"
    assert json.loads(file.read_text(encoding="utf-8")) == {"mcpServers": {}}


def called(command: str, args: list[str]) -> str:
    """Start a server as a client would, from another folder, and ask it where it works."""
    requests = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "where", "arguments": {}}},
    ]
    lines = "".join(json.dumps({"jsonrpc": "2.0", **each}) + "\n" for each in requests)
    env = {"PATH": "", "PYTHONPATH": str(ROOT / "src"), "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    completed = subprocess.run(
        [command, *args],
        cwd=Path(sys.prefix),
        env=env,
        input=lines,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    answer = next(each for line in completed.stdout.splitlines() if (each := json.loads(line)).get("id") == 2)
    text: str = answer["result"]["structuredContent"]["result"]
    return text


def test_another_entry_of_that_name_needs_force(folder: Path) -> None:
    file = folder / "other.json"
    text = '{"mcpServers": {"the-sums": {"command": "mine"}}}'
    file.write_text(text, encoding="utf-8")
    arguments = ("claude-desktop", "server.py", "--config", "other.json")
    refused = configure(folder, *arguments)
    assert refused.returncode == 2
    assert f"-{text}" in refused.stdout
    assert "has another entry of that name; --force replaces it" in refused.stderr
    assert file.read_text(encoding="utf-8") == text
    forced = configure(folder, *arguments, "--force")
    assert forced.returncode == 0, forced.stderr
    assert "mine" not in file.read_text(encoding="utf-8")
    assert (folder / "other.json.bak").read_text(encoding="utf-8") == text


@needs_terminal
@pytest.mark.parametrize(("answer", "status", "kept"), [("y", 0, False), ("n", 1, True)])
def test_on_a_terminal_one_is_asked(folder: Path, answer: str, status: int, kept: bool) -> None:
    file = folder / f"asked-{answer}.json"
    file.write_text('{"mcpServers": {"far": {"command": "mine"}}}', encoding="utf-8")
    arguments = ["configure", "cursor", "--name", "far", "--url", "http://x/mcp", "--config", str(file)]
    result = at_terminal(arguments, [("Replace it?", answer)], piped=False)
    assert result.status == status
    assert '"command": "mine"' in result.err
    assert ("mine" in file.read_text(encoding="utf-8")) == kept


HTTP = {
    "a url": (["--name", "far", "--url", "https://example.com/mcp"], "far", "https://example.com/mcp"),
    "a url and a file": (
        ["server.py", "--url", "https://example.com/mcp"],
        "the-sums",
        "https://example.com/mcp",
    ),
    "the app's own": (["server.py", "--transport", "http"], "the-sums", "http://127.0.0.1:8123/mcp"),
    "a port": (["server.py", "-p", "9", "--path", "/x"], "the-sums", "http://127.0.0.1:9/x"),
}


@pytest.mark.parametrize(("arguments", "name", "url"), HTTP.values(), ids=HTTP)
def test_by_http(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str, url: str
) -> None:
    file = tmp_path / "mcp.json"
    monkeypatch.chdir(folder)
    command_line.main(["configure", "claude-code", *arguments, "--config", str(file)], standalone_mode=False)
    assert json.loads(file.read_text(encoding="utf-8")) == {"mcpServers": {name: {"type": "http", "url": url}}}


STARTS = {
    "an app that serves http": (["http.py"], "enfilade run http.py"),
    "asked for": (["server.py", "-t", "http"], "enfilade run server.py --transport=http"),
    "a port and a path": (
        ["server.py", "-p", "9", "--path", "/x"],
        "enfilade run server.py --port=9 --path=/x --transport=http",
    ),
}


@pytest.mark.parametrize(("arguments", "command"), STARTS.values(), ids=STARTS)
def test_a_client_that_connects_needs_a_server_that_runs(
    folder: Path, arguments: list[str], command: str
) -> None:
    (folder / "http.py").write_text(SERVER.replace("port=8123", "transport='http'"), encoding="utf-8")
    output = configure(folder, "claude-code", *arguments, "--config", "starts.json", "--dry-run")
    assert f"Claude Code does not start it: `{command}` must be running" in output.stdout, output
    assert "With --transport stdio the client starts it" in output.stdout
    started = configure(
        folder, "claude-code", arguments[0], "-t", "stdio", "--config", "starts.json", "--dry-run"
    )
    assert "must be running" not in started.stdout
    elsewhere = ["--name", "far", "--url", "https://example.com/mcp", "--config", "starts.json", "--dry-run"]
    assert "must be running" not in configure(folder, "claude-code", *elsewhere).stdout


def test_an_app_of_another_name_is_named(folder: Path) -> None:
    text = SERVER.replace("app", "sums")
    (folder / "named.py").write_text(text, encoding="utf-8")
    output = configure(folder, "zed", "named.py", "--dry-run")
    assert f'"{folder / "named.py"}:sums"' in output.stdout, output.stderr


def test_a_server_that_serves_http_by_itself(folder: Path) -> None:
    """Where the environment decides so, the client gets a URL; stdio can still be asked for, and is told on."""
    by_itself = configure(folder, "zed", "server.py", "--dry-run", ENFILADE_TRANSPORT="http")
    assert '+      "url": "http://127.0.0.1:8123/mcp"' in by_itself.stdout
    text = SERVER.replace("port=8123", "transport='http'")
    (folder / "http.py").write_text(text, encoding="utf-8")
    asked = configure(folder, "zed", "http.py", "-t", "stdio", "--dry-run")
    assert '+        "--transport",\n+        "stdio",' in asked.stdout
    starts = configure(folder, "claude-desktop", "http.py", "--dry-run")  # which connects to none
    assert starts.returncode == 0, starts.stderr
    assert '+        "--transport",\n+        "stdio",' in starts.stdout
    insisted = configure(folder, "claude-desktop", "http.py", "--transport", "http", "--dry-run")
    assert (insisted.returncode, insisted.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["claude-desktop"], ["zed", "-t", "stdio"]], ids=["must", "shall"])
def test_a_server_that_a_client_starts_speaks_stdio_to_it(tmp_path: Path, arguments: list[str]) -> None:
    """The option in the client's file outranks `.env`, which says http."""
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / ".env").write_text("ENFILADE_TRANSPORT=http\n", encoding="utf-8")
    client, *more = arguments
    completed = configure(tmp_path, client, "server.py", *more, "--dry-run")
    assert completed.returncode == 0, completed.stderr
    assert '+        "--transport",\n+        "stdio",' in completed.stdout


def test_a_change_shows_no_secret_of_a_neighbour(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    there = {"mcpServers": {"other": {"command": "other", "env": {"TOKEN": "hunter2"}}}}
    file.write_text(json.dumps(there, indent=2), encoding="utf-8")
    output = configure(folder, "cursor", "server.py", "--config", str(file), "--dry-run")
    assert '+    "the-sums": {' in output.stdout
    assert "hunter2" not in output.stdout


MISTAKES = {
    "no client": ([], "say which client: enfilade configure CLIENT; enfilade configure --list shows them"),
    "unknown client": (["emacs", "server.py"], "there is no client 'emacs' here; choose one of claude-desktop"),
    "no server": (["cursor", "nowhere.py"], "there is no file 'nowhere.py' here"),
    "a value": (["cursor", "server.py", "--env", "KEY=hunter2"], "--env takes the name of a variable"),
    "stdio alone": (["claude-desktop", "--name", "x", "--url", "http://x/mcp"], "under Connectors"),
    "a bad name": (["cursor", "server.py", "--name", "a b"], "'a b' is no name for a server"),
    "a bad transport": (["cursor", "server.py", "-t", "pigeon"], "Input should be 'stdio' or 'http'"),
    "a broken file": (
        ["cursor", "server.py", "--config", "server.py"],
        "Line 2, column 1: 'import' is no value",
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(CommandError) as caught:
        command_line.main(["configure", *arguments], standalone_mode=False)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.status == 2


def test_the_list(folder: Path) -> None:
    (folder / "home" / ".gemini").mkdir()
    (folder / "home" / ".gemini" / "settings.json").write_text('{"mcpServers": {"there": {}}}', encoding="utf-8")
    completed = configure(folder, "--list")
    assert completed.returncode == 0, completed.stderr
    lines = completed.stdout.splitlines()
    row = next(index for index, line in enumerate(lines) if line.split()[:3] == ["gemini", "found", "user"])
    assert lines[row + 1].strip() == "there"
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in completed.stdout
