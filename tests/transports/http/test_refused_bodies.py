"""What a client still sends after its request was refused: a little is read, the response arrives, and it ends.

Easy to get wrong: a test whose client reads the response before it sends anything shows nothing. These send all
that they have first, as simple clients do.
"""

import asyncio
import contextlib
import time
from typing import Any

import pytest

from enfilade.transports.http.request_checks import BodyReader, UnreadBodyError
from support.harness import eventually
from support.http_client.memory_exchange import MemoryExchange
from support.http_client.raw_http import Client, request
from support.servers.limited_server import UNIT, Limited
from transports.http11.test_connection_timeouts import loop, sweeps

__all__ = ["loop"]  # a fixture

KIB = 1024


def send_all(client: Client, data: bytes) -> int:
    """Send as much as the server takes; return how much that was."""
    sent = 0
    client.socket.settimeout(30)
    with contextlib.suppress(OSError):
        while sent < len(data):
            sent += client.socket.send(data[sent : sent + 64 * KIB])
    return sent


class TestSmallRests:
    def test_are_read_and_the_connection_goes_on(self, loop: str) -> None:
        with Limited(loop, discard_limit=64 * KIB, body_timeout=2 * UNIT) as server:
            client = server.client()
            client.send("/refuses", f"Content-Length: {60 * KIB}", method="POST")
            found = client.response()
            assert (found.status, found.headers["connection"]) == (413, None)
            assert found.read() == b"too large"
            client.socket.sendall(bytes(60 * KIB))
            sweeps(server, 5)  # the body is complete, so its time is over
            assert client.ask("/echo") == (200, b"")

    def test_that_never_come_end_in_time(self, loop: str) -> None:
        with Limited(loop, body_timeout=2 * UNIT) as server:
            client = server.client()
            client.send("/refuses", "Content-Length: 100", method="POST")
            assert client.response().read() == b"too large"
            client.socket.sendall(b"one byte defeats nothing")
            with contextlib.suppress(ConnectionResetError):
                assert client.read_to_end() == b"", "the request has its response already"
            eventually(lambda: server.connections() == 0)

    def test_of_a_client_that_waits_for_100_continue(self, loop: str) -> None:
        """RFC 9110 §10.1.1: it may send the body or not, so nobody can tell what comes next."""
        with Limited(loop) as server:
            client = server.client()
            client.send("/refuses", "Expect: 100-continue", "Content-Length: 10", method="POST")
            found = client.response()
            assert (found.status, found.headers["connection"]) == (413, "close")


class TestLargeRests:
    @pytest.mark.parametrize("size", [200 * KIB, 1024 * KIB])
    def test_the_client_reads_the_response_all_the_same(self, loop: str, size: int) -> None:
        """It sends all of it before it looks: a reset would take the response from it."""
        with Limited(loop, discard_limit=64 * KIB) as server:
            client = server.client()
            data = request("/refuses", f"Content-Length: {size}", method="POST") + bytes(size)
            assert send_all(client, data) == len(data), "the connection was reset meanwhile"
            found = client.response()
            assert (found.status, found.headers["connection"]) == (413, "close")
            assert found.read() == b"too large"

    @pytest.mark.parametrize("status", [b"Bad: \x00\r\n", b"Transfer-Encoding: gzip\r\n"])
    def test_also_of_what_is_no_request(self, loop: str, status: bytes) -> None:
        with Limited(loop, discard_limit=64 * KIB) as server:
            client = server.client()
            send_all(client, b"POST /echo HTTP/1.1\r\nHost: x\r\n" + status + b"\r\n" + bytes(512 * KIB))
            assert client.response().status in (400, 501)

    @pytest.mark.parametrize("limit", [16 * KIB, 256 * KIB])
    @pytest.mark.usefixtures("short_linger")
    def test_a_body_without_end(self, loop: str, limit: int) -> None:
        """Chunks for ever: `discard_limit` bytes are read, and what one read of the socket had on top of it."""
        with Limited(loop, discard_limit=limit) as server:
            client = server.client()
            client.send("/refuses", "Transfer-Encoding: chunked", method="POST")
            found = client.response()
            assert (found.status, found.headers["connection"]) == (413, "close")
            connection = next(iter(server.state.connections))
            read = count_what_is_read(connection)
            chunk = b"10000\r\n" + bytes(64 * KIB) + b"\r\n"
            client.socket.settimeout(30)
            with pytest.raises(OSError, match=r"reset|pipe|timed out"):
                while True:
                    client.socket.sendall(chunk)
            eventually(lambda: server.connections() == 0)
            assert limit < sum(read) <= limit + 256 * KIB

    @pytest.mark.usefixtures("short_linger")
    def test_a_client_that_neither_reads_nor_leaves(self, loop: str) -> None:
        with Limited(loop) as server:
            client = server.client()
            client.send("/refuses", "Transfer-Encoding: chunked", method="POST")
            eventually(lambda: server.app.seen == ["/refuses"])
            eventually(lambda: server.connections() == 0, "it is held for ever")

    def test_one_that_leaves_is_forgotten_at_once(self, loop: str) -> None:
        with Limited(loop) as server:
            client = server.client()
            client.send("/refuses", "Transfer-Encoding: chunked", method="POST")
            assert client.response().read() == b"too large"
            client.close()
            started = time.monotonic()
            eventually(lambda: server.connections() == 0)
            assert time.monotonic() - started < 30

    def test_a_server_that_stops_does_not_wait_for_it(self, loop: str) -> None:
        with Limited(loop, body_timeout=600) as server:
            server._server.config.timeout_graceful_shutdown = 60
            clients = [server.client() for _ in range(3)]
            for client in clients:
                client.send("/refuses", "Transfer-Encoding: chunked", method="POST")
                assert client.response().read() == b"too large"
            eventually(lambda: len(server.state.tasks) == 0)
            server.stop()
            eventually(lambda: server.connections() == 0)


def count_what_is_read(connection: Any) -> list[int]:
    """Count the bytes that a connection is given from now on."""
    read: list[int] = []
    closing = eventually(lambda: connection._lingering)
    discard = closing.discard

    def counting(size: int) -> None:
        read.append(size)
        discard(size)

    closing.discard = counting
    return read


@pytest.mark.parametrize("limit", [1, 999, 100_000, 4_194_304])
def test_a_length_above_the_limit_is_refused_before_a_byte_is_asked_for(limit: int) -> None:
    """Which also keeps 100 Continue from being sent (RFC 9110 §10.1.1)."""

    class Unread(MemoryExchange):
        async def read(self) -> tuple[bytes, bool]:
            raise AssertionError("the body was asked for")

    async def read(length: int) -> None:
        await BodyReader(limit).read({b"content-length": b"%d" % length}, Unread())

    for length in (limit + 1, limit * 3 // 2 + 1, limit * 10):
        with pytest.raises(UnreadBodyError) as refused:
            asyncio.run(read(length))
        assert refused.value.status == 413
    with pytest.raises(AssertionError):
        asyncio.run(read(limit))
