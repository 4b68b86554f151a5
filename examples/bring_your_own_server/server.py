"""A session loop of one's own behind Enfilade's HTTP transport: here the low-level server of the official SDK.

The server is an ordinary one and knows nothing of Enfilade. `Sessions` is all there is in between: it has a
transport for each session, and runs the server over it. Easy to get wrong: a session that was never opened must
not stay.
"""

import argparse
import asyncio
import secrets
from typing import Any

import uvicorn
from mcp import types
from mcp.server import Server, ServerRequestContext

from enfilade import EventStore, HTTPStreamableTransport, MemoryEventStore, as_session_message

STATELESS = b"2026-07-28"

Context = ServerRequestContext[dict[str, Any]]

# -- a server as the SDK has it ------------------------------------------------------------------------------

NUMBER = {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}
NAME: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOOLS = [
    types.Tool(name="count", description="Count, and tell how far one is.", input_schema=NUMBER),
    types.Tool(name="greet", description="Ask the user for a name.", input_schema={"type": "object"}),
]


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name == "count":
        to = int((params.arguments or {})["to"])
        for number in range(1, to + 1):
            await ctx.session.report_progress(number, to)
            await asyncio.sleep(0.01)
        text = f"counted to {to}"
    else:
        answer = await ctx.session.elicit_form("What is your name?", NAME, ctx.request_id)
        text = f"Hello, {answer.content['name']}!" if answer.content else "Hello, whoever you are!"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


server = Server("bring-your-own", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)

# -- its sessions over HTTP ----------------------------------------------------------------------------------


class Sessions:
    """An ASGI application that runs a server of the SDK for each of its sessions.

    Args:
        server: the server.
        events: keeps what clients may have missed.
    """

    def __init__(self, server: Server, events: EventStore) -> None:
        self._server = server
        self._events = events
        self._transports: dict[str, HTTPStreamableTransport] = {}
        self._loops: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        headers = dict(scope["headers"])
        id = headers.get(b"mcp-session-id", b"").decode("latin-1")
        stateless = headers.get(b"mcp-protocol-version") == STATELESS
        if id and not stateless:
            transport = self._transports.get(id) or await self._ended()
            await transport.handle_request(scope, receive, send)
            return
        transport = await self._open(None if stateless else secrets.token_urlsafe())
        try:
            await transport.handle_request(scope, receive, send)
        finally:
            if not transport.is_initialized:
                await transport.terminate()

    async def _open(self, id: str | None) -> HTTPStreamableTransport:
        """Return a new transport with a server behind it; without an id it is for one request."""
        transport = HTTPStreamableTransport(id, event_store=None if id is None else self._events)
        connected = asyncio.Event()
        loop = asyncio.create_task(self._run(transport, connected))
        self._loops.add(loop)
        loop.add_done_callback(self._loops.discard)
        loop.add_done_callback(lambda _: connected.set())  # also if it failed at once
        await connected.wait()
        return transport

    async def _run(self, transport: HTTPStreamableTransport, connected: asyncio.Event) -> None:
        id = transport.mcp_session_id
        async with transport.connect(as_session_message) as (read, write):
            if id is not None:
                self._transports[id] = transport
            connected.set()
            try:
                await self._server.run(read, write, self._server.create_initialization_options())
            finally:
                self._transports.pop(id or "", None)

    async def _ended(self) -> HTTPStreamableTransport:
        """Return a transport that says what is to be said to clients of sessions that are no more."""
        transport = HTTPStreamableTransport(None)
        await transport.terminate()
        return transport

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for transport in list(self._transports.values()):
            await transport.terminate()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})


app = Sessions(server, MemoryEventStore())

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, port=parser.parse_args().port, timeout_graceful_shutdown=2)
