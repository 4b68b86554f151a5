"""Core schemas of bytes: base64 in the standard alphabet, unless an option or a serializer says otherwise.

Easy to get wrong: in a union, pydantic prefers the member that took the value as it came. A function that decodes
text hides that the text was one; so text becomes bytes in a step before, by which `str | bytes` keeps text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from pydantic import EncodedBytes, EncodedStr
from pydantic_core import PydanticCustomError, core_schema

from enfilade.primitives.schema.core_nodes import Node

_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
# How bytes are written for the values of pydantic's option `ser_json_bytes`.
_WRITERS: Final[dict[str, Callable[[bytes | bytearray], str]]] = {
    "utf8": lambda value: value.decode(),
    "base64": lambda value: base64.urlsafe_b64encode(value).decode(),
    "hex": lambda value: value.hex(),
}


def decoded_bytes(value: bytes) -> bytes:
    """Return the bytes that a base64 text stands for, in either alphabet.

    Raises:
        PydanticCustomError: it is no base64.
    """
    text = value.translate(_URL_SAFE)
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("bytes_invalid_encoding", "should be valid base64") from None


def encoded_bytes(value: Any) -> Any:
    """Return bytes as base64 in the standard alphabet; other values as they are."""
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else value


def bytes_node(node: Node) -> Any:
    """Return the schema of bytes that are base64 in JSON; a serializer of the author's is the one that writes."""
    bare = {key: value for key, value in node.items() if key != "serialization"}
    steps: list[Any] = [
        core_schema.bytes_schema(),
        core_schema.no_info_plain_validator_function(decoded_bytes),
        bare,
    ]
    read = core_schema.chain_schema(steps)
    writes: Any = node.get("serialization")
    if writes is None:
        writes = core_schema.plain_serializer_function_ser_schema(
            encoded_bytes, return_schema=core_schema.str_schema(), when_used="json"
        )
    elif writes["type"] == "function-wrap" and "schema" not in writes:
        writes = {**writes, "schema": bytes_node(bare)}
    publish = _base64_string if "serialization" not in node else _base64_or_written
    metadata = {"pydantic_js_functions": [publish]}
    return core_schema.json_or_python_schema(read, bare, serialization=writes, metadata=metadata)


def bytes_written_by(option: str, node: Node) -> Any:
    """Return the schema of bytes that are written by a `ser_json_bytes` of the type they are in."""
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
    """Return the schema for values that are encoded when they are sent, and not decoded before."""

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
    """Publish base64 for what arrives, and for what is sent the return type of the author's serializer."""
    published: dict[str, Any] = (
        handler(schema) if handler.mode == "serialization" else _base64_string(schema, handler)
    )
    return published
