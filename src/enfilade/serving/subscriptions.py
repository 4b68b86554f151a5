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
import threading
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.primitives.uri.uris import MAX_URI_LENGTH, canonical
from enfilade.serving.channel import SessionSettings
from enfilade.serving.request import Request
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
from enfilade.wire.projection import encode
from enfilade.wire.resources import ResourceUpdatedNotificationParams
from enfilade.wire.subscriptions import (
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenResult,
)

if TYPE_CHECKING:
    from enfilade.serving.cluster import WorkerChannel
    from enfilade.timings import Timings

#: The resources that a client watches: canonical URI to the URI that the client wrote.
Watched = dict[str, str]

#: Most resources that one client may watch, and most characters of their URIs together. Those of a session are
#: one record in the store, which is written again with each of them.
MOST_WATCHED: Final = 1000
MOST_WATCHED_TEXT: Final = 256 * 1024


class Change(msgspec.Struct, frozen=True):
    """A change of a list or of a resource.

    Attributes:
        method: the method of its notification.
        uri: the canonical URI of the resource that was updated; None for a list.
    """

    method: str
    uri: str | None = None


TOOLS: Final = Change("notifications/tools/list_changed")
PROMPTS: Final = Change("notifications/prompts/list_changed")
RESOURCES: Final = Change("notifications/resources/list_changed")

_UPDATED: Final = "notifications/resources/updated"

#: The changes of lists, by the method that reads the list.
LISTS: Final = {"tools/list": TOOLS, "prompts/list": PROMPTS, "resources/list": RESOURCES}


def updated(uri: str) -> Change:
    """Return the change of one resource's contents."""
    return Change(_UPDATED, canonical(uri))


def all_changes(offers: Callable[[str], bool], watched: Iterable[str]) -> list[Change]:
    """Return the changes of all lists that are offered and of all resources that are watched.

    Args:
        offers: whether a method is offered.
        watched: canonical URIs.
    """
    lists = [change for method, change in LISTS.items() if offers(method)]
    return lists + [Change(_UPDATED, uri) for uri in watched]


def watch(watched: Watched, uri: str) -> None:
    """Add a resource to those that a client watches.

    Raises:
        RpcError: INVALID_PARAMS if there are too many, or if it is too long for a URI.
    """
    if len(uri) > MAX_URI_LENGTH:
        raise RpcError(INVALID_PARAMS, f"Invalid params: the URI is longer than {MAX_URI_LENGTH} characters")
    key = canonical(uri)
    if key not in watched and len(watched) >= MOST_WATCHED:
        raise RpcError(INVALID_PARAMS, f"Invalid params: a client may watch at most {MOST_WATCHED} resources")
    if key not in watched and len(uri) + sum(map(len, watched)) > MOST_WATCHED_TEXT:
        text = f"the URIs that a client watches have at most {MOST_WATCHED_TEXT} characters together"
        raise RpcError(INVALID_PARAMS, f"Invalid params: {text}")
    watched[key] = uri


def unwatch(watched: Watched, uri: str) -> None:
    """Remove a resource from those that a client watches, if it is one of them."""
    watched.pop(canonical(uri), None)


class Listener:
    """One stream that receives changes, in the event loop in which it is created.

    Args:
        matches: whether it receives a change; called in any thread, and again before the delivery.
        deliver: called in the event loop, once for each change or run of equal changes. Returns False if there is
            no room for it now; it is then delivered later.
        all_changes: returns all changes that match, for when some may have been missed.
        owner: the connection or stream that it belongs to, for `Changes.end`.
        timings: `change_debounce` and `change_retry` are used.

    Attributes:
        ended: done when nothing will be delivered any more.
    """

    __slots__ = (
        "_all_changes",
        "_deliver",
        "_lock",
        "_loop",
        "_matches",
        "_pending",
        "_timer",
        "_timings",
        "ended",
        "owner",
    )

    def __init__(
        self,
        matches: Callable[[Change], bool],
        deliver: Callable[[Change], bool],
        *,
        all_changes: Callable[[], Iterable[Change]] = tuple,
        owner: object = None,
        timings: "Timings | None" = None,
    ) -> None:
        if timings is None:  # loaded here, since every app has `Changes`
            from enfilade.timings import Timings

            timings = Timings()
        self._timings = timings
        self.owner = owner
        self._matches = matches
        self._all_changes = all_changes
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._pending: dict[Change, None] = {}  # a flush is scheduled while it is not empty
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, change: Change) -> None:
        """Queue a change, from any thread."""
        if not self._matches(change):
            return
        with self._lock:
            first = not self._pending
            self._pending[change] = None
        if first:
            self._in_loop(self._schedule_flush, self._timings.change_debounce)

    def offer_all(self) -> None:
        """Queue all changes that match, because some may have been missed; to be called in the event loop."""
        for change in self._all_changes():
            self.offer(change)

    def end(self) -> None:
        """End the listening, from any thread."""
        self._in_loop(self.stop)

    def stop(self) -> None:
        """Deliver nothing from now on; to be called in the event loop."""
        if not self.ended.done():
            self.ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def _in_loop(self, call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *args)

    def _schedule_flush(self, delay: float) -> None:
        if not self.ended.done():
            self._timer = self._loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        undelivered: dict[Change, None] = {}
        for change in pending:
            if self.ended.done():
                return
            if self._matches(change) and not self._deliver(change):
                undelivered[change] = None
        if undelivered:
            with self._lock:
                first = not self._pending
                self._pending = {**undelivered, **self._pending}
            if first:
                self._schedule_flush(self._timings.change_retry)


class Changes:
    """Delivers announced changes to the attached listeners; safe from any thread.

    Args:
        limit: listeners at once: open streams, which have a lower limit of their own, and streams that are
            retained for a client that was disconnected.
    """

    def __init__(self, limit: int = 1280) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._cluster_listener: Listener | None = None

    def share(self, worker_channel: "WorkerChannel") -> None:
        """Send changes that are announced here to other workers, and receive theirs.

        To be called in the event loop.
        """

        def send_change(change: Change) -> bool:
            worker_channel.send("change", [change.method, change.uri])
            return True

        self._cluster_listener = Listener(lambda _: True, send_change) if worker_channel.shared else None
        worker_channel.on("change", lambda change: self._offer(Change(*change)))
        worker_channel.on_missed(self._offer_all)

    def __len__(self) -> int:
        return len(self._listeners)

    def announce(self, change: Change) -> None:
        """Notify all listeners that match, at this worker and at others (R-2CB)."""
        self._offer(change)
        if self._cluster_listener is not None:
            self._cluster_listener.offer(change)

    def announce_here(self, uri: str) -> None:
        """Notify the listeners of this worker of a resource that may have changed unnoticed.

        Args:
            uri: canonical.
        """
        self._offer(Change(_UPDATED, uri))

    def _offer(self, change: Change) -> None:
        for listener in self._listeners:
            listener.offer(change)

    def _offer_all(self) -> None:
        for listener in self._listeners:
            listener.offer_all()

    def attach(self, listener: Listener) -> bool:
        """Attach a listener; False if there are too many already."""
        with self._lock:
            if len(self._listeners) >= self._limit:
                return False
            self._listeners = (*self._listeners, listener)
            return True

    def detach(self, listener: Listener) -> None:
        """Detach a listener; it receives nothing more, also not what was announced just now."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)
        listener.stop()

    def end(self, owner: object = None) -> None:
        """End all listening, because the server stops; or that of one connection, because it closes."""
        for listener in self._listeners:
            if owner is None or listener.owner is owner:
                listener.end()


# -- the methods of the protocol -------------------------------------------------------------------------------


def notification_of(change: Change, revision: str, watched: Watched, meta: dict[str, Any] | None = None) -> bytes:
    """Return the notification of a change, with the URI of a resource as the client wrote it."""
    tagged = UNSET if meta is None else meta
    params: NotificationParams
    if change.uri is not None:
        params = ResourceUpdatedNotificationParams(uri=watched.get(change.uri, change.uri), meta=tagged)
    elif meta is None:
        return encode_notification(change.method)
    else:
        params = NotificationParams(meta=tagged)
    return encode_notification(change.method, encode(params, revision))


class Subscriptions:
    """Handles `subscriptions/listen`, `resources/subscribe` and `resources/unsubscribe`.

    Args:
        changes: where listeners are attached.
        capabilities: what the server advertises, which limits the filter (R-2C2).
    """

    def __init__(self, changes: Changes, capabilities: Callable[[], ServerCapabilities]) -> None:
        self._changes = changes
        self._capabilities = capabilities

    async def listen(self, request: Request) -> SubscriptionsListenResult:
        """Handle `subscriptions/listen`: until the client goes, its backlog is full, or the server stops."""
        honoured = self._honoured(request.params.notifications)
        lists, watched = _changes_of(honoured)
        meta = {SUBSCRIPTION_ID: request.id}
        revision = request.peer.revision

        def deliver(change: Change) -> bool:
            if not request.channel.outlet.push(notification_of(change, revision, watched, meta)):
                listener.stop()  # too far behind: the client has to listen again, and then misses nothing
            return True

        listener = Listener(
            lambda change: change in lists or change.uri in watched,
            deliver,
            all_changes=lambda: [*lists, *map(updated, watched)],
            owner=request.channel.outlet,
        )
        if not self._changes.attach(listener):
            raise RpcError(INTERNAL_ERROR, "There are too many subscriptions on this server; try again later")
        try:
            params = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            # First of its messages, on a stream or a pipe: nothing was awaited since `attach` (R-2C1, R-410).
            ack = encode_notification("notifications/subscriptions/acknowledged", encode(params, revision))
            if not request.channel.outlet.send(ack):
                raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream to listen", status=406)
            await listener.ended
        finally:
            self._changes.detach(listener)
        return SubscriptionsListenResult(meta=meta)

    def _honoured(self, requested: SubscriptionFilter) -> SubscriptionFilter:
        """Return the subset of the requested filter that the server supports."""
        offered = self._capabilities()
        resources = offered.resources
        watchable = resources is not UNSET and resources.subscribe is True
        return SubscriptionFilter(
            tools_list_changed=_if_supported(requested.tools_list_changed, offered.tools),
            prompts_list_changed=_if_supported(requested.prompts_list_changed, offered.prompts),
            resources_list_changed=_if_supported(requested.resources_list_changed, resources),
            resource_subscriptions=_watchable(requested.resource_subscriptions) if watchable else UNSET,
        )

    async def subscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/subscribe`, for the rest of the session (R-368).

        A resource may be added later, so any URI can be watched.
        """
        await _session_of(request).watch(request.params.uri)
        return EmptyResult()

    async def unsubscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/unsubscribe`; a resource that is not watched is no error."""
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


def _if_supported(requested: Any, offered: Any) -> Any:
    """Return True if changes of a list are requested and advertised, else UNSET."""
    return True if requested is True and offered is not UNSET and offered.list_changed is True else UNSET


def _watchable(uris: list[str] | UnsetType) -> list[str] | UnsetType:
    """Return as many of the resources as one client may watch."""
    if uris is UNSET:
        return uris
    lengths = accumulate(map(len, short := [uri for uri in uris if len(uri) <= MAX_URI_LENGTH][:MOST_WATCHED]))
    return [uri for uri, length in zip(short, lengths, strict=True) if length <= MOST_WATCHED_TEXT]


def _changes_of(honoured: SubscriptionFilter) -> tuple[frozenset[Change], Watched]:
    """Return the lists and the resources of a filter; a listen receives no others (R-2C4)."""
    lists = {
        TOOLS: honoured.tools_list_changed,
        PROMPTS: honoured.prompts_list_changed,
        RESOURCES: honoured.resources_list_changed,
    }
    watched: Watched = {}
    for uri in () if honoured.resource_subscriptions is UNSET else honoured.resource_subscriptions:
        watch(watched, uri)
    return frozenset(change for change, is_requested in lists.items() if is_requested is True), watched
