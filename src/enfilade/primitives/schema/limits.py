"""Limits (`Field(gt=0)`, `max_length=3`, a pattern) on types of which pydantic checks them by a function.

On a union, a choice or the like, pydantic compares after validation. Where the value cannot be compared it raises
a bare `TypeError`, and in the schema it writes its own names for the limits. So a limit that a member of the type
can never meet is refused at registration, other values that have no such limit are refused like any wrong value,
and the schema gets the words of JSON Schema, each where it belongs.

Easy to get wrong: a limit that stands after a function of the author's is about what that function returns, and
not about what callers send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from pydantic_core import PydanticCustomError

from enfilade.primitives.schema.core_nodes import Node, is_pydantics

_COMPARISONS: Final[Mapping[str, str]] = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_LENGTHS: Final = ("min_length", "max_length")
_DIGITS: Final = ("max_digits", "decimal_places")
_LENGTH_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_TEXTS: Final = ("str", "bytes", "url", "multi-host-url", "uuid", "none")
_GROUPS: Final = ("list", "tuple", "set", "frozenset", "dict", "typed-dict", "generator")
_SCALARS: Final = ("int", "float", "bool", "decimal", "complex", "date", "time", "datetime", "timedelta")
# Types, by their name in core schemas, of which no value has a limit.
_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_COMPARISONS, (*_TEXTS, *_GROUPS, *_SCALARS[4:])),
    **dict.fromkeys(_LENGTHS, (*_SCALARS, "uuid", "none")),
    **dict.fromkeys(_DIGITS, (*_TEXTS, *_GROUPS, *_SCALARS[4:])),
    "pattern": (*_GROUPS, *_SCALARS, "none"),
}
_INSIDE: Final[Mapping[str, str]] = {
    "lax-or-strict": "strict_schema",
    "json-or-python": "python_schema",
    **dict.fromkeys(("default", "function-after", "function-before", "function-wrap", "definitions"), "schema"),
}


def with_limits_checked(node: Node) -> Node:
    """Return a schema whose limits refuse a value that has none as they refuse any wrong value.

    Raises:
        TypeError: a member of the type can never meet a limit; says which.
    """
    if node["type"] == "chain" and len(node["steps"]) > 1:
        first, *others = node["steps"]
        for name, limit in ((key, each) for step in others for key, each in _pattern_of(step)):
            _refuse_without(name, limit, first)
        return {**node, "steps": [first, *(_reporting(each) if _pattern_of(each) else each for each in others)]}
    limits = _limits_of(node)
    if not limits:
        return node
    for name, limit in limits.items():
        if isinstance(limit, (int, float)):
            _refuse_without(name, limit, node["schema"])
    checked = _reporting(node)
    if _is_changed(node["schema"]):
        metadata = {key: value for key, value in node.get("metadata", {}).items() if key != "pydantic_js_updates"}
        checked = {**checked, "metadata": metadata}
    return checked


def is_limit_of_text(schema: Node) -> bool:
    """Return whether a chain is one that pydantic made of a type and limits of text."""
    others = schema["steps"][1:]
    return bool(others) and all(_pattern_of(each) for each in others)


def in_json_schema(part: dict[str, Any]) -> dict[str, Any]:
    """Put limits that stand in a schema under pydantic's names, or beside a union, where they belong."""
    for name, word in _COMPARISONS.items():
        limit = part.pop(name, None)
        if type(limit) in (int, float):
            _put(part, dict.fromkeys(("integer", "number"), word), limit)
    for name in _DIGITS:
        part.pop(name, None)
    for index, word in enumerate(_LENGTH_WORDS["string"]):
        if word in part and part.get("type") != "string":
            _put(part, {kind: words[index] for kind, words in _LENGTH_WORDS.items()}, part.pop(word))
    return part


def _put(part: dict[str, Any], words: Mapping[str, str], limit: Any) -> None:
    """Write a limit into those alternatives of a schema whose values have it."""
    branches = part.get("anyOf") or part.get("oneOf")
    if branches:
        for branch in branches:
            _put(branch, words, limit)
    word = words.get(str(part.get("type")))
    # The text of a date or of bytes has another length than they have, and a model has none.
    if word and not part.keys() & {"format", "contentEncoding", "properties", "enum", "const", word}:
        part[word] = limit


def _limits_of(node: Node) -> Mapping[str, Any]:
    """Return the limits that a function of pydantic's checks after the validation."""
    function = node["function"]["function"] if node["type"] == "function-after" else None
    if not isinstance(function, partial) or not is_pydantics(function.func):
        return {}
    return {name: limit for name, limit in function.keywords.items() if name in _WITHOUT}


def _pattern_of(step: Node) -> list[tuple[str, Any]]:
    """Return the pattern that a step of a chain checks a text by, if it is one of pydantic's."""
    if step["type"] != "function-wrap" or not is_pydantics(step["function"]["function"]):
        return []
    inner = step["schema"]
    return [("pattern", inner.get("pattern"))] if inner["type"] == "str" else []


def _refuse_without(name: str, limit: Any, schema: Node) -> None:
    for leaf in leaves(schema):
        kind: Any = leaf.get("cls")
        has_no_length = name in _LENGTHS and isinstance(kind, type) and not hasattr(kind, "__len__")
        if leaf["type"] in _WITHOUT[name] or (has_no_length and leaf["type"] != "is-instance-of-any"):
            shown = kind.__name__ if isinstance(kind, type) else leaf["type"].replace("none", "None")
            raise TypeError(
                f"the limit {name}={limit!r} cannot be checked of {shown}; write it beside the type that has it, "
                f"such as Annotated[str, Field(max_length=3)] | int"
            )


def leaves(schema: Node) -> Iterator[Node]:
    """Yield the schemas of the values that a schema gives, as far as they are known."""
    kind = schema["type"]
    if kind == "nullable":
        yield {"type": "none"}
        yield from leaves(schema["schema"])
    elif kind in ("union", "tagged-union"):
        choices = schema["choices"].values() if kind == "tagged-union" else schema["choices"]
        for choice in choices:
            yield from leaves(choice[0] if isinstance(choice, tuple) else choice)
    elif kind == "chain":
        yield from leaves(schema["steps"][0])
    elif kind in _INSIDE:
        if not kind.startswith("function-") or is_pydantics(_function_of(schema)):
            yield from leaves(schema[_INSIDE[kind]])
    else:
        yield schema


def _is_changed(schema: Node) -> bool:
    """Return whether a function of the author's has had the value before a limit is checked."""
    while schema["type"] in _INSIDE:
        if schema["type"].startswith("function-") and not is_pydantics(_function_of(schema)):
            return True
        schema = schema[_INSIDE[schema["type"]]]
    return False


def _function_of(node: Node) -> Callable[..., Any]:
    function: Any = node["function"]["function"]
    return function.func if isinstance(function, partial) else function


def _reporting(node: Node) -> Node:
    """Return a schema with a function whose `TypeError` is an error of validation."""
    check: Any = node["function"]["function"]

    def checked(value: Any, *handler: Any) -> Any:
        try:
            return check(value, *handler)
        except TypeError:
            raise PydanticCustomError("limit", "should be a value to which its limit applies") from None

    return {**node, "function": {**node["function"], "function": checked}}
