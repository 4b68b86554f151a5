"""Slow clients: each limit of a connection, over real sockets, on both event loops.

Easy to get wrong: a limit that ends what it should not. So beside each client that is too slow there is one that
is slow for a good reason, and is served.
"""

import io
import logging
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from enfilade.transports.http11 import protocol
from enfilade.transports.http11.connection_timeouts import ConnectionLimits
from support.harness import eventually
from support.http_client.raw_http import Client, request
from support.servers.limited_server import LARGE, UNIT, Limited, small_reader

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
HEAD = b"POST /record HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def trickle(client: Client, piece: bytes, pause: float = UNIT / 4) -> Iterator[None]:
    """Send a piece again and again until the server closes the connection."""
    client.socket.settimeout(30)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.socket.sendall(piece)
        except OSError:
            return
        yield
        time.sleep(pause)
    raise AssertionError("the connection was not closed")


def check_timed_out(client: Client) -> None:
    found = client.response()
    assert (found.status, found.headers["connection"]) == (408, "close")
    assert found.read() == b"The request did not become complete in time."
    assert client.read_to_end() == b""


class TestHeads:
    @pytest.mark.usefixtures("short_linger")
    def test_a_head_that_is_not_completed(self, loop: str) -> None:
        with Limited(loop, header_timeout=UNIT) as server:
            client = server.client()
            client.socket.sendall(b"GET /echo HTTP/1.1\r\nHost:")
            check_timed_out(client)
            eventually(lambda: server.connections() == 0)
            assert server.app.seen == []

    @pytest.mark.usefixtures("short_linger")
    def test_one_that_comes_byte_by_byte(self, loop: str) -> None:
        with Limited(loop, header_timeout=UNIT) as server:
            client = server.client()
            client.socket.sendall(b"GET /echo HTTP/1.1\r\nX: ")
            for _ in trickle(client, b"y"):
                if server.connections() == 0:
                    break
            assert server.app.seen == []

    def test_a_connection_that_says_nothing_gets_no_response(self, loop: str) -> None:
        """The client would take it for the response to its next request."""
        with Limited(loop, header_timeout=UNIT) as server:
            assert server.client().read_to_end() == b""

    @pytest.mark.usefixtures("short_linger")
    def test_of_a_connection_that_was_used(self, loop: str) -> None:
        with Limited(loop, header_timeout=UNIT) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")
            client.socket.sendall(b"G")
            check_timed_out(client)

    def test_a_slow_head_that_is_in_time_is_served(self, loop: str) -> None:
        with Limited(loop, header_timeout=30 * UNIT) as server:
            client = server.client()
            for part in (b"GET /ec", b"ho HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"):
                client.socket.sendall(part)
                time.sleep(UNIT)
            assert client.response().status == 200

    def test_behind_a_request_under_way_it_has_time(self, loop: str) -> None:
        """A response is not cut off for what comes behind its request."""
        with Limited(loop, header_timeout=UNIT) as server:
            client = server.client()
            client.send("/held")
            eventually(lambda: server.app.seen == ["/held"])
            client.socket.sendall(b"GET /echo HT")
            sweeps(server, 2)
            server.app.go.set()
            assert client.response().read() == b"held"
            client.socket.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200


class TestIdle:
    def test_an_idle_connection_is_closed_without_a_word(self, loop: str) -> None:
        with Limited(loop, idle_timeout=UNIT) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")
            assert client.read_to_end() == b""

    def test_empty_lines_do_not_keep_it_open(self, loop: str) -> None:
        """RFC 9112 §2.2: they may come before a request, and are none."""
        with Limited(loop, idle_timeout=UNIT) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")
            for _ in trickle(client, b"\r\n"):
                if server.connections() == 0:
                    break

    def test_one_in_use_is_not_idle(self, loop: str) -> None:
        with Limited(loop, idle_timeout=UNIT) as server:
            client = server.client()
            client.send("/stream")
            eventually(lambda: server.app.seen == ["/stream", "started"])
            sweeps(server, 3)
            server.app.go.set()
            assert client.response().read() == b"onetwo"
            assert client.read_to_end() == b""

    def test_each_request_begins_it_anew(self, loop: str) -> None:
        with Limited(loop, idle_timeout=8 * UNIT) as server:
            client = server.client()
            for _ in range(10):
                assert client.ask("/echo") == (200, b"")
                time.sleep(UNIT)
            assert client.ask("/echo") == (200, b"")

    def test_uvicorns_own_option_counts_where_nothing_else_is_said(self) -> None:
        from enfilade.transports.http11.protocol import HttpProtocol
        from support.http_client.raw_http import Server

        with Server(http=HttpProtocol, timeout_keep_alive=UNIT) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")
            assert client.read_to_end() == b""


class TestBodies:
    @pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
    @pytest.mark.usefixtures("short_linger")
    def test_a_body_that_does_not_go_on(self, loop: str, framing: bytes) -> None:
        with Limited(loop, body_timeout=UNIT) as server:
            client = server.client()
            client.socket.sendall(HEAD + framing + b"\r\n\r\n" + b"5\r\nabcde\r\n")
            check_timed_out(client)
            eventually(lambda: server.connections() == 0 and not server.state.tasks)
            assert server.slow_app.received[-1] == ("http.disconnect", False), "it is not taken for the whole"
            assert ("http.request", False) not in server.slow_app.received

    @pytest.mark.usefixtures("short_linger")
    def test_one_that_comes_too_slowly(self, loop: str) -> None:
        """A byte now and then is progress, but too little."""
        with Limited(loop, body_timeout=2 * UNIT, body_rate=int(100 / UNIT)) as server:
            client = server.client()
            client.socket.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
            for _ in trickle(client, b"x"):
                if server.slow_app.received[-1:] == [("http.disconnect", False)]:
                    break
            eventually(lambda: server.connections() == 0)

    @pytest.mark.usefixtures("short_linger")
    def test_a_fast_beginning_buys_no_slow_end(self, loop: str) -> None:
        with Limited(loop, body_timeout=2 * UNIT, body_rate=int(100 / UNIT)) as server:
            client = server.client()
            client.socket.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(900_000))
            for _ in trickle(client, b"x"):
                if server.slow_app.received[-1:] == [("http.disconnect", False)]:
                    break
            eventually(lambda: server.connections() == 0)
            assert server.slow_app.received[-1] == ("http.disconnect", False)

    def test_a_steady_body_that_is_fast_enough(self, loop: str) -> None:
        with Limited(loop, body_timeout=6 * UNIT, body_rate=int(20 / UNIT)) as server:
            client = server.client()
            client.socket.sendall(HEAD + b"Content-Length: 2000\r\n\r\n")
            for _ in range(20):
                client.socket.sendall(bytes(100))
                time.sleep(UNIT / 2)
            assert client.response().read() == b"2000"

    def test_one_that_the_application_does_not_ask_for_is_not_slow(self, loop: str) -> None:
        """Back-pressure is the server's doing."""
        with Limited(loop, body_timeout=UNIT) as server:
            client = server.client()
            body = bytes(300_000)
            client.socket.sendall(request("/reads_late", f"Content-Length: {len(body)}", method="POST"))
            client.socket.sendall(body[:200_000])
            eventually(lambda: [each.flow.read_paused for each in server.state.connections] == [True])
            sweeps(server, 6)
            server.app.go.set()
            client.socket.sendall(body[200_000:])
            assert client.response().read() == b"300000"

    def test_a_client_that_waits_for_100_continue_is_not_slow(self, loop: str) -> None:
        with Limited(loop, body_timeout=UNIT) as server:
            client = server.client()
            client.send("/reads_late", "Expect: 100-continue", "Content-Length: 2", method="POST")
            eventually(lambda: server.app.seen == ["/reads_late"])
            sweeps(server, 6)
            server.app.go.set()
            assert client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.socket.sendall(b"ab")
            assert client.response().read() == b"2"

    def test_a_blocked_event_loop_is_nobodys_fault(self, loop: str) -> None:
        """What was sent meanwhile is read first, and the time does not count."""
        with Limited(loop, body_timeout=3 * UNIT, header_timeout=3 * UNIT) as server:
            client, half, blocking = server.client(), server.client(), server.client()
            client.socket.sendall(HEAD + b"Content-Length: 4\r\n\r\nab")
            half.socket.sendall(b"GET /echo HTTP/1.1\r\n")
            eventually(lambda: server.app.seen == ["/record"])
            sweeps(server, 1)  # so that it knows since when they are slow
            blocking.send("/blocks")
            assert blocking.response().read() == b"blocked"
            client.socket.sendall(b"cd")
            half.socket.sendall(b"Host: x\r\n\r\n")
            assert client.response().read() == b"4"
            assert half.response().status == 200

    def test_what_is_left_after_the_response_has_a_deadline(self, loop: str) -> None:
        """However steadily it comes: nobody waits for it."""
        with Limited(loop, body_timeout=4 * UNIT, body_rate=1, discard_limit=65536) as server:
            client = server.client()
            client.socket.sendall(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx")
            assert client.response().read() == b"not wanted"
            for _ in trickle(client, b"x" * 10):
                pass
            eventually(lambda: server.connections() == 0)

    def test_a_stream_whose_body_stops_is_closed(self, loop: str) -> None:
        """Its head went out long ago, so there is no status to say it with."""
        with Limited(loop, body_timeout=UNIT) as server:
            client = server.client()
            client.send("/stream", "Content-Length: 100", method="POST")
            assert client.head().startswith(b"HTTP/1.1 200 ")
            assert client.read_to_end() == b""


class TestReaders:
    def test_responses_that_nobody_reads(self, loop: str) -> None:
        """Five of 20 MB each: their memory is given back, and their clients see no end of the body."""
        with Limited(loop, write_timeout=2 * UNIT) as server:
            readers = [small_reader(server.port) for _ in range(5)]
            for reader in readers:
                reader.sendall(request("/large"))
            eventually(lambda: server.state.total_requests == 5)
            assert server.client().ask("/echo") == (200, b"")
            eventually(lambda: server.connections() == 1, "unread responses are held")
            for reader in readers:
                with pytest.raises(ConnectionResetError):  # no clean end, and nothing is left with the kernel
                    read_all(reader)
                reader.close()

    def test_a_sender_that_waits_for_such_a_reader_is_let_go(self, loop: str) -> None:
        with Limited(loop, write_timeout=UNIT) as server:
            reader = small_reader(server.port)
            reader.sendall(request("/flood"))
            eventually(lambda: server.app.seen == ["/flood", "paused", "over"])
            eventually(lambda: server.connections() == 0)
            reader.close()

    def test_a_slow_but_steady_reader_gets_everything(self, loop: str) -> None:
        """It takes many times as long as `write_timeout`, and longer than `idle_timeout`.

        The connection is idle once the kernel has all of the response, which the client then reads for a while.
        """
        with Limited(loop, write_timeout=3 * UNIT, idle_timeout=12 * UNIT) as server:
            reader = small_reader(server.port)
            reader.sendall(request("/large"))
            with reader.makefile("rb", buffering=0) as raw, io.BufferedReader(raw, 4096) as file:
                while file.readline().strip():
                    pass  # the head
                for _ in range(80):
                    assert len(file.read(LARGE // 80)) == LARGE // 80, "the connection ended early"
                    time.sleep(UNIT / 4)
            reader.sendall(request("/echo"))
            assert reader.recv(1000).startswith(b"HTTP/1.1 200 "), "it was not idle meanwhile"
            reader.close()

    def test_what_the_kernel_holds_is_progress_too(self, loop: str) -> None:
        """It asks for more only once a good part of its buffer is free, which takes this reader long."""
        with Limited(loop, write_timeout=5 * UNIT) as server:
            reader = small_reader(server.port)
            reader.sendall(request("/large"))
            for _ in range(15):
                assert reader.recv(32 * 1024), "its connection was closed"
                time.sleep(UNIT)
            assert server.connections() == 1
            reader.close()

    def test_a_stream_with_nothing_to_say_is_left_alone(self, loop: str) -> None:
        with Limited(loop, write_timeout=UNIT) as server:
            client = server.client()
            client.send("/stream")
            assert client.head().startswith(b"HTTP/1.1 200 ")
            sweeps(server, 6)
            server.app.go.set()
            assert b"one" in client.file.readline() + client.file.readline()


class TestCosts:
    def test_a_connection_has_no_timer(self) -> None:
        with Limited("asyncio", header_timeout=60) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")

            async def scheduled() -> int:
                assert server.loop is not None
                return len(server.loop._scheduled)  # type: ignore[attr-defined]  # asyncio's own heap

            before = server.run(scheduled)
            for _ in range(20):
                assert server.client().ask("/echo") == (200, b"")
            assert server.run(scheduled) <= before + 1, "there is one for all, beside uvicorn's own"

    def test_an_idle_server_has_none_at_all(self) -> None:
        with Limited("asyncio", idle_timeout=UNIT) as server:
            client = server.client()
            assert client.ask("/echo") == (200, b"")
            slots = next(iter(server.state.connections))._slots
            assert client.read_to_end() == b""
            eventually(lambda: slots.sweep._timer is None)
            assert server.client().ask("/echo") == (200, b"")
            assert slots.sweep._timer is not None

    @pytest.mark.parametrize(("shortest", "interval"), [(60.0, 1.0), (2.0, 0.5), (0.001, 0.02)])
    def test_how_often_connections_are_looked_at(self, shortest: float, interval: float) -> None:
        assert ConnectionLimits(idle_timeout=shortest, header_timeout=60).interval == interval


def test_unread_responses_are_logged_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "enfilade.transports"),
        Limited("asyncio", write_timeout=4 * UNIT) as server,
    ):
        readers = [small_reader(server.port) for _ in range(10)]
        for reader in readers:
            reader.sendall(request("/flood"))
        eventually(lambda: server.app.seen.count("over") == 10)
        for reader in readers:
            reader.close()
    lines = [record.getMessage() for record in caplog.records if "nobody read" in record.getMessage()]
    assert 1 <= len(lines) <= 5, "not one for each"
    assert lines[0].startswith("127.0.0.1:")
    assert "(write_timeout)" in lines[0]


@pytest.mark.parametrize(
    ("setting", "sent"),
    [
        ("header_timeout", b"POST /record HTTP/1.1\r\n"),
        ("body_timeout", b"POST /record HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"),
    ],
)
def test_the_log_names_the_limit(setting: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, str, str]] = []
    monkeypatch.setattr(protocol.refusals, "warn", lambda peer, *refusal: logged.append(refusal))
    with Limited("asyncio", **{setting: UNIT}) as server:
        client = server.client()
        client.socket.sendall(sent)
        check_timed_out(client)
    assert logged == [(408, protocol.TOO_SLOW, setting)]


def sweeps(server: Limited, count: float) -> None:
    """Wait for so many units of the server's own clock."""
    sweep = next(iter(server.state.connections))._slots.sweep
    end = sweep.clock + count * UNIT
    eventually(lambda: sweep.clock >= end, "the server does not look at its connections")


def read_all(reader: socket.socket) -> bytes:
    """Read until the connection ends."""
    parts = []
    while part := reader.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)
