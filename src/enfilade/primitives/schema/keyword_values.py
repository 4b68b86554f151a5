"""Refuses generated schemas that are no JSON Schemas, because an author's addition to one has a wrong value.

Pydantic copies `json_schema_extra`, `WithJsonSchema` and what a `__get_pydantic_json_schema__` returns without
looking at it. One wrong keyword makes an entire `tools/list` useless to clients that compile every schema. So the
value of each keyword is compared with what the meta-schema says of it, without a validator to be loaded.

Easy to get wrong: this runs on pydantic's own schema, before `portable` has made it fit for others. Limits that
are no numbers and words that only pydantic knows are still in it, and are no faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from enfilade.primitives.schema.core_nodes import AnnotationError
from enfilade.primitives.schema.json_schema import describe_value, format_path
from enfilade.primitives.schema.references import Schema, Step, at_pointer, subschemas

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: Where a JSON Schema may have got what pydantic would not have written.
SOURCES: Final = "json_schema_extra, WithJsonSchema, __get_pydantic_json_schema__ or an option of its Field"
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value >= 0 and value % 1 == 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_type(value: Any) -> bool:
    return value in _TYPES if _is_text(value) else bool(value) and _are_names(value) and _TYPES.issuperset(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (Mapping, bool))


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _are_named_schemas(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_schema, value.values()))


def _are_dependencies(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_schema(each) or _are_names(each) for each in value.values())


class _Kind(NamedTuple):
    """What the value of a keyword has to be."""

    is_right: Callable[[Any], bool]
    words: str


_TEXT: Final = _Kind(_is_text, "a string")
_BOOLEAN: Final = _Kind(_is_boolean, "true or false")
_COUNT: Final = _Kind(_is_count, "an integer of at least 0")
_SCHEMA: Final = _Kind(_is_schema, "a schema")
_SCHEMAS: Final = _Kind(_are_schemas, "an array of at least one schema")
_NAMED: Final = _Kind(_are_named_schemas, "an object whose members are schemas")
_ARRAY: Final = _Kind(lambda value: isinstance(value, list), "an array")
_KINDS: Final[Mapping[str, _Kind]] = {
    "type": _Kind(_is_type, "one of " + ", ".join(sorted(_TYPES)) + ", or an array of some of them"),
    "enum": _Kind(lambda value: isinstance(value, list) and bool(value), "an array of at least one value"),
    "required": _Kind(_are_names, "an array of different strings"),
    "dependentRequired": _Kind(
        lambda value: isinstance(value, Mapping) and all(map(_are_names, value.values())),
        "an object whose members are arrays of different strings",
    ),
    "dependencies": _Kind(_are_dependencies, "an object whose members are schemas, or arrays of strings"),
    "$schema": _Kind(lambda value: _is_text(value) and value.rstrip("#") == _DIALECT, f'"{_DIALECT}"'),
    "examples": _ARRAY,
    **dict.fromkeys(("title", "description", "format", "pattern", "$comment", "$ref", "$dynamicRef"), _TEXT),
    **dict.fromkeys(("$id", "$anchor", "$dynamicAnchor", "contentEncoding", "contentMediaType"), _TEXT),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _BOOLEAN),
    **dict.fromkeys(("minItems", "maxItems", "minContains", "maxContains"), _COUNT),
    **dict.fromkeys(("minProperties", "maxProperties"), _COUNT),
    **dict.fromkeys(("items", "additionalProperties", "contains", "not", "if", "then", "else"), _SCHEMA),
    **dict.fromkeys(("propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema"), _SCHEMA),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"), _NAMED),
}


class _Fault(NamedTuple):
    """A wrong keyword, and the path of the value that the schema is for."""

    path: tuple[Step, ...]
    phrase: str


def refuse_wrong_keywords(schema: Schema, *, of_arguments: bool) -> None:
    """Refuse a schema in which a keyword has a value that it cannot have.

    Args:
        schema: a schema that pydantic made, with its `$defs`.
        of_arguments: it is that of arguments, so the first step of a path is a parameter.

    Raises:
        AnnotationError: names the place, the keyword, and what to correct.
    """
    for fault in _faults(schema, schema, (), set()):
        noun = "parameter" if of_arguments else "member"
        where = f"{noun} {format_path(fault.path)}: " if fault.path else ""
        raise AnnotationError(f"{where}its JSON Schema {fault.phrase}; correct {SOURCES}")


def _faults(schema: Schema, root: Schema, path: tuple[Step, ...], seen: set[str]) -> Iterator[_Fault]:
    """Yield the faults of a schema and of what it refers to, each definition once."""
    for keyword, value in schema.items():
        kind = _KINDS.get(keyword)
        if kind is not None and not kind.is_right(value):
            yield _Fault(path, f'gives "{keyword}" {_shown(value)}, which should be {kind.words}')
            return
    reference = schema.get("$ref")
    if reference is not None and reference not in seen:
        seen.add(reference)
        target = at_pointer(reference, root)
        if not _is_schema(target):
            yield _Fault(path, f'refers to "{reference}", which is not in it')
        elif isinstance(target, Mapping):
            yield from _faults(target, root, path, seen)
    for name, inner in schema.get("properties", {}).items():
        if isinstance(inner, Mapping):
            yield from _faults(inner, root, (*path, name), seen)
    for index, inner in enumerate(schema.get("prefixItems", ())):
        if isinstance(inner, Mapping):
            yield from _faults(inner, root, (*path, index), seen)
    for keyword, inner in subschemas(schema):
        if keyword not in ("properties", "prefixItems") and (keyword != "$defs" or schema is not root):
            yield from _faults(inner, root, path, seen)


def _shown(value: Any) -> str:
    is_json = value is None or isinstance(value, (bool, int, float, str, list, dict))
    return describe_value(value) if is_json else type(value).__name__
