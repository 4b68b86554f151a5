"""Changes of lists and resources, from `Changes.announce` to the clients that subscribe to them.

A change may be announced from any thread. Each listener debounces changes; a detached listener receives nothing.
A `subscriptions/listen` of the stateless revision is a request whose result is sent when the listening ends:
first comes the acknowledgement, then the changes in its filter (R-2C0 ff). A session has `resources/subscribe`.

Easy to get wrong: the order of attaching and answering. A listener is attached before its client is told so, or
changes in between are lost (R-2C9). And the id: every message of a listen has the id of its own request, with its
JSON type, also where two listens of one client match the same change (R-2C3, R-2C6).
"""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.serving.callers.access import caller_of
from enfilade.serving.channel import SessionSettings
from enfilade.serving.failures import check_uri_length
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RpcError,
    encode_notification,
)
from enfilade.wire.lifecycle import SUBSCRIPTION_ID, ServerCapabilities
from enfilade.wire.message import EmptyResult, NotificationParams
from enfilade.wire.notifications import (
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenResult,
)
from enfilade.wire.projection import encode
from enfilade.wire.resources import ResourceUpdatedNotificationParams

if TYPE_CHECKING:
    from enfilade.primitives import uris as _uris
    from enfilade.primitives.access import Access
    from enfilade.serving.callers.access import AccessPolicy, Caller
    from enfilade.serving.cluster import WorkerChannel
    from enfilade.serving.principal import Principal
    from enfilade.timings import Timings
else:  # loaded with the first resource
    _uris = LazyModule("enfilade.primitives.uris")

#: The resources that a client watches: canonical URI to the URI that the client wrote.
Watched = dict[str, str]

#: Seconds for which a change of a resource is remembered, for clients that watch it since just now: a worker may
#: hear of the change before it hears of the watch, which another worker has written down. And how many at most.
RECENT: Final = 5.0
_MOST_RECENT: Final = 1024

#: Most resources that one client may watch, and most characters of their URIs together. Those of a session are
#: one record in the store, which is written again with each of them.
MOST_WATCHED: Final = 1000
MOST_WATCHED_TEXT: Final = 256 * 1024

#: Items of a list, or different audiences of them, from which on a change that waits takes no more of them.
MOST_MERGED: Final = 100

#: Listeners at once: open streams, 10,000 unless the setting `max_total_streams` says otherwise, and streams that
#: are retained for a client that was disconnected.
MOST_LISTENERS: Final = 10_256

#: Seconds for which the event loop is busy with the delivery of changes before others have their turn.
SLICE: Final = 0.003

#: What waits in listeners, nearly always nothing, is changed under one lock: one for each would take memory.
_pending_lock: Final = threading.Lock()

#: Seconds after which the stream of a principal is ended at the latest, so that its client opens another one and
#: is checked again. An API key may be revoked, and the token of an introspection may have no expiry.
LONGEST_STREAM: Final = 3600.0

#: What part of that a stream has at least. Streams that were opened together, such as those of all clients of a
#: server that has started, would otherwise end together, and their clients would come back together each time.
SHORTEST_PART: Final = 0.75


class Change(msgspec.Struct, frozen=True):
    """A change of a list or of a resource.

    Attributes:
        method: the method of its notification.
        uri: the canonical URI of the resource that was updated, or the topic of an extension; None for a list.
        names: the items of the list that it is about, for other workers; None for one that everybody hears of.
        audience: who may see these items, or might before: one of them is enough.
        params: for a topic, the params of its notification as JSON.
    """

    method: str
    uri: str | None = None
    names: tuple[str, ...] | None = None
    audience: "tuple[Access, ...]" = ()
    params: bytes | None = None

    def about(self, names: tuple[str, ...], audience: "tuple[Access, ...]") -> "Change":
        """Return this change of a list for those alone who may see the items that it is about."""
        return Change(self.method, self.uri, names, audience)


TOOLS: Final = Change("notifications/tools/list_changed")
PROMPTS: Final = Change("notifications/prompts/list_changed")
RESOURCES: Final = Change("notifications/resources/list_changed")

_UPDATED: Final = "notifications/resources/updated"

#: The changes of lists, by the method that reads the list.
LISTS: Final = {"tools/list": TOOLS, "prompts/list": PROMPTS, "resources/list": RESOURCES}


def updated(uri: str) -> Change:
    """Return the change of one resource's contents."""
    return Change(_UPDATED, _uris.canonical(uri))


def all_changes(offers: Callable[[str], bool], watched: Iterable[str]) -> list[Change]:
    """Return the changes of all lists that are offered and of all watched resources, by their canonical URIs."""
    lists = [change for method, change in LISTS.items() if offers(method)]
    return lists + [Change(_UPDATED, uri) for uri in watched]


def watch(watched: Watched, uri: str) -> None:
    """Add a resource to those that a client watches.

    Raises:
        RpcError: INVALID_PARAMS if there are too many, or if it is too long for a URI.
    """
    check_uri_length(uri)
    key = _uris.canonical(uri)
    if key not in watched and len(watched) >= MOST_WATCHED:
        raise RpcError(INVALID_PARAMS, f"Invalid params: a client may watch at most {MOST_WATCHED} resources")
    if key not in watched and len(uri) + sum(map(len, watched)) > MOST_WATCHED_TEXT:
        text = f"the URIs that a client watches have at most {MOST_WATCHED_TEXT} characters together"
        raise RpcError(INVALID_PARAMS, f"Invalid params: {text}")
    watched[key] = uri


def unwatch(watched: Watched, uri: str) -> None:
    """Remove a resource from those that a client watches, if it is one of them."""
    watched.pop(_uris.canonical(uri), None)


class _Items:
    """Items of one list that changed, and who may see them."""

    __slots__ = ("_audience", "_method", "_names")

    def __init__(self, method: str) -> None:
        self._method = method
        self._names: dict[str, None] = {}
        self._audience: dict[tuple[tuple[str, ...], int], Access] = {}  # by what makes two of them the same

    @property
    def is_full(self) -> bool:
        return max(len(self._names), len(self._audience)) >= MOST_MERGED

    def add(self, change: Change) -> None:
        self._names.update(dict.fromkeys(change.names or ()))
        self._audience.update({(access.scopes, id(access.visible)): access for access in change.audience})

    def change(self) -> Change:
        return Change(self._method, None, tuple(self._names), tuple(self._audience.values()))


class PendingChanges:
    """Changes that wait for their delivery, in order: equal ones once, those about items of one list together.

    Who is told of a change of several items is who may see one of them, as if each were told by itself. A change
    of a list that is for everybody replaces those of its items. Not safe from several threads.
    """

    __slots__ = ("_batches", "_changes")

    def __init__(self) -> None:
        self._changes: dict[Change | _Items, None] = {}
        self._batches: dict[str, list[_Items]] = {}

    def __bool__(self) -> bool:
        return bool(self._changes)

    def add(self, change: Change) -> None:
        """Add a change to those that wait."""
        if change.names is None:
            self._changes[change] = None
            for batch in self._batches.pop(change.method, ()) if change.uri is None else ():
                del self._changes[batch]
        elif Change(change.method) not in self._changes:
            batches = self._batches.setdefault(change.method, [])
            # This bounds a message to other workers. What does not fit is in one of its own, so nothing is lost.
            if not batches or batches[-1].is_full:
                batches.append(_Items(change.method))
                self._changes[batches[-1]] = None
            batches[-1].add(change)

    def take(self) -> list[Change]:
        """Return the changes, and forget them."""
        changes = [entry if isinstance(entry, Change) else entry.change() for entry in self._changes]
        self._changes, self._batches = {}, {}
        return changes

    def put_back(self, changes: Iterable[Change]) -> None:
        """Add changes before those that came meanwhile."""
        for change in (*changes, *self.take()):
            self.add(change)


class Listener:
    """One stream that receives changes, in the event loop in which it is created.

    Args:
        matches: whether it receives a change; called in any thread, and again before the delivery.
        deliver: called in the event loop, once for each change or run of equal changes. Returns False if there is
            no room for it now; it is then delivered later.
        all_changes: returns all changes that match, for when some may have been missed.
        may_see: whether its client may see what a change is about; called in the event loop, before the delivery.
            None if everything is passed on.
        owner: the connection or stream that it belongs to, for `Changes.end`.
        timings: `change_debounce` and `change_retry` are used.

    Attributes:
        loop: the event loop.
        is_stopped: whether nothing will be delivered any more.
        since: the number of the last change that was announced before it was attached, if that waits; else 0.
    """

    __slots__ = (
        "_all_changes",
        "_deliver",
        "_ended",
        "_expiry",
        "_lock",
        "_matches",
        "_may_see",
        "_pending",
        "_timer",
        "_watcher",
        "is_stopped",
        "loop",
        "owner",
        "since",
        "timings",
    )

    def __init__(
        self,
        matches: Callable[[Change], bool],
        deliver: Callable[[Change], bool],
        *,
        all_changes: Callable[[], Iterable[Change]] = tuple,
        may_see: Callable[[Change], bool] | None = None,
        owner: object = None,
        timings: "Timings | None" = None,
    ) -> None:
        if timings is None:  # loaded here, since every app has `Changes`
            from enfilade.timings import Timings

            timings = Timings()
        self.timings = timings
        self.owner = owner
        self.since = 0
        self._matches = matches
        self._all_changes = all_changes
        self._may_see = may_see
        self._deliver = deliver
        self.loop = asyncio.get_running_loop()
        self.is_stopped = False
        self._watcher: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._lock = _pending_lock
        self._pending: PendingChanges | None = None  # a flush is scheduled while it has something
        self._timer: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> "asyncio.Future[None]":
        """A future that is done when nothing will be delivered any more."""
        if self._ended is None:
            self._ended = self.loop.create_future()
            if self.is_stopped:
                self._ended.set_result(None)
        return self._ended

    def watch(self, over: "asyncio.Future[None]") -> None:
        """Let a future that others may set be done as well when nothing will be delivered any more."""
        self._watcher = over
        if self.is_stopped and not over.done():
            over.set_result(None)

    def end_with(self, principal: "Principal | None", leeway: float) -> None:
        """End the listening when the token of its client is not accepted any more, if not before.

        It is not before, but for `LONGEST_STREAM`.

        The client comes back, with a new token if it needs one. Without this, a stream that is opened once would
        tell of changes for as long as its connection lasts, whatever has become of the user since.

        Args:
            principal: of whoever authenticates callers, an authenticator or the host; None for no limit.
            leeway: seconds after its expiry for which a token is accepted. A stream that ended before would be
                opened again with the same token.
        """
        if principal is None:
            return
        duration = random.uniform(SHORTEST_PART, 1.0) * LONGEST_STREAM
        if principal.expires_at is not None:
            duration = min(duration, principal.expires_at + leeway - time.time())
        self._expiry = self.loop.call_later(max(0.0, duration), self.stop)

    def offer(self, change: Change) -> None:
        """Queue a change, from any thread."""
        if not self._matches(change):
            return
        if self._queue((change,)):
            self._in_loop(self._schedule_flush, self.timings.change_debounce)

    def offer_all(self) -> None:
        """Queue all changes that match, because some may have been missed; to be called in the event loop."""
        for change in self._all_changes():
            self.offer(change)

    def end(self) -> None:
        """End the listening, from any thread."""
        self._in_loop(self.stop)

    def stop(self) -> None:
        """Deliver nothing from now on; to be called in the event loop."""
        self.is_stopped = True
        for future in (self._ended, self._watcher):
            if future is not None and not future.done():
                future.set_result(None)
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()

    def _in_loop(self, call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(call, *args)

    def _schedule_flush(self, delay: float) -> None:
        if not self.is_stopped:
            self._timer = self.loop.call_later(delay, self._flush)

    def _queue(self, changes: Iterable[Change], *, first: bool = False) -> bool:
        """Add changes to those that wait, or put them before these; return whether a flush is to be scheduled."""
        with self._lock:
            pending = self._pending = self._pending or PendingChanges()
            was_empty = not pending
            if first:
                pending.put_back(changes)
            else:
                for change in changes:
                    pending.add(change)
        return was_empty

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, None
        if pending is not None:
            self._deliver_all(pending.take())

    def take(self, changes: Sequence[Change], *, missed: bool = False) -> None:
        """Deliver changes now, behind those that wait; to be called in the event loop.

        Args:
            changes: as they were announced, also those that do not match.
            missed: some may have been missed before them, so all that match are delivered.
        """
        if self.is_stopped:
            return
        if missed:
            changes = list(dict.fromkeys((*self._all_changes(), *changes)))
        if self._pending is None:
            self._deliver_all(changes)
        else:
            self._queue([change for change in changes if self._matches(change)])

    def _deliver_all(self, changes: Iterable[Change]) -> None:
        """Deliver the changes that match and that the client may know of, once for each list."""
        undelivered: list[Change] = []
        lists: set[str] = set()
        for change in changes:
            if self.is_stopped:
                return
            if change.uri is None and change.method in lists:
                continue
            if not self._matches(change) or (self._may_see is not None and not self._may_see(change)):
                continue
            if change.uri is None:
                lists.add(change.method)
                if self._may_see is not None and change.names is not None:
                    change = Change(change.method)
            if not self._deliver(change):
                undelivered.append(change)
        if undelivered and self._queue(undelivered, first=True):
            self._schedule_flush(self.timings.change_retry)


class _Delivery:
    """Takes changes to the listeners of one event loop: gathers them, and then goes from one to the next.

    There may be thousands of listeners, so one timer serves all of them, and the event loop has a turn whenever
    `SLICE` seconds were spent on them.

    Attributes:
        listeners: those that are attached, in order; changed under the lock of `Changes`.
        count: how many changes were announced.
    """

    __slots__ = (
        "_changes",
        "_debounce",
        "_is_due",
        "_lock",
        "_loop",
        "_missed",
        "_numbers",
        "_rest",
        "count",
        "listeners",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, lock: threading.Lock, debounce: float) -> None:
        self.listeners: dict[Listener, None] = {}
        self._loop = loop
        self._lock = lock
        self._debounce = debounce
        self._changes = PendingChanges()  # it is due, or a timer is set, while there is something
        self._missed = 0  # the number of the announcement that some may have been missed
        self._numbers: dict[tuple[str, str | None], int] = {}  # of the last announcements of what waits
        self.count = 0
        self._rest: Iterator[Listener] | None = None  # those that do not have yet what is delivered now
        self._is_due = False

    def add(self, change: Change | None) -> None:
        """Add a change to those that are delivered next; with the lock held, in any thread.

        Args:
            change: None if some may have been missed.
        """
        is_first = not self.has_waiting
        self.count += 1
        if change is None:
            self._missed = self.count
        else:
            self._changes.add(change)
            self._numbers[change.method, change.uri] = self.count
        if is_first:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._schedule)

    @property
    def has_waiting(self) -> bool:
        """Whether there are changes that were announced and not delivered."""
        return bool(self._changes or self._missed)

    def _schedule(self) -> None:
        self._loop.call_later(self._debounce, self._start)

    def _start(self) -> None:
        if self._rest is not None:  # not all have what came before: it has to stay in order
            self._is_due = True
            return
        with self._lock:
            changes, missed, listeners = self._changes.take(), self._missed, list(self.listeners)
            numbers, self._numbers, self._missed = self._numbers, {}, 0
        self._rest = iter(listeners)
        self._go_on(changes, missed, numbers)

    def _go_on(
        self, changes: Sequence[Change], missed: int, numbers: Mapping[tuple[str, str | None], int]
    ) -> None:
        """Deliver to listeners for a while, and leave the rest to another turn of the event loop."""
        assert self._rest is not None
        end, has_missed = time.perf_counter() + SLICE, missed > 0
        for listener in self._rest:
            if listener.since:  # it hears nothing of before it was attached
                since, listener.since = listener.since, 0
                later = [change for change in changes if numbers[change.method, change.uri] > since]
                listener.take(later, missed=missed > since)
            else:
                listener.take(changes, missed=has_missed)
            if time.perf_counter() > end:
                self._loop.call_soon(self._go_on, changes, missed, numbers)
                return
        self._rest = None
        if self._is_due:
            self._is_due = False
            self._start()


class Changes:
    """Delivers announced changes to the attached listeners; safe from any thread.

    Args:
        limit: listeners at once.

    Attributes:
        limit: the same.
        timings: those of the channel to other workers, once there is one.
    """

    def __init__(self, limit: int = MOST_LISTENERS) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._deliveries: dict[asyncio.AbstractEventLoop, _Delivery] = {}
        self._lookups: dict[str, list[Callable[[str], Any]]] = {}
        self._cluster_listener: Listener | None = None
        self._recent: dict[str, float] = {}  # resources that have changed, and when by the monotonic clock
        self.timings: Timings | None = None

    def share(self, worker_channel: "WorkerChannel") -> None:
        """Send changes that are announced here to other workers, and receive theirs.

        To be called in the event loop.
        """

        def send_change(change: Change) -> bool:
            body = [change.method, change.uri]
            worker_channel.send("change", body if change.names is None else [*body, change.names])
            return True

        self.timings = worker_channel.timings
        if worker_channel.shared:
            self._cluster_listener = Listener(lambda _: True, send_change, timings=self.timings)
        else:
            self._cluster_listener = None
        worker_channel.on("change", lambda change: self._offer_from_elsewhere(*change))
        worker_channel.on_missed(self._offer_all)

    def __len__(self) -> int:
        return sum(len(delivery.listeners) for delivery in tuple(self._deliveries.values()))

    def announce(self, change: Change) -> None:
        """Notify all listeners that match, at this worker and at others (R-2CB)."""
        self._offer(change)
        if self._cluster_listener is not None:
            self._cluster_listener.offer(change)

    def announce_topic(self, method: str, topic: str, params: bytes) -> None:
        """Send a notification of an extension to the listeners of this worker that listen to its topic.

        Args:
            method: that of the notification.
            topic: what a listen names by `Topics`, or `session_topic`.
            params: its params as JSON, an object without `_meta`.
        """
        self._offer(Change(method, topic, params=params))

    def has_listeners(self) -> bool:
        """Whether anybody listens here."""
        return bool(self._deliveries)

    def announce_here(self, uri: str) -> None:
        """Notify the listeners of this worker of a resource (canonical URI) that may have changed unnoticed."""
        self._offer(Change(_UPDATED, uri))

    def find_access_in(self, method: str, lookup: Callable[[str], Any]) -> None:
        """Find who may see the items of a list by their names, for changes that other workers announce.

        Args:
            method: that of the change of the list.
            lookup: returns an item with its `access`, or None.
        """
        self._lookups.setdefault(method, []).append(lookup)

    def _offer_from_elsewhere(self, method: str, uri: str | None, names: Iterable[str] | None = None) -> None:
        """Notify the listeners here of a change at another worker.

        Who may see its items is looked up here, since functions cannot be sent. Items that are not here are not
        in the lists of this worker either, which announces it itself when it adds or removes them.
        """
        if names is None:
            self._offer(Change(method, uri))
            return
        names = tuple(names)
        found = (lookup(name) for name in names for lookup in self._lookups.get(method, ()))
        audience = tuple(item.access for item in found if item is not None)
        self._offer(Change(method) if None in audience else Change(method, None, names, audience))

    def changed_recently(self, uri: str) -> bool:
        """Whether a resource (canonical URI) was announced to have changed in the last `RECENT` seconds."""
        return time.monotonic() - self._recent.get(uri, float("-inf")) < RECENT

    def _note_recent(self, uri: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._recent.pop(uri, None)  # so that the latest are last
            self._recent[uri] = now
            if len(self._recent) > _MOST_RECENT:
                latest = list(self._recent.items())[-_MOST_RECENT // 2 :]
                self._recent = {uri: since for uri, since in latest if now - since < RECENT}

    def _offer(self, change: Change) -> None:
        if change.uri is not None and change.params is None:
            self._note_recent(change.uri)
        if self._deliveries:
            with self._lock:
                for delivery in self._deliveries.values():
                    delivery.add(change)

    def _offer_all(self) -> None:
        with self._lock:
            for delivery in self._deliveries.values():
                delivery.add(None)

    def attach(self, listener: Listener) -> bool:
        """Attach a listener; False if there are too many already."""
        with self._lock:
            if len(self) >= self.limit:
                return False
            delivery = self._deliveries.get(listener.loop)
            if delivery is None:
                timings = self.timings or listener.timings
                delivery = _Delivery(listener.loop, self._lock, timings.change_debounce)
                self._deliveries[listener.loop] = delivery
            delivery.listeners[listener] = None
            listener.since = delivery.count if delivery.has_waiting else 0
            return True

    def detach(self, listener: Listener) -> None:
        """Detach a listener; it receives nothing more, also not what was announced just now."""
        with self._lock:
            delivery = self._deliveries.get(listener.loop)
            if delivery is not None:
                delivery.listeners.pop(listener, None)
                if not delivery.listeners:
                    del self._deliveries[listener.loop]
        listener.stop()

    def end(self, owner: object = None) -> None:
        """End all listening, because the server stops; or that of one connection, because it closes."""
        with self._lock:
            listeners = [listener for delivery in self._deliveries.values() for listener in delivery.listeners]
        for listener in listeners:
            if owner is None or listener.owner is owner:
                listener.end()


def hears(access: "AccessPolicy", caller: "Caller", change: Change) -> bool:
    """Whether a caller hears of a change, by what it may see when that is delivered."""
    if change.uri is not None:  # a topic has params: the client was allowed to listen to it
        return change.params is not None or access.may_hear(change.uri, caller)
    return change.names is None or any(access.lists(caller, entry) for entry in change.audience)


# -- the methods of the protocol -------------------------------------------------------------------------------


def notification_of(change: Change, revision: str, watched: Watched, meta: dict[str, Any] | None = None) -> bytes:
    """Return the notification of a change, with the URI of a resource as the client wrote it."""
    uri = change.uri
    if uri is not None:
        if change.params is not None:
            return encode_notification(change.method, _with_meta(change.params, meta))
        uri = watched.get(uri, uri)
    if meta is None:
        return _plain_notification(change.method, uri, revision)
    return _encode_change(change.method, uri, revision, meta)


def _with_meta(params: bytes, meta: dict[str, Any] | None) -> bytes:
    if meta is None:
        return params
    head = b'{"_meta":' + msgspec.json.encode(meta)
    return head + (b"}" if params == b"{}" else b"," + params[1:])


def session_topic(session_id: str) -> str:
    """Return the topic that every stream of a session listens to."""
    return f"session:{session_id}"


class Topics(Protocol):
    """What a listen hears of an extension.

    Attributes:
        honoured: what the acknowledgement says: the part of the request that was agreed to.
        names: the topics.
    """

    honoured: Any
    names: frozenset[str]

    def begin(self, send: Callable[[str, bytes], object]) -> Awaitable[None]:
        """Send what may have changed before the listen had begun.

        Args:
            send: sends a notification: its method, and its params as JSON without `_meta`.
        """
        ...

    def close(self) -> None:
        """Note that the listen has ended."""
        ...


#: Reads what a client asks to listen to, the member of the filter, for a request.
OpenTopics = Callable[[Request, Any], Awaitable[Topics]]


def _encode_change(method: str, uri: str | None, revision: str, meta: dict[str, Any] | UnsetType) -> bytes:
    params: NotificationParams
    if uri is not None:
        params = ResourceUpdatedNotificationParams(uri=uri, meta=meta)
    elif meta is UNSET:
        return encode_notification(method)
    else:
        params = NotificationParams(meta=meta)
    return encode_notification(method, encode(params, revision))


@lru_cache(maxsize=64)
def _plain_notification(method: str, uri: str | None, revision: str) -> bytes:
    """Return a notification that is the same for all who get it: it is encoded once for thousands of sessions."""
    return _encode_change(method, uri, revision, UNSET)


class Subscriptions:
    """Handles `subscriptions/listen`, `resources/subscribe` and `resources/unsubscribe`.

    Args:
        changes: where listeners are attached.
        capabilities: what the server advertises to the caller of a request, which limits the filter (R-2C2).
        access: who may see and read what.
        topics: what reads the members of the filter that extensions add, by attribute of `SubscriptionFilter`.
    """

    def __init__(
        self,
        changes: Changes,
        capabilities: Callable[[Request], ServerCapabilities],
        access: "AccessPolicy",
        topics: Mapping[str, OpenTopics],
    ) -> None:
        self._topics = topics
        self._changes = changes
        self._capabilities = capabilities
        self._access = access

    async def listen(self, request: Request) -> SubscriptionsListenResult:
        """Handle `subscriptions/listen`: until the client goes, its backlog is full, or the server stops."""
        await self.check_listen(request)
        honoured = _honoured(request.params.notifications, self._capabilities(request))
        lists, watched = _changes_of(honoured)
        methods = {change.method for change in lists}
        meta = {SUBSCRIPTION_ID: request.id}
        revision = request.peer.revision
        opened = await self._open_topics(request, honoured)
        topics = frozenset(name for topic in opened for name in topic.names)

        def deliver(change: Change) -> bool:
            if not request.channel.outlet.push(notification_of(change, revision, watched, meta)):
                listener.stop()  # too far behind: the client has to listen again, and then misses nothing
            return True

        listener = Listener(
            lambda change: change.method in methods or change.uri in watched or change.uri in topics,
            deliver,
            may_see=partial(hears, self._access, caller_of(request)),
            all_changes=lambda: [*lists, *map(updated, watched)],
            owner=request.channel.outlet,
            timings=self._changes.timings,
        )
        listener.end_with(request.principal, self._access.leeway)
        if not self._changes.attach(listener):
            for topic in opened:
                topic.close()
            raise RpcError(INTERNAL_ERROR, "There are too many subscriptions on this server; try again later")
        try:
            params = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            # First of its messages, on a stream or a pipe: nothing was awaited since `attach` (R-2C1, R-410).
            ack = encode_notification("notifications/subscriptions/acknowledged", encode(params, revision))
            if not request.channel.outlet.send(ack):
                raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream to listen", status=406)
            for topic in opened:
                await topic.begin(lambda method, params: deliver(Change(method, "", params=params)))
            await listener.ended
        finally:
            self._changes.detach(listener)
            for topic in opened:
                topic.close()
        return SubscriptionsListenResult(meta=meta)

    async def _open_topics(self, request: Request, honoured: SubscriptionFilter) -> list[Topics]:
        """Return the topics of extensions that a client asks for, and note in the filter what is agreed to."""
        opened = []
        for name, open_topics in self._topics.items():
            requested = getattr(request.params.notifications, name)
            if requested is not UNSET:
                topics = await open_topics(request, requested)
                setattr(honoured, name, topics.honoured)
                opened.append(topics)
        return opened

    async def check_listen(self, request: Request) -> None:
        """Check that a client may read all that it listens for; what it cannot see is as what is not there.

        Raises:
            RpcError: it lacks scopes, one error for all resources (R-606).
        """
        uris = _watchable(request.params.notifications.resource_subscriptions)
        if uris is not UNSET:
            await self._access.require_for_many(uris, request)

    def check_subscribe(self, request: Request) -> None:
        """Check that a client may read the resource that it subscribes to.

        Raises:
            RpcError: it lacks scopes, or the URI is too long.
        """
        check_uri_length(request.params.uri)
        self._access.require_for_all([request.params.uri], request)

    async def subscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/subscribe`, for the rest of the session (R-368).

        A resource may be added later, so any URI can be watched.
        """
        self.check_subscribe(request)
        await _session_of(request).watch(request.params.uri)
        return EmptyResult()

    async def unsubscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/unsubscribe`; a resource that is not watched is no error."""
        check_uri_length(request.params.uri)
        await _session_of(request).unwatch(request.params.uri)
        return EmptyResult()


def _session_of(request: Request) -> SessionSettings:
    """Return the session that stores the resources that a client watches.

    Raises:
        RpcError: METHOD_NOT_FOUND if there is none, as subscriptions were not advertised then.
    """
    if request.channel.session is None:
        raise RpcError(METHOD_NOT_FOUND, f"{request.method} needs a session, and this server keeps none")
    return request.channel.session


def _honoured(requested: SubscriptionFilter, offered: ServerCapabilities) -> SubscriptionFilter:
    """Return the subset of the requested filter that the server supports."""
    resources = offered.resources
    watchable = resources is not UNSET and resources.subscribe is True
    return SubscriptionFilter(
        tools_list_changed=_if_supported(requested.tools_list_changed, offered.tools),
        prompts_list_changed=_if_supported(requested.prompts_list_changed, offered.prompts),
        resources_list_changed=_if_supported(requested.resources_list_changed, resources),
        resource_subscriptions=_watchable(requested.resource_subscriptions) if watchable else UNSET,
    )


def _if_supported(requested: Any, offered: Any) -> Any:
    """Return True if changes of a list are requested and advertised, else UNSET."""
    return True if requested is True and offered is not UNSET and offered.list_changed is True else UNSET


def _watchable(uris: list[str] | UnsetType) -> list[str] | UnsetType:
    """Return the requested URIs, cut to the limits of one client."""
    if uris is UNSET:
        return uris
    limit = _uris.MAX_URI_LENGTH
    lengths = accumulate(map(len, short := [uri for uri in uris if len(uri) <= limit][:MOST_WATCHED]))
    return [uri for uri, length in zip(short, lengths, strict=True) if length <= MOST_WATCHED_TEXT]


def _changes_of(honoured: SubscriptionFilter) -> tuple[frozenset[Change], Watched]:
    """Return the lists and the resources of a filter; a listen receives no others (R-2C4)."""
    lists = {
        TOOLS: honoured.tools_list_changed,
        PROMPTS: honoured.prompts_list_changed,
        RESOURCES: honoured.resources_list_changed,
    }
    uris = () if honoured.resource_subscriptions is UNSET else honoured.resource_subscriptions
    watched = {_uris.canonical(uri): uri for uri in uris}
    return frozenset(change for change, is_requested in lists.items() if is_requested is True), watched
