"""Counts of what happens inside this process: plain numbers, which outlets such as metrics read now and then.

    count("sessions_opened", "http")              something has happened; at most one label
    watch("tool_threads_busy", self.busy)         a number that is read when somebody looks
    time_of("store_operation", "keys.get", 0.01)  a duration; dropped unless somebody listens

Whoever counts needs no outlet, and without one a count is an addition. Counts are of the process: several apps
in it count together. This module imports nothing of the package, so that every layer may count.

Easy to get wrong: labels. A label is a word of ours, such as the name of a setting, and never a text of a client.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Final

_lock: Final = threading.RLock()  # a signal handler may count while its thread does
_counts: Final[dict[tuple[str, str], int]] = {}
_watched: Final[dict[str, list[weakref.WeakMethod[Callable[[], int]]]]] = {}
_listeners: Final[list[Callable[[str, str, float], None]]] = []


def count(name: str, label: str = "", by: int = 1) -> None:
    """Count something that has happened; callable from any thread."""
    with _lock:
        _counts[name, label] = _counts.get((name, label), 0) + by


def counts() -> Mapping[tuple[str, str], int]:
    """Return what was counted since the process began, by name and label."""
    with _lock:
        return dict(_counts)


def watch(name: str, read: Callable[[], int]) -> None:
    """Let outlets read a number, for as long as the object lives whose bound method `read` is."""
    assert isinstance(read, MethodType)
    with _lock:
        references = [reference for reference in _watched.get(name, ()) if reference() is not None]
        _watched[name] = [*references, weakref.WeakMethod(read)]


def watched() -> Mapping[str, int]:
    """Return the numbers that are watched, by name: the sum over all objects that live."""
    with _lock:
        names = {name: list(references) for name, references in _watched.items()}
    methods: dict[str, list[Any]] = {name: [reference() for reference in names[name]] for name in names}
    return {name: sum(read() for read in reads if read is not None) for name, reads in methods.items()}


def listen(listener: Callable[[str, str, float], None]) -> None:
    """Call a function with each duration: its name, its label, and seconds."""
    _listeners.append(listener)


def time_of(name: str, label: str, seconds: float) -> None:
    """Give a duration to those who listen."""
    for listener in _listeners:
        listener(name, label, seconds)
