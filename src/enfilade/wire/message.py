"""What every message type is made of: naming, `_meta`, and the fields that all results share.

One `msgspec.Struct` per type of the protocol's JSON Schema, under the schema's own name. Attributes are
snake_case here and camelCase on the wire, and that is the only place where the two meet. The types are those
of the newest revision that knows them; what an older peer may see of them is the business of `projection.py`,
not of the types.

Easy to get wrong: *absent* is `UNSET`, *null* is `None`, and both occur (rule R-502: `structuredContent:
null`, log `data: null`, a task's `ttl: null` mean something). So an optional field defaults to `UNSET`, which
is never encoded, and `None` is legal only where its type says so.

`_meta` comes in two forms. In the parameters of a client's request it stays raw bytes until somebody wants
it, because most requests are answered without a look at most of it. Everywhere else it is a plain dict.
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
    """Parameters of a client's request, and all there is to those of `ping` and `server/discover`."""

    meta: msgspec.Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)


class PaginatedRequestParams(RequestParams, kw_only=True):
    """Parameters of the list methods: an absent cursor asks for the first page."""

    cursor: str | UnsetType = UNSET


class InputResponseRequestParams(RequestParams, kw_only=True):
    """Parameters of the three requests that may be retried with answers (R-286).

    The answers are those to the questions of an `InputRequiredResult`, under the same keys; they stay raw
    because only the question tells of what type an answer is.
    """

    input_responses: dict[str, msgspec.Raw] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET


class NotificationParams(Message, kw_only=True):
    """Parameters of a notification in either direction."""

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class Result(Message, kw_only=True):
    """What every result may carry.

    `result_type` is required since 2026-07-28 and unknown before. It is always set here, so that a result is
    complete as written and no code on the way out has to remember it; `visible` takes it away for an older
    peer, at the price of one shallow copy.
    """

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)
    result_type: str | UnsetType = "complete"


class EmptyResult(Result):
    """The answer to a request that only needs to be acknowledged."""


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
