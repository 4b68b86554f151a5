"""What is in use for longer than one request takes: sessions with a call under way or a stream open.

A session is kept alive by its requests (`sessions.py`); one whose only request is a call that runs for hours, or
a stream on which nothing happens, has none. So one timer of the worker looks after all of these, and neither a
call nor a stream needs a timer of its own.

The easy thing to get wrong is what ends between two looks: a session that was in use at the last look is looked
after once more, so its idle time is measured from the end of its use or later.
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
        ended: called with the id of a session that was ended, and whose end nobody here has heard of.
    """

    def __init__(
        self, idle_time: float, in_use: Callable[[], Iterable[Session]], ended: Callable[[str], None]
    ) -> None:
        self._pause = min(idle_time / _LOOKS, _LONGEST_PAUSE)
        self._in_use = in_use
        self._ended = ended
        self._before: set[Session] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._before = set()
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
            self._before.update(self._in_use())  # the store is slow; they have their turn at the next look
            return
        now = set(self._in_use())
        if sessions := now | self._before:
            self._task = loop.create_task(self._keep(sessions))
        self._before = now

    async def _keep(self, sessions: set[Session]) -> None:
        for session in sessions:
            with contextlib.suppress(StoreError):  # in doubt it lives
                if not await session.keep():
                    self._ended(str(session.peer.session_id))
