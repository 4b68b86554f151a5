"""Resolves annotations, strings included, to types.

Easy to get wrong: a name in an annotation is looked up where the function was *written*: in its module, in its
closure and, for a nested function, among the local names of the enclosing call, which is still running when the
tool is registered. Names that exist for type checkers alone cannot be resolved, except that of the context.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Awaitable, Coroutine, Mapping
from enum import Enum, EnumType, IntEnum, StrEnum
from types import NoneType
from typing import (
    Any,
    Final,
    Literal,
    LiteralString,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

from enfilade.primitives.schema.refused_annotations import shown, without_never
from enfilade.primitives.schema.type_aliases import (
    UNIONS,
    check_aliases,
    rewritten,
    strip,
    type_variables_of,
    with_metadata,
    with_type_arguments,
)

_MAX_MISSING: Final = 8


class Namespace:
    """The names that the annotations of one function may use.

    Args:
        body: the plain function whose annotations are to be resolved.
        label: its name in error messages.
        context_type: the type of a name that is the context's and exists for type checkers only.
        owner: the class that `Self` stands for, perhaps with type arguments, if the function is a method of one.
    """

    def __init__(self, body: Any, label: str, context_type: type, owner: Any = None) -> None:
        self._label = label
        self._owner = get_origin(owner) or owner
        self._variables = _variables_of(owner, body)
        self._context_type = context_type
        self._globals: dict[str, Any] = getattr(body, "__globals__", {})
        self._body = body

    @functools.cached_property
    def _locals(self) -> dict[str, Any]:
        """The names of the functions around this one, as far as they are known while they run, and its own."""
        body = self._body
        return {**_enclosing_locals(body), **_closure(body), **_type_parameters(body)}

    def resolve(self, annotation: Any, subject: str) -> Any:
        """Return the type of an annotation.

        Raises:
            TypeError: a name in it is unknown; names it and `subject`, such as `parameter "x"`.
        """
        if is_deferrable(annotation):  # which most are, and which nothing below changes
            return NoneType if annotation is None else annotation
        resolved = self._resolve_names(annotation, subject)
        if is_deferrable(resolved):
            return resolved
        try:
            check_aliases(resolved)
            return with_metadata(rewritten(resolved, self._plain_type))
        except TypeError as error:
            raise TypeError(f"{self._label}, {subject}: {error}") from None

    def _plain_type(self, annotation: Any) -> Any:
        """Return the type that a special form stands for in this function."""
        if annotation is LiteralString:
            return str
        if isinstance(annotation, TypeVar):
            return self._variables.get(annotation, annotation)
        if annotation is not Self:
            return with_type_arguments(without_never(annotation))
        if self._owner is None:
            raise TypeError("Self stands for a class, and this is no method of one; name the class")
        return self._owner

    def _resolve_names(self, annotation: Any, subject: str) -> Any:
        missing: dict[str, Any] = {}
        while True:
            try:
                return self._evaluate(annotation, missing)
            except NameError as error:
                name = str(error.name)
                if name not in missing and len(missing) < _MAX_MISSING and self._mentions_context(annotation):
                    missing[name] = self._stand_in(name)
                    continue
                raise TypeError(
                    self._unresolved(annotation, subject, f'the name "{name}" is not known')
                ) from error
            except Exception as error:
                raise TypeError(
                    self._unresolved(annotation, subject, f"{type(error).__name__}: {error}")
                ) from error

    def resolve_return(self, annotation: Any) -> tuple[Any, str]:
        """Return the type of the result, or `Any` and why it is unknown, since a result needs no declaration."""
        try:
            return self.resolve(annotation, "the result"), ""
        except TypeError as error:
            return Any, str(error)

    def _evaluate(self, annotation: Any, missing: Mapping[str, Any]) -> Any:
        # Also resolves strings deep inside (Optional["Context"]), and takes any object that has annotations.
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        names = {**self._locals, **missing} if missing else self._locals
        hints = typing.get_type_hints(holder, self._globals, names, include_extras=True)
        return hints["it"]

    def _mentions_context(self, annotation: Any) -> bool:
        return re.search(rf"\b{self._context_type.__name__}\b", str(annotation)) is not None

    def _stand_in(self, name: str) -> Any:
        """Return the context type for its own name; for another name, a stand-in for a module that has it."""
        if name == self._context_type.__name__:
            return self._context_type
        return _Absent(**{self._context_type.__name__: self._context_type})

    def _unresolved(self, annotation: Any, subject: str, reason: str) -> str:
        return (
            f"{self._label}, {subject}: the annotation {shown(annotation)} cannot be resolved ({reason}); "
            f"define or import the type in the function's module, above it and outside of `if TYPE_CHECKING:`"
        )


class _Absent:
    """A module that only type checkers import; any attribute is another such module: `Context[db.Pool]`."""

    def __init__(self, **names: Any) -> None:
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent()


# What `is_deferrable` takes for a type that is surely right.
_DEFERRABLE: Final = frozenset(map(id, (str, int, float, bool, None, NoneType, Any, list, dict)))
_CHOICES: Final = (str, int, bool, NoneType)
_ENUM_BASES: Final = ((Enum,), (StrEnum,), (IntEnum,), (str, Enum), (int, Enum))


def is_deferrable(annotation: Any) -> bool:
    """Return whether a type is surely right.

    Text, number, flag, null, Any, a choice by an Enum; lists, dicts and unions of these.
    """
    if id(annotation) in _DEFERRABLE:
        return True
    origin = get_origin(annotation)
    if origin is None:
        return type(annotation) is EnumType and is_plain_enum(annotation)
    arguments = get_args(annotation)
    if origin is dict:
        return not arguments or (arguments[0] is str and is_deferrable(arguments[1]))
    if origin is Literal:
        return all(type(value) in _CHOICES for value in arguments)
    return (origin is list or origin in UNIONS) and all(map(is_deferrable, arguments))


@functools.lru_cache(maxsize=256)
def is_plain_enum(kind: type[Enum]) -> bool:
    """Return whether the values of an Enum are different texts or integers, and it has nothing of note besides.

    Of others, only pydantic knows which values they take, and how these are published.
    """
    own = vars(kind)
    kinds = {type(member.value) for member in kind}
    texts = [kind.__doc__ or "", kind.__name__, *(member.value for member in kind)]
    return (
        kind.__bases__ in _ENUM_BASES
        and len(kind.__members__) == len(kind)
        and kinds in ({str}, {int})
        and not any(name.startswith("__get_pydantic") for name in own)
        and own.keys().isdisjoint(("_missing_", "__new_member__"))
        and all(str(text).isascii() for text in texts)
    )


def is_context(annotation: Any, context_type: type) -> bool:
    """Return whether a parameter of this type takes the context.

    It does as `Context`, `Context | None` and either of these in `Annotated[…]`.

    Raises:
        TypeError: the annotation mixes the context with types that a caller could send, or is a subclass of the
            context, which no call passes.
    """
    bare = strip(annotation)
    if get_origin(bare) not in UNIONS:
        kind = get_origin(bare) or bare
        if not isinstance(kind, type) or not issubclass(kind, context_type):
            return False
        if kind is not context_type:
            name = context_type.__name__
            raise TypeError(
                f"{shown(annotation)} is a subclass of {name}, and a call brings a {name} itself; "
                f"annotate {name}, and write what {kind.__name__} adds as functions that take one"
            )
        return True
    members = [member for member in get_args(bare) if member is not type(None)]
    contexts = [is_context(member, context_type) for member in members]
    if any(contexts) and not all(contexts):
        raise TypeError(f"{shown(annotation)} is either the context or an argument; a parameter cannot be both")
    return any(contexts)


def allows_none(annotation: Any) -> bool:
    """Return whether `None` is a value of this type, as far as the annotation alone shows it."""
    bare = strip(annotation)
    if get_origin(bare) in UNIONS:
        return any(allows_none(member) for member in get_args(bare))
    if get_origin(bare) is Literal:
        return None in get_args(bare)
    return bare in (None, type(None), Any, object)


def unwrap_awaitable(annotation: Any) -> Any:
    """Return T for `Awaitable[T]` and `Coroutine[…, …, T]`; other annotations as they are."""
    if get_origin(annotation) in (Awaitable, Coroutine) and get_args(annotation):
        return get_args(annotation)[-1]
    return annotation


def _closure(body: Any) -> dict[str, Any]:
    """Return the variables that the function uses of enclosing functions."""
    code, cells = getattr(body, "__code__", None), getattr(body, "__closure__", None)
    if code is None or not cells:
        return {}
    values: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    return values


def _enclosing_locals(body: Any) -> dict[str, Any]:
    """Return the local names of the enclosing functions that are running, as they are while decorators run."""
    code = getattr(body, "__code__", None)
    if code is None or "<locals>" not in body.__qualname__:
        return {}
    around: list[dict[str, Any]] = []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if _contains(frame.f_code, code) and frame.f_locals is not frame.f_globals:
            around.append(frame.f_locals)
        frame = frame.f_back
    return {name: value for names in reversed(around) for name, value in names.items()}


def _contains(outer: types.CodeType, inner: types.CodeType) -> bool:
    """Return whether `inner` is nested in `outer`; code has that of nested functions as constants."""
    constants = outer.co_consts
    if any(constant is inner for constant in constants):
        return True
    return any(
        _contains(constant, inner)
        for constant in constants
        if isinstance(constant, types.CodeType)
        and (inner.co_qualname.startswith(constant.co_qualname) or constant.co_name.startswith("<generic"))
    )


def _type_parameters(body: Any) -> dict[str, Any]:
    return {parameter.__name__: parameter for parameter in getattr(body, "__type_params__", ())}


def is_bare(fn: Any) -> bool:
    """Return whether something is the function of a `def` itself, and nobody has given it an attribute."""
    return type(fn) is types.FunctionType and not fn.__dict__


def function_of(fn: Any) -> Any:
    """Return the plain function with the code of `fn`, behind partials, methods, `__call__` and decorators."""
    while not is_bare(fn):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn) or isinstance(fn, (staticmethod, classmethod)):
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif inspect.isroutine(fn) or inspect.isclass(fn) or not callable(fn):
            return fn
        else:
            fn = type(fn).__call__
    return fn


def body_of(fn: Any) -> Any:
    """Return the function in whose scope the annotations of `fn` are; for a class, its constructor."""
    body = function_of(fn)
    if not inspect.isclass(body):
        return body
    for constructor in (function_of(body.__init__), function_of(body.__new__)):
        if getattr(constructor, "__module__", None) == body.__module__ and inspect.isfunction(constructor):
            return constructor
    return types.SimpleNamespace(__globals__=vars(sys.modules.get(body.__module__, builtins)))


def owner_of(fn: Any) -> Any:
    """Return the class that `Self` means in a method: that of its object, or the class it is bound to.

    It has its type arguments if the object was made by `Store[int]()`.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isclass(fn):
        return fn
    if inspect.ismethod(fn):
        fn = fn.__self__
        if inspect.isclass(fn):
            return fn
    elif inspect.isroutine(fn):
        return None
    return getattr(fn, "__dict__", {}).get("__orig_class__", type(fn))


def _variables_of(owner: Any, body: Any) -> Mapping[Any, Any]:
    """Return the types in place of the type variables of the generic class that has the method."""
    name = getattr(body, "__name__", "")
    is_generic = hasattr(get_origin(owner) or owner, "__orig_bases__")
    for kind, arguments in type_variables_of(owner) if is_generic else ():
        if name in vars(kind) and function_of(vars(kind)[name]) is body:
            return arguments
    return {}
