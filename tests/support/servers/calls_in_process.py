"""Calls one tool of a server in this process, in the stateless era, and returns what a client would see of it.

Easy to get wrong: a short time limit may be over before the tool has begun. `expire` ends a long one when it has.
"""

import asyncio
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.serving.execution import TimeLimit
from support.exchanges import Message
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import modern_headers, request_of, stateless_meta


async def messages(app: MCPApp, tool: str, **arguments: Any) -> list[Message]:
    """Call a tool, with its progress and all log messages asked for, and return all that came."""
    meta = {**stateless_meta(logLevel="debug"), "progressToken": "token"}
    call = request_of("tools/call", {"name": tool, "arguments": arguments}, "call", meta)
    return (await AsgiClient(app).post(call, **modern_headers(call))).messages


async def result(app: MCPApp, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the result of a call."""
    found: dict[str, Any] = (await messages(app, tool, **arguments))[-1]["result"]
    return found


def called(app: MCPApp, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the result of a call, from a test that is not asynchronous itself."""
    return asyncio.run(result(app, tool, **arguments))


def text(result: dict[str, Any]) -> str:
    """Return the text of a result's first block."""
    found: str = result["content"][0]["text"]
    return found


def entered_limits(monkeypatch: pytest.MonkeyPatch) -> list[TimeLimit]:
    """Return what lists the time limit of each tool call from now on, for `expire`."""
    limits: list[TimeLimit] = []
    enter = TimeLimit.__enter__

    def listed(limit: TimeLimit) -> TimeLimit:
        limits.append(limit)
        return enter(limit)

    monkeypatch.setattr(TimeLimit, "__enter__", listed)
    return limits


def expire(limit: TimeLimit) -> None:
    """Let a time limit be over now; to be called in the event loop."""
    limit._timer.cancel()
    limit._expire()
