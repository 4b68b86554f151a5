"""Drives a server with the official Python client 2.x: modes `legacy`, `auto`, or a revision to pin."""

import asyncio
import warnings
from typing import Any

from answers import callbacks
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated
from recorder import Recorder, target

warnings.simplefilter("ignore")  # the client deprecates logging/setLevel, which older revisions still need


async def hear(client: Client, wanted: dict[str, Any], recorder: Recorder) -> None:
    """Let the server's lists and a resource change, until the client's user has heard of each."""

    async def change() -> None:
        while recorder.lacks([*wanted["lists"], *wanted["resources"]]):
            await client.call_tool(wanted["tool"], {})  # again: the stream for changes may not have been open yet
            await asyncio.sleep(0.2)

    if client.protocol_version < "2026-07-28":
        for uri in wanted["resources"]:
            await client.subscribe_resource(uri)
        await change()
        return
    kinds = {f"{name}_list_changed": True for name in wanted["lists"]}
    async with client.listen(**kinds, resource_subscriptions=wanted["resources"]) as events:
        changing = asyncio.create_task(change())
        async for event in events:
            name = type(event).__name__.removesuffix("ListChanged").lower()
            recorder.changed(event.uri if isinstance(event, ResourceUpdated) else name)
            if not recorder.lacks([*wanted["lists"], *wanted["resources"]]):
                break
        await changing


async def main() -> None:
    aim, recorder = target(), Recorder()
    level = aim.script["logLevel"]
    address = aim.url or StdioServerParameters(command=aim.command[0], args=aim.command[1:])

    async def message(message: Any) -> None:
        method = getattr(message, "method", "")
        if "changed" in method:
            recorder.changed(method.split("/")[1])
        elif "updated" in method:
            recorder.changed(message.params.uri)

    client = Client(
        address,
        mode=aim.mode,
        logging_callback=recorder.log,
        log_level=level,
        message_handler=message,
        **callbacks(aim.script.get("answers"), recorder),
    )
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
        if "changes" in aim.script:
            await hear(client, aim.script["changes"], recorder)
    recorder.print()


asyncio.run(main())
