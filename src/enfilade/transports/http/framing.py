"""From what waits on a stream to the bytes that go out: messages become events, and get their ids.

The id of an event is the name of its stream and its position, and the name is not known before the log knows of
the stream, so nothing is framed before it is written. The easy thing to get wrong is what is counted: only
messages have positions, not what was framed elsewhere.
"""

from itertools import chain, groupby
from typing import Final

from enfilade.wire.sse import events, numbered, prime


class Framed(bytes):
    """What goes out as it is."""


#: Stands for the event that says where a stream begins.
BEGINNING: Final = Framed()


class Framing:
    """Frames what is written to one connection.

    Args:
        retry: seconds after which a client that was cut off should come back.

    Attributes:
        name: what event ids begin with; without one, events have none.
    """

    __slots__ = ("_event", "_position", "_retry", "name")

    def __init__(self, retry: float) -> None:
        self._retry = retry
        self._position = 0  # of the last message that went out
        self._event = b""
        self.name: bytes | None = None

    def named(self, name: bytes | None) -> None:
        """Take the name of the stream."""
        self.name = name
        if name is not None:
            self._event = numbered(name)

    def messages(self, waiting: list[bytes]) -> bytes:
        """Frame messages in a row, all of them at once."""
        first = self._position + 1
        self._position += len(waiting)
        if self.name is None:
            return events(waiting)
        return (self._event * len(waiting)) % tuple(chain.from_iterable(enumerate(waiting, first)))

    def mixed(self, waiting: list[bytes]) -> bytes:
        """Frame messages, with what is `Framed` among them."""
        chunks: list[bytes] = []
        for kind, row in groupby(waiting, type):
            together = list(row)
            chunks += map(self._other, together) if kind is Framed else (self.messages(together),)
        return b"".join(chunks)

    def whole(self, messages: list[bytes], *, priming: bool) -> bytes:
        """Frame a response that has nothing but messages, after the event that says where it begins."""
        start = self._other(BEGINNING) if priming else b""
        return start + self.messages(messages)

    def _other(self, framed: bytes) -> bytes:
        if framed is BEGINNING and self.name is not None:
            return prime(b"%b%d" % (self.name, self._position), round(self._retry * 1000))
        return framed
