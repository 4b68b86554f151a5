"""How error messages speak of JSON: of a place in it, of a value that came, of what a schema expects.

Easy to get wrong: what a caller sent may be a secret, or a megabyte. A value is shown as its JSON type with a
short excerpt, and as its type alone where the schema marks it as secret (`writeOnly`, `format: password`) or
is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Step = str | int

#: Stands for a value that is not there.
NOWHERE: Final = object()

#: Characters of what is said about the alternatives of one value.
LONGEST: Final = 600

_EXCERPT: Final = 24
_EXACT: Final = 2**53  # below it, floats have all integers
_NAME: Final = 60
_CHOICES: Final = 8
_DEPTH: Final = 3
#: How each limit is put, and what is counted.
_LIMITS: Final = {
    "minimum": ("be at least", ""),
    "maximum": ("be at most", ""),
    "exclusiveMinimum": ("be more than", ""),
    "exclusiveMaximum": ("be less than", ""),
    "multipleOf": ("be a multiple of", ""),
    "minLength": ("have at least", "character"),
    "maxLength": ("have at most", "character"),
    "minItems": ("have at least", "item"),
    "maxItems": ("have at most", "item"),
    "minProperties": ("have at least", "member"),
    "maxProperties": ("have at most", "member"),
    "pattern": ("match", ""),
}
LIMITS: Final = frozenset(_LIMITS)
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
    return json.dumps(clipped(text, _NAME), ensure_ascii=False)


def came(value: Any, *, secret: bool = False) -> str:
    """Return what came: `string "2O24-01-…"`, or `string` alone for a secret and for what has no short form."""
    kind = json_type(value)
    if secret or isinstance(value, (list, dict)) or value is None:
        return kind
    if isinstance(value, str):
        return f"{kind} {json.dumps(clipped(value, _EXCERPT), ensure_ascii=False)}"
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


def unknown(name: str, what: str, names: Iterable[str], present: Any) -> str:
    """Return that there is no such member, and which one may have been meant or which there are.

    Args:
        name: of the member that came.
        what: what it is not: `an argument of this tool`.
        names: of the members that there are.
        present: the object that it came in.
    """
    import difflib  # not before something is wrong

    known = list(names)
    free = [each for each in known if not (isinstance(present, Mapping) and each in present)]
    if near := difflib.get_close_matches(name[:64], free, n=1, cutoff=0.7):
        return f'is not {what} (did you mean "{near[0]}"?)'
    takes = f"it takes: {', '.join(known)}" if known else "it takes none"
    return f"is not {what} ({takes})"


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
    """Return the schema of the value at `path`, or None where no way leads there.

    Where several members of a union have such a value, it is a union of theirs.
    """
    found = follow(schema, root)
    for step in path:
        inner = [follow(each, root) for each in _inner(found, step, root, 0)]
        if not inner:
            return None
        found = inner[0] if len(inner) == 1 else {"anyOf": inner}
    return found


def _inner(schema: Mapping[str, Any], step: Step, root: Mapping[str, Any], depth: int) -> list[Any]:
    """Return the schemas that the value behind one step can have."""
    if isinstance(step, int):
        prefix = schema.get("prefixItems", [])
        inner = prefix[step] if step < len(prefix) else schema.get("items")
    else:
        others = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        inner = schema.get("properties", {}).get(step, others[0])
    found = [inner] if isinstance(inner, Mapping) else []
    if depth <= _DEPTH:
        for branch in branches_of(schema):
            found += (each for each in _inner(follow(branch, root), step, root, depth + 1) if each not in found)
    return found


def types_of(schema: Any, root: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema names, in its branches as well; none for anything."""
    return set(_types(schema, root, 0))


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> Iterator[str]:
    part = follow(schema, root)
    named = part.get("type", [])
    yield from [named] if isinstance(named, str) else named
    for branch in branches_of(part) if depth <= _DEPTH else ():
        yield from _types(branch, root, depth + 1)


def limited(keyword: str, limit: object) -> str:
    """Return what a keyword of JSON Schema that limits a value asks for: `be at most 50`."""
    start, noun = _LIMITS[keyword]
    if isinstance(limit, float) and limit.is_integer() and abs(limit) < _EXACT:
        limit = int(limit)  # as authors write it; pydantic makes a float of it
    return f"{start} {limit}" + (f" {noun}{'' if limit == 1 else 's'}" if noun else "")


def branches_of(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the alternatives that a schema has."""
    return (*schema.get("anyOf", ()), *schema.get("oneOf", ()))


def value_at(value: Any, path: Iterable[Step]) -> Any:
    """Return the value at a path; `NOWHERE` if there is none."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return NOWHERE
    return value


def is_secret(schema: Mapping[str, Any] | None, root: Mapping[str, Any]) -> bool:
    """Return whether values of this schema must not be shown; an unknown schema counts as secret."""
    if schema is None:
        return True
    if schema.get("writeOnly") or schema.get("format") == "password":
        return True
    branches = [follow(each, root) for each in branches_of(schema)]
    return any(each.get("writeOnly") or each.get("format") == "password" for each in branches)


def _literal(value: Any) -> str:
    return clipped(json.dumps(value, ensure_ascii=False, default=str), _NAME)


def clipped(text: str, length: int) -> str:
    """Return a text that is cut if it is longer than this."""
    return text if len(text) <= length else text[: length - 1] + "…"
