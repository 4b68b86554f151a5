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

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

CacheScope = Literal["public", "private"]
Role = Literal["user", "assistant"]

# A progress token keeps its JSON type, as a request id does: 1 and "1" are two different tokens.
ProgressToken = int | str


class Message(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=False):
    """The root of every message type."""


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

    `result_type` is required since 2026-07-28 (R-274) and not defined before. It is always set here;
    `projection.project` removes it for an older peer, at the cost of a shallow copy.
    """

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)
    result_type: str | UnsetType = "complete"


class JsonResult(Result, kw_only=True):
    """The result of a method that this package does not define.

    Attributes:
        members: its members, but for `_meta`; `resultType` is added where the revision has it.
    """

    members: dict[str, Any]

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> "JsonResult":
        """Return the result with some members, which may include `_meta`."""
        others = dict(members)
        return cls(meta=others.pop("_meta", UNSET), members=others)


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


# -- optional members that are null -----------------------------------------------------------------------------
#
# Some clients encode members that they have not set. Such a message is decoded again without them.

#: Most null members that are removed from one message, as each costs another decoding.
_MOST_NULLS: Final = 64

#: Members that are an error if they are null (R-297): what a client returns must not get lost silently.
_RETURNED: Final = frozenset({".inputResponses", ".requestState"})

_NULL: Final = re.compile(r"Expected `[^`]*`, got `null` - at `\$(?P<path>[^`]*)`")


def decode_without_nulls(decoder: "msgspec.json.Decoder[Any]", raw: bytes | msgspec.Raw, error: Exception) -> Any:
    """Decode an object again without the members that must not be null.

    Args:
        error: of the first decoding.

    Raises:
        msgspec.ValidationError: `error`, if the object has any other fault.
    """
    try:
        members: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        last_error: Exception = error
        for _ in range(_MOST_NULLS):
            match = _NULL.fullmatch(str(last_error))
            if match is None or match["path"] in _RETURNED or not _remove(members, match["path"]):
                break
            try:
                return decoder.decode(msgspec.json.encode(members))
            except msgspec.ValidationError as next_error:
                last_error = next_error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise error


def _remove(members: dict[str, Any], path: str) -> bool:
    """Remove the member at a path such as `.capabilities.roots` or `.clientInfo.icons[0].sizes`, if it exists."""
    container: Any = members
    while path:
        step = _step(container, path)
        if step is None:
            return False
        key, path = step
        value = container[key]
        if not path:
            if not isinstance(container, dict):
                return False
            del container[key]
            return True
        if isinstance(value, msgspec.Raw):  # only containers on the path are decoded
            value = container[key] = msgspec.json.decode(value)
        container = value
    return False


def _step(container: Any, path: str) -> tuple[Any, str] | None:
    """Return the first key or index of a path, and the remaining path."""
    if isinstance(container, list) and (match := re.match(r"\[(\d+)\]", path)) is not None:
        return int(match[1]), path[match.end() :]
    if not isinstance(container, dict) or not path.startswith("."):
        return None
    # Keys may contain dots, as those of `_meta` do: the longest that matches is meant.
    for key in sorted(container, key=len, reverse=True):
        remaining = path[1 + len(key) :]
        if path.startswith(key, 1) and remaining[:1] in ("", ".", "["):
            return key, remaining
    return None
