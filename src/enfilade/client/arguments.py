"""From the words of a command line to the arguments of a tool, by its input schema.

`name=text` is read as the schema says, `name:=json` as JSON, `name=@file` is the text of a file, `name:=@file`
its JSON, and `name=@@…` a text that begins with an @. A name that is repeated makes an array.

Easy to get wrong: to be stricter than the server. Types are read here because a command line has none; what is
too long or too large is for the server to say.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from enfilade.client.json_values import Schema, alternatives, expected, kinds, near, value_of

_WORD: Final = re.compile(r"(?P<name>[^=]+?)(?P<how>:?=)(?P<text>.*)", re.DOTALL)


class ArgumentError(ValueError):
    """An argument cannot be what was typed; the text names it, and says what is expected and what came."""


def read_arguments(
    words: Iterable[str], schema: Schema, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments of a call.

    Args:
        words: `name=text`, `name:=json`, `name=@file`.
        schema: the tool's input schema.
        given: arguments that are there already, as they are; words outrank them.

    Raises:
        ArgumentError: a word is no argument, is of another type, or one that is needed is missing.
    """
    arguments: dict[str, Any] = {}
    for word in words:
        name, value = _read(word, schema)
        if name not in arguments:
            arguments[name] = value
        elif _takes_several(schema, name):
            arguments[name] = [*arguments[name], *value]
        else:
            raise ArgumentError(f"argument {name!r} is given twice")
    whole = {**(given or {}), **arguments}
    if given is None:
        _check_complete(whole, schema)
    return whole


def _read(word: str, schema: Schema) -> tuple[str, Any]:
    found = _WORD.fullmatch(word)
    if found is None:
        raise ArgumentError(f"{word!r} is no argument; write name=value, or name:=json")
    name, text = found["name"], found["text"]
    part = _property(schema, name)
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _contents(name, text[1:])
    if found["how"] == ":=":
        return name, _parsed(name, text)
    try:
        if _takes_several(schema, name) and not text.lstrip().startswith("["):
            return name, [value_of(text, _items(part, schema), schema)]
        return name, value_of(text, part, schema)
    except ValueError as error:
        raise ArgumentError(f"argument {name!r}: {error}") from None


def _property(schema: Schema, name: str) -> Schema:
    properties = schema.get("properties")
    known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    if name in known:
        return known[name] if isinstance(known[name], Mapping) else {}
    more = schema.get("additionalProperties")
    if more is True or (more is None and not known):
        return {}
    if isinstance(more, Mapping):
        return more
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    raise ArgumentError(f"there is no argument {name!r}{near(name, known)} ({takes})")


def _takes_several(schema: Schema, name: str) -> bool:
    options = alternatives(_property(schema, name), schema)
    found = {kind for option in options for kind in kinds(option)}
    return "array" in found and "string" not in found


def _items(part: Schema, schema: Schema) -> Schema:
    for option in alternatives(part, schema):
        if "array" in kinds(option) and isinstance(option.get("items"), Mapping):
            items: Schema = option["items"]
            return items
    return {}


def _contents(name: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ArgumentError(f"argument {name!r}: cannot read the file {file!r}: {why}") from None


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"argument {name!r}: expected JSON after :=, got {text!r} ({error})") from None


def _check_complete(arguments: Mapping[str, Any], schema: Schema) -> None:
    missing = [name for name in schema.get("required", ()) if name not in arguments]
    if missing:
        lines = [f"{name}={_wanted(schema, name)}" for name in missing]
        raise ArgumentError(f"missing {'arguments' if len(missing) > 1 else 'argument'}: {', '.join(lines)}")


def _wanted(schema: Schema, name: str) -> str:
    part = _property(schema, name)
    said = part.get("description")
    return f"<{expected(part, schema)}{': ' + str(said) if said else ''}>"
