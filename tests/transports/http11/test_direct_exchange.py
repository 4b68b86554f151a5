"""Requests that are answered without ASGI, beside the same bytes by way of it: nothing else may differ.

A connection that has read a head serves the next request with the same head without parsing it. Easy to get
wrong: a comparison in which no head is ever known. So the requests that were not parsed are counted.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from enfilade.transports.http11.known_heads import LONGEST_KEPT, MOST_KEPT, head_of
from enfilade.transports.http11.protocol import HttpProtocol
from enfilade.transports.http11.request_cycle import Target
from support.http_client.protocol_driver import Driver, Verdict
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
