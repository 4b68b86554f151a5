"""Streams on which nothing happens, over real sockets without ASGI: what is given up for them comes back.

Easy to get wrong: a stream is seen by its client before the server has come to rest. So what is looked up in the
server is waited for.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from msgspec.structs import replace
from uvicorn.server import ServerState

from enfilade import MCPApp
from enfilade.serving.subscriptions import Listener
from enfilade.transports.http.sse_stream import EventStream, StreamOptions, keep_alive_queue
from enfilade.transports.http11.connection_timeouts import ConnectionLimits
from enfilade.transports.http11.protocol import HttpProtocol
from enfilade.transports.http11.reader import NoParser
from support.http_client.connection import INITIALIZE, modern_headers, request_of, stateless_meta
from support.waiting import until

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
BOTH = "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"


def head(method: str, lines: str = "", body: bytes = b"") -> bytes:
    return (
        f"{method} /mcp HTTP/1.1\r\nHost: localhost\r\n{BOTH}{lines}Content-Length: {len(body)}\r\n\r\n".encode()
    )


def post(message: dict[str, Any], lines: str = "") -> bytes:
    body = json.dumps(message).encode()
    return head("POST", lines, body) + body


class Door:
    """A server in the running event loop, and its connections in order."""

    def __init__(self) -> None:
        self.connections: list[HttpProtocol] = []
        self.lines: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Door":
        config = uvicorn.Config(MCPApp("waits"), lifespan="off", log_level="critical", access_log=False)
        config.load()
        short = replace(ConnectionLimits(), write_timeout=0.2)
        config.connection_limits = short  # type: ignore[attr-defined]  # ours
        self.state = state = ServerState()

        def connection() -> HttpProtocol:
            self.connections.append(HttpProtocol(config, state, {}))
            return self.connections[-1]

        self.server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self.lines:
            line.close()
        self.server.close()
        await until(lambda: not self.state.tasks)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        self.lines.append(writer)
        return reader, writer

    async def session(self) -> str:
        reader, writer = await self.connect()
        writer.write(post(INITIALIZE))
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        return answer.partition("mcp-session-id: ")[2].partition("\r\n")[0]

    async def stream(self, session: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, HttpProtocol]:
        reader, writer = await self.connect()
        writer.write(head("GET", f"Mcp-Session-Id: {session}\r\n"))
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        connection = self.connections[-1]
        await until(lambda: type(connection._parser) is NoParser)
        return reader, writer, connection

    async def end(self, session: str) -> None:
        reader, writer = await self.connect()
        writer.write(head("DELETE", f"Mcp-Session-Id: {session}\r\n"))
        await reader.readuntil(b"\r\n\r\n")


def run(loop: str, work: Callable[[Door], Any]) -> None:
    async def main() -> None:
        async with Door() as door:
            await work(door)

    if loop == "uvloop":
        factory: Any = pytest.importorskip("uvloop").new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("loop", LOOPS)
class TestStreams:
    def test_a_request_behind_one_is_answered_behind_it(self, loop: str) -> None:
        async def work(door: Door) -> None:
            session = await door.session()
            reader, writer, connection = await door.stream(session)
            behind = post(INITIALIZE)
            writer.write(behind[:30])
            await until(lambda: connection.is_reading_head)
            writer.write(behind[30:])
            await until(lambda: len(connection._waiting) == 1)
            await door.end(session)
            await reader.readuntil(b"0\r\n\r\n")
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")

        run(loop, work)

    def test_garbage_behind_one_is_refused_behind_it(self, loop: str) -> None:
        async def work(door: Door) -> None:
            session = await door.session()
            reader, writer, connection = await door.stream(session)
            writer.write(b"\0\0\0")
            await until(lambda: connection.is_ending)
            await door.end(session)
            await reader.readuntil(b"0\r\n\r\n")
            assert b" 400 " in await reader.readuntil(b"\r\n\r\n")

        run(loop, work)

    def test_a_client_that_leaves_is_noticed(self, loop: str) -> None:
        async def work(door: Door) -> None:
            session = await door.session()
            _, writer, connection = await door.stream(session)
            writer.transport.abort()
            await until(lambda: not connection.server_state.tasks)

        run(loop, work)

    def test_a_newer_one_takes_over(self, loop: str) -> None:
        async def work(door: Door) -> None:
            session = await door.session()
            first, *_ = await door.stream(session)
            second, *_ = await door.stream(session)
            await first.readuntil(b"0\r\n\r\n")
            await door.end(session)
            await second.readuntil(b"0\r\n\r\n")

        run(loop, work)

    def test_a_listener_of_the_stateless_era_gives_up_its_parser_too(self, loop: str) -> None:
        async def work(door: Door) -> None:
            params = {"notifications": {"toolsListChanged": True}}
            message = request_of("subscriptions/listen", params, 1, stateless_meta())
            lines = "".join(
                f"{name.replace('_', '-')}: {value}\r\n" for name, value in modern_headers(message).items()
            )
            reader, writer = await door.connect()
            writer.write(post(message, lines))
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            connection = door.connections[-1]
            await until(lambda: type(connection._parser) is NoParser)
            assert connection.progress is None

        run(loop, work)


class Response:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.comments = 0

    async def start(self, status: int, headers: Any) -> None:
        pass

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        self.comments += chunk == b": keep-alive\n\n"

    def write_now(self, chunk: bytes) -> bool:
        return True


async def waiting(count: int, interval: float) -> list[tuple[EventStream, Any]]:
    found = []
    for _ in range(count):
        response: Any = Response()
        stream = EventStream(response, [], StreamOptions(keep_alive=interval))
        stream.open()
        found.append((stream, response))
    await until(lambda: all(stream.is_silent for stream, _ in found))
    return found


@pytest.mark.anyio
class TestKeepAlive:
    async def test_each_of_many_gets_comments(self) -> None:
        found = await waiting(250, 0.05)
        await until(lambda: all(response.comments >= 2 for _, response in found))
        for stream, _ in found:
            stream.abandon()
        assert keep_alive_queue(0.05)._idle_since == {}

    async def test_one_that_ends_leaves_the_others(self) -> None:
        (first, gone), *others = await waiting(3, 0.05)
        first.abandon()
        await until(lambda: all(response.comments >= 2 for _, response in others))
        assert gone.comments == 0
        for stream, _ in others:
            stream.abandon()

    async def test_what_is_said_puts_off_the_next(self) -> None:
        (first, _), (second, _) = found = await waiting(2, 60.0)
        queue = keep_alive_queue(60.0)
        for stream in (first, second):
            stream.push(b"0")  # by a task, as the first one is
            await until(lambda stream=stream: stream.is_silent)
        assert list(queue._idle_since) == [first, second]
        assert first.push_now(b"1")
        assert list(queue._idle_since) == [second, first]
        for stream, _ in found:
            stream.abandon()


@pytest.mark.anyio
async def test_whoever_waits_for_a_listener_that_has_stopped_waits_for_nothing() -> None:
    listener = Listener(lambda _: True, lambda _: True)
    listener.stop()
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    listener.watch(over)
    assert over.done()
    assert listener.ended.done()
