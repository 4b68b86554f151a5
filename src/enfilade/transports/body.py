"""A POST before it is understood: its media types, and its body up to the limit.

The easy thing to get wrong is a length that is announced and not kept to, in either direction: what counts is
what comes.
"""

from collections.abc import Mapping

from enfilade.transports.answer import Receive
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError


def check_media(fields: Mapping[bytes, bytes]) -> tuple[bool, bool]:
    """Return whether a client takes (JSON, an event stream) as the answer to its JSON.

    Raises:
        RpcError: HTTP 415 for a body that is no JSON, 406 for a client that takes neither.
    """
    if not http.is_json(fields.get(b"content-type", b"")):
        raise RpcError(INVALID_REQUEST, "Content-Type must be application/json", status=415)
    accept = fields.get(b"accept")
    if accept is None:  # absent means anything (RFC 9110 §12.5.1)
        return True, True
    accepts = http.acceptable(accept)
    if not any(accepts):
        wanted = "Accept must allow application/json or text/event-stream, better both"
        raise RpcError(INVALID_REQUEST, wanted, status=406)
    return accepts


async def read_body(fields: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Args:
        limit: the most it may have, in bytes.

    Raises:
        RpcError: HTTP 413 if it has more, 400 if the client went away before its end.
    """
    announced = fields.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RpcError(INVALID_REQUEST, "the body ended early", status=400)
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> RpcError:
    return RpcError(INVALID_REQUEST, f"the body is larger than {limit} bytes", status=413)
