"""Slow clients in a crowd, and honest ones beside them: the slow are all ended, and the honest are all served.

Each kind of slowness alone has its tests in `tests/transports`. Easy to get wrong: a slow client that is refused
for another reason than its slowness, or that the test itself lets go, shows nothing. So each says what the end of
its connection must look like, and holds it until that comes.
"""

import contextlib
import json
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from support.faults.servers import LOOPS
from support.harness import eventually
from support.http_client.connection import BOTH, Http, modern_headers, stateless_meta
from support.http_client.resuming_client import seeded
from support.servers.processes import ServerProcess, python_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")

# The honest clients share this process with 40 threads: between two calls of one, between its connect and its
# head, or between that and its body, a busy machine may let half a second pass. So the limits that would end an
# honest client are longer.
LIMITS = {
    "ENFILADE_HEADER_TIMEOUT": "2",
    "ENFILADE_BODY_TIMEOUT": "1",
    "ENFILADE_BODY_RATE": "1000",
    "ENFILADE_IDLE_TIMEOUT": "2",
    "ENFILADE_WRITE_TIMEOUT": "0.4",
    "ENFILADE_DISCARD_LIMIT": "16384",
}
NO_LIMITS = {
    "ENFILADE_HEADER_TIMEOUT": "600",
    "ENFILADE_BODY_TIMEOUT": "600",
    "ENFILADE_IDLE_TIMEOUT": "600",
    "ENFILADE_WRITE_TIMEOUT": "600",
    "ENFILADE_SHUTDOWN_TIMEOUT": "1",
}
COMMAND = python_command("tests/support/faults/slow_client_server.py", "{port}")

SLOW, HONEST = 40, 60
"""Slow clients, and calls of honest ones, in each round."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(COMMAND, env=LIMITS) as server:
        yield server


def post(tool: str, arguments: dict[str, Any], *more: str, length: int | None = None) -> bytes:
    """Return a call of a tool, as it goes over the wire."""
    params = {"name": tool, "arguments": arguments, "_meta": stateless_meta()}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(message).encode()
    headers = {**modern_headers(message), "accept": BOTH, "content-type": "application/json"}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    size = len(body) if length is None else length
    head = ["POST /mcp HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *lines, *more, "", ""]
    return "\r\n".join(head).encode() + body


def trickle(connection: socket.socket, chance: random.Random, piece: bytes) -> bytes:
    """Send a piece now and then until the server ends the connection; return what it said."""
    connection.settimeout(0.05 + 0.1 * chance.random())
    deadline, said = time.monotonic() + 60, b""
    while time.monotonic() < deadline:
        try:
            while part := connection.recv(65536):
                said += part
            return said
        except TimeoutError:
            with contextlib.suppress(OSError):  # the next read says what there is to say
                connection.sendall(piece)
        except OSError:
            return said
    raise AssertionError("the connection was not ended")


def slow_head(connection: socket.socket, chance: random.Random) -> None:
    head = post("echo", {"text": "x"})
    connection.sendall(head[: chance.randrange(1, head.index(b"\r\n\r\n"))])
    said = trickle(connection, chance, b"")
    assert said.startswith(b"HTTP/1.1 408 "), said


def says_nothing(connection: socket.socket, chance: random.Random) -> None:
    assert trickle(connection, chance, b"") == b""


def slow_body(connection: socket.socket, chance: random.Random) -> None:
    connection.sendall(post("echo", {"text": "x"}, length=100_000))
    assert b" 200 " not in trickle(connection, chance, b" " * chance.randrange(3))


def lingers(connection: socket.socket, chance: random.Random) -> None:
    """Idle after an answer, with empty lines that are no request."""
    connection.sendall(post("echo", {"text": "x"}))
    said = trickle(connection, chance, b"\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 ") == 1


def sends_for_ever(connection: socket.socket, chance: random.Random) -> None:
    """It is refused by its head, and goes on."""
    connection.sendall(post("echo", {"text": "x"}, length=10**9))
    said = trickle(connection, chance, bytes(4096))
    assert said == b"" or said.startswith(b"HTTP/1.1 413 "), said


def reads_nothing(connection: socket.socket, chance: random.Random) -> None:
    connection.sendall(post("large", {}))
    connection.settimeout(60)
    eventually(lambda: not is_open(connection))
    taken = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(1 << 20):
            taken += part
    assert not taken.endswith(b"}"), "it got all of its answer"


def is_open(connection: socket.socket) -> bool:
    """Whether the server still has its end of a connection."""
    ours = connection.getsockname()[1]
    states = {each.status for each in psutil.net_connections("tcp") if each.raddr and each.raddr[1] == ours}
    return bool(states & {psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT})


Kind = Callable[[socket.socket, random.Random], None]

KINDS: list[Kind] = [
    slow_head, says_nothing, slow_body, lingers, sends_for_ever, reads_nothing
]  # fmt: skip


class Crowd:
    """Slow clients, each in a thread of its own."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.failures: list[str] = []
        self.ended = 0
        kinds = [chance.choice(KINDS) for _ in range(SLOW)]
        args = [(kind, port, random.Random(chance.random())) for kind in kinds]
        self._threads = [threading.Thread(target=self._play, args=each, daemon=True) for each in args]

    def _play(
        self, kind: Callable[[socket.socket, random.Random], None], port: int, chance: random.Random
    ) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        try:
            with connection:
                connection.settimeout(60)
                connection.connect(("127.0.0.1", port))
                kind(connection, chance)
        except BaseException as error:
            self.failures.append(f"{kind.__name__}: {error!r}")
        self.ended += 1

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(90)
        assert self.failures == []
        assert self.ended == SLOW, "a connection was not ended"


@pytest.mark.parametrize("number", range(LOOPS))
def test_a_crowd_of_slow_clients(server: ServerProcess, number: int) -> None:
    chance = seeded()
    process = psutil.Process(server.pid)
    with Crowd(server.port, chance):
        session = Http(server.port).initialize()
        for call in range(HONEST):
            assert session.call("echo", text=str(call)).result["structuredContent"] == {"result": str(call)}
            assert Http(server.port).modern_call("echo", text=str(call)).status == 200
    eventually(lambda: len(process.net_connections("tcp")) <= 2, "the server holds connections that are over")


@pytest.mark.parametrize("number", range(LOOPS))
def test_slow_clients_do_not_hold_up_the_end(number: int) -> None:
    """No limit ends them here, only the end of the server: within `shutdown_timeout` and what draining takes."""
    chance = seeded()
    with ServerProcess(COMMAND, env=NO_LIMITS) as server:
        connections = []
        for _ in range(SLOW):
            connections.append(socket.create_connection(("127.0.0.1", server.port), 60))
            head = post("echo", {"text": "x"})
            whole = [head[: chance.randrange(len(head))], post("echo", {}, length=10**6), post("large", {}), b""]
            connections[-1].sendall(chance.choice(whole))
        assert Http(server.port).modern_call("echo", text="x").status == 200
        server.process.terminate()
        assert server.process.wait(20) in (0, -signal.SIGTERM)
        for connection in connections:
            connection.close()
