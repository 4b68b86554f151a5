"""What is kept of headers is bounded in entries and in bytes, whatever clients send."""

import tracemalloc

import pytest

from enfilade.transports.http.origin_checks import HostOriginPolicy
from enfilade.transports.http.request_checks import header_check_for
from enfilade.wire.headers import _DECODED, CACHED_HEADERS, LONGEST_CACHED, HeaderCache, check_name, is_json
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.tools import CallToolRequestParams


class TestCache:
    def test_a_value_is_made_once(self) -> None:
        made: list[bytes] = []
        cache = HeaderCache[bytes, bytes](lambda key: made.append(key) or key.upper(), len)  # type: ignore[func-returns-value]  # it appends
        assert [cache[b"a"], cache[b"a"]] == [b"A", b"A"]
        assert made == [b"a"]

    def test_what_is_used_stays_and_what_is_not_goes(self) -> None:
        made: list[int] = []
        cache = HeaderCache[int, int](lambda key: made.append(key) or key, lambda key: 1)  # type: ignore[func-returns-value]  # it appends
        for number in range(10 * CACHED_HEADERS):
            assert cache[number] == number
            assert cache[-1] == -1
            assert len(cache) <= CACHED_HEADERS
        assert made.count(-1) == 1
        assert cache[0] == 0
        assert made.count(0) == 2

    def test_what_is_long_is_not_kept(self) -> None:
        made: list[bytes] = []
        cache = HeaderCache[bytes, int](lambda key: made.append(key) or len(key), len)  # type: ignore[func-returns-value]  # it appends
        for _ in range(2):
            assert cache[b"x" * (LONGEST_CACHED + 1)] == LONGEST_CACHED + 1
            assert cache[b"x" * LONGEST_CACHED] == LONGEST_CACHED
        assert [len(each) for each in made] == [LONGEST_CACHED + 1, LONGEST_CACHED, LONGEST_CACHED + 1]

    def test_a_failure_is_not_kept(self) -> None:
        with pytest.raises(RpcError):
            check_name({b"mcp-name": b"=?base64?!?="}, "tools/call", CallToolRequestParams(name="a"))
        assert b"=?base64?!?=" not in _DECODED


def test_thousands_of_long_headers_take_little() -> None:
    """1,200 Accept headers of 55 KB, each another one, took 55 MB for good."""
    judged = header_check_for(HostOriginPolicy())
    base = {b"host": b"localhost", b"content-type": b"application/json"}
    tracemalloc.start()
    try:
        for number in range(1100):
            judged({**base, b"accept": b"application/json, x/y%d" % number + b", a/b" * 11_000})
            is_json(b"application/json; a=%d" % number + b"x" * 50_000)
            judged({**base, b"accept": b"application/json, x/y%d" % number + b" " * 900})
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 3_000_000
