"""Methods that act at once and may also be awaited.

`ctx.log.info("…")` works in a plain `def` tool as it is, and in an `async def` tool with `await` in front, where
the await adds back-pressure: it returns when the reader has caught up. Either way the message is on its way
before the call returns.
"""

from collections.abc import Generator

from enfilade.serving.exchange import Outlet


class Sent:
    """Already sent; awaiting it waits for the reader to catch up."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet | None) -> None:
        self._outlet = outlet

    def __await__(self) -> Generator[object, None, None]:
        if self._outlet is not None and self._outlet.crowded:
            yield from self._outlet.drained().__await__()


DONE = Sent(None)
