"""Drives a server with the official Python client 1.x, which knows the session era only."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from answers import callbacks
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ServerNotification
from pydantic import AnyUrl
from recorder import Recorder, Target, target


async def connect(stack: AsyncExitStack, aim: Target) -> Any:
    """Open the transport and return its two streams."""
    if aim.url:
        streams = await stack.enter_async_context(streamable_http_client(aim.url))
    else:
        server = StdioServerParameters(command=aim.command[0], args=aim.command[1:])
        streams = await stack.enter_async_context(stdio_client(server))
    return streams[:2]


async def hear(session: ClientSession, wanted: dict[str, Any], recorder: Recorder) -> None:
    """Let the server's lists and a resource change, until the client's user has heard of each."""
    for uri in wanted["resources"]:
        await session.subscribe_resource(AnyUrl(uri))
    while recorder.lacks([*wanted["lists"], *wanted["resources"]]):
        await session.call_tool(wanted["tool"], {})  # again: the stream for changes may not have been open yet
        await asyncio.sleep(0.2)


async def main() -> None:
    aim, recorder = target(), Recorder()
    async with AsyncExitStack() as stack:
        read, write = await connect(stack, aim)

        async def message(message: Any) -> None:
            if isinstance(message, ServerNotification) and "changed" in message.root.method:
                recorder.changed(message.root.method.split("/")[1])
            elif isinstance(message, ServerNotification) and "updated" in message.root.method:
                recorder.changed(str(message.root.params.uri))

        session = await stack.enter_async_context(
            ClientSession(
                read,
                write,
                logging_callback=recorder.log,
                message_handler=message,
                **callbacks(aim.script.get("answers"), recorder),
            )
        )
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
        if "changes" in aim.script:
            await hear(session, aim.script["changes"], recorder)
    recorder.print()


asyncio.run(main())
