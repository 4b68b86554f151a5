"""Any Python value as JSON bytes: dates, decimals, sets, UUIDs, models, dataclasses, keys of any kind.

Easy to get wrong: three things that Python has and JSON has not. NaN and Infinity are written as null. Half
of a surrogate pair in a string (file names bring them) becomes U+FFFD. And an object nobody can write is a
`ReturnedValueError` with the name of its type, since its repr may say too much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from enfilade.later import Later, pattern
from enfilade.primitives.errors import ReturnedValueError

if TYPE_CHECKING:
    import pydantic_core
else:
    pydantic_core = Later("pydantic_core")

_UNKNOWN: Final = "JSON cannot hold an object of type "
_UNKNOWN_TYPE: Final = pattern(_UNKNOWN + r"([\w.<>]+)")
# What pydantic-core says, and what is said instead.
_REASONS: Final = {
    "depth exceeded": "it is nested too deeply",  # first, since some releases call this a circular reference
    "recursion": "it is nested too deeply",
    "Circular reference": "it refers to itself",
}


def json_bytes(value: Any) -> bytes:
    """Return the value as compact JSON; bytes become URL-safe base64.

    Raises:
        ReturnedValueError: JSON cannot hold the value; names the type at fault.
    """
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=fallback)
    except (ValueError, TypeError, RecursionError) as error:
        if not is_surrogate_error(error):
            raise unwritable(error) from error
    try:
        # Once before, for the keys of dicts, and once after, for what was in dataclasses and the like.
        plain = pydantic_core.to_jsonable_python(
            scrubbed(value), inf_nan_mode="null", bytes_mode="base64", fallback=fallback
        )
        return pydantic_core.to_json(scrubbed(plain), inf_nan_mode="null")
    except (ValueError, TypeError, RecursionError) as error:
        raise unwritable(error) from error


def fallback(value: Any) -> Any:
    """Return what stands for a value that pydantic does not know: of these, msgspec's structs are known here."""
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(f"{_UNKNOWN}{type(value).__qualname__}")


def clean(text: str) -> str:
    """Return text that UTF-8 can hold: pairs of surrogates joined, single ones replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def scrubbed(value: Any) -> Any:
    """Return plain containers with `clean` strings in them; other objects stay as they are."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {scrubbed(key): scrubbed(member) for key, member in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(scrubbed(item) for item in value)
    return value


def is_surrogate_error(error: Exception) -> bool:
    """Return whether serialization failed because of half a surrogate pair; pydantic-core has no class for it."""
    return "surrogates not allowed" in str(error)


def unwritable(error: Exception) -> ReturnedValueError:
    """Return the error that says why a value could not be serialized, without showing the value."""
    text = str(error) or type(error).__name__
    if unknown := _UNKNOWN_TYPE.search(text):
        why = f"{_UNKNOWN}{unknown[1]}"
    else:
        why = next(
            (reason for said, reason in _REASONS.items() if said.lower() in text.lower()), "JSON cannot hold it"
        )
    return ReturnedValueError(f"What it returned cannot be sent: {why}")
