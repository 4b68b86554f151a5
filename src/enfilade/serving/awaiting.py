"""Methods that act at once and may also be awaited.

`ctx.log.info("…")` works in a plain `def` tool as it is, and in an `async def` tool with `await` in front, where
the await adds back-pressure: it returns when the reader has caught up. Either way the message is on its way
before the call returns.
"""

from collections.abc import Generator
from typing import Any, Final, cast

from enfilade.serving.exchange import Outlet

#: What awaiting something that is done already goes through: nothing, so the event loop has no part in it.
_AT_ONCE: Final = cast("Generator[Any, Any, None]", iter(()))


class Sent:
    """Already sent; awaiting it waits for the reader to catch up."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet | None) -> None:
        self._outlet = outlet

    def __await__(self) -> Generator[Any, Any, None]:
        outlet = self._outlet
        if outlet is None or not outlet.crowded:
            return _AT_ONCE
        return outlet.drained().__await__()


DONE = Sent(None)
