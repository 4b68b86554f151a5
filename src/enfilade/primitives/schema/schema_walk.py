"""Walks through JSON Schemas: what schemas stand within one, and one made anew from changed ones.

Easy to get wrong: a property may be called `$ref` or `pattern`, and a default may hold anything. Only what stands
where a schema stands is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_ONE: Final = (
    *("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_LIST: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def inner(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the schemas directly within a schema, each with the keyword that leads there."""
    for key in _ONE:
        if isinstance(schema.get(key), Mapping):
            yield key, schema[key]
    for key in _LIST:
        for each in schema.get(key) or () if isinstance(schema.get(key), list) else ():
            if isinstance(each, Mapping):
                yield key, each
    for key in _NAMED:
        found = schema.get(key)
        for each in found.values() if isinstance(found, Mapping) else ():
            if isinstance(each, Mapping):
                yield key, each


def everything(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and all schemas within it."""
    yield schema
    for _, each in inner(schema):
        yield from everything(each)


def rebuilt(schema: Schema, change: Callable[[Schema], Any]) -> dict[str, Any]:
    """Return a copy of a schema in which each schema directly within it is what `change` returns for it."""
    made = dict(schema)
    for key in _ONE:
        if isinstance(made.get(key), Mapping):
            made[key] = change(made[key])
    for key in _LIST:
        if isinstance(made.get(key), list):
            made[key] = [change(each) if isinstance(each, Mapping) else each for each in made[key]]
    for key in _NAMED:
        if isinstance(made.get(key), Mapping):
            made[key] = {
                name: change(each) if isinstance(each, Mapping) else each for name, each in made[key].items()
            }
    return made
