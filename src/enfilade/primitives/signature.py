"""The signature of any callable: its parameters with their types resolved, and which of them take the context.

A function, a method, a `functools.partial`, a callable object and a decorated function all end up as the same
`Signature`. What a partial has already filled in is the author's business and no parameter any more.

Easy to get wrong: annotations may be strings (`from __future__ import annotations`, quotes) whose names live
in the module, in the function that encloses this one, or nowhere at run time (`if TYPE_CHECKING:`).
`annotations.py` finds them; this file only decides what each parameter is.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from enfilade.primitives.annotations import Scope, is_context, unwrap_awaitable

EMPTY: Final = inspect.Parameter.empty

_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter(NamedTuple):
    """One parameter that the caller fills; without a default it has `EMPTY`, without an annotation `Any`."""

    name: str
    annotation: Any
    default: Any


class Signature(NamedTuple):
    """A callable as this room sees it.

    Attributes:
        parameters: what the caller fills, in order.
        contexts: the names of the parameters that take the context.
        positional: the names of those that can only be passed by position, context or not, in order.
        extra: the name of `**kwargs`, which only a tool with a hand-made schema may have.
        returns: the resolved return annotation, or `EMPTY`.
    """

    parameters: tuple[Parameter, ...]
    contexts: tuple[str, ...]
    positional: tuple[str, ...]
    extra: str | None
    returns: Any


def read_signature(fn: Callable[..., Any], context_type: type, *, allow_extra: bool = False) -> Signature:
    """Return the signature of `fn`.

    Args:
        fn: any callable but a class.
        context_type: a parameter annotated with it (or a subclass, or `None` beside it) takes the context.
        allow_extra: whether `**kwargs` is fine.

    Raises:
        TypeError: `fn` cannot be a tool, or an annotation cannot be resolved; says what to do.
    """
    label = describe(fn)
    raw = _inspect(fn, label)
    filled = _filled_by_partial(fn)
    scope = Scope(function_of(fn), label, context_type)
    parameters: list[Parameter] = []
    contexts: list[str] = []
    positional: list[str] = []
    extra: str | None = None
    for index, each in enumerate(raw.parameters.values()):
        if each.name in filled:
            continue
        if each.kind in _VARIADIC:
            extra = _variadic(each, label, allow_extra=allow_extra)
            continue
        if index == 0 and each.name == "self" and each.annotation is EMPTY:
            raise TypeError(
                f"{label} is a method without its object; register it from an instance: obj.{raw_name(fn)}"
            )
        annotation = (
            Any if each.annotation is EMPTY else scope.resolve(each.annotation, f'parameter "{each.name}"')
        )
        if each.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(each.name)
        if is_context(annotation, context_type):
            contexts.append(each.name)
        else:
            parameters.append(Parameter(each.name, annotation, each.default))
    returns = (
        EMPTY if raw.return_annotation is EMPTY else unwrap_awaitable(scope.resolve_return(raw.return_annotation))
    )
    return Signature(tuple(parameters), tuple(contexts), tuple(positional), extra, returns)


def _variadic(parameter: inspect.Parameter, label: str, *, allow_extra: bool) -> str:
    if parameter.kind is inspect.Parameter.VAR_KEYWORD and allow_extra:
        return parameter.name
    star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
    advice = (
        f'"{parameter.name}: list[...]"'
        if star == "*"
        else f'"{parameter.name}: dict[str, ...]", or register the tool with input_schema=...'
    )
    raise TypeError(
        f"{label} takes {star}{parameter.name}, and no schema can say what that is; "
        f"name each parameter, or take one such as {advice}"
    )


def _inspect(fn: Callable[..., Any], label: str) -> inspect.Signature:
    if inspect.isclass(fn):
        raise TypeError(f"{label} is a class; register a function, a method or an instance that can be called")
    if isinstance(fn, classmethod):
        raise TypeError(f"{label} is a class method that is not bound yet; register it as Class.{raw_name(fn)}")
    if not callable(fn):
        raise TypeError(f"{label} cannot be called, so it cannot be a tool")
    body = function_of(fn)
    if inspect.isasyncgenfunction(body) or inspect.isgeneratorfunction(body):
        raise TypeError(
            f"{label} is a generator, and a tool has one result; "
            f"return a list, and report on the way there through the context (progress, log)"
        )
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(fn, annotation_format=Format.FORWARDREF)
        return inspect.signature(fn)
    except ValueError as error:
        raise TypeError(f"{label} has no signature that Python can read; wrap it in a function") from error


def function_of(fn: Any) -> Any:
    """Return the plain function with the code of `fn`: below partials, methods, `__call__`, decorators."""
    while True:
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


def is_async(fn: Any) -> bool:
    """Return whether calling `fn` gives a coroutine: `async def`, also below partials, methods, decorators."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(function_of(fn))


def raw_name(fn: Any) -> str:
    """Return the name that the author gave: that of the function in a partial, of the class of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return str(name)


def describe(fn: Any) -> str:
    """Return what error messages call the function: `add()`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return f"{getattr(fn, '__qualname__', None) or type(fn).__qualname__}()".replace("<locals>.", "")


def origin_of(fn: Any) -> str:
    """Return where the callable was written, as `module:qualname (file.py:12)`; as much of it as can be known."""
    body = function_of(fn)
    name = getattr(body, "__qualname__", None) or type(body).__qualname__
    place = f"{getattr(body, '__module__', None) or 'builtins'}:{name}"
    code = getattr(body, "__code__", None)
    if code is None:
        return place
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{place} ({file}:{code.co_firstlineno})"


def _filled_by_partial(fn: Any) -> frozenset[str]:
    return frozenset(fn.keywords) if isinstance(fn, functools.partial) else frozenset()
