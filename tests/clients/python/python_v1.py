"""Drives a server with the official Python client 1.x, which knows the session era only."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from recorder import Recorder, Target, target


async def connect(stack: AsyncExitStack, aim: Target) -> Any:
    """Open the transport and return its two streams."""
    if aim.url:
        streams = await stack.enter_async_context(streamable_http_client(aim.url))
    else:
        server = StdioServerParameters(command=aim.command[0], args=aim.command[1:])
        streams = await stack.enter_async_context(stdio_client(server))
    return streams[:2]


async def main() -> None:
    aim, recorder = target(), Recorder()
    async with AsyncExitStack() as stack:
        read, write = await connect(stack, aim)
        session = await stack.enter_async_context(ClientSession(read, write, logging_callback=recorder.log))
        handshake = await session.initialize()
        recorder.revision = str(handshake.protocolVersion)
        recorder.server = handshake.serverInfo.model_dump(exclude_unset=True)
        recorder.listed((await session.list_tools()).tools)
        if handshake.capabilities.logging is not None:
            await session.set_logging_level(aim.script["logLevel"])

        async def call(step: dict[str, Any]) -> None:
            key = step["key"]
            try:
                result = await session.call_tool(
                    step["tool"], step["arguments"], progress_callback=recorder.progress(key)
                )
            except McpError as error:
                recorder.error(key, error.error.code, error.error.message)
            else:
                recorder.result(key, result)

        for step in aim.script["steps"]:
            await asyncio.gather(*map(call, step))
    recorder.print()


asyncio.run(main())
