"""What a server holds for its clients at once: requests, streams, questions and unfinished bodies."""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from enfilade import Context, MCPApp, Settings
from enfilade.transports.http.limits import StreamQuota
from enfilade.transports.http.request_checks import BodyMemory, BodyReader
from enfilade.transports.http11.server import http_protocol
from enfilade.wire.jsonrpc import RpcError
from support.authorization.header_users import HeaderUsers
from support.harness import Serving, Stdio, eventually
from support.http_client.connection import (
    BOTH,
    HeaderValue,
    Http,
    HttpSession,
    PendingReply,
    Reply,
    request_of,
)
from support.http_client.memory_exchange import MemoryExchange

INTERNAL = -32603

Call = Callable[[], PendingReply]


class Held:
    """A server whose tool `hold` waits until it is let go."""

    def __init__(self, **settings: Any) -> None:
        self.app = MCPApp("held", settings=Settings(**settings))
        self.running = 0
        self._go = threading.Event()
        self.app.tool(self.hold)
        self.app.tool(self.add)
        self.app.tool(self.ask_many)
        self.serving = Serving(self.app, http=http_protocol())

    async def hold(self, padding: str = "") -> str:
        """Wait."""
        self.running += 1
        try:
            while not self._go.is_set():
                await asyncio.sleep(0.005)
        finally:
            self.running -= 1
        return "held"

    async def add(self, a: int, b: int) -> int:
        """Add."""
        return a + b

    async def ask_many(self, ctx: Context, count: int) -> list[str]:
        """Ask for several things at once, and return what came of each."""
        asked = (ctx.elicit(f"Question {number}?", bool) for number in range(count))
        return [str(each) for each in await asyncio.gather(*asked, return_exceptions=True)]

    @property
    def http(self) -> Http:
        return self.serving.http

    @property
    def count(self) -> int:
        return self.app.endpoint.services.request_limit.count

    def let_go(self) -> None:
        self._go.set()


@contextmanager
def held(**settings: Any) -> Iterator[Held]:
    made = Held(**settings)
    with made.serving:
        try:
            yield made
        finally:
            made.let_go()


def hold_in_session(session: HttpSession, id: int) -> PendingReply:
    return session.start("tools/call", {"name": "hold", "arguments": {}}, id=id)


def assert_busy(reply: Reply, id: Any, limit: int) -> None:
    assert reply.status == 503
    assert reply.header("retry-after") == "1"
    assert reply.response["id"] == id
    assert reply.error["code"] == INTERNAL
    assert f"{limit} requests are in flight" in reply.error["message"]


class TestRequestsInFlight:
    """`max_requests`: more are refused at once, with their id and a time to come back."""

    def test_more_are_refused_and_then_there_is_room_again(self) -> None:
        with held(max_requests=3) as server, ExitStack() as open_ones:
            session = server.http.initialize()
            waiting = [hold_in_session(session, id) for id in (1, 2)]
            waiting.append(server.http.start_modern("tools/call", {"name": "hold", "arguments": {}}, id=3))
            for each in waiting:
                open_ones.enter_context(each)
            eventually(lambda: server.running == 3 and server.count == 3)

            assert_busy(session.call("add", id="mine", a=1, b=2), "mine", 3)
            add = {"name": "add", "arguments": {"a": 1, "b": 2}}
            assert_busy(server.http.modern("tools/call", add, id=7), 7, 3)
            assert_busy(server.http.post(request_of("initialize", INIT, "open", None)), "open", 3)
            assert session.ask("ping", id="ping").result == {}
            for path in ("/healthz", "/readyz"):
                with server.http.start("GET", path=path) as probe:
                    assert probe.status == 200
            assert server.running == 3, "what is in flight goes on"

            server.let_go()
            for each in waiting:
                assert each.read().status == 200
            eventually(lambda: server.count == 0, "a request that is over is counted no more")
            assert session.call("add", id=8, a=1, b=2).status == 200

    def test_a_call_that_is_cancelled_makes_room(self) -> None:
        with held(max_requests=1) as server:
            session = server.http.initialize()
            with hold_in_session(session, 1):
                eventually(lambda: server.count == 1)
                session.cancel(1)
                eventually(lambda: server.count == 0)
                assert session.call("add", id=2, a=1, b=2).status == 200

    def test_each_message_of_a_batch_counts(self) -> None:
        with held(max_requests=2) as server:
            session = server.http.initialize("2025-03-26")
            call = {"name": "hold", "arguments": {}}
            batch = [request_of("tools/call", call, id, None) for id in range(4)]
            batch.append(request_of("ping", None, "ping", None))
            with session.start_post(batch) as waiting:
                eventually(lambda: server.running == 2)
                server.let_go()
                messages = {message["id"]: message for message in waiting.read().messages}
            assert "result" in messages["ping"]
            outcomes = [
                "result" if "result" in messages[id] else messages[id]["error"]["code"] for id in range(4)
            ]
            assert sorted(map(str, outcomes)) == [str(INTERNAL), str(INTERNAL), "result", "result"]
            eventually(lambda: server.count == 0)

    def test_streams_that_listen_are_not_in_flight(self) -> None:
        with held(max_requests=1) as server:
            session = server.http.initialize()
            headers = {name.replace("_", "-"): value for name, value in session.headers.items()}
            listen = server.http.start_modern(
                "subscriptions/listen", {"notifications": {"toolsListChanged": True}}
            )
            with listen, server.http.start("GET", b"", {**headers, "accept": "text/event-stream"}) as stream:
                assert (listen.status, stream.status) == (200, 200)
                assert server.count == 0
                assert session.call("add", a=1, b=2).status == 200

    def test_a_plain_call_is_never_counted(self) -> None:
        """Whatever comes at once: a call that waits for nothing has none beside it."""
        with held(max_requests=1) as server:
            session = server.http.initialize("2025-03-26")
            call = {"name": "add", "arguments": {"a": 1, "b": 2}}
            batch = [request_of("tools/call", call, id, None) for id in range(100)]
            assert [m for m in session.post(batch).messages if "error" in m] == []

    def test_over_stdio(self) -> None:
        """The same over a pipe: an error with the id, where there would be a task for each."""
        code = (
            "import asyncio\nfrom enfilade import MCPApp\napp = MCPApp('s')\n"
            "@app.tool\nasync def hold() -> str:\n    'Wait.'\n    await asyncio.sleep(3600)\n    return ''\n"
            "app.run()\n"
        )
        with Stdio([sys.executable, "-c", code], {"ENFILADE_MAX_REQUESTS": "2"}) as server:
            server.initialize()
            for id in (1, 2, 3):
                server.send(request_of("tools/call", {"name": "hold", "arguments": {}}, id, None))
            refused = server.answer(3)
            assert refused["error"]["code"] == INTERNAL
            assert "2 requests are in flight" in refused["error"]["message"]
            server.send(request_of("ping", None, "p", None))
            assert server.answer("p")["result"] == {}


INIT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


class TestStreams:
    """`max_streams` and `max_total_streams`: nobody has all the streams that there are."""

    def test_of_a_principal(self) -> None:
        app = MCPApp("streams", settings=Settings(max_streams=2))
        app.endpoint._authenticator = HeaderUsers()
        with Serving(app, http=http_protocol()) as server, ExitStack() as streams:
            for _ in range(2):
                session = server.http.initialize(x_user="ann")
                assert streams.enter_context(_get(session, x_user="ann")).status == 200
            third = server.http.initialize(x_user="ann")
            with _get(third, x_user="ann") as refused:
                reply = refused.read()
            assert (reply.status, reply.header("retry-after")) == (429, "1")
            assert "2 event streams open" in reply.error["message"]
            assert _listen(server.http, x_user="ann").read().status == 429
            assert streams.enter_context(_listen(server.http, x_user="bob")).status == 200
            streams.pop_all().close()
            quota = app.endpoint.services.stream_quota
            eventually(lambda: len(quota) == 0, "what is over is counted no more")
            with _get(third, x_user="ann") as again:
                assert again.status == 200

    def test_a_client_that_comes_back_at_the_limit_gets_its_stream(self) -> None:
        """The old connection seems to be there still, as behind a proxy that has lost its client."""
        several = StreamQuota(2, total=100)
        for session in ("s1", "s2"):
            several.take("ann", session, None)
        for session in ("s1", "s2"):
            several.take("ann", session, None)
        with pytest.raises(RpcError, match="This client has 2"):
            several.take("ann", "s3", None)
        with pytest.raises(RpcError, match="This session has 2"):
            several.take("ann", "s1", None)
        for session in ("s1", "s2"):
            several.give_back("ann", session, None)
        with pytest.raises(RpcError, match="This client has 2"):
            several.take("ann", "s3", None)
        several.give_back("ann", "s1", None)
        several.take("ann", "s3", None)

    @pytest.mark.parametrize("session", [True, False])
    def test_one_address_has_half_of_all_at_most(self, session: bool) -> None:
        """Sessions are free, and stateless clients have none: without a principal the address counts."""
        quota = StreamQuota(64, total=10)
        for number in range(5):
            quota.take(None, f"s{number}" if session else None, "192.0.2.1")
        with pytest.raises(RpcError, match="This address has 5") as refused:
            quota.take(None, "other" if session else None, "192.0.2.1")
        assert refused.value.status == 429
        quota.take("ann", None, "192.0.2.1")  # who is known is not counted by address
        for number in range(4):
            quota.take(None, None, f"192.0.2.{2 + number}")
        with pytest.raises(RpcError, match="Too many event streams") as full:
            quota.take("bob", None, "192.0.2.99")
        assert full.value.status == 503

    def test_a_network_of_version_6_is_one_address(self) -> None:
        quota = StreamQuota(64, total=4)
        quota.take(None, None, "2001:db8::1")
        quota.take(None, None, "2001:db8::2")
        with pytest.raises(RpcError, match="This address"):
            quota.take(None, None, "2001:db8::3")
        quota.take(None, None, "2001:db8:0:1::1")
        quota.give_back(None, None, "2001:db8::2")
        quota.take(None, None, "2001:db8::3")

    def test_ipv4_addresses_within_ipv6_are_clients_of_their_own(self) -> None:
        """Servers that listen for both on one socket show IPv4 clients as `::ffff:…` (RFC 4291 §2.5.5.2)."""
        quota = StreamQuota(64, total=4)
        quota.take(None, None, "::ffff:192.0.2.1")
        quota.take(None, None, "192.0.2.1")
        with pytest.raises(RpcError):
            quota.take(None, None, "::ffff:192.0.2.1")
        quota.take(None, None, "::ffff:192.0.2.2")

    def test_nothing_is_left_of_what_is_over(self) -> None:
        quota = StreamQuota(4, total=100)
        for holder in (
            ("ann", "s", "192.0.2.1"),
            (None, "s2", "192.0.2.1"),
            (None, None, None),
            ("bob", None, None),
        ):
            quota.take(*holder)
            quota.give_back(*holder)
        assert (len(quota), quota._sessions, quota._principals, quota._addresses) == (0, {}, {}, {})


def _get(session: HttpSession, **more: HeaderValue) -> PendingReply:
    fields: dict[str, HeaderValue] = {**session.headers, "accept": "text/event-stream", **more}
    return session.http.start("GET", b"", {name.replace("_", "-"): value for name, value in fields.items()})


def _listen(http: Http, **more: HeaderValue) -> PendingReply:
    return http.start_modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, **more)


class TestQuestions:
    def test_one_question_is_not_said_to_be_several(self) -> None:
        with held(max_questions=1) as server:
            session = server.http.initialize(capabilities={"elicitation": {}})
            with session.start("tools/call", {"name": "ask_many", "arguments": {"count": 2}}, id=1) as waiting:
                events = waiting.events()
                asked = next(events)
                session.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
                (result,) = [each["result"] for each in events if "result" in each]
            assert "This client has 1 unanswered question, so it cannot" in str(result["content"])

    def test_a_client_has_so_many_questions_and_no_more(self) -> None:
        """`max_questions`: what is asked beyond is refused to the handler, which can say so."""
        with held(max_questions=3) as server:
            session = server.http.initialize(capabilities={"elicitation": {}})
            arguments = {"name": "ask_many", "arguments": {"count": 5}}
            with session.start("tools/call", arguments, id=1) as waiting:
                events = waiting.events()
                asked = [next(events) for _ in range(3)]
                assert len(server.app.endpoint.services.asker) == 3
                other = server.http.initialize(capabilities={"elicitation": {}})
                with other.start("tools/call", {"name": "ask_many", "arguments": {"count": 1}}, id=1) as beside:
                    question = next(beside.events())
                    assert question["method"] == "elicitation/create", "another session is not concerned"
                for each in asked:
                    answer = {"action": "decline"}
                    session.post({"jsonrpc": "2.0", "id": each["id"], "result": answer})
                said = next(each for each in events if "result" in each)["result"]["content"]
            refused = [block["text"] for block in said if "3 unanswered questions" in block["text"]]
            assert refused, said
            assert "".join(refused).count("3 unanswered questions") == 2
            with session.start("tools/call", {"name": "ask_many", "arguments": {"count": 3}}, id=2) as again:
                events = again.events()
                for _ in range(3):
                    assert next(events)["method"] == "elicitation/create", "what was answered makes room"


class TestBodies:
    """`body_memory`: what unfinished bodies take together."""

    HEAD = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {}\r\n"

    def start(self, port: int, length: int, sent: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = self.HEAD.format(BOTH) + f"Content-Length: {length}\r\n\r\n"
        connection.sendall(head.encode() + b'{"' + b"x" * (sent - 2))
        return connection

    def test_stalled_bodies_give_way_to_those_that_come(self) -> None:
        limit, size = 1_000_000, 300_000
        app = MCPApp("bodies", settings=Settings(body_memory=limit))
        with Serving(app, http=http_protocol()) as server, ExitStack() as connections:
            memory = app.endpoint.services.bodies.memory
            first = connections.enter_context(self.start(server.port, 4_000_000, size))
            eventually(lambda: memory.held == size)
            rest = [connections.enter_context(self.start(server.port, 4_000_000, size)) for _ in range(2)]
            eventually(lambda: memory.held == 3 * size)
            rest.append(connections.enter_context(self.start(server.port, 4_000_000, size)))
            refused = first.recv(65536)
            eventually(lambda: memory.held == 3 * size)
            head, _, body = refused.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in head
            assert b"connection: close" in head
            assert json.loads(body)["error"]["code"] == INTERNAL
            assert "large requests" in json.loads(body)["error"]["message"]
            first.settimeout(60)
            while first.recv(65536):
                pass  # the server closes it
            for each in rest:
                each.setblocking(False)
                with pytest.raises(BlockingIOError):
                    each.recv(1)

            session = server.http.initialize()
            text = json.dumps(request_of("ping", None, 1, None)).encode().ljust(500_000)
            assert session.post(text).status == 200, "what comes whole is served whatever is unfinished"

        assert memory.held == 0 or eventually(lambda: memory.held == 0)

    @pytest.mark.parametrize("kind", ["session", "stateless", "batch"])
    def test_large_requests_in_flight_share_a_limit(self, kind: str) -> None:
        """60 calls of 4 MB that waited took 485 MB. What is small goes on."""
        with held(body_memory=1_000_000) as server, ExitStack() as calls:
            memory = server.app.endpoint.services.bodies.memory
            session = server.http.initialize("2025-03-26")

            def large(id: int) -> PendingReply:
                params = {"name": "hold", "arguments": {"padding": "x" * 300_000}}
                if kind == "stateless":
                    return server.http.start_modern("tools/call", params, id=id)
                message = request_of("tools/call", params, id, None)
                return session.start_post([message] if kind == "batch" else message)

            waiting = [calls.enter_context(large(id)) for id in range(3)]
            eventually(lambda: memory.waiting == 3 * len('{"padding": ""}') + 900_000)
            refused = calls.enter_context(large(3)).read()
            assert (refused.status, refused.header("retry-after")) == (503, "1")
            assert "too many large requests" in refused.error["message"]
            assert session.call("add", a=1, b=2).result["content"][0]["text"] == "3"
            server.let_go()
            assert [each.read().status for each in waiting] == [200] * 3
            eventually(lambda: memory.waiting == 0)
            assert calls.enter_context(large(4)).read().status == 200

    def test_sixty_unfinished_bodies_stay_below_the_limit(self) -> None:
        """60 unfinished bodies of 4 MB took 247 MB."""

        async def main() -> None:
            memory = BodyMemory(64 * 1024 * 1024)
            reader = BodyReader(4 * 1024 * 1024, memory)
            chunk = bytes(400_000)
            most = 0

            async def upload() -> int | None:
                nonlocal most
                left = 9

                class Upload(MemoryExchange):
                    async def read(self) -> tuple[bytes, bool]:
                        nonlocal left, most
                        most = max(most, memory.held)
                        await asyncio.sleep(0)
                        if not left:
                            await asyncio.Event().wait()
                        left -= 1
                        return chunk, True

                try:
                    await reader.read({}, Upload())
                except RpcError as error:
                    return error.status
                return None

            tasks = [asyncio.create_task(upload()) for _ in range(60)]
            for _ in range(200):
                await asyncio.sleep(0)
            refused = [task.result() for task in tasks if task.done()]
            assert most <= 64 * 1024 * 1024
            assert len(refused) == 60 - 64 * 1024 * 1024 // 3_600_000
            assert set(refused) == {503}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (memory.held, len(memory)) == (0, 0)

        asyncio.run(main())

    def test_small_bodies_are_the_last_to_give_way(self) -> None:
        async def main() -> None:
            memory = BodyMemory(250_000)
            reader = BodyReader(1_000_000, memory)

            async def upload(*sizes: int) -> bytes:
                class Upload(MemoryExchange):
                    async def read(self) -> tuple[bytes, bool]:
                        if not parts:
                            await asyncio.Event().wait()
                        return bytes(parts.pop(0)), True

                parts = list(sizes)
                return await reader.read({}, Upload())

            async def settle() -> None:
                for _ in range(20):
                    await asyncio.sleep(0)

            small = asyncio.create_task(upload(10_000, 10_000))
            await settle()
            large = asyncio.create_task(upload(100_000, 100_000))
            await settle()
            assert memory.held == 220_000
            newest = asyncio.create_task(upload(90_000))
            await settle()
            assert (small.done(), large.done(), newest.done()) == (False, True, False)
            with pytest.raises(RpcError) as refused:
                await large
            assert refused.value.status == 503
            assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]  # it runs in one
            for task in (small, newest):
                task.cancel()
            await asyncio.gather(small, newest, return_exceptions=True)
            assert memory.held == 0

        asyncio.run(main())
