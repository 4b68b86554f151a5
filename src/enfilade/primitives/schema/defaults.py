"""Which defaults are published: those that give the declared default when a caller sends them back.

Hosts fill in the published default of an argument that the model left out. So a default that JSON cannot carry
must not stand in a schema: a secret is written as asterisks, a field that is excluded is lost, a `date` in a
union with `str` becomes text.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any, Final

from pydantic_core import to_json

from enfilade.primitives.schema.core_nodes import Node, nodes
from enfilade.primitives.schema.core_schemas import serializer_of, validator_of

# Values that come back as they are, by the type of their core schema.
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "any": (str, int, float, bool, type(None)),
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
}
_EMPTY: Final[Mapping[str, type]] = {"list": list, "dict": dict}
_CHANGES: Final = frozenset({"strip_whitespace", "to_lower", "to_upper"})
_CHANGES_BY_CONFIG: Final = frozenset({"str_strip_whitespace", "str_to_lower", "str_to_upper"})


def encoded(default: Any, schema: Node, definitions: Mapping[str, Node]) -> Any:
    """Return a default as the JSON that its own type writes.

    Args:
        default: of a parameter or a field.
        schema: the core schema of its type.
        definitions: those that the schema may refer to, by name.

    Raises:
        Exception: the type cannot write it.
    """
    serializer = serializer_of(_complete(schema, definitions))
    return serializer.to_python(default, mode="json", by_alias=True, warnings="error")


def comes_back(
    default: Any, published: Any, schema: Node, definitions: Mapping[str, Node], config: Mapping[str, Any]
) -> bool:
    """Return whether reading what is published of a default gives that default.

    Args:
        default: as it was declared.
        published: its JSON.
        schema: the core schema of its type.
        definitions: those that the schema may refer to, by name.
        config: the core config of the class whose field it is.
    """
    if _mentions_reference(published):
        return False  # which would be read as a reference of the schema
    if _is_plain(default, schema, config):
        return True
    try:
        validator = validator_of(_complete(_holder(schema, config), definitions))
        return _is_same(validator.validate_json(to_json({"value": published}))["value"], default)
    except Exception:  # of a validator or a comparison of the author's
        return False


def _is_plain(default: Any, schema: Node, config: Mapping[str, Any]) -> bool:
    """Return whether a default surely comes back, so that no validator has to be made."""
    while schema["type"] == "nullable":
        if default is None:
            return True
        schema = schema["schema"]
    kind = schema["type"]
    if type(default) is _EMPTY.get(kind) and not default:
        return True
    if type(default) not in _PLAIN.get(kind, ()):
        return False
    return not (kind == "str" and (_CHANGES & schema.keys() or _CHANGES_BY_CONFIG & config.keys()))


def _is_same(value: Any, default: Any) -> bool:
    if isinstance(value, bool) is not isinstance(default, bool):
        return False
    are_numbers = isinstance(value, Number) and isinstance(default, Number)
    if not are_numbers and not isinstance(value, type(default)):
        return False
    if isinstance(default, (list, tuple)):
        return len(value) == len(default) and all(map(_is_same, value, default))
    if isinstance(default, dict):
        return value.keys() == default.keys() and all(_is_same(value[key], default[key]) for key in default)
    return bool(value == default)


def _mentions_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(map(_mentions_reference, value.values()))
    return isinstance(value, list) and any(map(_mentions_reference, value))


def _holder(schema: Node, config: Mapping[str, Any]) -> Node:
    """Return a schema of an object with one member: only the schemas of objects have a config."""
    field = {"type": "typed-dict-field", "schema": schema, "required": True}
    return {
        "type": "typed-dict",
        "fields": {"value": field},
        "config": {**config, "extra_fields_behavior": "ignore"},
    }


def _complete(schema: Node, definitions: Mapping[str, Node]) -> Node:
    """Return a schema with those of the definitions that it uses."""
    used: dict[str, Node] = {}
    waiting: list[Any] = [schema]
    while waiting:
        for node, _ in nodes(waiting.pop(), None):
            name = node.get("schema_ref", "")
            if name in definitions and name not in used:
                used[name] = definitions[name]
                waiting.append(definitions[name])
    return {"type": "definitions", "schema": schema, "definitions": list(used.values())} if used else schema
