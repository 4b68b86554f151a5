"""An observer that times requests, and durations in plain numbers that are moved into a histogram now and then.

To observe a duration there costs several microseconds where metrics are shared by files, which is more than all
else that is done for a request; here it is an addition. The numbers only grow, and whoever moves them remembers
how far they were, so they may be moved from another thread.

Easy to get wrong: names that clients make up. Method and target are label values only if the server has them; any
other name is in the series with an empty one. So the number of series is bounded by what the server offers.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import Histogram

from enfilade import counters
from enfilade.serving.observation.observer import EndObserver
from enfilade.serving.observation.record import RequestRecord
from enfilade.telemetry.prometheus import definitions
from enfilade.wire import jsonrpc
from enfilade.wire.revision_tables import METHODS

#: Most series of a metric of requests; those beyond have no target.
_MOST_SERIES: Final = 5000

_HTTP_METHODS: Final = frozenset({"GET", "POST", "DELETE", "OPTIONS"})
_OUTCOMES: Final = frozenset({"ok", "tool_error", "refused", "cancelled", "deadline"}) | {
    str(code) for name, code in vars(jsonrpc).items() if isinstance(code, int) and name.isupper() and code < 0
}
#: Outcome of an error with a code of the author's.
_OTHER: Final = "error"

#: Returns the name under which a method offers something; None if it does not.
KnownTarget = Callable[[str, str], str | None]

_BOUNDS: Final = (*definitions.DURATIONS, float("inf"))
_FIRST: Final = _BOUNDS[0]

_Key = tuple[str, str | None, str, str]


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


class RequestMetrics(EndObserver):
    """Times requests.

    Args:
        known_target: finds what the app offers.
    """

    def __init__(self, known_target: KnownTarget) -> None:
        self._known_target = known_target
        self._operations: dict[_Key, Durations] = {}
        self._chained: dict[_Key, Durations] = {}
        self._series: dict[tuple[str, ...], Durations] = {}

    def move(self) -> None:
        """Move what is new into the metrics; callable from any thread, one at a time."""
        for series in list(self._series.values()):
            series.move()

    def end(self, record: RequestRecord) -> None:
        """Time a request, and count a refusal."""
        request = record.request
        if request is None or not record.is_dispatched:
            self._time_refused(record)
            return
        known = self._operations if record.parent is None else self._chained
        outcome = record.outcome
        name = getattr(request.params, "name", None)
        series = known.get((request.method, name, outcome, record.transport))
        if series is None:
            series = self._add(known, request.method, name, outcome, record.transport)
        series.add(record.ended - record.started)
        if outcome == "refused":
            _count_refusal(record)

    def _time_refused(self, record: RequestRecord) -> None:
        """Time a request that was not dispatched: its method may be anything."""
        method = record.method
        if method is None:
            method = record.http_method if record.http_method in _HTTP_METHODS else ""
        elif method not in METHODS:
            method = ""
        params: Any = record.params if record.request is None else record.request.params
        outcome = record.outcome
        series = self._add(self._operations, method, getattr(params, "name", None), outcome, record.transport)
        series.add(record.ended - record.started)
        if outcome == "refused":
            _count_refusal(record)

    def _add(
        self, known: dict[_Key, Durations], method: str, name: object, outcome: str, transport: str
    ) -> Durations:
        """Return the series of a request, and remember it if it is about something that the server has."""
        target = self._known_target(method, name) if isinstance(name, str) else ""
        full = len(known) >= _MOST_SERIES
        if outcome not in _OUTCOMES:
            outcome = _OTHER
        is_chained = known is self._chained
        definition = definitions.CHAINED if is_chained else definitions.OPERATIONS
        labels = method, "" if full else target or "", outcome, *([] if is_chained else [transport])
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Durations(definitions.histogram(definition).labels(*labels))
        if target is not None and not full and outcome is not _OTHER:
            known[method, name if isinstance(name, str) else None, outcome, transport] = series
        return series


def _count_refusal(record: RequestRecord) -> None:
    """Count a refusal, unless a limit or a setting is the reason: those are counted where they are logged."""
    error = record.error
    if error is not None and not error.is_refusal:
        counters.count("requests_refused", str(error.status or record.status or 400))
