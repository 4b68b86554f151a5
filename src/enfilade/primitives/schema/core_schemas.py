"""What pydantic's core schemas say, changed so that JSON in and JSON out follow one rule for every type.

`for_arguments` and `for_results` take the core schema of a type and return another one:

- bytes are base64 in the standard alphabet, in models too, unless the model sets an option of its own; types
  that encode themselves (`Base64Bytes`) do so once;
- members of an Enum are found by the JSON of their values, in `Literal[…]`, in discriminators and in Enums whose
  values are no plain JSON;
- iterables are lists, so that every item is validated before the function runs;
- attrs classes and msgspec Structs are objects;
- a serializer function that does not say what it returns publishes nothing about it.

Easy to get wrong: pydantic-core takes the finished validator of a model instead of the schema that stands here,
unless it is told not to (`validator_of`, `serializer_of`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import EncodedBytes, EncodedStr, TypeAdapter
from pydantic_core import PydanticCustomError, SchemaSerializer, SchemaValidator, core_schema, to_json

from enfilade.primitives.depends import DEPENDENCY
from enfilade.primitives.schema.core_nodes import MANY, ONE, Node, is_own, is_pydantics, nodes
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives.schema import foreign_classes as _foreign
else:  # for few servers
    _foreign = LazyModule("enfilade.primitives.schema.foreign_classes")

_BYTES_OPTIONS: Final = {"arguments": "val_json_bytes", "results": "ser_json_bytes"}
_PLAIN_VALUES: Final = (str, int, float, bool, type(None))
_DIGITS: Final = 20  # of a Flag's value
_URL_SAFE: Final = str.maketrans("-_", "+/")


def for_arguments(schema: Any) -> Any:
    """Return the core schema by which arguments are read; the same one if there is nothing to change.

    Raises:
        TypeError: no JSON can ever be a value of a type in it; says which, and what to use.
    """
    return _Rewriter("arguments").whole(schema)


def for_results(schema: Any) -> Any:
    """Return the core schema by which results are written; the same one if there is nothing to change."""
    return _Rewriter("results").whole(schema)


def validator_of(schema: Any, adapter: TypeAdapter[Any] | None = None) -> SchemaValidator:
    """Return a validator by this very schema: that of the adapter, if the schema is its own."""
    if adapter is not None and schema is adapter.core_schema:
        return cast("SchemaValidator", adapter.validator)
    try:
        return SchemaValidator(schema, _use_prebuilt=False)
    except TypeError:  # older releases of pydantic-core
        return SchemaValidator(schema)


def serializer_of(schema: Any, *, bytes_mode: str = "base64") -> SchemaSerializer:
    """Return a serializer by this very schema; `bytes_mode` is for bytes in values of any type."""
    config: Any = {"ser_json_bytes": bytes_mode}
    try:
        return SchemaSerializer(schema, config, _use_prebuilt=False)
    except TypeError:
        return SchemaSerializer(schema, config)


def with_base64(value: Any, fallback: Callable[[Any], Any]) -> Any:
    """Return a value with plain ones for models with bytes, which pydantic itself would write as text.

    Args:
        value: a model, or a list or dict of models.
        fallback: gives a value that pydantic knows for one that it does not.
    """
    if type(value) is dict:
        return {key: with_base64(member, fallback) for key, member in value.items()}
    if type(value) in (list, tuple):
        return [with_base64(item, fallback) for item in value]
    kind: Any = type(value)
    serializer = _serializer_with_bytes(kind) if hasattr(kind, "__pydantic_serializer__") else None
    if serializer is None:
        return value
    return serializer.to_python(value, mode="json", by_alias=True, warnings="none", fallback=fallback)


@lru_cache(maxsize=256)
def _serializer_with_bytes(kind: type) -> SchemaSerializer | None:
    """Return the serializer of a model that holds bytes; None for one without."""
    schema = TypeAdapter(kind).core_schema
    has_bytes = any(node["type"] == "bytes" for node, _ in nodes(schema, None))
    return serializer_of(for_results(schema)) if has_bytes else None


def decoded_bytes(value: Any) -> Any:
    """Return the bytes that a base64 string stands for, in either alphabet; other values as they are."""
    if not isinstance(value, str):
        return value
    text = value.translate(_URL_SAFE) if "-" in value or "_" in value else value
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("bytes_invalid_encoding", "should be valid base64") from None


def encoded_bytes(value: Any) -> Any:
    """Return bytes as base64 in the standard alphabet; other values as they are."""
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else value


class _Rewriter:
    """Copies one core schema with what is different here."""

    def __init__(self, direction: str) -> None:
        self._direction = direction
        self._foreign: dict[str, Any] = {}
        self._definitions: dict[str, Node] = {}

    def whole(self, schema: Any) -> Any:
        if schema["type"] == "definitions":
            self._definitions = {each["ref"]: each for each in schema["definitions"] if "ref" in each}
        found = self.visit(schema, own_bytes=False)
        if not self._foreign:
            return found
        if found["type"] != "definitions":
            return core_schema.definitions_schema(found, list(self._foreign.values()))
        # A model may be in both; each of them was changed in the same way.
        merged = {**self._foreign, **{each["ref"]: each for each in found["definitions"]}}
        return {**found, "definitions": list(merged.values())}

    def visit(self, node: Node, *, own_bytes: bool) -> Any:
        kind = node["type"]
        if self._direction == "arguments" and DEPENDENCY in (node.get("metadata") or {}):
            raise TypeError(
                "Depends stands inside of its type, where a caller could fill it; "
                "make it a parameter of its own: Annotated[<the whole type>, Depends(fn)]"
            )
        own_bytes = self._has_own_bytes(node, own_bytes)
        if (encoder := _encoder_of(node)) is not None:
            return _encoding_itself(node, encoder) if self._direction == "results" else node
        if kind == "is-instance" and _foreign.is_foreign(node["cls"]):
            return self._foreign_class(node["cls"])
        if is_own(node):  # the check for the class in it must not become its schema again
            return {**node, "json_schema": self.visit(node["json_schema"], own_bytes=False)} | {
                "serialization": self._inside("serialization", node["serialization"], False)
            }
        changed: Node = self._members(node, own_bytes)
        if kind == "bytes" and not own_bytes:
            return _bytes(changed)
        if kind == "generator":
            return _list(changed)
        return self._argument(changed) if self._direction == "arguments" else _result(changed)

    def _members(self, node: Node, own_bytes: bool) -> Node:
        """Return a schema, or a part of one, with its members changed; itself if none of them is."""
        changed = {key: self._inside(key, value, own_bytes) for key, value in node.items()}
        return node if all(changed[key] is node[key] for key in node) else changed

    def _inside(self, key: str, value: Any, own_bytes: bool) -> Any:
        if key == "serialization":
            return self._members(value, own_bytes)
        if key in ONE and isinstance(value, dict):
            return self.visit(value, own_bytes=own_bytes)
        if key in MANY and isinstance(value, dict):
            named = {name: self.visit(each, own_bytes=own_bytes) for name, each in value.items()}
            return value if all(named[name] is value[name] for name in value) else named
        if key in MANY and isinstance(value, list):
            items = [self._item(each, own_bytes) for each in value]
            return value if all(map(is_, items, value)) else items
        return value

    def _item(self, item: Any, own_bytes: bool) -> Any:
        """Return an item of a list: a schema, one with a label, or the name of a field."""
        if isinstance(item, tuple):
            labelled = self.visit(item[0], own_bytes=own_bytes)
            return item if labelled is item[0] else (labelled, *item[1:])
        if not isinstance(item, dict):
            return item
        if "type" in item:
            return self.visit(item, own_bytes=own_bytes)
        return self._members(item, own_bytes)

    def _has_own_bytes(self, node: Node, inherited: bool) -> bool:
        if node["type"] not in ("model", "dataclass", "typed-dict"):
            return inherited
        return _BYTES_OPTIONS[self._direction] in (node.get("config") or {})

    def _foreign_class(self, kind: type) -> Any:
        reference = f"{kind.__module__}.{kind.__qualname__}:{id(kind)}"
        if reference not in self._foreign:
            self._foreign[reference] = {}  # being made: it may refer to itself
            made, definitions = _foreign.foreign_schema(kind)
            for each in definitions:
                self._foreign.setdefault(each["ref"], self.visit(each, own_bytes=False))
            self._foreign[reference] = {**self.visit(made, own_bytes=False), "ref": reference}
        return core_schema.definition_reference_schema(reference)

    def _argument(self, node: Node) -> Any:
        kind = node["type"]
        if kind == "is-subclass":
            raise TypeError(
                f"a class ({node['cls'].__name__} or one of its subclasses) cannot come from JSON; "
                f"take its name, such as Literal[…], and look the class up in the function"
            )
        if kind == "literal" and any(isinstance(each, Enum) for each in node["expected"]):
            return _by_json(node, {_key(each): each for each in node["expected"]})
        if kind == "enum" and not all(type(each.value) in _PLAIN_VALUES for each in node["members"]):
            return _by_json(node, {_key(each): each for each in node["members"]})
        if kind == "dict" and "keys_schema" in node:
            return {**node, "keys_schema": self._of_keys(node["keys_schema"])}
        if kind == "tagged-union" and any(isinstance(tag, Enum) for tag in node["choices"]):
            return {**node, "choices": {_tag(tag): each for tag, each in node["choices"].items()}}
        return node

    def _of_keys(self, keys: Any) -> Any:
        """Return the schema of the keys of a dict: of a choice, one that is made by the texts of its values."""
        choice = self._definitions.get(keys.get("schema_ref", ""), keys)
        if choice["type"] not in ("enum", "literal"):
            return keys
        return _by_text({key: each for key, each in choice.items() if key != "ref"})


def _result(node: Node) -> Node:
    writes = node.get("serialization")
    if writes and _is_silent(writes):
        return {**node, "serialization": {**writes, "return_schema": core_schema.any_schema()}}
    return node


def _is_silent(writes: Mapping[str, Any]) -> bool:
    """Return whether a serializer function of the author's does not say what it returns."""
    is_function = writes["type"] in ("function-plain", "function-wrap")
    return is_function and "return_schema" not in writes and not is_pydantics(writes["function"])


def _encoder_of(node: Node) -> EncodedBytes | EncodedStr | None:
    """Return the encoder of a type such as `Base64Bytes` or `Base64Str`."""
    function = node.get("function")
    owner = getattr(function["function"], "__self__", None) if isinstance(function, dict) else None
    return owner if isinstance(owner, (EncodedBytes, EncodedStr)) else None


def _encoding_itself(node: Node, encoder: EncodedBytes | EncodedStr) -> Any:
    """Return the schema for values that are encoded when they are sent, and not decoded before."""

    def encode(value: Any) -> Any:
        if isinstance(encoder, EncodedStr):
            return encoder.encode_str(value)
        return encoder.encode(value).decode()

    writes = core_schema.plain_serializer_function_ser_schema(
        encode, return_schema=core_schema.str_schema(), when_used="json"
    )
    return {**node["schema"], "serialization": writes, "metadata": node.get("metadata", {})}


def _bytes(node: Node) -> Any:
    read = core_schema.no_info_before_validator_function(decoded_bytes, node)
    writes = core_schema.plain_serializer_function_ser_schema(
        encoded_bytes, return_schema=core_schema.str_schema(), when_used="json"
    )
    return core_schema.json_or_python_schema(
        read,
        node,
        serialization=writes,
        metadata={"pydantic_js_functions": [_base64_string]},
    )


def _base64_string(schema: Any, handler: Any) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64"}


def _list(node: Node) -> Any:
    """Return the schema of a list in place of a lazy iterable."""
    kept = {key: node[key] for key in ("items_schema", "min_length", "max_length", "metadata") if key in node}
    return {"type": "list", **kept}


def _by_json(node: Node, members: Mapping[bytes, Any]) -> Any:
    """Return a schema that takes the JSON of a member's value for the member."""

    def member(value: Any) -> Any:
        return value if isinstance(value, Enum) else members.get(_key(value), value)

    return core_schema.no_info_before_validator_function(member, node)


def _by_text(node: Node) -> Any:
    """Return the schema of a choice that is made by the key of an object: numbers are texts there."""
    choices = node["members"] if node["type"] == "enum" else node["expected"]
    values = [each.value if isinstance(each, Enum) else each for each in choices]
    if all(isinstance(each, str) for each in values):
        return node
    by_text = {_key(value).decode().strip('"'): each for value, each in zip(values, choices, strict=True)}
    is_flag = node["type"] == "enum" and issubclass(node["cls"], Flag)

    def chosen(value: Any) -> Any:
        if not isinstance(value, str) or value in by_text:
            return by_text.get(value, value) if isinstance(value, str) else value
        return int(value) if is_flag and value.isdecimal() and len(value) < _DIGITS else value

    return core_schema.no_info_before_validator_function(chosen, node)


def _key(value: Any) -> bytes:
    try:
        return to_json(value.value if isinstance(value, Enum) else value)
    except ValueError:
        return repr(value).encode()


def _tag(tag: Any) -> Any:
    return tag.value if isinstance(tag, Enum) else tag
