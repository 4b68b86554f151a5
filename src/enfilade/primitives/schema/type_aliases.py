"""Walks and rewrites annotations, also behind aliases (`type X = …`), with and without type arguments.

`get_origin` and `get_args` do not follow aliases. A mark in `Annotated[…]` (a dependency, a description) behind
an alias would be lost, so every reader of an annotation uses these functions.

Easy to get wrong: an alias may refer to itself. `type Json = dict[str, Json] | str` is a type; `type C = C` and
`type C = C | int` are not.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from pydantic import ConfigDict

#: The class with its type arguments, in the metadata of a core schema.
TYPE_ARGUMENTS: Final = "enfilade_type_arguments"

UNIONS: Final = (Union, types.UnionType)


def alias_of(annotation: Any) -> Any:
    """Return the alias of an annotation that is one, with or without type arguments; None for others."""
    for candidate in (annotation, get_origin(annotation)):
        if type(candidate).__name__ == "TypeAliasType":
            return candidate
    return None


def without_alias(annotation: Any) -> Any:
    """Return the value of an annotation that is an alias; others as they are.

    Raises:
        TypeError: an alias refers to nothing but itself, or to a name that is not known.
    """
    seen: list[Any] = []
    while (alias := alias_of(annotation)) is not None:
        if alias in seen:
            raise TypeError(f"the type alias {alias.__name__} refers to itself and stands for no type")
        seen.append(alias)
        annotation = _value_of(alias, get_args(annotation))
    return annotation


def with_metadata(annotation: Any) -> Any:
    """Return an annotation with the outermost `Annotated[…]` in place of the aliases before it.

    An alias of anything else stays: pydantic publishes it under its name, and it may be recursive.
    """
    if get_origin(annotation) is Annotated:
        bare, *metadata = get_args(annotation)
        inner = with_metadata(bare)
        return annotation if inner is bare else Annotated[inner, *metadata]
    value = without_alias(annotation)
    if value is annotation or get_origin(value) is not Annotated:
        return annotation
    return with_metadata(value)


def strip(annotation: Any) -> Any:
    """Return the annotation without `Annotated[…]` and without aliases."""
    while True:
        annotation = without_alias(annotation)
        if get_origin(annotation) is not Annotated:
            return annotation
        annotation = get_args(annotation)[0]


def check_aliases(annotation: Any) -> None:
    """Check that every alias within an annotation stands for a type.

    Raises:
        TypeError: one refers to nothing but itself, or to a name that is not known.
    """
    checked: list[Any] = []

    def check(subject: Any, open_aliases: tuple[Any, ...]) -> None:
        alias = alias_of(subject)
        if alias is not None:
            if alias in open_aliases:
                raise TypeError(f"the type alias {alias.__name__} refers to itself and stands for no type")
            if any(subject is other or subject == other for other in checked):
                return
            checked.append(subject)
            check(_value_of(alias, get_args(subject)), (*open_aliases, alias))
            for argument in get_args(subject):
                check(argument, ())
            return
        is_transparent = get_origin(subject) is Annotated or get_origin(subject) in UNIONS
        for argument in _types_within(subject):
            check(argument, open_aliases if is_transparent else ())

    check(annotation, ())


def parts_of(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and every type within it, also behind aliases; each alias is followed once."""
    waiting, seen = [annotation], set[int]()
    while waiting:
        current = waiting.pop()
        yield current
        if (alias := alias_of(current)) is not None and id(alias) not in seen:
            seen.add(id(alias))
            waiting.append(_value_of(alias, get_args(current)))
        waiting += _types_within(current)


def classes_in(annotation: Any) -> Iterator[type]:
    """Yield the classes within an annotation, and those of the marks in its `Annotated[…]`."""
    for candidate in parts_of(annotation):
        if get_origin(candidate) is Annotated:
            yield from map(type, get_args(candidate)[1:])
        elif isinstance(kind := get_origin(candidate) or candidate, type):
            yield kind


class TypeArguments:
    """A mark that puts the type arguments of an attrs class or Struct into its core schema.

    Args:
        annotation: the class with its type arguments, such as `Page[int]`.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeArguments) and self.annotation == other.annotation

    def __hash__(self) -> int:
        return hash(self.annotation)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        return {**schema, "metadata": {**schema.get("metadata", {}), TYPE_ARGUMENTS: self.annotation}}


def with_type_arguments(annotation: Any) -> Any:
    """Return an attrs class or Struct with its type arguments as a mark; others as they are."""
    kind = get_origin(annotation)
    is_foreign = hasattr(kind, "__attrs_attrs__") or hasattr(kind, "__struct_fields__")
    return Annotated[annotation, TypeArguments(annotation)] if is_foreign else annotation


def rewritten(annotation: Any, change: Callable[[Any], Any]) -> Any:
    """Return an annotation with `change` applied to it and to the types within it.

    Args:
        annotation: any; aliases stay as they are.
        change: is called with each type after those within it.
    """
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return annotation
    if get_origin(annotation) is Annotated:
        inner = rewritten(arguments[0], change)
        return annotation if inner is arguments[0] else Annotated[inner, *arguments[1:]]
    changed = tuple(
        [rewritten(item, change) for item in argument]
        if isinstance(argument, list)
        else rewritten(argument, change)
        for argument in arguments
    )
    if any(new is not old and new != old for new, old in zip(changed, arguments, strict=True)):
        annotation = _with_arguments(annotation, changed)
    return change(annotation)


def _types_within(annotation: Any) -> tuple[Any, ...]:
    """Return the type arguments of an annotation that are types themselves."""
    if get_origin(annotation) is Literal:
        return ()
    arguments = get_args(annotation)[: 1 if get_origin(annotation) is Annotated else None]
    # The parameters of a Callable are a list.
    return tuple(
        item for argument in arguments for item in (argument if isinstance(argument, list) else (argument,))
    )


def _with_arguments(annotation: Any, arguments: tuple[Any, ...]) -> Any:
    if get_origin(annotation) in UNIONS:
        return Union[arguments]  # noqa: UP007 - made of data
    if isinstance(annotation, types.GenericAlias):
        return types.GenericAlias(get_origin(annotation), arguments)
    return annotation.copy_with(arguments) if hasattr(annotation, "copy_with") else annotation


def _value_of(alias: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the value of an alias, with these arguments in place of its type parameters.

    Raises:
        TypeError: a name in it is not known.
    """
    try:
        value = alias.__value__
        holder = types.SimpleNamespace(__annotations__={"value": value})
        module = sys.modules.get(alias.__module__ or "")
        names = {alias.__name__: alias}  # which its module does not have if a function made it
        value = get_type_hints(holder, vars(module) if module else {}, names, include_extras=True)["value"]
    except NameError as error:
        raise TypeError(
            f'the type alias {alias.__name__} cannot be resolved (the name "{error.name}" is not known); '
            f"define or import it in the module of the alias"
        ) from None
    return substituted(value, dict(zip(alias.__type_params__, arguments, strict=False))) if arguments else value


def substituted(value: Any, arguments: Mapping[Any, Any]) -> Any:
    """Return an annotation with these types in place of its type variables."""
    if isinstance(value, TypeVar):
        return arguments.get(value, value)
    parameters = getattr(value, "__parameters__", ())
    if not parameters:
        return value
    try:
        return value[tuple(arguments.get(parameter, parameter) for parameter in parameters)]
    except TypeError:  # parameters that are no single types, such as `*Ts`
        return value


def type_variables_of(annotation: Any) -> Iterator[tuple[type, dict[Any, Any]]]:
    """Yield a class and its bases, each with its type variables and the types in their place."""
    kind = get_origin(annotation) or annotation
    arguments = dict(zip(getattr(kind, "__parameters__", ()), get_args(annotation), strict=False))
    yield kind, arguments
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        if isinstance(get_origin(base) or base, type):
            yield from type_variables_of(substituted(base, arguments))


def annotation_of(kind: type, field: tuple[Any, str] | None) -> Any:
    """Return a generic class with the type arguments that it has in the annotation of a field; else the class.

    Args:
        kind: the class; pydantic drops the arguments of classes that it does not know.
        field: the class and the name of the field in which it stands.
    """
    if field is None or not getattr(kind, "__parameters__", ()):
        return kind
    owner, name = field
    fields = getattr(owner, "__pydantic_fields__", None) or {}
    try:
        annotation = fields[name].annotation if name in fields else get_type_hints(owner)[name]
    except (NameError, KeyError, TypeError):
        return kind
    written = [part for part in parts_of(annotation) if get_origin(part) is kind]
    return written[0] if written and all(part == written[0] for part in written) else kind


def typed_dict(name: str, items: Mapping[str, Any], options: ConfigDict) -> Any:
    """Return a `TypedDict` made of data (which type checkers cannot follow), with options for pydantic."""
    from typing_extensions import TypedDict  # with pydantic alone, which takes it on any version of Python

    make: Any = TypedDict
    kind = make(name, dict(items))
    kind.__pydantic_config__ = options
    return kind
