"""The limit as a bare ASGI application, for uvicorn with httptools and uvloop.

It has the guards of `limit_protocol.py`, but for those of time, which uvicorn does not have either. The easy
thing to get wrong is to be kinder to it than to others: a body may come in several messages.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from limit import Headers, answered

BODY_LIMIT: Final = 4_194_304

ASGIMessage = MutableMapping[str, Any]
_EVENT_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]
_ALLOWED: set[bytes] = set()


async def app(
    scope: ASGIMessage,
    receive: Callable[[], Awaitable[ASGIMessage]],
    send: Callable[[ASGIMessage], Awaitable[None]],
) -> None:
    """Serve one request."""
    headers = dict(scope["headers"])
    refusal = _refusal(scope, headers)
    if refusal is None and scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = b""
    if refusal is None:
        message = await receive()
        body = message["body"]
        if message.get("more_body"):
            body = await _whole(body, receive)
        if len(body) > BODY_LIMIT:
            refusal = 413
    status, payload, session, events = (refusal, b"", None, None) if refusal else await answered(body, headers)
    if events is not None:
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        for part in events:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    answer = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
    if session is not None:
        answer.append((b"mcp-session-id", session))
    await send({"type": "http.response.start", "status": status, "headers": answer})
    await send({"type": "http.response.body", "body": payload})


def _refusal(scope: ASGIMessage, headers: Headers) -> int | None:
    """Return the status of a request that an open port must not serve; None for any other."""
    if headers.get(b"host") not in _ALLOWED:
        port = scope["server"][1]  # which the first request says
        _ALLOWED.update({b"127.0.0.1:%d" % port, b"localhost:%d" % port})
        if headers.get(b"host") not in _ALLOWED:
            return 403
    if b"origin" in headers:
        return 403
    if scope["path"] != "/mcp":
        return 404
    if scope["method"] == "POST":
        accept = headers.get(b"accept", b"")
        return None if b"application/json" in accept and b"text/event-stream" in accept else 406
    return None if scope["method"] == "GET" else 405


async def _whole(first: bytes, receive: Callable[[], Awaitable[ASGIMessage]]) -> bytes:
    """Return a body that comes in several messages, or the beginning of one that is too long."""
    parts, size, has_more = [first], len(first), True
    while has_more and size <= BODY_LIMIT:
        message = await receive()
        parts.append(message.get("body", b""))
        size, has_more = size + len(parts[-1]), message.get("more_body", False)
    return b"".join(parts)
