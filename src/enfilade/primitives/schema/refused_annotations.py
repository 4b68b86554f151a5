"""Refuses annotations that are not types, or of which there is no value.

Pydantic reads most of them as "anything" and only warns. So a slip of the author's (`list[...]`, `x: 3`, a bare
`Literal`) would be published as an argument that takes whatever comes.

Easy to get wrong: type arguments. Those of containers and unions are types; other classes may take anything in
brackets, such as `Array[3, "x y"]`, and `Result[int, Never]` is a type of which there are values.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections import ChainMap, Counter, OrderedDict, abc, defaultdict, deque
from collections.abc import Iterable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    ForwardRef,
    Generic,
    LiteralString,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    ParamSpec,
    ParamSpecArgs,
    ParamSpecKwargs,
    Protocol,
    Required,
    TypeVar,
    TypeVarTuple,
    get_args,
    get_origin,
)

from enfilade.primitives.schema.type_aliases import UNIONS, alias_of, strip

# These qualify fields of classes and TypedDicts, and never parameters or results.
_QUALIFIERS: Final[tuple[Any, ...]] = (Final, ClassVar, Required, NotRequired)
# Their arguments are types.
_CONTAINERS: Final = frozenset(
    {
        *(*UNIONS, list, tuple, dict, set, frozenset, deque, defaultdict, OrderedDict, Counter, ChainMap),
        *(abc.Iterable, abc.Iterator, abc.Collection, abc.Sequence, abc.MutableSequence, abc.Reversible),
        *(abc.Set, abc.MutableSet, abc.Mapping, abc.MutableMapping),
    }
)
# Classes of values whose repr is what authors write; others are shown by their class.
_VALUES: Final = (*(int, float, complex, bytes, list, tuple, dict, set, frozenset), types.NotImplementedType)
_SCOPED: Final = (ParamSpec, ParamSpecArgs, ParamSpecKwargs, TypeVarTuple)
# What Python writes before the names of types and type variables.
_PREFIXES: Final = re.compile(r"\b(?:typing|typing_extensions|collections\.abc)\.|~(?=\w)")
# Forms of `typing` that are classes on some versions of Python.
_CLASSES: Final[tuple[Any, ...]] = (Annotated, Generic, Protocol, typing.Union)
_EXAMPLES: Final[dict[str, str]] = {
    "Annotated": 'Annotated[int, "text"]',
    "Literal": 'Literal["a", "b"]',
    "Optional": "int | None",
    "Union": "int | str",
}


def refuse_no_type(annotation: Any) -> None:
    """Refuse an annotation that is not a type, or of which there is no value.

    Raises:
        TypeError: says what the annotation is, and what to write.
    """
    if type(annotation) is not type or _is_one_of(annotation, _CLASSES):  # most are classes, and fine
        _refuse(annotation, shown(strip(annotation)), set())


def _refuse(annotation: Any, written: str, seen: set[int]) -> None:
    if (alias := alias_of(annotation)) is not None:
        if id(alias) in seen:  # it refers to itself
            return
        seen.add(id(alias))
    bare = strip(annotation)
    origin = get_origin(bare)
    within = "" if shown(bare) == written else f" in {written}"
    if _is_one_of(bare if origin is None else origin, _QUALIFIERS):
        inner = ", ".join(map(shown, get_args(bare))) or "its type"
        raise TypeError(f"{shown(bare)}{within} is about the field of a class; write {inner} in its place")
    if _is_one_of(bare, (Never, NoReturn)):
        raise TypeError(f"no value is of the type {shown(bare)}{within}; annotate what is sent")
    if isinstance(bare, TypeVar) and _is_free(bare):
        raise TypeError(
            f"the type variable {bare.__name__}{within} says nothing about the value; annotate a type, "
            f"Any for every value, or give it a bound or constraints"
        )
    if isinstance(bare, _SCOPED) or origin is typing.Unpack:
        raise TypeError(f"{shown(bare)}{within} stands for parameters, not for a value; annotate a type")
    if (origin is None or origin is bare) and _is_special(bare):
        raise TypeError(_bare(bare) + (f" ({written})" if within else ""))
    if origin is None and not _is_type(bare):
        raise TypeError(
            f"the annotation {written} is no type; write one, such as list[int], int | str or Literal[3]"
        )
    if origin in _CONTAINERS:
        arguments = get_args(bare)
        for argument in arguments[:1] if origin is tuple and arguments[1:] == (...,) else arguments:
            _refuse(argument, written, seen)


def _is_one_of(annotation: Any, forms: Iterable[Any]) -> bool:
    return any(annotation is form for form in forms)  # some objects have no truth of an ==


def is_type(annotation: Any) -> bool:
    """Return whether an annotation is a type, a form of `typing`, or something that pydantic takes for a type."""
    bare = strip(annotation)
    return get_origin(bare) is not None or _is_special(bare) or isinstance(bare, _SCOPED) or _is_type(bare)


def _is_type(annotation: Any) -> bool:
    """Return whether an annotation without type arguments is a type, or something that pydantic takes for one."""
    if annotation is None or isinstance(annotation, (type, TypeVar, NewType, ForwardRef)):
        return True
    if _is_one_of(annotation, (Any, LiteralString)) or type(annotation).__name__.lower() == "sentinel":
        return True
    hook = getattr(annotation, "__get_pydantic_core_schema__", None)
    return inspect.ismethod(hook) and hook.__self__ is annotation


def _bare(form: Any) -> str:
    """Say that a form of `typing` needs something in brackets."""
    name = getattr(form, "__name__", None) or getattr(form, "_name", str(form))
    advice = f"write what it is of, such as {_EXAMPLES[name]}" if name in _EXAMPLES else "annotate a type"
    return f"{name} alone is no type; {advice}"


def _is_special(annotation: Any) -> bool:
    """Return whether an annotation is a form of `typing` such as `Literal`, which means nothing on its own."""
    if _is_one_of(annotation, (Any, LiteralString)):
        return False
    return _is_one_of(annotation, _CLASSES) or type(annotation).__name__.endswith(("SpecialForm", "LiteralForm"))


def _is_free(variable: Any) -> bool:
    """Return whether a type variable stands for every type."""
    has_default = getattr(variable, "has_default", None)
    return not (variable.__bound__ or variable.__constraints__ or (has_default is not None and has_default()))


def without_never(annotation: Any) -> Any:
    """Return a union without the members of which there is no value; other annotations as they are."""
    if get_origin(annotation) not in UNIONS:
        return annotation
    members = get_args(annotation)
    some = tuple(member for member in members if member not in (Never, NoReturn))
    return annotation if len(some) == len(members) or not some else typing.Union[some]  # noqa: UP007


def shown(annotation: Any) -> str:
    """Return an annotation as it is written; an object that is none by its class."""
    if isinstance(annotation, str):
        return repr(annotation)
    if inspect.isroutine(annotation):
        return f"{annotation.__name__}()"
    if annotation is ...:
        return "..."
    is_known = isinstance(annotation, (*_VALUES, *_SCOPED)) or _is_special(annotation) or _is_type(annotation)
    if get_origin(annotation) is None and not is_known:
        return f"{type(annotation).__name__}(...)"
    return _PREFIXES.sub("", inspect.formatannotation(annotation))
