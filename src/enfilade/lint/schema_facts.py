"""Facts about a JSON Schema: its depth and references, and locations that validators refuse or read differently.

A property may be called `$ref` or `enum`: a keyword counts only where a schema stands. A fact is reported only if
the schema alone proves it; where a reference leads elsewhere, nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from enfilade.primitives.schema.json_schema import refuse_elsewhere
from enfilade.primitives.schema.portable import KNOWN_FORMATS
from enfilade.primitives.schema.references import Schema, map_subschemas, subschemas, walk
from enfilade.primitives.schema.regex_dialect import is_portable

#: Formats of which many languages write texts that others refuse.
OFTEN_BROKEN: Final = ("date-time", "duration", "regex", "time")
#: Keywords of 2020-12 and of the drafts before it, and `nullable`, which validators know from OpenAPI.
KNOWN_KEYWORDS: Final = frozenset(
    {
        *(
            "$anchor",
            "$comment",
            "$defs",
            "$dynamicAnchor",
            "$dynamicRef",
            "$id",
            "$ref",
            "$schema",
            "$vocabulary",
        ),
        *(
            "$recursiveAnchor",
            "$recursiveRef",
            "additionalItems",
            "additionalProperties",
            "allOf",
            "anyOf",
            "const",
        ),
        *("contains", "contentEncoding", "contentMediaType", "contentSchema", "default", "definitions"),
        *("dependencies", "dependentRequired", "dependentSchemas", "deprecated", "description", "else", "enum"),
        *("examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items", "maxContains", "maximum"),
        *("maxItems", "maxLength", "maxProperties", "minContains", "minimum", "minItems", "minLength"),
        *("minProperties", "multipleOf", "not", "nullable", "oneOf", "pattern", "patternProperties"),
        *("prefixItems", "properties", "propertyNames", "readOnly", "required", "then", "title", "type"),
        *("unevaluatedItems", "unevaluatedProperties", "uniqueItems", "writeOnly"),
    }
)

#: Keywords that lead to a value within the value, and so make it deeper.
_INWARD: Final = frozenset({"properties", "items", "additionalProperties", "patternProperties", "prefixItems"})
#: Keywords that lead to further schemas of the same value.
_SAME_VALUE: Final = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas"})
#: Lower and upper bounds, and whether equal ones leave nothing.
_BOUNDS: Final = (
    *((f"min{noun}", f"max{noun}", False) for noun in ("Length", "Items", "Properties", "Contains")),
    ("minimum", "maximum", False),
    ("exclusiveMinimum", "maximum", True),
    ("minimum", "exclusiveMaximum", True),
    ("exclusiveMinimum", "exclusiveMaximum", True),
)

_STEPS: Final = {"items": "[]", "prefixItems": "[]", "additionalProperties": "{}"}


def children(schema: Schema, location: str = "") -> Iterator[tuple[str, str, Schema]]:
    """Yield the schemas directly within a schema: the keyword that leads there, the location, the schema."""
    names = {
        id(member): f"{start}{name}"
        for key, start in (("properties", ""), ("$defs", "$defs."), ("definitions", "definitions."))
        if isinstance(schema.get(key), Mapping)
        for name, member in schema[key].items()
    }
    for key, subschema in subschemas(schema):
        if (name := names.get(id(subschema))) is not None:
            yield key, f"{location}.{name}" if location else name, subschema
        else:
            yield key, location + _STEPS.get(key, ""), subschema


def located(
    schema: Schema, skip: frozenset[str] = frozenset(), location: str = ""
) -> Iterator[tuple[str, Schema]]:
    """Yield a schema and all within it, each with its location: `filter.tags[]`, or `$defs.Point.x`.

    Args:
        schema: the schema.
        skip: keywords that are not followed.
        location: of the schema itself.
    """
    yield location, schema
    for key, inner_location, subschema in children(schema, location):
        if key not in skip:
            yield from located(subschema, skip, inner_location)


def references(schema: Schema) -> list[str]:
    """Return what a schema and those within it refer to."""
    return [each["$ref"] for each in walk(schema) if isinstance(each.get("$ref"), str)]


def depth(schema: Schema) -> int:
    """Return how many levels of objects and arrays there are, definitions left aside."""
    return max(
        (
            depth(each) + (key in _INWARD)
            for key, each in subschemas(schema)
            if key not in ("$defs", "definitions")
        ),
        default=0,
    )


def used_references(schema: Schema) -> list[str]:
    """Return what a schema refers to, also through its definitions, but not from one that nothing uses."""
    return list(_reachable("#", _targets(schema)))


def is_recursive(schema: Schema) -> bool:
    """Whether a schema, or a definition that it uses, leads back to itself."""
    targets = _targets(schema)
    return any(used in _reachable(used, targets) for used in ("#", *_reachable("#", targets)))


def _targets(schema: Schema) -> dict[str, list[str]]:
    """Return what the root and each definition refer to, by the reference that leads to them."""
    root = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    definitions = {
        f"#/{key}/{name}": references(each) if isinstance(each, Mapping) else []
        for key in ("$defs", "definitions")
        for name, each in (schema.get(key) or {}).items()
    }
    return {"#": references(root), **definitions}


def _reachable(start: str, targets: Mapping[str, list[str]]) -> dict[str, None]:
    """Return the references that lead on from one, in the order in which they are met."""
    seen: dict[str, None] = {}
    pending = list(targets.get(start, ()))
    while pending:
        target = pending.pop(0)
        if target not in seen:
            seen[target] = None
            pending.extend(targets.get(target, ()))
    return seen


def invalidity(schema: Schema) -> str | None:
    """Return why something is no valid JSON Schema (2020-12 unless it names another draft), or None."""
    if any(not target.startswith("#") for target in references(schema)):
        return None  # another rule has that
    try:
        # Not `meta.validate`: it would fetch what a stranger's `$schema` names.
        jsonschema_rs.validator_for(dict(schema), retriever=refuse_elsewhere)
    except ValueError as error:
        return str(getattr(error, "message", error)).splitlines()[0]
    return None


def foreign_patterns(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each regular expression that ECMA-262 refuses, and the expression."""
    for location, part in located(schema):
        named = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(named if isinstance(named, Mapping) else ())):
            if isinstance(pattern, str) and not is_portable(pattern):
                yield location, pattern


def unknown_formats(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each format that validators do not know, and the format."""
    for location, part in located(schema):
        if isinstance(part.get("format"), str) and part["format"] not in KNOWN_FORMATS:
            yield location, part["format"]


def often_broken_formats(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each format that the server of a result may well break, and the format."""
    for location, part in located(schema):
        if part.get("format") in OFTEN_BROKEN:
            yield location, part["format"]


def unknown_keywords(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each keyword that no draft has, and the keyword; `x-…` is for whoever likes it."""
    for location, part in located(schema):
        for keyword in part:
            if keyword not in KNOWN_KEYWORDS and not keyword.startswith("x-"):
                yield location, keyword


def wrong_defaults(schema: Schema) -> Iterator[str]:
    """Yield the location of each default that its own schema refuses."""
    definitions = _without("default", _definitions(schema))
    for location, part in located(schema):
        if "default" in part and not _fits(part["default"], {**definitions, **_without("default", part)}):
            yield location


def arrays_without_items(schema: Schema) -> Iterator[str]:
    """Yield the location of each array that does not say what its items are."""
    for location, part in located(schema):
        kind = part.get("type")
        if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in part:
            yield location


def contradictions(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each schema that no value can match, and why."""
    definitions = _definitions(schema)
    for location, part in located(schema, skip=frozenset({"not", "if"})):  # where that may be intended
        yield from ((location, why) for why in _contradictions(part, definitions))


def _contradictions(part: Schema, definitions: dict[str, Any]) -> Iterator[str]:
    values = part.get("enum")
    if isinstance(values, list):
        if not values:
            yield "has an enum without values"
        elif not any(_fits_beside(value, "enum", part, definitions) for value in values):
            yield "has an enum of which its other keywords allow no value"
    if "const" in part and not _fits_beside(part["const"], "const", part, definitions):
        yield "has a const that its other keywords refuse"
    if part.get("not") in ({}, True):
        yield "has a not that refuses everything"
    for low, high, is_open in _BOUNDS:
        least, most = _number(part.get(low)), _number(part.get(high))
        if least is not None and most is not None and (least > most or (is_open and least == most)):
            yield f"has {low} {least} and {high} {most}"
    for name in _required(part):
        if _properties(part).get(name) is False:
            yield f"requires {name}, for which it allows no value"
        elif (
            part.get("additionalProperties") is False
            and name not in _properties(part)
            and not part.get("patternProperties")
        ):
            yield f"requires {name}, and allows no such property"


def odd_choices(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the location of each enum with values that its other keywords refuse, or duplicates, and which."""
    definitions = _definitions(schema)
    for location, part in located(schema):
        values = part.get("enum")
        if not isinstance(values, list):
            continue
        refused = [value for value in values if not _fits_beside(value, "enum", part, definitions)]
        if refused and len(refused) < len(values):  # all of them are a contradiction
            yield location, f"lists {', '.join(map(repr, refused))}, which its other keywords refuse"
        written = [repr(value) for value in values]
        if twice := [text for text in dict.fromkeys(written) if written.count(text) > 1]:
            yield location, f"lists {', '.join(twice)} more than once"


def undescribed_requirements(
    schema: Schema, location: str = "", around: frozenset[str] | None = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield the location of each name in `required` that no schema of the same value describes, and the name.

    Args:
        schema: the schema.
        location: where it stands.
        around: the properties that the schemas around it describe for the same value; None if that is not known.
    """
    names = _described_names(schema)
    known = None if names is None or around is None else around | names
    if known is not None and schema.get("additionalProperties") is not False:  # else it is a contradiction
        yield from ((location, name) for name in _required(schema) if name not in known)
    for key, inner_location, subschema in children(schema, location):
        same_value = key in _SAME_VALUE
        yield from undescribed_requirements(subschema, inner_location, known if same_value else frozenset())


def _described_names(schema: Schema) -> frozenset[str] | None:
    """Return the properties that a schema and those of the same value within it have; None if any name is one."""
    if "$ref" in schema or "$dynamicRef" in schema or schema.get("patternProperties"):
        return None
    if isinstance(schema.get("additionalProperties"), Mapping):
        return None
    names = set(_properties(schema))
    for key, subschema in subschemas(schema):
        if key in _SAME_VALUE:
            more = _described_names(subschema)
            if more is None:
                return None
            names |= more
    return frozenset(names)


def _definitions(schema: Schema) -> dict[str, Any]:
    return {key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}


def _properties(schema: Schema) -> Mapping[str, Any]:
    members = schema.get("properties")
    return members if isinstance(members, Mapping) else {}


def _required(schema: Schema) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _without(key: str, schema: Schema) -> dict[str, Any]:
    """Return a schema without a keyword, nor one in it."""
    return map_subschemas(
        {name: value for name, value in schema.items() if name != key}, lambda each: _without(key, each)
    )


def _fits_beside(value: Any, key: str, part: Schema, definitions: Mapping[str, Any]) -> bool:
    """Whether a value fits a schema but for one keyword of it."""
    return _fits(value, {**definitions, **{name: each for name, each in part.items() if name != key}})


def _fits(value: Any, schema: Schema) -> bool:
    try:
        validator = jsonschema_rs.validator_for(dict(schema), retriever=refuse_elsewhere, validate_formats=True)
        return validator.is_valid(value)
    except ValueError:  # no valid schema, which is another rule's
        return True
