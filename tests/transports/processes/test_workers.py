"""Several workers: real processes that are killed, replaced and stopped, and files that cannot have any."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from support.cluster.worker_processes import (
    GUARDED,
    SERVER,
    TWO,
    all_seen,
    answers,
    command,
    environment,
    script,
    served,
    serving_process,
    workers,
    written,
)
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, free_port

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

# Each fails in a way of its own when a worker imports it, or before.
CANNOT: dict[str, tuple[str, str]] = {
    "no guard": (
        f"{SERVER}\napp.run('http', port=int(os.environ['TEST_PORT']), workers=3)\n",
        'put the call of run() under `if __name__ == "__main__":`',
    ),
    "in a function": (
        "def make():\n    from enfilade import MCPApp\n    return MCPApp()\n\n"
        "if __name__ == '__main__':\n    make().run('http', port=0, workers=2)\n",
        "make it at the top level of a file",
    ),
    "in the main block": (
        "if __name__ == '__main__':\n    from enfilade import MCPApp\n    app = MCPApp()\n"
        "    app.run('http', port=0, workers=2)\n",
        "makes no 'app' when it is imported",
    ),
    "a failing lifespan": (
        "from contextlib import asynccontextmanager\nfrom enfilade import MCPApp\n"
        "@asynccontextmanager\nasync def lifespan(app):\n    raise RuntimeError('no oven')\n    yield\n"
        "app = MCPApp(lifespan=lifespan)\n"
        "if __name__ == '__main__':\n    app.run('http', port=0, workers=2)\n",
        "no oven",
    ),
    "a store of its own": (
        "from enfilade import MCPApp\nfrom enfilade.state.open import open_store\n"
        "app = MCPApp(store=open_store('memory://'))\n"
        "if __name__ == '__main__':\n    app.run('http', port=0, workers=2)\n",
        "a store that other processes cannot share; give a URL",
    ),
}


def private_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("enfilade/workers-*"))


@pytest.mark.parametrize(
    "start", [script, lambda file: command(file, "--workers", "3")], ids=["script", "command"]
)
def test_several_processes_serve_and_share_a_session(
    tmp_path: Path, start: Callable[[Path], ServerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a store that they share and nobody else can read, which goes with them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with start(written(tmp_path, GUARDED)) as server:
        session = Http(server.port).initialize()
        for _ in range(9):
            assert answers(session)
        all_seen(server, 3)
        (private,) = private_folders()
        if os.name == "posix":
            assert private.stat().st_mode & 0o777 == 0o700
        assert server.stop(30) == 0 or os.name == "nt"
    if os.name == "posix":
        assert private_folders() == set()


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with script(written(tmp_path, GUARDED)) as server:
        session = Http(server.port).initialize()
        before = all_seen(server, 3)
        killed = min(before)
        psutil.Process(killed).kill()
        for _ in range(5):
            assert served(session)
        after = all_seen(server, 3)
        assert len(after & before) == 2
        assert killed not in after
        assert served(session)


@posix
def test_what_the_workers_share_is_deleted_and_one_of_them_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-310: sessions of before and after are served by both; somebody has tidied up."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with script(written(tmp_path, TWO)) as server:
        before = all_seen(server, 2)
        old = Http(server.port).initialize()
        for file in tmp_path.glob("enfilade/workers-*/state.db*"):
            file.unlink(missing_ok=True)  # SQLite removes one itself
        psutil.Process(min(before)).kill()
        all_seen(server, 2)
        for session in [old, *(Http(server.port).initialize() for _ in range(16))]:
            for _ in range(4):  # each on a new connection, which either may accept
                assert session.call("place").status == 200


def test_all_workers_may_be_killed_at_once(tmp_path: Path) -> None:
    with script(written(tmp_path, TWO)) as server:
        session = Http(server.port).initialize()
        before = all_seen(server, 2)
        for pid in before:
            psutil.Process(pid).kill()
        assert all_seen(server, 2).isdisjoint(before)
        assert served(session)


@posix
def test_workers_end_when_their_parent_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would hold the port for ever otherwise."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with script(written(tmp_path, TWO)) as server:
        orphans = [psutil.Process(pid) for pid in all_seen(server, 2)]
        assert len(private_folders()) == 1
        server.kill()
        assert psutil.wait_procs(orphans, timeout=60)[1] == []
        assert private_folders() == set(), "the last worker removes what they shared"


@posix
def test_what_killed_servers_have_left_goes_at_the_next_start_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left to remove it if parent and workers are killed; a server that lives keeps what it has."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = written(tmp_path, TWO)
    with script(file) as living:
        all_seen(living, 2)
        (kept,) = private_folders()
        with script(file) as server:
            all_seen(server, 2)
            (left,) = private_folders() - {kept}
            victims = [psutil.Process(pid) for pid in (server.pid, *workers(server))]
            for victim in victims:
                victim.suspend()  # so that none sees another's end
            for victim in victims:
                victim.kill()
            psutil.wait_procs(victims[1:], timeout=60)
        assert private_folders() == {kept, left}
        session = Http(living.port).initialize()
        with script(file) as next_one:
            all_seen(next_one, 2)
            assert left not in private_folders()
            assert kept in private_folders()
        assert answers(session)
        assert private_folders() == {kept}


@posix
def test_a_hangup_replaces_all_workers_and_no_session_is_lost(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    with script(file) as server:
        session = Http(server.port).initialize()
        before = all_seen(server, 2)
        file.write_text(TWO.replace("first", "second"), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: served(session) and workers(server).isdisjoint(before), timeout=90)
        assert all_seen(server, 2).isdisjoint(before)
        assert serving_process(server)[1] == "second"


@posix
def test_new_code_that_fails_leaves_the_old_serving(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    with script(file) as server:
        before = all_seen(server, 2)
        file.write_text("raise RuntimeError('burnt')\n", encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the other workers go on serving" in server.output)
        assert "burnt" in server.output
        assert all_seen(server, 2) == before


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_ends_with_a_reason(tmp_path: Path, case: str) -> None:
    text, said = CANNOT[case]
    port = free_port()
    done = subprocess.run(
        [sys.executable, str(written(tmp_path, text))],
        env={**os.environ, **environment(port)},
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert done.returncode not in (0, None)
    assert said in done.stderr


def test_a_worker_says_which_tools_it_lacks(tmp_path: Path) -> None:
    """What the main block adds is there in the parent alone, which serves nothing."""
    text = TWO.replace("    app.run", "    app.add_tool(lambda: 1, name='late')\n    app.run")
    with script(written(tmp_path, text)) as server:
        eventually(lambda: "finds no tool late in it" in server.output)
        assert serving_process(server)[1] == "first"


def test_each_line_of_a_worker_has_its_process_id(tmp_path: Path) -> None:
    """Workers and parent write to one stderr; the parent's lines have no process id."""
    with script(written(tmp_path, TWO)) as server:
        pids = eventually(lambda: len(found := workers(server)) == 2 and found)
        for pid in pids:
            eventually(lambda pid=pid: f" INFO enfilade[{pid}]: serving" in server.output)
        assert " INFO enfilade: listening at " in server.output
        assert f"[{server.pid}]" not in server.output
        assert "uvicorn.error" not in server.output


def test_settings_given_to_run_reach_the_workers(tmp_path: Path) -> None:
    text = TWO.replace("workers=2", "workers=2, path='/elsewhere'")
    with script(written(tmp_path, text)) as server:
        reply = Http(server.port, "/elsewhere").modern_call("place")
        assert reply.status == 200
        assert Http(server.port).modern_call("place").status == 404


def test_the_app_may_be_in_a_module_that_the_script_imports(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SERVER, encoding="utf-8")
    _, guard, rest = TWO.partition("if __name__")
    text = f"import os\nfrom shop import app as mine\n{guard}{rest.replace('app.run', 'mine.run')}"
    with script(written(tmp_path, text)) as server:
        assert all_seen(server, 2) == workers(server)
        assert serving_process(server)[1] == "first"


@pytest.mark.parametrize("module", ["shop", "shop.server"], ids=["package", "module-of-a-package"])
def test_the_script_may_be_a_module_that_python_runs(tmp_path: Path, module: str) -> None:
    """`python -m`: its relative imports work in the workers, too."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "beside.py").write_text("WORKERS = 2\n", encoding="utf-8")
    file = package / ("__main__.py" if module == "shop" else "server.py")
    file.write_text("from .beside import WORKERS\n" + TWO.replace("=2", "=WORKERS"), encoding="utf-8")
    port = free_port()
    env = environment(port)
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    with ServerProcess([sys.executable, "-m", module], port=port, env=env, start_timeout=90) as server:
        assert all_seen(server, 2) == workers(server)
        assert serving_process(server)[1] == "first"


@posix
def test_one_that_a_shell_has_put_into_the_background_ends_at_ctrl_c_as_well(tmp_path: Path) -> None:
    """A script's `server &` starts it with SIGINT ignored, which a server of one process does not keep to."""
    file = written(tmp_path, TWO)
    port = free_port()
    words = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, str(file)]
    with ServerProcess(words, port=port, env=environment(port), start_timeout=90) as server:
        eventually(lambda: len(workers(server)) == 2)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
