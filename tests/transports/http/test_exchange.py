"""The endpoint behind another implementation of `HttpExchange` than that of ASGI, and that of ASGI by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest

from enfilade import Context, MCPApp, Settings
from enfilade.transports.asgi import AsgiExchange
from enfilade.transports.exchange import DisconnectedError, HttpExchange
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import INITIALIZE, modern_headers, request_of, stateless_meta
from support.http_client.memory_exchange import MemoryExchange, post
from support.waiting import until

pytestmark = pytest.mark.anyio


class Served:
    """An app whose endpoint is called without ASGI."""

    def __init__(self, app: MCPApp) -> None:
        self.app = app
        self.cancelled = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, exchange: HttpExchange) -> None:
        await self.app.endpoint.serve(exchange)

    def begin(self, exchange: HttpExchange) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.serve(exchange))
        self._serving.add(task)
        return task

    async def session(self) -> dict[str, str]:
        """Open a session, and return the headers of its requests."""
        exchange = post(INITIALIZE)
        await self.serve(exchange)
        assert exchange.status == 200
        return {"mcp-session-id": exchange.response_headers["mcp-session-id"]}

    async def stop(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = MCPApp("without ASGI", settings=Settings(body_limit=100_000))
    served = Served(app)

    @app.tool
    async def echo(text: str) -> str:
        return text

    @app.tool
    async def count(n: int, ctx: Context) -> int:
        for number in range(n):
            await ctx.progress.report(number, total=n)
        return n

    @app.tool
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            served.cancelled.set()

    @app.tool
    async def who(ctx: Context) -> str:
        return str(ctx.peer.principal)

    async with app.running():
        yield served
        await served.stop()


def call(name: str, **arguments: Any) -> dict[str, Any]:
    meta = {**stateless_meta(), "progressToken": 1}
    return request_of("tools/call", {"name": name, "arguments": arguments}, 1, meta)


def stateless(name: str, **arguments: Any) -> MemoryExchange:
    message = call(name, **arguments)
    return post(message, modern_headers(message).items())


class TestWithoutAsgi:
    async def test_a_post_is_answered_with_json(self, served: Served) -> None:
        exchange = stateless("echo", text="hello")
        await served.serve(exchange)
        assert (exchange.status, exchange.response_headers["content-type"]) == (200, "application/json")
        (response,) = exchange.messages
        assert response["result"]["content"] == [{"type": "text", "text": "hello"}]
        assert len(exchange.written) == 1

    @pytest.mark.parametrize("chunk_size", [1, 17, 70_000])
    async def test_a_body_may_come_in_chunks(self, served: Served, chunk_size: int) -> None:
        message = call("echo", text="x" * (90_000 if chunk_size > 1000 else 10))
        exchange = post(message, modern_headers(message).items(), chunk_size=chunk_size)
        await served.serve(exchange)
        assert exchange.status == 200

    async def test_a_session_is_opened_used_and_ended(self, served: Served) -> None:
        fields = await served.session()
        exchange = post(
            request_of("tools/call", {"name": "echo", "arguments": {"text": "a"}}, 2, None), fields.items()
        )
        await served.serve(exchange)
        assert exchange.messages[0]["id"] == 2
        ended = MemoryExchange(method="DELETE", headers=fields.items())
        await served.serve(ended)
        assert (ended.status, ended.body) == (204, b"")
        again = post(request_of("tools/list", None, 3, None), fields.items())
        await served.serve(again)
        assert again.status == 404

    async def test_a_response_becomes_a_stream(self, served: Served) -> None:
        exchange = stateless("count", n=3)
        await served.serve(exchange)
        assert exchange.response_headers["content-type"] == "text/event-stream"
        *reports, response = exchange.messages
        assert [each["method"] for each in reports] == ["notifications/progress"] * 3
        assert response["id"] == 1

    async def test_a_stream_waits_for_its_reader(self, served: Served) -> None:
        """Back-pressure: nothing is written before the connection has room, and nothing is lost."""
        exchange = stateless("count", n=2)
        exchange.room.clear()
        task = served.begin(exchange)
        await asyncio.sleep(0.05)
        assert (exchange.status, exchange.written, task.done()) == (None, [], False)
        exchange.room.set()
        await task
        assert len(exchange.messages) == 3

    async def test_a_stream_by_get_is_open_until_its_client_goes(self, served: Served) -> None:
        fields = {**await served.session(), "accept": "text/event-stream"}
        exchange = MemoryExchange(method="GET", headers=fields.items())
        task = served.begin(exchange)
        await until(lambda: exchange.written)
        assert (exchange.status, exchange.headers, task.done()) == (200, [], False)
        served.app.tool(lambda: "new", name="added", description="Added later.")
        await until(lambda: b"notifications/tools/list_changed" in exchange.body)
        exchange.disconnect()
        await asyncio.wait_for(task, 20)

    async def test_a_server_may_raise_for_a_client_that_has_gone(self, served: Served) -> None:
        class Raising(MemoryExchange):
            async def disconnected(self) -> None:
                await super().disconnected()
                raise OSError("broken pipe")

        exchange = Raising(
            method="GET", headers={**await served.session(), "accept": "text/event-stream"}.items()
        )
        task = served.begin(exchange)
        await until(lambda: exchange.written)
        exchange.disconnect()
        await asyncio.wait_for(task, 20)

    @pytest.mark.parametrize(
        ("exchange", "status"),
        [
            pytest.param(lambda: MemoryExchange(method="PUT"), 405, id="method"),
            pytest.param(lambda: post(call("echo"), {"host": "elsewhere.example"}.items()), 421, id="host"),
            pytest.param(lambda: post(call("echo"), {"origin": "https://a.example"}.items()), 403, id="origin"),
            pytest.param(lambda: post(call("echo"), {"content-type": "text/plain"}.items()), 415, id="type"),
            pytest.param(lambda: post(call("echo"), {"accept": "text/html"}.items()), 406, id="accept"),
            pytest.param(lambda: post(call("echo", text="x" * 200_000), chunk_size=10_000), 413, id="size"),
            pytest.param(lambda: post(request_of("tools/list", None, 1, None)), 400, id="no session"),
        ],
    )
    async def test_a_request_is_refused(
        self, served: Served, exchange: Callable[[], MemoryExchange], status: int
    ) -> None:
        refused = exchange()
        await served.serve(refused)
        assert refused.status == status
        assert "error" in refused.messages[0]

    async def test_a_body_that_ends_early_is_refused(self, served: Served) -> None:
        headers = {"content-type": "application/json"}
        exchange = MemoryExchange(b'{"jsonrpc"', headers=headers.items(), is_complete=False)
        await served.serve(exchange)
        assert exchange.status == 400
        assert exchange.messages[0]["error"]["message"].endswith("the body ended early")

    async def test_a_disconnect_cancels_a_stateless_call(self, served: Served) -> None:
        """R-277."""
        exchange = stateless("hang")
        task = served.begin(exchange)
        await asyncio.sleep(0)
        exchange.disconnect()
        async with asyncio.timeout(20):
            await served.cancelled.wait()
            await task
        assert exchange.written == []

    async def test_the_hook_of_a_host_reads_the_scope(self, served: Served) -> None:
        message = call("who")
        body = post(message, modern_headers(message).items())
        body.scope["user"] = SimpleNamespace(is_authenticated=True, identity="ada")
        await served.serve(body)
        assert body.messages[0]["result"]["content"][0]["text"] == "ada"

    @pytest.mark.parametrize("message", [call("echo", text="a"), call("count", n=2), call("nothing")])
    async def test_the_response_is_that_of_asgi(self, served: Served, message: dict[str, Any]) -> None:
        exchange = post(message, modern_headers(message).items())
        await served.serve(exchange)
        answered = await AsgiClient(served.app).post(message, **modern_headers(message))
        assert (exchange.status, exchange.body) == (answered.status, answered.body)
        assert exchange.response_headers == answered.headers


class Server:
    """The other side of an `AsgiExchange`."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.unread = list(messages)
        self.sent: list[MutableMapping[str, Any]] = []
        scope = {"http_version": "2", "client": ("::1", 5), "user": "ada", "headers": [(b"a", b"1")]}
        self.exchange = AsgiExchange("POST", [(b"a", b"1")], scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return self.unread.pop(0)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


class TestAsgiExchange:
    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ({"type": "http.request", "body": b"a", "more_body": True}, (b"a", True)),
            ({"type": "http.request", "body": b"a"}, (b"a", False)),
            ({"type": "http.request", "more_body": True}, (b"", True)),
            ({"type": "http.request"}, (b"", False)),
        ],
    )
    async def test_it_reads_a_chunk(self, message: dict[str, Any], expected: tuple[bytes, bool]) -> None:
        assert await Server(message).exchange.read() == expected

    async def test_it_notices_the_disconnect(self) -> None:
        with pytest.raises(DisconnectedError):
            await Server({"type": "http.disconnect"}).exchange.read()
        server = Server({"type": "http.request"}, {"type": "http.disconnect"}, {"type": "unread"})
        await server.exchange.disconnected()
        assert server.unread == [{"type": "unread"}]

    async def test_it_writes_a_response_in_one_piece_or_in_chunks(self) -> None:
        server, fields = Server(), [(b"a", b"1")]
        await server.exchange.send(404, fields, b"whole")
        head = {"type": "http.response.start", "status": 404, "headers": fields}
        assert server.sent == [head, {"type": "http.response.body", "body": b"whole"}]
        server.sent.clear()
        await server.exchange.start(200, fields)
        await server.exchange.write(b"1", is_last=False)
        await server.exchange.write(b"", is_last=True)
        assert server.sent == [
            {"type": "http.response.start", "status": 200, "headers": fields},
            {"type": "http.response.body", "body": b"1", "more_body": True},
            {"type": "http.response.body", "body": b"", "more_body": False},
        ]

    async def test_of_a_forgotten_head_the_client_and_the_version_are_left(self) -> None:
        exchange = Server().exchange
        assert (exchange.version, exchange.client) == ("2", ("::1", 5))
        exchange.forget_head()
        assert (exchange.headers, exchange.client, exchange.version) == ((), ("::1", 5), "2")
        assert exchange.scope.keys() == {"client", "http_version"}
