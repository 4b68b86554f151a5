"""A server to stop under load, and clients that know which of their requests had been sent by then.

Easy to get wrong: only a request whose last byte was with the kernel before the signal was sent may be counted
on. So the clients write to raw sockets and note the time after the write, in the process that sends the signal.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from enfilade import Context, MCPApp
from enfilade.wire.revisions import LATEST_STATELESS
from support.http_client.connection import stateless_meta
from support.servers.processes import HOST

app = MCPApp(name="Draining")


@app.tool
async def nap(seconds: float, busy: bool = False) -> str:
    """Take a while; a busy nap lets next to nothing else of the process happen."""
    if not busy:
        _say_under_way(seconds)
        await asyncio.sleep(seconds)
    for turn in range(4 if busy else 0):
        time.sleep(seconds / 4)
        await asyncio.sleep(0)  # a turn of the event loop, in which it may see a signal before it sees bytes
        if turn == 0:
            _say_under_way(seconds)
    return "rested"


@app.tool
async def watch(ctx: Context) -> str:
    """Report progress, so that a stream begins, and go on for ever."""
    await ctx.progress.report(1)
    print("under way")
    await asyncio.sleep(3600)
    return "never"


@app.tool
async def deaf(ctx: Context, streams: bool = False) -> str:
    """Go on for ever, also when cancelled."""
    if streams:
        await ctx.progress.report(1)
    print("under way")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def _say_under_way(seconds: float) -> None:
    if seconds >= 1:
        print("under way")


def call(tool: str, **arguments: Any) -> bytes:
    """Return a whole HTTP request that calls a tool."""
    meta = {**stateless_meta(), "progressToken": "p"}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = [
        "POST /mcp HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {LATEST_STATELESS}",
        "Mcp-Method: tools/call",
        f"Mcp-Name: {tool}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


@dataclass
class Attempt:
    """One request: when its last byte had been handed over, and what came of it."""

    sent_at: float
    answer: bytes = b""
    failure: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.failure and self.answer.startswith(b"HTTP/1.1 200 ") and b"rested" in self.answer


@dataclass
class Clients:
    """Clients that send one request after the other until the server is gone.

    Args:
        port: where.
        lasting: how many keep their connection.
        fleeting: how many open one for each request.
    """

    port: int
    lasting: int = 12
    fleeting: int = 4
    attempts: list[Attempt] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, requests: Sequence[bytes]) -> None:
        for number in range(self.lasting + self.fleeting):
            mine = [*requests[number % len(requests) :], *requests[: number % len(requests)]]
            self._tasks.append(asyncio.create_task(self._live(mine, keeps=number < self.lasting)))

    async def answered(self, count: int) -> None:
        """Wait until so many requests have whole answers."""
        while sum(each.is_whole for each in self.attempts) < count:
            await asyncio.sleep(0.005)

    async def finished(self) -> None:
        """Wait until every client has found the server gone."""
        await asyncio.gather(*self._tasks)

    async def _live(self, requests: Sequence[bytes], *, keeps: bool) -> None:
        connection: socket.socket | None = None
        for turn in range(sys.maxsize):
            try:
                connection = connection or await opened(self.port)
            except OSError:
                return
            attempt = await exchange(connection, requests[turn % len(requests)])
            self.attempts.append(attempt)
            if attempt.failure or not keeps or b"connection: close" in attempt.answer:
                connection.close()
                connection = None


def probe(port: int, path: str) -> tuple[int, bytes]:
    """Return what a probe on a connection of its own is told."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


async def opened(port: int) -> socket.socket:
    """Return a new connection."""
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
    except OSError:
        connection.close()
        raise
    return connection


async def exchange(connection: socket.socket, request: bytes) -> Attempt:
    """Send a request and read its answer, which says its length."""
    loop = asyncio.get_running_loop()
    attempt = Attempt(float("inf"))
    try:
        await loop.sock_sendall(connection, request)
        attempt.sent_at = time.monotonic()
        while not _is_complete(attempt.answer):
            got = await loop.sock_recv(connection, 65536)
            if not got:
                attempt.failure = "the connection was closed"
                break
            attempt.answer += got
    except OSError as error:
        attempt.failure = repr(error)
    return attempt


async def exchange_all(connection: socket.socket, requests: bytes) -> bytes:
    """Send several requests at once, and return all that comes until the server closes the connection."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, requests)
    answers = b""
    while got := await loop.sock_recv(connection, 65536):
        answers += got
    return answers


def _is_complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(line.partition(b":")[2])
    return answer.endswith(b"\r\n0\r\n\r\n")


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]), workers=int(sys.argv[2]))
