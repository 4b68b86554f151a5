"""Rewrites pydantic's core schemas so that JSON in and JSON out follow one rule for every type.

`for_arguments` and `for_results` take the core schema of a type and return another one:

- bytes are base64 in the standard alphabet, in models too, unless the model sets an option of its own; types
  that encode themselves (`Base64Bytes`) do so once;
- members of an Enum are read by the JSON of their values, in `Literal[…]`, in discriminators and in Enums whose
  values are no plain JSON; bytes among them are base64, too;
- the value of a `Json[…]` may be returned as it is, not only as text;
- iterables are lists, so that every item is validated before the function runs;
- attrs classes and msgspec Structs are objects;
- what an author leaves out of a schema (`SkipJsonSchema`) is published where it is sent;
- a serializer function without a return annotation publishes nothing about its result;
- a union whose members have tags is read by the tag (`unions.py`).

Easy to get wrong: pydantic-core uses the finished validator of a model in place of the rewritten schema, unless
`_use_prebuilt=False` is given (`validator_of`, `serializer_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import wraps
from operator import is_
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer, SchemaValidator, core_schema, from_json

from enfilade.primitives.depends import DEPENDENCY
from enfilade.primitives.schema.bytes_and_choices import (
    argument_choice,
    by_text,
    bytes_node,
    bytes_written_by,
    encoder_of,
    encoding_itself,
    json_tag,
    result_choice,
)
from enfilade.primitives.schema.core_nodes import (
    MANY,
    ONE,
    AnnotationError,
    Node,
    is_own,
    is_pydantics,
    is_without_members,
    published_by,
    refuse_repeated_names,
    shown_if_sent,
    with_limits_checked,
)
from enfilade.primitives.schema.type_aliases import TYPE_ARGUMENTS, annotation_of
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives.schema import foreign_classes as _foreign, unions as _unions
else:  # for few servers
    _foreign = LazyModule("enfilade.primitives.schema.foreign_classes")
    _unions = LazyModule("enfilade.primitives.schema.unions")

_CHOICES: Final = ("enum", "literal")
_NO_TAG: Final = "\0"
ModelConfig = Mapping[str, Any]

_NO_OPTIONS: Final[ModelConfig] = {}
_WITH_OPTIONS: Final = ("model", "dataclass", "typed-dict")
_WITH_FIELDS: Final = ("model-fields", "dataclass-args", "typed-dict")
_BYTES_OPTIONS: Final = {"arguments": "val_json_bytes", "results": "ser_json_bytes"}


def for_arguments(schema: Any) -> Any:
    """Return the core schema by which arguments are read; the same object if nothing changes.

    Raises:
        TypeError: no JSON can ever be a value of a type in it; says which, and what to use.
    """
    return _Rewriter("arguments").rewrite(schema)


def for_results(schema: Any) -> Any:
    """Return the core schema by which results are written; the same object if nothing changes.

    Raises:
        AnnotationError: a member of a type can never meet a limit, two fields are written under one name, or an
            Enum has no members.
    """
    return _Rewriter("results").rewrite(schema)


def validator_of(schema: Any, adapter: TypeAdapter[Any] | None = None) -> SchemaValidator:
    """Return a validator for exactly this schema: the adapter's, if the schema is its own."""
    if adapter is not None and schema is adapter.core_schema:
        return cast("SchemaValidator", adapter.validator)
    try:
        return SchemaValidator(schema, _use_prebuilt=False)
    except TypeError:  # older releases of pydantic-core
        return SchemaValidator(schema)


def serializer_of(schema: Any) -> SchemaSerializer:
    """Return a serializer for exactly this schema; bytes in values of any type are URL-safe base64."""
    config: Any = {"ser_json_bytes": "base64"}
    try:
        return SchemaSerializer(schema, config, _use_prebuilt=False)
    except TypeError:
        return SchemaSerializer(schema, config)


class _Rewriter:
    """Rewrites one core schema in one direction; nodes without a change are not copied."""

    def __init__(self, direction: str) -> None:
        self._direction = direction
        self._foreign: dict[str, Any] = {}
        self._definitions: dict[str, Node] = {}
        self._field: tuple[Any, str] | None = None  # the class and the name of the field that is visited

    def rewrite(self, schema: Any) -> Any:
        if schema["type"] == "definitions":
            self._definitions = {
                definition["ref"]: definition for definition in schema["definitions"] if "ref" in definition
            }
        rewritten = self.visit(schema, options=_NO_OPTIONS)
        if not self._foreign:
            return rewritten
        if rewritten["type"] != "definitions":
            return core_schema.definitions_schema(rewritten, list(self._foreign.values()))
        # A model may be in both; it was rewritten in the same way each time.
        merged = {**self._foreign, **{definition["ref"]: definition for definition in rewritten["definitions"]}}
        return {**rewritten, "definitions": list(merged.values())}

    def visit(self, node: Node, *, options: ModelConfig) -> Any:
        if self._direction == "results":
            node = shown_if_sent(node)
        kind = node["type"]
        if self._direction == "arguments" and DEPENDENCY in (node.get("metadata") or {}):
            raise TypeError(
                "Depends stands inside of its type, where a caller could fill it; "
                "make it a parameter of its own: Annotated[<the whole type>, Depends(fn)]"
            )
        if kind in _WITH_OPTIONS:
            options = node.get("config") or _NO_OPTIONS
        if (encoder := encoder_of(node)) is not None:
            return encoding_itself(node, encoder) if self._direction == "results" else node
        if kind == "is-instance" and _foreign.is_foreign(node["cls"]):
            with_arguments = (node.get("metadata") or {}).get(TYPE_ARGUMENTS)
            return self._foreign_class(with_arguments or annotation_of(node["cls"], self._field))
        if is_own(node):  # the check for the class in it must not become its schema again
            return {**node, "json_schema": self.visit(node["json_schema"], options=_NO_OPTIONS)} | {
                "serialization": self._inside("serialization", node["serialization"], _NO_OPTIONS)
            }
        field = self._field
        if kind in _WITH_OPTIONS:
            self._field = node.get("cls"), ""
        changed: Node = self._members(node, options)
        self._field = field
        if kind == "bytes":
            changed = self._bytes(changed, options)
        if kind == "float" and self._direction == "results" and options.get("ser_json_inf_nan") == "strings":
            return published_by(changed, _number_or_name)
        if kind == "generator":
            return _list(changed) if self._direction == "arguments" else _written_list(changed)
        return self._argument(changed) if self._direction == "arguments" else self._result(changed)

    def _result(self, node: Node) -> Any:
        return published_by(_result(node), _anything) if self._is_closed_base(node) else _result(node)

    def _is_closed_base(self, node: Node) -> bool:
        """Return whether subclasses are written of a class whose schema would forbid their fields."""
        if (node.get("serialization") or {}).get("type") != "any":
            return False
        written = self._definitions.get(node.get("schema_ref", ""), node)
        return (written.get("config") or {}).get("extra_fields_behavior") == "forbid"

    def _bytes(self, node: Node, options: ModelConfig) -> Any:
        option = options.get(_BYTES_OPTIONS[self._direction])
        if option is None:
            return bytes_node(node)
        return bytes_written_by(option, node) if self._direction == "results" else node

    def _members(self, node: Node, options: ModelConfig) -> Node:
        """Return a node with its members rewritten; the same object if none of them changes."""
        changed = {key: self._inside(key, value, options) for key, value in node.items()}
        return node if all(changed[key] is node[key] for key in node) else changed

    def _inside(self, key: str, value: Any, options: ModelConfig) -> Any:
        if key == "serialization":
            return self._members(value, options)
        if key in ONE and isinstance(value, dict):
            return self.visit(value, options=options)
        if key in MANY and isinstance(value, dict):
            named = {name: self._visit_field(name, member, options) for name, member in value.items()}
            return value if all(named[name] is value[name] for name in value) else named
        if key in MANY and isinstance(value, list):
            items = [self._item(item, options) for item in value]
            return value if all(map(is_, items, value)) else items
        return value

    def _item(self, item: Any, options: ModelConfig) -> Any:
        """Return a rewritten item of a list: a schema, a schema with a label, or the name of a field."""
        if isinstance(item, tuple):
            labelled = self.visit(item[0], options=options)
            return item if labelled is item[0] else (labelled, *item[1:])
        if not isinstance(item, dict):
            return item
        if "type" in item:
            name = item["name"] if item["type"] == "dataclass-field" else ""
            return self._visit_field(name, item, options)
        return self._members(item, options)

    def _visit_field(self, name: str, node: Node, options: ModelConfig) -> Any:
        """Visit a member of a node, which has a name if it is a field of a class."""
        field = self._field
        if name and field is not None:
            self._field = field[0], name
        visited = self.visit(node, options=options)
        self._field = field
        return visited

    def _foreign_class(self, kind: Any) -> Any:
        reference = _foreign.reference_of(kind)
        if reference not in self._foreign:
            self._foreign[reference] = {}  # being made: it may refer to itself
            schema, definitions = _foreign.foreign_schema(kind)
            for definition in definitions:
                self._foreign.setdefault(definition["ref"], self.visit(definition, options=_NO_OPTIONS))
            self._foreign[reference] = {**self.visit(schema, options=_NO_OPTIONS), "ref": reference}
        return core_schema.definition_reference_schema(reference)

    def _argument(self, node: Node) -> Any:
        return (
            _unions.read_by_tag(node, self._definitions)
            if node["type"] == "union"
            else self._argument_but_union(node)
        )

    def _argument_but_union(self, node: Node) -> Any:
        kind = node["type"]
        if kind == "is-subclass":
            raise TypeError(
                f"a class ({node['cls'].__name__} or one of its subclasses) cannot come from JSON; "
                f"take its name, such as Literal[…], and look the class up in the function"
            )
        if kind in ("function-after", "chain"):
            return with_limits_checked(node, sent=False)
        if kind in _CHOICES:
            return argument_choice(node)
        if kind == "datetime" and node.get("tz_constraint") == "naive":  # date-time has an offset
            return published_by(node, _without_format)
        if kind == "dict" and "keys_schema" in node:
            return {**node, "keys_schema": self._of_keys(node["keys_schema"])}
        if kind == "tagged-union" and any(isinstance(tag, (Enum, bytes)) for tag in node["choices"]):
            node = {**node, "choices": {json_tag(tag): choice for tag, choice in node["choices"].items()}}
        if kind == "tagged-union" and callable(node["discriminator"]):
            return {**node, "discriminator": _tagging(node["discriminator"])}
        return node

    def _of_keys(self, keys: Any) -> Any:
        """Return the schema of the keys of a dict; a choice is read by the texts of its values."""
        choice = self._definitions.get(keys.get("schema_ref", ""), keys)
        if choice["type"] not in _CHOICES:
            return keys
        return by_text({key: value for key, value in choice.items() if key != "ref"})


def _tagging(discriminator: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a discriminator without None, for which errors would not name the tags."""

    @wraps(discriminator)
    def tag_of(value: Any) -> Any:
        tag = discriminator(value)
        return _NO_TAG if tag is None else json_tag(tag)

    return tag_of


def _result(node: Node) -> Any:
    if node["type"] in _CHOICES:
        return result_choice(node)
    if node["type"] == "json":
        return _json_or_value(node)
    if node["type"] in ("function-after", "chain"):
        node = with_limits_checked(node, sent=True)
    if node["type"] in _WITH_FIELDS:
        refuse_repeated_names(node)
    if node["type"] == "is-instance" and is_without_members(node["cls"]):
        raise AnnotationError(
            f"no value can be a {node['cls'].__name__}, which has no members; use one that has some"
        )
    writes = node.get("serialization")
    if writes and _is_silent(writes):
        return {**node, "serialization": {**writes, "return_schema": core_schema.any_schema()}}
    return node


def _is_silent(writes: Mapping[str, Any]) -> bool:
    """Return whether a serializer function of the author's has no return type."""
    is_function = writes["type"] in ("function-plain", "function-wrap")
    return is_function and "return_schema" not in writes and not is_pydantics(writes["function"])


def _json_or_value(node: Node) -> Any:
    """Return the schema of `Json[…]` in a result, which takes the JSON as text and the value itself."""

    def parsed(value: Any, validate: Callable[[Any], Any]) -> Any:
        if isinstance(value, (str, bytes, bytearray)):
            try:
                return validate(from_json(value))
            except ValueError:  # it is the value itself; or validation below reports what is wrong
                pass
        return validate(value)

    inner = node.get("schema") or core_schema.any_schema()
    retained = {key: node[key] for key in ("metadata", "serialization", "ref") if key in node}
    return {**core_schema.no_info_wrap_validator_function(parsed, inner), **retained}


def _without_format(schema: Any, handler: Any) -> dict[str, Any]:
    return {key: value for key, value in handler(schema).items() if key != "format"}


def _anything(schema: Any, handler: Any) -> dict[str, Any]:
    """Return the schema of any value, for a class (`SerializeAsAny`) whose subclasses it would refuse."""
    return {}


def _number_or_name(schema: Any, handler: Any) -> dict[str, Any]:
    """Return the JSON Schema of a float whose NaN and infinities are written as strings."""
    return {"anyOf": [handler(schema), {"enum": ["NaN", "Infinity", "-Infinity"], "type": "string"}]}


def _list(node: Node) -> Any:
    """Return the schema of a list in place of a lazy iterable."""
    retained = {key: node[key] for key in ("items_schema", "min_length", "max_length", "metadata") if key in node}
    return {"type": "list", **retained}


def _written_list(node: Node) -> Any:
    """Return the schema of a list whose serializer also takes the lazy iterator in a model."""
    listed = _list(node)
    if "serialization" in node:
        return {**listed, "serialization": node["serialization"]}
    items = {key: listed[key] for key in ("type", "items_schema") if key in listed}
    writes: Any = core_schema.plain_serializer_function_ser_schema(_listed, return_schema=items, when_used="json")
    return {**listed, "serialization": writes}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Iterator) else value
