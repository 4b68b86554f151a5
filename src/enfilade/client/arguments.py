"""Read the arguments of a tool from a command line, by its input schema.

`name=text` is read by the schema, `name:=json` as JSON, `name=@file` is the text of a file, `name:=@file` its
JSON, and `name=@@…` a text that begins with `@`. A repeated name gives an array.

Easy to get wrong: being stricter than the server. Only types are read here, because a command line has none;
other constraints are checked by the server.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from enfilade.client.json_values import Schema, alternatives, expected, kinds, suggestion, value_of

_ASSIGNMENT: Final = re.compile(r"(?P<name>[^=]+?)(?P<operator>:?=)(?P<text>.*)", re.DOTALL)


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
