"""What is refused at registration: types of which no JSON is a value, though pydantic makes a schema of them.

A key of an object is text, an item of a set is hashable, a choice has members, and each field has a name of its
own that a schema can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from enfilade.primitives.schema.core_nodes import Node, leaves, nodes

_NO_TEXT: Final = (
    "list",
    "tuple",
    "set",
    "frozenset",
    "dict",
    "typed-dict",
    "model",
    "dataclass",
    "none",
    "generator",
)
_UNHASHABLE: Final = ("list", "set", "dict", "typed-dict", "generator")
_FIELDS: Final = ("typed-dict", "model-fields", "dataclass-args")


def refuse_impossible(schema: Any) -> None:
    """Refuse the core schema of arguments if no JSON is a value of a type in it.

    Raises:
        TypeError: says which type, and what to use.
    """
    definitions = {}
    if schema["type"] == "definitions":
        definitions = {each["ref"]: each for each in schema["definitions"] if "ref" in each}
    for node, _ in nodes(schema, None):
        kind = node["type"]
        if kind == "dict" and "keys_schema" in node:
            _check_keys(node["keys_schema"], definitions)
        elif kind in ("set", "frozenset") and "items_schema" in node:
            _check_items(node["items_schema"], definitions)
        elif kind == "is-instance" and isinstance(node["cls"], type) and issubclass(node["cls"], Enum):
            raise TypeError(
                f"no value can be a {node['cls'].__name__}, which has no members; use one that has some"
            )
        elif kind in _FIELDS:
            _check_names(node)


def _check_keys(schema: Node, definitions: Mapping[str, Node]) -> None:
    bad = [leaf for leaf in _resolved(schema, definitions) if leaf["type"] in _NO_TEXT]
    if bad and len(bad) == len(list(_resolved(schema, definitions))):
        raise TypeError(
            f"the keys of an object are text, and no text is a {_named(bad[0])}; take str, or a list of pairs"
        )


def _check_items(schema: Node, definitions: Mapping[str, Node]) -> None:
    for leaf in _resolved(schema, definitions):
        kind: Any = leaf.get("cls")
        if leaf["type"] in _UNHASHABLE or (isinstance(kind, type) and kind.__hash__ is None):
            raise TypeError(f"a {_named(leaf)} has no hash, so it cannot be in a set; take a list of them")


def _check_names(node: Node) -> None:
    """Check that each field is published under one name, and under a name that is read."""
    fields = node["fields"]
    named = fields.items() if isinstance(fields, dict) else ((each["name"], each) for each in fields)
    names: Counter[str] = Counter()
    for name, field in named:
        alias = field.get("validation_alias", name)
        paths = alias if isinstance(alias, list) and isinstance(alias[0], list) else [alias]
        plain = [
            path if isinstance(path, str) else path[0]
            for path in paths
            if isinstance(path, str) or len(path) == 1
        ]
        if not plain:
            raise TypeError(
                f'the field "{name}" is read from a path alone (AliasPath), which no schema shows; nest a model, '
                f'or give it a name as well: AliasChoices("{name}", AliasPath(...))'
            )
        names[plain[0]] += 1  # the first is published
    for name, times in names.items():
        if times > 1:
            raise TypeError(f'{times} of its fields are called "{name}" in JSON; give each an alias of its own')


def _resolved(schema: Node, definitions: Mapping[str, Node]) -> Iterator[Node]:
    """Yield the schemas of the values that a schema gives, also behind references."""
    waiting, seen = [schema], set[str]()
    while waiting:
        for leaf in leaves(waiting.pop()):
            name = leaf.get("schema_ref", "")
            if name not in definitions:
                yield leaf
            elif name not in seen:
                seen.add(name)
                waiting.append(definitions[name])


def _named(leaf: Node) -> str:
    kind: Any = leaf.get("cls")
    return kind.__name__ if isinstance(kind, type) else str(leaf["type"]).replace("none", "None")
