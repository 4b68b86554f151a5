"""Resources and resource templates: listing, reading, watching.

Easy to get wrong: a template has no `size` and no `uri`, and its `mime_type` is only set when all that match
it share it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import Annotations, Icon, ResourceContents
from enfilade.wire.jsonrpc import INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError
from enfilade.wire.message import (
    CacheableResult,
    InputResponseRequestParams,
    Message,
    NotificationParams,
    PaginatedResult,
    RequestParams,
)
from enfilade.wire.revisions import UNTIL_1125


class Resource(Message, kw_only=True):
    """The definition of a resource; `size` is in bytes, before any encoding."""

    uri: str
    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    annotations: Annotations | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ResourceTemplate(Message, kw_only=True):
    """The definition of a family of resources, by an RFC 6570 URI template."""

    uri_template: str
    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    annotations: Annotations | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ListResourcesResult(PaginatedResult, kw_only=True):
    """One page of the resources."""

    resources: list[Resource]


class ListResourceTemplatesResult(PaginatedResult, kw_only=True):
    """One page of the resource templates."""

    resource_templates: list[ResourceTemplate]


class ReadResourceRequestParams(InputResponseRequestParams, kw_only=True):
    """Which resource to read."""

    uri: str


class ReadResourceResult(CacheableResult, kw_only=True):
    """The contents of a resource, or of several where the URI names a collection (R-522)."""

    contents: list[ResourceContents]


class SubscribeRequestParams(RequestParams, kw_only=True):
    """Which resource to watch (session-based revisions; the stateless one has `subscriptions/listen`)."""

    uri: str


class UnsubscribeRequestParams(RequestParams, kw_only=True):
    """Which resource to stop watching."""

    uri: str


class ResourceUpdatedNotificationParams(NotificationParams, kw_only=True):
    """A watched resource changed; `uri` may be that of a part of it (R-2C5)."""

    uri: str


class NotFoundError(RpcError):
    """No resource has the URI; each revision has its own error code for this (R-523).

    Args:
        uri: the requested URI.
        revision: the client's.
        message: one sentence for the client.
        data: further members of the error's `data`.
    """

    def __init__(
        self, uri: str, revision: str, message: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        code = RESOURCE_NOT_FOUND if revision in UNTIL_1125 else INVALID_PARAMS
        super().__init__(code, message or f"Resource not found: {uri}", {**(data or {}), "uri": uri})
