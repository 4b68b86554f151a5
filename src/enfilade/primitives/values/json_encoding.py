"""Any Python value as JSON bytes: dates, decimals, sets, UUIDs, models, dataclasses, keys of any kind.

Bytes become base64 in the standard alphabet. What pydantic does not know is looked up in `foreign_values.py`.

Easy to get wrong: three things that Python has and JSON does not have. NaN and Infinity are written as null. Half
of a surrogate pair in a string (file names bring them) becomes U+FFFD. And an object that cannot be written is
a `ReturnedValueError` with its path and the name of its type, because its repr may contain secrets.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from enfilade.primitives.errors import EnfiladeError, ReturnedValueError
from enfilade.startup.lazy import LazyModule, lazy_pattern

if TYPE_CHECKING:
    import pydantic_core

    from enfilade.primitives.schema import json_schema as _phrases
    from enfilade.primitives.schema.references import Step
    from enfilade.primitives.values import (
        foreign_values as _foreign,
        plain_values as _plain,
        repeated_names as _repeated,
        serializer_gaps as _gaps,
    )
else:
    pydantic_core = LazyModule("pydantic_core")
    _foreign = LazyModule("enfilade.primitives.values.foreign_values")
    _plain = LazyModule("enfilade.primitives.values.plain_values")
    _repeated = LazyModule("enfilade.primitives.values.repeated_names")
    _gaps = LazyModule("enfilade.primitives.values.serializer_gaps")
    _phrases = LazyModule("enfilade.primitives.schema.json_schema")

#: What errors call a value unless they are told.
RETURNED: Final = "What it returned"
_UNKNOWN: Final = "JSON cannot hold an object of type "
_UNKNOWN_TYPE: Final = lazy_pattern(_UNKNOWN + r"([\w.<>]+)")
_STRING: Final = frozenset({str})
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_STANDARD: Final = str.maketrans("-_", "+/")
_DEEPEST: Final = 50  # steps of a path that are looked for
# Errors of pydantic-core, and the text in their place.
_REASONS: Final = {
    "depth exceeded": "it is nested too deeply",  # first, since some releases call this a circular reference
    "recursion": "it is nested too deeply",
    "Circular reference": "it refers to itself",
}


def json_bytes(value: Any, subject: str = RETURNED, *, may_repeat_names: bool = False) -> bytes:
    """Return the value as compact JSON; bytes become base64.

    Args:
        value: any value.
        subject: what errors call it.
        may_repeat_names: two members of an object may have one name; else this is an error.

    Raises:
        ReturnedValueError: JSON cannot hold the value; names the place and the type at fault.
    """
    if (quick := _plain.plain_json(value)) is not None:
        return quick
    try:
        if _gaps.holds_bytes_in_models(value):
            value = _gaps.without_models(value, encoded, fallback)
        data = _compact(value)
        if not may_repeat_names:
            refuse_repeated_names(value, data, subject)
        return _standard(value, data)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = error
    try:
        # Once before, for the keys of dicts, and once after, for the members of dataclasses and models.
        plainer = with_clean_text(_foreign.plain_values(value))
        with suppress(ValueError):  # half a surrogate pair in an object, which only the next line can write
            refuse_repeated_names(plainer, _compact(plainer))
        return pydantic_core.to_json(with_clean_text(_jsonable(plainer)), inf_nan_mode="null")
    except RecursionError:
        raise encoding_error(reason, value, subject) from reason
    except (ValueError, TypeError, AttributeError) as error:
        raise encoding_error(error, value, subject) from error


def refuse_repeated_names(value: Any, data: bytes, subject: str = RETURNED) -> None:
    """Refuse JSON in which an object has two members of one name: clients would read only one of them.

    Args:
        value: the value, which decides whether the JSON needs to be read at all.
        data: its JSON.
        subject: what errors call it.

    Raises:
        ReturnedValueError: names the member.
    """
    kind = type(value)
    if kind in _SCALARS or b":" not in data:
        return
    if kind is dict and _STRING.issuperset(map(type, value)) and _SCALARS.issuperset(map(type, value.values())):
        return
    if _repeated.may_repeat_names(value, len(data)):
        _repeated.refuse_repeated_names_in(data, subject)


def encoded(value: Any) -> Any:
    """Return a value of any type as plain JSON values; bytes become base64, in models too."""
    if type(value) in _SCALARS:
        return value
    if _gaps.holds_bytes_in_models(value):
        value = _gaps.without_models(value, encoded, fallback)
    refuse_repeated_names(value, _compact(value))
    return _jsonable(value)


def _compact(value: Any) -> bytes:
    return pydantic_core.to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=fallback)


def _jsonable(value: Any) -> Any:
    def plain(mode: Literal["base64", "hex"]) -> Any:
        return pydantic_core.to_jsonable_python(value, inf_nan_mode="null", bytes_mode=mode, fallback=fallback)

    return in_standard_alphabet(plain("base64"), plain("hex"))


def _standard(value: Any, data: bytes) -> bytes:
    """Return JSON with its base64 in the standard alphabet; pydantic writes the one for URLs."""
    if b"-" not in data and b"_" not in data:
        return data
    if pydantic_core.to_json(value, inf_nan_mode="null", bytes_mode="hex", fallback=fallback) == data:
        return data
    return pydantic_core.to_json(_jsonable(value), inf_nan_mode="null")


def in_standard_alphabet(encoded: Any, compared: Any) -> Any:
    """Return plain JSON values with base64 in the standard alphabet.

    Args:
        encoded: the values with bytes in URL-safe base64.
        compared: the same with bytes in another encoding, which tells them from strings.
    """
    if isinstance(encoded, str):
        return encoded if encoded == compared else encoded.translate(_STANDARD)
    if isinstance(encoded, dict):
        pairs = zip(encoded.items(), compared.items(), strict=True)
        return {
            in_standard_alphabet(key, compared_key): in_standard_alphabet(member, compared_member)
            for (key, member), (compared_key, compared_member) in pairs
        }
    if isinstance(encoded, list):
        return [in_standard_alphabet(*pair) for pair in zip(encoded, compared, strict=True)]
    return encoded


def fallback(value: Any) -> Any:
    """Return a value that pydantic can write for one that it cannot."""
    plainer = _foreign.plain_value(value)
    if plainer is value:
        raise TypeError(f"{_UNKNOWN}{type(value).__qualname__}")
    return plainer


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: it cannot hold half of a surrogate pair, which JSON may have."""
    return clean(text) is text


def clean(text: str) -> str:
    """Return text that UTF-8 can hold: pairs of surrogates joined, single ones replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def with_clean_text(value: Any) -> Any:
    """Return plain containers with `clean` strings in them; other objects stay as they are."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {with_clean_text(key): with_clean_text(member) for key, member in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(with_clean_text(item) for item in value)
    return value


def is_surrogate_error(error: Exception) -> bool:
    """Return whether serialization failed because of half a surrogate pair; pydantic-core has no class for it."""
    return "surrogates not allowed" in str(error)


def encoding_error(error: Exception, value: Any = None, subject: str = RETURNED) -> EnfiladeError:
    """Return the error that says why a value could not be serialized, and where, without showing the value.

    One with a text for the client, which a computed field or a serializer of the value raised, is that error.
    """
    text = str(error) or type(error).__name__
    path: tuple[Step, ...] = ()
    if unknown := _UNKNOWN_TYPE.search(text):
        path, _ = _fault_in(value)
        why = f"{_UNKNOWN}{unknown[1]}"
    else:
        why = next((reason for fragment, reason in _REASONS.items() if fragment.lower() in text.lower()), "")
        if not why:
            if (raised := _raised_in(value)) is not None:
                return raised
            path, owner = _fault_in(value)
            why = _foreign.SAME_NAME if _foreign.SAME_NAME in text else "JSON cannot hold it"
            if (name := _foreign.missing_member(owner)) is not None:
                path, why = (*path, name), "the object has no such attribute; give it a value"
    where = f", at {_phrases.format_path(path)}" if path else ""
    return ReturnedValueError(f"{subject} cannot be sent{where}: {why}")


def _raised_in(value: Any) -> EnfiladeError | None:
    """Return what a computed field or a serializer of a value raises for the client; JSON has only its text."""
    try:
        pydantic_core.to_jsonable_python(value, fallback=fallback)
    except EnfiladeError as error:
        return error
    except Exception as error:
        return error.__cause__ if isinstance(error.__cause__, EnfiladeError) else None
    return None


def _fault_in(value: Any) -> tuple[tuple[Step, ...], Any]:
    """Return the path to the innermost value that cannot be serialized, and the value."""
    path: list[Step] = []
    while len(path) < _DEEPEST:
        for step, child in _foreign.children(value):
            if not _is_writable(child):
                path.append(step)
                value = child
                break
        else:
            break
    return tuple(path), value


def _is_writable(value: Any) -> bool:
    try:
        _compact(with_clean_text(_foreign.plain_values(value)))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return is_surrogate_error(error)
    return True
