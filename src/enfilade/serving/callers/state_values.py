"""Keys and values of `ctx.state`: what they may be, and how a value is stored."""

import json
import math
import time
from typing import Any, Final

import msgspec

from enfilade.primitives.errors import ToolError
from enfilade.primitives.values.json_encoding import is_unicode

#: Most bytes of a value as JSON, and characters of a key.
MOST_VALUE_BYTES: Final = 64 * 1024
MOST_KEY_LENGTH: Final = 256

#: Seconds that a value is kept by default: 30 days.
DEFAULT_TTL: Final = 30 * 24 * 3600.0

#: Levels of lists and dicts in a value.
_DEEPEST: Final = 100


class StateError(ToolError):
    """State of a caller cannot be kept: it has no user and no session, or there is too much of it."""


class StoredValue(msgspec.Struct, array_like=True):
    """A value in a record.

    Attributes:
        expires: seconds since 1970.
        content: its JSON.
    """

    expires: float
    content: bytes


Values = dict[str, StoredValue]


def check_key(key: object) -> str:
    """Return a key.

    Raises:
        TypeError, ValueError: it is no text of 1 to 256 characters.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key of ctx.state is a text, not {type(key).__name__}")
    if not 1 <= len(key) <= MOST_KEY_LENGTH:
        raise ValueError(f"a key of ctx.state has 1 to {MOST_KEY_LENGTH} characters, and this one has {len(key)}")
    if not is_unicode(key):
        raise ValueError("a key of ctx.state holds half of a surrogate pair")
    return str(key)


def expiry_after(ttl: float | None) -> float:
    """Return when a value expires that is written now, in seconds since 1970.

    Raises:
        TypeError, ValueError: `ttl` is no number above 0.
    """
    if ttl is None:
        return time.time() + DEFAULT_TTL
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl is a number of seconds, not {type(ttl).__name__}: ttl=3600")
    if not (math.isfinite(ttl) and ttl > 0):
        raise ValueError("ttl is a number of seconds above 0; ctx.state.delete(key) removes a value")
    return time.time() + ttl


def stored_value(value: Any, ttl: float | None) -> StoredValue:
    """Return a value as it is stored.

    Raises:
        TypeError: it is no JSON; names the place.
        StateError: it is too large.
    """
    _check_json(value, "the value", 0)
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    if len(content) > MOST_VALUE_BYTES:
        raise StateError(
            f"A value that is kept for a caller has at most {MOST_VALUE_BYTES} bytes as JSON, and this one has "
            f"{len(content)}: keep less, or parts of it under keys of their own"
        )
    return StoredValue(expiry_after(ttl), content)


def _check_json(value: Any, path: str, depth: int) -> None:
    """Refuse what would not be the same after a round trip through JSON, except for tuples.

    Raises:
        TypeError: names the place.
    """
    if depth > _DEEPEST:
        raise TypeError(f"ctx.state keeps JSON of at most {_DEEPEST} levels; the value is nested deeper")
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, str):
        if not is_unicode(value):
            raise TypeError(f"ctx.state keeps JSON: {path} holds half of a surrogate pair")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"ctx.state keeps JSON: {path} is {value}, which JSON does not have")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"ctx.state keeps JSON: {path} has a key of type {type(key).__name__}, not a text"
                )
            _check_json(key, f"a key of {path}", depth)
            _check_json(item, f"{path}[{key!r:.40}]", depth + 1)
    else:
        raise TypeError(
            f"ctx.state keeps JSON: {path} is of type {type(value).__name__}; keep plain values, such as "
            'those of model_dump(mode="json") or dataclasses.asdict()'
        )
