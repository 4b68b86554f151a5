"""The envelope: what is a request, a notification or a response, what is none, and how answers are written."""

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw

from enfilade.wire import jsonrpc
from enfilade.wire.jsonrpc import INVALID_REQUEST, PARSE_ERROR, Envelope, RpcError, decode

DEEP = 1_000_000  # CPython 3.14 bounds the stack by its bytes, earlier ones by a count


def failure(body: bytes) -> RpcError:
    with pytest.raises(RpcError) as caught:
        decode(body)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "id", ["0", "-1", "1", "9007199254740993", '""', '"1"', '"é"', '"a\\u0000b"', '"\\ud83d\\ude00"']
)
def test_an_id_keeps_its_type_and_value(id: str) -> None:
    """R-276."""
    envelope = decode(b'{"jsonrpc":"2.0","id":' + id.encode() + b',"method":"m"}')
    assert isinstance(envelope, Envelope)
    assert envelope.id is not UNSET
    assert (type(envelope.id), envelope.id) == (type(json.loads(id)), json.loads(id))
    assert json.loads(jsonrpc.encode_id(envelope.id)) == envelope.id


@pytest.mark.parametrize("id", ["null", "true", "false", "1.5", "1.0", "1e0", "[]", "{}"])
def test_what_is_no_id(id: str) -> None:
    """E-33, R-209: neither an id nor a notification."""
    error = failure(b'{"jsonrpc":"2.0","id":' + id.encode() + b',"method":"m"}')
    assert (error.code, error.id) == (INVALID_REQUEST, UNSET)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"m"}', "request"),
        (b'{"jsonrpc":"2.0","method":"m"}', "notification"),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', "response"),
        (b'{"jsonrpc":"2.0","id":1,"error":{}}', "response"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}', "response"),
        (b' {"jsonrpc" : "2.0" , "method" : "m"}\r\n', "notification"),
        (b'{"method":"\\u006d","jsonrpc":"2.0","unknown":[1]}', "notification"),
    ],
)
def test_kinds(body: bytes, kind: str) -> None:
    envelope = decode(body)
    assert isinstance(envelope, Envelope)
    if envelope.method is UNSET:
        assert kind == "response"
    else:
        assert envelope.method == "m"
        assert kind == ("notification" if envelope.id is UNSET else "request")


@pytest.mark.parametrize(
    ("body", "id"),
    [
        (b"{}", UNSET),
        (b'"text"', UNSET),
        (b"null", UNSET),
        (b'{"jsonrpc":"1.0","id":1,"method":"m"}', 1),
        (b'{"jsonrpc":2.0,"id":"x","method":"m"}', "x"),
        (b'{"id":1,"method":"m"}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', 1),
        (b'{"jsonrpc":"2.0","id":1}', 1),
        (b'{"jsonrpc":"2.0","result":{}}', UNSET),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[]}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":5}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":"x"}', 1),
    ],
)
def test_json_that_is_no_message(body: bytes, id: Any) -> None:
    """E-32, D17, D18: the id is told back where it could be read, with its own type."""
    error = failure(body)
    assert (error.code, error.id) == (INVALID_REQUEST, id)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"jsonrpc":"2.0","method":"m"}}',
        b'{"jsonrpc":"2.0","method":"\xff"}',
        b'{"jsonrpc":"2.0","method":"m","params":{"x":"\xff"}}',
        b'{"jsonrpc":"2.0","method":"m","params":{"x":"\xed\xa0\x80"}}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"jsonrpc":"2.0","method":"m"}',
        "{}".encode("utf-16"),
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"jsonrpc":"2.0","method":"m","params":{"a":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_json(body: bytes) -> None:
    """E-31, D20, R-215: UTF-8 everywhere, and no depth that could hurt."""
    assert failure(body).code == PARSE_ERROR


def test_params_stay_raw() -> None:
    envelope = decode(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a": [1, 2]}}')
    assert isinstance(envelope, Envelope)
    assert isinstance(envelope.params, Raw)
    assert bytes(envelope.params) == b'{"a": [1, 2]}'


def test_null_params_are_absent() -> None:
    """D41."""
    envelope = decode(b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}')
    assert isinstance(envelope, Envelope)
    assert envelope.params is UNSET


def test_an_array_stays_in_parts() -> None:
    """R-340: what its elements are is for the batch to say."""
    elements = decode(b'[{"a":1}, 5,[]]')
    assert isinstance(elements, list)
    assert [bytes(element) for element in elements] == [b'{"a":1}', b"5", b"[]"]
    assert decode(b"[]") == []


def test_encoding() -> None:
    assert json.loads(jsonrpc.encode_result(7, b'{"a":1}')) == {"jsonrpc": "2.0", "id": 7, "result": {"a": 1}}
    assert jsonrpc.encode_notification("m") == b'{"jsonrpc":"2.0","method":"m"}'
    assert json.loads(jsonrpc.encode_notification("m", b"{}"))["params"] == {}


@pytest.mark.parametrize(
    ("id", "data", "body"),
    [
        (1, UNSET, {"jsonrpc": "2.0", "id": 1, "error": {"code": 5, "message": "m"}}),
        ("1", None, {"jsonrpc": "2.0", "id": "1", "error": {"code": 5, "message": "m", "data": None}}),
        (None, {"a": 1}, {"jsonrpc": "2.0", "id": None, "error": {"code": 5, "message": "m", "data": {"a": 1}}}),
    ],
)
def test_errors(id: Any, data: Any, body: Any) -> None:
    """C-18: an id that could not be read is null, never invented (D18)."""
    assert json.loads(jsonrpc.encode_error(id, RpcError(5, "m", data))) == body


def test_nothing_that_is_written_has_a_line_break() -> None:
    """R-271, R-401: one message is one line."""
    for message in (
        jsonrpc.encode_error("a\nb", RpcError(5, "line\r\nbreak\u2028", {"x": "\n"})),
        jsonrpc.encode_result("a\nb", b"{}"),
        jsonrpc.encode_notification("a\nb"),
    ):
        assert b"\n" not in message
        assert b"\r" not in message


NESTED = b"[" * DEEP + b"]" * DEEP
TOO_DEEP = {
    "id before": (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":%b}}', 7),
    "id after": (b'{ "params" : {"a":%b} , "jsonrpc":"2.0", "method":"tools/call", "id" : "q" }\n', "q"),
    "method after": (b'{"id":7,"params":{"a":%b},"method":"tools/call","jsonrpc":"2.0"}', 7),
    "brackets in strings": (b'{"x":"}, \\"id\\":8, {[","id":7,"method":"m","params":%b,"y":"},"}', 7),
    "id of nobody's": (b'{"jsonrpc":"2.0","method":"m","params":{"id":7,"a":%b}}', UNSET),
    "no id": (b'{"jsonrpc":"2.0","method":"m","params":%b}', UNSET),
    "id true": (b'{"jsonrpc":"2.0","id":true,"method":"m","params":%b}', UNSET),
    "a response": (b'{"jsonrpc":"2.0","id":7,"result":%b}', UNSET),
    "cut short": (b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":' + b"[" * DEEP + b"%.0b", 7),
    "an array": (b'[{"jsonrpc":"2.0","id":7,"method":"m","params":%b}]', UNSET),
}


@pytest.mark.parametrize(("body", "id"), TOO_DEEP.values(), ids=TOO_DEEP)
def test_a_request_nested_too_deeply_is_answered_under_its_id(body: bytes, id: object) -> None:
    error = failure(body % NESTED)
    assert (error.code, error.id) == (PARSE_ERROR if id is UNSET else INVALID_REQUEST, id)
    assert "nested too deeply" in error.message
