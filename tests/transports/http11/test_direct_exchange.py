"""Requests that are answered without ASGI, beside the same bytes by way of it: nothing else may differ.

A connection that has read a head serves the next request with the same head without parsing it. Easy to get
wrong: a comparison in which no head is ever known. So the requests that were not parsed are counted.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import httptools
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings, strategies as st
from uvicorn.server import ServerState

from enfilade import MCPApp
from enfilade.transports.http11.known_heads import (
    LONGEST_KEPT,
    MOST_FIELDS,
    MOST_KEPT,
    MOST_UNKNOWN,
    TRIED_AGAIN,
    head_of,
)
from enfilade.transports.http11.protocol import HttpProtocol
from enfilade.transports.http11.request_cycle import RequestCycle, Target
from support.http_client.connection import request_of
from support.http_client.protocol_driver import Driver, RecordingTransport, Verdict
from support.http_client.request_shapes import ROWS, head

FUZZ = settings(
    max_examples=300, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


async def both(segments: list[bytes]) -> tuple[Verdict, Verdict]:
    """Return what becomes of these bytes without ASGI, and by way of it."""
    direct, plain = Driver(HttpProtocol, is_direct=True), Driver(HttpProtocol)
    return await direct.judge(segments), await plain.judge(segments)


@pytest.mark.parametrize(("name", "raw"), ROWS, ids=[name for name, _ in ROWS])
def test_a_shape_is_served_as_by_way_of_asgi(run: Any, name: str, raw: bytes) -> None:
    direct, plain = run(both([raw]))
    assert direct == plain
    for count in (2, 7):
        size = len(raw) // count + 1
        direct, plain = run(both([raw[place : place + size] for place in range(0, len(raw), size)]))
        assert direct == plain


def call(body: bytes, *lines: str, length: str | None = None, method: str = "POST", target: str = "/a") -> bytes:
    announced = f"Content-Length: {len(body) if length is None else length}"
    return head(f"{method} {target} HTTP/1.1", *lines[:1], announced, *lines[1:]) + body


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what parsers are given from now on."""
    fed: list[bytes] = []

    class Parser(httptools.HttpRequestParser):  # type: ignore[misc]  # it has no types
        def feed_data(self, data: bytes) -> None:
            fed.append(bytes(data))
            super().feed_data(data)

    monkeypatch.setattr(httptools, "HttpRequestParser", Parser)
    return fed


def test_a_head_that_comes_again_is_not_parsed_again(run: Any, parsed: list[bytes]) -> None:
    """The first request tells nothing of a second, so it is the second whose head is kept.

    A length with more digits makes another head, which is kept as well.
    """
    sent = [call(b"x" * size, "A: b", "B: c") for size in (3, 3, 12, 3, 4, 12, 15, 0, 1)]
    verdict, other = run(both(sent))
    assert verdict == other
    assert verdict.statuses == (200,) * len(sent)
    assert verdict.served[-1] == b"POST /a x a=b"
    assert parsed == [*sent[:3], *sent]  # the latter by way of ASGI


def test_a_few_heads_are_kept(run: Any, parsed: list[bytes]) -> None:
    kinds = [call(b"x", f"A: {number}") for number in range(MOST_KEPT + 1)]
    driver = Driver(HttpProtocol, is_direct=True)
    verdict = run(driver.judge([kinds[0], *kinds[1:], *kinds[1:]]))
    assert verdict.served[-1] == b"POST /a x a=4"
    assert parsed == kinds
    parsed.clear()
    run(driver.judge([kinds[0], *kinds, *kinds]))  # one too many, each of which drives out the next
    assert parsed == [kinds[0], *kinds, *kinds]


def test_heads_that_are_all_different_are_hardly_kept(run: Any, parsed: list[bytes]) -> None:
    """They are searched for in vain, so only one now and then is kept, until one comes again."""
    different = [call(b"x", f"A: {number}") for number in range(MOST_UNKNOWN + 1)]
    again = [call(b"x", "A: b")] * TRIED_AGAIN
    verdict, other = run(both([*different, *again]))
    assert verdict == other
    by_way_of_asgi = len(different) + len(again)
    kept_at = TRIED_AGAIN - MOST_UNKNOWN  # of those that come again
    assert len(parsed) - by_way_of_asgi == len(different) + kept_at
    parsed.clear()
    run(Driver(HttpProtocol, is_direct=True).judge([*different, *again, different[0], *again]))
    assert parsed[-1] == different[0]  # one among known ones changes nothing


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(call(b"x", "A: b"), call(b"x", "A: c"), id="another value"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", target="/b"), id="another target"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", method="PUT"), id="another method"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b") + call(b"y"), id="another request behind it"),
        pytest.param(call(b"x", "A: b"), call(b"xy", "A: b", length="1"), id="bytes behind it"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", length="+1"), id="a sign"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", length="1 1"), id="two lengths"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", length=""), id="no length"),
        pytest.param(call(b"x", "A: b"), call(b"x", "A: b", length="9" * 20), id="too long a length"),
        pytest.param(call(b"x", "Connection: close"), call(b"y", "Connection: close"), id="the last request"),
        pytest.param(call(b"x", "Expect: 100-continue"), call(b"y", "Expect: 100-continue"), id="an expectation"),
        pytest.param(call(b"x", "X-Forwarded-For: 1"), call(b"y", "X-Forwarded-For: 1"), id="a proxy"),
        pytest.param(call(b"x", "A: b "), call(b"y", "A: b "), id="blanks"),
        pytest.param(call(b"x", "A: b", "A: c"), call(b"y", "A: b", "A: c"), id="a header twice"),
        pytest.param(b"\r\n" + call(b"x", "A: b"), b"\r\n" + call(b"y", "A: b"), id="a line end before it"),
    ],
)
def test_what_differs_is_read_as_by_way_of_asgi(run: Any, first: bytes, second: bytes) -> None:
    direct, plain = run(both([first, first, second, second]))
    assert direct == plain


def test_a_body_that_is_not_complete_is_waited_for(run: Any) -> None:
    whole = call(b"x" * 10, "A: b")
    direct, plain = run(both([whole, whole, whole[:-5], whole[-5:], whole, whole[:30], whole[30:]]))
    assert direct == plain
    assert direct.statuses == (200,) * 5


@pytest.mark.parametrize("size", [LONGEST_KEPT - 200, LONGEST_KEPT])
def test_a_long_head_is_not_kept(size: int) -> None:
    raw = call(b"x", f"A: {'b' * size}")
    assert (head_of(raw, Target("/a", b"/a", b""), None) is None) == (len(raw) > LONGEST_KEPT)


LINES = st.sampled_from([(), ("A: b",), ("A: c",), ("A: b", "B: d"), ("Connection: keep-alive",), ("A: b\t",)])
REQUESTS = st.builds(
    lambda body, lines, method, target: call(body, *lines, method=method, target=target),
    st.binary(max_size=12),
    LINES,
    st.sampled_from(["POST", "POST", "POST", "GET", "PUT"]),
    st.sampled_from(["/a", "/a", "/a?b", "/%C3%A9"]),
)


@FUZZ
@given(data=st.data(), sent=st.lists(REQUESTS, min_size=2, max_size=9))
def test_random_requests_are_read_as_by_way_of_asgi(run: Any, data: st.DataObject, sent: list[bytes]) -> None:
    """Most requests come whole, as clients send them; some are cut, run together or broken."""
    segments: list[bytes] = []
    for raw in sent:
        match data.draw(st.sampled_from(["whole"] * 6 + ["cut", "joined", "broken"])):
            case "cut":
                place = data.draw(st.integers(1, len(raw) - 1))
                segments += [raw[:place], raw[place:]]
            case "joined" if segments:
                segments[-1] += raw
            case "broken":
                place = data.draw(st.integers(0, len(raw) - 1))
                segments.append(raw[:place] + data.draw(st.binary(min_size=1, max_size=1)) + raw[place + 1 :])
            case _:
                segments.append(raw)
    direct, plain = run(both(segments))
    assert direct == plain


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "by way of ASGI"])
def test_a_connection_that_is_to_end_says_so_and_ends(run: Any, is_direct: bool) -> None:
    """A server that stops puts `connection: close` on every response (RFC 9112 §9.6)."""
    driver = Driver(HttpProtocol, is_direct=is_direct)
    sent = [call(b"x", "A: b")] * 4
    verdict = run(driver.judge(sent, [(b"date", b"today"), (b"connection", b"close")]))
    assert (verdict.statuses, verdict.lives) == ((200,), False)


class Connection:
    """A connection of ours to an application, without a socket."""

    def __init__(self, app: Any) -> None:
        self.wire = RecordingTransport()
        self.protocol = HttpProtocol(uvicorn.Config(app, log_config=None, proxy_headers=False), ServerState(), {})
        self.wire.protocol = self.protocol
        self.protocol.connection_made(self.wire)

    async def ask(self, *requests: bytes) -> bytes:
        """Send requests in one piece, and return their responses."""
        self.wire.written.clear()
        self.protocol.data_received(b"".join(requests))
        for _ in range(100):
            await asyncio.sleep(0)
        return bytes(self.wire.written)


def initialize() -> bytes:
    client = {"name": "a", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    message = request_of("initialize", params, 1, None)
    return post(json.dumps(message).encode())


def post(body: bytes) -> bytes:
    fields = ("Content-Type: application/json", "Accept: application/json, text/event-stream")
    raw = head("POST /mcp HTTP/1.1", f"Content-Length: {len(body)}", *fields)
    return raw.replace(b"Host: x", b"Host: 127.0.0.1") + body


class GuardedApp(MCPApp):
    """An app that lets nobody in without a key, before ASGI reaches it."""

    async def __call__(self, scope: Any, receive: Any, send: Any, *more: Any) -> None:
        if scope["type"] == "http" and (b"x-key", b"secret") not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await super().__call__(scope, receive, send, *more)


def test_a_call_of_its_own_is_not_gone_past(run: Any) -> None:
    async def work() -> None:
        connection = Connection(GuardedApp("guarded"))
        assert b" 401 " in await connection.ask(initialize())
        connection = Connection(MCPApp("open"))
        assert b" 200 " in await connection.ask(initialize())
        assert b" 200 " in await connection.ask(initialize())
        assert connection.protocol._known_heads, "it went by way of ASGI"

    run(work())


def test_a_call_that_was_replaced_is_not_gone_past(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tools do that trace programs without their help."""
    seen: list[str] = []
    original = MCPApp.__call__

    async def traced(app: MCPApp, scope: Any, *more: Any) -> None:
        seen.append(scope["path"])
        await original(app, scope, *more)

    monkeypatch.setattr(MCPApp, "__call__", traced)

    async def work() -> None:
        assert b" 200 " in await Connection(MCPApp("traced")).ask(initialize())

    run(work())
    assert seen == ["/mcp"]


def test_a_wrapper_that_hands_on_what_it_is_asked_for_is_asked(run: Any) -> None:
    class Wrapper:
        def __init__(self, app: MCPApp) -> None:
            self._app = app
            self.calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._app, name)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            self.calls += 1
            await self._app(scope, receive, send)

    async def work() -> None:
        wrapper = Wrapper(MCPApp("wrapped"))
        assert b" 200 " in await Connection(wrapper).ask(initialize())
        assert wrapper.calls == 1

    run(work())


def test_an_idle_connection_holds_no_head(run: Any) -> None:
    """Heads may be large, have credentials, and come on thousands of connections that are idle then."""

    async def work() -> None:
        connection = Connection(MCPApp("idle"))
        protocol = connection.protocol
        for _ in range(3):
            assert b" 200 " in await connection.ask(initialize())
        assert protocol._known_heads
        protocol._slots.sweep.check(protocol)
        assert (protocol._known_heads, type(protocol.cycle)) == ((), RequestCycle)
        protocol._slots.sweep.check(protocol)
        assert b" 200 " in await connection.ask(initialize())
        assert protocol._known_heads

    run(work())


def test_a_large_head_is_forgotten_with_the_response(run: Any) -> None:
    """It takes a second until the connection counts as idle, in which thousands of them may come."""

    async def work() -> None:
        connection = Connection(MCPApp("large"))
        large = initialize().replace(b"Accept:", b"X: " + b"x" * 60_000 + b"\r\nAccept:")
        for place in range(0, len(large), 8000):
            written = await connection.ask(large[place : place + 8000])
        assert b" 200 " in written
        assert type(connection.protocol.cycle) is RequestCycle

    run(work())


@pytest.mark.parametrize("count", [30, 31])
def test_a_head_with_many_fields_is_not_kept(count: int) -> None:
    raw = call(b"x", *(f"A{number}: b" for number in range(count)))
    assert (head_of(raw, Target("/a", b"/a", b""), None) is None) == (count + 2 > MOST_FIELDS)


def test_a_pipelined_request_sees_no_variables_of_the_one_before(run: Any) -> None:
    """Of several users behind one proxy, none may be taken for another."""
    user: ContextVar[str] = ContextVar("user", default="nobody")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = user.get().encode()
        user.set(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": body})

    async def work() -> None:
        raw = [call(b"", target="/alice"), call(b"", target="/bob"), call(b"", target="/carol")]
        assert (await Connection(app).ask(*raw)).count(b"\r\n\r\nnobody") == 3

    run(work())
