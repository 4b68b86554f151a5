"""What pydantic's serializers write without a warning although it is not what the schema says.

- Bytes in models among values of any type (`Any`, `dict`, no annotation at all): such a model is written by its
  own serializer, in which bytes are text. Where a type names its models, `core_schemas.py` changes how they are
  written.
- Dataclasses of the standard library there: pydantic writes their fields without the serializers of these.
- Fields that are missing, or None against their type. Objects are not validated again when they are returned;
  `model_construct`, `del` and plain assignment make models that lack a field, and a dataclass takes None for any
  field.

Easy to get wrong: the cost. The first search runs for every result with such values, of which most hold no
object; marshal decides that several times faster than a search in Python. The second search may report too much,
because what it reports is then checked against the published schema.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import SchemaSerializer, core_schema, from_json

from enfilade.primitives.other_frameworks import refuse_in_data
from enfilade.primitives.schema.core_nodes import (
    MANY,
    ONE,
    Node,
    allows_more,
    has_other_keys,
    holds_anything,
    is_own,
    is_pydantics,
    nodes,
    takes_none,
    writes_own_names,
)
from enfilade.primitives.schema.core_schemas import for_results, serializer_of
from enfilade.primitives.values.foreign_values import children, is_attrs, plain_value
from enfilade.primitives.values.plain_values import is_without_objects

# What pydantic raises for a class that names an unknown type, or that cannot be written.
_UNREADABLE: Final = (TypeError, NameError, ValueError, PydanticUserError)
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_BYTES: Final = frozenset({bytes, bytearray})
_LISTS: Final = frozenset({list, tuple, set, frozenset})

Encode = Callable[[Any], Any]


def holds_bytes_in_models(value: Any) -> bool:
    """Return whether a model with bytes is in a value, or is the value.

    Raises:
        ReturnedValueError: the result of a tool is in it, or what another framework has for one.
    """
    if is_without_objects(value):
        return False
    seen: dict[bool, set[int]] = {False: set(), True: set()}  # by whether it was in a model; values may be cyclic
    waiting: list[tuple[list[Any], bool]] = [([value], False)]
    while waiting:
        values, in_model = waiting.pop()
        kinds: set[Any] = set(map(type, values)) - _SCALARS
        for kind in kinds:
            if kind in _BYTES:
                if in_model:
                    return True
                continue
            refuse_in_data(kind)
            new = [member for member in values if type(member) is kind and id(member) not in seen[in_model]]
            seen[in_model].update(map(id, new))
            is_model = hasattr(kind, "__pydantic_serializer__")
            if (is_model or dataclasses.is_dataclass(kind)) and traits_of(kind).is_changed:
                return True
            waiting.append((members_of_kind(kind, new), in_model or is_model))
    return False


def without_models(value: Any, encode: Encode, fallback: Encode) -> Any:
    """Return a value with plain JSON values in place of the models that hold bytes.

    Args:
        value: any value.
        encode: gives the JSON values for what is in such a model without a type.
        fallback: gives a value that pydantic knows for one that it does not.
    """
    kind: Any = type(value)
    if kind in _SCALARS or not holds_bytes_in_models(value):
        return value
    is_dataclass = dataclasses.is_dataclass(kind)
    if hasattr(kind, "__pydantic_serializer__") or (is_dataclass and traits_of(kind).is_changed):
        return _written(_serializer(kind, encode), value, fallback)
    if kind is dict or is_dataclass:
        members = value.items() if kind is dict else children(value)
        return {key: without_models(member, encode, fallback) for key, member in members}
    if kind in _LISTS:
        return [without_models(item, encode, fallback) for item in value]
    plainer = plain_value(value)
    return value if plainer is value else without_models(plainer, encode, fallback)


def _written(serializer: SchemaSerializer, value: Any, fallback: Encode) -> Any:
    """Return the plain JSON values of an object, read from JSON text: only there NaN may become a string."""
    try:
        return from_json(serializer.to_json(value, by_alias=True, warnings="none", fallback=fallback))
    except ValueError:  # half of a surrogate pair
        return serializer.to_python(value, mode="json", by_alias=True, warnings="none", fallback=fallback)


def with_encoded_any(schema: Any, encode: Encode) -> Any:
    """Return a core schema that writes values of any type by a function; for serializers only."""
    return _encoding(schema, _AnyEncoding(encode), is_open=False)


class _AnyEncoding:
    """The way in which values of any type are written, as a serialization and as a core schema."""

    def __init__(self, encode: Encode) -> None:
        self.writes = core_schema.plain_serializer_function_ser_schema(
            encode, return_schema=core_schema.any_schema(), when_used="json"
        )
        self.schema = core_schema.any_schema(serialization=self.writes)


def _encoding(schema: Any, any_type: _AnyEncoding, *, is_open: bool) -> Any:
    """Return a copy of a part of a core schema; `is_open` says that the model around it allows more fields."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_encoding(node, any_type, is_open=is_open) for node in schema)
    if not isinstance(schema, dict):
        return schema
    writes = (schema.get("serialization") or {}).get("type")
    if schema.get("type") == "any" and writes is None:
        return {**schema, **any_type.schema}
    if schema.get("type") in ("model", "typed-dict", "dataclass"):
        is_open = allows_more(schema)
    has_fields = schema.get("type") in ("model-fields", "typed-dict")
    changed = {
        key: _encoding_member(key, member, any_type, is_open and not has_fields) for key, member in schema.items()
    }
    if writes == "any":
        changed["serialization"] = any_type.writes
    if has_fields and is_open and "extras_schema" not in schema:
        changed["extras_schema"] = any_type.schema
    return changed


def _encoding_member(key: str, member: Any, any_type: _AnyEncoding, is_open: bool) -> Any:
    if key in MANY and isinstance(member, dict) and not isinstance(member.get("type"), str):
        return {name: _encoding(node, any_type, is_open=is_open) for name, node in member.items()}
    # Keys of objects are texts, whatever their type.
    if (key in ONE and key != "keys_schema") or key in MANY or key == "serialization":
        return _encoding(member, any_type, is_open=is_open)
    return member


def members_of_kind(kind: Any, values: list[Any]) -> list[Any]:
    """Return the members of values of one class that may be, or hold, models with bytes."""
    if kind is dict:
        return list(chain.from_iterable(owner.values() for owner in values))
    if kind in _LISTS:
        return list(chain.from_iterable(values))
    if hasattr(kind, "__pydantic_serializer__"):
        traits = traits_of(kind)
        members = [getattr(owner, name, None) for name in traits.fields for owner in values]
        if traits.allows_more:
            members += chain.from_iterable((owner.__pydantic_extra__ or {}).values() for owner in values)
        return members
    if dataclasses.is_dataclass(kind) or is_attrs(kind) or hasattr(kind, "__struct_fields__"):
        return [member for owner in values for _, member in children(owner)]
    return []


class _Traits(NamedTuple):
    """The traits of a model that the search needs.

    Attributes:
        is_changed: it is written otherwise than by pydantic alone.
        fields: those that may hold anything.
        allows_more: its objects may have fields that it does not name.
        may_repeat_names: the JSON of an object may have two members of one name, whatever is in these fields.
    """

    is_changed: bool
    fields: tuple[str, ...]
    allows_more: bool
    may_repeat_names: bool


@lru_cache(maxsize=256)
def traits_of(kind: type) -> _Traits:
    try:
        schema = _core_schema(kind)
        is_changed = for_results(schema) is not schema or _is_written_otherwise(kind, schema)
    except _UNREADABLE:
        return _Traits(False, (), False, True)
    may_repeat = has_other_keys(schema) or writes_own_names(schema)
    if not holds_anything(schema):
        return _Traits(is_changed, (), False, may_repeat)
    has_extras = hasattr(kind, "__pydantic_extra__") and any(allows_more(node) for node, _ in nodes(schema, None))
    names: Iterable[str] = getattr(kind, "__pydantic_fields__", ())
    return _Traits(is_changed, tuple(names), has_extras, may_repeat)


@lru_cache(maxsize=256)
def _serializer(kind: type, encode: Encode) -> SchemaSerializer:
    return serializer_of(with_encoded_any(for_results(_core_schema(kind)), encode))


def _core_schema(kind: type) -> Any:
    """Return the core schema of a model or a dataclass; fields of a dataclass may have types without a schema."""
    if hasattr(kind, "__pydantic_serializer__"):
        return TypeAdapter(kind).core_schema
    holder: Any = TypeAdapter(tuple[kind], config=ConfigDict(arbitrary_types_allowed=True)).core_schema  # type: ignore[valid-type]
    if holder["type"] == "definitions":
        return {**holder, "schema": holder["schema"]["items_schema"][0]}
    return holder["items_schema"][0]


def _is_written_otherwise(kind: type, schema: Any) -> bool:
    """Return whether objects of a class are written otherwise among values of any type than by their own type.

    Pydantic ignores the serializers, aliases and options of a dataclass of the standard library there. And NaN,
    which a model may write, is no JSON.
    """
    is_plain = not hasattr(kind, "__pydantic_serializer__")
    for node, _ in nodes(schema, None):
        options = node.get("config") or {}
        if options.get("ser_json_inf_nan", "null") != "null":
            return True
        if is_plain and ("serialization" in node or any(name.startswith("serialization_") for name in node)):
            return True
        if is_plain and any(name.startswith("ser_") for name in options):
            return True
    return False


# -- fields that are missing or None ---------------------------------------------------------------------------
_LEAVES: Final = frozenset({str, int, float, bool, bytes})
_CONTAINERS: Final = (list, tuple, set, frozenset, deque)
_MAY_HOLD_MODELS: Final = frozenset({"model", "dataclass", "definition-ref", "is-instance"})
_HOLD_ITEMS: Final = frozenset(
    {
        *("list", "tuple", "set", "frozenset", "dict", "generator", "typed-dict", "call", "lax-or-strict"),
        *("json-or-python", "is-instance", "function-plain", "function-wrap"),
    }
)

_LONG: Final = 2000  # bytes


#: Returns the values of some fields, from the `__dict__` of an object that has them.
_Pick = Callable[[Mapping[str, Any]], Iterable[Any]]


class _Fields:
    """The fields of a class, by the names of their attributes.

    Attributes:
        required: those that a model has in its `__dict__`.
        nullable: those that are null in JSON if they are None.
        not_null: those whose type does not allow None.
        with_models: those that may hold models.
        with_items: those that may hold models, or containers with None in them.
    """

    __slots__ = (
        *("_pick_items", "_pick_models", "_pick_not_null"),
        *("not_null", "nullable", "required", "with_items", "with_models"),
    )

    def __init__(
        self,
        *,
        required: frozenset[str] = frozenset(),
        nullable: tuple[str, ...] = (),
        not_null: tuple[str, ...],
        with_models: tuple[str, ...],
        with_items: tuple[str, ...],
    ) -> None:
        self.required = required
        self.nullable = nullable
        self.not_null = not_null
        self.with_models = with_models
        self.with_items = with_items
        self._pick_not_null = _picking(not_null)
        self._pick_models = _picking(with_models)
        self._pick_items = _picking(with_items)

    def may_be_wrong(self, value: Any, has_null: bool) -> bool:
        """Return whether an object lacks a field, or has None in a field whose type does not allow it."""
        if not self.required:
            return has_null and any(getattr(value, name, None) is None for name in self.not_null)
        fields = value.__dict__
        if not self.required <= fields.keys():
            return True
        if has_null:
            for member in self._pick_not_null(fields):
                if member is None:
                    return True
        return False

    def members(self, value: Any, has_null: bool) -> list[Any]:
        """Return what is to be looked into of an object that does not lack a field."""
        if self.required:
            picked = (self._pick_items if has_null else self._pick_models)(value.__dict__)
        else:
            picked = [getattr(value, name, None) for name in (self.with_items if has_null else self.with_models)]
        return [member for member in picked if member is not None]


def _picking(names: tuple[str, ...]) -> _Pick:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda fields: [fields[name] for name in names]


class UncheckedFields:
    """Searches values of one type for missing fields and for None.

    Args:
        schema: the core schema of the type.
    """

    def __init__(self, schema: Any) -> None:
        described = (_described(node) for node, _ in nodes(schema, None))
        self._classes: dict[type, _Fields] = dict(filter(None, described))
        self._kinds = tuple(self._classes)
        # The required fields of classes without models in them; nearly every result is of such a class.
        self._flat = {kind: fields.required for kind, fields in self._classes.items() if not fields.with_models}
        self._has_models = any(fields.required for fields in self._classes.values())
        self._are_written_plainly = not any(map(_is_written_by_author, (node for node, _ in nodes(schema, None))))

    def may_be_wrong(self, value: Any, data: bytes, has_null: bool) -> bool:
        """Return whether a value may differ from its type by a missing field or by None.

        Args:
            value: the value, which was validated.
            data: its JSON. Where it is long, a check by the schema takes less time than a search of each object.
            has_null: its JSON has null somewhere.
        """
        if not has_null:
            kind = type(value)
            if kind in self._flat:
                required = self._flat[kind]
                return not required <= value.__dict__.keys() if required else False
            if not self._has_models:
                return False
        if len(data) > _LONG:
            return not (self._are_written_plainly and self._is_complete(value, data.count(b"null")))
        return self._is_suspect(value, has_null)

    def _is_complete(self, value: Any, nulls: int) -> bool:
        """Return whether models surely have all fields, and all nulls in the JSON are those of nullable fields.

        Args:
            value: the value, of which all objects of a class are looked at together.
            nulls: how often its JSON has null, in strings as well.
        """
        values = [value]
        while values:
            kinds: set[Any] = set(map(type, values))
            members: list[Any] = []
            for kind in kinds - _LEAVES:
                owners = values if len(kinds) == 1 else [owner for owner in values if type(owner) is kind]
                if (fields := self._classes.get(kind)) is not None:
                    if fields.required and not all(fields.required <= owner.__dict__.keys() for owner in owners):
                        return False
                    for name in fields.nullable if nulls else ():
                        nulls -= list(map(type, map(attrgetter(name), owners))).count(type(None))
                    for name in fields.with_models:
                        members += map(attrgetter(name), owners)
                elif kind is dict:
                    members += chain.from_iterable(owner.values() for owner in owners)
                elif kind in _LISTS:
                    members += chain.from_iterable(owners)
                elif kind is not type(None):
                    return False
            values = members
        return nulls == 0

    def _is_suspect(self, value: Any, has_null: bool) -> bool:
        """Return whether an object in a value may lack a field or have None in one; see `may_be_wrong`."""
        in_objects: list[Any] = []  # what objects hold; nothing in there was validated again
        outside = [value]
        for values in (outside, in_objects):
            for member in values:  # which get longer meanwhile
                kind = type(member)
                if kind in _LEAVES:
                    continue
                if (fields := self._classes.get(kind)) is not None:
                    if fields.may_be_wrong(member, has_null):
                        return True
                    if fields.with_items if has_null else fields.with_models:
                        in_objects += fields.members(member, has_null)
                elif kind is list:
                    values += member
                elif member is None:
                    if has_null and values is in_objects:
                        return True
                elif isinstance(member, Mapping):
                    values += member.values()
                elif isinstance(member, _CONTAINERS):
                    values += member
                elif isinstance(member, self._kinds):
                    return True
        return False


def _described(node: Node) -> tuple[type, _Fields] | None:
    """Return the class that a node of a core schema is for, with its fields; None for other nodes."""
    if is_own(node):
        kind: Any = node["python_schema"]["cls"]
        names = getattr(kind, "__struct_fields__", None) or [field.name for field in kind.__attrs_attrs__]
        return kind, _Fields(not_null=tuple(names), with_models=tuple(names), with_items=tuple(names))
    if node["type"] not in ("model", "dataclass"):
        return None
    fields = {"root": node["schema"]} if node.get("root_model") else _fields_of(node["schema"])
    sent = {name: field for name, field in fields.items() if not field.get("serialization_exclude")}
    return node["cls"], _Fields(
        required=frozenset(sent) if node["type"] == "model" else frozenset(),
        nullable=tuple(name for name, field in sent.items() if _is_nullable(field)),
        not_null=tuple(name for name, field in sent.items() if not takes_none(field)),
        with_models=tuple(name for name, field in sent.items() if _holds(field, _MAY_HOLD_MODELS)),
        with_items=tuple(name for name, field in sent.items() if _holds(field, _MAY_HOLD_MODELS | _HOLD_ITEMS)),
    )


def _is_nullable(field: Node) -> bool:
    """Return whether a field is null in JSON if it is None; only of the plainest types is this said."""
    while field["type"] in ("model-field", "dataclass-field", "default"):
        field = field["schema"]
    return bool(field["type"] == "nullable")


def _is_written_by_author(node: Node) -> bool:
    """Return whether a function of the author's, or the class of a value, decides what is written for it."""
    writes = node.get("serialization") or {}
    function = writes.get("function")
    is_authors = function is not None and not is_pydantics(function)
    return is_authors or writes.get("type") == "any" or "serialization_exclude_if" in node


def _fields_of(schema: Any) -> dict[str, Node]:
    """Return the fields of a model or dataclass by attribute name, past the validators around them."""
    while "fields" not in schema:
        if not isinstance(schema.get("schema"), dict):
            return {}
        schema = schema["schema"]
    fields = schema["fields"]
    return fields if isinstance(fields, dict) else {field["name"]: field for field in fields}


def _holds(schema: Node, kinds: frozenset[str]) -> bool:
    return any(node["type"] in kinds for node, _ in nodes(schema, None))
