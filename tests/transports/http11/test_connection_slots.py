"""`max_connections`: who makes room for a new connection, and that probes get in whatever the others do.

Easy to get wrong: the server looks at its connections now and then, so it is not known yet since when a
connection is idle that has just become so. What has to be known is waited for.
"""

import contextlib
import logging
import resource
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from enfilade.timings import Timings
from enfilade.transports.http11 import connection_slots
from enfilade.transports.http11.connection_slots import MIN_RESERVE, connection_limit, network_of
from enfilade.transports.http11.connection_timeouts import Phase
from support.harness import eventually
from support.http_client.raw_http import Client, request
from support.servers.limited_server import UNIT, Limited
from support.servers.processes import ServerProcess
from transports.http11.test_connection_timeouts import loop

__all__ = ["loop"]  # a fixture

HALF = b"GET /echo HTTP/1.1\r\nHost:"
TIMEOUTS = ("header_timeout", "body_timeout", "idle_timeout", "write_timeout")
PROBES = frozenset(("/healthz",))


def full(loop: str, count: int, **limits: Any) -> Limited:
    """Return a server of so many connections, which looks at them often."""
    limits = {"write_timeout": UNIT, "header_timeout": 40 * UNIT, "max_reserve": MIN_RESERVE, **limits}
    return Limited(loop, max_connections=count, probe_paths=PROBES, **limits)


def known_idle(server: Limited, count: int) -> None:
    """Wait until the server knows of so many idle connections."""
    connections = server.state.connections
    eventually(lambda: [each.progress and each.progress.phase for each in connections].count(Phase.IDLE) == count)


def at_work(server: Limited, count: int) -> list[Client]:
    """Return connections with a request under way."""
    clients = [server.client() for _ in range(count)]
    for client in clients:
        client.send("/held")
    eventually(lambda: server.app.seen == ["/held"] * count)
    return clients


class TestRoom:
    def test_the_one_that_was_idle_for_longest_makes_it(self, loop: str) -> None:
        with full(loop, 3) as server:
            clients = []
            for number in range(3):
                clients.append(server.client())
                assert clients[-1].ask("/echo") == (200, b"")
                known_idle(server, number + 1)
            assert server.client().ask("/echo") == (200, b"")
            assert clients[0].read_to_end() == b"", "closed in good order"
            for client in clients[1:]:
                assert client.ask("/echo") == (200, b"")

    def test_one_that_has_just_fallen_idle_makes_it(self, loop: str) -> None:
        """Between two sweeps, which are a second apart with long timeouts."""
        with full(loop, 3, **dict.fromkeys(TIMEOUTS, 3600.0)) as server:
            at_work(server, 1)
            idle = [server.client() for _ in range(2)]
            for client in idle:
                assert client.ask("/echo") == (200, b"")
            assert server.client().ask("/echo", method="POST", body=b"{}") == (200, b"{}")
            assert not any(each.in_reserve for each in server.state.connections)
            assert server.connections() == 3

    def test_before_it_one_that_is_slow_with_its_head(self, loop: str) -> None:
        with full(loop, 2, timings=Timings(eviction_head=UNIT)) as server:
            idle, half = server.client(), server.client()
            assert idle.ask("/echo") == (200, b"")
            half.socket.sendall(HALF)
            known_idle(server, 1)
            slow = next(each for each in server.state.connections if each.is_reading_head)
            eventually(lambda: slow.progress and slow._slots.sweep.clock - slow.progress.since > 2 * UNIT)
            assert server.client().ask("/echo") == (200, b"")
            with contextlib.suppress(ConnectionResetError):
                assert half.read_to_end() == b""
            assert idle.ask("/echo") == (200, b"")

    def test_one_at_work_never_does(self, loop: str) -> None:
        with full(loop, 3) as server:
            busy = at_work(server, 3)
            late = server.client()
            late.send("/echo", method="POST", body=b"{}")
            found = late.response()
            assert (found.status, found.headers["retry-after"], found.headers["connection"]) == (
                503,
                "1",
                "close",
            )
            assert found.headers["content-type"] == "application/json"
            assert b"The server has no connection left" in found.read()
            assert late.read_to_end() == b""
            server.app.go.set()
            assert [client.response().read() for client in busy] == [b"held"] * 3
            known_idle(server, 3)
            assert server.client().ask("/echo", method="POST", body=b"{}") == (200, b"{}")

    def test_who_waits_above_the_limit_is_served_if_there_is_room_by_then(self, loop: str) -> None:
        with full(loop, 2) as server:
            busy = at_work(server, 2)
            late = server.client()
            late.socket.sendall(HALF)
            eventually(lambda: [each.in_reserve for each in server.state.connections].count(True) == 1)
            reset(busy[0])
            eventually(lambda: server.connections() == 2)
            late.socket.sendall(b" x\r\n\r\n")
            assert late.response().status == 200
            assert [each.in_reserve for each in server.state.connections] == [False, False]


class TestBodies:
    """A body that comes slowly, or that nobody wants, holds no place that somebody else could use."""

    TIMINGS = Timings(eviction_body=2 * UNIT)

    @staticmethod
    def sending(server: Limited, path: str, *sizes: int) -> list[Client]:
        """Return clients that have sent so much of a body, and wait until the server has known it for a while."""
        clients = [server.client() for _ in sizes]
        for client in clients:
            client.socket.sendall(request(path, "Content-Length: 60000", method="POST"))
        eventually(lambda: len(server.app.seen) == len(sizes))
        for client, size in zip(clients, sizes, strict=True):
            client.socket.sendall(b"x" * size)
        clock = server_clock(server)
        eventually(lambda: server_clock(server) - clock > 4 * UNIT)
        return clients

    def test_the_slowest_makes_room(self, loop: str) -> None:
        with full(loop, 3, body_rate=0, timings=self.TIMINGS) as server:
            clients = self.sending(server, "/record", 500, 100, 1000)
            assert server.client().ask("/echo", method="POST", body=b"{}") == (200, b"{}")
            with contextlib.suppress(ConnectionResetError):
                assert clients[1].read_to_end() == b""
            for client, rest in ((clients[0], 59_500), (clients[2], 59_000)):
                client.socket.sendall(b"x" * rest)
                assert client.response().read() == b"60000"

    def test_one_that_is_fast_does_not(self, loop: str) -> None:
        with full(loop, 1, body_rate=0, evictable_rate=10, timings=self.TIMINGS) as server:
            (client,) = self.sending(server, "/record", 50_000)
            assert server.client().ask("/echo")[0] == 503
            client.socket.sendall(b"x" * 10_000)
            assert client.response().read() == b"60000"

    def test_one_that_nobody_wants_counts_as_idle(self, loop: str) -> None:
        with full(loop, 2, discard_limit=65536, body_rate=0, timings=self.TIMINGS) as server:
            clients = [*at_work(server, 1), server.client()]
            clients[1].socket.sendall(request("/unread", "Content-Length: 60000", method="POST") + b"x")
            assert clients[1].response().read() == b"not wanted"
            assert server.client().ask("/echo", method="POST", body=b"{}") == (200, b"{}")
            with contextlib.suppress(ConnectionResetError):
                assert clients[1].read_to_end() == b""


class TestProbes:
    def test_are_answered_above_the_limit(self, loop: str) -> None:
        with full(loop, 2) as server:
            at_work(server, 2)
            for _ in range(3 * MIN_RESERVE):
                probe = server.client()
                probe.send("/healthz?from=somewhere")
                found = probe.response()
                assert (found.status, found.headers["connection"]) == (200, "close")
                assert probe.read_to_end() == b""

    def test_also_when_the_reserve_is_full_of_half_heads(self, loop: str) -> None:
        with full(loop, 2) as server:
            at_work(server, 2)
            for _ in range(3 * MIN_RESERVE):
                server.client().socket.sendall(HALF)
            assert server.client().ask("/healthz") == (200, b"")
            assert server.connections() <= 2 + MIN_RESERVE

    def test_also_when_it_is_full_of_refused_clients_that_go_on_sending(self, loop: str) -> None:
        with full(loop, 2) as server:
            at_work(server, 2)
            for _ in range(3 * MIN_RESERVE):
                server.client().socket.sendall(request("/echo", "Content-Length: 100000", method="POST"))
            assert server.client().ask("/healthz") == (200, b"")
            assert server.connections() <= 2 + MIN_RESERVE

    def test_that_are_slow_to_ask_have_a_large_reserve(self, loop: str) -> None:
        """As far as the limit of descriptors allows."""
        with full(loop, 2, max_reserve=256) as server:
            at_work(server, 2)
            probe = server.client()
            eventually(lambda: server.connections() == 3)
            for _ in range(100):
                server.client().socket.sendall(HALF)
            assert probe.ask("/healthz") == (200, b"")

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has one address")
    def test_a_flood_from_one_network_takes_no_place_of_another(self, loop: str) -> None:
        with full(loop, 2) as server:
            at_work(server, 2)
            probe = socket.create_connection(("127.0.0.1", server.port), 30, source_address=("127.0.0.2", 0))
            eventually(lambda: server.connections() == 3)
            for _ in range(5 * MIN_RESERVE):
                server.client().socket.sendall(HALF)
            eventually(lambda: server.connections() == 2 + MIN_RESERVE)
            with probe:
                probe.sendall(request("/healthz"))
                assert probe.recv(100).startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [("10.0.0.1", "10.0.0.2", False), ("2001:db8::1", "2001:db8::2", True), ("fe80::1%eth0", "fe80::2", True),
         ("2001:db8::1", "2001:db8:0:1::1", False), ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False)],
    )  # fmt: skip
    def test_what_a_network_is(self, one: str, other: str, same: bool) -> None:
        assert (network_of((one, 1)) == network_of((other, 2))) is same
        assert network_of(None) is None

    def test_who_waits_above_the_limit_has_little_time(self, loop: str) -> None:
        with full(loop, 1, timings=Timings(reserve_head=UNIT)) as server:
            at_work(server, 1)
            half = server.client()
            half.socket.sendall(HALF)
            assert half.response().status == 408


class TestTheLimit:
    @pytest.mark.parametrize(
        ("soft", "wanted", "limit"),
        [(64, 0, 20), (1024, 0, 874), (1_000_000, 0, 65_536), (resource.RLIM_INFINITY, 0, 65_536), (20, 0, 4),
         (1024, 100, 100), (64, 1000, 20)],
    )  # fmt: skip
    def test_it_follows_from_that_of_descriptors(
        self,
        soft: int,
        wanted: int,
        limit: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(connection_slots, "_open_descriptors", lambda: 20)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        assert connection_limit(wanted, max_reserve=256) == limit
        assert ("max_connections is 1000, but" in caplog.text) == (wanted == 1000)

    def test_open_descriptors_are_counted(self, tmp_path: Path) -> None:
        before = connection_slots._open_descriptors()
        with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
            assert connection_slots._open_descriptors() == before + 2
        assert before == pytest.approx(psutil.Process().num_fds(), abs=3)

    def test_that_it_is_reached_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "enfilade.transports"), full("asyncio", 1) as server:
            at_work(server, 1)
            for _ in range(5):
                assert server.client().ask("/echo")[0] == 503
        assert [record.getMessage() for record in caplog.records if "max_connections" in record.getMessage()] == [
            "all connections are at work, and new ones get 503 (max_connections is 1)"
        ]


SERVER = """
import asyncio, resource, sys
if sys.argv[2] == "asyncio":
    sys.modules["uvloop"] = None
from enfilade import MCPApp

app = MCPApp("scarce")
held = []


def use_up_all():
    try:
        while True:
            held.append(open(__file__))
    except OSError:
        asyncio.get_running_loop().call_later(3, lambda: [held.pop().close() for _ in list(held)])


@app.tool
async def use_up() -> None:
    "Open files until there are no more, and close them after three seconds."
    asyncio.get_running_loop().call_later(0.1, use_up_all)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    app.run(transport="http", port=int(sys.argv[1]))
"""


@pytest.fixture
def descriptor_limited_server(loop: str, tmp_path: Path) -> Any:
    script = tmp_path / "scarce.py"
    script.write_text(SERVER)
    with ServerProcess([sys.executable, str(script), "{port}", loop]) as server:
        yield server


def test_half_heads_that_would_take_all_descriptors(descriptor_limited_server: ServerProcess) -> None:
    """150 of them, where 64 descriptors are allowed: probes are answered, and calls too once the old ones go."""
    clients = [Client(descriptor_limited_server.port) for _ in range(150)]
    for client in clients:
        with contextlib.suppress(OSError):
            client.socket.sendall(HALF)
    for _ in range(5):
        status, _ = eventually(lambda: answered(descriptor_limited_server.port, "/healthz"))
        assert status == 200
    eventually(
        lambda: answered(descriptor_limited_server.port, "/nothing")[0] == 404, "requests are refused for ever"
    )
    for client in clients:
        client.close()
    assert descriptor_limited_server.output.count("cannot accept") <= 1


def test_no_descriptor_is_left(descriptor_limited_server: ServerProcess) -> None:
    """The application has opened files beyond all reason: no flood of lines, no spinning, and then it goes on."""
    from support.http_client.connection import Http

    session = Http(descriptor_limited_server.port).initialize()
    assert session.call("use_up").status == 200
    process = psutil.Process(descriptor_limited_server.pid)
    eventually(lambda: process.num_fds() >= 64)
    clients = []
    before = process.cpu_times()
    for _ in range(30):
        with contextlib.suppress(OSError):
            clients.append(Client(descriptor_limited_server.port))
    eventually(lambda: process.num_fds() < 50)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 1.5, "it spins"
    eventually(lambda: answered(descriptor_limited_server.port, "/healthz")[0] == 200)
    assert len(descriptor_limited_server.output.splitlines()) < 20, descriptor_limited_server.output
    for client in clients:
        client.close()


def server_clock(server: Limited) -> float:
    """Seconds that the server has run, as its sweep counts them."""
    clock: float = next(iter(server.state.connections))._slots.sweep.clock
    return clock


def reset(client: Client) -> None:
    """Leave without the server being able to doubt it."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def answered(port: int, path: str) -> tuple[int, bytes]:
    """Return the answer to a request on a new connection; status 0 if the connection was closed without one."""
    client = Client(port)
    try:
        return client.ask(path)
    except OSError:
        return 0, b""
    finally:
        client.close()
