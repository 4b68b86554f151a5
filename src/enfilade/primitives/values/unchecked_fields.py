"""Finds fields that are missing, or None against their type: pydantic serializes both without a warning.

Objects are not validated again when they are returned. `model_construct`, `del` and plain assignment make models
that lack a field; a dataclass takes None for any field. The search is conservative: what it reports is then
checked against the published schema.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from enfilade.primitives.schema.core_nodes import Node, is_own, nodes, takes_none

_SCALARS: Final = frozenset({str, int, float, bool, bytes})
_CONTAINERS: Final = (list, tuple, set, frozenset, deque)
_MAY_HOLD_MODELS: Final = frozenset({"model", "dataclass", "definition-ref", "is-instance"})
_HOLD_ITEMS: Final = frozenset(
    {
        *("list", "tuple", "set", "frozenset", "dict", "generator", "typed-dict", "call", "lax-or-strict"),
        *("json-or-python", "is-instance", "function-plain", "function-wrap"),
    }
)

_LONG: Final = 2000  # bytes


class _Fields(NamedTuple):
    """The fields of a class, by the names of their attributes.

    Attributes:
        required: those that a model has in its `__dict__`.
        not_null: those whose type does not allow None.
        with_models: those that may hold models.
        with_items: those that may hold models, or containers with None in them.
    """

    required: frozenset[str]
    not_null: tuple[str, ...]
    with_models: tuple[str, ...]
    with_items: tuple[str, ...]


class UncheckedFields:
    """Searches values of one type for missing fields and for None.

    Args:
        schema: the core schema of the type.
    """

    def __init__(self, schema: Any) -> None:
        described = (_described(node) for node, _ in nodes(schema, None))
        self._classes: dict[type, _Fields] = dict(filter(None, described))
        self._kinds = tuple(self._classes)
        # Classes whose objects hold no models, by what these objects need: nearly every result is one of them.
        self._flat = {kind: each.required for kind, each in self._classes.items() if not each.with_models}
        self._has_models = any(each.required for each in self._classes.values())

    def may_be_wrong(self, value: Any, data: bytes, has_null: bool) -> bool:
        """Return whether a value may differ from its type by a missing field or by None.

        Args:
            value: the value, which was validated.
            data: its JSON. Where it is long, a check by the schema takes less time than a search.
            has_null: its JSON has null somewhere.
        """
        kind = type(value)
        if not has_null and kind in self._flat:
            required = self._flat[kind]
            return not required <= value.__dict__.keys() if required else False
        if not (has_null or self._has_models):
            return False
        return len(data) > _LONG or self._is_suspect(value, has_null)

    def _is_suspect(self, value: Any, has_null: bool, in_object: bool = False) -> bool:
        kind = type(value)
        if kind in _SCALARS:
            return False
        if value is None:
            return in_object and has_null
        if (fields := self._classes.get(kind)) is not None:
            return self._has_suspect_field(value, fields, has_null)
        if isinstance(value, Mapping):
            return any(self._is_suspect(member, has_null, in_object) for member in value.values())
        if isinstance(value, _CONTAINERS):
            return any(self._is_suspect(item, has_null, in_object) for item in value)
        return isinstance(value, self._kinds)

    def _has_suspect_field(self, value: Any, fields: _Fields, has_null: bool) -> bool:
        if fields.required and not fields.required <= value.__dict__.keys():
            return True
        if has_null and any(getattr(value, name, None) is None for name in fields.not_null):
            return True
        names = fields.with_items if has_null else fields.with_models
        members = (getattr(value, name, None) for name in names)
        return any(member is not None and self._is_suspect(member, has_null, True) for member in members)


def _described(node: Node) -> tuple[type, _Fields] | None:
    """Return the class that a node of a core schema is for, with its fields; None for other nodes."""
    if is_own(node):
        kind: Any = node["python_schema"]["cls"]
        names = getattr(kind, "__struct_fields__", None) or [each.name for each in kind.__attrs_attrs__]
        return kind, _Fields(frozenset(), tuple(names), tuple(names), tuple(names))
    if node["type"] not in ("model", "dataclass"):
        return None
    fields = {"root": node["schema"]} if node.get("root_model") else _fields_of(node["schema"])
    sent = {name: each for name, each in fields.items() if not each.get("serialization_exclude")}
    return node["cls"], _Fields(
        frozenset(sent) if node["type"] == "model" else frozenset(),
        tuple(name for name, each in sent.items() if not takes_none(each)),
        tuple(name for name, each in sent.items() if _holds(each, _MAY_HOLD_MODELS)),
        tuple(name for name, each in sent.items() if _holds(each, _MAY_HOLD_MODELS | _HOLD_ITEMS)),
    )


def _fields_of(schema: Any) -> dict[str, Node]:
    """Return the fields of a model or dataclass by attribute name, past the validators around them."""
    while "fields" not in schema:
        if not isinstance(schema.get("schema"), dict):
            return {}
        schema = schema["schema"]
    fields = schema["fields"]
    return fields if isinstance(fields, dict) else {each["name"]: each for each in fields}


def _holds(schema: Node, kinds: frozenset[str]) -> bool:
    return any(node["type"] in kinds for node, _ in nodes(schema, None))
