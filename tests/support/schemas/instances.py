"""Draws values that a JSON Schema allows, as a client would that knows nothing but the schema."""

from typing import Any

from hypothesis import strategies as st

from enfilade.primitives.schema.references import follow

Values = st.SearchStrategy[Any]

# Texts of each format, as other languages write them.
FORMATS: dict[str, list[str]] = {
    "date": ["2024-02-29", "1999-12-31"],
    "date-time": ["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.123+05:30"],
    "time": ["12:30:00Z", "23:59:59.5+01:00"],
    "duration": ["P3D", "PT3H", "P1DT2H"],
    "email": ["ann@example.org"],
    "ipv4": ["192.0.2.1"],
    "ipv6": ["2001:db8::1", "::1"],
    "uri": ["https://example.org/a?b=c#d"],
    "uuid": ["123e4567-e89b-42d3-a456-426614174000"],
}
_TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
_ANYTHING = st.none() | st.booleans() | st.integers(-9, 9) | _TEXT | st.lists(st.integers(0, 3), max_size=2)


def _deferred(schema: Any, root: dict[str, Any], depth: int) -> Values:
    return st.deferred(lambda: instances(schema, root, depth))


def instances(schema: Any, root: dict[str, Any], depth: int = 0) -> Values:
    """Return a strategy for instances of a schema; whoever uses them asks a validator whether they really are."""
    schema = follow(schema, root)
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return st.one_of([_deferred(each, root, depth + 1) for each in schema[key]])
    kind = schema.get("type")
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return _numbers(schema, 1)
        case "number":
            return _numbers(schema, schema.get("multipleOf", 0.25))
        case "string":
            return _strings(schema)
        case "array":
            return _arrays(schema, root, depth)
        case "object":
            return _objects(schema, root, depth)
    return _ANYTHING


def _numbers(schema: Any, unit: float) -> Values:
    step = schema.get("multipleOf", unit)
    low = schema.get("minimum", schema.get("exclusiveMinimum", -50 * step))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100 * step))
    first, last = -int(-low // step), int(high // step)
    return st.integers(first, last).map(lambda n: n * step)


def _strings(schema: Any) -> Values:
    if schema.get("format") in FORMATS:
        return st.sampled_from(FORMATS[schema["format"]])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 8))


def _arrays(schema: Any, root: dict[str, Any], depth: int) -> Values:
    first = [instances(each, root, depth + 1) for each in schema.get("prefixItems", ())]
    low = max(schema.get("minItems", 0) - len(first), 0)
    high = max(schema.get("maxItems", len(first) + 2) - len(first), 0)
    if depth > 6:
        high = low
    rest = st.lists(
        st.deferred(lambda: instances(schema.get("items", {}), root, depth + 1)), min_size=low, max_size=high
    )
    return st.builds(lambda a, b: [*a, *b], st.tuples(*first), rest)


def _objects(schema: Any, root: dict[str, Any], depth: int) -> Values:
    required = set(schema.get("required", ()))
    known = {name: instances(each, root, depth + 1) for name, each in schema.get("properties", {}).items()}
    members = st.fixed_dictionaries(
        {name: each for name, each in known.items() if name in required},
        optional={name: each for name, each in known.items() if name not in required},
    )
    additional = schema.get("additionalProperties", True)
    if additional is False and "patternProperties" in schema:
        ((pattern, of),) = schema["patternProperties"].items()
        names: Values = st.from_regex(pattern.replace("$", r"\Z"))
    elif additional is False or (additional is True and known):
        return members
    else:
        of, names = additional, instances({"type": "string", **schema.get("propertyNames", {})}, root)
    more = st.dictionaries(names, instances(of, root, depth + 1), max_size=2)
    return st.builds(lambda a, b: {**b, **a}, members, more)
