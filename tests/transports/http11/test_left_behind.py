"""What a request leaves to those behind it on its connection: no context variables, and no head once answered."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
import uvicorn

from enfilade import MCPApp
from enfilade.transports.http11.protocol import HttpProtocol
from support.http_client.connection import modern_headers, request_of, stateless_meta

app = MCPApp("left-over")
user: ContextVar[str] = ContextVar("user", default="nobody")


@app.tool
async def greet(name: str, padding: str = "") -> str:
    """Say who was said to be the caller, and say another."""
    seen = user.get()
    user.set(name)
    return f"was {seen}"


def call(name: str, padding: int = 0) -> tuple[bytes, bytes]:
    arguments = {"name": name, "padding": "y" * padding}
    message = request_of("tools/call", {"name": "greet", "arguments": arguments}, 1, stateless_meta())
    body = json.dumps(message).encode()
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    fields |= {"accept": "application/json", **modern_headers(message)}
    head = "".join(f"{field.replace('_', '-')}: {value}\r\n" for field, value in fields.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode(), body


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def with_server(use: Callable[[int], Coroutine[Any, Any, None]], *, eager: bool = False) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        if eager:
            loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        config = uvicorn.Config(app, http=HttpProtocol, log_config=None, port=0)
        config.load()
        state = uvicorn.server.ServerState()
        listener = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
        await asyncio.wait_for(use(listener.sockets[0].getsockname()[1]), 10)
        listener.close()

    asyncio.run(work())


def test_a_large_request_leaves_no_context_variables_to_the_next() -> None:
    async def use(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, body = call("alice", 300_000)
        writer.write(head)
        await asyncio.sleep(0.05)
        writer.write(body)
        assert b"was nobody" in await answer(reader)
        for _ in range(2):
            writer.write(b"".join(call("bob")))
            assert b"was nobody" in await answer(reader)
        writer.close()

    with_server(use)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no such factory")
@pytest.mark.parametrize(("path", "host"), [("/mcp", "evil.example"), ("/nowhere", "127.0.0.1")])
def test_a_request_that_is_refused_at_once_may_send_its_body_later(path: str, host: str) -> None:
    async def use(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n".encode())
            await asyncio.sleep(0.05)
            writer.write(b"0123456789")
            assert b"HTTP/1.1 4" in await answer(reader)
        writer.close()

    with_server(use, eager=True)
