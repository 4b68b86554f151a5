"""From pydantic's JSON Schemas to those that are published, which every other validator must read alike.

What other validators read differently is left out, and still checked in Python: regular expressions that ECMA-262
refuses, formats that only pydantic knows, defaults that are no instance of their own schema. The schema of a
result also loses formats that Python writes differently (a date-time without an offset, a duration with
fractions), because clients refuse the entire result for them. Limits get the keywords of JSON Schema.

Easy to get wrong: leaving a keyword out is always safe, adding one is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from enfilade.primitives.schema.core_nodes import COMPARISONS, DIGITS
from enfilade.primitives.schema.references import Schema, branches_of, follow, map_subschemas, walk
from enfilade.primitives.schema.regex_dialect import is_portable, means_the_same

#: The formats of JSON Schema and OpenAPI that validators know; Ajv warns about any other.
KNOWN_FORMATS: Final = frozenset(
    {
        *("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "json-pointer", "regex", "time"),
        *("relative-json-pointer", "uri", "uri-reference", "uri-template", "uuid"),
        *("binary", "byte", "double", "float", "int32", "int64", "password"),
    }
)
#: Those that Python and pydantic may write in a way that other validators refuse.
WRITTEN_OTHERWISE: Final = KNOWN_FORMATS - {"date", "ipv4", "uuid"}

# Descriptions that take the place of formats that only pydantic knows.
_FORMATS_IN_WORDS: Final = {
    "ipvanyaddress": "An IPv4 or IPv6 address.",
    "ipv4interface": "An IPv4 interface, such as 192.0.2.5/24.",
    "ipv6interface": "An IPv6 interface, such as 2001:db8::5/64.",
    "ipvanyinterface": "An IPv4 or IPv6 interface, such as 192.0.2.5/24.",
    "ipv4network": "An IPv4 network, such as 192.0.2.0/24.",
    "ipv6network": "An IPv6 network, such as 2001:db8::/32.",
    "ipvanynetwork": "An IPv4 or IPv6 network, such as 192.0.2.0/24.",
    "fraction": "A fraction, such as 3/4.",
    "name-email": "An email address, or a name with one: Ann <ann@example.org>.",
    "multi-host-uri": "A URI.",
}
_SEVERAL: Final = 2
_SMALLEST_STEP: Final = 1024  # as the denominator of a fraction
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Keywords that restrict nothing.
_NOTES: Final = frozenset({"type", "title", "description", "default", "examples", "deprecated", "readOnly"})
_TYPES: Final[dict[type, tuple[str, ...]]] = {
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    type(None): ("null",),
}
# The keywords of the shortest and the longest length, by JSON type.
_LENGTH_KEYWORDS: Final[Mapping[str, tuple[str, str]]] = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def portable(schema: Schema, *, sent: bool = False) -> dict[str, Any]:
    """Return the schema to publish for one that pydantic made.

    Args:
        schema: the schema with its `$defs`.
        sent: whether it describes what a tool returns, and not what it takes.
    """

    def changed(subschema: Schema) -> dict[str, Any]:
        new = _numbers(_patterns(_format(_standard_limits(map_subschemas(subschema, changed)), sent), sent), sent)
        if sent:
            new.pop("uniqueItems", None)  # values may be equal in JSON alone, such as hidden secrets
        return _with_items(_choices(new))

    published = changed(schema)
    definitions = published.get("$defs", {})

    def checked(subschema: Schema) -> dict[str, Any]:
        new = _tagged(_keys(map_subschemas(subschema, checked), published), published, sent)
        if "default" in new and not _fits(new["default"], new, definitions):
            del new["default"]
        return new

    return checked(published)


def _format(schema: dict[str, Any], sent: bool) -> dict[str, Any]:
    name = schema.get("format")
    if not isinstance(name, str):
        return schema
    if name.startswith("uuid"):
        schema["format"] = "uuid"
    elif name not in KNOWN_FORMATS or (sent and name in WRITTEN_OTHERWISE):
        del schema["format"]
        if name in _FORMATS_IN_WORDS:
            schema.setdefault("description", _FORMATS_IN_WORDS[name])
    return schema


def _patterns(schema: dict[str, Any], sent: bool) -> dict[str, Any]:
    fits = means_the_same if sent else is_portable
    if "pattern" in schema and not fits(str(schema["pattern"])):
        del schema["pattern"]
    by_pattern = schema.get("patternProperties")
    if isinstance(by_pattern, Mapping):
        portable_patterns = {pattern: value for pattern, value in by_pattern.items() if fits(pattern)}
        dropped = [value for pattern, value in by_pattern.items() if pattern not in portable_patterns]
        schema.pop("patternProperties")
        if portable_patterns:
            schema["patternProperties"] = portable_patterns
        if "additionalProperties" not in schema and "properties" not in schema:  # a dict: all its keys match
            schema["additionalProperties"] = (
                dropped[0] if len(dropped) == 1 else {"anyOf": dropped} if dropped else False
            )
    return schema


def _numbers(schema: dict[str, Any], sent: bool) -> dict[str, Any]:
    """Remove limits that are no finite numbers, and steps that binary fractions do not meet."""
    for key in _NUMBERS:
        limit = schema.get(key, 0)
        is_finite = type(limit) in (int, float) and abs(limit) < float("inf")
        if not is_finite or (key == "multipleOf" and limit % 1 and (sent or not _is_exact(limit))):
            del schema[key]
    return schema


def _is_exact(step: float) -> bool:
    """Return whether other validators find no remainder in the multiples of a step: it is no rounded fraction."""
    return step.as_integer_ratio()[1] <= _SMALLEST_STEP


def _choices(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out values that an `enum` has twice, as that of an Enum with aliases does."""
    values = schema.get("enum")
    if isinstance(values, list):
        schema["enum"] = list({_identity(value): value for value in reversed(values)}.values())[::-1]
    return schema


def _identity(value: Any) -> tuple[str, Any]:
    """Return what two values share if they are equal in JSON, where true is not 1, and 1.0 is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", value
    return type(value).__name__, value if isinstance(value, str) else to_json(value)


def _keys(schema: dict[str, Any], root: Schema) -> dict[str, Any]:
    """Describe the keys of a dict as strings, because all keys are strings in JSON."""
    names = follow(schema.get("propertyNames"), root)
    choices = names.get("enum", [names["const"]] if "const" in names else [])
    if choices and not all(isinstance(choice, str) for choice in choices):
        schema["propertyNames"] = {
            "enum": [choice if isinstance(choice, str) else to_json(choice).decode() for choice in choices]
        }
    elif names.get("type", "string") != "string" or names.keys() <= {"type"}:
        schema.pop("propertyNames", None)
    elif names.get("type") == "string" and "$ref" not in schema["propertyNames"]:  # which goes without saying
        schema["propertyNames"] = {key: value for key, value in names.items() if key != "type"}
    return schema


def _tagged(schema: dict[str, Any], root: Schema, sent: bool) -> dict[str, Any]:
    """Replace `discriminator`, which is not in JSON Schema, by making the tag required in each alternative.

    A value of two alternatives would break `oneOf`, so that is `anyOf` where no tag tells them apart.
    """
    discriminator = schema.pop("discriminator", None)
    if not isinstance(discriminator, Mapping) or not isinstance(schema.get("oneOf"), list):
        return schema
    tag = discriminator.get("propertyName")
    if tag and not sent:
        schema["oneOf"] = [
            {**branch, "required": list(dict.fromkeys([*branch.get("required", ()), tag]))}
            for branch in schema["oneOf"]
        ]
    if not _are_apart(schema["oneOf"], root):
        return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}
    return schema


def _are_apart(branches: list[Any], root: Schema) -> bool:
    """Return whether no value fits two of these schemas, because a property that all require differs."""
    tags = [_tags(branch, root) for branch in branches]
    for name in tags[0] if tags else ():
        values = [identity for each in tags for identity in each.get(name, ())]
        if all(name in each for each in tags) and len(set(values)) == len(values):
            return True
    return len(branches) < _SEVERAL


def _tags(branch: Schema, root: Schema) -> dict[str, set[tuple[str, Any]]]:
    """Return the values of the required properties of an object that are choices, by name."""
    target = follow(branch, root)
    inner = [_tags(each, root) for each in branches_of(target)]
    tags = {
        name: set().union(*(each[name] for each in inner))
        for name in (inner[0] if inner else ())
        if all(name in each for each in inner)
    }
    required = {*target.get("required", ()), *branch.get("required", ())}
    for name, value in target.get("properties", {}).items():
        choice = follow(value, root)
        if name in required and ("const" in choice or "enum" in choice):
            tags[name] = set(map(_identity, choice.get("enum", [choice.get("const")])))
    return tags


def _with_items(schema: dict[str, Any]) -> dict[str, Any]:
    """Give an array without `items` the empty schema for them; some hosts refuse it otherwise."""
    kind = schema.get("type")
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in schema:
        schema["items"] = {}
    return schema


def _fits(value: Any, schema: Schema, definitions: Mapping[str, Any]) -> bool:
    """Return whether a default is an instance of its schema, for every validator."""
    if isinstance(value, (float, list, dict)):
        value = from_json(to_json(value, inf_nan_mode="null"))  # null in place of NaN and infinities
    if schema.keys() <= _NOTES and isinstance(schema.get("type"), str) and type(value) in _TYPES:
        return schema["type"] in _TYPES[type(value)]
    branches = schema.get("anyOf")
    if branches and schema.keys() <= {"anyOf", *_NOTES} and type(value) in _TYPES:
        for branch in branches:
            if branch.keys() <= _NOTES and branch.get("type") in _TYPES[type(value)]:
                return True
    from jsonschema_rs import Draft202012Validator

    from enfilade.primitives.schema.json_schema import refuse_elsewhere

    bare = {key: member for key, member in schema.items() if key not in ("default", "$defs")}
    complete = {**bare, "$defs": dict(definitions)}
    steps = [step for subschema in walk(complete) if (step := subschema.get("multipleOf", 1)) % 1]
    is_number = type(value) in (int, float)
    if steps and (not is_number or steps != [schema.get("multipleOf")] or (value / steps[0]) % 1):
        return False  # other validators divide binary fractions, and get a remainder
    try:
        validator = Draft202012Validator(complete, retriever=refuse_elsewhere, validate_formats=True)
        return validator.is_valid(value)
    except ValueError:
        return False


def _standard_limits(schema: dict[str, Any]) -> dict[str, Any]:
    """Rename limits that have pydantic's names, and move limits beside a union into its alternatives."""
    for name, word in COMPARISONS.items():
        limit = schema.pop(name, None)
        if type(limit) in (int, float):
            _put(schema, dict.fromkeys(("integer", "number"), word), limit)
    for name in DIGITS:
        schema.pop(name, None)
    for index, word in enumerate(_LENGTH_KEYWORDS["string"]):
        if word in schema and schema.get("type") != "string":
            _put(schema, {kind: words[index] for kind, words in _LENGTH_KEYWORDS.items()}, schema.pop(word))
    return schema


def _put(schema: dict[str, Any], keywords: Mapping[str, str], limit: Any) -> None:
    """Add a limit to those alternatives of a schema whose values have it."""
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        for branch in branches:
            _put(branch, keywords, limit)
    keyword = keywords.get(str(schema.get("type")))
    # A date or bytes differ in length from their text, and a model has no length.
    if keyword and not schema.keys() & {"format", "contentEncoding", "properties", "enum", "const", keyword}:
        schema[keyword] = limit
