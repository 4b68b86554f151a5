"""Framing of server-sent events, as the Streamable HTTP transport uses them.

The data of an event is one line of compact JSON, so it needs no splitting; a comment keeps a link alive where
an empty event would break old parsers (trap 8).
"""

from typing import Final

#: A line that every client must ignore; sent while a stream is silent (R-270).
KEEP_ALIVE: Final = b": keep-alive\n\n"


def event(data: bytes) -> bytes:
    """Frame one JSON-RPC message, which must not contain a raw newline (compact JSON never does)."""
    return b"event: message\ndata: " + data + b"\n\n"
