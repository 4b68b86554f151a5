"""Noticing that a worker hangs: it is stopped, or its event loop is blocked, and nothing else would tell.

The parent asks over the pipe and the worker's event loop answers, so an answer shows that requests can be served.
One question is under way at a time, a quarter of the limit after the last answer: with the default of 60 seconds,
an idle worker wakes up every 15.

The easy thing to get wrong is time that nobody had: a machine that was suspended, or a parent that was stopped
itself. What the parent slept does not count (`forgive`).
"""

from typing import Final

#: Questions per limit.
_RATE: Final = 4

#: A worker that starts may take so many times the limit: it imports the app, and opens the lifespan.
_STARTING: Final = 10


class Watchdog:
    """Judges one worker. All times are of the monotonic clock, in seconds.

    Args:
        limit: seconds after which a worker that does not answer hangs; 0 for never.
        now: the time at which it was started.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._serves = False
        self._since = now  # of the start, of the question that has no answer yet, or of the last answer
        self._waits = True  # for an answer, or for the end of the start

    @property
    def patience(self) -> float:
        """Seconds that it has at present, to start or to answer."""
        return self.limit if self._serves else self.limit * _STARTING

    @property
    def due_at(self) -> float | None:
        """When to look again: to ask, or to find that it hangs; None for never."""
        if not self.limit:
            return None
        return self._since + (self.patience if self._waits else self.limit / _RATE)

    def answered(self, now: float) -> None:
        """Take an answer, or the message that it serves."""
        self._serves, self._since, self._waits = True, now, False

    def asks(self, now: float) -> bool:
        """Whether it is to be asked now; if so, the answer is waited for from now on."""
        if self._waits or self.due_at is None or now < self.due_at:
            return False
        self._since, self._waits = now, True
        return True

    def hangs(self, now: float) -> bool:
        """Whether it has had all the time that it may take."""
        return self._waits and self.due_at is not None and now >= self.due_at

    def forgive(self, seconds: float) -> None:
        """Leave out time in which the parent did not look."""
        self._since += seconds
