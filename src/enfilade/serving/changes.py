"""Changes of what the server offers, on their way to whoever asked to hear of them.

A change may be announced from any thread. Each listener has a small bag of its own: what comes within a short
time is told once, and a listener that has had enough is told nothing more. The easy thing to get wrong
is the order of attaching and answering: a listener is in before its client is told so, or what happens in
between is lost (R-2C9).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from enfilade.primitives.uri.uris import MAX_LENGTH, canonical
from enfilade.serving.cluster import Relay
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError

#: The resources that a client watches: as it spells each of them, by the one spelling.
Watched = dict[str, str]

#: Seconds within which changes of one kind are told together.
DEBOUNCE: Final = 0.05

#: Seconds after which a change that found no room is told again.
RETRY: Final = 1.0

#: Most resources that one client may watch, and most characters that their URIs may have together. A session's
#: are one record in the store, which is written anew with each of them.
MOST_WATCHED: Final = 1000
MOST_WATCHED_TEXT: Final = 256 * 1024


class Change(msgspec.Struct, frozen=True):
    """Something that changed.

    Attributes:
        method: the notification that tells of it.
        uri: the resource that was updated, in the one spelling that URIs are compared in; None for a list.
    """

    method: str
    uri: str | None = None


TOOLS: Final = Change("notifications/tools/list_changed")
PROMPTS: Final = Change("notifications/prompts/list_changed")
RESOURCES: Final = Change("notifications/resources/list_changed")

_UPDATED: Final = "notifications/resources/updated"

#: Lists that change, by the method that reads each.
LISTS: Final = {"tools/list": TOOLS, "prompts/list": PROMPTS, "resources/list": RESOURCES}


def updated(uri: str) -> Change:
    """Return the change of one resource's contents."""
    return Change(_UPDATED, canonical(uri))


def everything(offers: Callable[[str], bool], watched: Iterable[str]) -> list[Change]:
    """Return the changes of all lists that are offered and of all resources that are watched.

    Args:
        offers: whether a method is offered.
        watched: URIs in the one spelling.
    """
    lists = [change for method, change in LISTS.items() if offers(method)]
    return lists + [Change(_UPDATED, uri) for uri in watched]


def watch(watched: Watched, uri: str) -> None:
    """Add a resource to those that a client watches.

    Raises:
        RpcError: INVALID_PARAMS if there are too many, or if it is too long for a URI.
    """
    if len(uri) > MAX_LENGTH:
        raise RpcError(INVALID_PARAMS, f"Invalid params: the URI is longer than {MAX_LENGTH} characters")
    spelling = canonical(uri)
    if spelling not in watched and len(watched) >= MOST_WATCHED:
        raise RpcError(INVALID_PARAMS, f"Invalid params: a client may watch at most {MOST_WATCHED} resources")
    if spelling not in watched and len(uri) + sum(map(len, watched)) > MOST_WATCHED_TEXT:
        text = f"the URIs that a client watches have at most {MOST_WATCHED_TEXT} characters together"
        raise RpcError(INVALID_PARAMS, f"Invalid params: {text}")
    watched[spelling] = uri


def unwatch(watched: Watched, uri: str) -> None:
    """Take a resource from those that a client watches, if it does."""
    watched.pop(canonical(uri), None)


class Listener:
    """One stream that hears of changes. It lives in the event loop in which it is made.

    Args:
        wants: which changes it is told of; asked in any thread, and again before it is told.
        tell: called in the event loop, once for each change or run of equal changes. Returns False if there is
            no room for it now; it is then told later.
        everything: returns all that it wants, to be told of when something may have been missed.
        of: whose listener it is, for `Changes.end`.

    Attributes:
        ended: done when nothing will be told any more.
    """

    __slots__ = ("_everything", "_lock", "_loop", "_tell", "_timer", "_waiting", "_wants", "ended", "of")

    def __init__(
        self,
        wants: Callable[[Change], bool],
        tell: Callable[[Change], bool],
        *,
        everything: Callable[[], Iterable[Change]] = tuple,
        of: object = None,
    ) -> None:
        self.of = of
        self._wants = wants
        self._everything = everything
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._waiting: dict[Change, None] = {}  # while there is something in it, a flush is planned
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, change: Change) -> None:
        """Take a change, from any thread."""
        if not self._wants(change):
            return
        with self._lock:
            first = not self._waiting
            self._waiting[change] = None
        if first:
            self._in_loop(self._plan, DEBOUNCE)

    def offer_everything(self) -> None:
        """Tell of all that it wants, since nobody knows what was missed; to be called in the event loop."""
        for change in self._everything():
            self.offer(change)

    def end(self) -> None:
        """Say, from any thread, that nothing will be told any more."""
        self._in_loop(self.stop)

    def stop(self) -> None:
        """Tell nothing any more, from this moment on; to be called in the event loop."""
        if not self.ended.done():
            self.ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def _in_loop(self, call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(call, *args)

    def _plan(self, delay: float) -> None:
        if not self.ended.done():
            self._timer = self._loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        left: dict[Change, None] = {}
        for change in waiting:
            if self.ended.done():
                return
            if self._wants(change) and not self._tell(change):
                left[change] = None
        if left:
            with self._lock:
                first = not self._waiting
                self._waiting = {**left, **self._waiting}
            if first:
                self._plan(RETRY)


class Changes:
    """Where changes are announced and listeners attached; safe from any thread.

    Args:
        limit: how many may listen at once: streams that are open, of which there are fewer for reasons of their
            own, and streams that go on for a client that was cut off.
    """

    def __init__(self, limit: int = 1280) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._others: Listener | None = None

    def share(self, relay: Relay) -> None:
        """Tell other workers what is announced here, and announce here what they tell.

        To be called in the event loop.
        """

        def tell(change: Change) -> bool:
            relay.tell("change", [change.method, change.uri])
            return True

        self._others = Listener(lambda _: True, tell) if relay.shared else None
        relay.on("change", lambda change: self._offer(Change(*change)))
        relay.on_gap(self._missed)

    def __len__(self) -> int:
        return len(self._listeners)

    def announce(self, change: Change) -> None:
        """Tell everybody who wants to know, here and at other workers."""
        self._offer(change)
        if self._others is not None:
            self._others.offer(change)

    def announce_here(self, uri: str) -> None:
        """Tell everybody here that a resource may have changed, since nobody knows what was missed.

        Args:
            uri: in the one spelling.
        """
        self._offer(Change(_UPDATED, uri))

    def _offer(self, change: Change) -> None:
        for listener in self._listeners:
            listener.offer(change)

    def _missed(self) -> None:
        for listener in self._listeners:
            listener.offer_everything()

    def attach(self, listener: Listener) -> bool:
        """Let a listener hear of changes from now on; False if there are too many already."""
        with self._lock:
            if len(self._listeners) >= self._limit:
                return False
            self._listeners = (*self._listeners, listener)
            return True

    def detach(self, listener: Listener) -> None:
        """Let a listener hear of nothing any more, also of what has been announced just now."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each is not listener)
        listener.stop()

    def end(self, of: object = None) -> None:
        """End all listening, because the server stops; or that of one connection, because it closes."""
        for listener in self._listeners:
            if of is None or listener.of is of:
                listener.end()
