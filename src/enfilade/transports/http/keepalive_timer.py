"""How long a stream has said nothing, and what else is to happen to it in time: one timer for all of it.

There may be thousands of silent streams, and each timer of each takes half a KiB. The easy thing to get wrong is
to set it anew at each word: it rings when a silence that began at the first would have been long enough, and then
looks what has become of it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

_SOON: Final = 0.002  # seconds that are not worth another look


class Silence:
    """The silences of one stream.

    Args:
        length: seconds after which a silence is to be broken.
        broken: called then.
    """

    __slots__ = ("_alarm", "_broken", "_length", "_loop", "_since")

    def __init__(self, length: float, broken: Callable[[], None]) -> None:
        self._length = length
        self._broken: Callable[[], None] | None = broken
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._since: float | None = None  # None: something is being said

    def begins(self) -> None:
        """Nothing is said from now on."""
        self._since = self._loop.time()
        if self._alarm is None:
            self._set_alarm(self._since)

    def ends(self) -> None:
        """Something is said."""
        self._since = None

    def stop(self) -> None:
        """Do nothing more: the stream is over."""
        self._broken = None  # which holds on to the stream, as it does to this
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self, now: float) -> None:
        """Look again when the first thing may be due, also if nobody is silent now: somebody soon may be."""
        if self._broken is not None:
            due = (now if self._since is None else self._since) + self._length
            self._alarm = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._alarm = None
        now = self._loop.time()
        if self._broken is not None and self._since is not None and self._since + self._length <= now + _SOON:
            self._broken()
        self._set_alarm(now)
