"""The proxy of the fault tests: it sends every request elsewhere, hides nothing and mends nothing."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from support.harness import Http, Serving, eventually
from support.http_client.connection import PendingReply
from support.proxy.round_robin_proxy import HOST, ProxiedExchange, RoundRobinProxy

PIECE = b"0123456789abcdef" * 4096


class Backend:
    """An ASGI application that says who it is, and streams as far as it is let."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.forget()
        self.serving = Serving(self, lifespan="off")

    def forget(self) -> None:
        self.bodies: list[bytes] = []
        self.gone = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, gone = b"", self.gone  # of the test that this request is of, also if it outlives it
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        headers = [(b"x-name", self.name.encode()), (b"content-type", b"text/event-stream")]
        if b'"initialize"' in body:
            headers.append((b"mcp-session-id", b"opened"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await receive()
            gone.set()
        elif scope["path"] == "/flood":
            for _ in range(256):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})


@pytest.fixture(scope="module")
def running() -> Iterator[list[Backend]]:
    backends = [Backend(str(index)) for index in range(3)]
    with ExitStack() as stack:
        for backend in backends:
            stack.enter_context(backend.serving)
        yield backends


@pytest.fixture
def backends(running: list[Backend]) -> list[Backend]:
    for backend in running:
        backend.forget()
    return running


@pytest.fixture
def proxy(backends: list[Backend]) -> Iterator[RoundRobinProxy]:
    with RoundRobinProxy([backend.serving.port for backend in backends]) as proxy:
        yield proxy


def names(http: Http, count: int, **headers: str) -> list[str | None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return [http.request("POST", b"{}", dict(fields)).header("x-name") for _ in range(count)]


def begin(proxy: RoundRobinProxy, path: str = "/stream", **headers: str) -> PendingReply:
    """Send a GET whose response does not end, and wait for its beginning."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    waiting = Http(proxy.port).start("GET", b"", dict(fields), path=path)
    assert waiting.status == 200
    return waiting


def by_session(session: str) -> Any:
    def which(hop: ProxiedExchange) -> bool:
        return hop.session == session

    return which


def test_every_request_goes_to_another_backend_than_the_one_before(proxy: RoundRobinProxy) -> None:
    http = Http(proxy.port)
    assert names(http, 7) == ["0", "1", "2", "0", "1", "2", "0"]
    assert [hop.backend for hop in proxy.log] == [0, 1, 2, 0, 1, 2, 0]
    assert {(hop.status, hop.verb) for hop in proxy.log} == {(200, "POST")}


def test_a_session_never_meets_the_same_backend_twice_in_a_row_whoever_comes_between(
    proxy: RoundRobinProxy,
) -> None:
    http = Http(proxy.port)
    with ThreadPoolExecutor(4) as threads:
        served = list(threads.map(lambda name: names(http, 20, mcp_session_id=name), ["a", "b", "c", "d"]))
    for each in served:
        assert [pair for pair in pairwise(each) if pair[0] == pair[1]] == []


def test_the_request_after_initialize_goes_elsewhere_too(proxy: RoundRobinProxy) -> None:
    http = Http(proxy.port)
    opening = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize"}).encode()
    first = http.request("POST", opening)
    names(http, 2, mcp_session_id="another")
    assert names(http, 1, mcp_session_id="opened") != [first.header("x-name")]


def test_a_pinned_request_goes_where_it_must(proxy: RoundRobinProxy) -> None:
    assert names(Http(proxy.port), 3, x_backend="1") == ["1", "1", "1"]


def test_bodies_arrive_whole_with_a_length_and_in_chunks(proxy: RoundRobinProxy, backends: list[Backend]) -> None:
    Http(proxy.port).request("POST", PIECE * 20)
    connection = http.client.HTTPConnection(HOST, proxy.port, timeout=30)
    connection.request("POST", "/mcp", body=iter([PIECE] * 20), encode_chunked=True)
    assert connection.getresponse().read() == b"last"
    assert [backends[0].bodies, backends[1].bodies] == [[PIECE * 20]] * 2


def test_a_large_response_arrives_whole(proxy: RoundRobinProxy) -> None:
    assert Http(proxy.port).request("GET", path="/flood").body == PIECE * 256 + b"last"


def test_what_a_backend_has_sent_is_passed_on_while_it_thinks(proxy: RoundRobinProxy) -> None:
    waiting = begin(proxy)
    assert waiting.response.read1() == b"first"


@pytest.mark.parametrize("leave", [PendingReply.cut, PendingReply.reset])
def test_a_client_that_leaves_takes_the_backends_connection_with_it(
    proxy: RoundRobinProxy, backends: list[Backend], leave: Any
) -> None:
    leave(begin(proxy))
    assert backends[0].gone.wait(30)
    assert proxy.log[0].ended == "client"


def test_a_backend_that_dies_within_a_response_cuts_the_client_off() -> None:
    with socket.create_server((HOST, 0)) as listener, RoundRobinProxy([listener.getsockname()[1]]) as proxy:
        waiting = Http(proxy.port).start("GET")
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert waiting.response.read1() == b"first"
        connection.close()
        with pytest.raises(http.client.IncompleteRead):
            waiting.response.read1()


def test_a_backend_that_dies_before_its_response_leaves_the_client_without_one() -> None:
    with socket.create_server((HOST, 0)) as listener, RoundRobinProxy([listener.getsockname()[1]]) as proxy:
        waiting = Http(proxy.port).start("GET")
        connection, _ = listener.accept()
        connection.close()
        with pytest.raises(ConnectionResetError):
            _ = waiting.response


def test_backends_that_are_out_or_refuse_are_passed_over(proxy: RoundRobinProxy) -> None:
    proxy.take_out(1)
    assert names(Http(proxy.port), 3) == ["0", "2", "0"]
    proxy.put_back(1)
    with Backend("brief").serving as brief:
        assert proxy.add(brief.port) == 3
        assert names(Http(proxy.port), 3) == ["1", "2", "brief"]
    assert names(Http(proxy.port), 4) == ["0", "1", "2", "0"]


def test_without_any_backend_the_answer_is_502() -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]
    with RoundRobinProxy([port]) as proxy:
        assert Http(proxy.port).request("POST", b"{}").status == 502


@pytest.mark.parametrize(("reset", "broken"), [(True, ConnectionResetError), (False, http.client.IncompleteRead)])
def test_connections_are_cut_one_clients_or_all(
    proxy: RoundRobinProxy, backends: list[Backend], reset: bool, broken: type[Exception]
) -> None:
    mine, other, third = (begin(proxy, mcp_session_id=name) for name in ("mine", "other", "third"))
    assert [each.response.read1() for each in (mine, other, third)] == [b"first"] * 3
    assert proxy.cut(by_session("mine"), reset=reset) == 1
    with pytest.raises(broken):
        mine.response.read1()
    assert backends[0].gone.wait(30)
    assert [hop.session for hop in proxy.under_way()] == ["other", "third"]
    assert proxy.cut(reset=reset) == 2
    with pytest.raises(broken):
        other.response.read1()
    third.close()


def test_a_server_learns_nothing_of_a_client_that_is_stranded(
    proxy: RoundRobinProxy, backends: list[Backend]
) -> None:
    stranded, other = begin(proxy), begin(proxy)
    assert stranded.response.read1() == b"first"
    assert proxy.strand(lambda hop: hop.backend == 0) == 1
    with pytest.raises(ConnectionResetError):
        stranded.response.read1()
    other.close()
    assert backends[1].gone.wait(30)  # by now the first would have heard, too
    assert not backends[0].gone.is_set()


def test_a_stalled_direction_lets_nothing_through_until_it_is_let_go(
    proxy: RoundRobinProxy, backends: list[Backend]
) -> None:
    with proxy.stalled("down", by_session("slow")):
        slow = Http(proxy.port).start("POST", b"{}", {"mcp-session-id": "slow"})
        eventually(lambda: backends[0].bodies)
        assert names(Http(proxy.port), 1) == ["1"]
        eventually(lambda: [hop.session for hop in proxy.under_way()] == ["slow"])
    assert slow.read().header("x-name") == "0"


def test_a_stalled_reader_is_felt_by_the_backend(proxy: RoundRobinProxy) -> None:
    with proxy.stalled("down"):
        waiting = Http(proxy.port).start("GET", path="/flood")
        eventually(lambda: proxy.log and proxy.log[0].status == 200)
        assert proxy.under_way() == proxy.log
    assert waiting.read().body == PIECE * 256 + b"last"
