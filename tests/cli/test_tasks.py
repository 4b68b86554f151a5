"""`enfilade tasks`: what is in the store of a server that does not run."""

import asyncio
import json
from pathlib import Path

import pytest

from enfilade.discovery import load_with_warning
from support.cli.runner import CommandLine
from support.servers.task_server import StatelessTasks

SERVER = """
from enfilade import Context, MCPApp, ToolError

app = MCPApp("Reports", store="sqlite:///{path}")


@app.tool(task="optional", durable=True)
async def nap(seconds: float, ctx: Context) -> str:
    \"\"\"Sleep.\"\"\"
    await ctx.sleep(seconds)
    return "slept"


@app.tool(task="optional", durable=True)
async def ask(ctx: Context) -> str:
    \"\"\"Ask.\"\"\"
    return (await ctx.elicit("Sure?", bool)).action


@app.tool(task="optional")
async def fail() -> str:
    \"\"\"Fail.\"\"\"
    raise ToolError("no \\x1b[31mluck")
"""


@pytest.fixture
def server(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return the file of a server that has stopped, and the ids of the tasks that it has left, by tool."""
    file = tmp_path / "server.py"
    file.write_text(SERVER.format(path=tmp_path / "state.db"), encoding="utf-8")

    async def leave_tasks() -> dict[str, str]:
        app = load_with_warning(str(file)).app
        async with app.running():
            client = StatelessTasks(app)
            ids = {
                "nap": (await client.call("nap", seconds=3600))["taskId"],
                "ask": (await client.call("ask"))["taskId"],
                "fail": (await client.call("fail"))["taskId"],
            }
            await client.until(ids["ask"], "input_required")
            await client.until(ids["fail"], "completed")
        return ids

    return file, asyncio.run(leave_tasks())


def test_the_list(server: tuple[Path, dict[str, str]], run_cli: CommandLine) -> None:
    file, ids = server
    result = run_cli("tasks", "list", str(file))
    assert result.status == 0, result.err
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        [ids["nap"][:12], "nap", "sleeping"],
        [ids["ask"][:12], "ask", "input_required"],
        [ids["fail"][:12], "fail", "completed"],
    ]
    listed = json.loads(run_cli("tasks", "list", str(file), "--json", "--status", "input_required").out)
    assert [(task["id"], task["tool"]) for task in listed] == [(ids["ask"], "ask")]


def test_show_and_cancel(server: tuple[Path, dict[str, str]], run_cli: CommandLine) -> None:
    file, ids = server
    shown = run_cli("tasks", "show", ids["ask"][:10], "--file", str(file)).out
    assert "status: input_required" in shown
    assert '"message":"Sure?"' in shown
    failed = run_cli("tasks", "show", ids["fail"], "--file", str(file))
    assert "luck" in failed.out
    assert "\x1b" not in failed.out
    whole = json.loads(run_cli("tasks", "show", ids["fail"], "--file", str(file), "--json").out)
    assert whole["result"]["isError"] is True
    cancelled = run_cli("tasks", "cancel", ids["nap"], "--file", str(file))
    assert (cancelled.status, cancelled.err) == (0, f"Task {ids['nap']} is cancelled.\n")
    again = run_cli("tasks", "cancel", ids["nap"], "--file", str(file))
    assert again.status == 1
    assert "is cancelled already" in again.err
    assert "status: cancelled" in run_cli("tasks", "show", ids["nap"], "--file", str(file)).out


def test_what_is_not_there(server: tuple[Path, dict[str, str]], run_cli: CommandLine) -> None:
    file, _ = server
    unknown = run_cli("tasks", "show", "zz", "--file", str(file))
    assert (unknown.status, unknown.err) == (1, "enfilade: there is no task 'zz'\n")
    several = run_cli("tasks", "show", "", "--file", str(file))
    assert several.status == 1
    assert "3 tasks begin with ''" in several.err


def test_a_store_in_memory_is_that_of_the_server_alone(tmp_path: Path, run_cli: CommandLine) -> None:
    file = tmp_path / "server.py"
    file.write_text(SERVER.replace(', store="sqlite:///{path}"', ""), encoding="utf-8")
    result = run_cli("tasks", "list", str(file))
    assert result.status == 2
    assert "ENFILADE_STORE" in result.err


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, run_cli: CommandLine) -> None:
    file = tmp_path / "server.py"
    file.write_text(SERVER.format(path=tmp_path / "other.db"), encoding="utf-8")
    result = run_cli("tasks", "list", str(file))
    assert result.status == 2
    assert "there is no store at" in result.err
    assert not (tmp_path / "other.db").exists()


def test_a_status_is_one_that_there_is(server: tuple[Path, dict[str, str]], run_cli: CommandLine) -> None:
    file, ids = server
    asleep = json.loads(run_cli("tasks", "list", str(file), "--status", "sleeping", "--json").out)
    assert [task["id"] for task in asleep] == [ids["nap"]]
    wrong = run_cli("tasks", "list", str(file), "--status", "asleep")
    assert wrong.status == 2
    assert "use working, sleeping" in " ".join(wrong.err.split())
