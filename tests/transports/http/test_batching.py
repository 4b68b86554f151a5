"""Batches, which only 2025-03-26 has: R-340…R-344 over HTTP, R-412 on stdio."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.exchanges import Message, typed_id
from support.harness import PROBE_SERVER, Http, Stdio, eventually
from support.http_client.connection import BOTH, CLIENT, HttpSession, Reply, request_of

BATCHING = "2025-03-26"
INVALID, NO_METHOD, BAD_PARAMS, PARSE = -32600, -32601, -32602, -32700

NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}
ERROR = {"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "m"}}


def add(id: Any, a: int = 1) -> Message:
    return request_of("tools/call", {"name": "add", "arguments": {"a": a, "b": 1}}, id, None)


def call(id: Any, tool: str, **arguments: Any) -> Message:
    return request_of("tools/call", {"name": tool, "arguments": arguments}, id, None)


def ping(id: Any) -> Message:
    return request_of("ping", None, id, None)


INITIALIZE = request_of(
    "initialize", {"protocolVersion": BATCHING, "capabilities": {}, "clientInfo": CLIENT}, 9, None
)


@pytest.fixture
def session(http: Http) -> HttpSession:
    return http.initialize(BATCHING)


def by_id(messages: list[Message]) -> dict[Any, Any]:
    """Return outcomes by typed id: an error's code, or the result. No id may come twice."""
    responses = [message for message in messages if "method" not in message]
    outcomes = {typed_id(each["id"]): each.get("result", each.get("error", {}).get("code")) for each in responses}
    assert len(outcomes) == len(responses)
    return {id: outcome for (_, id), outcome in outcomes.items()}


@pytest.mark.parametrize("accept", [BOTH, "application/json", "text/event-stream"])
class TestRequests:
    def test_each_gets_its_answer(self, session: HttpSession, accept: str) -> None:
        """R-340, R-342, R-343: an array in JSON, an event each on a stream."""
        reply = session.post([ping(1), NOTE, add("1", 41), ping(0)], accept=accept)
        assert reply.status == 200
        outcomes = by_id(reply.messages)
        assert outcomes[0] == {}
        assert len(reply.messages) == 3
        sums = [message["result"]["content"][0]["text"] for message in reply.messages if message["id"] == "1"]
        assert sums == ["42"]
        assert reply.header("content-type") == ("application/json" if "json" in accept else "text/event-stream")

    def test_one_alone_is_still_an_array(self, session: HttpSession, accept: str) -> None:
        """R-342."""
        reply = session.post([ping(1)], accept=accept)
        assert (b"[" if "json" in accept else b"\nevent: message\n") in reply.body
        assert by_id(reply.messages) == {1: {}}

    def test_the_others_do_not_suffer(self, session: HttpSession, accept: str) -> None:
        """R-343: an element that is wrong gets an error of its own."""
        elements: list[Any] = [
            ping("good"),
            {},
            5,
            {"jsonrpc": "2.0", "id": 5, "method": 5},
            request_of("no/such", None, 6, None),
            request_of("tools/call", {}, 7, None),
            request_of("initialize", INITIALIZE["params"], 8, None),
            call(10, "crash"),
        ]
        reply = session.post(elements, accept=accept)
        nobody = [message["error"]["code"] for message in reply.messages if message["id"] is None]
        assert nobody == [INVALID, INVALID]
        outcomes = by_id([message for message in reply.messages if message["id"] is not None])
        assert outcomes.pop(10)["isError"] is True
        assert outcomes == {"good": {}, 5: INVALID, 6: NO_METHOD, 7: BAD_PARAMS, 8: INVALID}

    def test_an_id_twice(self, session: HttpSession, accept: str) -> None:
        """R-307: both are served, as they are in two bodies; nothing tells which is which but their results."""
        reply = session.post(
            [call(1, "echo", text="first"), call(1, "echo", text="second"), ping("1")], accept=accept
        )
        texts = [m["result"]["content"][0]["text"] for m in reply.messages if m.get("result")]
        assert sorted(texts) == ["first", "second"]
        assert sorted(str(m["id"]) for m in reply.messages) == ["1", "1", "1"]
        assert not [m for m in reply.messages if "error" in m]


def test_elements_run_side_by_side(session: HttpSession) -> None:
    """One that waits for another of the same batch gets it."""
    reply = session.post([call(1, "wait", name="batch"), call(2, "release", name="batch")])
    assert {message["id"] for message in reply.messages} == {1, 2}


def test_notifications_make_a_stream(session: HttpSession) -> None:
    """R-341, R-343: it ends after all responses."""
    report = request_of("tools/call", {"name": "report", "arguments": {"steps": 2}}, 1, {"progressToken": "p"})
    reply = session.post([report, ping(2)])
    assert reply.header("content-type") == "text/event-stream"
    assert len([message for message in reply.messages if message.get("method") == "notifications/progress"]) == 2
    assert len(by_id(reply.messages)) == 2


@pytest.mark.parametrize("elements", [[NOTE], [NOTE, NOTE], [RESPONSE, ERROR], [NOTE, RESPONSE]], ids=str)
def test_nothing_to_answer(session: HttpSession, elements: list[Message]) -> None:
    """R-341, R-321: 202 and no body."""
    reply = session.post(elements)
    assert (reply.status, reply.body) == (202, b"")


def test_the_length_is_bounded(session: HttpSession) -> None:
    """R-344, R-714."""
    assert len(session.post([ping(id) for id in range(100)]).messages) == 100
    reply = session.post([ping(id) for id in range(101)])
    assert (reply.status, reply.error["code"]) == (400, INVALID)
    assert "100" in reply.error["message"]


def test_a_cancellation_within(session: HttpSession, http: Http) -> None:
    """R-361: one call of a batch is cancelled, by another POST; the others are answered."""
    waiting = session.start_post([call("a", "wait", name="batch-a"), call("b", "wait", name="batch-b")])

    def journal(name: str) -> Any:
        return http.modern_call("journal", name=name).result["structuredContent"]["result"]

    eventually(lambda: journal("batch-a") == journal("batch-b") == ["entered"])
    session.cancel("a")
    eventually(lambda: "cancelled" in journal("batch-a"))
    session.call("release", id=9, name="batch-b")
    assert list(by_id(waiting.read().messages)) == ["b"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param([], 400, INVALID, id="empty (R-343)"),
        pytest.param(b"[" + b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, PARSE, id="not closed"),
        pytest.param([[ping(1)]], 200, INVALID, id="a batch in a batch"),
        pytest.param([None], 200, INVALID, id="null"),
    ],
)
def test_what_is_no_batch(session: HttpSession, body: Any, status: int, code: int) -> None:
    reply: Reply = session.post(body)
    (message,) = reply.messages
    assert (reply.status, message["error"]["code"], message["id"]) == (status, code, None)


class TestStdio:
    """R-412, R-344: elements are answered one by one, each on a line of its own."""

    @pytest.fixture
    def pipe(self) -> Iterator[Stdio]:
        with Stdio([sys.executable, str(PROBE_SERVER), "stdio"]) as stdio:
            stdio.initialize(BATCHING)
            yield stdio

    def test_each_gets_its_answer(self, pipe: Stdio) -> None:
        pipe.send([ping(1), NOTE, add("1", 41), {}, RESPONSE, request_of("no/such", None, 6, None)])
        assert pipe.answer(1)["result"] == {}
        assert pipe.answer("1")["result"]["content"][0]["text"] == "42"
        assert pipe.answer(None)["error"]["code"] == INVALID
        assert pipe.answer(6)["error"]["code"] == NO_METHOD
        assert pipe.end() == 0
        assert pipe.read_to_end() == []

    @pytest.mark.parametrize(
        ("element", "id"),
        [pytest.param(INITIALIZE, 9, id="initialize (R-305)"), pytest.param([ping(1)], None, id="a batch")],
    )
    def test_what_is_not_allowed_within(self, pipe: Stdio, element: Any, id: Any) -> None:
        pipe.send([element, ping("good")])
        assert pipe.answer("good")["result"] == {}
        (refusal,) = [pipe.read()]
        assert (refusal["error"]["code"], refusal["id"]) == (INVALID, id)

    def test_an_id_twice(self, pipe: Stdio) -> None:
        """R-307: both are answered."""
        pipe.send([call(1, "wait", name="x"), call(1, "echo", text="x"), call(2, "release", name="x")])
        texts = {pipe.answer(1)["result"]["content"][0]["text"] for _ in range(2)}
        assert texts == {"x", "x released"}
        assert pipe.answer(2)["result"]

    def test_a_long_one(self, pipe: Stdio) -> None:
        """R-344, R-714: the same bound as over HTTP."""
        pipe.send([ping(id) for id in range(101)])
        answer = pipe.read()
        assert (answer["error"]["code"], answer["id"]) == (INVALID, None)
        pipe.send([ping(id) for id in range(100)])
        assert {pipe.read()["id"] for _ in range(100)} == set(range(100))
