"""From pydantic's core schemas to JSON Schemas: pydantic's generator, corrected where clients would misread it.

Easy to get wrong: defaults. Hosts fill in the published default of an argument that the model left out. So a
default is published only if it gives the declared one when a caller sends it back: a secret is written as
asterisks, a field that is excluded is lost, a `date` in a union with `str` becomes text.
"""

from __future__ import annotations

import base64
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Flag
from functools import reduce
from numbers import Number
from operator import or_
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import PydanticSerializationError, core_schema, to_json

from enfilade.primitives.schema.core_nodes import Node, is_limit_of_text, is_pydantics, nodes
from enfilade.primitives.schema.core_schemas import serializer_of, validator_of

_HASHABLE: Final = ("string", "number", "boolean", "null")  # the types of JSON whose values have a hash
_MOST_JOINED: Final = 16  # values of a Flag that are listed one by one
_DECIMAL: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
# What keys of a dict look like in JSON, by their type in pydantic's core schema.
_KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "int": {"pattern": "^-?[0-9]+$"},
    "bool": {"enum": ["true", "false"]},
}

_CHOICES: Final = ("enum", "literal", "function-before")  # those of which keys may be


class TidySchema(GenerateJsonSchema):
    """Pydantic's generator without the titles that it derives for properties, and with bytes as base64."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._core_definitions: dict[str, Any] = {}
        self._core_configs: list[Mapping[str, Any]] = [{}]

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Ignore the warning: a default that JSON cannot hold is not published."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a derived title only repeats the name."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Return a default as it stands in JSON."""
        if isinstance(dft, bytes):
            return base64.b64encode(dft).decode()
        if type(dft) in _SCALARS:
            return super().encode_default(dft)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                return super().encode_default(dft)
            except UserWarning as wrong:  # an object with a wrong value
                raise PydanticSerializationError(str(wrong)) from None

    def chain_schema(self, schema: core_schema.ChainSchema) -> JsonSchemaValue:
        """Return the schema of all steps; for a type with a limit on text, that of the type."""
        chain: Any = schema
        return self.generate_inner(chain["steps"][0]) if is_limit_of_text(chain) else super().chain_schema(schema)

    def definitions_schema(self, schema: core_schema.DefinitionsSchema) -> JsonSchemaValue:
        """Return a schema with its definitions, and remember those for checks of defaults."""
        self._core_definitions |= {
            name: definition for definition in schema["definitions"] if (name := definition.get("ref"))
        }
        return super().definitions_schema(schema)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Return a choice of objects, which has a `discriminator` also where no property is the tag."""
        published = super().tagged_union_schema(schema)
        published.setdefault("discriminator", {})
        return published

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """Return an array of different items."""
        return self._of_hashable(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """Return an array of different items."""
        return self._of_hashable(super().frozenset_schema(schema))

    def _of_hashable(self, published: JsonSchemaValue) -> JsonSchemaValue:
        """Say of items of any type that they are no arrays and objects, which have no hash in Python."""
        if self.mode == "validation" and not published.get("items"):
            published["items"] = {"anyOf": [{"type": kind} for kind in _HASHABLE]}
        return published

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """Return an object for a TypedDict."""
        with self._configured(schema):
            return super().typed_dict_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return an object for a model."""
        with self._configured(schema):
            return super().model_schema(schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Return an object for a dataclass."""
        with self._configured(schema):
            return super().dataclass_schema(schema)

    @contextmanager
    def _configured(self, schema: Any) -> Iterator[None]:
        """Make the config of a class available while its fields are visited."""
        self._core_configs.append(schema.get("config") or {})
        try:
            yield
        finally:
            self._core_configs.pop()

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return a schema with its default, if sending it back gives that default."""
        published = super().default_schema(schema)
        inner: Any = schema["schema"]
        if self.mode == "serialization" and _is_rewritten(inner, self._core_definitions):
            published.pop("default", None)
        if self.mode != "validation" or "default" not in schema:
            return published
        default: Any = schema["default"]
        if "default" not in published:
            try:
                published["default"] = encoded(default, inner, self._core_definitions)
            except Exception:  # of any kind, from the type's own serializer: JSON cannot hold the value
                return published
        value = published["default"]
        if not comes_back(default, value, inner, self._core_definitions, self._core_configs[-1]):
            del published["default"]
        return published

    def field_is_present(self, field: Any) -> bool:
        """Return whether a field is published; fields of dataclasses with `init=False` are not arguments."""
        return super().field_is_present(field) and not (self.mode == "validation" and field.get("init") is False)

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Return a string, without a pattern that has flags or the dialect of Python."""
        published = super().str_schema(schema)
        pattern: Any = schema.get("pattern")
        if isinstance(pattern, re.Pattern):
            published["pattern"] = pattern.pattern
            has_flags = bool(pattern.flags & ~re.UNICODE)
        else:
            has_flags = False
        by_python = isinstance(pattern, re.Pattern) or self._config.regex_engine == "python-re"
        # Its `$` also matches before a last line break.
        if "pattern" in published and (has_flags or (by_python and self.mode == "serialization")):
            del published["pattern"]
        return published

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Return a choice of the values; for a Flag, of the sums of its members."""
        published = super().enum_schema(schema)
        return flag_schema(schema["cls"], published) if issubclass(schema["cls"], Flag) else published

    def get_decimal_pattern(self, schema: core_schema.DecimalSchema) -> str | None:
        """Return the pattern of a decimal; pydantic publishes any string."""
        return _DECIMAL

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return an object, with a schema of its keys where they are integers, booleans or choices."""
        published = super().dict_schema(schema)
        if "$ref" not in (bare := published.get("propertyNames") or {"$ref": ""}):
            published["propertyNames"] = {"type": "string", **bare}  # which limits of text are about
        keys: Any = schema.get("keys_schema", {})
        names = _KEYS.get(keys.get("type", ""))
        if names is None and keys.get("type") in _CHOICES:
            choice = self.generate_inner(keys)
            names = choice if "enum" in choice or "const" in choice else None
        return {**published, "propertyNames": dict(names)} if names else published

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Return a base64 string; both alphabets are read, and the URL-safe one is written."""
        published = super().bytes_schema(schema)
        if self.mode == "validation" and published.get("format") == "base64url":
            del published["format"]
            published["contentEncoding"] = "base64"
        for limit in ("minLength", "maxLength"):  # count bytes, not the characters of their text
            published.pop(limit, None)
        return published


def flag_schema(flag: type[Flag], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a Flag: an integer that is a sum of members, with their names in its description.

    Args:
        flag: the class.
        schema: pydantic's, which knows single members alone.
    """
    bits = {member.value: name for name, member in flag.__members__.items()}
    published = {key: value for key, value in schema.items() if key != "enum"}
    published["type"] = "integer"
    published.setdefault("description", "A sum of any of: " + ", ".join(f"{bit} ({bits[bit]})" for bit in bits))
    if issubclass(flag, int):  # keeps other bits as well, and its complements are below zero
        return published
    joined = {0}
    for bit in bits:
        joined |= {value | bit for value in joined}
        if len(joined) > _MOST_JOINED:
            return {**published, "minimum": 0, "maximum": reduce(or_, bits)}
    return {**published, "enum": sorted(joined)}


# -- which defaults are published ------------------------------------------------------------------------------

# Python types whose values surely come back, by the type of their core schema.
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "any": (str, int, float, bool, type(None)),
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
}
_EMPTY: Final[Mapping[str, type]] = {"list": list, "dict": dict}
_CHANGES: Final = frozenset({"strip_whitespace", "to_lower", "to_upper"})
_CHANGES_BY_CONFIG: Final = frozenset({"str_strip_whitespace", "str_to_lower", "str_to_upper"})


def encoded(default: Any, schema: Node, definitions: Mapping[str, Node]) -> Any:
    """Return a default as JSON, written by its own type.

    Args:
        default: the default of a parameter or a field.
        schema: the core schema of its type.
        definitions: those that the schema may refer to, by name.

    Raises:
        Exception: the type cannot write it.
    """
    serializer = serializer_of(_complete(schema, definitions))
    return serializer.to_python(default, mode="json", by_alias=True, warnings="error")


def comes_back(
    default: Any, published: Any, schema: Node, definitions: Mapping[str, Node], config: Mapping[str, Any]
) -> bool:
    """Return whether reading the published form of a default gives that default.

    Args:
        default: as it was declared.
        published: its JSON.
        schema: the core schema of its type.
        definitions: those that the schema may refer to, by name.
        config: the core config of the class whose field it is.
    """
    if _mentions_reference(published):
        return False  # hosts would read it as a reference within the schema
    if _is_plain(default, schema, config):
        return True
    try:
        validator = validator_of(_complete(_holder(schema, config), definitions))
        sent_back = to_json({"value": published}, inf_nan_mode="null")
        value = validator.validate_json(sent_back)["value"]
        return _is_same(value if _tells_kinds_apart(schema) else _of_kind(default, value), default)
    except Exception:  # of a validator or a comparison of the author's
        return False


def _is_plain(default: Any, schema: Node, config: Mapping[str, Any]) -> bool:
    """Return whether a default certainly survives a JSON round trip, so that no validator needs to be built."""
    while schema["type"] == "nullable":
        if default is None:
            return True
        schema = schema["schema"]
    kind = schema["type"]
    if type(default) is _EMPTY.get(kind) and not default:
        return True
    if type(default) not in _PLAIN.get(kind, ()) or (type(default) is float and not math.isfinite(default)):
        return False  # NaN and infinities are written as null
    if "multiple_of" in schema:  # which is not always published
        return False
    return not (kind == "str" and (_CHANGES & schema.keys() or _CHANGES_BY_CONFIG & config.keys()))


def _tells_kinds_apart(schema: Node) -> bool:
    """Return whether a function may get values of several kinds, and look at the kind."""
    while schema["type"] == "nullable":
        schema = schema["schema"]
    return schema["type"] in ("any", "union", "tagged-union")


def _of_kind(default: Any, value: Any) -> Any:
    """Return a value as the kind of its default, which may be immutable: `()` for an empty list."""
    for kinds in ((list, tuple), (set, frozenset)):
        if type(default) in kinds and type(value) in kinds:
            return type(default)(value)
    return value


def _is_same(value: Any, default: Any) -> bool:
    if isinstance(value, bool) is not isinstance(default, bool):
        return False
    are_numbers = isinstance(value, Number) and isinstance(default, Number)
    if not are_numbers and not isinstance(value, type(default)):
        return False
    if isinstance(default, (list, tuple)):
        return len(value) == len(default) and all(map(_is_same, value, default))
    if isinstance(default, dict):
        return value.keys() == default.keys() and all(_is_same(value[key], default[key]) for key in default)
    return bool(value == default)


def _mentions_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(map(_mentions_reference, value.values()))
    return isinstance(value, list) and any(map(_mentions_reference, value))


def _is_rewritten(schema: Node, definitions: Mapping[str, Node]) -> bool:
    """Return whether a function of the author's may write a default otherwise than pydantic publishes it."""
    for node, _ in nodes(_complete(schema, definitions), None):
        writes = node.get("serialization") or {}
        # Pydantic applies a function that replaces the serializer of the whole value.
        is_applied = node is schema and writes.get("type") == "function-plain"
        if "function" in writes and not is_applied and not is_pydantics(writes["function"]):
            return True
    return False


def _holder(schema: Node, config: Mapping[str, Any]) -> Node:
    """Return the schema of an object with one member, because only objects have a config."""
    field = {"type": "typed-dict-field", "schema": schema, "required": True}
    return {
        "type": "typed-dict",
        "fields": {"value": field},
        "config": {**config, "extra_fields_behavior": "ignore"},
    }


def _complete(schema: Node, definitions: Mapping[str, Node]) -> Node:
    """Return a schema with the definitions that it uses."""
    used: dict[str, Node] = {}
    waiting: list[Any] = [schema]
    while waiting:
        for node, _ in nodes(waiting.pop(), None):
            name = node.get("schema_ref", "")
            if name in definitions and name not in used:
                used[name] = definitions[name]
                waiting.append(definitions[name])
    return {"type": "definitions", "schema": schema, "definitions": list(used.values())} if used else schema
