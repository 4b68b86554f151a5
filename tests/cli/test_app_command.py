"""The command of one app (`run_app`): a project's console script takes the options of `enfilade run`."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from enfilade.cli.run import run as run_command
from support.cli.runner import SHOP, at_terminal, spawned
from support.cli.terminal import needs_terminal
from support.servers.processes import ServerProcess, environment

SCRIPT = """
from enfilade import MCPApp
from enfilade.cli import run_app

app = MCPApp(name="Tea shop", transport="{transport}")


@app.tool
def brew(kind: str) -> str:
    \"\"\"Brew tea.\"\"\"
    return f"A cup of {{kind}}"


if __name__ == "__main__":
    run_app(app)
"""
CHOOSING = {"target", "module", "directory"}


@pytest.fixture(params=["http", "stdio"])
def script(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    file = tmp_path / "tea_shop.py"
    file.write_text(SCRIPT.format(transport=request.param), encoding="utf-8")
    return str(file)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments],
        env=environment(COLUMNS="80"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


async def tools_of(client: Client) -> list[str]:
    async with client:
        return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("arguments", [["--transport", "stdio"], ["--log-level=error", "-tstdio"]])
def test_it_serves_over_stdio_when_asked(script: str, arguments: list[str]) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=[script, *arguments], env=environment())
    assert asyncio.run(tools_of(Client(parameters))) == ["brew"]


@pytest.mark.parametrize("more", [[], ["--reload"], ["--workers", "2"]], ids=" ".join)
def test_it_serves_over_http_when_asked(script: str, more: list[str]) -> None:
    command = [sys.executable, script, "--transport", "http", "--host", "127.0.0.1", "--port", "{port}", *more]
    with ServerProcess(command) as running:
        assert asyncio.run(tools_of(Client(running.url))) == ["brew"]
        assert "Connect a client:" in running.output


def test_its_help_has_every_option_that_it_takes(script: str) -> None:
    output = run(script, "--help")
    assert (output.returncode, output.stderr) == (0, "")
    assert "Serve Tea shop, an MCP server" in output.stdout
    for option in run_command.params:
        for word in (*option.opts, *option.secondary_opts):
            if word.startswith("--"):
                is_shown = re.search(rf"{word}(?![\w-])", output.stdout) is not None
                assert is_shown is (option.name not in CHOOSING), word


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["server.py"], "unexpected extra argument"),
        (["--module", "shop"], "No such option: --module"),
        (["--directory", "."], "No such option: --directory"),
        (["--colour"], "No such option: --colour"),
        (["--port", "many"], "Invalid value for '--port'"),
        (["--port", "99999"], "tea_shop.py: Invalid settings:"),
        (["--transport", "stdio", "--workers", "2"], "workers needs transport='http'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_words_are_refused(script: str, arguments: list[str], error: str) -> None:
    refused = run(script, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert error in " ".join(refused.stderr.split())


@needs_terminal
def test_at_a_terminal_stdio_says_what_it_waits_for() -> None:
    result = at_terminal(["run", SHOP], [("waiting for an MCP client on standard input. Ctrl-C ends it", "\x04")])
    assert (result.status, result.out) == (0, "")
    assert "`enfilade run FILE --transport http` serves at a URL." in result.err
    assert "waiting" not in spawned("run", SHOP).err
