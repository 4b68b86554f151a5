"""Core schemas of attrs classes and msgspec Structs, which are read from JSON objects and written as them.

The fields of an attrs class are read from the class, so attrs is not imported.

Easy to get wrong: the names. In JSON, a field has the name of the constructor's argument for attrs (`_x` is `x`),
and its encoded name for a Struct with renamed fields, in both directions.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin

import msgspec
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError, core_schema

from enfilade.primitives.schema.type_aliases import (
    rewritten,
    strip,
    substituted,
    type_variables_of,
    typed_dict,
    with_type_arguments,
)
from enfilade.primitives.values.foreign_values import is_attrs, members_of

_MISSING: Final = object()
_LIMITS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
_TEXTS: Final = ("title", "description", "examples")
# The messages of attrs' validators: 'a' must be <class 'int'> (got 'x' that is a <class 'str'>).
_BY_ATTRS: Final = re.compile(
    r"(?P<length>Length of )?'(?P<name>\w+)' (?P<must>must .+?)"
    r"(?:: [^:]*| \((?:got|'.*' doesn't\)).*|, which .* is not\.?)?",
    re.DOTALL,
)
_CLASS: Final = re.compile(r"<class '([\w.<>]+)'>")
_JSON_TYPES: Final = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "string",
    "list": "array",
    "dict": "object",
    "NoneType": "null",
}


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its name on the object, in JSON and in the constructor, its type and its default."""

    name: str
    key: str
    argument: str
    annotation: Any
    default: Any = _MISSING
    is_optional: bool = False


def is_foreign(kind: Any) -> bool:
    """Return whether a class was made by attrs or msgspec."""
    return isinstance(kind, type) and (is_attrs(kind) or issubclass(kind, msgspec.Struct))


def reference_of(kind: Any) -> str:
    """Return the name of such a class, with its type arguments, among the definitions of a core schema."""
    owner: Any = get_origin(kind) or kind
    arguments = ",".join(f"{getattr(argument, '__name__', 'type')}:{id(argument)}" for argument in get_args(kind))
    return f"{owner.__module__}.{owner.__qualname__}:{id(owner)}" + (f"[{arguments}]" if arguments else "")


def foreign_schema(annotation: Any) -> tuple[Any, list[Any]]:
    """Return the core schema of such a class, and the definitions that it refers to.

    Args:
        annotation: the class, or the class with its type arguments.

    Raises:
        TypeError: the type of a field is unknown, or the class is not written as an object.
    """
    kind: type = get_origin(annotation) or annotation
    fields = list(
        _struct_fields(annotation, kind) if issubclass(kind, msgspec.Struct) else _attrs_fields(annotation, kind)
    )
    forbids = issubclass(kind, msgspec.Struct) and kind.__struct_config__.forbid_unknown_fields
    options = ConfigDict(arbitrary_types_allowed=True, extra="forbid" if forbids else "ignore")
    holder = typed_dict(_title(annotation, kind), {field.key: _item(field) for field in fields}, options)
    inner: Any = TypeAdapter(holder).core_schema
    definitions: list[Any] = []
    if inner["type"] == "definitions":
        inner, definitions = inner["schema"], inner["definitions"]
    inner = {key: value for key, value in inner.items() if key != "ref"}
    arguments = {field.key: field.argument for field in fields if field.argument}
    keys = {field.name: field.key for field in fields}

    def make(values: dict[str, Any]) -> Any:
        try:
            return kind(**{arguments[key]: value for key, value in values.items() if key in arguments})
        except (ValueError, TypeError) as error:
            raise _refusal(error, keys) from None

    writes = core_schema.plain_serializer_function_ser_schema(members_of, return_schema=inner)
    return core_schema.json_or_python_schema(
        core_schema.no_info_after_validator_function(make, inner),
        core_schema.is_instance_schema(kind),
        serialization=writes,
        metadata={"enfilade_foreign": True},
    ), definitions


def _refusal(error: Exception, keys: Mapping[str, str]) -> PydanticCustomError:
    """Return the error for an object that the constructor refuses.

    Validators of attrs name the field and repeat its value, both as Python has them. Then the error is about that
    member under its JSON name (`member_error`), and says what it must be.
    """
    text = str(error.args[0] if error.args else error)
    match = _BY_ATTRS.fullmatch(text)
    if match is None or match["name"] not in keys:
        return PydanticCustomError("value_error", "{text}", {"text": text})
    must = _CLASS.sub(lambda kind: _JSON_TYPES.get(kind[1], kind[1].rpartition(".")[2]), match["must"])
    start = "its length " if match["length"] else ""
    context = {"text": start + must.replace("'", '"'), "member": keys[match["name"]]}
    return PydanticCustomError("member_error", "{text}", context)


def _item(field: _Field) -> Any:
    annotation = field.annotation
    if field.default is not _MISSING:
        annotation = Annotated[annotation, Field(default=field.default)]
    is_free = field.is_optional or field.default is not _MISSING
    item: Any = NotRequired[annotation] if is_free else Required[annotation]
    return item


def _title(annotation: Any, kind: type) -> str:
    names = []
    for argument in map(strip, get_args(annotation)):
        origin = get_origin(argument)
        is_class = isinstance(origin, type)
        names.append(_title(argument, origin) if is_class else getattr(argument, "__name__", str(argument)))
    return f"{kind.__name__}[{', '.join(names)}]" if names else kind.__name__


def _attrs_fields(annotation: Any, kind: Any) -> Iterator[_Field]:
    types = _types_of(annotation, kind)
    for attribute in kind.__attrs_attrs__:
        if not attribute.init:
            continue
        annotation = types.get(attribute.name, Any if attribute.type is None else attribute.type)
        default = attribute.default
        if type(default).__name__ == "Factory":
            yield _Field(attribute.name, attribute.alias, attribute.alias, annotation, is_optional=True)
        elif default is None or type(default).__name__ != "_Nothing":
            yield _Field(attribute.name, attribute.alias, attribute.alias, annotation, default)
        else:
            yield _Field(attribute.name, attribute.alias, attribute.alias, annotation)


def _struct_fields(annotation: Any, kind: Any) -> Iterator[_Field]:
    config = kind.__struct_config__
    if config.array_like:
        raise TypeError(f"{kind.__name__} is written as an array (array_like=True); use a Struct without it")
    types = _types_of(annotation, kind)
    if config.tag is not None:
        yield _Field("", config.tag_field, "", Literal[config.tag], config.tag)
    for field in msgspec.structs.fields(kind):
        annotation, is_unset = _without_unset(_with_limits(types.get(field.name, field.type)))
        if field.default_factory is not msgspec.NODEFAULT or is_unset:
            yield _Field(field.name, field.encode_name, field.name, annotation, is_optional=True)
        elif field.default is not msgspec.NODEFAULT:
            yield _Field(field.name, field.encode_name, field.name, annotation, field.default)
        else:
            yield _Field(field.name, field.encode_name, field.name, annotation)


def _types_of(annotation: Any, kind: type) -> dict[str, Any]:
    """Return the types of the fields, with the type arguments in place of the type variables."""
    module = sys.modules.get(kind.__module__)
    try:
        # Quoted annotations may use the type variables of `class Page[T]`, which Python 3.12 does not look up.
        declared = [
            parameter for base in reversed(kind.__mro__) for parameter in getattr(base, "__type_params__", ())
        ]
        variables = {parameter.__name__: parameter for parameter in declared} or None
        hints = typing.get_type_hints(kind, vars(module) if module else None, variables, include_extras=True)
    except NameError as error:
        raise TypeError(
            f'in {kind.__name__}, the name "{error.name}" is not known; import it in its module'
        ) from None
    arguments = dict(type_variables_of(annotation))
    for name, hint in hints.items():
        owner = next((base for base in kind.__mro__ if _declares(base, name)), kind)
        hints[name] = rewritten(substituted(hint, arguments.get(owner, {})), with_type_arguments)
    return hints


def _declares(kind: type, name: str) -> bool:
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return name in get_annotations(kind, format=Format.FORWARDREF)
    return name in vars(kind).get("__annotations__", {})


def _with_limits(annotation: Any) -> Any:
    """Return a type with the limits of `msgspec.Meta` as a `Field` of pydantic."""
    if get_origin(annotation) is not Annotated:
        return annotation
    bare, *metadata = get_args(annotation)
    for mark in metadata:
        if isinstance(mark, msgspec.Meta):
            limits = {
                name: getattr(mark, name) for name in (*_LIMITS, *_TEXTS) if getattr(mark, name) is not None
            }
            bare = Annotated[bare, Field(**limits)]
        else:
            bare = Annotated[bare, mark]
    return bare


def _without_unset(annotation: Any) -> tuple[Any, bool]:
    members = get_args(annotation)
    if msgspec.UnsetType not in members:
        return annotation, False
    others = tuple(member for member in members if member is not msgspec.UnsetType)
    return Union[others], True  # noqa: UP007 - made of data
