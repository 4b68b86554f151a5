"""How error messages speak of JSON: of a place in it, of a value that came, of what a schema expects.

Easy to get wrong: what a caller sent may be a secret, or a megabyte. A value is shown as its JSON type with a
short excerpt, and as its type alone where the schema marks it as secret (`writeOnly`, `format: password`) or
is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

Step = str | int

_EXCERPT: Final = 24
_NAME: Final = 60
_CHOICES: Final = 8
_DEPTH: Final = 3
_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def json_type(value: Any) -> str:
    """Return the JSON type of a parsed value; a number without a fraction is an integer."""
    if type(value) is float and value.is_integer():
        return "integer"
    return _KINDS.get(type(value), "value")


def place(path: Iterable[Step]) -> str:
    """Return a path as authors write it, in quotes: `"items[2].name"`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return f'"{_clipped(text, _NAME)}"'


def came(value: Any, *, secret: bool = False) -> str:
    """Return what came: `string "2O24-01-…"`, or `string` alone for a secret and for what has no short form."""
    kind = json_type(value)
    if secret or isinstance(value, (list, dict)) or value is None:
        return kind
    if isinstance(value, str):
        return f"{kind} {json.dumps(_clipped(value, _EXCERPT), ensure_ascii=False)}"
    if isinstance(value, int) and abs(value) >= 10**_EXCERPT:
        return f"{kind} of more than {_EXCERPT} digits"
    return f"{kind} {json.dumps(value)}"


def one_of(choices: Iterable[str]) -> str:
    """Return choices as prose: `a, b or c`; long lists are cut."""
    every = list(dict.fromkeys(choices))
    if len(every) > _CHOICES:
        return ", ".join(every[:_CHOICES]) + f" or {len(every) - _CHOICES} more"
    return " or ".join(filter(None, [", ".join(every[:-1]), every[-1] if every else ""]))


def expectation(schema: Any, root: Mapping[str, Any], depth: int = 0) -> str:
    """Return what a schema expects in two or three words: `array of string`, `"a" or "b"`; none for anything."""
    schema = follow(schema, root)
    if depth > _DEPTH:
        return str(schema.get("type", "value"))
    if "const" in schema or "enum" in schema:
        return one_of(_literal(each) for each in schema.get("enum", [schema.get("const")]))
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        words = [expectation(each, root, depth + 1) for each in branches]
        return one_of(words) if all(words) else ""
    kind = schema.get("type", "")
    if kind == "array" and (item := expectation(schema.get("items", {}), root, depth + 1)):
        return f"array of {item}"
    if kind == "string" and (form := schema.get("format")):
        return f"string ({form})"
    return one_of(kind) if isinstance(kind, list) else str(kind)


def follow(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema at the end of its `$ref`s; an empty one for `true`, loops and what is not there."""
    for _ in range(32):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = at_pointer(reference, root)
    return {}


def at_pointer(reference: str, root: Mapping[str, Any]) -> Any:
    """Return what a local reference such as `#/$defs/Point` points at, or None."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def descend(schema: Any, path: Iterable[Step], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the value at `path`, or None where the way there is not a single one."""
    found = follow(schema, root)
    for step in path:
        if isinstance(step, int):
            prefix = found.get("prefixItems", [])
            inner = prefix[step] if step < len(prefix) else found.get("items")
        else:
            inner = found.get("properties", {}).get(step, found.get("additionalProperties"))
        if not isinstance(inner, Mapping):
            return None
        found = follow(inner, root)
    return found


def is_secret(schema: Mapping[str, Any] | None, root: Mapping[str, Any]) -> bool:
    """Return whether values of this schema must not be shown; an unknown schema counts as secret."""
    if schema is None:
        return True
    if schema.get("writeOnly") or schema.get("format") == "password":
        return True
    branches = [follow(each, root) for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    return any(each.get("writeOnly") or each.get("format") == "password" for each in branches)


def _literal(value: Any) -> str:
    return _clipped(json.dumps(value, ensure_ascii=False, default=str), _NAME)


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
