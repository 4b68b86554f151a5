"""Changes of what the server offers, on their way to whoever asked to hear of them.

A change may be announced from any thread. Each listener has a small bag of its own: what comes within a short
time is told once, and a listener that has had enough is told nothing more. The easy thing to get wrong
is the order of attaching and answering: a listener is in before its client is told so, or what happens in
between is lost (R-2C9).
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError

#: Seconds within which changes of one kind are told together.
DEBOUNCE: Final = 0.05


class Change(msgspec.Struct, frozen=True):
    """Something that changed.

    Attributes:
        method: the notification that tells of it.
        uri: the resource that was updated; None for a list.
    """

    method: str
    uri: str | None = None


TOOLS: Final = Change("notifications/tools/list_changed")
PROMPTS: Final = Change("notifications/prompts/list_changed")
RESOURCES: Final = Change("notifications/resources/list_changed")


def updated(uri: str) -> Change:
    """Return the change of one resource's contents."""
    return Change("notifications/resources/updated", uri)


class Listener:
    """One stream that hears of changes.

    Args:
        wants: which changes it is told of.
        tell: called in the listener's event loop, once for each change or run of equal changes.
    """

    def __init__(self, wants: Callable[[Change], bool], tell: Callable[[Change], None]) -> None:
        self._wants = wants
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Change, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.ended = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Take a change, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, change)

    def end(self) -> None:
        """Say, from any thread, that nothing will be told any more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ended.set)

    def _take(self, change: Change) -> None:
        if self._wants(change) and not self.ended.is_set():
            self._waiting[change] = None
            if self._timer is None:
                self._timer = self._loop.call_later(DEBOUNCE, self._flush)

    def _flush(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        for change in waiting:
            if not self.ended.is_set():
                self._tell(change)


#: Most resources that one client may watch.
MOST_WATCHED: Final = 1000


def watch(watched: set[str], uri: str) -> None:
    """Add a resource to those that a client watches.

    Raises:
        RpcError: INVALID_PARAMS if there are too many.
    """
    if uri not in watched and len(watched) >= MOST_WATCHED:
        raise RpcError(INVALID_PARAMS, f"a client may watch at most {MOST_WATCHED} resources")
    watched.add(uri)


class Changes:
    """Where changes are announced and listeners attached; safe from any thread.

    Args:
        limit: how many may listen at once.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def announce(self, change: Change) -> None:
        """Tell everybody who wants to know."""
        for listener in self._listeners:
            listener.offer(change)

    def attach(self, listener: Listener) -> bool:
        """Let a listener hear of changes from now on; False if there are too many already."""
        with self._lock:
            if len(self._listeners) >= self._limit:
                return False
            self._listeners = (*self._listeners, listener)
            return True

    def detach(self, listener: Listener) -> None:
        """Let a listener hear of nothing any more."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

    def end(self) -> None:
        """End all listening, because the server stops."""
        for listener in self._listeners:
            listener.end()
