"""Server-sent events from bytes, however they are cut into pieces; what an EventSource would make of them.

Easy to get wrong: an event counts once its blank line has come, and so does its id. Whatever is incomplete when a
connection breaks never was.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Event:
    """One event.

    Attributes:
        id: its id; None if it has none.
        kind: its type; None means `message`.
        data: its data; empty for one that only carries an id or a pause.
        retry: seconds to wait before reconnecting, if it says so.
    """

    id: str | None = None
    kind: str | None = None
    data: str = ""
    retry: float | None = None


class EventReader:
    """Reads one connection's events.

    Attributes:
        comments: the comments so far.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[str] = []
        self.comments: list[str] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode().rstrip("\r")
            if text.startswith(":"):
                self.comments.append(text[1:].strip())
            elif text:
                self._lines.append(text)
            elif self._lines:
                yield _event(self._lines)
                self._lines = []


def _event(lines: list[str]) -> Event:
    event, data = Event(), []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            event.id = value
        elif name == "event":
            event.kind = value
        elif name == "retry":
            event.retry = int(value) / 1000
        else:
            raise AssertionError(f"no field of an event: {line!r}")
    event.data = "\n".join(data)
    return event
