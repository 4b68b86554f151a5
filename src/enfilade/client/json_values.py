"""Read text typed by a user as values of a JSON Schema: the arguments of a tool, and the fields of a form.

In arguments `name=text` is read by the schema, `name:=json` as JSON, `name=@file` is the text of a file,
`name:=@file` its JSON, and `name=@@…` a text that begins with `@`. A repeated name gives an array.

Easy to get wrong:
- Being stricter than the server. Only types are read here, because a command line has none; other constraints are
  checked by the server.
- A text that is valid for several types. The narrowest type comes first (`5` is a number where numbers are
  allowed), but where strings are allowed, `null` is a string.
- Choices. One may be named by its value, its title or its number in the list; a value that looks like a number is
  a value first.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from enfilade.primitives.schema.references import at_pointer

Schema = Mapping[str, Any]

_ASSIGNMENT: Final = re.compile(r"(?P<name>[^=]+?)(?P<operator>:?=)(?P<text>.*)", re.DOTALL)
_MAX_DEPTH: Final = 16  # of nested references
_INTEGER: Final = re.compile(r"[+-]?\d+")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}
#: The types in the order in which they are tried, each with its description in errors.
_EXPECTED: Final = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a JSON array",
    "object": "a JSON object",
    "null": "null",
    "string": "a text",
}


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean …?` for a name that is similar to some candidates; empty if none is."""
    matches = difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def alternatives(schema: Schema, root: Schema, depth: int = 0) -> list[Schema]:
    """Return the alternative schemas of a value: references are resolved, `anyOf` and `oneOf` are split."""
    if depth > _MAX_DEPTH:
        return [schema]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        referenced = at_pointer(reference, root)
        if not isinstance(referenced, Mapping):
            return [schema]
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return alternatives({**referenced, **siblings}, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return [leaf for option in schema[key] for leaf in alternatives(option, root, depth + 1)]
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        siblings = {key: value for key, value in schema.items() if key != "allOf"}
        return alternatives({**schema["allOf"][0], **siblings}, root, depth + 1)
    return [schema]


def choices(schema: Schema) -> list[tuple[Any, str]]:
    """Return the values that a schema enumerates, each with its title; empty if it has no enumeration."""
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
    """Return the types in a schema without alternatives; empty if it has no `type`."""
    types = schema.get("type")
    return [types] if isinstance(types, str) else [str(kind) for kind in types] if types else []


def expected(schema: Schema, root: Schema) -> str:
    """Return a description of the values that a schema accepts."""
    descriptions: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            descriptions.append(", ".join(_as_text(value) for value, _ in listed))
        else:
            descriptions.extend(_EXPECTED.get(kind, kind) for kind in kinds(option))
    return " or ".join(dict.fromkeys(descriptions)) or "a text"


def type_name(schema: Schema, root: Schema, depth: int = 0) -> str:
    """Return the type of a schema in short notation.

    Examples are `integer | null`, `red | green`, `array of string`, `array (string, integer)` or `object of
    integer`.
    """
    names: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            names.extend(_as_text(value) for value, _ in listed)
        for kind in () if listed else kinds(option):
            names.append(_container_name(kind, option, root, depth) or kind)
    return " | ".join(dict.fromkeys(names)) or "any"


def _container_name(kind: str, schema: Schema, root: Schema, depth: int) -> str:
    """Return the type of an array or an object with the type of its items; empty if the schema has none."""
    tuple_items = schema.get("prefixItems")
    if depth >= _MAX_DEPTH:
        return ""
    if kind == "array" and isinstance(tuple_items, list) and tuple_items:
        names = [type_name(item, root, depth + 1) if isinstance(item, Mapping) else "any" for item in tuple_items]
        return f"array ({', '.join(names)})"
    items = schema.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    return f"{kind} of {type_name(items, root, depth + 1)}" if isinstance(items, Mapping) and items else ""


def value_of(text: str, schema: Schema, root: Schema) -> Any:
    """Return the value of a typed text; references in its schema are resolved in `root`.

    Raises:
        ValueError: the text is no valid value; the message has the expected types and the text.
    """
    options = alternatives(schema, root)
    listed = [value for option in options for value, _ in choices(option)]
    for value in listed:
        if text == (value if isinstance(value, str) else json.dumps(value)):
            return value
    allowed = {kind for option in options if not choices(option) for kind in kinds(option) or ["string"]}
    for kind in _EXPECTED:
        if kind in allowed and (kind != "null" or "string" not in allowed):
            value = _READERS[kind](text)
            if value is not _NO_VALUE:
                return value
    hint = suggestion(text, [str(value) for value in listed])
    raise ValueError(f"expected {expected(schema, root)}, got {text!r}{hint}")


_NO_VALUE: Final = object()


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return _NO_VALUE
    return value if isinstance(value, kind) else _NO_VALUE


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else _NO_VALUE


_READERS: Final[dict[str, Any]] = {
    "integer": lambda text: int(text) if _INTEGER.fullmatch(text) else _NO_VALUE,
    "number": _number,
    "boolean": lambda text: _FLAGS.get(text.lower(), _NO_VALUE),
    "array": lambda text: _json(text, list),
    "object": lambda text: _json(text, dict),
    "null": lambda text: None if text == "null" else _NO_VALUE,
    "string": lambda text: text,
}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# -- Arguments of a command line ---
class ArgumentError(ValueError):
    """An argument is invalid; the text has its name, the expected type and the typed text."""


def read_arguments(
    assignments: Iterable[str], schema: Schema, base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of a call.

    Args:
        assignments: `name=text`, `name:=json`, `name=@file`.
        schema: the tool's input schema.
        base: arguments as values, which assignments replace; with them, required arguments are not checked.

    Raises:
        ArgumentError: an assignment is malformed or of another type, or a required argument is missing.
    """
    arguments: dict[str, Any] = {}
    for assignment in assignments:
        name, value = _read(assignment, schema)
        if name not in arguments:
            arguments[name] = value
        elif _takes_several(schema, name):
            arguments[name] = [*arguments[name], *value]
        else:
            raise ArgumentError(f"argument {name!r} is given twice")
    if base is None:
        _check_complete(arguments, schema)
    return {**(base or {}), **arguments}


def _read(assignment: str, schema: Schema) -> tuple[str, Any]:
    match = _ASSIGNMENT.fullmatch(assignment)
    if assignment.lstrip().startswith("{") and (match is None or _json(assignment, dict) is not _NO_VALUE):
        raise ArgumentError("all arguments as one JSON object are given by --json, as in --json '{\"name\": 1}'")
    if match is None:
        raise ArgumentError(f"{assignment!r} is no argument; write name=value, or name:=json")
    name, text = match["name"], match["text"]
    argument_schema = _property(schema, name)
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _contents(name, text[1:])
    if match["operator"] == ":=":
        return name, _parsed(name, text)
    try:
        if _takes_several(schema, name) and not text.lstrip().startswith("["):
            return name, [value_of(text, _items(argument_schema, schema), schema)]
        return name, value_of(text, argument_schema, schema)
    except ValueError as error:
        raise ArgumentError(f"argument {name!r}: {error}") from None


def _property(schema: Schema, name: str) -> Schema:
    properties = schema.get("properties")
    schemas: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    if name in schemas:
        return schemas[name] if isinstance(schemas[name], Mapping) else {}
    additional = schema.get("additionalProperties")
    if additional is True or (additional is None and not schemas):
        return {}
    if isinstance(additional, Mapping):
        return additional
    takes = f"it takes {', '.join(schemas)}" if schemas else "it takes none"
    raise ArgumentError(f"there is no argument {name!r}{suggestion(name, schemas)} ({takes})")


def _takes_several(schema: Schema, name: str) -> bool:
    options = alternatives(_property(schema, name), schema)
    types = {kind for option in options for kind in kinds(option)}
    return "array" in types and "string" not in types


def _items(argument_schema: Schema, schema: Schema) -> Schema:
    for option in alternatives(argument_schema, schema):
        if "array" in kinds(option) and isinstance(option.get("items"), Mapping):
            items: Schema = option["items"]
            return items
    return {}


def _contents(name: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ArgumentError(f"argument {name!r}: cannot read the file {file!r}: {reason}") from None


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"argument {name!r}: expected JSON after :=, got {text!r} ({error})") from None


def _check_complete(arguments: Mapping[str, Any], schema: Schema) -> None:
    missing = [name for name in schema.get("required", ()) if name not in arguments]
    if missing:
        lines = [f"{name}={_placeholder(schema, name)}" for name in missing]
        raise ArgumentError(f"missing {'arguments' if len(missing) > 1 else 'argument'}: {', '.join(lines)}")


def _placeholder(schema: Schema, name: str) -> str:
    argument_schema = _property(schema, name)
    description = argument_schema.get("description")
    return f"<{expected(argument_schema, schema)}{': ' + str(description) if description else ''}>"
