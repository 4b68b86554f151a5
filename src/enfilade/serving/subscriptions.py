"""Telling clients of changes: `subscriptions/listen` of the stateless era, and `resources/subscribe` of sessions.

A listen is a request whose answer takes as long as the client stays: first the acknowledgement, then what was
asked for and nothing else, in the end the result (R-2C0 ff). The easy thing to get wrong is whose event it is:
every message of a listen carries the id of its own request, with its JSON type, also where two listens of one
client match the same change (R-2C3, R-2C6).
"""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from enfilade.serving.changes import MOST_WATCHED, PROMPTS, RESOURCES, TOOLS, Change, Changes, Listener
from enfilade.serving.exchange import Request
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError, encode_notification
from enfilade.wire.lifecycle import SUBSCRIPTION_ID, ServerCapabilities
from enfilade.wire.message import EmptyResult, NotificationParams
from enfilade.wire.resources import ResourceUpdatedNotificationParams
from enfilade.wire.subscriptions import (
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenResult,
)
from enfilade.wire.visible import encode


def notification_of(change: Change, revision: str, meta: dict[str, Any] | None = None) -> bytes:
    """Return the message that tells of a change."""
    tagged = UNSET if meta is None else meta
    params: NotificationParams
    if change.uri is not None:
        params = ResourceUpdatedNotificationParams(uri=change.uri, meta=tagged)
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
        meta = {SUBSCRIPTION_ID: request.id}
        revision = request.peer.revision

        def tell(change: Change) -> None:
            if not request.outlet.push(notification_of(change, revision, meta)):
                listener.ended.set()  # too far behind: the client starts anew rather than miss something

        listener = Listener(lambda change: _asked_for(change, honoured), tell)
        if not self._changes.attach(listener):
            raise RpcError(INTERNAL_ERROR, "There are too many subscriptions on this server; try again later")
        try:
            params = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            ack = encode_notification("notifications/subscriptions/acknowledged", encode(params, revision))
            if not request.outlet.send(ack):
                raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream to listen", status=406)
            await listener.ended.wait()
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
            resource_subscriptions=wanted.resource_subscriptions[:MOST_WATCHED]
            if watchable and wanted.resource_subscriptions is not UNSET
            else UNSET,
        )

    async def subscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/subscribe`, for the rest of the session (R-368)."""
        if request.session is not None:
            await request.session.watch(request.params.uri)
        return EmptyResult()

    async def unsubscribe(self, request: Request) -> EmptyResult:
        """Handle `resources/unsubscribe`."""
        if request.session is not None:
            await request.session.unwatch(request.params.uri)
        return EmptyResult()


def _both(wanted: Any, offered: Any) -> Any:
    """Return True where a list's changes are wanted and announced, else UNSET."""
    return True if wanted is True and offered is not UNSET and offered.list_changed is True else UNSET


def _asked_for(change: Change, honoured: SubscriptionFilter) -> bool:
    if change.uri is not None:
        return honoured.resource_subscriptions is not UNSET and change.uri in honoured.resource_subscriptions
    return {
        TOOLS: honoured.tools_list_changed,
        PROMPTS: honoured.prompts_list_changed,
        RESOURCES: honoured.resources_list_changed,
    }.get(change) is True
