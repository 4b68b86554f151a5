"""Roots: the directories and files that the client's user has opened for the server.

Easy to get wrong: a root's `uri` is a `file://` URI, not a path (R-554).
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, NotificationParams


class Root(Message, kw_only=True):
    """One root."""

    uri: str
    name: str | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ListRootsRequest(Message, tag_field="method", tag="roots/list", kw_only=True):
    """The server's question for the roots, as one of the questions of an `InputRequiredResult`."""

    params: NotificationParams | UnsetType = UNSET


class ListRootsResult(Message, kw_only=True):
    """The client's answer."""

    roots: list[Root]
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)
