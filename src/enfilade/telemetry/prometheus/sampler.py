"""Moves the counts of the process into metrics, and measures the lag of the event loop.

A scrape moves what there is at that moment. Besides, a timer does so four times a second, since with several
workers any of them answers for all and sees only what the others have moved. So numbers of other workers are up
to a quarter of a second old, and what a worker has counted in its last quarter is lost if it is killed.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Histogram

from enfilade import counters
from enfilade.telemetry.prometheus import definitions

_INTERVAL: Final = 0.25  # seconds

#: What a refusal without a setting is called, by its HTTP status.
_REFUSALS: Final = {
    "400": "invalid_request",
    "401": "unauthenticated",
    "403": "forbidden",
    "404": "not_found",
    "405": "method",
    "406": "media_type",
    "413": "too_large",
    "414": "too_large",
    "415": "media_type",
    "429": "limit",
    "431": "too_large",
    "503": "unavailable",
}

_lock: Final = threading.Lock()
_moved: Final[dict[tuple[str, str], int]] = {}
_listening: Final[list[bool]] = []
_moves: Final[list[weakref.WeakMethod[Callable[[], None]]]] = []


def collect() -> None:
    """Move counts, gauges and durations of requests into metrics; callable from any thread."""
    with _lock:
        for move in [reference() for reference in _moves]:
            if move is not None:
                move()
        for (name, label), value in counters.counts().items():
            definition = definitions.BY_SOURCE.get(name)
            added = value - _moved.get((name, label), 0)
            if definition is None or not added:
                continue
            _moved[name, label] = value
            if name == "requests_refused":
                label = _REFUSALS.get(label, "other" if label.isdigit() else label)
            _counter(definition, label).inc(added)
        for name, number in counters.watched().items():
            if (definition := definitions.BY_SOURCE.get(name)) is not None:
                definitions.gauge(definition).set(number)


def listen(move: Callable[[], None]) -> None:
    """Observe the durations that are given to `counters.time_of`, from now on.

    Args:
        move: a bound method that moves further numbers into metrics, called for as long as its object lives.
    """
    with _lock:
        _moves[:] = [reference for reference in _moves if reference() is not None]
        _moves.append(weakref.WeakMethod(move))
        if not _listening:
            _listening.append(True)
            counters.listen(_observe)


def _observe(name: str, label: str, seconds: float) -> None:
    definition = definitions.BY_SOURCE.get(name)
    if definition is not None:
        histogram = definitions.histogram(definition)
        (histogram.labels(label) if definition.labels else histogram).observe(seconds)


def _counter(definition: definitions.Definition, label: str) -> Counter:
    counter = definitions.counter(definition)
    return counter.labels(label) if definition.labels else counter


class Sampler:
    """The timer of an app."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lag: Histogram = definitions.histogram(definitions.LAG)

    def start(self) -> None:
        """Start in the running event loop; idempotent."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._schedule(loop)

    def stop(self) -> None:
        """Stop, and move what there is."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None
        collect()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL
        self._timer = loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lag.observe(max(0.0, loop.time() - due))
        collect()
        self._schedule(loop)
