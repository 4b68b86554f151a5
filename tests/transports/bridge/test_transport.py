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
from enfilade.transports.http.response import ResponseOptions
from enfilade.transports.http.services import HttpOptions
from support.http_client.asgi_connection import TIMEOUT, AsgiConnection, Exchange, notification, request, result

pytestmark = pytest.mark.anyio

ID = "session-1"
CHANGED = notification("notifications/tools/list_changed")


def progress(step: int) -> dict[str, Any]:
    return notification("notifications/progress", progressToken=1, progress=step)


class Peer:
    """A transport between its two sides: the loop's streams and HTTP."""

    def __init__(self, transport: HTTPStreamableTransport, read: Any, write: Any, wire: AsgiConnection) -> None:
        self.transport, self.read, self.write, self.wire = transport, read, write, wire

    async def next(self) -> Any:
        """Return what the loop reads next."""
        with anyio.fail_after(TIMEOUT):
            return await self.read.receive()

    async def asked(self, id: Any, **fields: str | None) -> Exchange:
        """Send a request, and return when the loop has read it."""
        exchange = self.wire.ask(id, **fields)
        assert (await self.next())["id"] == id
        return exchange

    async def say(self, message: object, related: Any = None) -> None:
        with anyio.fail_after(TIMEOUT):
            await self.write.send(message if related is None else RelatedMessage(message, related))

    async def initialize(self, revision: str = "2025-11-25") -> None:
        """Agree on a revision, which later requests name."""
        opened = self.wire.ask(0, "initialize", mcp_session_id=None)
        await self.next()
        await self.say(result(0, protocolVersion=revision, capabilities={}))
        assert (await opened.wait_for_end()).status == 200
        self.wire.fields["mcp_protocol_version"] = revision


@asynccontextmanager
async def peer(id: str | None = ID, *arguments: Any, messages: Any = None, **options: Any) -> AsyncIterator[Peer]:
    """Connect a transport; afterwards nothing is left of it (S47)."""
    before = asyncio.all_tasks()
    transport = HTTPStreamableTransport(id, *arguments, **options)
    async with transport.connect(*([messages] if messages else [])) as (read, write):
        yield Peer(transport, read, write, AsgiConnection(transport.handle_request, mcp_session_id=id))
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert [task for task in left if "Exchange" not in repr(task.get_coro())] == []


def plain_json(**answers: Any) -> HttpOptions:
    return HttpOptions(responses=ResponseOptions(**answers))


class TestChannels:
    async def test_s2_order_is_kept_and_the_101st_message_waits(self) -> None:
        """D21: 202 means that the loop gets the message before whatever comes next."""
        async with peer() as it:
            exchanges = [it.wire.post(notification("notifications/x", number=number)) for number in range(101)]
            for exchange in exchanges[:100]:
                assert (await exchange.wait_for_end()).status == 202
            assert not exchanges[100].served.done()
            assert [(await it.next())["params"]["number"] for _ in range(101)] == list(range(101))
            assert (await exchanges[100].wait_for_end()).status == 202

    async def test_s2_the_end_of_the_session_wakes_the_loop_and_whoever_waits_for_it(self) -> None:
        async with peer() as it:
            for _ in range(100):
                await it.wire.post(notification("notifications/x")).wait_for_end()
            waiting = it.wire.post(notification("notifications/x"))
            with anyio.fail_after(TIMEOUT):
                while not it.read.statistics().tasks_waiting_send:
                    await asyncio.sleep(0)
            await it.transport.terminate()
            assert (await waiting.wait_for_end()).status == 404
            for _ in range(100):
                await it.next()
            with pytest.raises(anyio.EndOfStream):
                await it.next()

    async def test_s3_a_message_arrives_once_and_read(self) -> None:
        async with peer() as it:
            first = it.wire.ask(1)
            assert await it.next() == request(1)
            second = it.wire.ask(2)
            assert await it.next() == request(2)
            for id, exchange in ((1, first), (2, second)):
                await it.say(result(id))
                await exchange.wait_for_end()

    async def test_a_loop_may_read_text(self) -> None:
        async with peer(messages=as_text) as it:
            await it.wire.post(notification("notifications/x", word="é")).wait_for_end()
            assert json.loads(await it.next())["params"] == {"word": "é"}

    async def test_s18_before_connect_there_is_a_clear_error(self) -> None:
        transport = HTTPStreamableTransport(ID)
        exchange = AsgiConnection(transport.handle_request, mcp_session_id=ID).ask(1)
        with pytest.raises(RuntimeError, match="connect"):
            await exchange.served
        assert exchange.status == 500
        assert exchange.json["error"]["code"] == -32603

    async def test_a_transport_is_connected_once(self) -> None:
        async with peer() as it:
            pass
        with pytest.raises(RuntimeError, match="once"):
            async with it.transport.connect():
                pass

    async def test_s47_leaving_connect_answers_who_waits_and_leaves_nothing(self) -> None:
        async with peer(event_store=MemoryEventStore()) as it:
            asked, own, stalled = await it.asked(1), it.wire.get(), await it.asked(2)
            assert await own.wait_for_status() == 200
            stalled.stall()
            await it.say(notification("notifications/message", data="x" * 100), 2)
        assert (
            (await asked.wait_for_end()).unread_messages[-1]["error"]["message"].startswith("Session not found")
        )
        await own.wait_for_end()
        await asyncio.wait_for(stalled.served, TIMEOUT)
        assert it.transport.is_terminated
        assert (await it.wire.ask(3).wait_for_end()).status == 404

    @pytest.mark.parametrize("id", ["a b", "é", "", "a\n", "\x7f"])
    def test_s14_other_characters_are_refused(self, id: str) -> None:
        with pytest.raises(ValueError, match="ASCII"):
            HTTPStreamableTransport(id)

    async def test_the_loop_that_ends_ends_the_session(self) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            it.write.close()
            assert "error" in (await asked.wait_for_end()).unread_messages[-1]
            assert (await it.wire.ask(2).wait_for_end()).status == 404


class TestAnswers:
    async def test_s37_a_stream_begins_before_its_answer(self) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            assert await asked.wait_for_status() == 200
            assert asked.headers["content-type"] == "text/event-stream"
            assert asked.headers["mcp-session-id"] == ID
            assert "no-transform" in asked.headers["cache-control"]
            await it.say(progress(1), 1)
            assert await asked.message() == progress(1)
            await it.say(result(1))
            assert await asked.message() == result(1)
            assert (await asked.wait_for_end()).unread_messages == []

    async def test_s5_json_is_one_object_whatever_is_said_meanwhile(self) -> None:
        async with peer(is_json_response_enabled=True) as it:
            asked = await it.asked(1)
            await it.say(progress(1), 1)
            await it.say(result(1, done=True))
            assert (await asked.wait_for_end()).json == result(1, done=True)

    async def test_json_takes_no_question_and_the_loop_is_told(self) -> None:
        async with peer(is_json_response_enabled=True) as it:
            asked = await it.asked(1)
            await it.say(request("q", "elicitation/create"), 1)
            refusal = await it.next()
            assert (refusal["id"], refusal["error"]["code"]) == ("q", -32600)
            await it.say(result(1))
            await asked.wait_for_end()

    async def test_s4_d1_what_a_request_causes_comes_on_its_stream(self) -> None:
        async with peer() as it:
            first, second = await it.asked(1), await it.asked("1")
            await it.say(progress(1), 1)
            await it.say(request("q", "elicitation/create"), "1")
            assert (await first.message())["method"] == "notifications/progress"
            assert (await second.message())["id"] == "q"
            await it.say(result("1", which="text"))
            await it.say(result(1, which="number"))
            assert [(await each.wait_for_end()).unread_messages for each in (first, second)] == [
                [result(1, which="number")],
                [result("1", which="text")],
            ]

    async def test_d5_ids_keep_their_type_and_d5b_none_is_in_flight_twice(self) -> None:
        async with peer(is_json_response_enabled=True) as it:
            exchanges = {id: await it.asked(id) for id in (0, "0", "")}
            again = await it.wire.ask(0).wait_for_end()
            assert (again.status, again.json["error"]["code"], again.json["id"]) == (400, -32600, 0)
            for id, exchange in exchanges.items():
                await it.say(result(id, name=repr(id)))
                assert (await exchange.wait_for_end()).json == result(id, name=repr(id))

    async def test_s13_d4_no_id_means_the_get_stream(self) -> None:
        async with peer() as it:
            own = it.wire.get()
            await own.wait_for_status()
            asked = await it.asked("_GET_stream")
            await it.say(CHANGED)
            assert await own.message() == CHANGED
            await it.say(result("_GET_stream"))
            assert (await asked.wait_for_end()).unread_messages == [result("_GET_stream")]

    async def test_d6_a_slow_reader_slows_only_its_own_stream(self) -> None:
        async with peer() as it:
            slow, own = await it.asked(1), it.wire.get()
            await own.wait_for_status()
            slow.stall()
            own.stall()
            for step in range(40):
                await it.say(notification("notifications/message", data="x" * 1_000_000), 1)
                await it.say(notification("notifications/message", data="y" * 1_000_000, step=step))
            quick = await it.asked(2)
            await it.say(result(2))
            assert (await quick.wait_for_end()).unread_messages == [result(2)]
            await it.say(result(1))
            slow.cut()
            own.cut()
            await slow.wait_for_end()

    async def test_a_cancelled_request_gets_no_answer_and_the_loop_hears_of_it(self) -> None:
        async with peer() as it:
            asked = await it.asked(7)
            cancelled = notification("notifications/cancelled", requestId=7)
            assert (await it.wire.post(cancelled).wait_for_end()).status == 202
            assert await it.next() == cancelled
            assert (await asked.wait_for_end()).unread_messages == []
            await it.say(result(7))
            again = await it.asked(7)
            await it.say(result(7, second=True))
            assert (await again.wait_for_end()).unread_messages == [result(7, second=True)]

    async def test_a_deadline_ends_a_request_and_the_loop_hears_of_it(self) -> None:
        async with peer(is_json_response_enabled=True, options=plain_json(request_timeout=0.05)) as it:
            asked = await it.asked(1)
            assert (await it.next())["params"] == {"requestId": 1}
            assert "longer than" in (await asked.wait_for_end()).json["error"]["message"]

    async def test_work_survives_its_client(self) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            asked.cut()
            await it.say(progress(1), 1)
            ping = await it.asked(2)
            await it.say(result(2))
            await ping.wait_for_end()
            await it.say(result(1))
            await asked.wait_for_end()


class TestOwnStream:
    async def test_s7_it_brings_what_no_request_has_caused(self) -> None:
        async with peer() as it:
            await it.say(CHANGED)  # before there is a stream: it waits for one
            own = it.wire.get()
            assert await own.message() == CHANGED
            await it.say(request(1, "roots/list"))
            assert (await own.message())["method"] == "roots/list"
            assert (await it.wire.post(result(1, roots=[])).wait_for_end()).status == 202
            assert await it.next() == result(1, roots=[])
            own.cut()

    async def test_d8_the_newer_of_two_gets_has_it_and_the_older_ends(self) -> None:
        async with peer() as it:
            older = it.wire.get()
            assert await older.wait_for_status() == 200
            newer = it.wire.get()
            assert await newer.wait_for_status() == 200
            await older.wait_for_end()
            await it.say(CHANGED)
            assert await newer.message() == CHANGED
            newer.cut()

    async def test_s40_it_is_free_again_at_once(self) -> None:
        async with peer() as it:
            for _ in range(3):
                own = it.wire.get()
                assert await own.wait_for_status() == 200
                own.cut()

    async def test_d2_a_last_event_id_without_a_store_is_a_plain_get(self) -> None:
        async with peer() as it:
            own = it.wire.get("7")
            assert await own.wait_for_status() == 200
            await it.say(CHANGED)
            assert await own.message() == CHANGED
            own.cut()

    async def test_more_than_can_wait_is_refused_to_the_loop(self) -> None:
        async with peer() as it:
            for number in range(101):
                await it.say(request(number, "roots/list"))
            assert (await it.next())["id"] == 100
            own = it.wire.get()
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
    async def test_s19_s32_d17_what_is_no_message_is_never_accepted(self, body: bytes) -> None:
        async with peer() as it:
            refused = await it.wire.post(body).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32600)
            assert refused.json["id"] in (None, 1)  # D18: none is made up
            assert refused.headers["mcp-session-id"] == ID

    @pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 100_000, b'{"jsonrpc":"2.0",\n'])
    async def test_s31_d20_bad_json_is_the_clients_fault(self, body: bytes) -> None:
        async with peer() as it:
            refused = await it.wire.post(body).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32700)

    async def test_s31_a_body_has_a_limit(self) -> None:
        async with peer(options=HttpOptions(body_limit=100)) as it:
            assert (await it.wire.post(b" " * 101).wait_for_end()).status == 413

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
        async with peer(ID, None, json_mode) as it:
            exchange = await it.wire.post(
                notification("notifications/x"), accept=accept, content_type=content
            ).wait_for_end()
            assert exchange.status == status
            assert (exchange.body == b"") == (status == 202)  # S22

    @pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize(("id", "status"), [(None, 400), ("session-2", 404), ("session-", 404), ("é", 404)])
    async def test_s34_s45_the_session_must_be_named(self, verb: str, id: str | None, status: int) -> None:
        async with peer() as it:
            body = json.dumps(request(1)).encode() if verb == "POST" else b""
            fields = {"accept": "*/*", "content_type": "application/json", "mcp_session_id": id}
            refused = await it.wire.start(verb, body, **fields).wait_for_end()
            assert refused.status == status
            assert refused.json["error"]["code"] == -32600

    async def test_s33_initialize_needs_no_session_but_not_a_wrong_one(self) -> None:
        async with peer(is_json_response_enabled=True) as it:
            assert (await it.wire.ask(1, "initialize", mcp_session_id="other").wait_for_end()).status == 404
            opened = it.wire.ask(1, "initialize", mcp_session_id=None)
            await it.next()
            await it.say(result(1, protocolVersion="2025-06-18"))
            assert (await opened.wait_for_end()).headers["mcp-session-id"] == ID

    @pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
    async def test_d14_any_revision_with_sessions_is_taken(self, version: str) -> None:
        """What is sent is of the revision that the loop has agreed on, also if it has agreed anew."""
        async with peer() as it:
            await it.initialize("2025-06-18")
            asked = await it.asked(1, mcp_protocol_version=version)
            await it.say(result(1))
            assert (await asked.wait_for_end()).status == 200

    @pytest.mark.parametrize("version", ["1999-01-01", "2026-07-28"])
    async def test_d14_an_unknown_revision_is_refused(self, version: str) -> None:
        async with peer() as it:
            await it.initialize("2025-11-25")
            refused = await it.wire.ask(1, mcp_protocol_version=version).wait_for_end()
            assert refused.status == 400
            assert "Unsupported protocol version" in refused.json["error"]["message"]

    @pytest.mark.parametrize(("verb", "id"), [("PUT", ID), ("PATCH", ID), ("OPTIONS", ID), ("DELETE", None)])
    async def test_s43_other_verbs_are_not_offered(self, verb: str, id: str | None) -> None:
        async with peer(id) as it:
            refused = await it.wire.start(verb).wait_for_end()
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
        async with peer(allowed_origins=["https://app.example"]) as it:
            for host in ("evil.example", "[::1]evil.example", "[::1%evil]", "localhost:80@evil", "localhost\xa0"):
                assert (await it.wire.ask(1, host=host).wait_for_end()).status == 421
            for origin in ("https://evil.example", "http://evil@localhost", "http://localhost/evil", "null"):
                assert (await it.wire.ask(1, origin=origin).wait_for_end()).status == 403
            allowed = await it.wire.start("OPTIONS", origin="https://app.example").wait_for_end()
            assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (
                204,
                "https://app.example",
            )

    async def test_d46_a_session_belongs_to_who_opened_it(self) -> None:
        async with peer(principal=lambda scope: dict(scope["headers"]).get(b"user", b"").decode()) as it:
            await it.wire.post(notification("notifications/x"), user="ann").wait_for_end()
            assert (await it.wire.post(notification("notifications/x"), user="bob").wait_for_end()).status == 404
            assert (await it.wire.post(notification("notifications/x"), user="ann").wait_for_end()).status == 202


class TestEnd:
    async def test_s26_s41_d10_delete_answers_who_waits_and_all_is_404(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with peer(is_json_response_enabled=True) as it:
            asked, own = await it.asked(5), it.wire.get()
            await own.wait_for_status()
            assert not it.transport.is_terminated
            assert (await it.wire.start("DELETE").wait_for_end()).status == 204
            assert it.transport.is_terminated
            assert ((await asked.wait_for_end()).status, asked.json["id"]) == (404, 5)
            await own.wait_for_end()
            for verb in ("GET", "POST", "DELETE", "PUT"):
                gone = await it.wire.start(verb, accept="*/*").wait_for_end()
                assert (gone.status, gone.json["error"]["code"]) == (404, -32600)
            with pytest.raises(anyio.EndOfStream):
                await it.next()
            await it.say(result(5))  # a loop may go on talking
        assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []

    async def test_terminate_twice_is_fine(self) -> None:
        async with peer() as it:
            await it.transport.terminate()
            await it.transport.terminate()
            assert it.transport.is_terminated
            assert (await it.wire.ask(1).wait_for_end()).status == 404
            with pytest.raises(anyio.EndOfStream):
                await it.next()


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
    async def test_s48_what_can_be_written(self, written: object) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            await it.say(written)
            assert (await asked.wait_for_end()).unread_messages == [result(1, a=None)]

    async def test_s4_the_sdk_says_which_request_a_message_belongs_to(self) -> None:
        async with peer(messages=as_session_message) as it:
            asked = it.wire.ask(1)
            message = (await it.next()).message
            assert (type(message), message.id) == (JSONRPCRequest, 1)
            said = JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={})
            await it.say(SessionMessage(said, ServerMessageMetadata(related_request_id=1)))
            assert (await asked.message())["method"] == "notifications/message"
            await it.say(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={})))
            await asked.wait_for_end()

    @pytest.mark.parametrize(
        "junk", [None, 7, object(), "", "not JSON", b"\xff", [], "[]", {"foo": 1}, ValueError()]
    )
    async def test_s50_one_bad_message_never_stops_delivery(
        self, junk: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            await it.say(junk)
            await it.say(result(1))
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
        async with peer(timings=Timings(response_grace=0.05)) as it:
            asked = await it.asked(1)
            await it.say(answer)
            (error,) = (await asked.wait_for_end()).unread_messages
            assert (error["id"], error["error"]["code"]) == (1, -32603)
            assert "object at" not in error["error"]["message"]

    async def test_an_id_of_another_request_does_not_matter(self) -> None:
        async with peer() as it:
            asked = await it.asked(1)
            await it.say(result(2))
            await it.say(progress(1), 2)
            await it.say(request("late", "roots/list"), 2)
            assert (await it.next())["error"]["code"] == -32600
            await it.say(result(1))
            assert (await asked.wait_for_end()).unread_messages == [result(1)]

    async def test_s35_d21_a_notification_is_there_before_it_is_accepted(self) -> None:
        async with peer() as it:
            assert (await it.wire.post(notification("notifications/initialized")).wait_for_end()).status == 202
            assert it.read.receive_nowait()["method"] == "notifications/initialized"


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
    async def test_s8_s16_d22_what_was_missed_and_then_the_rest(self, events: EventStore) -> None:
        async with peer(event_store=events) as it:
            await it.initialize()
            asked = await it.asked(1)
            primed = await asked.event()
            assert (primed.data, primed.retry is not None, primed.id is not None) == ("", True, True)  # D24
            for step in range(3):
                await it.say(progress(step), 1)
            seen = await asked.event()
            asked.cut()
            again = it.wire.get(seen.id)
            assert [(await again.message())["params"]["progress"] for _ in range(2)] == [1, 2]
            await it.say(progress(3), 1)
            assert (await again.message())["params"]["progress"] == 3
            await it.say(result(1))
            assert [await again.message(), (await again.wait_for_end()).unread_messages] == [result(1), []]
            over = await it.wire.get(seen.id).wait_for_end()  # once more, from the log alone
            assert over.unread_messages == [*map(progress, (1, 2, 3)), result(1)]

    async def test_d23_the_own_stream_can_be_resumed_and_is_free_afterwards(self, events: EventStore) -> None:
        async with peer(event_store=events) as it:
            await it.initialize()
            own = it.wire.get()
            at = (await own.event()).id
            own.cut()
            await it.say(CHANGED)
            for _ in range(2):
                again = it.wire.get(at)
                assert await again.message() == CHANGED
                again.cut()
            plain = it.wire.get()
            assert await plain.wait_for_status() == 200
            plain.cut()

    @pytest.mark.parametrize("wrong", ["7", "unknown", "0" * 24 + "-" + "A" * 16 + ".1", "é"])
    async def test_d24_an_unknown_id_is_refused(self, wrong: str) -> None:
        async with peer(event_store=MemoryEventStore()) as it:
            refused = await it.wire.get(wrong).wait_for_end()
            assert (refused.status, refused.json["error"]["code"]) == (400, -32600)

    async def test_d3_ids_count_in_their_own_session_only(self) -> None:
        events, secret = MixesUp(), secrets.token_urlsafe(32)
        async with peer("one", event_store=events, secret=secret) as one:
            async with peer("two", event_store=events, secret=secret) as two:
                for each in (one, two):
                    await each.initialize()
                asked = await one.asked(1)
                at = (await asked.event()).id
                await one.say(result(1, whose="one"))
                await asked.wait_for_end()
                refused = await two.wire.get(at).wait_for_end()
                assert (refused.status, b"whose" in refused.body) == (400, False)
                own = two.wire.get()
                at_two = (await own.event()).id
                own.cut()
                events.foreign = anchor_of(at)  # the store itself mixes up its streams
                mixed = await two.wire.get(at_two).wait_for_end()
                assert (mixed.status, b"whose" in mixed.body) == (503, False)

    @pytest.mark.parametrize("hangs", [True, False])
    async def test_s49_d25_what_cannot_be_stored_is_delivered(self, hangs: bool) -> None:
        async with peer(event_store=Failing(hangs=hangs)) as it:
            asked = await it.asked(1)
            await it.say(progress(1), 1)
            await it.say(result(1))
            assert (await asked.wait_for_end()).unread_messages == [progress(1), result(1)]
            again = await it.asked(2)
            await it.say(result(2))
            assert (await again.wait_for_end()).unread_messages == [result(2)]

    async def test_after_a_restart_what_was_kept_is_there_and_the_rest_is_said_to_be_lost(
        self, tmp_path: Path
    ) -> None:
        secret, kept = secrets.token_urlsafe(32), tmp_path / "events.db"
        ids = []
        for store in (SqliteEventStore(kept), SqliteEventStore(kept)):
            async with peer(event_store=store, secret=secret) as it:
                if ids:
                    again = await it.wire.get(ids[0]).wait_for_end()
                    first, last = again.unread_messages
                    assert first == progress(1)
                    assert "error" in last
                    assert last["id"] == 1
                else:
                    await it.initialize()
                    asked = await it.asked(1)
                    ids.append((await asked.event()).id)
                    await it.say(progress(1), 1)
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
        async with peer(None, is_json_response_enabled=True) as it:
            asked = it.wire.post(self.ask(), **self.HEADERS)
            assert (await it.next())["params"]["_meta"] == self.META
            await it.say({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}})
            assert (await asked.wait_for_end()).status == 404

    async def test_headers_must_agree_with_the_body(self) -> None:
        async with peer(None) as it:
            for wrong in (
                {"mcp_method": "tools/call"},
                {"mcp_method": None},
                {"mcp_protocol_version": "2025-06-18"},
            ):
                refused = await it.wire.post(self.ask(), **{**self.HEADERS, **wrong}).wait_for_end()
                assert (refused.status, refused.json["error"]["code"]) == (400, -32020)

    async def test_its_client_that_goes_cancels_it(self) -> None:
        async with peer(None, is_json_response_enabled=True) as it:
            asked = it.wire.post(self.ask(), **self.HEADERS)
            await it.next()
            asked.cut()
            assert (await it.next())["method"] == "notifications/cancelled"
            await asked.wait_for_end()

    async def test_a_session_does_not_take_it(self) -> None:
        async with peer() as it:
            refused = await it.wire.post(self.ask(), **self.HEADERS).wait_for_end()
            assert refused.status == 400
            assert "Unsupported protocol version" in refused.json["error"]["message"]

    async def test_a_get_or_delete_of_that_era_is_not_offered(self) -> None:
        async with peer(None) as it:
            for verb in ("GET", "DELETE"):
                refused = await it.wire.start(verb, mcp_protocol_version="2026-07-28").wait_for_end()
                assert (refused.status, refused.headers["allow"]) == (405, "POST")
