"""The official client: calls the only tool of a server and answers its question.

    python asking_client.py URL MODE

It prints `yes` if the tool got the answer. `MODE` is `legacy`, which opens a session, or a stateless revision.
"""

import asyncio
import sys
from typing import Any

from mcp import Client
from mcp.types import ElicitResult


async def accept(context: Any, params: Any) -> ElicitResult:
    """Answer the question."""
    return ElicitResult(action="accept", content={"value": True})


async def main(url: str, mode: str) -> None:
    """Call the tool, and print `yes` if it got the answer."""
    async with Client(url, mode=mode, elicitation_callback=accept) as client:
        (tool,) = (await client.list_tools()).tools
        result = await asyncio.wait_for(client.call_tool(tool.name, {}), 10)
        print("yes" if "accept" in str(result.content) and not result.is_error else "no")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
