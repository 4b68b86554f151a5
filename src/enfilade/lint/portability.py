"""What other validators make of a schema: where it says what they refuse, do not know or read otherwise.

Easy to get wrong: a default is a fault only if the schema beside it surely refuses it. Where that cannot be told
(a reference that leads elsewhere), there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from enfilade.primitives.schema.json_schema import refuse_elsewhere
from enfilade.primitives.schema.portable import KNOWN_FORMATS
from enfilade.primitives.schema.regex_dialect import is_portable
from enfilade.primitives.schema.schema_walk import Schema, inner, rebuilt

#: Formats of which many languages write texts that are none to others.
OFTEN_BROKEN: Final = ("date-time", "duration", "regex", "time")

Located = Iterator[tuple[str, Schema]]


def located(schema: Schema) -> Located:
    """Yield a schema and all within it, each with where it is: `filter.tags[]`, or `$defs.Point.x`."""
    yield from _located(schema, "")


def foreign_patterns(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield where a regular expression stands that ECMA-262 refuses, and that expression."""
    for where, part in located(schema):
        named = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(named if isinstance(named, Mapping) else ())):
            if isinstance(pattern, str) and not is_portable(pattern):
                yield where, pattern


def unknown_formats(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield where a format stands that validators do not know, and that format."""
    for where, part in located(schema):
        if isinstance(part.get("format"), str) and part["format"] not in KNOWN_FORMATS:
            yield where, part["format"]


def often_broken_formats(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield where a result has a format that its server may well not keep, and that format."""
    for where, part in located(schema):
        if part.get("format") in OFTEN_BROKEN:
            yield where, part["format"]


def wrong_defaults(schema: Schema) -> Iterator[str]:
    """Yield where a default stands that its own schema refuses."""
    definitions = {key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}
    bare = _without_defaults(definitions)
    for where, part in located(schema):
        if "default" in part and not _fits(part["default"], {**bare, **_without_defaults(part)}):
            yield where


def arrays_without_items(schema: Schema) -> Iterator[str]:
    """Yield where an array is that does not say what its items are."""
    for where, part in located(schema):
        kind = part.get("type")
        if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in part:
            yield where


def _located(schema: Schema, where: str) -> Located:
    yield where, schema
    named = {
        id(each): f"{prefix}{name}"
        for key, prefix in (("properties", ""), ("$defs", "$defs."), ("definitions", "definitions."))
        if isinstance(schema.get(key), Mapping)
        for name, each in schema[key].items()
    }
    for key, part in inner(schema):
        if id(part) in named:
            yield from _located(part, f"{where}.{named[id(part)]}" if where else named[id(part)])
        else:
            step = {"items": "[]", "prefixItems": "[]", "additionalProperties": "{}"}.get(key, "")
            yield from _located(part, f"{where}{step}")


def _without_defaults(schema: Schema) -> dict[str, Any]:
    return rebuilt({key: each for key, each in schema.items() if key != "default"}, _without_defaults)


def _fits(value: Any, schema: Schema) -> bool:
    try:
        validator = jsonschema_rs.validator_for(dict(schema), retriever=refuse_elsewhere, validate_formats=True)
        return validator.is_valid(value)
    except ValueError:  # which other rules find
        return True
