"""The base classes of all message types: naming, `_meta`, and the fields that all results share.

One `msgspec.Struct` per type of the protocol's JSON Schema, under the schema's own name. Attributes are
snake_case here and camelCase on the wire, and that is the only place where the two meet. The types are those
of the newest revision that defines them; `projection.py` adapts messages to older revisions.

Easy to get wrong: *absent* is `UNSET`, *null* is `None`, and both occur (rule R-502: `structuredContent:
null`, log `data: null`, a task's `ttl: null` mean something). So an optional field defaults to `UNSET`, which
is never encoded, and `None` is legal only where its type says so.

`_meta` comes in two forms. In the parameters of a client's request it stays raw bytes until it is needed,
because most of it is not needed for most requests. Everywhere else it is a plain dict.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

CacheScope = Literal["public", "private"]
Role = Literal["user", "assistant"]

# A request id and a progress token keep their JSON type: 1 and "1" are two different ids.
RequestId = int | str
ProgressToken = int | str


class Message(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=False):
    """The root of every type in this room."""


class RequestParams(Message, kw_only=True):
    """Parameters of a client's request, such as `ping` and `server/discover`."""

    meta: msgspec.Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)


class PaginatedRequestParams(RequestParams, kw_only=True):
    """Parameters of the list methods: an absent cursor asks for the first page."""

    cursor: str | UnsetType = UNSET


class InputResponseRequestParams(RequestParams, kw_only=True):
    """Parameters of the three requests that may be retried with answers (R-286).

    The answers are those to the questions of an `InputRequiredResult`, under the same keys; they stay raw
    because the type of an answer depends on its question.
    """

    input_responses: dict[str, msgspec.Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class NotificationParams(Message, kw_only=True):
    """Parameters of a notification in either direction."""

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class Result(Message, kw_only=True):
    """The fields of every result.

    `result_type` is required since 2026-07-28 and not defined before. It is always set here; `projection.project`
    removes it for an older peer, at the cost of a shallow copy.
    """

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)
    result_type: str | UnsetType = "complete"


class EmptyResult(Result):
    """The result of a request that is only acknowledged."""


class CacheableResult(Result, kw_only=True):
    """A result with caching hints (2026-07-28 caching, R-2A0); the defaults forbid caching.

    Attributes:
        ttl_ms: for how long the result may be reused, in milliseconds.
        cache_scope: `public` only for what is the same for every principal (R-715).
    """

    ttl_ms: int | UnsetType = 0
    cache_scope: CacheScope | UnsetType = "private"


class PaginatedResult(CacheableResult, kw_only=True):
    """One page of a list; an absent cursor marks the last page."""

    next_cursor: str | UnsetType = UNSET
