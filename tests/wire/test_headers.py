"""Headers as data: duplicates, media types, the Base64 sentinel, and agreement with the body."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from enfilade.wire import headers
from enfilade.wire.headers import MirroredParameter
from enfilade.wire.jsonrpc import HEADER_MISMATCH, RpcError


class TestRead:
    def test_lists_are_joined(self) -> None:
        """Trap 7: several Accept lines are one list."""
        assert headers.read([(b"accept", b"a"), (b"x", b"1"), (b"accept", b"b")])[b"accept"] == b"a, b"

    @pytest.mark.parametrize(
        "name",
        [
            b"mcp-method",
            b"mcp-name",
            b"mcp-param-x",
            b"host",
            b"origin",
        ],
    )
    def test_what_routes_or_guards_comes_once(self, name: bytes) -> None:
        """R-238, RFC 9112 §3.2: even where both copies are equal."""
        with pytest.raises(RpcError) as caught:
            headers.read([(name, b"a"), (name, b"a")])
        assert (caught.value.code, caught.value.status) == (HEADER_MISMATCH, 400)

    @pytest.mark.parametrize("name", [b"mcp-protocol-version", b"mcp-session-id", b"content-type"])
    def test_equal_copies_of_some_are_one(self, name: bytes) -> None:
        """Of copies that differ it stays unknown which is meant."""
        assert headers.read([(name, b"a"), (b"x", b"1"), (name, b" a")]) == {name: b"a", b"x": b"1"}
        with pytest.raises(RpcError) as caught:
            headers.read([(name, b"a"), (name, b"b")])
        assert (caught.value.code, caught.value.status) == (HEADER_MISMATCH, 400)

    def test_content_types_that_mean_the_same_are_one(self) -> None:
        json, utf8 = b"application/json", b"Application/JSON; charset=utf-8"
        assert headers.read([(b"content-type", json), (b"content-type", utf8)]) == {b"content-type": json}

    @pytest.mark.parametrize(
        ("value", "one"),
        [(b"a, a", b"a"), (b" a ,a, a ", b"a"), (b"a", b"a"), (b"a, b", b"a, b"), (b"", b""), (b"a,", b"a,")],
    )
    def test_what_a_proxy_has_joined(self, value: bytes, one: bytes) -> None:
        assert headers.single(value) == one


class TestAcceptable:
    """R-208, RFC 9110 §12.5.1."""

    @pytest.mark.parametrize(
        ("accept", "json", "stream"),
        [
            (b"application/json", True, False),
            (b"text/event-stream", False, True),
            (b"*/*", True, True),
            (b"application/*;q=0.1", True, False),
            (b"*/*;q=0, text/event-stream", False, True),
            (b"application/json;q=0, */*", False, True),
            (b"application/*;q=0, application/json", True, False),
            (b"*/*, application/*;q=0", False, True),
            (b"APPLICATION/JSON ; Q=1", True, False),
            (b"application/json;q=0.000", False, False),
            (b"application/json;q=", False, False),
            (b"application/json;q=nan", False, False),
            (b",,,", False, False),
            (b"", False, False),
            (b";", False, False),
            (b"application/json2, application/jso, json", False, False),
        ],
    )
    def test_table(self, accept: bytes, json: bool, stream: bool) -> None:
        assert headers.acceptable(accept) == (json, stream)

    @given(st.binary(max_size=40))
    def test_anything_has_an_answer(self, accept: bytes) -> None:
        assert headers.acceptable(accept) in [(a, b) for a in (True, False) for b in (True, False)]


def encoded(text: str) -> bytes:
    return b"=?base64?" + base64.b64encode(text.encode()) + b"?="


class TestSentinel:
    """R-240…R-245, R-258."""

    @given(st.text())
    def test_every_text_can_be_sent(self, text: str) -> None:
        assert headers.decode_sentinel(encoded(text)) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"plain", "plain"),
            (b" \tplain\t ", "plain"),
            (b"a b\tc", "a b\tc"),
            (b"", ""),
            (b"=?base64??=", ""),
            (b"=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
            (b"=?Base64?YQ==?=", "=?Base64?YQ==?="),
            (b"=?base64?YQ==", "=?base64?YQ=="),
            (b"?base64?YQ==?=", "?base64?YQ==?="),
            (b"=?base64?=", "=?base64?="),
            (b"x=?base64?YQ==?=", "x=?base64?YQ==?="),
            (b"=?base64?YR==?=", "a"),
        ],
    )
    def test_table(self, value: bytes, text: str) -> None:
        assert headers.decode_sentinel(value) == text

    @pytest.mark.parametrize(
        "value",
        [
            b"=?base64?YQ?=",
            b"=?base64?YQ=?=",
            b"=?base64?YQ===?=",
            b"=?base64?YWJj=?=",
            b"=?base64?=YQ=?=",
            b"=?base64?YQ==YQ==?=",
            b"=?base64?Y Q==?=",
            b"=?base64?Y\nQ==?=",
            b"=?base64?Y*Q=?=",
            b"=?base64?_-8=?=",
            b"=?base64?/w==?=",
            b"=?base64?\xff?=",
            b"caf\xe9",
            b"a\x00b",
            b"a\x7fb",
            b"a\rb",
        ],
    )
    def test_refused(self, value: bytes) -> None:
        with pytest.raises(RpcError) as caught:
            headers.decode_sentinel(value)
        assert caught.value.code == HEADER_MISMATCH


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
        "list": {"type": "array", "items": {"type": "string", "x-mcp-header": "Never"}},
        "plain": {"type": "string"},
    },
    "allOf": [{"properties": {"other": {"type": "string", "x-mcp-header": "Neither"}}}],
}


class TestMirroredParameters:
    def test_are_found_through_properties_alone(self) -> None:
        """R-253."""
        assert headers.mirrored_parameters(SCHEMA) == (
            MirroredParameter("Region", ("region",), "string"),
            MirroredParameter("Count", ("deep", "count"), "integer"),
        )

    @pytest.mark.parametrize(
        ("fields", "arguments", "agree"),
        [
            ({}, {}, True),
            ({}, {"region": None, "deep": None}, True),
            ({}, {"deep": {"count": None}}, True),
            ({b"mcp-param-count": b"5"}, {"deep": {"count": 5}}, True),
            ({b"mcp-param-count": b"5.00"}, {"deep": {"count": 5}}, True),
            ({b"mcp-param-count": b"5"}, {"deep": 5}, False),
            ({}, {"deep": {"count": 5}}, False),
            ({b"mcp-param-count": b"5"}, {"count": 5}, False),
            ({b"mcp-param-region": b"5"}, {"region": 5}, True),
            ({b"mcp-param-region": b"[1]"}, {"region": [1]}, False),
            ({b"mcp-param-region": b"x"}, {"region": ""}, False),
            ({b"mcp-param-region": b""}, {"region": ""}, True),
            ({b"mcp-param-other": b"x"}, {}, True),
        ],
    )
    def test_agreement(self, fields: dict[bytes, bytes], arguments: dict[str, Any], agree: bool) -> None:
        """R-255…R-259: at the exact path, present on both sides or on neither."""
        parameters = headers.mirrored_parameters(SCHEMA)
        if agree:
            headers.check_mirrored(fields, parameters, arguments)
        else:
            with pytest.raises(RpcError) as caught:
                headers.check_mirrored(fields, parameters, arguments)
            assert caught.value.code == HEADER_MISMATCH


@pytest.mark.parametrize(
    ("method", "member"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
def test_the_methods_that_have_a_name(method: str, member: str) -> None:
    """R-233, R-241."""
    params = SimpleNamespace(**{member: "größe"})
    headers.check_name({headers.NAME: encoded("größe")}, method, params)
    for wrong in ({}, {headers.NAME: b"size"}):
        with pytest.raises(RpcError):
            headers.check_name(wrong, method, params)
    headers.check_name({}, "tools/list", params)
