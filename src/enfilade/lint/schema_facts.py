"""Facts about a JSON Schema: depth, references, and subschemas that validators refuse or interpret differently.

A subschema is located by its path, such as `filter.tags[]` or `$defs.Point.x`.

Easy to get wrong: a property may be called `$ref` or `enum`; a keyword counts only in a schema. A fact is
reported only if the schema alone proves it, and nothing is reported behind a reference to another document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from enfilade.primitives.schema.json_schema import refuse_elsewhere, without_unreadable_pattern
from enfilade.primitives.schema.references import Schema, follow, map_subschemas, subschemas, walk

#: Keywords with schemas for nested values, which add a level of depth.
_INWARD: Final = frozenset({"properties", "items", "additionalProperties", "patternProperties", "prefixItems"})
#: Branches of a `oneOf` that are tried.
_MOST_BRANCHES: Final = 20
#: A value of each type.
_PLAIN: Final = {"string": "a", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
#: Keywords with further schemas for the same value.
_SAME_VALUE: Final = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas"})
#: Lower and upper bounds, and whether equal ones exclude every value.
_BOUNDS: Final = (
    *((f"min{noun}", f"max{noun}", False) for noun in ("Length", "Items", "Properties", "Contains")),
    ("minimum", "maximum", False),
    ("exclusiveMinimum", "maximum", True),
    ("minimum", "exclusiveMaximum", True),
    ("exclusiveMinimum", "exclusiveMaximum", True),
)

_STEPS: Final = {"items": "[]", "prefixItems": "[]", "additionalProperties": "{}"}


def children(schema: Schema, path: str = "") -> Iterator[tuple[str, str, Schema]]:
    """Yield the direct subschemas of a schema: the keyword, the path, the subschema."""
    names = {
        id(member): f"{start}{name}"
        for key, start in (("properties", ""), ("$defs", "$defs."), ("definitions", "definitions."))
        if isinstance(schema.get(key), Mapping)
        for name, member in schema[key].items()
    }
    for key, subschema in subschemas(schema):
        if (name := names.get(id(subschema))) is not None:
            yield key, f"{path}.{name}" if path else name, subschema
        else:
            yield key, path + _STEPS.get(key, ""), subschema


def located(schema: Schema, skip: frozenset[str] = frozenset(), path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield a schema and its subschemas, but for those of the keywords to skip, each with its path."""
    yield path, schema
    for key, inner_path, subschema in children(schema, path):
        if key not in skip:
            yield from located(subschema, skip, inner_path)


def references(schema: Schema) -> list[str]:
    """Return the references in a schema and its subschemas."""
    return [subschema["$ref"] for subschema in walk(schema) if isinstance(subschema.get("$ref"), str)]


def depth(schema: Schema) -> int:
    """Return the number of levels of objects and arrays, without definitions."""
    return max(
        (
            depth(subschema) + (key in _INWARD)
            for key, subschema in subschemas(schema)
            if key not in ("$defs", "definitions")
        ),
        default=0,
    )


def used_references(schema: Schema) -> list[str]:
    """Return the references in a schema, including those in definitions that it uses."""
    return list(_reachable("#", _targets(schema)))


def is_recursive(schema: Schema) -> bool:
    """Return whether a schema, or a definition that it uses, refers to itself."""
    targets = _targets(schema)
    return any(used in _reachable(used, targets) for used in ("#", *_reachable("#", targets)))


def _targets(schema: Schema) -> dict[str, list[str]]:
    """Return the references in the root and in each definition, by the reference of that definition."""
    root = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    definitions = {
        f"#/{key}/{name}": references(definition) if isinstance(definition, Mapping) else []
        for key in ("$defs", "definitions")
        for name, definition in (schema.get(key) or {}).items()
    }
    return {"#": references(root), **definitions}


def _reachable(start: str, targets: Mapping[str, list[str]]) -> dict[str, None]:
    """Return the references that are reachable from one, in order of discovery."""
    seen: dict[str, None] = {}
    pending = list(targets.get(start, ()))
    while pending:
        target = pending.pop(0)
        if target not in seen:
            seen[target] = None
            pending.extend(targets.get(target, ()))
    return seen


def invalidity(schema: Schema) -> str | None:
    """Return why a schema is not valid (2020-12 unless it names another draft); None if it is."""
    if any(not target.startswith("#") for target in references(schema)):
        return None  # another rule reports this
    readable: Schema | None = schema
    reason = ""
    while readable is not None:
        try:
            # Not `meta.validate`: it would fetch the URL in `$schema`, which is not trusted.
            jsonschema_rs.validator_for(dict(readable), retriever=refuse_elsewhere)
            return None
        except jsonschema_rs.ValidationError as error:
            reason = error.message
            readable = without_unreadable_pattern(readable, error)
        except ValueError as error:
            return str(error).splitlines()[0]
    return reason.splitlines()[0]


def contradictions(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the path of each schema that no value can match, and the reason."""
    definitions = definitions_of(schema)
    for path, subschema in located(schema, skip=frozenset({"not", "if"})):  # there it may be intended
        yield from ((path, reason) for reason in _contradictions(subschema, definitions))


def _contradictions(subschema: Schema, definitions: dict[str, Any]) -> Iterator[str]:
    values = subschema.get("enum")
    if isinstance(values, list):
        if not values:
            yield "has an enum without values"
        elif not any(_fits_beside(value, "enum", subschema, definitions) for value in values):
            yield "has an enum of which its other keywords allow no value"
    if "const" in subschema and not _fits_beside(subschema["const"], "const", subschema, definitions):
        yield "has a const that its other keywords refuse"
    if subschema.get("not") in ({}, True):
        yield "has a not that refuses everything"
    for low, high, is_open in _BOUNDS:
        least, most = _number(subschema.get(low)), _number(subschema.get(high))
        if least is not None and most is not None and (least > most or (is_open and least == most)):
            yield f"has {low} {least} and {high} {most}"
    for name in _required(subschema):
        if _properties(subschema).get(name) is False:
            yield f"requires {name}, for which it allows no value"
        elif (
            subschema.get("additionalProperties") is False
            and name not in _properties(subschema)
            and not subschema.get("patternProperties")
        ):
            yield f"requires {name}, and allows no such property"


def odd_choices(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the path of each enum with invalid or duplicate values, and the problem."""
    definitions = definitions_of(schema)
    for path, subschema in located(schema):
        values = subschema.get("enum")
        if not isinstance(values, list):
            continue
        refused = [value for value in values if not _fits_beside(value, "enum", subschema, definitions)]
        if refused and len(refused) < len(values):  # if all are refused, it is a contradiction
            yield path, f"lists {', '.join(map(repr, refused))}, which its other keywords refuse"
        texts = [repr(value) for value in values]
        if duplicates := [text for text in dict.fromkeys(texts) if texts.count(text) > 1]:
            yield path, f"lists {', '.join(duplicates)} more than once"


def undescribed_requirements(
    schema: Schema, path: str = "", outer_names: frozenset[str] | None = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each entry of `required` that no schema of the same value describes.

    Args:
        schema: the schema.
        path: its path.
        outer_names: the properties that enclosing schemas describe for the same value; None if unknown.
    """
    names = _described_names(schema)
    described = None if names is None or outer_names is None else outer_names | names
    if (
        described is not None and schema.get("additionalProperties") is not False
    ):  # otherwise it is a contradiction
        yield from ((path, name) for name in _required(schema) if name not in described)
    for key, inner_path, subschema in children(schema, path):
        same_value = key in _SAME_VALUE
        yield from undescribed_requirements(subschema, inner_path, described if same_value else frozenset())


def _described_names(schema: Schema) -> frozenset[str] | None:
    """Return the properties in a schema and its subschemas for the same value; None if any name is possible."""
    if "$ref" in schema or "$dynamicRef" in schema or schema.get("patternProperties"):
        return None
    if isinstance(schema.get("additionalProperties"), Mapping):
        return None
    names = set(_properties(schema))
    for key, subschema in subschemas(schema):
        if key in _SAME_VALUE:
            inner_names = _described_names(subschema)
            if inner_names is None:
                return None
            names |= inner_names
    return frozenset(names)


def definitions_of(schema: Schema) -> dict[str, Any]:
    return {key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}


def _properties(schema: Schema) -> Mapping[str, Any]:
    members = schema.get("properties")
    return members if isinstance(members, Mapping) else {}


def _required(schema: Schema) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def overlaps(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the path of each `oneOf` that refuses an object because several branches allow it, and the object.

    Only the smallest objects of its branches are tried. What fits several may be intended where the branches only
    exclude each other, so each has to describe a property.
    """
    definitions = definitions_of(schema)
    for path, subschema in located(schema, skip=frozenset({"not", "if"})):
        branches = subschema.get("oneOf")
        if not isinstance(branches, list) or not 1 < len(branches) <= _MOST_BRANCHES:
            continue
        resolved = [follow(branch, schema) for branch in branches]
        if not all(isinstance(branch.get("properties"), Mapping) and branch["properties"] for branch in resolved):
            continue
        any_of = {**{key: value for key, value in subschema.items() if key != "oneOf"}, "anyOf": branches}
        for example in map(_smallest, resolved):
            if example is None or fits(example, {**definitions, **subschema}):
                continue
            if fits(example, {**definitions, **any_of}):
                yield path, json.dumps(example, ensure_ascii=False)
                break


def _smallest(schema: Schema) -> dict[str, Any] | None:
    """Return an object with nothing but the required properties of a schema; None if their values are unknown."""
    example = {}
    for name in _required(schema):
        member = schema["properties"].get(name)
        if not isinstance(member, Mapping):
            return None
        if "const" in member:
            example[name] = member["const"]
        elif isinstance(member.get("enum"), list) and member["enum"]:
            example[name] = member["enum"][0]
        elif isinstance(member.get("type"), str) and member["type"] in _PLAIN:
            example[name] = _PLAIN[member["type"]]
        else:
            return None
    return example


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def without(key: str, schema: Schema) -> dict[str, Any]:
    """Return a schema without a keyword, in its subschemas as well."""
    return map_subschemas(
        {name: value for name, value in schema.items() if name != key}, lambda subschema: without(key, subschema)
    )


def _fits_beside(value: Any, key: str, subschema: Schema, definitions: Mapping[str, Any]) -> bool:
    """Return whether a value is valid by a schema without one of its keywords."""
    return fits(value, {**definitions, **{name: member for name, member in subschema.items() if name != key}})


def fits(value: Any, schema: Schema) -> bool:
    try:
        validator = jsonschema_rs.validator_for(dict(schema), retriever=refuse_elsewhere, validate_formats=True)
        return validator.is_valid(value)
    except ValueError:  # the schema is invalid, which another rule reports
        return True
