"""Telling clients of changes: `subscriptions/listen` of the stateless era, and `resources/subscribe` of sessions.

A listen is a request whose answer takes as long as the client stays: first the acknowledgement, then what was
asked for and nothing else, in the end the result (R-2C0 ff). The easy thing to get wrong is whose event it is:
every message of a listen carries the id of its own request, with its JSON type, also where two listens of one
client match the same change (R-2C3, R-2C6).
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from msgspec import UNSET, UnsetType

from enfilade.primitives.uri.uris import MAX_LENGTH
from enfilade.serving.changes import (
    MOST_WATCHED,
    MOST_WATCHED_TEXT,
    PROMPTS,
    RESOURCES,
    TOOLS,
    Change,
    Changes,
    Listener,
    Watched,
    updated,
    watch,
)
from enfilade.serving.channel import Session
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import (
    INTERNAL_ERROR,
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


def notification_of(change: Change, revision: str, watched: Watched, meta: dict[str, Any] | None = None) -> bytes:
    """Return the message that tells of a change, with a resource's URI as the client spells it."""
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
    """Handles what clients say about changes they want to hear of.

    Args:
        changes: where changes come from.
        capabilities: what the server advertises, which narrows what can be listened to (R-2C2).
    """

    def __init__(self, changes: Changes, capabilities: Callable[[], ServerCapabilities]) -> None:
        self._changes = changes
        self._capabilities = capabilities

    async def listen(self, request: Request) -> SubscriptionsListenResult:
        """Handle `subscriptions/listen`: until the client goes, its backlog is full, or the server stops."""
        honoured = self._honoured(request.params.notifications)
        lists, watched = _asked_for(honoured)
        meta = {SUBSCRIPTION_ID: request.id}
        revision = request.peer.revision

        def tell(change: Change) -> bool:
            if not request.channel.outlet.push(notification_of(change, revision, watched, meta)):
                listener.stop()  # too far behind: the client starts anew rather than miss something
            return True

        listener = Listener(
            lambda change: change in lists or change.uri in watched,
            tell,
            everything=lambda: [*lists, *map(updated, watched)],
            of=request.channel.outlet,
        )
        if not self._changes.attach(listener):
            raise RpcError(INTERNAL_ERROR, "There are too many subscriptions on this server; try again later")
        try:
            params = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            ack = encode_notification("notifications/subscriptions/acknowledged", encode(params, revision))
            if not request.channel.outlet.send(ack):
                raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream to listen", status=406)
            await listener.ended
        finally:
            self._changes.detach(listener)
        return SubscriptionsListenResult(meta=meta)

    def _honoured(self, wanted: SubscriptionFilter) -> SubscriptionFilter:
        """Return the part of a wish that this server can fulfil."""
        offered = self._capabilities()
        resources = offered.resources
        watchable = resources is not UNSET and resources.subscribe is True
        return SubscriptionFilter(
            tools_list_changed=_both(wanted.tools_list_changed, offered.tools),
            prompts_list_changed=_both(wanted.prompts_list_changed, offered.prompts),
            resources_list_changed=_both(wanted.resources_list_changed, resources),
            resource_subscriptions=_watchable(wanted.resource_subscriptions) if watchable else UNSET,
        )

    async def subscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/subscribe`, for the rest of the session (R-368).

        A resource that is not there may come to be, so any URI can be watched.
        """
        await _session_of(request).watch(request.params.uri)
        return EmptyResult()

    async def unsubscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/unsubscribe`; not to have watched is fine."""
        await _session_of(request).unwatch(request.params.uri)
        return EmptyResult()


def _session_of(request: Request) -> Session:
    """Return the session that keeps what a client watches.

    Raises:
        RpcError: METHOD_NOT_FOUND where there is none, as watching was not advertised there either.
    """
    if request.channel.session is None:
        raise RpcError(METHOD_NOT_FOUND, f"{request.method} needs a session, and this server keeps none")
    return request.channel.session


def _both(wanted: Any, offered: Any) -> Any:
    """Return True where a list's changes are wanted and announced, else UNSET."""
    return True if wanted is True and offered is not UNSET and offered.list_changed is True else UNSET


def _watchable(uris: list[str] | UnsetType) -> list[str] | UnsetType:
    """Return as many of the resources as one client may watch."""
    if uris is UNSET:
        return uris
    lengths = accumulate(map(len, short := [uri for uri in uris if len(uri) <= MAX_LENGTH][:MOST_WATCHED]))
    return [uri for uri, length in zip(short, lengths, strict=True) if length <= MOST_WATCHED_TEXT]


def _asked_for(honoured: SubscriptionFilter) -> tuple[frozenset[Change], Watched]:
    """Return the lists and the resources that a listen is told of, and no others (R-2C4)."""
    lists = {
        TOOLS: honoured.tools_list_changed,
        PROMPTS: honoured.prompts_list_changed,
        RESOURCES: honoured.resources_list_changed,
    }
    watched: Watched = {}
    for uri in () if honoured.resource_subscriptions is UNSET else honoured.resource_subscriptions:
        watch(watched, uri)
    return frozenset(change for change, wanted in lists.items() if wanted is True), watched
