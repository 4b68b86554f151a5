"""Our HTTP/1.1 beside uvicorn's with h11: the same bytes, and what each of the two makes of them.

Each row of `request_shapes.py` is sent at once and then in pieces, cut at every byte if it is short. What becomes
of it must not depend on the cuts, and must be what h11 makes of it, unless the table says what else and why.
Random requests, some of them slightly broken, are compared as well; hypothesis prints how to reproduce what it
found.

Easy to get wrong: two servers that both refuse everything agree. So the table is also counted: how many are
served.
"""

import asyncio
import contextlib
import re
import sys
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from uvicorn.protocols.http.h11_impl import H11Protocol

from enfilade.transports.http11.protocol import HttpProtocol
from support.http_client.protocol_driver import Driver, Verdict, statuses_of
from support.http_client.raw_http import Server
from support.http_client.request_shapes import CHUNKED, DIFFERENCES, ROWS, UPGRADE, head

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
SHORT = 200  # bytes of a row that is cut at each of them


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def cuts(raw: bytes) -> Iterator[list[bytes]]:
    """Yield the bytes in two pieces, in all ways that matter, and one by one."""
    if len(raw) <= SHORT:
        places = range(1, len(raw))
    else:  # around whatever ends something, in the first bytes and in the last
        ends = [found.start() for found in re.finditer(rb"[\r\n: ;]", raw)]
        places = sorted({place for end in ends[:40] + ends[-40:] for place in (end, end + 1)} - {0, len(raw)})
    for place in places:
        yield [raw[:place], raw[place:]]
    if len(raw) <= 10 * SHORT:
        yield [raw[place : place + 1] for place in range(len(raw))]
    yield [raw[place : place + 1000] for place in range(0, len(raw), 1000)]


def final(verdict: Verdict) -> Verdict:
    """Leave out 100 Continue: a request that is refused at once has not come as far as that."""
    return verdict._replace(statuses=tuple(status for status in verdict.statuses if status != 100))


def ours_and_theirs() -> tuple[Driver, Driver]:
    return Driver(HttpProtocol), Driver(H11Protocol)


def test_the_table_is_whole() -> None:
    names = [name for name, _ in ROWS]
    assert len(set(names)) == len(names) >= 150
    assert set(names) >= set(DIFFERENCES)
    assert all(re.match(r"RFC \d{4} §", why) for _, why in DIFFERENCES.values())


@pytest.mark.parametrize(("name", "raw"), ROWS, ids=[name for name, _ in ROWS])
def test_a_shape_is_read_as_h11_reads_it(run: Any, name: str, raw: bytes) -> None:
    async def judge() -> None:
        ours, theirs = ours_and_theirs()
        verdict, other = await ours.judge([raw]), await theirs.judge([raw])
        if name in DIFFERENCES:
            assert verdict == DIFFERENCES[name][0]
            assert verdict != other, "h11 has come round: the row is not needed"
        else:
            assert verdict == other
        for pieces in cuts(raw):
            assert final(await ours.judge(pieces)) == final(verdict), pieces

    run(judge())


def test_most_of_the_table_is_served(run: Any) -> None:
    async def judge() -> list[Verdict]:
        ours, _ = ours_and_theirs()
        return [await ours.judge([raw]) for _, raw in ROWS]

    verdicts = run(judge())
    assert sum(verdict.lives for verdict in verdicts) > 130
    assert sum(len(verdict.served) > 1 for verdict in verdicts) > 100
    assert sum(verdict.statuses[-1:] == (400,) for verdict in verdicts) > 100


@pytest.mark.parametrize("loop", LOOPS)
def test_and_so_over_sockets(run: Any, loop: str) -> None:
    """Some rows of each kind, with a real event loop in between."""
    rows = [(name, raw) for name, raw in ROWS if len(raw) < 60_000][:: 7 if loop == "asyncio" else 11]

    async def judge() -> list[Verdict]:
        ours, _ = ours_and_theirs()
        return [await ours.judge([raw]) for _, raw in rows]

    with Server(
        http=HttpProtocol, loop=loop, proxy_headers=False, date_header=False, server_header=False
    ) as server:
        server.app.echo = echo_of_all  # type: ignore[method-assign]
        for (name, raw), verdict in zip(rows, run(judge()), strict=True):
            client = server.client()
            client.socket.sendall(raw)
            got = b""
            if verdict.lives:
                while len(got) < 10**6 and got.count(b"HTTP/1.1 ") < len(verdict.statuses):
                    got += client.socket.recv(65536)
                client.socket.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    got += client.socket.recv(65536)
            else:
                got = client.read_to_end()
            assert statuses_of(got, verdict.served) == verdict.statuses, name
            client.close()


async def echo_of_all(scope: Any, receive: Any, send: Any) -> None:
    from support.http_client.protocol_driver import Echo, RecordingTransport

    await Echo(RecordingTransport())(scope, receive, send)


# -- random requests -----------------------------------------------------------------------------------------

BODIES = st.binary(max_size=40) | st.just(head("GET /smuggled HTTP/1.1"))
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"'])
TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"Host: y\r\nX: z\r\n"])
LINES = st.lists(
    st.sampled_from(
        ["A: b", "A:  b \t", "Connection: keep-alive", "Connection: close", "Expect: 100-continue", "Accept: */*",
         "Upgrade: h2c", "Connection: Upgrade", *UPGRADE, "X-Forwarded-For: 1.2.3.4", "Content-Type: text/plain"]
    ),
    max_size=4,
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is valid."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]))
    version = draw(st.sampled_from(["1.1"] * 7 + ["1.0"]))
    target = draw(st.sampled_from(["/", "/a", "/a?b=c", "/%C3%A9", "//x", "/" + "y" * 100]))
    lines, body = draw(LINES), b""
    framing = draw(st.sampled_from(["none", "length", "chunks"] if version == "1.1" else ["none", "length"]))
    if framing == "length":
        body = draw(BODIES)
        lines.insert(draw(st.integers(0, len(lines))), f"Content-Length: {len(body)}")
    elif framing == "chunks":
        lines.insert(draw(st.integers(0, len(lines))), CHUNKED)
        for chunk in draw(st.lists(BODIES.filter(bool), max_size=3)):
            body += b"%x%b\r\n%b\r\n" % (len(chunk), draw(EXTENSIONS), chunk)
        body += b"0\r\n%b\r\n" % draw(TRAILERS)
    return head(f"{method} {target} HTTP/{version}", *lines) + body


@st.composite
def segmented(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


FUZZ = settings(
    max_examples=400, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), database=None
)


@FUZZ
@given(data=st.data(), sent=st.lists(requests(), min_size=1, max_size=5))
def test_random_requests_are_read_as_h11_reads_them(run: Any, data: st.DataObject, sent: list[bytes]) -> None:
    pieces = data.draw(segmented(b"".join(sent)))

    async def judge() -> tuple[Verdict, Verdict]:
        ours, theirs = ours_and_theirs()
        return await ours.judge(pieces), await theirs.judge(pieces)

    verdict, other = run(judge())
    assert verdict == other
    assert verdict.statuses
    assert set(verdict.statuses) <= {100, 200}


@FUZZ
@given(
    data=st.data(),
    sent=st.lists(
        st.tuples(
            st.sampled_from(["GET", "GET", "POST", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"]),
            st.sampled_from(["/a", "/a", "/a?b", "/", "*", "x:443"]),
            st.sampled_from([(), (), UPGRADE, ("A: b",), ("A: b \t",)]),
        ),
        min_size=2,
        max_size=7,
    ),
)
def test_what_a_method_may_not_have_is_refused_whatever_came_before(
    run: Any, data: st.DataObject, sent: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    """The same few targets come again and again on one connection, with methods that may have them or not."""
    raw = [head(f"{method} {target} HTTP/1.1", *lines) for method, target, lines in sent]
    due = [
        501 if method == "CONNECT" else 200 if target[0] == "/" or (method, target) == ("OPTIONS", "*") else 400
        for method, target, _ in sent
    ]
    good = next((count for count, status in enumerate(due) if status != 200), len(due))
    pieces = data.draw(segmented(b"".join(raw)))

    async def judge() -> Verdict:
        return await ours_and_theirs()[0].judge(pieces)

    verdict = run(judge())
    assert verdict.statuses == tuple(due[: good + 1])
    assert list(verdict.served) == (read_by_h11(b"".join(raw[:good])) if good else [])
    assert verdict.lives == (good == len(due))


#: Bytes that are put somewhere into a request.
BROKEN = st.sampled_from(
    [b"\0", b"\r", b" ", b":", b"\r\n", b"\x80", b"1", b"x", b"\t", b",", b";", b"\r\n\r\n", b"0"]
)


@FUZZ
@given(data=st.data(), sent=st.lists(requests(), min_size=1, max_size=3))
def test_a_broken_request_smuggles_nothing(run: Any, data: st.DataObject, sent: list[bytes]) -> None:
    """We may refuse what h11 reads, but of what both read, both have read the same."""
    whole = b"".join(sent)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole = whole[:place] + data.draw(BROKEN) + whole[place + data.draw(st.integers(0, 2)) :]
    pieces = data.draw(segmented(whole))

    async def judge() -> tuple[Verdict, Verdict]:
        ours, _ = ours_and_theirs()
        return await ours.judge(pieces), await ours.judge([whole])

    verdict, at_once = run(judge())
    assert final(verdict) == final(at_once)
    for mine, its in zip(verdict.served, read_by_h11(whole), strict=False):
        assert mine == its


def read_by_h11(raw: bytes) -> list[bytes]:
    """Return the requests that h11 alone finds up to the first fault, as `Echo` would have them."""
    connection, found = h11.Connection(h11.SERVER), []
    connection.receive_data(raw)
    request, body = h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"x")]), b""
    try:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                found.append(said(request, body))
                connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
    except h11.ProtocolError:
        pass
    return found


def said(request: h11.Request, body: bytes) -> bytes:
    target = re.sub(rb"^https?://[^/?#]*", b"", request.target)  # of which uvicorn makes no path
    path, question, query = target.partition(b"#")[0].partition(b"?")
    path = urllib.parse.unquote(path.decode("ascii")).encode() or b"/"
    seen = b",".join(value for name, value in request.headers if name == b"a")
    more = b" a=" + seen if seen else b""
    return b"%b %b%b %b%b" % (request.method, path, question and query and b"?" + query, body, more)
