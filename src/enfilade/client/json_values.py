"""From a text that somebody types to a value of a JSON Schema.

Easy to get wrong: a text that several types would take. What reads more narrowly comes first (`5` is a number
where numbers are allowed), but where strings are allowed a text is null only if it is given as JSON.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from enfilade.primitives.schema.references import at_pointer

Schema = Mapping[str, Any]

_DEEPEST: Final = 16  # references that lead to references
_INTEGER: Final = re.compile(r"[+-]?\d+")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}
#: In the order in which they are tried, with what is expected in words.
_EXPECTED: Final = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a JSON array",
    "object": "a JSON object",
    "null": "null",
    "string": "a text",
}


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for a name that is close to a known one; empty if none is."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(each) for each in found)}?" if found else ""


def alternatives(schema: Schema, root: Schema, depth: int = 0) -> list[Schema]:
    """Return the schemas that a value may follow: references followed, `anyOf` and `oneOf` taken apart."""
    if depth > _DEEPEST:
        return [schema]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = at_pointer(reference, root)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return alternatives({**found, **rest}, root, depth + 1) if isinstance(found, Mapping) else [schema]
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return [each for option in schema[key] for each in alternatives(option, root, depth + 1)]
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return alternatives({**schema["allOf"][0], **rest}, root, depth + 1)
    return [schema]


def choices(schema: Schema) -> list[tuple[Any, str]]:
    """Return the values that a schema lists, each with its title; empty if it lists none."""
    if "const" in schema:
        return [(schema["const"], str(schema.get("title", schema["const"])))]
    if isinstance(schema.get("enum"), list):
        names = schema.get("enumNames") or schema["enum"]
        return [(value, str(name)) for value, name in zip(schema["enum"], names, strict=False)]
    for key in ("oneOf", "anyOf"):
        options = schema.get(key)
        if (
            isinstance(options, list)
            and options
            and all(isinstance(o, Mapping) and "const" in o for o in options)
        ):
            return [(option["const"], str(option.get("title", option["const"]))) for option in options]
    return []


def kinds(schema: Schema) -> list[str]:
    """Return the types that a schema without alternatives names; empty for any."""
    named = schema.get("type")
    return [named] if isinstance(named, str) else [str(each) for each in named] if named else []


def expected(schema: Schema, root: Schema) -> str:
    """Say in words what a schema takes."""
    words: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            words.append(", ".join(_shown(value) for value, _ in listed))
        else:
            words.extend(_EXPECTED.get(kind, kind) for kind in kinds(option))
    return " or ".join(dict.fromkeys(words)) or "a text"


def type_name(schema: Schema, root: Schema, depth: int = 0) -> str:
    """Return the type of a schema as people write it.

    Such as `integer | null`, `red | green`, `array of string`, `array (string, integer)` or `object of integer`.
    """
    words: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            words.extend(_shown(value) for value, _ in listed)
        for kind in () if listed else kinds(option):
            words.append(_container_name(kind, option, root, depth) or kind)
    return " | ".join(dict.fromkeys(words)) or "any"


def _container_name(kind: str, schema: Schema, root: Schema, depth: int) -> str:
    """Return the type of an array or of a mapping, with what is in it; empty where that is not said."""
    places = schema.get("prefixItems")
    if depth >= _DEEPEST:
        return ""
    if kind == "array" and isinstance(places, list) and places:
        names = [type_name(each, root, depth + 1) if isinstance(each, Mapping) else "any" for each in places]
        return f"array ({', '.join(names)})"
    held = schema.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    return f"{kind} of {type_name(held, root, depth + 1)}" if isinstance(held, Mapping) and held else ""


def value_of(text: str, schema: Schema, root: Schema) -> Any:
    """Return the value that a text stands for.

    Args:
        text: what was typed.
        schema: what the value must follow.
        root: the schema that references lead into.

    Raises:
        ValueError: it stands for none; the text says what is expected and what came.
    """
    options = alternatives(schema, root)
    listed = [value for option in options for value, _ in choices(option)]
    for value in listed:
        if text == (value if isinstance(value, str) else json.dumps(value)):
            return value
    allowed = {kind for option in options if not choices(option) for kind in kinds(option) or ["string"]}
    for kind in _EXPECTED:
        if kind in allowed and (kind != "null" or "string" not in allowed):
            found = _READERS[kind](text)
            if found is not _NOTHING:
                return found
    hint = near(text, [str(value) for value in listed])
    raise ValueError(f"expected {expected(schema, root)}, got {text!r}{hint}")


_NOTHING: Final = object()


def _json(text: str, kind: type) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return _NOTHING
    return found if isinstance(found, kind) else _NOTHING


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else _NOTHING


_READERS: Final[dict[str, Any]] = {
    "integer": lambda text: int(text) if _INTEGER.fullmatch(text) else _NOTHING,
    "number": _number,
    "boolean": lambda text: _FLAGS.get(text.lower(), _NOTHING),
    "array": lambda text: _json(text, list),
    "object": lambda text: _json(text, dict),
    "null": lambda text: None if text == "null" else _NOTHING,
    "string": lambda text: text,
}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
