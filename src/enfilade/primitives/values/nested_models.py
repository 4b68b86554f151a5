"""Models with bytes in values of any type: pydantic writes them by their own serializers, whose bytes are text.

Where a type names its models, `core_schemas.py` changes how they are written. Models among values of any type
(`Any`, `dict`, no annotation at all) are known only once the value is there.

Easy to get wrong: this runs for every result with such values, and most have no model in them. msgspec finds that
out several times faster than a search in Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer, core_schema

from enfilade.primitives.schema.core_nodes import MANY, ONE, allows_more, holds_anything
from enfilade.primitives.schema.core_schemas import for_results, serializer_of
from enfilade.primitives.values.foreign_values import children, is_attrs, known_value

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_BYTES: Final = frozenset({bytes, bytearray})
_LISTS: Final = frozenset({list, tuple, set, frozenset})

_encode: Final = msgspec.json.Encoder().encode  # raises for types that it does not know

Encode = Callable[[Any], Any]


def holds_bytes_in_models(value: Any) -> bool:
    """Return whether a model with bytes is in a value, or is the value; False for what refers to itself."""
    if _is_without_objects(value):
        return False
    try:
        return _holds([value], in_model=False)
    except RecursionError:
        return False


def without_models(value: Any, encode: Encode, fallback: Encode) -> Any:
    """Return a value with plain JSON values in place of the models that hold bytes.

    Args:
        value: any value.
        encode: gives the JSON values for what is in such a model without a type.
        fallback: gives a value that pydantic knows for one that it does not.
    """
    kind: Any = type(value)
    if kind in _SCALARS or not _holds([value], in_model=False):
        return value
    if hasattr(kind, "__pydantic_serializer__"):
        serializer = _serializer(kind, encode)
        return serializer.to_python(value, mode="json", by_alias=True, warnings="none", fallback=fallback)
    if kind is dict:
        return {key: without_models(member, encode, fallback) for key, member in value.items()}
    if kind in _LISTS:
        return [without_models(item, encode, fallback) for item in value]
    if dataclasses.is_dataclass(kind):
        return {name: without_models(member, encode, fallback) for name, member in children(value)}
    plainer = known_value(value)
    return value if plainer is value else without_models(plainer, encode, fallback)


def encoding_anything(schema: Any, encode: Encode) -> Any:
    """Return a core schema that writes values of any type by a function; for serializers only."""
    return _encoding(schema, _Anything(encode), is_open=False)


class _Anything:
    """How values of any type are written: as a serialization, and as a core schema."""

    def __init__(self, encode: Encode) -> None:
        self.writes = core_schema.plain_serializer_function_ser_schema(
            encode, return_schema=core_schema.any_schema(), when_used="json"
        )
        self.schema = core_schema.any_schema(serialization=self.writes)


def _encoding(schema: Any, anything: _Anything, *, is_open: bool) -> Any:
    """Return a copy of a part of a core schema; `is_open` says that the model around it allows more fields."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_encoding(each, anything, is_open=is_open) for each in schema)
    if not isinstance(schema, dict):
        return schema
    writes = (schema.get("serialization") or {}).get("type")
    if schema.get("type") == "any" and writes is None:
        return {**schema, **anything.schema}
    if schema.get("type") in ("model", "typed-dict", "dataclass"):
        is_open = allows_more(schema)
    has_fields = schema.get("type") in ("model-fields", "typed-dict")
    changed = {
        key: _encoding_member(key, member, anything, is_open and not has_fields) for key, member in schema.items()
    }
    if writes == "any":
        changed["serialization"] = anything.writes
    if has_fields and is_open and "extras_schema" not in schema:
        changed["extras_schema"] = anything.schema
    return changed


def _encoding_member(key: str, member: Any, anything: _Anything, is_open: bool) -> Any:
    if key in MANY and isinstance(member, dict) and not isinstance(member.get("type"), str):
        return {name: _encoding(each, anything, is_open=is_open) for name, each in member.items()}
    # Keys of objects are texts, whatever their type.
    if (key in ONE and key != "keys_schema") or key in MANY or key == "serialization":
        return _encoding(member, anything, is_open=is_open)
    return member


def _is_without_objects(value: Any) -> bool:
    """Return whether a value consists of types that msgspec knows, of which no model is one."""
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError):
        return False
    return True


def _holds(values: Iterable[Any], *, in_model: bool) -> bool:
    kinds = set(map(type, values)) - _SCALARS
    if not kinds:
        return False
    if kinds & _BYTES:
        if in_model:
            return True
        kinds -= _BYTES
    return bool(kinds) and any(_holds_one(value, in_model) for value in values if type(value) in kinds)


def _holds_one(value: Any, in_model: bool) -> bool:
    kind: Any = type(value)
    if kind is dict:
        return _holds(value.values(), in_model=in_model)
    if kind in _LISTS:
        return _holds(value, in_model=in_model)
    if hasattr(kind, "__pydantic_serializer__"):
        is_changed, has_any = _traits(kind)
        return is_changed or (has_any and _holds([member for _, member in children(value)], in_model=True))
    if dataclasses.is_dataclass(kind) or is_attrs(kind) or hasattr(kind, "__struct_fields__"):
        return _holds([member for _, member in children(value)], in_model=in_model)
    return False


@lru_cache(maxsize=256)
def _traits(kind: type) -> tuple[bool, bool]:
    """Return whether objects of a class are written otherwise than by pydantic alone, and may hold anything."""
    try:
        schema = TypeAdapter(kind).core_schema
        return for_results(schema) is not schema, holds_anything(schema)
    except (TypeError, NameError, ValueError):  # it names a type that is not known, or cannot be written
        return False, False


@lru_cache(maxsize=256)
def _serializer(kind: type, encode: Encode) -> SchemaSerializer:
    return serializer_of(encoding_anything(for_results(TypeAdapter(kind).core_schema), encode))
