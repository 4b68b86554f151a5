"""What the nodes of pydantic's core schemas say, and whether the JSON of a result may differ from its schema.

Easy to get wrong: a core schema is no tree of one kind. Fields and tags are dicts by name, labels of unions are
tuples, and a name may look like a keyword; so only the members that are listed here are looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Flag
from typing import Any, Final

from pydantic.json_schema import WithJsonSchema

Node = dict[str, Any]

# Where a schema holds one other, and where it holds several.
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
_LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
_TEXTS: Final = frozenset({"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "$comment"})


def may_differ(schema: Any) -> bool:
    """Return whether the JSON of a value that was validated may be something else than the schema says.

    It may where subclasses or sums of flags are written, where NaN is a string, where the published schema was
    changed by hand, and where limits stand in an object that can be changed, or made without validation.
    """
    return any(_is_doubtful(node, within) for node, within in nodes(schema, None))


def holds_anything(schema: Any) -> bool:
    """Return whether some part of a value may be of any type."""
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


def holds_objects(schema: Any) -> bool:
    """Return whether some part of a value is an object of a class, whose fields are not validated again."""
    return any(node["type"] in ("model", "dataclass") or is_own(node) for node, _ in nodes(schema, None))


def takes_none(schema: Any) -> bool:
    """Return whether a type allows None for sure: what a function or a reference leads to is not known."""
    kind = schema.get("type")
    if kind in ("nullable", "none", "any"):
        return True
    if kind == "literal":
        return None in schema["expected"]
    if kind == "union":
        return any(takes_none(each[0] if isinstance(each, tuple) else each) for each in schema["choices"])
    inner = schema.get("schema")
    return isinstance(inner, dict) and takes_none(inner)


def nodes(schema: Any, within: str | None) -> Iterator[tuple[Node, str | None]]:
    """Yield every node of a core schema with what it stands in: "open" for an object that nobody checks again."""
    if isinstance(schema, (list, tuple)):
        for each in schema:
            yield from nodes(each, within)
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
    """Return a node with one more function that changes its JSON Schema."""
    metadata = node.get("metadata") or {}
    functions = [*metadata.get("pydantic_js_functions", ()), function]
    return {**node, "metadata": {**metadata, "pydantic_js_functions": functions}}


def is_own(node: Node) -> bool:
    """Return whether a schema was made here, for a class of attrs or msgspec."""
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
    return _is_published_otherwise(node.get("metadata") or {})


def _is_published_otherwise(metadata: Mapping[str, Any]) -> bool:
    extra = metadata.get("pydantic_js_extra")
    if callable(extra) or any(not key.startswith("x-") and key not in _TEXTS for key in extra or ()):
        return True
    functions: list[Callable[..., Any]] = [
        *metadata.get("pydantic_js_functions", ()),
        *metadata.get("pydantic_js_annotation_functions", ()),
    ]
    return any(_is_by_hand(each) for each in functions)


def _is_by_hand(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    return isinstance(owner, WithJsonSchema) or not is_pydantics(getattr(function, "func", function))


def is_pydantics(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("pydantic", "pydantic_core", "enfilade")
