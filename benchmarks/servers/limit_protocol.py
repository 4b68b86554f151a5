"""The limit without ASGI: an asyncio protocol on httptools, with the guards that an open port needs.

    python limit_protocol.py PORT

It holds a head and a body to a size, a request to a time, and a stream to its reader's pace; it serves one
request of a connection at a time, looks at `Host`, and cancels what nobody waits for. The rest of a large body
goes past the parser, which would copy it in small pieces. The easy thing to get wrong is pipelining: httptools
reports all requests of a packet at once, so those that come early wait in a queue, and nothing more is read until
it is empty.
"""

import asyncio
import sys
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import httptools
import uvloop

from limit import answered

HOST: Final = "127.0.0.1"
HEAD_LIMIT: Final = 65_536
BODY_LIMIT: Final = 4_194_304
LARGE_BODY: Final = 65_536  # bytes that are missing of a body from which on it is taken without the parser
LARGE_ANSWER: Final = 65_536  # bytes from which on a body is not copied behind its head
REQUEST_TIMEOUT: Final = 30.0  # seconds for a request to arrive whole
IDLE_TIMEOUT: Final = 75.0  # seconds between two requests

_LINES = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
_ALLOWED: set[bytes] = set()


class Clock:
    """The date as a header has it, and a coarse time: made once a second, not once a request."""

    def __init__(self) -> None:
        self.date = b""
        self.now = 0.0
        self.connections: set[Connection] = set()

    def tick(self) -> None:
        self.date, self.now = formatdate(usegmt=True).encode(), time.monotonic()
        for connection in [each for each in self.connections if each.late(self.now)]:
            connection.transport.close()
        asyncio.get_running_loop().call_later(1.0, self.tick)


CLOCK = Clock()


class Request:
    """One request as it arrives."""

    __slots__ = ("body", "headers", "keep_alive", "length", "method", "size", "url")

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.method = self.url = b""
        self.keep_alive = True
        self.length: int | None = None  # bytes of the body, where that is known when its head has come
        self.size = 0


class Connection(asyncio.Protocol):
    """One connection, and at most one request of it at work."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Request] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._missing = 0  # bytes of a large body
        self._since, self._arriving = CLOCK.now, False
        CLOCK.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        CLOCK.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def late(self, now: float) -> bool:
        """Whether the client has been waited for too long."""
        limit = REQUEST_TIMEOUT if self._arriving else IDLE_TIMEOUT
        return self._task is None and now - self._since > limit

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # -- a request arrives -------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._missing:
            data = self._take(data)
            if not data:
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(400)
        if self._arriving and self._request.length is not None:
            missing = self._request.length - self._request.size
            self._missing = missing if LARGE_BODY < missing <= BODY_LIMIT else 0

    def _take(self, data: bytes) -> bytes:
        """Take the next bytes of a large body, and return what follows it."""
        rest, data = data[self._missing :], data[: self._missing]
        self._missing -= len(data)
        self._request.body.append(data)
        if not self._missing:
            self._parser = httptools.HttpRequestParser(self)
            self.on_message_complete()
        return rest

    def on_message_begin(self) -> None:
        self._request = Request()
        self._since, self._arriving = CLOCK.now, True

    def on_url(self, url: bytes) -> None:
        self._request.url += url
        self._grow(len(url), HEAD_LIMIT, 431)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.lower()] = value
        self._grow(len(name) + len(value), HEAD_LIMIT, 431)

    def on_headers_complete(self) -> None:
        request = self._request
        request.size = 0
        request.method, request.keep_alive = self._parser.get_method(), self._parser.should_keep_alive()
        if request.keep_alive and (length := request.headers.get(b"content-length")) is not None:
            request.length = int(length)
        if request.headers.get(b"expect") == b"100-continue" and self._task is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._request.body.append(body)
        self._grow(len(body), BODY_LIMIT, 413)

    def on_message_complete(self) -> None:
        request, self._arriving = self._request, False
        if self._task is None:
            self._start(request)
        else:
            self._queue.append(request)
            self.transport.pause_reading()

    def _grow(self, size: int, limit: int, status: int) -> None:
        self._request.size += size
        if self._request.size > limit:
            self._refuse(status)

    # -- and is answered ---------------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        if self.transport.is_closing():
            return
        if request.headers.get(b"host") not in _ALLOWED or b"origin" in request.headers:
            self._refuse(403)
        elif request.url != b"/mcp":
            self._refuse(404)
        else:
            self._task = self._loop.create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        try:
            if request.method == b"POST":
                await self._post(request)
            elif request.method == b"GET":
                await self._send(b": open\n\n", self._stream_head(request))
                await self._loop.create_future()  # until the client goes, which cancels this task
            else:
                self._answer(405, b"", None, request.keep_alive)
        except Exception:  # the client must see that the answer is not whole
            self.transport.abort()
            raise
        self._finish(request)

    async def _post(self, request: Request) -> None:
        accept = request.headers.get(b"accept", b"")
        if b"application/json" not in accept or b"text/event-stream" not in accept:
            self._refuse(406)
            return
        body = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        status, payload, session, events = await answered(body, request.headers)
        if events is None:
            self._answer(status, payload, session, request.keep_alive)
            return
        head = self._stream_head(request)
        for part in events:
            await self._send(part, head)
            head = b""
        self.transport.write(b"0\r\n\r\n")

    def _answer(self, status: int, payload: bytes, session: bytes | None, keep_alive: bool) -> None:
        more = b"" if session is None else b"\r\nmcp-session-id: " + session
        if not keep_alive:
            more += b"\r\nconnection: close"
        is_large = len(payload) > LARGE_ANSWER
        self.transport.write(
            b"HTTP/1.1 %b\r\ndate: %b\r\ncontent-type: application/json\r\ncontent-length: %d%b\r\n\r\n%b"
            % (_LINES[status], CLOCK.date, len(payload), more, b"" if is_large else payload)
        )
        if is_large:
            self.transport.write(payload)

    def _stream_head(self, request: Request) -> bytes:
        more = b"" if request.keep_alive else b"\r\nconnection: close"
        return (
            b"HTTP/1.1 200 OK\r\ndate: %b\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked%b\r\n\r\n" % (CLOCK.date, more)
        )

    async def _send(self, events: bytes, head: bytes) -> None:
        """Write events as one chunk, behind the head of a stream where it is the first."""
        self.transport.write(b"%b%x\r\n%b\r\n" % (head, len(events), events))
        if self._writable is not None:
            await self._writable

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self._answer(status, b"", None, keep_alive=False)
            self.transport.close()

    def _finish(self, request: Request) -> None:
        self._task, self._since = None, CLOCK.now
        if not request.keep_alive:
            self.transport.close()
        elif self._queue:
            following = self._queue.popleft()
            if not self._queue:
                self.transport.resume_reading()
            self._start(following)


async def main(port: int) -> None:
    """Serve until killed."""
    bytes(8 * 1024 * 1024)  # freed at once: from then on the malloc of glibc keeps blocks of that size for reuse
    _ALLOWED.update({b"127.0.0.1:%d" % port, b"localhost:%d" % port})
    CLOCK.tick()
    server = await asyncio.get_running_loop().create_server(Connection, HOST, port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
