"""Calls of tools that go to the dispatcher of a server, as a transport would make them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.channel import Channel, Peer
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.request import Request
from enfilade.wire.tools import CallToolRequestParams


def call_request(
    tool: str,
    arguments: Mapping[str, Any] | bytes | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
    principal: str | None = None,
    session_id: str | None = None,
    revision: str = "2026-07-28",
) -> Request:
    """Return a call as it comes from a transport."""
    raw = arguments if isinstance(arguments, bytes) else msgspec.json.encode(arguments or {})
    params = CallToolRequestParams(
        name=tool,
        arguments=UNSET if arguments is None else Raw(raw),
        meta=UNSET if meta is None else Raw(msgspec.json.encode(meta)),
    )
    peer = Peer(revision=revision, principal=principal, session_id=session_id)
    return Request(1, "tools/call", params, peer, Channel())


async def called(dispatcher: Dispatcher, tool: str, arguments: Any = None, **options: Any) -> dict[str, Any]:
    """Call a tool and return its result; `options` are those of `call_request`."""
    found: dict[str, Any] = msgspec.json.decode(
        await dispatcher.dispatch(call_request(tool, arguments, **options))
    )
    return found
