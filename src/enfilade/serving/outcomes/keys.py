"""The keys under which outcomes are kept.

Arguments count by their meaning as JSON: the order of members, white space, the spelling of numbers and strings,
and defaults that are written out make no difference. They are those that came, not the values that a function
gets: those need not be written without loss, as a `SecretStr` is not.

Easy to get wrong: two calls under one key that are not the same. What is not sure to be the same counts as
another call: it runs once more.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from enfilade.primitives.errors import ToolError
from enfilade.primitives.limits.outcome_policy import IdempotencyPolicy
from enfilade.serving.request import Request
from enfilade.wire.tools import decode_arguments

#: Member of `_meta` that has an idempotency key.
IDEMPOTENCY_KEY: Final = "enfilade/idempotencyKey"

#: Most characters of an idempotency key.
LONGEST_KEY: Final = 255

_canonical: Final = msgspec.json.Encoder(order="sorted").encode
_encode: Final = msgspec.json.Encoder().encode
_joined: Final = json.JSONEncoder().encode


def read_arguments(arguments: Raw | None) -> dict[str, Any] | None:
    """Return the arguments of a call; None if they are no object, which the tool refuses then."""
    if arguments is None:
        return {}
    try:
        values = decode_arguments(arguments, lambda number: Raw(number.encode()))
    except (ValueError, RecursionError):
        return None
    return {} if values is None else values if isinstance(values, dict) else None


def canonical(arguments: dict[str, Any], defaults: Mapping[str, bytes]) -> bytes:
    """Return arguments as JSON that is the same for all spellings of the same values.

    Args:
        arguments: of a call; those that have their default are removed.
        defaults: of parameters, as JSON.
    """
    for name, default in defaults.items():
        if name in arguments and _encode(arguments[name]) == default:
            del arguments[name]
    return _canonical(arguments)


def digest(*parts: object) -> str:
    """Return a text that stands for parts, and for no others."""
    return hashlib.blake2b(_joined(parts).encode(), digest_size=20).hexdigest()


def idempotency_key(request: Request, policy: IdempotencyPolicy, arguments: dict[str, Any]) -> str | None:
    """Return the key of a call; None if it has none.

    Raises:
        ToolError: it has one that is no key; says what a key is.
    """
    if policy.argument is not None and arguments.get(policy.argument) is not None:
        value: object = arguments[policy.argument]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return _checked(value, f"The argument {policy.argument!r} is an idempotency key", "a text or an integer")
    value = request.raw_meta.get(IDEMPOTENCY_KEY)
    return (
        None if value is None else _checked(value, f"{IDEMPOTENCY_KEY} of _meta is an idempotency key", "a text")
    )


def _checked(value: object, subject: str, kind: str) -> str:
    if not isinstance(value, str):
        raise ToolError(f"{subject}: {kind}, and this one is of another type")
    if not 0 < len(value) <= LONGEST_KEY:
        raise ToolError(f"{subject}: it has 1 to {LONGEST_KEY} characters, and this one has {len(value)}")
    if not value.isprintable():
        raise ToolError(f"{subject}: it has printable characters only, and this one has others")
    return value
