"""The body of a POST, up to the limit.

The easy thing to get wrong is a length that is announced and not kept to, in either direction: what counts is
what comes.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

from enfilade.transports.answer import Receive
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError


async def read_body(fields: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Args:
        limit: the most it may have, in bytes.

    Raises:
        RpcError: HTTP 413 if it has more, 415 if it is compressed, 400 if the client went away before its end.
    """
    if b"content-encoding" in fields:
        _check_coding(fields[b"content-encoding"])
    announced = fields.get(b"content-length", b"")
    if len(announced) > 6 and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body") or message["type"] == "http.disconnect" or len(body) > limit:
        return await _read_rest(message, receive, limit)
    return body


async def _read_rest(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    """Return a body that does not come in one piece."""
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise RpcError(INVALID_REQUEST, "the body ended early", status=400)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def _check_coding(coding: bytes) -> None:
    """Refuse a compressed body: nothing is decompressed here, so that no small body becomes a large one.

    Raises:
        RpcError: HTTP 415 (RFC 9110 §15.5.16).
    """
    if coding.strip().lower() not in (b"identity", b""):
        raise RpcError(INVALID_REQUEST, "Content-Encoding is not supported: send the body as it is", status=415)


def _too_large(limit: int) -> RpcError:
    return RpcError(INVALID_REQUEST, f"the body is larger than {limit} bytes", status=413)
