"""Durations of requests, counted in plain numbers and moved into a histogram of the library now and then.

To observe a duration there costs several microseconds where metrics are shared by files, which is more than all
else that is done for a request; here it is an addition. The numbers only grow, and whoever moves them remembers
how far they were, so they may be moved from another thread.
"""

from bisect import bisect_left
from typing import Any, Final

from prometheus_client import Histogram

from enfilade.telemetry.prometheus.definitions import DURATIONS

_BOUNDS: Final = (*DURATIONS, float("inf"))
_FIRST: Final = _BOUNDS[0]


class Durations:
    """The durations of one series.

    Args:
        histogram: the series; its buckets are `DURATIONS`.

    Attributes:
        counts: how many durations there are in each bucket.
        total: the sum of all, in seconds.
    """

    __slots__ = ("_buckets", "_histogram", "_moved", "_moved_total", "_sum", "counts", "total")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram: Any = histogram
        self._buckets: list[Any] = self._histogram._buckets  # there is no public way to add several at once
        self._sum: Any = self._histogram._sum
        self.counts = [0] * len(_BOUNDS)
        self.total = 0.0
        self._moved = [0] * len(_BOUNDS)
        self._moved_total = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        # Most are in the first bucket.
        self.counts[bisect_left(_BOUNDS, seconds) if seconds > _FIRST else 0] += 1
        self.total += seconds

    def move(self) -> None:
        """Move what is new into the histogram."""
        total = self.total
        if total == self._moved_total:
            return
        for index, count in enumerate(self.counts):
            if added := count - self._moved[index]:
                self._buckets[index].inc(added)
                self._moved[index] = count
        self._sum.inc(total - self._moved_total)
        self._moved_total = total
