"""Framing of server-sent events, as the Streamable HTTP transport uses them.

The data of an event is one line of compact JSON, so it needs no splitting; a comment keeps a link alive where
an empty event would break old parsers (trap 8).
"""

from collections.abc import Iterable
from typing import Final

#: A line that every client must ignore; sent while a stream is silent (R-270).
KEEP_ALIVE: Final = b": keep-alive\n\n"

#: The shortest line that every client must ignore; begins a stream that has nothing to say yet.
OPENING: Final = b":\n\n"


def event(data: bytes) -> bytes:
    """Frame one JSON-RPC message, which must not contain a raw newline (compact JSON never does)."""
    return b"event: message\ndata: " + data + b"\n\n"


def events(messages: Iterable[bytes]) -> bytes:
    """Frame some messages in a row."""
    return b"event: message\ndata: " + b"\n\nevent: message\ndata: ".join(messages) + b"\n\n"


def numbered(name: bytes) -> bytes:
    """Return the format of the events of one stream, to be filled with a position and a message.

    Args:
        name: what their ids begin with; without a percent sign.
    """
    return b"id: %b%%d\nevent: message\ndata: %%b\n\n" % name


def prime(id: bytes, retry: int) -> bytes:
    """Frame the event that only says where a stream begins (R-353), and when to come back, in milliseconds."""
    return b"id: %b\nretry: %d\ndata: \n\n" % (id, retry)


def come_back(retry: int) -> bytes:
    """Frame the wish that the client come back after so many milliseconds (R-354)."""
    return b"retry: %d\n\n" % retry
