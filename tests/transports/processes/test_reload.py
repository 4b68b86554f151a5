"""Reloading: a file that changes is served anew, sessions live on, and broken code ends nothing."""

from pathlib import Path

import psutil

from enfilade.loading import project_folder
from enfilade.transports.processes.supervisor import _modification_times
from support.cluster.worker_processes import (
    GUARDED,
    SERVER,
    command,
    script,
    served,
    serving_process,
    workers,
    written,
)
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess


def test_a_file_that_changes_is_loaded_anew_and_sessions_live_on(tmp_path: Path) -> None:
    """Also after a text that is no Python, which leaves what was there before."""
    (tmp_path / "beside.py").write_text("CODE = 'first'\n", encoding="utf-8")
    text = SERVER.replace("import os\n", "import os\nimport beside\n").replace("first", "{beside.CODE}")
    with command(written(tmp_path, text), "--reload") as server:
        session = Http(server.port).initialize()
        assert serving_process(server)[1] == "first"
        (tmp_path / "beside.py").write_text("CODE = = 'broken'\n", encoding="utf-8")
        eventually(lambda: "the previous code goes on serving" in server.output, timeout=90)
        assert "invalid syntax" in server.output
        assert serving_process(server)[1] == "first"
        assert served(session)
        (tmp_path / "beside.py").write_text("CODE = 'third'\n", encoding="utf-8")
        eventually(lambda: serving_process(server)[1] == "third", timeout=90)
        assert served(session)


def test_a_server_that_dies_while_its_code_is_broken_waits_for_a_change(tmp_path: Path) -> None:
    file = written(tmp_path, SERVER)
    with command(file, "--reload") as server:
        pid, _ = serving_process(server)
        file.write_text("broken(\n", encoding="utf-8")
        eventually(lambda: "the previous code goes on serving" in server.output, timeout=90)
        psutil.Process(pid).kill()
        eventually(lambda: not workers(server))
        assert server.process.poll() is None, "the parent waits for a change"
        file.write_text(SERVER.replace("first", "mended"), encoding="utf-8")
        eventually(lambda: listens(server) and serving_process(server)[1] == "mended", timeout=90)
        (worker,) = workers(server)
        assert worker != pid


def listens(server: ServerProcess) -> bool:
    return bool(workers(server)) and server.output.count(": serving") > 1


def test_reload_from_a_script(tmp_path: Path) -> None:
    file = written(tmp_path, GUARDED.replace("workers=3", "reload=True"))
    with script(file) as server:
        assert serving_process(server)[1] == "first"
        file.write_text(file.read_text(encoding="utf-8").replace("first", "second"), encoding="utf-8")
        eventually(lambda: serving_process(server)[1] == "second", timeout=90)


def test_only_the_project_is_watched(tmp_path: Path) -> None:
    """Its Python files, down to every folder in which somebody writes."""
    for name in ("a/b/deep.py", "top.py", ".hidden/x.py", "node_modules/x.py", "env/x.py", "a/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert set(_modification_times(tmp_path)) == {str(tmp_path / "a/b/deep.py"), str(tmp_path / "top.py")}
    assert project_folder(tmp_path / "a/b/deep.py") == (tmp_path / "a/b").resolve()
    (tmp_path / "pyproject.toml").touch()
    assert project_folder(tmp_path / "a/b/deep.py") == tmp_path.resolve()
