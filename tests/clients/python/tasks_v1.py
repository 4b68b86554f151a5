"""Calls tools as tasks with the official Python client 1.x, which has those of 2025-11-25: `URL`."""

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult

CALLS: dict[str, dict[str, Any]] = {
    "slow_compute": {"seconds": 0.2, "label": "slow"},
    "failing_job": {},
    "confirm_delete": {"filename": "a.txt"},
}


async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"confirm": True})


async def main() -> None:
    seen: dict[str, Any] = {}
    async with (
        streamable_http_client(sys.argv[1]) as streams,
        ClientSession(*streams[:2], elicitation_callback=answer) as session,
    ):
        declared = (await session.initialize()).capabilities.tasks
        seen["declared"] = None if declared is None else declared.model_dump(exclude_none=True)
        for name, arguments in CALLS.items():
            created = await session.experimental.call_tool_as_task(name, arguments, ttl=60_000)
            id = created.task.taskId
            result = await session.experimental.get_task_result(id, CallToolResult)
            status = (await session.experimental.get_task(id)).status
            seen[name] = {"status": status, "text": getattr(result.content[0], "text", "")}
        created = await session.experimental.call_tool_as_task("slow_compute", {"seconds": 60}, ttl=60_000)
        seen["cancelled"] = (await session.experimental.cancel_task(created.task.taskId)).status
        try:
            await session.experimental.cancel_task(created.task.taskId)
        except McpError as error:
            seen["again"] = error.error.code
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main())
