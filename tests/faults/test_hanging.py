"""Workers that hang, stopped or with a blocked event loop, are replaced; those that only seem to hang are not.

The limit is a few seconds here. The easy thing to get wrong is time that passes for everybody, as when a machine
is suspended: nobody hangs then, and to kill all workers would end every connection for nothing.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.cluster.worker_processes import (
    SERVER,
    all_seen,
    answers,
    environment,
    served,
    serving_process,
    workers,
    written,
)
from support.faults.servers import LOOPS
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, free_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes cannot be stopped there")

LIMIT = 2.0

TEXT = f"""{SERVER}
import time


@app.tool
async def block(seconds: float) -> str:
    \"\"\"Keep the event loop from everything else.\"\"\"
    time.sleep(seconds)
    return "done"


if __name__ != "__main__":  # in a worker
    time.sleep(float(os.environ.get("TEST_IMPORT", "0")))
if __name__ == "__main__":
    app.run("http", port=int(os.environ["TEST_PORT"]), workers=2)
"""


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[ServerProcess]:
    port = free_port()
    env = {**environment(port), "ENFILADE_WORKER_TIMEOUT": str(LIMIT), **variables}
    command = [sys.executable, str(written(folder, TEXT))]
    with ServerProcess(command, port=port, env=env, start_timeout=90) as server:
        try:
            yield server
        finally:
            for pid in [server.pid, *workers(server)]:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("hanging")) as server:
        yield server


def connected_to(server: ServerProcess, pid: int) -> socket.socket:
    """Return an open connection to one worker, which has been used."""
    for _ in range(200):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        theirs = {each.raddr.port for each in psutil.Process(pid).net_connections("tcp") if each.raddr}
        if connection.getsockname()[1] in theirs:
            return connection
        connection.close()
    raise AssertionError("no connection reached that worker")


def wait_until_replaced(server: ServerProcess, hung: set[int]) -> None:
    eventually(lambda: not (workers(server) & hung), "a worker that hangs is still there", timeout=60)
    assert all_seen(server, 2).isdisjoint(hung)


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_stopped_worker_is_replaced_and_its_connections_end(server: ServerProcess, round: int) -> None:
    session = Http(server.port).initialize()
    before = all_seen(server, 2)
    hung = sorted(before)[round % 2]
    connection = connected_to(server, hung)
    os.kill(hung, signal.SIGSTOP)
    wait_until_replaced(server, {hung})
    assert before - {hung} <= workers(server), "the other one was left alone"
    try:
        assert connection.recv(1) == b""
    except ConnectionError:
        pass
    finally:
        connection.close()
    assert f"worker {hung} has not answered for {LIMIT:g} seconds" in server.output
    assert served(session)


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_whose_event_loop_is_blocked_is_replaced(server: ServerProcess, round: int) -> None:
    """The call that blocks it ends with its connection, and others are served meanwhile."""
    session = Http(server.port).initialize()
    before = all_seen(server, 2)
    with pytest.raises((ConnectionError, OSError)):
        session.call("block", seconds=3600.0)
    eventually(lambda: len(before & workers(server)) == 1, timeout=60)
    assert len(all_seen(server, 2) & before) == 1
    assert served(session)


@pytest.mark.parametrize("round", range(LOOPS))
def test_all_workers_may_hang_at_once(server: ServerProcess, round: int) -> None:
    session = Http(server.port).initialize()
    before = all_seen(server, 2)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    wait_until_replaced(server, before)
    assert served(session)


@pytest.mark.parametrize("who", ["parent", "parent and workers"])
@pytest.mark.parametrize("round", range(LOOPS))
def test_a_pause_of_the_parent_kills_nobody(server: ServerProcess, round: int, who: str) -> None:
    """As when the machine was suspended, or stopped with Ctrl-Z."""
    before = all_seen(server, 2)
    paused = sorted(before) if who == "parent and workers" else []
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3 * LIMIT if paused else 0)  # so that they have been asked and have not answered
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(1.5 * LIMIT)
    for pid in [server.pid, *paused]:
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
    time.sleep(0.5)
    assert workers(server) == before
    assert answers(Http(server.port).initialize())


def test_a_worker_that_is_busy_now_and_then_goes_on(server: ServerProcess) -> None:
    before = all_seen(server, 2)
    session = Http(server.port).initialize()
    for _ in range(4):
        assert session.call("block", seconds=LIMIT / 3).status == 200
    assert workers(server) == before


def test_a_slow_import_is_no_hang(tmp_path: Path) -> None:
    with serving(tmp_path, TEST_IMPORT=str(1.2 * LIMIT)) as server:
        assert serving_process(server)[1] == "first"
        assert "has not started" not in server.output


def test_a_worker_that_does_not_start_is_killed(tmp_path: Path) -> None:
    """After ten times the limit. The first one ends the server with it, as all that cannot start."""
    port = free_port()
    done = subprocess.run(
        [sys.executable, str(written(tmp_path, TEXT))],
        env={**os.environ, **environment(port), "ENFILADE_WORKER_TIMEOUT": "0.2", "TEST_IMPORT": "6"},
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert done.returncode not in (0, None)
    assert "has not started for 2 seconds" in done.stderr
