"""From Python types to the JSON Schemas that tools publish, tidy and checked.

Easy to get wrong: clients drop a tool whose `x-mcp-header` stands anywhere but on a plain property that is
reached through `properties` alone (R-253). A nested model stands behind a `$ref`, so a model that carries
such a header is written out in place; and what then is still wrong is refused when the tool is registered,
not found out by a client.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from enum import Flag
from functools import reduce
from operator import or_
from typing import Any, Final

from pydantic import ConfigDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import core_schema
from typing_extensions import TypedDict

from enfilade.primitives.schema.defaults import comes_back, encoded
from enfilade.primitives.schema.limits import is_limit_of_text

HEADER: Final = "x-mcp-header"

_MOST_JOINED: Final = 16  # values of a Flag that are listed one by one
_DECIMAL: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# What keys of a dict are like, by their type in pydantic's core schema.
_KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "int": {"pattern": "^-?[0-9]+$"},
    "bool": {"enum": ["true", "false"]},
}

_CHOICES: Final = ("enum", "literal", "function-before")  # those of which keys may be

# A definition with a header that is written out twice is refused for it. More copies would double with
# each model that holds another one twice.
_MOST_WRITTEN_OUT: Final = 2

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_TYPES: Final = ("string", "integer", "boolean")


class TidySchema(GenerateJsonSchema):
    """Pydantic's schemas without the titles that it makes up for properties, and with bytes as base64."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._core_definitions: dict[str, Any] = {}
        self._core_configs: list[Mapping[str, Any]] = [{}]

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing: a default that JSON cannot hold is simply not published."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a title says what the name says already."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Return a default as it stands in JSON."""
        return base64.b64encode(dft).decode() if isinstance(dft, bytes) else super().encode_default(dft)

    def chain_schema(self, schema: core_schema.ChainSchema) -> JsonSchemaValue:
        """Return what all steps take or give; of a type with a limit of text, the type and not just text."""
        chain: Any = schema
        return self.generate_inner(chain["steps"][0]) if is_limit_of_text(chain) else super().chain_schema(schema)

    def definitions_schema(self, schema: core_schema.DefinitionsSchema) -> JsonSchemaValue:
        """Return a schema with its definitions, which are kept to check defaults by."""
        self._core_definitions |= {name: each for each in schema["definitions"] if (name := each.get("ref"))}
        return super().definitions_schema(schema)

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
        """Know the config of a class while its fields are looked at."""
        self._core_configs.append(schema.get("config") or {})
        try:
            yield
        finally:
            self._core_configs.pop()

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return a schema with its default, if that is what a caller gets by sending it."""
        made = super().default_schema(schema)
        if self.mode != "validation" or "default" not in schema:
            return made
        default: Any = schema["default"]
        inner: Any = schema["schema"]
        if "default" not in made:
            try:
                made["default"] = encoded(default, inner, self._core_definitions)
            except Exception:  # whatever a type has against it: JSON cannot hold its values
                return made
        published = made["default"]
        if not comes_back(default, published, inner, self._core_definitions, self._core_configs[-1]):
            del made["default"]
        return made

    def field_is_present(self, field: Any) -> bool:
        """Return whether a field is published: of dataclasses, only those that a caller can give."""
        return super().field_is_present(field) and not (self.mode == "validation" and field.get("init") is False)

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Return a string, without a pattern whose flags are not said or whose dialect is Python's own."""
        found = super().str_schema(schema)
        pattern: Any = schema.get("pattern")
        if isinstance(pattern, re.Pattern):
            found["pattern"] = pattern.pattern
            has_flags = bool(pattern.flags & ~re.UNICODE)
        else:
            has_flags = False
        by_python = isinstance(pattern, re.Pattern) or self._config.regex_engine == "python-re"
        # Its `$` also matches before a last line break.
        if "pattern" in found and (has_flags or (by_python and self.mode == "serialization")):
            del found["pattern"]
        return found

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Return a choice of the values; of a Flag, all that can be made by joining its members."""
        found = super().enum_schema(schema)
        return flag_schema(schema["cls"], found) if issubclass(schema["cls"], Flag) else found

    def get_decimal_pattern(self, schema: core_schema.DecimalSchema) -> str | None:
        """Return what a decimal is written like; pydantic itself says that it is any string."""
        return _DECIMAL

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return an object, and what its keys are like where they are integers or booleans."""
        found = super().dict_schema(schema)
        keys: Any = schema.get("keys_schema", {})
        names = _KEYS.get(keys.get("type", ""))
        if names is None and keys.get("type") in _CHOICES:
            choice = self.generate_inner(keys)
            names = choice if "enum" in choice or "const" in choice else None
        return {**found, "propertyNames": dict(names)} if names else found

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Return a base64 string for bytes that arrive; both alphabets are read, the URL-safe one is written."""
        found = super().bytes_schema(schema)
        if self.mode == "validation" and found.get("format") == "base64url":
            del found["format"]
            found["contentEncoding"] = "base64"
        for limit in ("minLength", "maxLength"):  # are of the bytes, and not of the text
            found.pop(limit, None)
        return found


def flag_schema(flag: type[Flag], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a Flag: an integer that joins members, whose values it names.

    Args:
        flag: the class.
        schema: what pydantic says of it, which knows single members alone.
    """
    bits = {each.value: name for name, each in flag.__members__.items()}
    made: dict[str, Any] = {key: each for key, each in schema.items() if key != "enum"} | {"type": "integer"}
    made.setdefault("description", "A sum of any of: " + ", ".join(f"{bit} ({bits[bit]})" for bit in bits))
    if issubclass(flag, int):  # keeps other bits as well, and its complements are below zero
        return made
    joined = {0}
    for bit in bits:
        joined |= {each | bit for each in joined}
        if len(joined) > _MOST_JOINED:
            return {**made, "minimum": 0, "maximum": reduce(or_, bits)}
    return {**made, "enum": sorted(joined)}


def typed_dict(name: str, items: Mapping[str, Any], options: ConfigDict) -> Any:
    """Return a `TypedDict` made of data (which type checkers cannot follow), with options for pydantic."""
    make: Any = TypedDict
    made = make(name, dict(items))
    made.__pydantic_config__ = options
    return made


def object_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema with its root `$ref` written out, if its root type is object; None otherwise."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions:
        rest = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
        schema = _with_definitions({**definitions[name], **rest}, definitions)
    return schema if schema.get("type") == "object" else None


def wrapped_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `{"result": …}`, with the definitions moved to the root."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapper: dict[str, Any] = {"type": "object", "properties": {"result": inner}, "required": ["result"]}
    if "$defs" in schema:
        wrapper["$defs"] = schema["$defs"]
    return wrapper


def write_out_headers(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the properties written out that refer to a definition with `x-mcp-header`."""
    definitions = schema.get("$defs", {})
    carrying = _carrying_headers(definitions)
    if not carrying:
        return schema
    times: Counter[str] = Counter()

    def written_out(part: Mapping[str, Any], open_names: tuple[str, ...]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for key, inner in part.get("properties", {}).items():
            name = str(inner.get("$ref", "")).removeprefix("#/$defs/")
            if name in carrying and name not in open_names and times[name] < _MOST_WRITTEN_OUT:
                times[name] += 1
                # A copy, because a definition that others refer to as well is another place with a header.
                inner = {**deepcopy(definitions[name]), **{k: v for k, v in inner.items() if k != "$ref"}}
                inner = written_out(inner, (*open_names, name))
            properties[key] = inner
        return {**part, "properties": properties} if properties else dict(part)

    result = written_out(schema, ())
    return _with_definitions({key: value for key, value in result.items() if key != "$defs"}, definitions)


def check_headers(schema: Mapping[str, Any]) -> None:
    """Refuse an input schema whose `x-mcp-header`s clients would drop the tool for (R-250 to R-253).

    Raises:
        ValueError: names the header, where it is and what is wrong with it.
    """
    allowed: set[int] = set()
    seen: dict[str, str] = {}
    for path, part in _plain_properties(schema, ""):
        if HEADER not in part:
            continue
        allowed.add(id(part))
        _check_header(part, path)
        header = part[HEADER]
        if other := seen.get(header.lower()):
            raise ValueError(
                f'{HEADER} "{header}" is on "{other}" and on "{path}"; each name may be used once (R-251)'
            )
        seen[header.lower()] = path
    for part in _annotated_parts(schema):
        if id(part) not in allowed:
            raise ValueError(
                f"{HEADER} {part[HEADER]!r} is not on a plain property of the arguments, but on an item of an "
                f"array, a member of a union or the like; clients would drop the tool (R-253)"
            )


def _check_header(part: Mapping[str, Any], path: str) -> None:
    header = part[HEADER]
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise ValueError(
            f'{HEADER} {header!r} on "{path}" is no header name; letters, digits and "-" are safe (R-251)'
        )
    if part.get("type") not in _HEADER_TYPES:
        kind = part.get("type") or "a union"
        raise ValueError(
            f'{HEADER} "{header}" is on "{path}", which is {kind} and not string, integer or boolean (R-252)'
        )


def _plain_properties(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(part, Mapping):
            inner = f"{path}.{name}" if path else str(name)
            yield inner, part
            yield from _plain_properties(part, inner)


def _annotated_parts(part: Any, *, names: bool = False) -> Iterator[Mapping[str, Any]]:
    """Yield every schema with a header annotation; with `names`, the keys here are names and no keywords."""
    if isinstance(part, Mapping):
        if HEADER in part and not names:
            yield part
        for key, inner in part.items():
            if names or key not in ("default", "const", "enum", "examples"):
                yield from _annotated_parts(
                    inner, names=not names and key in ("properties", "patternProperties", "$defs")
                )
    elif isinstance(part, list):
        for inner in part:
            yield from _annotated_parts(inner)


def _carrying_headers(definitions: Mapping[str, Any]) -> set[str]:
    """Return the names of the definitions with a header, in them or in what they refer to."""
    carrying = {name for name in definitions if next(_annotated_parts(definitions[name]), None) is not None}
    if not carrying:
        return carrying
    users: dict[str, set[str]] = {}
    for name, definition in definitions.items():
        for used in _references(definition):
            users.setdefault(used, set()).add(name)
    waiting = list(carrying)
    while waiting:
        new = users.get(waiting.pop(), set()) - carrying
        carrying |= new
        waiting += new
    return carrying


def _with_definitions(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with those of the definitions that it uses."""
    used = _used_definitions(schema, definitions)
    kept = {name: each for name, each in definitions.items() if name in used}
    return {**schema, "$defs": kept} if kept else schema


def _used_definitions(part: Any, definitions: Mapping[str, Any]) -> set[str]:
    used: set[str] = set()
    waiting = list(_references(part))
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in used:
            used.add(name)
            waiting += _references(definitions[name])
    return used


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix("#/$defs/")
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)
