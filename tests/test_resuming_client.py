"""The resuming client: it resumes whatever breaks, and notices what a lenient one would not."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.harness import Serving
from support.http_client.resuming_client import Hung, Lost, Refused, ResumingClient, Stream, seeded
from support.http_client.sse_reader import EventReader
from support.proxy.round_robin_proxy import RoundRobinProxy

RESULT = {"content": [], "isError": False}
REFUSAL = b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no"}}'


class Scripted:
    """A server that answers `initialize`, and for the rest sends what a script says.

    Attributes:
        script: the events of the one stream there is; position is id. A number in between closes the response
            there, once; `hang` waits for ever, once, and so does a number below zero.
        seen: the Last-Event-ID of each GET.
        refusals: statuses that GETs get before one is served.
    """

    def __init__(self) -> None:
        self.serving = Serving(self, lifespan="off")
        self.begin([])

    def begin(self, script: list[Any], **options: Any) -> None:
        self.script = list(script)
        self.seen: list[str | None] = []
        self.refusals: list[int] = options.get("refusals", [])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.send = send
        fields = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        if scope["method"] == "GET":
            self.seen.append(fields.get("last-event-id"))
            if self.refusals:
                await self.answer(self.refusals.pop(0), REFUSAL, "application/json")
                return
            await self.stream(int(fields.get("last-event-id", "-1")) + 1)
        elif json.loads(body)["method"] == "initialize":
            info = {"name": "scripted", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
            opened = {"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}
            await self.answer(200, json.dumps(opened).encode(), "application/json")
        elif isinstance(self.script[0], int):
            await self.answer(self.script[0], REFUSAL, "application/json")
        else:
            await self.stream(0)

    async def answer(self, status: int, body: bytes, kind: str, more: bool = False) -> None:
        headers = [(b"content-type", kind.encode()), (b"mcp-session-id", b"one")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def stream(self, after: int) -> None:
        await self.answer(200, b": hello\n\n", "text/event-stream", more=True)
        for position, entry in list(enumerate(self.script)):
            if position < after or entry is None:
                continue
            if entry in ("close", "hang"):
                self.script[position] = None
                if entry == "hang":
                    await asyncio.Event().wait()
                break
            await self.send({"type": "http.response.body", "body": entry.encode(), "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})


def event(id: int | None, message: dict[str, Any] | None, retry: int | None = None) -> str:
    lines = [] if id is None else [f"id: {id}"]
    lines += [] if retry is None else [f"retry: {retry}"]
    data = "" if message is None else json.dumps({"jsonrpc": "2.0", **message})
    return "\n".join([*lines, f"data: {data}"]) + "\n\n"


def step(number: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": 1, "progress": number}}


def steps(stream: Stream) -> list[float]:
    return [params["progress"] for params in stream.sent("notifications/progress")]


DONE: dict[str, Any] = {"id": 1, "result": RESULT}


@pytest.fixture(scope="module")
def running() -> Iterator[Scripted]:
    scripted = Scripted()
    with scripted.serving:
        yield scripted


@pytest.fixture
def server(running: Scripted) -> Scripted:
    return running


def client(server: Scripted, **options: Any) -> ResumingClient:
    return ResumingClient(server.serving.port, **options)


def test_a_stream_that_ends_early_is_resumed_after_its_last_event(server: Scripted) -> None:
    server.begin([event(0, None, retry=10), event(1, step(1)), "close", event(3, step(2)), event(4, DONE)])
    stream = client(server).call("any")
    assert stream.result == RESULT
    assert (steps(stream), stream.ids, server.seen) == ([1, 2], ["0", "1", "3", "4"], ["1"])
    assert stream.retry == 0.01


def test_a_stream_that_is_cut_is_resumed_too_by_whoever_cuts_it(server: Scripted) -> None:
    server.begin([event(0, None), event(1, step(1)), "hang", event(3, step(2)), "hang", event(5, DONE)])
    with RoundRobinProxy([server.serving.port]) as proxy:
        stream = ResumingClient(proxy.port).call("any")
        next(stream)
        stream.cut(reset=True)
        next(stream)
        assert proxy.cut(lambda hop: hop.verb == "GET") == 1
        assert stream.result == RESULT
        assert (steps(stream), server.seen, stream.served_by) == ([1, 2], ["1", "3"], ["0", "0", "0"])


def test_a_server_that_is_away_is_asked_again(server: Scripted) -> None:
    server.begin([event(0, None), "close", event(2, DONE)], refusals=[503, 502])
    stream = client(server).call("any")
    assert stream.result == RESULT
    assert (stream.troubles, server.seen) == ([503, 502], ["0", "0", "0"])


def test_the_sessions_own_stream_goes_on_until_it_is_refused(server: Scripted) -> None:
    changed = {"method": "notifications/tools/list_changed"}
    server.begin([event(0, None), event(1, changed), "close", event(3, changed), "close"], refusals=[])
    stream = client(server).listen()
    next(stream), next(stream)
    server.refusals = [404]
    with pytest.raises(Refused) as refused:
        next(stream)
    assert (refused.value.status, server.seen) == (404, [None, "1", "3"])


def test_without_an_id_there_is_nothing_to_resume_from(server: Scripted) -> None:
    server.begin([event(None, step(1)), "close"])
    with pytest.raises(Lost):
        client(server).call("any").finish()


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_request_that_is_refused_is_not_sent_again(server: Scripted, status: int) -> None:
    server.begin([status])
    with pytest.raises(Refused) as refused:
        client(server).call("any").finish()
    assert (refused.value.status, refused.value.message) == (status, json.loads(REFUSAL))


def test_a_stream_that_hangs_fails_in_time(server: Scripted) -> None:
    server.begin([event(0, None), "hang"])
    with pytest.raises(Hung):
        client(server, timeout=0.2).call("any").finish()


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ([event(0, step(1)), "close", event(0, step(1)), event(2, DONE)], "event 0 came twice"),
        ([event(0, step(1)), event(0, step(2)), event(2, DONE)], "event 0 came twice"),
        ([event(0, DONE), event(1, step(1))], "after the response"),
        ([event(0, DONE), event(1, DONE)], "after the response"),
        ([event(0, {"id": 2, "result": RESULT})], "nobody knows"),
        ([event(0, {"id": 2, "error": {"code": 1, "message": ""}})], "another request"),
        ([event(0, {"id": 1, "result": {"content": 1}})], "content"),
    ],
)
def test_what_a_lenient_client_would_not_see_is_noticed(
    server: Scripted, script: list[str], complaint: str
) -> None:
    server.begin(script)
    with pytest.raises(AssertionError, match=complaint):
        client(server).call("any").finish()


def test_an_id_counts_once_its_event_is_complete() -> None:
    reader, whole = EventReader(), event(7, step(1), retry=5).encode()
    found = [each for byte in whole[:-1] for each in reader.feed(bytes([byte]))]
    assert found == []
    (only,) = reader.feed(whole[-1:])
    assert (only.id, only.retry, json.loads(only.data)["params"]) == ("7", 0.005, step(1)["params"])


def test_comments_and_other_fields_are_told_apart() -> None:
    reader = EventReader()
    (only,) = reader.feed(b": alive\n\nevent: message\r\nid: a\r\ndata: one\r\ndata:two\r\n\r\n: end\n")
    assert (only.id, only.kind, only.data, reader.comments) == ("a", "message", "one\ntwo", ["alive", "end"])
    with pytest.raises(AssertionError, match="no field"):
        list(reader.feed(b"\nheader: x\n\n"))


def test_chance_can_be_repeated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = [seeded().random() for _ in range(2)]
    assert first[0] != first[1]
    seeds = re.findall(r"ENFILADE_SEED=(\d+)", capsys.readouterr().out)
    monkeypatch.setenv("ENFILADE_SEED", seeds[1])
    assert seeded().random() == first[1]
