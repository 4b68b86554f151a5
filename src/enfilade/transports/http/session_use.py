"""Keeps sessions alive that have a long call or an open stream, which make no requests meanwhile.

One timer of the worker looks after all of them, so neither a call nor a stream needs a timer of its own. A
session that was in use at the last look is kept alive once more, so its idle time begins when its use ends, or
later.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from enfilade.state.store import StoreError
from enfilade.transports.http.sessions import Session

#: Looks within the idle time of a session, and the most seconds between two of them.
_LOOKS: Final = 16
_LONGEST_PAUSE: Final = 60.0


class SessionUse:
    """Keeps sessions alive while they are in use at this worker.

    Args:
        idle_time: seconds without use after which a session may end.
        in_use: returns the sessions that are in use now.
        ended: called with the id of a session that was ended without this worker being told.
    """

    def __init__(
        self, idle_time: float, in_use: Callable[[], Iterable[Session]], ended: Callable[[str], None]
    ) -> None:
        self._pause = min(idle_time / _LOOKS, _LONGEST_PAUSE)
        self._in_use = in_use
        self._ended = ended
        self._used_before: set[Session] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the timer, in the running event loop."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def stop(self) -> None:
        """Stop the timer."""
        self._used_before = set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pause, self._look)
        if self._task is not None and not self._task.done():
            self._used_before.update(self._in_use())  # the store is slow; they follow at the next look
            return
        in_use = set(self._in_use())
        if sessions := in_use | self._used_before:
            self._task = loop.create_task(self._keep_alive(sessions))
        self._used_before = in_use

    async def _keep_alive(self, sessions: set[Session]) -> None:
        for session in sessions:
            with contextlib.suppress(StoreError):  # in doubt it lives
                if not await session.keep_alive():
                    self._ended(str(session.peer.session_id))
