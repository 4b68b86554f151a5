"""Drives a server with the official Python client 2.x: modes `legacy`, `auto`, or a revision to pin."""

import asyncio
import warnings
from typing import Any

from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from recorder import Recorder, target

warnings.simplefilter("ignore")  # the client deprecates logging/setLevel, which older revisions still need


async def main() -> None:
    aim, recorder = target(), Recorder()
    level = aim.script["logLevel"]
    address = aim.url or StdioServerParameters(command=aim.command[0], args=aim.command[1:])
    client = Client(address, mode=aim.mode, logging_callback=recorder.log, log_level=level)
    async with client:
        recorder.revision = client.protocol_version
        recorder.listed((await client.list_tools()).tools)
        recorder.server = client.server_info.model_dump(exclude_unset=True) if client.server_info else {}
        if client.protocol_version < "2026-07-28" and client.server_capabilities.logging is not None:
            await client.set_logging_level(level)

        async def call(step: dict[str, Any]) -> None:
            key = step["key"]
            try:
                result = await client.call_tool(
                    step["tool"], step["arguments"], progress_callback=recorder.progress(key)
                )
            except MCPError as error:
                recorder.error(key, error.code, error.message)
            else:
                recorder.result(key, result)

        for step in aim.script["steps"]:
            await asyncio.gather(*map(call, step))
    recorder.print()


asyncio.run(main())
