"""JSON Schemas of plain types, made without pydantic: those of `is_deferrable`, as far as they are simple.

They are the same as those that `schemas.py` and `portable.py` make of such types with pydantic, byte for byte; a
test compares them. So a server of plain tools needs no pydantic, which takes longer to load than all of this
library, and more memory.

Easy to get wrong: a type of which msgspec reads other values than pydantic does, such as `Union[Any, int]`. It
is not plain here, and pydantic makes its schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from enum import Enum, EnumType
from types import NoneType
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin

from enfilade.primitives.schema.annotations import allows_none
from enfilade.primitives.schema.signature import EMPTY, Parameter
from enfilade.primitives.schema.type_aliases import UNIONS

_KINDS: Final[Mapping[type, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}
#: Types that may hold any value of JSON.
_ANYTHING: Final = (Any, list, dict)


class NotPlainError(Exception):
    """A type, or a default, of which pydantic has to make the schema."""


def arguments_schema(parameters: Iterable[Parameter], descriptions: Mapping[str, str], *, extra: bool) -> Any:
    """Return the schema of the arguments of a tool.

    Args:
        parameters: those that the caller fills.
        descriptions: of parameters that have none of their own, by name.
        extra: whether arguments without a parameter are allowed.

    Raises:
        NotPlainError: a parameter is not plain.
    """
    properties: dict[str, Any] = {}
    required = []
    for parameter in parameters:
        kind, default = type_of(parameter), parameter.default
        schema, notes = schema_of(kind), dict[str, Any]()
        if default is EMPTY:
            required.append(parameter.name)
        else:
            if isinstance(default, Enum) and type(default) in (kind, *get_args(kind)):
                default = default.value
            elif default is not None and holds_choices(kind):
                raise NotPlainError(default)
            _check_default(default, schema)
            notes["default"] = default
        if text := _description(parameter.annotation, descriptions.get(parameter.name)):
            notes["description"] = text
        # In pydantic's order, which is that of the alphabet; but what is beside a definition follows that.
        both = {**schema, **notes}
        properties[parameter.name] = both if type(kind) is EnumType else {key: both[key] for key in sorted(both)}
    published: dict[str, Any] = {"type": "object", "properties": properties}
    if not extra:
        published["additionalProperties"] = False
    if required:
        published["required"] = required
    return {**published, "additionalProperties": True} if extra else published


def result_schema(annotation: Any) -> tuple[dict[str, Any], bool]:
    """Return the schema of what a tool returns, and whether its value is wrapped as `{"result": …}`.

    Raises:
        NotPlainError: the type is not plain.
    """
    schema = schema_of(annotation)
    if schema.get("type") == "object":
        return schema, False
    return {"type": "object", "properties": {"result": schema}, "required": ["result"]}, True


def type_of(parameter: Parameter) -> Any:
    """Return the type of a parameter, without texts beside it; None is a value of it if it is the default."""
    annotation, default = parameter.annotation, parameter.default
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return kind if default is not None or allows_none(kind) else kind | None


def _description(annotation: Any, from_docstring: str | None) -> str | None:
    texts = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return texts[-1] if texts else from_docstring


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the schema of a type.

    Raises:
        NotPlainError: it is not plain.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is None or annotation in _KINDS:
        return {} if annotation is Any else {"type": _KINDS[annotation or NoneType]}
    if (origin or annotation) is list:
        return {"items": schema_of(arguments[0]) if arguments else {}, "type": "array"}
    if (origin or annotation) is dict:
        return {"additionalProperties": (arguments and schema_of(arguments[1])) or True, "type": "object"}
    if origin is Literal:
        return _literal(arguments)
    if type(annotation) is EnumType:
        return _enum(cast("type[Enum]", annotation))
    if origin in UNIONS:
        return {"anyOf": _branches(arguments)}
    raise NotPlainError(annotation)


def _literal(values: tuple[Any, ...]) -> dict[str, Any]:
    kinds = {type(value) for value in values}
    if bool in kinds:  # which msgspec does not know there
        raise NotPlainError(values)
    schema: dict[str, Any] = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return {**schema, "type": _KINDS[kinds.pop()]} if len(kinds) == 1 else schema


def _enum(kind: type[Enum]) -> dict[str, Any]:
    values = [member.value for member in kind]
    schema: dict[str, Any] = {"enum": values, "title": kind.__name__, "type": _KINDS[type(values[0])]}
    return {"description": inspect.cleandoc(kind.__doc__), **schema} if kind.__doc__ else schema


def _branches(members: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return the schemas of the members of a union; null comes last."""
    others = [member for member in members if member is not NoneType]
    branches = [schema_of(member) for member in others]
    is_repeated = any(branch in branches[:index] for index, branch in enumerate(branches))
    # Which member of such a union a value is of, pydantic alone decides.
    is_doubtful = any(
        member is Any or get_origin(member) is Literal or type(member) is EnumType for member in others
    )
    if is_repeated or (is_doubtful and len(others) > 1):
        raise NotPlainError(members)
    return branches if len(others) == len(members) else [*branches, {"type": "null"}]


def _check_default(default: Any, schema: Mapping[str, Any]) -> None:
    """Check that a default is published: that it is a value of its type as it stands.

    Raises:
        NotPlainError: it may be none.
    """
    branches = schema.get("anyOf", (schema,))
    if default is None and {"type": "null"} in branches:
        return
    for branch in branches:
        choices = branch.get("enum", [branch["const"]] if "const" in branch else None)
        if choices is not None:
            if any(type(choice) is type(default) and choice == default for choice in choices):
                return
        elif "type" not in branch or branch["type"] == _KINDS.get(type(default)):
            return
    if type(default) is int and schema.get("type") == "number":
        return
    raise NotPlainError(default)


def holds_choices(annotation: Any) -> bool:
    """Return whether a plain type is or has an Enum, which has a definition where schemas keep definitions."""
    if get_origin(annotation) is Literal:
        return False
    return type(annotation) is EnumType or any(map(holds_choices, get_args(annotation)))


def holds_anything(annotation: Any) -> bool:
    """Return whether values of a plain type may hold any value of JSON."""
    arguments = get_args(annotation)
    if not arguments:
        return annotation in _ANYTHING or get_origin(annotation) in _ANYTHING
    return get_origin(annotation) is not Literal and any(map(holds_anything, arguments))


def holds_numbers(annotation: Any) -> bool:
    """Return whether a value of a plain type may be, or hold, a `float` that is declared."""
    arguments = get_args(annotation)
    if not arguments:
        return annotation is float
    return get_origin(annotation) is not Literal and any(map(holds_numbers, arguments))
