"""Files that serve by several processes, or by one that is renewed, and what can be seen of these from outside.

Easy to get wrong: a worker's death is noticed by its parent a moment later, so tests ask again until what they
wait for is there, and leave "it did not happen" to their time limit.
"""

import sys
import tempfile
from pathlib import Path

import psutil

from support.harness import eventually
from support.http_client.connection import Http, HttpSession
from support.servers.processes import ROOT, ServerProcess, enfilade_command, free_port

SERVER = """
import os
from pathlib import Path
from enfilade import MCPApp

app = MCPApp(name="Working")


@app.tool
async def place() -> str:
    \"\"\"Say which process and which code this is.\"\"\"
    return f"{os.getpid()} first"

"""

GUARDED = f"""{SERVER}
if __name__ == "__main__":
    app.run("http", port=int(os.environ["TEST_PORT"]), workers=3)
"""

TWO = GUARDED.replace("workers=3", "workers=2")


def environment(port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT / "src"),
        "NO_COLOR": "1",
        "TEST_PORT": str(port),
        "TMPDIR": tempfile.gettempdir(),
        "XDG_STATE_HOME": tempfile.gettempdir(),  # where the private store is
    }


def written(folder: Path, text: str) -> Path:
    """Return a file with this text, in a project of its own."""
    (folder / "pyproject.toml").touch()
    file = folder / "working.py"
    file.write_text(text, encoding="utf-8")
    return file


def script(file: Path) -> ServerProcess:
    port = free_port()
    return ServerProcess([sys.executable, str(file)], port=port, env=environment(port), start_timeout=90)


def command(file: Path, *options: str) -> ServerProcess:
    port = free_port()
    words = enfilade_command("run", str(file), "-t", "http", "-p", "{port}", *options)
    return ServerProcess(words, port=port, env=environment(port), start_timeout=90)


def serving_process(server: ServerProcess) -> tuple[int, str]:
    """Return which process and which code serves a new connection."""
    pid, code = Http(server.port).modern_call("place").result["structuredContent"]["result"].split()
    return int(pid), code


def workers(server: ServerProcess) -> set[int]:
    """Return the process ids of the workers that live."""
    children = psutil.Process(server.pid).children()
    return {child.pid for child in children if is_worker(child)}


def is_worker(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and any(
            "spawn_main" in word for word in process.cmdline()
        )
    except psutil.NoSuchProcess:
        return False


def all_seen(server: ServerProcess, count: int) -> set[int]:
    """Wait until so many workers have answered, and return them."""
    seen: set[int] = set()

    def look() -> bool:
        seen.add(serving_process(server)[0])
        seen.intersection_update(workers(server))
        return len(seen) == count

    eventually(look, "not every worker answers", timeout=90)
    return seen


def served(session: HttpSession) -> bool:
    """Whether a session is served; a connection that the killed worker had accepted is lost, and not more."""
    try:
        return answers(session)
    except ConnectionError:
        return answers(session)


def answers(session: HttpSession) -> bool:
    return not session.call("place").result.get("isError", False)
