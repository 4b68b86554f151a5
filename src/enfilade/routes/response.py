"""What the handler of a plain route may return, and how it is sent.

str                     200, text/plain; charset=utf-8
bytes                   200, application/octet-stream
None                    204
Response                as it says; a body that is an asynchronous iterator is sent in chunks
an ASGI application     it answers: responses of Starlette and FastAPI are such applications
anything else           200, application/json
"""

import asyncio
from collections.abc import AsyncIterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final

from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.routes.exchange import RouteExchange
from enfilade.transports.exchange import Headers

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_WITHOUT_BODY: Final = frozenset({204, 304})


class Response:
    """The response of a plain route.

    Args:
        body: text, bytes, an asynchronous iterator of either, None for no body; anything else is sent as JSON.
        status: the HTTP status, 200 to 599.
        headers: its headers; a list of pairs may have a name twice, as `Set-Cookie` needs.
        media_type: its `Content-Type`; by default that of the body.

    Raises:
        ValueError: there is no such status.
    """

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        media_type: str | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status={status!r} is no status of a response: 200 to 599")
        self.body = body
        self.status = status
        self.headers = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        self.media_type = media_type

    def encoded(self) -> tuple[bytes | AsyncIterable[str | bytes], Headers]:
        """Return the body as it is sent, or what yields it, and the headers."""
        body, kind = self.body, self.media_type
        if body is None:
            body, default = b"", None
        elif isinstance(body, str):
            body, default = body.encode(), _TEXT
        elif isinstance(body, bytes | bytearray | memoryview):
            body, default = bytes(body), _BYTES
        elif isinstance(body, AsyncIterable):
            default = _BYTES
        else:
            body, default = json_bytes(body, "The response of the route"), _JSON
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        names = {name for name, _ in headers}
        kind = kind or default
        if kind is not None and b"content-type" not in names:
            headers.append((b"content-type", kind.encode("latin-1")))
        if isinstance(body, bytes) and self.status not in _WITHOUT_BODY and b"content-length" not in names:
            headers.append((b"content-length", b"%d" % len(body)))
        return body, headers


async def send_value(exchange: RouteExchange, value: Any, more: Headers) -> None:
    """Send what a handler returned.

    Args:
        more: headers that the response has besides.
    """
    if is_asgi(value):
        exchange.add_headers(more)
        await value(exchange.scope, exchange.receive, exchange.send_message)
        return
    response = value if isinstance(value, Response) else Response(value, 204 if value is None else 200)
    body, headers = response.encoded()
    headers = [*headers, *more]
    if isinstance(body, bytes):
        await exchange.send(response.status, headers, b"" if exchange.method == "HEAD" else body)
        return
    await exchange.start(response.status, headers)
    if exchange.method != "HEAD":
        await _send_chunks(exchange, body)
    await exchange.write(b"", is_last=True)


async def _send_chunks(exchange: RouteExchange, body: AsyncIterable[str | bytes]) -> None:
    """Send what an iterator yields until its end, or until the client has gone, which cancels the iterator."""
    sending = asyncio.ensure_future(_write_all(exchange, body))
    gone = asyncio.ensure_future(exchange.disconnected())
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, gone):
            task.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)


async def _write_all(exchange: RouteExchange, body: AsyncIterable[str | bytes]) -> None:
    async for chunk in body:
        if chunk:
            await exchange.write(chunk.encode() if isinstance(chunk, str) else chunk, is_last=False)


def is_asgi(value: object) -> bool:
    """Whether a value is called as an ASGI application is: an object with an asynchronous `__call__` of three."""
    call = getattr(type(value), "__call__", None)  # noqa: B004 - which function it is, not whether there is one
    code = getattr(call, "__code__", None)
    return (
        not isinstance(value, type) and code is not None and iscoroutinefunction(call) and code.co_argcount == 4
    )
