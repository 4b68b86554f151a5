"""`HTTPStreamableTransport`, row by row: S1–S51 as they apply to a session loop that somebody brings along.

The loop is the test itself, at the other ends of the two memory streams. Easy to get wrong: a test of something
that does not happen. Each waits for what comes instead.
"""

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pydantic
import pytest
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from enfilade import (
    EventCallback,
    EventStore,
    HTTPStreamableTransport,
    MemoryEventStore,
    RelatedMessage,
    SqliteEventStore,
    as_session_message,
    as_text,
)
from enfilade.timings import Timings
from enfilade.transports.http.limits import HttpOptions
from enfilade.transports.http.response import ResponseOptions
from support.http_client.asgi_connection import TIMEOUT, AsgiConnection, Exchange, notification, request, result

pytestmark = pytest.mark.anyio

ID = "session-1"
CHANGED = notification("notifications/tools/list_changed")


def progress(step: int) -> dict[str, Any]:
    return notification("notifications/progress", progressToken=1, progress=step)


class BothSides:
    """A transport between its two sides: the loop's streams and HTTP."""

    def __init__(self, transport: HTTPStreamableTransport, read: Any, write: Any, http: AsgiConnection) -> None:
        self.transport, self.read, self.write, self.http = transport, read, write, http

    async def receive(self) -> Any:
        """Return what the loop reads next."""
        with anyio.fail_after(TIMEOUT):
            return await self.read.receive()

    async def start_request(self, id: Any, **fields: str | None) -> Exchange:
        """Send a request, and return when the loop has read it."""
        exchange = self.http.ask(id, **fields)
        assert (await self.receive())["id"] == id
        return exchange

    async def send(self, message: object, related: Any = None) -> None:
        with anyio.fail_after(TIMEOUT):
            await self.write.send(message if related is None else RelatedMessage(message, related))

    async def initialize(self, revision: str = "2025-11-25") -> None:
        """Agree on a revision, which later requests name."""
        opened = self.http.ask(0, "initialize", mcp_session_id=None)
        await self.receive()
        await self.send(result(0, protocolVersion=revision, capabilities={}))
        assert (await opened.wait_for_end()).status == 200
        self.http.fields["mcp_protocol_version"] = revision


@asynccontextmanager
async def both_sides(
    id: str | None = ID, *arguments: Any, messages: Any = None, **options: Any
) -> AsyncIterator[BothSides]:
    """Connect a transport; afterwards nothing is left of it."""
    before = asyncio.all_tasks()
    transport = HTTPStreamableTransport(id, *arguments, **options)
    async with transport.connect(*([messages] if messages else [])) as (read, write):
        yield BothSides(transport, read, write, AsgiConnection(transport.handle_request, mcp_session_id=id))
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert [task for task in left if "Exchange" not in repr(task.get_coro())] == []


def plain_json(**answers: Any) -> HttpOptions:
    return HttpOptions(responses=ResponseOptions(**answers))


async def test_timings_are_those_of_all_its_parts() -> None:
    timings = Timings(slow_request=0.5, stream_retention=7.0)
    async with both_sides(ID, event_store=MemoryEventStore(), timings=timings) as sides:
        transport = sides.transport
        assert transport._event_log is not None
        assert [transport._response_options.timings, transport._event_log.timings] == [timings, timings]


class TestChannels:
    async def test_order_is_kept_and_the_101st_message_waits(self) -> None:
        """D21: 202 means that the loop gets the message before whatever comes next."""
        async with both_sides() as sides:
            exchanges = [sides.http.post(notification("notifications/x", number=number)) for number in range(101)]
            for exchange in exchanges[:100]:
                assert (await exchange.wait_for_end()).status == 202
            assert not exchanges[100].task.done()
            assert [(await sides.receive())["params"]["number"] for _ in range(101)] == list(range(101))
            assert (await exchanges[100].wait_for_end()).status == 202

    async def test_the_end_of_the_session_wakes_the_loop_and_whoever_waits_for_it(self) -> None:
        async with both_sides() as sides:
            for _ in range(100):
                await sides.http.post(notification("notifications/x")).wait_for_end()
            waiting = sides.http.post(notification("notifications/x"))
            with anyio.fail_after(TIMEOUT):
                while not sides.read.statistics().tasks_waiting_send:
                    await asyncio.sleep(0)
            await sides.transport.terminate()
            assert (await waiting.wait_for_end()).status == 404
            for _ in range(100):
                await sides.receive()
            with pytest.raises(anyio.EndOfStream):
                await sides.receive()

    async def test_a_message_arrives_once_and_read(self) -> None:
        async with both_sides() as sides:
            first = sides.http.ask(1)
            assert await sides.receive() == request(1)
            second = sides.http.ask(2)
            assert await sides.receive() == request(2)
            for id, exchange in ((1, first), (2, second)):
                await sides.send(result(id))
                await exchange.wait_for_end()

    async def test_a_loop_may_read_text(self) -> None:
        async with both_sides(messages=as_text) as sides:
            await sides.http.post(notification("notifications/x", word="é")).wait_for_end()
            assert json.loads(await sides.receive())["params"] == {"word": "é"}

    async def test_before_connect_there_is_a_clear_error(self) -> None:
        transport = HTTPStreamableTransport(ID)
        exchange = AsgiConnection(transport.handle_request, mcp_session_id=ID).ask(1)
        with pytest.raises(RuntimeError, match="connect"):
            await exchange.task
        assert exchange.status == 500
        assert exchange.json["error"]["code"] == -32603

    async def test_a_transport_is_connected_once(self) -> None:
        async with both_sides() as sides:
            pass
        with pytest.raises(RuntimeError, match="once"):
            async with sides.transport.connect():
                pass

    async def test_s47_leaving_connect_answers_who_waits_and_leaves_nothing(self) -> None:
        async with both_sides(event_store=MemoryEventStore()) as sides:
            asked, own, stalled = await sides.start_request(1), sides.http.get(), await sides.start_request(2)
            assert await own.wait_for_status() == 200
            stalled.stall()
            await sides.send(notification("notifications/message", data="x" * 100), 2)
        assert (
            (await asked.wait_for_end()).unread_messages[-1]["error"]["message"].startswith("Session not found")
        )
        await own.wait_for_end()
        await asyncio.wait_for(stalled.task, TIMEOUT)
        assert sides.transport.is_terminated
        assert (await sides.http.ask(3).wait_for_end()).status == 404

    @pytest.mark.parametrize("id", ["a b", "é", "", "a\n", "\x7f"])
    def test_s14_other_characters_are_refused(self, id: str) -> None:
        with pytest.raises(ValueError, match="ASCII"):
            HTTPStreamableTransport(id)

    async def test_the_loop_that_ends_ends_the_session(self) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            sides.write.close()
            assert "error" in (await asked.wait_for_end()).unread_messages[-1]
            assert (await sides.http.ask(2).wait_for_end()).status == 404


class TestAnswers:
    async def test_s37_a_stream_begins_before_its_answer(self) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            assert await asked.wait_for_status() == 200
            assert asked.headers["content-type"] == "text/event-stream"
            assert asked.headers["mcp-session-id"] == ID
            assert "no-transform" in asked.headers["cache-control"]
            await sides.send(progress(1), 1)
            assert await asked.message() == progress(1)
            await sides.send(result(1))
            assert await asked.message() == result(1)
            assert (await asked.wait_for_end()).unread_messages == []

    async def test_s5_json_is_one_object_whatever_is_said_meanwhile(self) -> None:
        async with both_sides(is_json_response_enabled=True) as sides:
            asked = await sides.start_request(1)
            await sides.send(progress(1), 1)
            await sides.send(result(1, done=True))
            assert (await asked.wait_for_end()).json == result(1, done=True)

    async def test_json_takes_no_question_and_the_loop_is_told(self) -> None:
        async with both_sides(is_json_response_enabled=True) as sides:
            asked = await sides.start_request(1)
            await sides.send(request("q", "elicitation/create"), 1)
            refusal = await sides.receive()
            assert (refusal["id"], refusal["error"]["code"]) == ("q", -32600)
            await sides.send(result(1))
            await asked.wait_for_end()

    async def test_d1_what_a_request_causes_comes_on_its_stream(self) -> None:
        async with both_sides() as sides:
            first, second = await sides.start_request(1), await sides.start_request("1")
            await sides.send(progress(1), 1)
            await sides.send(request("q", "elicitation/create"), "1")
            assert (await first.message())["method"] == "notifications/progress"
            assert (await second.message())["id"] == "q"
            await sides.send(result("1", which="text"))
            await sides.send(result(1, which="number"))
            assert [(await each.wait_for_end()).unread_messages for each in (first, second)] == [
                [result(1, which="number")],
                [result("1", which="text")],
            ]

    async def test_d5_ids_keep_their_type_and_d5b_none_is_in_flight_twice(self) -> None:
        async with both_sides(is_json_response_enabled=True) as sides:
            exchanges = {id: await sides.start_request(id) for id in (0, "0", "")}
            again = await sides.http.ask(0).wait_for_end()
            assert (again.status, again.json["error"]["code"], again.json["id"]) == (400, -32600, 0)
            for id, exchange in exchanges.items():
                await sides.send(result(id, name=repr(id)))
                assert (await exchange.wait_for_end()).json == result(id, name=repr(id))

    async def test_d4_no_id_means_the_get_stream(self) -> None:
        async with both_sides() as sides:
            own = sides.http.get()
            await own.wait_for_status()
            asked = await sides.start_request("_GET_stream")
            await sides.send(CHANGED)
            assert await own.message() == CHANGED
            await sides.send(result("_GET_stream"))
            assert (await asked.wait_for_end()).unread_messages == [result("_GET_stream")]

    async def test_d6_a_slow_reader_slows_only_its_own_stream(self) -> None:
        async with both_sides() as sides:
            slow, own = await sides.start_request(1), sides.http.get()
            await own.wait_for_status()
            slow.stall()
            own.stall()
            for step in range(40):
                await sides.send(notification("notifications/message", data="x" * 1_000_000), 1)
                await sides.send(notification("notifications/message", data="y" * 1_000_000, step=step))
            quick = await sides.start_request(2)
            await sides.send(result(2))
            assert (await quick.wait_for_end()).unread_messages == [result(2)]
            await sides.send(result(1))
            slow.cut()
            own.cut()
            await slow.wait_for_end()

    async def test_a_cancelled_request_gets_no_answer_and_the_loop_hears_of_it(self) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(7)
            cancelled = notification("notifications/cancelled", requestId=7)
            assert (await sides.http.post(cancelled).wait_for_end()).status == 202
            assert await sides.receive() == cancelled
            assert (await asked.wait_for_end()).unread_messages == []
            await sides.send(result(7))
            again = await sides.start_request(7)
            await sides.send(result(7, second=True))
            assert (await again.wait_for_end()).unread_messages == [result(7, second=True)]

    async def test_a_deadline_ends_a_request_and_the_loop_hears_of_it(self) -> None:
        async with both_sides(is_json_response_enabled=True, options=plain_json(request_timeout=0.05)) as sides:
            asked = await sides.start_request(1)
            assert (await sides.receive())["params"] == {"requestId": 1}
            assert "longer than" in (await asked.wait_for_end()).json["error"]["message"]

    async def test_work_survives_its_client(self) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            asked.cut()
            await sides.send(progress(1), 1)
            ping = await sides.start_request(2)
            await sides.send(result(2))
            await ping.wait_for_end()
            await sides.send(result(1))
            await asked.wait_for_end()


class TestOwnStream:
    async def test_s7_it_brings_what_no_request_has_caused(self) -> None:
        async with both_sides() as sides:
            await sides.send(CHANGED)  # before there is a stream: it waits for one
            own = sides.http.get()
            assert await own.message() == CHANGED
            await sides.send(request(1, "roots/list"))
            assert (await own.message())["method"] == "roots/list"
            assert (await sides.http.post(result(1, roots=[])).wait_for_end()).status == 202
            assert await sides.receive() == result(1, roots=[])
            own.cut()

    async def test_d8_the_newer_of_two_gets_has_it_and_the_older_ends(self) -> None:
        async with both_sides() as sides:
            older = sides.http.get()
            assert await older.wait_for_status() == 200
            newer = sides.http.get()
            assert await newer.wait_for_status() == 200
            await older.wait_for_end()
            await sides.send(CHANGED)
            assert await newer.message() == CHANGED
            newer.cut()

    async def test_it_is_free_again_at_once(self) -> None:
        async with both_sides() as sides:
            for _ in range(3):
                own = sides.http.get()
                assert await own.wait_for_status() == 200
                own.cut()

    async def test_d2_a_last_event_id_without_a_store_is_a_plain_get(self) -> None:
        async with both_sides() as sides:
            own = sides.http.get("7")
            assert await own.wait_for_status() == 200
            await sides.send(CHANGED)
            assert await own.message() == CHANGED
            own.cut()

    async def test_more_than_can_wait_is_refused_to_the_loop(self) -> None:
        async with both_sides() as sides:
            for number in range(101):
                await sides.send(request(number, "roots/list"))
            assert (await sides.receive())["id"] == 100
            own = sides.http.get()
            assert [(await own.message())["id"] for _ in range(100)] == list(range(100))
            own.cut()


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            b"{}",
            b'{"foo":1}',
            b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
            b'{"jsonrpc":"2.0","id":1,"method":5}',
            b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
            b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
            b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
            b"[]",
            b"7",
        ],
    )
    async def test_d17_what_is_no_message_is_never_accepted(self, body: bytes) -> None:
        async with both_sides() as sides:
            refused = await sides.http.post(body).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32600)
            assert refused.json["id"] in (None, 1)  # D18: none is made up
            assert refused.headers["mcp-session-id"] == ID

    @pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 100_000, b'{"jsonrpc":"2.0",\n'])
    async def test_s31_d20_bad_json_is_the_clients_fault(self, body: bytes) -> None:
        async with both_sides() as sides:
            refused = await sides.http.post(body).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32700)

    async def test_s31_a_body_has_a_limit(self) -> None:
        async with both_sides(options=HttpOptions(body_limit=100)) as sides:
            assert (await sides.http.post(b" " * 101).wait_for_end()).status == 413

    @pytest.mark.parametrize(
        ("accept", "content", "status"),
        [
            ("*/*", "application/json", 202),
            (None, "Application/JSON; charset=utf-8", 202),
            ("Text/Event-Stream", "application/json", 202),
            ("application/jsonlines", "application/json", 406),
            ("text/html", "application/json", 406),
            ("*/*", "text/plain", 415),
            ("*/*", None, 415),
        ],
    )
    @pytest.mark.parametrize("json_mode", [True, False])
    async def test_s27_s28_s30_d19_media_types(
        self, accept: str | None, content: str | None, status: int, json_mode: bool
    ) -> None:
        async with both_sides(ID, None, json_mode) as sides:
            exchange = await sides.http.post(
                notification("notifications/x"), accept=accept, content_type=content
            ).wait_for_end()
            assert exchange.status == status
            assert (exchange.body == b"") == (status == 202)  # S22

    @pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize(("id", "status"), [(None, 400), ("session-2", 404), ("session-", 404), ("é", 404)])
    async def test_the_session_must_be_named(self, verb: str, id: str | None, status: int) -> None:
        async with both_sides() as sides:
            body = json.dumps(request(1)).encode() if verb == "POST" else b""
            fields = {"accept": "*/*", "content_type": "application/json", "mcp_session_id": id}
            refused = await sides.http.start(verb, body, **fields).wait_for_end()
            assert refused.status == status
            assert refused.json["error"]["code"] == -32600

    async def test_initialize_needs_no_session_but_not_a_wrong_one(self) -> None:
        async with both_sides(is_json_response_enabled=True) as sides:
            assert (await sides.http.ask(1, "initialize", mcp_session_id="other").wait_for_end()).status == 404
            opened = sides.http.ask(1, "initialize", mcp_session_id=None)
            await sides.receive()
            await sides.send(result(1, protocolVersion="2025-06-18"))
            assert (await opened.wait_for_end()).headers["mcp-session-id"] == ID

    @pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
    async def test_any_revision_with_sessions_is_taken(self, version: str) -> None:
        """What is sent is of the revision that the loop has agreed on, also if it has agreed anew."""
        async with both_sides() as sides:
            await sides.initialize("2025-06-18")
            asked = await sides.start_request(1, mcp_protocol_version=version)
            await sides.send(result(1))
            assert (await asked.wait_for_end()).status == 200

    @pytest.mark.parametrize("version", ["1999-01-01", "2026-07-28"])
    async def test_an_unknown_revision_is_refused(self, version: str) -> None:
        async with both_sides() as sides:
            await sides.initialize("2025-11-25")
            refused = await sides.http.ask(1, mcp_protocol_version=version).wait_for_end()
            assert refused.status == 400
            assert "Unsupported protocol version" in refused.json["error"]["message"]

    @pytest.mark.parametrize(("verb", "id"), [("PUT", ID), ("PATCH", ID), ("OPTIONS", ID), ("DELETE", None)])
    async def test_s1_s43_other_verbs_are_not_offered(self, verb: str, id: str | None) -> None:
        async with both_sides(id) as sides:
            refused = await sides.http.start(verb).wait_for_end()
            assert (refused.status, refused.headers["allow"]) == (405, "GET, POST, DELETE")
            assert refused.json["error"]["code"] == -32600

    @pytest.mark.parametrize("options", [{"allowed_hosts": ["https://a.b"]}, {"allowed_origins": ["a.b"]}])
    def test_a_name_that_no_client_can_send_is_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="; write '"):
            HTTPStreamableTransport(ID, **options)

    def test_a_string_is_no_list_of_names(self) -> None:
        with pytest.raises(ValueError, match=r"'a\.example' is a string; give a list: \['a\.example'\]"):
            HTTPStreamableTransport(ID, allowed_hosts="a.example")

    async def test_s44_d15_foreign_hosts_and_origins_are_kept_out(self) -> None:
        async with both_sides(allowed_origins=["https://app.example"]) as sides:
            for host in ("evil.example", "[::1]evil.example", "[::1%evil]", "localhost:80@evil", "localhost\xa0"):
                assert (await sides.http.ask(1, host=host).wait_for_end()).status == 421
            for origin in ("https://evil.example", "http://evil@localhost", "http://localhost/evil", "null"):
                assert (await sides.http.ask(1, origin=origin).wait_for_end()).status == 403
            allowed = await sides.http.start("OPTIONS", origin="https://app.example").wait_for_end()
            assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (
                204,
                "https://app.example",
            )

    async def test_d46_a_session_belongs_to_who_opened_it(self) -> None:
        async with both_sides(principal=lambda scope: dict(scope["headers"]).get(b"user", b"").decode()) as sides:
            await sides.http.post(notification("notifications/x"), user="ann").wait_for_end()
            assert (
                await sides.http.post(notification("notifications/x"), user="bob").wait_for_end()
            ).status == 404
            assert (
                await sides.http.post(notification("notifications/x"), user="ann").wait_for_end()
            ).status == 202


class TestEnd:
    async def test_s41_d10_delete_answers_who_waits_and_all_is_404(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with both_sides(is_json_response_enabled=True) as sides:
            asked, own = await sides.start_request(5), sides.http.get()
            await own.wait_for_status()
            assert not sides.transport.is_terminated
            assert (await sides.http.start("DELETE").wait_for_end()).status == 204
            assert sides.transport.is_terminated
            assert ((await asked.wait_for_end()).status, asked.json["id"]) == (404, 5)
            await own.wait_for_end()
            for verb in ("GET", "POST", "DELETE", "PUT"):
                gone = await sides.http.start(verb, accept="*/*").wait_for_end()
                assert (gone.status, gone.json["error"]["code"]) == (404, -32600)
            with pytest.raises(anyio.EndOfStream):
                await sides.receive()
            await sides.send(result(5))  # a loop may go on talking
        assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []

    async def test_terminate_twice_is_fine(self) -> None:
        async with both_sides() as sides:
            await sides.transport.terminate()
            await sides.transport.terminate()
            assert sides.transport.is_terminated
            assert (await sides.http.ask(1).wait_for_end()).status == 404
            with pytest.raises(anyio.EndOfStream):
                await sides.receive()


class Reply(pydantic.BaseModel):
    jsonrpc: str = "2.0"
    id: int
    result: dict[str, Any]
    note: str | None = None


class TestWriting:
    @pytest.mark.parametrize(
        "written",
        [
            SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": None})),
            JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": None}),
            Reply(id=1, result={"a": None}),
            json.dumps(result(1, a=None), indent=1) + "\n",
            json.dumps(result(1, a=None)).encode(),
            result(1, a=None),
        ],
        ids=["SessionMessage", "JSONRPCResponse", "BaseModel", "text", "bytes", "dict"],
    )
    async def test_what_can_be_written(self, written: object) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            await sides.send(written)
            assert (await asked.wait_for_end()).unread_messages == [result(1, a=None)]

    async def test_the_sdk_says_which_request_a_message_belongs_to(self) -> None:
        async with both_sides(messages=as_session_message) as sides:
            asked = sides.http.ask(1)
            message = (await sides.receive()).message
            assert (type(message), message.id) == (JSONRPCRequest, 1)
            said = JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={})
            await sides.send(SessionMessage(said, ServerMessageMetadata(related_request_id=1)))
            assert (await asked.message())["method"] == "notifications/message"
            await sides.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={})))
            await asked.wait_for_end()

    @pytest.mark.parametrize(
        "junk", [None, 7, object(), "", "not JSON", b"\xff", [], "[]", {"foo": 1}, ValueError()]
    )
    async def test_s50_one_bad_message_never_stops_delivery(
        self, junk: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            await sides.send(junk)
            await sides.send(result(1))
            assert (await asked.wait_for_end()).unread_messages == [result(1)]
        assert [each.levelname for each in caplog.records if each.name.startswith("enfilade")] == ["ERROR"]

    @pytest.mark.parametrize(
        "answer",
        [
            {"jsonrpc": "2.0", "id": "1", "result": {}},
            {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
            {"jsonrpc": "2.0", "id": 1, "result": {"x": object()}},
            '{"jsonrpc":"2.0","id":1,"result":{',
            {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "x"}},
            {"content": []},
            Reply.model_construct(id=1, result=object()),
        ],
        ids=["another type", "both", "no JSON in it", "cut off", "null", "bare result", "odd model"],
    )
    @pytest.mark.filterwarnings("ignore:Pydantic serializer")
    async def test_d7_d28_an_answer_that_cannot_be_delivered_leaves_nobody_waiting(self, answer: object) -> None:
        async with both_sides(timings=Timings(response_grace=0.05)) as sides:
            asked = await sides.start_request(1)
            await sides.send(answer)
            (error,) = (await asked.wait_for_end()).unread_messages
            assert (error["id"], error["error"]["code"]) == (1, -32603)
            assert "object at" not in error["error"]["message"]

    async def test_an_id_of_another_request_does_not_matter(self) -> None:
        async with both_sides() as sides:
            asked = await sides.start_request(1)
            await sides.send(result(2))
            await sides.send(progress(1), 2)
            await sides.send(request("late", "roots/list"), 2)
            assert (await sides.receive())["error"]["code"] == -32600
            await sides.send(result(1))
            assert (await asked.wait_for_end()).unread_messages == [result(1)]

    async def test_d21_a_notification_is_there_before_it_is_accepted(self) -> None:
        async with both_sides() as sides:
            assert (await sides.http.post(notification("notifications/initialized")).wait_for_end()).status == 202
            assert sides.read.receive_nowait()["method"] == "notifications/initialized"


class Failing(EventStore):
    """Fails, or never returns."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs

    async def store_event(self, stream_id: str, message: str) -> str:
        if self.hangs:
            await asyncio.Event().wait()
        raise OSError("no space left on device")


class MixesUp(MemoryEventStore):
    """Hands back one stream's events as another's."""

    foreign: str | None = None

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        return await super().replay_events_after(self.foreign or last_event_id, send_callback)


@pytest.fixture(params=["memory", "sqlite"])
async def events(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    store = MemoryEventStore() if request.param == "memory" else SqliteEventStore(tmp_path / "events.db")
    yield store
    await store.close()


class TestResuming:
    async def test_s16_d22_what_was_missed_and_then_the_rest(self, events: EventStore) -> None:
        async with both_sides(event_store=events) as sides:
            await sides.initialize()
            asked = await sides.start_request(1)
            primed = await asked.event()
            assert (primed.data, primed.retry is not None, primed.id is not None) == ("", True, True)  # D24
            for step in range(3):
                await sides.send(progress(step), 1)
            seen = await asked.event()
            asked.cut()
            again = sides.http.get(seen.id)
            assert [(await again.message())["params"]["progress"] for _ in range(2)] == [1, 2]
            await sides.send(progress(3), 1)
            assert (await again.message())["params"]["progress"] == 3
            await sides.send(result(1))
            assert [await again.message(), (await again.wait_for_end()).unread_messages] == [result(1), []]
            over = await sides.http.get(seen.id).wait_for_end()  # once more, from the log alone
            assert over.unread_messages == [*map(progress, (1, 2, 3)), result(1)]

    async def test_d23_the_own_stream_can_be_resumed_and_is_free_afterwards(self, events: EventStore) -> None:
        async with both_sides(event_store=events) as sides:
            await sides.initialize()
            own = sides.http.get()
            at = (await own.event()).id
            own.cut()
            await sides.send(CHANGED)
            for _ in range(2):
                again = sides.http.get(at)
                assert await again.message() == CHANGED
                again.cut()
            plain = sides.http.get()
            assert await plain.wait_for_status() == 200
            plain.cut()

    @pytest.mark.parametrize("wrong", ["7", "unknown", "0" * 24 + "-" + "A" * 16 + ".1", "é"])
    async def test_d24_an_unknown_id_is_refused(self, wrong: str) -> None:
        async with both_sides(event_store=MemoryEventStore()) as sides:
            refused = await sides.http.get(wrong).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32600)

    async def test_d3_ids_count_in_their_own_session_only(self) -> None:
        events, secret = MixesUp(), secrets.token_urlsafe(32)
        async with both_sides("one", event_store=events, secret=secret) as one:
            async with both_sides("two", event_store=events, secret=secret) as two:
                for each in (one, two):
                    await each.initialize()
                asked = await one.start_request(1)
                at = (await asked.event()).id
                await one.send(result(1, whose="one"))
                await asked.wait_for_end()
                refused = await two.http.get(at).wait_for_end()
                assert (refused.status, b"whose" in refused.body) == (400, False)
                own = two.http.get()
                at_two = (await own.event()).id
                own.cut()
                events.foreign = anchor_of(at)  # the store itself mixes up its streams
                mixed = await two.http.get(at_two).wait_for_end()
                assert (mixed.status, b"whose" in mixed.body) == (503, False)

    @pytest.mark.parametrize("hangs", [True, False])
    async def test_what_cannot_be_stored_is_delivered(self, hangs: bool) -> None:
        async with both_sides(event_store=Failing(hangs=hangs)) as sides:
            asked = await sides.start_request(1)
            await sides.send(progress(1), 1)
            await sides.send(result(1))
            assert (await asked.wait_for_end()).unread_messages == [progress(1), result(1)]
            again = await sides.start_request(2)
            await sides.send(result(2))
            assert (await again.wait_for_end()).unread_messages == [result(2)]

    async def test_after_a_restart_what_was_kept_is_there_and_the_rest_is_said_to_be_lost(
        self, tmp_path: Path
    ) -> None:
        secret, kept = secrets.token_urlsafe(32), tmp_path / "events.db"
        ids = []
        for store in (SqliteEventStore(kept), SqliteEventStore(kept)):
            async with both_sides(event_store=store, secret=secret) as sides:
                if ids:
                    again = await sides.http.get(ids[0]).wait_for_end()
                    first, last = again.unread_messages
                    assert first == progress(1)
                    assert "error" in last
                    assert last["id"] == 1
                else:
                    await sides.initialize()
                    asked = await sides.start_request(1)
                    ids.append((await asked.event()).id)
                    await sides.send(progress(1), 1)
                    await asked.message()
            await store.close()


def anchor_of(id: str | None) -> str:
    """Return the first event of a stream as its store knows it."""
    encoded = str(id).rpartition(".")[0][len("0" * 24 + "-" + "A" * 16 + "-") :]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


class TestStateless:
    HEADERS = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/list"}
    META = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }

    def ask(self, **meta: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {**self.META, **meta}}}

    async def test_a_request_without_a_session_is_handed_on(self) -> None:
        async with both_sides(None, is_json_response_enabled=True) as sides:
            asked = sides.http.post(self.ask(), **self.HEADERS)
            assert (await sides.receive())["params"]["_meta"] == self.META
            await sides.send({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}})
            assert (await asked.wait_for_end()).status == 404

    async def test_headers_must_agree_with_the_body(self) -> None:
        async with both_sides(None) as sides:
            for wrong in (
                {"mcp_method": "tools/call"},
                {"mcp_method": None},
                {"mcp_protocol_version": "2025-06-18"},
            ):
                refused = await sides.http.post(self.ask(), **{**self.HEADERS, **wrong}).wait_for_end()
                assert (refused.status, refused.json["error"]["code"]) == (400, -32020)

    async def test_its_client_that_goes_cancels_it(self) -> None:
        async with both_sides(None, is_json_response_enabled=True) as sides:
            asked = sides.http.post(self.ask(), **self.HEADERS)
            await sides.receive()
            asked.cut()
            assert (await sides.receive())["method"] == "notifications/cancelled"
            await asked.wait_for_end()

    async def test_a_session_does_not_take_it(self) -> None:
        async with both_sides() as sides:
            refused = await sides.http.post(self.ask(), **self.HEADERS).wait_for_end()
            assert refused.status == 400
            assert "Unsupported protocol version" in refused.json["error"]["message"]

    async def test_a_get_or_delete_of_that_era_is_not_offered(self) -> None:
        async with both_sides(None) as sides:
            for verb in ("GET", "DELETE"):
                refused = await sides.http.start(verb, mcp_protocol_version="2026-07-28").wait_for_end()
                assert (refused.status, refused.headers["allow"]) == (405, "POST")
