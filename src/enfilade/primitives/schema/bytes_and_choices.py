"""Core schemas of bytes and of choices (`Enum`, `Literal`), as they are in JSON.

Bytes are base64 in the standard alphabet, unless an option or a serializer says otherwise. Members of a choice
are read by the JSON of their values and written as it; bytes among the values are base64 as well.

Easy to get wrong: in a union, pydantic prefers the member that takes the value unchanged. A function that decodes
text would hide that the value was text, so a step before it converts text to bytes: `str | bytes` keeps text.
"""

from __future__ import annotations

import base64
import binascii
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, Flag
from typing import Any, Final

from pydantic import EncodedBytes, EncodedStr
from pydantic_core import PydanticCustomError, core_schema, to_json, to_jsonable_python

from enfilade.primitives.schema.core_nodes import Node

_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
# Writers of bytes, by the value of pydantic's option `ser_json_bytes`.
_WRITERS: Final[dict[str, Callable[[bytes | bytearray], str]]] = {
    "utf8": lambda value: value.decode(),
    "base64": lambda value: base64.urlsafe_b64encode(value).decode(),
    "hex": lambda value: value.hex(),
}


def decoded_bytes(value: bytes) -> bytes:
    """Decode base64 in either alphabet, with or without padding.

    Raises:
        PydanticCustomError: it is not base64.
    """
    text = value.translate(_URL_SAFE)
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("bytes_invalid_encoding", "should be valid base64") from None


def encoded_bytes(value: Any) -> Any:
    """Return bytes as base64 text in the standard alphabet; other values as they are."""
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else value


def bytes_node(node: Node) -> Any:
    """Return the schema of bytes that are base64 in JSON; a serializer of the author's stays."""
    bare = {key: value for key, value in node.items() if key != "serialization"}
    steps: list[Any] = [
        core_schema.bytes_schema(),
        core_schema.no_info_plain_validator_function(decoded_bytes),
        bare,
    ]
    reads = core_schema.chain_schema(steps)
    writes: Any = node.get("serialization")
    if writes is None:
        writes = core_schema.plain_serializer_function_ser_schema(
            encoded_bytes, return_schema=core_schema.str_schema(), when_used="json"
        )
    elif writes["type"] == "function-wrap" and "schema" not in writes:
        writes = {**writes, "schema": bytes_node(bare)}
    publish = _base64_string if "serialization" not in node else _base64_or_written
    metadata = {"pydantic_js_functions": [publish]}
    return core_schema.json_or_python_schema(reads, bare, serialization=writes, metadata=metadata)


def bytes_written_by(option: str, node: Node) -> Any:
    """Return the schema of bytes that are written as the `ser_json_bytes` of their class says."""
    if "serialization" in node:
        return node
    write = _WRITERS[option]

    def written(value: Any) -> Any:
        return write(value) if isinstance(value, (bytes, bytearray)) else value

    writes = core_schema.plain_serializer_function_ser_schema(
        written, return_schema=core_schema.str_schema(), when_used="json"
    )
    return {**node, "serialization": writes}


def encoder_of(node: Node) -> EncodedBytes | EncodedStr | None:
    """Return the encoder of a type such as `Base64Bytes` or `Base64Str`."""
    function = node.get("function")
    owner = getattr(function["function"], "__self__", None) if isinstance(function, dict) else None
    return owner if isinstance(owner, (EncodedBytes, EncodedStr)) else None


def encoding_itself(node: Node, encoder: EncodedBytes | EncodedStr) -> Any:
    """Return the schema of results that are encoded when they are sent, and not decoded first."""

    def encode(value: Any) -> Any:
        if isinstance(encoder, EncodedStr):
            return encoder.encode_str(value)
        return encoder.encode(value).decode()

    writes = core_schema.plain_serializer_function_ser_schema(
        encode, return_schema=core_schema.str_schema(), when_used="json"
    )
    return {**node["schema"], "serialization": writes, "metadata": node.get("metadata", {})}


def _base64_string(schema: Any, handler: Any) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64"}


def _base64_or_written(schema: Any, handler: Any) -> dict[str, Any]:
    """Return base64 for arguments, and the return type of the author's serializer for results."""
    published: dict[str, Any] = (
        handler(schema) if handler.mode == "serialization" else _base64_string(schema, handler)
    )
    return published


# -- choices ---------------------------------------------------------------------------------------------------

_PLAIN_VALUES: Final = (str, int, float, bool, type(None))
_DIGITS: Final = 20  # of a Flag's value


def argument_choice(node: Node) -> Any:
    """Return the schema by which a choice is read from JSON."""
    choices = _choices(node)
    values = [_value(choice) for choice in choices]
    if _has_bytes(values):
        expected = _json_values(choices)
        is_plain = all(type(value) in _PLAIN_VALUES for value in expected)
        return (
            _by_plain_values(node, choices)
            if is_plain
            else _published_as(_by_json(node, choices), expected, node)
        )
    is_literal = node["type"] == "literal"
    if is_literal and any(isinstance(choice, Enum) for choice in choices):
        return _by_json(node, choices)
    if not is_literal and not all(type(value) in _PLAIN_VALUES for value in values):
        return _by_json(node, choices)
    return node


def result_choice(node: Node) -> Node:
    """Return the schema by which a choice is written; with bytes among its values, it publishes their JSON."""
    choices = _choices(node)
    if not _has_bytes(map(_value, choices)) or "serialization" in node:
        return node

    def written(value: Any) -> Any:
        return _json_value(_value(value))

    expected = _json_values(choices)
    is_plain = all(type(value) in _PLAIN_VALUES for value in expected)
    writes = core_schema.plain_serializer_function_ser_schema(
        written,
        return_schema=core_schema.literal_schema(expected) if is_plain else core_schema.any_schema(),
        when_used="json",
    )
    return {**_published_as(node, expected, node), "serialization": writes}


def by_text(node: Node) -> Any:
    """Return the schema of a choice that is the key of an object, where numbers are texts."""
    choices = _choices(node)
    values = [_value(choice) for choice in choices]
    if all(isinstance(value, str) for value in values):
        return node
    members = {_key(value).decode().strip('"'): choice for value, choice in zip(values, choices, strict=True)}
    is_flag = node["type"] == "enum" and issubclass(node["cls"], Flag)

    def chosen(value: Any) -> Any:
        if not isinstance(value, str) or value in members:
            return members.get(value, value) if isinstance(value, str) else value
        return int(value) if is_flag and value.isdecimal() and len(value) < _DIGITS else value

    return core_schema.no_info_before_validator_function(chosen, node)


def json_tag(tag: Any) -> Any:
    """Return the JSON of a tag of a discriminated union."""
    return encoded_bytes(_value(tag))


def _choices(node: Node) -> Sequence[Any]:
    choices: Sequence[Any] = node["members"] if node["type"] == "enum" else node["expected"]
    return choices


def _value(choice: Any) -> Any:
    return choice.value if isinstance(choice, Enum) else choice


def _has_bytes(values: Any) -> bool:
    return any(isinstance(value, bytes) or (isinstance(value, tuple) and _has_bytes(value)) for value in values)


def _json_values(choices: Sequence[Any]) -> list[Any]:
    """Return the choices as JSON values, without duplicates."""
    return list({_key(choice): _json_value(_value(choice)) for choice in choices}.values())


def _json_value(value: Any) -> Any:
    """Return the JSON of one value of a choice."""
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return to_jsonable_python(encoded_bytes(value))


def _key(value: Any) -> bytes:
    try:
        return to_json(_json_value(_value(value)))
    except ValueError:
        return repr(value).encode()


def _by_json(node: Node, choices: Sequence[Any]) -> Any:
    """Return a schema that reads the JSON of a member's value as the member."""
    members: Mapping[bytes, Any] = {_key(choice): choice for choice in choices}

    def member(value: Any) -> Any:
        return value if isinstance(value, Enum) else members.get(_key(value), value)

    # References lead to the outer schema.
    inner: Any = {key: value for key, value in node.items() if key != "ref"}
    outer = core_schema.no_info_before_validator_function(member, inner)
    return {**outer, "ref": node["ref"]} if "ref" in node else outer


def _by_plain_values(node: Node, choices: Sequence[Any]) -> Any:
    """Return a schema that reads one of the JSON values, and then maps it to its member."""
    # Text and bytes with the same JSON: the text wins.
    ordered = sorted(choices, key=lambda choice: not isinstance(_value(choice), bytes))
    members = {_key(choice): choice for choice in ordered}
    return _published_as(
        {
            "type": "chain",
            "steps": [
                core_schema.literal_schema(_json_values(choices)),
                core_schema.no_info_plain_validator_function(lambda value: members[_key(value)]),
            ],
            **{key: value for key, value in node.items() if key in ("ref", "metadata", "serialization")},
        },
        _json_values(choices),
        node,
    )


def _published_as(node: Node, values: list[Any], choice: Node) -> Node:
    """Return a node that publishes a choice of these values; pydantic's generator may fail for bytes."""
    published: dict[str, Any] = {"enum": values}
    if all(isinstance(value, str) for value in values):
        published["type"] = "string"
    if choice["type"] == "enum":
        published["title"] = choice["cls"].__name__
        if choice["cls"].__doc__ and choice["cls"].__doc__ != Enum.__doc__:
            published["description"] = inspect.cleandoc(choice["cls"].__doc__)

    def listed(schema: Any, handler: Any) -> dict[str, Any]:
        return dict(published)

    return {**node, "metadata": {**(node.get("metadata") or {}), "pydantic_js_functions": [listed]}}
