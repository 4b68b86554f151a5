"""Our HTTP protocol beside uvicorn's: the same bytes on a raw socket come to the same.

Easy to get wrong: a test of a server that never blocks shows nothing about waiting. So the application tells when
`send` did not return, and goes on when the test says so.
"""

import asyncio
import contextlib
import importlib
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from enfilade.transports.http11 import protocol as http_protocol, server as http_server
from enfilade.transports.http11.memory_limits import MAX_WAITING
from enfilade.transports.http11.protocol import HttpProtocol
from enfilade.transports.http11.reader import MAX_HEAD
from support.harness import eventually
from support.http_client.raw_http import CHUNK, Server, request

PROTOCOLS = [HttpToolsProtocol, HttpProtocol]
LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]


def serving(protocol: Any, loop: str = "auto", **options: Any) -> Server:
    return Server(http=protocol, loop=loop, **options)


@pytest.fixture(
    params=[(p, loop) for p in PROTOCOLS for loop in LOOPS], ids=lambda of: f"{of[0].__name__}-{of[1]}"
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(*request.param) as server:
        yield server


@pytest.fixture(params=LOOPS)
def ours(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(HttpProtocol, request.param) as server:
        yield server


REQUESTS: list[tuple[str, tuple[str, ...]]] = [
    ("/echo", ()),
    ("/%C3%A9/echo?a=%20b&c", ("X-Twice: 1", "x-twice: 2", "X-Bytes: \xe9")),
    ("/echo?q", ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https")),
    ("/echo", ("Connection: close",)),
]


def test_the_scope_is_what_uvicorn_makes_of_it() -> None:
    scopes: dict[Any, list[dict[str, Any]]] = {}
    for protocol in PROTOCOLS:
        with serving(protocol, root_path="/root", forwarded_allow_ips="*") as server:
            client = server.client()
            for path, lines in REQUESTS:
                assert client.ask(path, *lines, method="POST", body=b"{}") == (200, b"{}")
            older = server.client()
            assert older.ask("/echo", version="1.0") == (200, b"")
            ends = {"server": ("127.0.0.1", server.port)}
            ports = {each.socket.getsockname()[1]: number for number, each in enumerate(server.clients)}
            for scope in server.app.scopes:
                assert scope["server"] == ends["server"]
                host, port = scope["client"]
                scope |= {"server": None, "client": (host, ports.get(port, port))}
            scopes[protocol] = server.app.scopes
    assert scopes[HttpProtocol] == scopes[HttpToolsProtocol]
    assert [scope["scheme"] for scope in scopes[HttpProtocol]] == ["http", "http", "https", "http", "http"]
    assert scopes[HttpProtocol][1]["path"] == "/root/é/echo"
    assert scopes[HttpProtocol][2]["client"][0] == "10.1.2.3"
    assert all(scope["state"] == {"warm": "yes"} for scope in scopes[HttpProtocol])


HEADS = ["/echo", "/stream", "/nothing", "/says_close", "/fails", "/starts_nothing"]


@pytest.mark.parametrize("path", HEADS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_response_is_what_uvicorn_sends(path: str, method: str, version: str) -> None:
    """Byte for byte, but for the date."""
    answers = []
    for protocol in PROTOCOLS:
        with serving(protocol, date_header=False, headers=[("X-Of", "all")]) as server:
            server.app.go.set()
            client = server.client()
            client.send(path, "Connection: keep-alive", method=method, version=version)
            if b"connection: close" not in (head := client.head()).lower():
                client.send("/echo", "Connection: close")
            answers.append(head + client.read_to_end())
    if (path, method, version) == ("/stream", "GET", "1.0"):  # RFC 9112 §6.1: no chunks in HTTP/1.0
        answers[0] = answers[0].replace(b"transfer-encoding: chunked\r\n", b"")
        answers[0] = answers[0].replace(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", b"onetwo")
    assert answers[1] == answers[0]
    assert answers[1].startswith(b"HTTP/1.1 ")


class TestRequests:
    def test_many_on_one_connection(self, server: Server) -> None:
        client = server.client()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(50):
            assert client.ask("/echo", method="POST", body=b"%d" % number) == (200, b"%d" % number)
        eventually(lambda: server.state.total_requests == 50 and server.state.tasks == set())

    def test_a_body_in_pieces(self, server: Server) -> None:
        client = server.client()
        body = CHUNK * 40
        assert client.ask("/echo", method="POST", body=body) == (200, body)

    def test_a_head_byte_by_byte(self, server: Server) -> None:
        client = server.client()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /ec%68o?q HTTP/1.1\r\nHost: x\r\nX-Long: abc\r\nContent-Length: 2\r\n\r\n{}":
            client.socket.sendall(bytes([byte]))
        assert client.response().read() == b"{}"
        assert server.app.scopes[0]["path"] == "/echo"
        assert (b"x-long", b"abc") in server.app.scopes[0]["headers"]

    def test_a_chunked_body(self, server: Server) -> None:
        client = server.client()
        client.send("/echo", "Transfer-Encoding: chunked", method="POST")
        client.socket.sendall(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.response().read() == b"abcde"
        assert client.ask("/echo") == (200, b"")

    def test_trailers_are_not_headers(self, ours: Server) -> None:
        client = ours.client()
        head = request("/echo", "Transfer-Encoding: chunked", method="POST")
        client.socket.sendall(head + b"1\r\na\r\n0\r\nX-User: root\r\n\r\n")  # all before the application runs
        assert client.response().read() == b"a"
        assert b"x-user" not in dict(ours.app.scopes[0]["headers"])

    def test_the_client_is_told_to_continue_when_the_body_is_wanted(self, server: Server) -> None:
        client = server.client()
        client.send("/echo", "Expect: 100-continue", "Content-Length: 2", method="POST")
        assert [client.file.readline() for _ in range(2)] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        client.socket.sendall(b"ab")
        assert client.response().read() == b"ab"

    def test_the_client_is_not_told_to_continue_when_it_is_not(self, server: Server) -> None:
        client = server.client()
        client.send("/unread", "Expect: 100-continue", "Content-Length: 2", method="POST")
        assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"

    def test_an_offer_to_upgrade_is_not_taken(self, server: Server) -> None:
        client = server.client()
        assert client.ask("/echo", "Connection: Upgrade", "Upgrade: websocket") == (200, b"")

    @pytest.mark.parametrize(
        "bad", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
                b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"GET /\x80 HTTP/1.1\r\n\r\n"],
    )  # fmt: skip
    def test_what_is_no_request_is_refused(self, server: Server, bad: bytes) -> None:
        client = server.client()
        client.socket.sendall(bad)
        found = client.response()
        assert (found.status, found.headers["connection"]) == (400, "close")
        assert found.read() == b"Invalid HTTP request received."
        assert client.read_to_end() == b""
        assert server.app.seen == []

    def test_a_head_without_an_end_is_refused(self, ours: Server) -> None:
        client = ours.client()
        client.socket.sendall(b"GET /echo HTTP/1.1\r\n")
        line = b"X-More: " + b"y" * 1000 + b"\r\n"
        sent = 0
        while sent <= MAX_HEAD + 8192:
            client.socket.sendall(line)
            sent += len(line)
        found = client.response()
        assert (found.status, found.headers["connection"]) == (431, "close")
        assert ours.app.seen == []

    def test_more_than_the_server_may_have_at_once(self) -> None:
        for protocol in PROTOCOLS:
            with serving(protocol, limit_concurrency=2) as server:
                first = server.client()
                first.send("/held")
                eventually(lambda: server.app.seen == ["/held"])
                assert server.client().ask("/echo") == (503, b"Service Unavailable")
                server.app.go.set()
                assert first.response().read() == b"held"


class TestPipelining:
    def test_answers_come_in_order(self, server: Server) -> None:
        client = server.client()
        client.send("/held")
        for number in range(20):
            client.send(f"/echo?{number}", method="POST", body=b"%d" % number)
        eventually(lambda: server.app.seen == ["/held"])
        server.app.go.set()
        assert client.response().read() == b"held"
        assert [client.response().read() for _ in range(20)] == [b"%d" % number for number in range(20)]
        assert [scope["query_string"] for scope in server.app.scopes[1:]] == [b"%d" % n for n in range(20)]

    def test_so_many_wait_and_no_more(self, ours: Server) -> None:
        client = ours.client()
        client.send("/held")
        eventually(lambda: ours.app.seen == ["/held"])
        connection = next(iter(ours.state.connections))
        for number in range(MAX_WAITING):
            assert connection.transport.is_reading()
            client.send(f"/echo?{number}")
            eventually(lambda: len(connection._waiting) > number)
        assert not connection.transport.is_reading()
        for number in range(MAX_WAITING, 3 * MAX_WAITING):
            client.send(f"/echo?{number}")
        ours.app.go.set()
        assert client.response().read() == b"held"
        for _ in range(3 * MAX_WAITING):
            assert client.response().status == 200
        assert [scope["query_string"] for scope in ours.app.scopes[1:]] == [
            b"%d" % n for n in range(3 * MAX_WAITING)
        ]
        assert client.ask("/echo", method="POST", body=b"more") == (200, b"more")

    def test_nothing_follows_a_response_that_closes(self, server: Server) -> None:
        client = server.client()
        client.socket.sendall(request("/says_close") + request("/echo"))
        assert b"\r\nconnection: Close\r\n" in client.head()
        with contextlib.suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        assert server.app.seen == ["/says_close"]

    def test_a_disconnect_is_told_to_the_one_that_runs(self, ours: Server) -> None:
        """Not to the last that was parsed, which has not begun, and does not begin any more."""
        client = ours.client()
        client.send("/wait")
        eventually(lambda: ours.app.seen == ["/wait"])
        client.send("/echo")
        connection = next(iter(ours.state.connections))
        eventually(lambda: len(connection._waiting) == 1)
        ours.run(lambda: asyncio.sleep(0, connection.transport.abort()))
        eventually(lambda: ours.app.seen == ["/wait", "http.disconnect", "sent in silence"])


class TestResponses:
    def test_the_head_of_a_stream_goes_out_before_its_first_event(self, server: Server) -> None:
        client = server.client()
        client.send("/stream")
        found = client.response()
        assert (found.status, found.headers["transfer-encoding"]) == (200, "chunked")
        server.app.go.set()
        assert found.read() == b"onetwo"
        assert client.ask("/echo") == (200, b"")

    @pytest.mark.usefixtures("short_linger")
    def test_who_waits_for_news_may_give_up_beside_another_who_does(self, server: Server) -> None:
        client = server.client()
        client.send("/wait_twice")
        eventually(lambda: server.app.seen == ["/wait_twice", "waiting"])
        client.close()
        eventually(lambda: server.app.seen == ["/wait_twice", "waiting", "http.disconnect"])

    def test_a_reader_that_does_not_read_makes_the_sender_wait(self, server: Server) -> None:
        client = server.client()
        client.send("/flood")
        eventually(lambda: server.app.seen[-1:] == ["paused"])
        assert len(client.response().read()) == server.app.sent
        eventually(lambda: server.app.seen == ["/flood", "paused", "over"])

    def test_a_sender_that_waits_is_let_go_when_the_reader_leaves(self, server: Server) -> None:
        client = server.client()
        client.send("/flood")
        eventually(lambda: server.app.seen[-1:] == ["paused"])
        client.close()
        eventually(lambda: server.app.seen == ["/flood", "paused", "over"])

    @pytest.mark.usefixtures("short_linger")
    def test_a_client_that_leaves_is_noticed_and_what_is_sent_then_goes_nowhere(self, server: Server) -> None:
        client = server.client()
        client.send("/wait", method="POST", body=b"{}")
        eventually(lambda: server.app.seen == ["/wait"])
        client.close()
        eventually(lambda: server.app.seen == ["/wait", "http.disconnect", "sent in silence"])
        eventually(lambda: server.state.tasks == set())

    @pytest.mark.parametrize("path", ["/fails", "/starts_nothing"])
    def test_a_failure_before_the_head_is_500(self, server: Server, path: str) -> None:
        client = server.client()
        client.send(path)
        found = client.response()
        assert (found.status, found.headers["connection"]) == (500, "close")
        assert found.read() == b"Internal Server Error"
        assert client.read_to_end() == b""

    @pytest.mark.parametrize(
        ("path", "sent"),
        [("/fails_later", b"some"), ("/never_ends", b""), ("/returns_something", b""), ("/too_short", b"less"),
         ("/too_long", b"")],
    )  # fmt: skip
    def test_a_failure_after_the_head_ends_the_connection(self, server: Server, path: str, sent: bytes) -> None:
        """So that what came is not taken for the whole."""
        client = server.client()
        client.send(path)
        head, _, body = client.read_to_end().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == sent

    @pytest.mark.parametrize("path", ["/splits_the_head", "/odd_name"])
    def test_a_head_that_would_be_two_is_not_sent(self, server: Server, path: str) -> None:
        client = server.client()
        client.send(path)
        assert client.read_to_end() == b""


class TestTheEnd:
    def test_an_idle_connection_is_closed(self) -> None:
        for protocol in PROTOCOLS:
            with serving(protocol, timeout_keep_alive=1) as server:
                client = server.client()
                assert client.ask("/echo") == (200, b"")
                assert client.ask("/echo") == (200, b"")
                assert client.read_to_end() == b""

    def test_a_server_that_stops_finishes_what_it_has_and_closes_the_rest(self, server: Server) -> None:
        server._server.config.timeout_graceful_shutdown = 60
        idle, used, busy = server.client(), server.client(), server.client()
        assert used.ask("/echo") == (200, b"")
        busy.send("/held")
        eventually(lambda: server.app.seen == ["/echo", "/held"] and len(server.state.connections) == 3)
        server.stop()
        assert (idle.read_to_end(), used.read_to_end()) == (b"", b"")
        server.app.go.set()
        found = busy.response()
        assert (found.read(), found.headers["connection"]) == (b"held", "close")
        assert busy.read_to_end() == b""

    def test_what_does_not_end_is_cancelled(self, server: Server, request: pytest.FixtureRequest) -> None:
        ours = "HttpProtocol-" in request.node.name
        server._server.config.timeout_graceful_shutdown = 0.1  # type: ignore[assignment]  # any number of seconds
        client = server.client()
        client.send("/wait", method="POST", body=b"{}")
        eventually(lambda: server.app.seen == ["/wait"])
        server.stop()
        found = client.response()
        assert (found.status, found.headers["connection"]) == (503 if ours else 500, "close")


def test_the_access_log_is_the_same() -> None:
    lines: dict[Any, list[str]] = {}
    for protocol in PROTOCOLS:
        heard = logging.Handler()
        with serving(protocol, log_level="info") as server:
            lines[protocol] = []
            heard.emit = lambda record, to=lines[protocol]: to.append(record.getMessage())  # type: ignore[misc]
            logger = logging.getLogger("uvicorn.access")
            logger.addHandler(heard)
            try:
                client = server.client()
                client.ask("/%C3%A9?q")
            finally:
                logger.removeHandler(heard)
            port = client.socket.getsockname()[1]
            lines[protocol] = [line.replace(str(port), "port") for line in lines[protocol]]
    assert lines[HttpProtocol] == lines[HttpToolsProtocol] == ['127.0.0.1:port - "GET /%C3%A9?q HTTP/1.1" 200']


class TestFallback:
    def test_this_uvicorn_is_supported(self) -> None:
        assert http_server.http_protocol() is HttpProtocol

    def test_one_that_makes_connections_in_another_way_is_served_by_its_own(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Other(HttpToolsProtocol):
            def __init__(
                self, config: Any, server_state: Any, app_state: Any, _loop: Any = None, x: int = 1
            ) -> None:
                super().__init__(config, server_state, app_state, _loop)

        monkeypatch.setattr(http_protocol, "HttpToolsProtocol", Other)
        assert http_server.http_protocol() == "auto"
        assert "is not supported, so uvicorn's own HTTP protocol serves: header_timeout," in caplog.text

    def test_one_that_shares_less_is_served_by_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "ServerState", object)
        assert http_server.http_protocol() == "auto"

    def test_without_httptools_uvicorn_serves_with_what_it_has(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        importlib.import_module("uvicorn.protocols.http.auto")  # so that this one is there again afterwards
        monkeypatch.setitem(sys.modules, "httptools", None)
        for name in ("protocol", "reader"):
            monkeypatch.delitem(sys.modules, f"enfilade.transports.http11.{name}")
        monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.auto")
        monkeypatch.delattr("uvicorn.protocols.http.auto")
        protocol = http_server.http_protocol()
        assert protocol == "auto"
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith("httptools is not installed, so uvicorn's own HTTP protocol serves")
        with serving(protocol) as server:
            assert server.client().ask("/echo", method="POST", body=b"{}") == (200, b"{}")
            assert server._server.config.http_protocol_class.__name__ == "H11Protocol"
