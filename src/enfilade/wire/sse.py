"""Framing of server-sent events, as the Streamable HTTP transport uses them.

The data of an event is one line of compact JSON, so it is never split (R-271). Keep-alives are comments, because
an empty event breaks old parsers.
"""

from collections.abc import Iterable
from typing import Final

#: A comment, which every client ignores; sent while a stream is idle (R-270).
KEEP_ALIVE: Final = b": keep-alive\n\n"

#: The shortest comment; begins a stream without events so far.
OPENING: Final = b":\n\n"


#: Made with the prefix of a stream's event ids, which has no percent sign, the format of its events: position and
#: message.
EVENT_FORMAT: Final = b"id: %b%%d\nevent: message\ndata: %%b\n\n"


def event(data: bytes) -> bytes:
    """Frame one JSON-RPC message, which must not contain a raw newline (compact JSON never does)."""
    return b"event: message\ndata: " + data + b"\n\n"


def events(messages: Iterable[bytes]) -> bytes:
    """Frame several messages."""
    return b"event: message\ndata: " + b"\n\nevent: message\ndata: ".join(messages) + b"\n\n"


def priming_event(id: bytes, retry: int) -> bytes:
    """Frame the event that gives a stream its first id (R-353), and the reconnection time in milliseconds."""
    return b"id: %b\nretry: %d\ndata: \n\n" % (id, retry)


def reconnection_time(retry: int) -> bytes:
    """Frame the reconnection time in milliseconds (R-354)."""
    return b"retry: %d\n\n" % retry
