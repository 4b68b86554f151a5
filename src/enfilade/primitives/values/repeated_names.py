"""Two members of one name, as `{1: "a", "1": "b"}` has in JSON, of which clients would read only one.

Only keys that are no strings, and classes that write more than their fields, can give some. So the value is
searched for these, and the JSON is read only where it has some.

Easy to get wrong: the cost. Every result with values of any type is searched. Whatever is done here has to take
linear time, because clients wait for it, and what it does for each number of a long result shows.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from itertools import chain
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import msgspec

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.schema.json_schema import format_path
from enfilade.primitives.schema.references import Step
from enfilade.primitives.values.foreign_values import is_attrs
from enfilade.primitives.values.plain_values import is_without_objects
from enfilade.primitives.values.serializer_gaps import members_of_kind, traits_of

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
# Kinds of values that are neither objects nor arrays in JSON, and those that are arrays of their items.
_NAMELESS: Final = (
    *(str, int, float, bytes, bytearray, Decimal, UUID, PurePath),
    *(datetime.date, datetime.time, datetime.timedelta),
)
_ARRAYS: Final = (list, tuple, set, frozenset, deque)
# Sorts the members of each dict, so it refuses keys that are no strings. The sort takes quadratic time at worst,
# so it is for short values only.
_sorted_json: Final = msgspec.json.Encoder(order="deterministic").encode
_SHORT: Final = 65_536  # bytes


def refuse_repeated_names_in(data: bytes, subject: str) -> None:
    """Refuse JSON in which an object has two members of one name.

    Args:
        data: the JSON.
        subject: what errors call the value.

    Raises:
        ReturnedValueError: names the member.
    """
    # Numbers may be any length, and no number matters here.
    members = json.loads(data, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    if path := path_of_repeated_name(members):
        place = format_path(path)
        raise ReturnedValueError(
            f"{subject} cannot be sent, at {place}: two keys or fields have this name in JSON"
        )


class _Pairs(list[tuple[str, Any]]):
    """The members of an object in JSON, with those that are repeated."""


def path_of_repeated_name(value: Any) -> tuple[Step, ...]:
    """Return the path to the first member of an object that has the name of another; empty if there is none."""
    if isinstance(value, _Pairs):
        seen = set[str]()
        for name, _ in value:
            if name in seen:
                return (name,)
            seen.add(name)
    steps: Any = value if isinstance(value, _Pairs) else enumerate(value) if isinstance(value, list) else ()
    return next(((step, *path) for step, member in steps if (path := path_of_repeated_name(member))), ())


def may_repeat_names(value: Any, size: int) -> bool:
    """Return whether an object may have two members of one name in the JSON of a value; if not, that is certain.

    Args:
        value: any value of which JSON was made, so it is not cyclic.
        size: of its JSON.
    """
    if size <= _SHORT and is_without_objects(value):
        try:
            _sorted_json(value)
        except (TypeError, ValueError, RecursionError):
            pass  # a key that is no string, an integer of many digits, half a surrogate pair
        else:
            return False
    values = [value]
    while values:
        kinds: set[Any] = set(map(type, values))
        members: list[Any] = []
        for kind in kinds - _SCALARS:
            owners = values if len(kinds) == 1 else [owner for owner in values if type(owner) is kind]
            named = _members_with_plain_names(kind, owners)
            if named is None:
                return True
            members += named
        values = members
    return False


def _members_with_plain_names(kind: Any, values: list[Any]) -> Iterable[Any] | None:
    """Return the members of values of one class; None if two of them may have one name in JSON."""
    if issubclass(kind, dict):
        has_texts = _TEXT.issuperset(map(type, chain.from_iterable(values)))
        return chain.from_iterable(owner.values() for owner in values) if has_texts else None
    if issubclass(kind, _ARRAYS):
        return chain.from_iterable(values)
    if issubclass(kind, _NAMELESS):
        return ()
    if issubclass(kind, Enum):
        return [member.value for member in values]
    if hasattr(kind, "__pydantic_serializer__"):
        return None if traits_of(kind).may_repeat_names else members_of_kind(kind, values)
    is_plain = dataclasses.is_dataclass(kind) or is_attrs(kind) or hasattr(kind, "__struct_fields__")
    return members_of_kind(kind, values) if is_plain else None
