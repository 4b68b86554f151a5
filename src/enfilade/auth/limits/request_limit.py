"""How many requests are made to a server at the same time, so that its connections last for everybody.

The newest request is made first. A flood of tokens that nobody knows fills any queue, and in the order of their
coming a good token would wait for all of it; the oldest has waited for so long that its client gives up soonest.
"""

import asyncio
from collections import OrderedDict
from weakref import WeakKeyDictionary


class RequestLimit:
    """So many requests at a time in one event loop; others wait for their turn.

    Args:
        at_once: requests that are made at the same time.
        waiting: requests that wait at most; when there is another one, the oldest is given up.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free, self._most_waiting = at_once, waiting
        self._turns: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    async def take(self, seconds: float) -> bool:
        """Wait for a turn, and return whether it has come; then `release` must follow.

        Args:
            seconds: for which it is waited at most.
        """
        if self._free > 0:
            self._free -= 1
            return True
        turn = asyncio.get_running_loop().create_future()
        self._turns[turn] = None
        if len(self._turns) > self._most_waiting:
            oldest, _ = self._turns.popitem(last=False)
            oldest.set_result(False)
        try:
            await asyncio.wait([turn], timeout=seconds)
        except asyncio.CancelledError:
            if turn.done() and turn.result():
                self.release()
            raise
        finally:
            self._turns.pop(turn, None)
        return turn.done() and turn.result()

    def release(self) -> None:
        """Let the next one take its turn."""
        if self._turns:
            turn, _ = self._turns.popitem()
            turn.set_result(True)
        else:
            self._free += 1


class LoopLimits:
    """A `RequestLimit` for each event loop, since an app may be used in several; its arguments are theirs."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._waiting = at_once, waiting
        self._limits: WeakKeyDictionary[asyncio.AbstractEventLoop, RequestLimit] = WeakKeyDictionary()

    def current(self) -> RequestLimit:
        """Return the limit of the running event loop."""
        loop = asyncio.get_running_loop()
        limit = self._limits.get(loop)
        if limit is None:
            limit = self._limits[loop] = RequestLimit(self._at_once, self._waiting)
        return limit
