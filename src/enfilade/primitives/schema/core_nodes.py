"""Nodes of pydantic's core schemas: what they allow, and limits that any value can be checked by.

On a union, a choice or the like, pydantic checks limits (`Field(gt=0)`, `max_length=3`, a pattern) after
validation. Where the value cannot be compared, it raises a bare `TypeError`. So a limit that a member of the type
can never meet is refused at registration, and a value without such a limit is refused like any wrong value.

Easy to get wrong: a core schema is no tree of one kind. Fields and tags are dicts by name, labels of unions are
tuples, and a name may look like a keyword; so only the members that are listed here are looked into. And a limit
that stands after a function of the author's is about what that function returns, not about what callers send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, Flag
from functools import partial
from typing import Any, Final

from pydantic.json_schema import SkipJsonSchema, WithJsonSchema
from pydantic_core import PydanticCustomError

Node = dict[str, Any]

# Members of a node that hold one schema, and those that hold several.
ONE: Final = frozenset(
    {
        *("schema", "json_schema", "python_schema", "lax_schema", "strict_schema", "return_schema"),
        *("items_schema", "keys_schema", "values_schema", "extras_schema", "extras_keys_schema"),
        *("arguments_schema", "var_args_schema", "var_kwargs_schema"),
    }
)
MANY: Final = (
    "choices",
    "fields",
    "steps",
    "computed_fields",
    "definitions",
    "items_schema",
    "arguments_schema",
)
# Types that a serializer checks as a validator does, but for None.
_PLAIN_TYPES: Final = frozenset(
    {
        *(
            "any",
            "none",
            "nullable",
            "union",
            "str",
            "int",
            "float",
            "bool",
            "bytes",
            "decimal",
            "uuid",
            "literal",
        ),
        *("date", "time", "datetime", "timedelta", "list", "set", "frozenset", "dict"),
    }
)
# Types of keys of which no two are the same text.
_DISTINCT: Final = frozenset({"str", "int", "bool", "date", "uuid", "bytes"})
_LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
_MARKS: Final = "pydantic_js_annotation_functions"
_WITH_OPTIONS: Final = ("model", "dataclass", "typed-dict")
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)


def may_differ(schema: Any) -> bool:
    """Return whether the JSON of a validated value may break the schema that is published for it.

    It may where subclasses or sums of flags are written, where NaN is a string, where the published schema was
    changed by hand, where limits stand in an object that can be changed, or made without validation, and where a
    function of the author's writes more than plain values: what it returns is never validated.
    """
    if any(_is_doubtful(node, within) for node, within in nodes(schema, None)):
        return True
    return any(
        node["type"] not in _PLAIN_TYPES or _is_doubtful(node, within)
        for returned in _written_by_functions(schema)
        for node, within in nodes(returned, "open")
    )


def may_write_none(schema: Any) -> bool:
    """Return whether a function of the author's may write None, which serializers accept for every type."""
    return any(returned["type"] != "any" for returned in _written_by_functions(schema))


def _written_by_functions(schema: Any) -> Iterator[Node]:
    """Yield the schemas of what serializer functions and computed fields return."""
    for node, _ in nodes(schema, None):
        if node["type"] == "computed-field":
            yield node["return_schema"]
        writes = node.get("serialization") or {}
        if "return_schema" in writes and not is_pydantics(writes.get("function")):
            yield writes["return_schema"]


def holds_anything(schema: Any) -> bool:
    """Return whether a value, or a value within it, may be of any type."""
    for node, _ in nodes(schema, None):
        writes = node.get("serialization") or {}
        if "any" in (node.get("type"), writes.get("type")) or allows_more(node):
            return True
        if writes.get("type") in ("function-plain", "function-wrap") and not is_pydantics(writes["function"]):
            return True
    return False


def allows_more(node: Node) -> bool:
    """Return whether objects of a type may have more members than it names."""
    return (node.get("config") or {}).get("extra_fields_behavior") == "allow"


def may_repeat_names(schema: Any) -> bool:
    """Return whether an object in JSON may get two members of one name, as `{1: "a", "1": "b"}` does."""
    return holds_anything(schema) or has_other_keys(schema) or writes_own_names(schema)


def has_other_keys(schema: Any) -> bool:
    """Return whether two keys of an object may be the same text."""
    return any(
        node["type"] == "dict" and node.get("keys_schema", {}).get("type") not in _DISTINCT
        for node, _ in nodes(schema, None)
    )


def writes_own_names(schema: Any) -> bool:
    """Return whether names in JSON may come from elsewhere than from keys and the fields of classes."""
    for node, _ in nodes(schema, None):
        if allows_more(node):
            return True
        if node["type"] == "computed-field" and may_repeat_names(node["return_schema"]):
            return True
        function = (node.get("serialization") or {}).get("function")
        if function is not None and not is_pydantics(function):
            return True
    return False


def refuse_repeated_names(node: Node) -> None:
    """Refuse a class of which two fields are written under one name.

    Raises:
        AnnotationError: says which name.
    """
    fields = node["fields"]
    named = fields.items() if isinstance(fields, dict) else [(field["name"], field) for field in fields]
    names = [
        field.get("serialization_alias", name)
        for name, field in named
        if not (field.get("serialization_exclude") or "serialization_exclude_if" in field)
    ]
    names += [field.get("alias", field["property_name"]) for field in node.get("computed_fields", ())]
    for name, times in Counter(names).items():
        if times > 1:
            raise AnnotationError(
                f'{times} of its fields are called "{name}" in JSON; give each an alias of its own'
            )


def holds_objects(schema: Any) -> bool:
    """Return whether a value is or holds an object of a class, whose fields are not validated again."""
    return any(node["type"] in ("model", "dataclass") or is_own(node) for node, _ in nodes(schema, None))


def is_without_members(kind: Any) -> bool:
    """Return whether a class is an Enum that has no members."""
    return isinstance(kind, type) and issubclass(kind, Enum) and not kind.__members__


def takes_none(schema: Any) -> bool:
    """Return whether a type surely allows None; functions and references are not looked behind."""
    kind = schema.get("type")
    if kind in ("nullable", "none", "any"):
        return True
    if kind == "literal":
        return None in schema["expected"]
    if kind == "union":
        return any(takes_none(choice[0] if isinstance(choice, tuple) else choice) for choice in schema["choices"])
    inner = schema.get("schema")
    return isinstance(inner, dict) and takes_none(inner)


def nodes(schema: Any, within: str | None) -> Iterator[tuple[Node, str | None]]:
    """Yield every node of a core schema; "open" beside those within an object that is not checked again."""
    if isinstance(schema, (list, tuple)):
        for item in schema:
            yield from nodes(item, within)
    elif isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            within = _openness(schema, within)
            yield schema, within
        for key, value in schema.items():
            if key in MANY and isinstance(value, dict) and not isinstance(value.get("type"), str):
                yield from nodes(list(value.values()), within)  # by name, and "type" may be one
            elif key in ONE or key in MANY:
                yield from nodes(value, "open" if key == "definitions" else within)


def _openness(node: Node, within: str | None) -> str | None:
    kind = node["type"]
    if is_own(node):
        return "open"
    if kind == "model":
        options = node["cls"].model_config
        return None if options.get("frozen") or options.get("validate_assignment") else "open"
    if kind == "dataclass":
        is_checked = hasattr(node["cls"], "__pydantic_validator__") and node.get("frozen")
        return None if is_checked else "open"
    return within


def published_by(node: Node, function: Callable[[Any, Any], dict[str, Any]]) -> Node:
    """Return a copy of a node with one more function that changes its JSON Schema."""
    metadata = node.get("metadata") or {}
    functions = [*metadata.get("pydantic_js_functions", ()), function]
    return {**node, "metadata": {**metadata, "pydantic_js_functions": functions}}


def shown_if_sent(node: Node) -> Node:
    """Return a node without the mark that leaves it out of a JSON Schema: what is sent has to be in it."""
    functions = (node.get("metadata") or {}).get(_MARKS) or ()
    retained = [function for function in functions if not _leaves_out(function)]
    if len(retained) == len(functions):
        return node
    return {**node, "metadata": {**node["metadata"], _MARKS: retained}}


def _leaves_out(function: Any) -> bool:
    mark: Any = SkipJsonSchema  # to type checkers it is a form that takes an argument
    return isinstance(getattr(function, "__self__", None), mark)


def is_own(node: Node) -> bool:
    """Return whether a node was made by `foreign_classes`, for a class of attrs or msgspec."""
    return "enfilade_foreign" in (node.get("metadata") or {})


def _is_doubtful(node: Node, within: str | None) -> bool:
    config, writes = node.get("config") or {}, node.get("serialization") or {}
    if writes.get("type") == "any" and node["type"] != "any":
        return True
    if node["type"] == "enum" and issubclass(node["cls"], Flag):
        return True
    if config.get("ser_json_inf_nan", "null") != "null" or "serialization_exclude_if" in node:
        return True
    if within == "open" and any(limit in node for limit in _LIMITS):
        return True
    options = _options_of(node)
    if options.get("json_schema_mode_override") == "validation" or _changes_schema(
        options.get("json_schema_extra")
    ):
        return True
    return _is_published_otherwise(node.get("metadata") or {})


def _options_of(node: Node) -> Mapping[str, Any]:
    """Return the options (`ConfigDict`) of the class that a node is for; core schemas hold few of them."""
    kind = node.get("cls")
    options: Any = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None)
    return options if isinstance(options, Mapping) and node["type"] in _WITH_OPTIONS else {}


def _changes_schema(extra: Any) -> bool:
    """Return whether a `json_schema_extra` changes more than texts and extensions."""
    return callable(extra) or any(not key.startswith("x-") and key not in _ANNOTATIONS for key in extra or ())


def _is_published_otherwise(metadata: Mapping[str, Any]) -> bool:
    if _changes_schema(metadata.get("pydantic_js_extra")):
        return True
    functions: list[Callable[..., Any]] = [
        *metadata.get("pydantic_js_functions", ()),
        *metadata.get("pydantic_js_annotation_functions", ()),
    ]
    return any(_is_by_hand(function) for function in functions)


def _is_by_hand(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    return isinstance(owner, WithJsonSchema) or not is_pydantics(getattr(function, "func", function))


def is_pydantics(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("pydantic", "pydantic_core", "enfilade")


# -- limits ----------------------------------------------------------------------------------------------------

#: Keyword of JSON Schema by limit of pydantic.
COMPARISONS: Final[Mapping[str, str]] = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
_TEXT_OPTIONS: Final = ("pattern", "strip_whitespace", "to_lower", "to_upper")
_LENGTHS: Final = ("min_length", "max_length")
#: Limits of decimals, which JSON Schema does not have.
DIGITS: Final = ("max_digits", "decimal_places")
_TEXT_TYPES: Final = ("str", "bytes", "url", "multi-host-url", "uuid", "none")
_GROUP_TYPES: Final = ("list", "tuple", "set", "frozenset", "dict", "typed-dict", "generator")
_SCALAR_TYPES: Final = ("int", "float", "bool", "decimal", "complex", "date", "time", "datetime", "timedelta")
# By limit, the types (as core schemas name them) whose values never have it.
_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(COMPARISONS, (*_TEXT_TYPES, *_GROUP_TYPES, *_SCALAR_TYPES[4:])),
    **dict.fromkeys(_LENGTHS, (*_SCALAR_TYPES, "uuid", "none")),
    **dict.fromkeys(DIGITS, (*_TEXT_TYPES, *_GROUP_TYPES, *_SCALAR_TYPES[4:])),
    "pattern": (*_GROUP_TYPES, *_SCALAR_TYPES, "none"),
}
# The member of a node that holds the schema of its value.
_INSIDE: Final[Mapping[str, str]] = {
    "lax-or-strict": "strict_schema",
    "json-or-python": "python_schema",
    **dict.fromkeys(("default", "function-after", "function-before", "function-wrap", "definitions"), "schema"),
}


class AnnotationError(TypeError):
    """A return type of which some values can never be sent; the text says what to write."""


def with_limits_checked(node: Node, *, sent: bool) -> Node:
    """Return a node whose limits refuse a value that cannot be compared as a validation error.

    Args:
        node: the node of a type.
        sent: the type is that of a result, to which a limit after a function of the author's applies.

    Raises:
        AnnotationError: a member of the type can never meet a limit; says which.
    """
    if node["type"] == "chain" and len(node["steps"]) > 1:
        first, *steps = node["steps"]
        for name, limit in ((key, pattern) for step in steps for key, pattern in _pattern_of(step)):
            _refuse_without(name, limit, first)
        return {**node, "steps": [first, *(_reporting(step, _pattern_of(step)) for step in steps)]}
    limits = _limits_of(node)
    if not limits:
        return node
    for name, limit in limits.items():
        if isinstance(limit, (int, float)):
            _refuse_without(name, limit, node["schema"])
    checked = _reporting(node, list(limits.items()))
    if not sent and _is_changed(node["schema"]):
        metadata = {key: value for key, value in node.get("metadata", {}).items() if key != "pydantic_js_updates"}
        checked = {**checked, "metadata": metadata}
    return checked


def is_limit_of_text(schema: Node) -> bool:
    """Return whether a chain is one that pydantic made of a type and its limits on text."""
    steps = schema["steps"][1:]
    return bool(steps) and all(_pattern_of(step) for step in steps)


def _limits_of(node: Node) -> Mapping[str, Any]:
    """Return the limits that a function of pydantic's checks after validation."""
    function = node["function"]["function"] if node["type"] == "function-after" else None
    if not isinstance(function, partial) or not is_pydantics(function.func):
        return {}
    return {name: limit for name, limit in function.keywords.items() if name in _WITHOUT}


def _pattern_of(step: Node) -> list[tuple[str, Any]]:
    """Return the pattern by which a step of a chain checks a text, if pydantic made the step."""
    if step["type"] != "function-wrap" or not is_pydantics(step["function"]["function"]):
        return []
    inner = step["schema"]
    if inner["type"] != "str":
        return []
    name = next((name for name in _TEXT_OPTIONS if inner.get(name)), "pattern")
    return [(name, inner.get(name))]


def _refuse_without(name: str, limit: Any, schema: Node) -> None:
    for leaf in leaves(schema):
        kind: Any = leaf.get("cls")
        has_no_length = name in _LENGTHS and isinstance(kind, type) and not hasattr(kind, "__len__")
        if leaf["type"] in _WITHOUT.get(name, _WITHOUT["pattern"]) or (
            has_no_length and leaf["type"] != "is-instance-of-any"
        ):
            type_name = kind.__name__ if isinstance(kind, type) else leaf["type"].replace("none", "None")
            raise AnnotationError(
                f"the limit {name}={limit!r} cannot be checked of {type_name}; write it beside the type that has "
                f"it, such as Annotated[str, Field(max_length=3)] | int"
            )


def leaves(schema: Node) -> Iterator[Node]:
    """Yield the nodes of the values that validation returns, as far as they are known."""
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
    """Return whether a function of the author's changes the value before a limit is checked."""
    while schema["type"] in _INSIDE:
        if schema["type"].startswith("function-") and not is_pydantics(_function_of(schema)):
            return True
        schema = schema[_INSIDE[schema["type"]]]
    return False


def _function_of(node: Node) -> Callable[..., Any]:
    function: Any = node["function"]["function"]
    return function.func if isinstance(function, partial) else function


def _reporting(node: Node, limits: list[tuple[str, Any]]) -> Node:
    """Return a node whose function raises a validation error in place of a `TypeError`, if it checks a limit."""
    if not limits:
        return node
    check: Any = node["function"]["function"]
    name, limit = limits[0]

    def checked(value: Any, *handler: Any) -> Any:
        try:
            return check(value, *handler)
        except TypeError:
            raise PydanticCustomError(
                "limit", "should be a value to which its limit applies", {"name": name, "limit": limit}
            ) from None

    return {**node, "function": {**node["function"], "function": checked}}
