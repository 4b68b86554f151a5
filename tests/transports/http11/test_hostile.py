"""Hostile requests on one connection: those that can be read in two ways, that grow, or that reach others.

They come over real sockets to a real server, with asyncio and with uvloop. Easy to get wrong: a client that sends
too much and a server that closes are in a race, so a test sends what the kernel buffers, or sends from a thread.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from enfilade import MCPApp
from enfilade.timings import Timings
from enfilade.transports.http11 import reader
from enfilade.transports.http11.connection_timeouts import ConnectionLimits
from enfilade.transports.http11.memory_limits import MAX_WAITING_SIZE
from enfilade.transports.http11.protocol import ConnectionState, HttpProtocol
from enfilade.transports.http11.reader import MAX_FIELDS, MAX_HEAD
from enfilade.transports.refusal_log import RefusalLog
from support.harness import Serving, eventually
from support.http_client.protocol_driver import Driver, RecordingTransport, Verdict
from support.http_client.raw_http import Client, Server, request

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
CHUNKED = request("/echo", "Transfer-Encoding: chunked", method="POST")


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(http=HttpProtocol, loop=request.param) as server:
        yield server


def connection_of(server: Server) -> Any:
    return next(iter(server.state.connections))


def refusal(client: Client) -> int:
    """Return the status of the last response of a connection."""
    found = client.response()
    assert found.headers["connection"] == "close"
    assert len(found.read()) == int(found.headers["content-length"]) > 0
    assert client.read_to_end() == b""
    return found.status


class TestUpgrade:
    """RFC 9110 §7.8: a server may ignore Upgrade; RFC 9112 §6.3: Content-Length and chunks frame the body."""

    @pytest.mark.parametrize("at_once", [True, False])
    def test_the_body_is_the_body_of_this_request(self, server: Server, at_once: bool) -> None:
        client = server.client()
        body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        sent = request("/echo", *UPGRADE, method="POST", body=body)
        head = len(sent) - len(body)
        for part in [sent] if at_once else [sent[:head], sent[head:]]:
            client.socket.sendall(part)
            eventually(lambda: server.app.seen == ["/echo"])
        found = client.response()
        assert (found.status, found.read()) == (200, body)
        assert client.ask("/echo", method="POST", body=b"next") == (200, b"next")
        assert server.app.seen == ["/echo", "/echo"]

    def test_chunks_and_what_is_pipelined_behind_them(self, server: Server) -> None:
        client = server.client()
        upgraded = request("/echo?1", *UPGRADE, "Transfer-Encoding: chunked", method="POST")
        chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        client.socket.sendall(
            upgraded + chunks + request("/echo?2", *UPGRADE) + upgraded + chunks + request("/echo?3")
        )
        assert [client.response().read() for _ in range(4)] == [b"abcde", b"", b"abcde", b""]

    def test_an_upgrade_does_not_hide_an_unknown_transfer_coding(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(request("/echo", *UPGRADE, "Transfer-Encoding: gzip", method="POST") + b"abc")
        assert refusal(client) == 501
        assert server.app.seen == []

    @pytest.mark.parametrize("loop", LOOPS)
    def test_nobody_gets_what_was_meant_for_another(self, loop: str) -> None:
        """A proxy sends the requests of many users over one connection, in turn."""
        app = MCPApp("shared")
        evil = b"GET /healthz?evil HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        opening = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "c", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": "victim", "method": "initialize", "params": opening}
        media = ("Content-Type: application/json", "Accept: application/json, text/event-stream")
        with Serving(app, http=HttpProtocol, loop=loop) as serving:
            shared = Client(serving.port)
            attack = request("/mcp", *media, *UPGRADE, method="POST", body=evil).replace(
                b"Host: x", b"Host: 127.0.0.1"
            )
            head = attack.index(b"\r\n\r\n") + 4
            shared.socket.sendall(attack[:head])
            (connection,) = eventually(lambda: list(serving._server.server_state.connections))
            eventually(lambda: connection.cycle is not None)
            shared.socket.sendall(attack[head:])
            attacked = shared.response()
            assert (attacked.status, json.loads(attacked.read())["error"]["code"]) == (400, -32700)
            victim = request("/mcp", *media, method="POST", body=json.dumps(message).encode())
            shared.socket.sendall(victim.replace(b"Host: x", b"Host: 127.0.0.1"))
            found = shared.response()
            assert (found.status, json.loads(found.read())["id"]) == (200, "victim")
            shared.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                shared.socket.recv(1)
            shared.close()


class TestTargets:
    """RFC 9112 §3.2: what a target may be depends on the method."""

    def test_a_method_is_refused_also_for_the_target_of_the_request_before(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(
            request("/echo") + request("/echo", method="CONNECT") + request("/echo?2") + request("/echo?3")
        )
        assert client.response().status == 200
        assert refusal(client) == 501
        assert server.app.seen == ["/echo"]

    def test_an_upgrade_that_nobody_has_noted_ends_the_connection(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever makes the parser stop: no later head is taken for the one at which it stopped."""
        split = reader.split_target
        monkeypatch.setattr(reader, "split_target", lambda _, target: split(b"GET", target))
        client = server.client()
        client.socket.sendall(
            request("/held", method="CONNECT") + request("/echo?2") + request("/echo?3") + request("/echo?4")
        )
        eventually(lambda: server.app.seen == ["/held"])
        server.app.go.set()
        assert client.response("CONNECT").status == 200
        assert client.read_to_end().count(b"HTTP/1.1 400 ") == 1
        assert server.app.seen == ["/held"]


class TestSizes:
    def test_trailers_are_counted(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(CHUNKED + b"1\r\na\r\n0\r\n")
        sent = 0
        for number in range(10_000):
            line = b"x-%d: %b\r\n" % (number, b"y" * 40)
            client.socket.sendall(line)
            sent += len(line)
            if sent > MAX_HEAD + 8192:
                break
        assert refusal(client) == 431
        assert server.app.seen == ["/echo"]  # which began before them, and learnt that its client was gone

    def test_a_trailer_that_does_not_end_is_counted(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(CHUNKED + b"0\r\nX: " + b"y" * (MAX_HEAD + 8192))
        assert refusal(client) == 431

    def test_few_trailers_are_dropped(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(CHUNKED + b"1\r\na\r\n0\r\nX-User: root\r\nHost: other\r\n\r\n")
        assert client.response().read() == b"a"
        assert client.ask("/echo") == (200, b"")
        assert b"x-user" not in dict(server.app.scopes[0]["headers"])

    def test_extensions_of_chunks_are_counted(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(CHUNKED)
        for _ in range((MAX_HEAD + 16384) // 1000):
            client.socket.sendall(b"1;x=" + b"y" * 1000 + b"\r\na\r\n")
        assert refusal(client) == 431

    def test_many_small_chunks_are_not(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(CHUNKED + b"1\r\na\r\n" * 40_000 + b"0\r\n\r\n")
        assert client.response().read() == b"a" * 40_000

    @pytest.mark.parametrize("size", [MAX_HEAD - 300, MAX_HEAD + 300])
    def test_the_limit_of_a_head_is_where_it_says(self, server: Server, size: int) -> None:
        client = server.client()
        client.socket.sendall(request("/echo", "X-Long: " + "y" * size))
        assert client.response().status == (200 if size < MAX_HEAD else 431)

    @pytest.mark.parametrize("pieces", [1, 2])
    def test_a_body_is_no_head(self, server: Server, pieces: int) -> None:
        """A read that ends a large body and begins the next head."""
        client = server.client()
        body = b"x" * 70_000
        both = request("/echo", method="POST", body=body) + request("/echo", "X: y")
        cut = len(both) - 20
        client.socket.sendall(both[:cut])
        if pieces == 2:
            assert client.response().read() == body
        client.socket.sendall(both[cut:])
        if pieces == 1:
            assert client.response().read() == body
        assert client.response().status == 200

    def test_a_body_in_front_of_a_large_head_does_not_count(self) -> None:
        first = request("/echo", method="POST", body=b"x" * 8000)
        large = request("/echo", *[f"X-{number}: {'y' * 1000}" for number in range(64)])
        assert MAX_HEAD - 2048 < len(large) < MAX_HEAD

        async def judge() -> Verdict:
            return await Driver(HttpProtocol).judge([first + large[:10], large[10:-100], large[-100:]])

        assert asyncio.run(judge()).statuses == (200, 200)

    def test_many_small_requests_are_no_head(self, server: Server) -> None:
        client = server.client()
        many = request("/echo") * 3000
        assert len(many) > MAX_HEAD
        client.socket.sendall(many + b"GET /echo HT")
        for _ in range(3000):
            assert client.response().status == 200
        client.socket.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200


class TestOrder:
    def test_a_fault_behind_a_request_is_answered_behind_it(self, server: Server) -> None:
        client = server.client()
        client.send("/held")
        eventually(lambda: server.app.seen == ["/held"])
        client.socket.sendall(request("/echo?2", method="POST", body=b"2") + b"no HTTP at all\r\n\r\n")
        connection = connection_of(server)
        eventually(lambda: connection._refusal is not None)
        server.app.go.set()
        assert client.response().read() == b"held"
        assert client.response().read() == b"2"
        assert refusal(client) == 400

    def test_a_fault_behind_a_stream_is_not_written_into_it(self, server: Server) -> None:
        client = server.client()
        client.send("/stream")
        found = client.response()
        client.socket.sendall(b"no HTTP at all\r\n\r\n")
        connection = connection_of(server)
        eventually(lambda: connection._refusal is not None)
        server.app.go.set()
        assert found.read() == b"onetwo"
        assert client.response().status == 400

    def test_a_fault_in_a_body_takes_the_place_of_its_answer(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(request("/echo?1") + CHUNKED)
        assert client.response().status == 200
        eventually(lambda: len(server.app.seen) == 2)
        client.socket.sendall(b"no size\r\n")
        assert refusal(client) == 400
        eventually(lambda: server.state.tasks == set())

    def test_a_fault_in_a_body_that_waits_is_answered_in_turn(self, server: Server) -> None:
        client = server.client()
        client.send("/held")
        eventually(lambda: server.app.seen == ["/held"])
        client.socket.sendall(CHUNKED + b"no size\r\n")
        connection = connection_of(server)
        eventually(lambda: connection._refusal is not None)
        server.app.go.set()
        assert client.response().read() == b"held"
        assert client.response().status == 400
        assert server.app.seen == ["/held"]

    def test_a_fault_in_the_body_of_a_stream_ends_it(self, server: Server) -> None:
        client = server.client()
        client.send("/stream", "Transfer-Encoding: chunked", method="POST")
        eventually(lambda: server.app.seen == ["/stream", "started"])
        client.socket.sendall(b"no size\r\n")
        assert client.read_to_end().endswith(b"transfer-encoding: chunked\r\n\r\n")
        server.app.go.set()


class TestPipelining:
    def test_what_is_sent_at_once_is_not_all_read(self, server: Server) -> None:
        """One client cannot keep the others from being served, nor fill the memory."""
        client, count = server.client(), 12_000
        client.send("/held")
        eventually(lambda: server.app.seen == ["/held"])
        connection = connection_of(server)
        sender = threading.Thread(
            target=client.socket.sendall, args=(b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * count,)
        )
        sender.start()
        eventually(lambda: connection._held is not None or not connection.transport.is_reading())
        assert len(connection._waiting) < 400  # as many as there are in one piece, at most
        other = server.client()
        assert other.ask("/echo", method="POST", body=b"mine") == (200, b"mine")
        server.app.go.set()
        assert client.response().read() == b"held"
        most = 0
        for _ in range(count):
            assert client.response().status == 200
            most = max(most, len(connection._waiting))
        sender.join()
        assert 0 < most < 400
        assert connection._held is None

    @pytest.mark.usefixtures("short_linger")
    def test_a_client_that_pipelines_and_leaves_is_noticed(self, server: Server) -> None:
        client = server.client()
        client.send("/wait")
        eventually(lambda: server.app.seen == ["/wait"])
        client.send("/echo")
        connection = connection_of(server)
        eventually(lambda: len(connection._waiting) == 1)
        client.close()
        eventually(lambda: server.app.seen == ["/wait", "http.disconnect", "sent in silence"])


class TestTurns:
    """What takes long to parse is parsed in turns, and stays in order."""

    LIMITS = ConnectionLimits(timings=Timings(parse_turn=0.0))

    @pytest.fixture
    def server(self, server: Server) -> Server:
        server._server.config.connection_limits = self.LIMITS
        return server

    def test_others_have_theirs_in_between(self) -> None:
        async def sizes() -> list[int]:
            wire = RecordingTransport()
            config = uvicorn.Config(None, log_config=None)  # type: ignore[arg-type]
            config.connection_limits = self.LIMITS  # type: ignore[attr-defined]  # ours
            connection = HttpProtocol(config, ServerState(), {})
            connection._app = connection._plain_app = lambda *_: asyncio.sleep(60)  # type: ignore[attr-defined]
            wire.protocol = connection
            connection.connection_made(wire)
            connection.data_received(CHUNKED + b"1\r\nz\r\n" * 10_000)
            found = []
            while not found or connection._held is not None:
                assert connection.cycle is not None
                found.append(connection.cycle.unread)
                await asyncio.sleep(0)
            assert connection._active is not None
            assert connection._active.task is not None
            connection._active.task.cancel()
            return [*found, connection.cycle.unread]

        found = asyncio.run(sizes())
        assert found == sorted(found)
        assert found[-1] == 10_000
        assert max(b - a for a, b in itertools.pairwise(found)) < 2000

    def test_order_and_end_hold(self, server: Server) -> None:
        client = server.client()
        bodies = [bytes([65 + number]) * 30_000 for number in range(8)]
        chunked = [b"".join(b"1\r\n%c\r\n" % byte for byte in body) for body in bodies]
        raw = b"".join(CHUNKED + each + b"0\r\n\r\n" for each in chunked)
        sender = threading.Thread(target=client.socket.sendall, args=(raw,))
        sender.start()
        assert [client.response().read() == body for body in bodies] == [True] * len(bodies)
        sender.join()
        client.socket.sendall(CHUNKED + chunked[0] + b"0\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.response().read() == bodies[0]
        assert client.read_to_end() == b""

    def test_a_body_that_the_application_does_not_read_is_not_read_on(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(request("/held", "Transfer-Encoding: chunked", method="POST"))
        TestMemory.sending(client, b"1\r\nz\r\n" * 1_000_000)
        eventually(lambda: server.app.seen == ["/held"])
        connection = connection_of(server)
        eventually(lambda: connection._held is None and not connection.transport.is_reading())
        assert connection.cycle.unread < 300_000
        server.app.go.set()
        assert client.response().read() == b"held"


class TestOldVersions:
    def test_no_chunks_in_http_10(self, server: Server) -> None:
        server.app.go.set()
        client = server.client()
        client.send("/stream", "Connection: keep-alive", version="1.0")
        head, _, body = client.read_to_end().partition(b"\r\n\r\n")
        assert (b"chunked" in head, b"connection: close" in head, body) == (False, True, b"onetwo")

    def test_no_100_in_http_10(self, server: Server) -> None:
        client = server.client()
        client.send("/echo", "Expect: 100-continue", "Content-Length: 2", method="POST", version="1.0")
        eventually(lambda: server.app.seen == ["/echo"])
        client.socket.sendall(b"ab")
        assert client.head().startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        ("bad", "status"),
        [
            pytest.param(b"GET /healthz\r\n\r\n", 400, id="0.9"),
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no-host"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two-hosts"),
            pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, id="host-twice"),
            pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, id="2.0"),
            pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="preface"),
            pytest.param(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="connect"),
            pytest.param(
                b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="1.0-chunked"
            ),
        ],
    )
    def test_refused(self, server: Server, bad: bytes, status: int) -> None:
        client = server.client()
        client.socket.sendall(bad)
        assert refusal(client) == status
        assert server.app.seen == []


class TestClosing:
    def test_a_refusal_can_be_read_by_a_client_that_still_sends(self, server: Server) -> None:
        """It sends more than the kernel has room for after it was refused, as far as it can."""
        client = server.client()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.socket.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD)
        for _ in range(60):
            client.socket.sendall(b"y" * 1000)
        found = client.response()
        assert (found.status, found.read()) == (431, b"The head of the request is too large.")

    @pytest.mark.usefixtures("short_linger")
    def test_and_one_that_sends_without_end_is_cut_off(self, server: Server) -> None:
        client = server.client()
        client.socket.settimeout(30)
        with pytest.raises(OSError):
            while True:
                client.socket.sendall(b"y" * 65536)
        eventually(lambda: server.state.connections == set())

    def test_a_half_closed_client_is_answered(self, server: Server) -> None:
        client = server.client()
        client.send("/held")
        eventually(lambda: server.app.seen == ["/held"])
        client.send("/echo", method="POST", body=b"last")
        client.socket.shutdown(socket.SHUT_WR)
        connection = connection_of(server)
        eventually(lambda: connection._half_closed_timer is not None)
        server.app.go.set()
        assert client.response().read() == b"held"
        found = client.response()
        assert (found.read(), found.headers["connection"]) == (b"last", "close")
        assert client.read_to_end() == b""

    @pytest.mark.usefixtures("short_linger")
    def test_one_that_waits_too_long_is_gone(self, server: Server) -> None:
        client = server.client()
        client.send("/wait")
        eventually(lambda: server.app.seen == ["/wait"])
        client.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: server.app.seen == ["/wait", "http.disconnect", "sent in silence"])
        assert client.read_to_end() == b""


def test_a_bad_request_is_logged_with_its_peer(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enfilade.transports.http11.protocol.refusals", RefusalLog(interval=3600))
    with caplog.at_level(logging.WARNING, logger="enfilade.transports"):
        ports = []
        for _ in range(20):
            client = server.client()
            ports.append(client.socket.getsockname()[1])
            client.socket.sendall(b"nothing\r\n\r\n")
            assert client.response().status == 400
    lines = [record.getMessage() for record in caplog.records if record.name == "enfilade.transports"]
    assert lines == [f"127.0.0.1:{ports[0]} - HTTP 400: Invalid HTTP request received."]


def test_an_app_that_goes_on_after_a_refusal_does_no_harm(server: Server) -> None:
    """It asks for the body of a request that was refused, and answers."""
    client = server.client()
    client.send("/echo", "Expect: 100-continue", "Transfer-Encoding: chunked", method="POST")
    client.socket.sendall(b"no size\r\n")
    assert client.read_to_end().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 "))
    eventually(lambda: server.state.tasks == set())
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server.loop).result(10) is None  # type: ignore[arg-type]


class TestMemory:
    """What one client may make the server keep, while an earlier request of it is under way."""

    @staticmethod
    def held(server: Server) -> tuple[Client, Any]:
        client = server.client()
        client.send("/held")
        eventually(lambda: "/held" in server.app.seen)
        return client, connection_of(server)

    @staticmethod
    def sending(client: Client, raw: bytes) -> threading.Thread:
        def send() -> None:
            with contextlib.suppress(OSError):  # the server is not obliged to read all of it
                client.socket.sendall(raw)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        return sender

    def test_a_body_of_tiny_chunks_takes_as_much_as_its_bytes(self) -> None:
        """Each chunk on its own would be an object of 35 bytes and a place in a list."""

        async def sizes() -> tuple[int, int]:
            wire = RecordingTransport()
            connection = HttpProtocol(uvicorn.Config(None, log_config=None), ServerState(), {})  # type: ignore[arg-type]
            connection._app = connection._plain_app = lambda *_: asyncio.sleep(60)  # type: ignore[attr-defined]
            wire.protocol = connection
            connection.connection_made(wire)
            connection.data_received(request("/a"))
            tracemalloc.start()
            try:
                connection.data_received(CHUNKED + b"2\r\nzz\r\n" * 20_000)
                size = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            while connection._held is not None:
                await asyncio.sleep(0)
            cycle = connection.cycle
            assert cycle is not None
            connection._active.task.cancel()  # type: ignore[union-attr]
            return cycle.unread, size

        unread, size = asyncio.run(sizes())
        assert unread == 40_000
        assert size < 200_000

    @pytest.mark.parametrize("kind", ["bodies", "chunks", "headers"])
    def test_what_waits_on_a_connection_is_limited(self, server: Server, kind: str) -> None:
        """Reading pauses, and all of it is served in the end."""
        client, connection = self.held(server)
        body = b"x" * 60_000
        each = {
            "bodies": request("/echo", method="POST", body=body),
            "chunks": CHUNKED + b"ea60\r\n" + body + b"\r\n0\r\n\r\n",
            "headers": request("/echo", *[f"{n}: {'y' * 200}" for n in range(200)]),
        }[kind]
        sender = self.sending(client, each * 12)
        eventually(
            lambda: (
                connection._waiting
                and connection._waiting.is_full()
                and connection._state is ConnectionState.HELD
            )
        )
        assert 1 <= len(connection._waiting) < 6
        assert connection._waiting._size - connection._waiting._held < MAX_WAITING_SIZE + 65536
        total = connection._waiting._total
        assert total.size == connection._waiting._size
        server.app.go.set()
        assert client.response().read() == b"held"
        for _ in range(12):
            assert client.response().read() == (b"" if kind == "headers" else body)
        sender.join()
        eventually(lambda: not connection._waiting)
        assert total.size == 0

    def test_what_waits_on_all_connections_is_limited(self, server: Server) -> None:
        server._server.config.connection_limits = ConnectionLimits(waiting_memory=3000)
        for number in range(3):
            client = server.client()
            client.socket.sendall(request("/held") + request("/echo") * 3)
            eventually(lambda count=number + 1: len(server.app.seen) == count)
        connections = list(server.state.connections)
        eventually(lambda: all(each._state is ConnectionState.HELD for each in connections))
        total = next(each._waiting._total for each in connections if each._waiting)
        for gone in server.clients[:2]:
            gone.close()
        server.app.go.set()
        client = server.clients[2]
        assert [client.response().read() for _ in range(4)] == [b"held", b"", b"", b""]
        eventually(lambda: total.size == 0)

    def test_what_is_held_back_counts(self, server: Server) -> None:
        client, connection = self.held(server)
        sender = self.sending(client, request("/echo") * 4000)
        eventually(lambda: connection._held is not None)
        total = connection._waiting._total
        assert total.size == sum(connection._waiting._sizes) + len(connection._held.obj)
        server.app.go.set()
        assert client.response().read() == b"held"
        for _ in range(4000):
            assert client.response().status == 200
        sender.join()
        eventually(lambda: total.size == 0)

    def test_and_is_refused_if_it_is_too_much(self, server: Server) -> None:
        server._server.config.connection_limits = ConnectionLimits(waiting_memory=20_000)
        client, connection = self.held(server)
        self.sending(client, request("/echo") * 20_000)
        eventually(lambda: connection._refusal is not None)
        assert connection._held is None
        assert connection._waiting._total.size == connection._waiting._size
        server.app.go.set()
        assert client.response().read() == b"held"
        while (response := client.response()).status == 200:
            assert response.read() == b""
        assert response.status == 503
        assert response.headers["connection"] == "close"

    @pytest.mark.parametrize("count", [MAX_FIELDS - 1, MAX_FIELDS])
    @pytest.mark.parametrize("cut", [0, 2, 300])
    def test_a_head_has_so_many_fields(self, server: Server, count: int, cut: int) -> None:
        """Host is one more. It counts however the head comes, and before it is complete."""
        client = server.client()
        raw = request("/echo", *[f"{n}:" for n in range(count)])
        client.socket.sendall(raw[: len(raw) - cut])
        if cut:
            eventually(lambda: any(each.is_reading_head or each.is_ending for each in server.state.connections))
            client.socket.sendall(raw[-cut:])
        found = client.response()
        assert found.status == (200 if count < MAX_FIELDS else 431)
        if count == MAX_FIELDS:
            assert found.read() == b"The request has more than 256 headers."

    def test_a_head_with_too_many_fields_is_dropped_also_behind_a_stream(self, server: Server) -> None:
        client, connection = self.held(server)
        client.socket.sendall(
            b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"".join(b"%d:\r\n" % n for n in range(1000))
        )
        eventually(lambda: connection.is_ending)
        assert len(connection._headers) == 0
        server.app.go.set()
        assert client.response().read() == b"held"
        assert refusal(client) == 431


class TestTrailers:
    def test_a_trailer_that_closes_is_refused_with_its_own_request(self, server: Server) -> None:
        """RFC 9110 §6.5.1: not with the next, of which the response has promised that it is served."""
        client = server.client()
        client.socket.sendall(CHUNKED + b"2\r\n{}\r\n0\r\nConnection: close\r\n\r\n")
        assert refusal(client) == 400

    def test_nothing_is_served_behind_a_request_that_closes(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(request("/echo?1", "Connection: close") + request("/echo?2") * 3)
        found = client.response()
        assert (found.status, found.headers["connection"]) == (200, "close")
        assert found.read() == client.read_to_end() == b""
        assert server.app.seen == ["/echo"]


def test_a_client_that_waits_for_100_says_so_in_a_list(server: Server) -> None:
    client = server.client()
    client.send("/echo", "Expect: a, 100-continue", "Content-Length: 2", method="POST")
    assert client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.socket.sendall(b"ab")
    assert client.response().read() == b"ab"
