"""The limit as a bare ASGI application, for uvicorn with httptools and uvloop.

The easy thing to get wrong is to be kinder to it than to others: every event is a send of its own, and a body
may come in several messages.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limit import answered

ASGIMessage = MutableMapping[str, Any]
_EVENT_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]


async def app(
    scope: ASGIMessage,
    receive: Callable[[], Awaitable[ASGIMessage]],
    send: Callable[[ASGIMessage], Awaitable[None]],
) -> None:
    """Serve one request."""
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    message = await receive()
    body = message["body"]
    if message.get("more_body"):
        parts = [body]
        while message.get("more_body"):
            message = await receive()
            parts.append(message["body"])
        body = b"".join(parts)
    status, payload, session, events = await answered(body, dict(scope["headers"]))
    if events is not None:
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
    if session is not None:
        headers.append((b"mcp-session-id", session))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
