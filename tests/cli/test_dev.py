"""`enfilade dev`: a real server on a real terminal, called by real clients, while its file changes."""

import asyncio
import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mcp import Client

from support.cli.terminal import needs_terminal
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ROOT, ServerProcess, enfilade_command, free_port

SERVER = """
from enfilade import Context, MCPApp

app = MCPApp(name="Sums", version="1.2")


@app.tool
def add(a: int, b: int) -> int:
    \"\"\"Add two numbers, however large they are, and return what that makes of them in the end of it all.\"\"\"
    return a + b


@app.tool
async def talk(ctx: Context) -> str:
    \"\"\"Say something.\"\"\"
    ctx.log.info("said")
    raise KeyError("missing")
"""


def written(folder: Path) -> Path:
    (folder / "pyproject.toml").touch()
    file = folder / "server.py"
    file.write_text(SERVER, encoding="utf-8")
    return file


def environment(**variables: str) -> dict[str, str]:
    unset = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "TTY_COMPATIBLE")
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm-256color", **variables}


def test_in_a_pipe_a_session_goes_on_while_code_changes_and_breaks(tmp_path: Path) -> None:
    file = written(tmp_path)
    arguments = enfilade_command("dev", "server.py", "-p", "{port}")
    with ServerProcess(arguments, port=free_port(), cwd=tmp_path, env=environment(), start_timeout=90) as server:
        eventually(lambda: "Stop with Ctrl-C." in server.output)
        assert f"Sums 1.2  {server.url}" in server.output
        assert re.search(r"^  add    Add two numbers, however", server.output, re.MULTILINE)
        assert f"Connect: enfilade configure CLIENT server.py --url {server.url}" in server.output
        session = Http(server.port).initialize()
        assert session.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        who = "session 2025-11-25 harness 1"
        eventually(lambda: re.search(rf"^[\d:]{{8}} tools/call add +[\d.]+ ms  ok +{who}$", server.output, re.M))
        session.call("talk")
        eventually(lambda: re.search(r"^ +talk: info: said$", server.output, re.M), server.output)
        eventually(lambda: "tools/call talk " in server.output)
        trace = server.output.partition("Traceback")[2].partition("KeyError")[0]
        assert str(file) in trace
        assert str(ROOT / "src") not in trace  # of files between the client and the tool nobody wants to read
        Http(server.port).post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, accept="text/html")
        eventually(lambda: "send Accept: application/json, text/event-stream" in server.output)
        assert "refused 406" in server.output

        file.write_text(SERVER + "\nbroken(", encoding="utf-8")
        eventually(lambda: "the previous code goes on serving" in server.output, timeout=90)
        assert "SyntaxError" in server.output
        assert session.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        file.write_text(SERVER.replace("a + b", "a * b"), encoding="utf-8")
        eventually(lambda: re.search(r"reloaded in .* s because server\.py changed", server.output), timeout=90)
        eventually(lambda: session.call("add", a=3, b=4).result["structuredContent"] == {"result": 12})
        assert "\x1b" not in server.output


# -- terminals -------------------------------------------------------------------------------------------------


class Terminal:
    """A terminal of some width, with `enfilade dev` on it."""

    def __init__(self, folder: Path, columns: int, **variables: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.port = free_port()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            enfilade_command("dev", "server.py", "-p", str(self.port)),
            cwd=folder,
            env=environment(**variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.shown)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal ends on Linux
            while piece := os.read(self._ours, 4096):
                self._shown += piece

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._reader.join(5)
        os.close(self._ours)


@contextlib.contextmanager
def terminal(folder: Path, columns: int, **variables: str) -> Iterator[Terminal]:
    terminal = Terminal(folder, columns, **variables)
    try:
        yield terminal
    finally:
        terminal.close()


async def call(port: int) -> None:
    async with Client(f"http://127.0.0.1:{port}/mcp", mode="auto") as client:
        await client.call_tool("add", {"a": 1, "b": 2})
        await client.call_tool("talk", {})


@needs_terminal
@pytest.mark.parametrize(("columns", "no_color"), [(80, ""), (120, "1")], ids=["80", "120 without colour"])
def test_on_a_terminal(tmp_path: Path, columns: int, no_color: str) -> None:
    """Lines fit; who asks stands beside the line where there is room for it, and else above."""
    written(tmp_path)
    with terminal(tmp_path, columns, **({"NO_COLOR": no_color} if no_color else {})) as output:
        eventually(lambda: listens(output.port), output.plain, timeout=90)
        asyncio.run(call(output.port))
        eventually(lambda: "tool error" in output.plain, output.plain)
        eventually(lambda: "failed with an internal error" in output.plain)
        lines = output.plain.splitlines()
        expected = [
            line for line in lines if "File " not in line and str(tmp_path) not in line
        ]  # those are for copying
        assert max(map(len, expected)) <= columns
        assert any(line.startswith("  add    Add two numbers") and line.endswith("…") for line in lines) == (
            columns == 80
        )
        who = "stateless 2026-07-28 mcp "
        above = [line for line in lines if line.strip().startswith(f"── {who}")]
        beside = [line for line in lines if re.search(rf"tools/call add .* ok +{who}", line)]
        assert (len(above), len(beside)) == ((1, 0) if columns == 80 else (0, 1))
        coloured = re.search(r"\x1b\[(3\d|38;[\d;]+)m", output.shown)
        assert (coloured is None) == bool(no_color)
    assert output.process.returncode == 0


def listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_mistake_is_explained(tmp_path: Path) -> None:
    completed = subprocess.run(
        enfilade_command("dev", "nowhere.py"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr.startswith("enfilade: there is no file 'nowhere.py' here")
