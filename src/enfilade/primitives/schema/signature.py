"""The signature of any callable: its parameters with their types resolved, and which of them take the context.

Functions, methods, `functools.partial`s, callable objects and decorated functions all have a `Signature`. A
parameter that a partial has filled is not a parameter any more.

Easy to get wrong: annotations may be strings (`from __future__ import annotations`, quotes) whose names live
in the module, in the function that encloses this one, or nowhere at run time (`if TYPE_CHECKING:`).
`annotations.py` resolves them; this file only decides the kind of each parameter.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_args, get_origin

from enfilade.primitives.depends import Depends, Kind, Provider, depends_of
from enfilade.primitives.schema.annotations import (
    Namespace,
    body_of,
    function_of,
    is_bare,
    is_context,
    is_deferrable,
    owner_of,
    unwrap_awaitable,
)
from enfilade.primitives.schema.refused_annotations import refuse_no_type
from enfilade.primitives.schema.type_aliases import classes_in, strip
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives import (
        foreign_calls as _foreign_calls,
        other_frameworks as _frameworks,
        registration_checks as _registration_checks,
    )
else:  # for plain functions that take the context, and for functions that were written for others
    _foreign_calls = LazyModule("enfilade.primitives.foreign_calls")
    _registration_checks = LazyModule("enfilade.primitives.registration_checks")
    _frameworks = LazyModule("enfilade.primitives.other_frameworks")

log = logging.getLogger("enfilade.primitives")

EMPTY: Final = inspect.Parameter.empty

# Packages of other frameworks, whose classes are refused in a signature.
_OTHERS: Final = frozenset({"fastapi", "fastmcp", "mcp", "starlette", "uncalled_for"})
# Modules whose functions give nothing outside the requests of their framework.
_DEPENDENCIES: Final = (
    *("fastmcp", "fastmcp.dependencies", "fastmcp.server.dependencies", "fastmcp.server.elicitation"),
    *("mcp.server", "mcp.server.elicitation", "mcp.server.auth.middleware.auth_context"),
)
# The classes of defaults that mean nothing else.
_PLAIN_DEFAULTS: Final = frozenset({str, int, bool, float, NoneType})
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_FUNCTOOLS: Final = functools.singledispatch.__code__.co_filename


class Parameter(NamedTuple):
    """A parameter that the caller fills; its default may be `EMPTY`, its annotation is `Any` if it has none."""

    name: str
    annotation: Any
    default: Any


class Signature(NamedTuple):
    """The parameters of a callable by who fills them, and its result.

    Attributes:
        parameters: those that the caller fills, in order.
        contexts: the names of those that take the context.
        dependencies: those that a function fills, by name.
        positional: the names of all that can only be passed by position, in order.
        extra: the name of `**kwargs`, which only a tool with a hand-made schema may have.
        returns: the resolved return annotation, or `EMPTY`.
        unresolved: why the return annotation cannot be resolved; empty if it can.
    """

    parameters: tuple[Parameter, ...]
    contexts: tuple[str, ...]
    dependencies: tuple[tuple[str, Provider], ...]
    positional: tuple[str, ...]
    extra: str | None
    returns: Any
    unresolved: str = ""


def read_signature(
    fn: Callable[..., Any],
    context_type: type,
    *,
    kind: str = "tool",
    allow_extra: bool = False,
    is_provider: bool = False,
    within: tuple[Callable[..., Any], ...] = (),
) -> Signature:
    """Return the signature of `fn`.

    Args:
        fn: any callable; a class only as a provider.
        context_type: a parameter annotated with it (or with `None` beside it) takes the context.
        kind: what it is registered as, for error messages.
        allow_extra: whether `**kwargs` is fine.
        is_provider: whether it is a dependency, which may also be a generator function or a class.
        within: the functions that depend on this one, outermost first.

    Raises:
        TypeError: `fn` cannot be a handler, or an annotation cannot be resolved; says what to do.
    """
    label = describe(fn)
    raw = _inspect(fn, label, kind, is_provider=is_provider)
    filled = _filled_by_partial(fn)
    if _may_use_others(body_of(fn)):
        _foreign_calls.refuse_foreign_calls((fn, body_of(fn)), label)
    namespace = Namespace(body_of(fn), label, context_type, owner_of(fn))
    parameters: list[Parameter] = []
    contexts: list[str] = []
    dependencies: list[tuple[str, Provider]] = []
    positional: list[str] = []
    extra: str | None = None
    for index, parameter in enumerate(raw.parameters.values()):
        if parameter.name in filled:
            continue
        if parameter.kind in _VARIADIC:
            extra = _variadic(parameter, label, kind, allow_extra=allow_extra)
            continue
        if index == 0:
            _refuse_unbound(fn, parameter, label, kind)
        where = f'{label}, parameter "{parameter.name}"'
        is_free = parameter.annotation is EMPTY
        annotation = Any if is_free else namespace.resolve(parameter.annotation, f'parameter "{parameter.name}"')
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(parameter.name)
        may_be_special = not is_plain(annotation, parameter.default)
        if may_be_special and (provider := _depends(parameter, annotation, label)) is not None:
            dependencies.append((parameter.name, read_provider(provider, context_type, (*within, fn))))
        elif may_be_special and _takes_context(parameter, annotation, context_type, where):
            contexts.append(parameter.name)
        else:
            _warn_of_bare_context(parameter, where)
            parameters.append(Parameter(parameter.name, annotation, parameter.default))
    _refuse_without_hash(parameters if hasattr(fn, "cache_parameters") else (), label)
    if contexts:
        _registration_checks.check_awaits(fn, contexts, label, is_async=is_async(fn))
    returns, unresolved = _read_result(namespace, raw.return_annotation, label, is_provider=is_provider)
    return Signature(
        tuple(parameters), tuple(contexts), tuple(dependencies), tuple(positional), extra, returns, unresolved
    )


def _takes_context(parameter: inspect.Parameter, annotation: Any, context_type: type, where: str) -> bool:
    """Return whether a parameter takes the context.

    Raises:
        TypeError: it takes something of another framework, or its annotation is no type.
    """
    if kinds := _of_others((*classes_in(annotation), type(parameter.default))):
        _frameworks.refuse_types(kinds, where)
    with _located(where):
        takes_context = is_context(annotation, context_type)
        if not takes_context:
            refuse_no_type(annotation)
    return takes_context


def _refuse_without_hash(parameters: Iterable[Parameter], label: str) -> None:
    """Refuse parameters that functools.cache cannot look up.

    Raises:
        TypeError: names the parameter and says what to take.
    """
    for parameter in parameters:
        annotation = strip(parameter.annotation)
        kind = get_origin(annotation) or annotation
        if isinstance(kind, type) and kind.__hash__ is None:
            raise TypeError(
                f'{label}, parameter "{parameter.name}": a {kind.__name__} has no hash, and functools.cache '
                f"needs one; take a tuple or a frozen class, or keep results in a dict of your own"
            )


def _warn_of_bare_context(parameter: inspect.Parameter, where: str) -> None:
    """Log that a parameter `ctx` without an annotation is an argument of callers; it may be meant as one."""
    if parameter.name == "ctx" and parameter.annotation is EMPTY:
        log.warning("%s has no annotation, so callers fill it; for the context, write ctx: Context", where)


def _read_result(namespace: Namespace, annotation: Any, label: str, *, is_provider: bool) -> tuple[Any, str]:
    """Return the type of the result, and why it cannot be resolved; `EMPTY` without an annotation."""
    if annotation is EMPTY:
        return EMPTY, ""
    returns, unresolved = namespace.resolve_return(annotation)
    if is_deferrable(returns):
        return returns, unresolved
    if not is_provider and (kinds := _of_others(classes_in(returns))):
        _frameworks.refuse_types(kinds, f"{label}, the result", returned=True)
    return unwrap_awaitable(returns), unresolved


def _may_use_others(body: Any) -> bool:
    """Return whether functions of another framework are imported, or would be when the function runs."""
    names = getattr(getattr(body, "__code__", None), "co_names", ())
    return any(module in sys.modules or module in names for module in _DEPENDENCIES)


def _of_others(kinds: Iterable[type]) -> list[type]:
    """Return the classes that belong to another framework, or derive from one of its classes."""
    return [
        kind for kind in kinds if any(str(base.__module__).partition(".")[0] in _OTHERS for base in kind.__mro__)
    ]


def _registering(function: str, kind: str) -> str:
    """Return the code by which an author registers a function as a tool, a prompt and so on."""
    return {
        "prompt": f"app.add_prompt({function})",
        "resource": f"app.add_resource({function}, uri)",
        "resource template": f"app.add_resource({function}, uri)",
        "completion": f"@app.completion(of, argument)({function})",
        "dependency": f"Depends({function})",
    }.get(kind, f"app.add_tool({function})")


def _refuse_unbound(fn: Any, first: inspect.Parameter, label: str, kind: str) -> None:
    """Refuse a function from the body of a class, whose first parameter is the object or the class.

    Raises:
        TypeError: says how to register the method.
    """
    if first.name == "self" and first.annotation is EMPTY:
        raise TypeError(
            f"{label} is a method without its object; register it from an instance: obj.{raw_name(fn)}"
        )
    owner = getattr(fn, "__qualname__", "").rpartition(".")[0]
    is_in_class = inspect.isfunction(fn) and bool(owner) and not owner.endswith("<locals>")
    if first.name == "cls" and is_in_class and _may_be_class(first.annotation):
        method = f"{owner.rpartition('.')[2]}.{raw_name(fn)}"
        raise TypeError(
            f"{label} is a class method without its class; take the decorator off and register it below "
            f"the class: {_registering(method, kind)}"
        )


def _may_be_class(annotation: Any) -> bool:
    """Return whether a parameter may take a class; one of another type is an argument of a static method."""
    text = annotation if isinstance(annotation, str) else ""
    if annotation in (EMPTY, Any, type) or text.rpartition(".")[2] in ("Any", "type"):
        return True
    return get_origin(annotation) is type or text.startswith(("type[", "Type["))


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Put the name of a parameter before the text of a `TypeError`."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from None


def refuse_nothing(signature: Signature, label: str, expected: str) -> None:
    """Refuse a function whose return annotation is None where a value is needed.

    Args:
        signature: the signature of the function.
        label: its name in errors.
        expected: what it must return: `the contents of the resource`.

    Raises:
        TypeError: its return annotation is None.
    """
    if signature.returns in (None, type(None)):
        raise TypeError(f"{label} returns None, and no call of it could succeed; return {expected}")


def read_provider(
    fn: Callable[..., Any], context_type: type, within: tuple[Callable[..., Any], ...] = ()
) -> Provider:
    """Return a dependency with the dependencies of its own.

    Args:
        fn: a function, method, partial, callable object or class; `async`, a generator, both or neither.
        context_type: parameters annotated with this class take the context.
        within: the functions that depend on this one, outermost first.

    Raises:
        TypeError: it cannot be called without arguments from a caller, or depends on itself.
    """
    if fn in within:
        circle = " → ".join(describe(function) for function in (*within[within.index(fn) :], fn))
        raise TypeError(f"dependencies go round in a circle: {circle}")
    signature = read_signature(fn, context_type, kind="dependency", is_provider=True, within=within)
    for parameter in signature.parameters:
        if parameter.default is EMPTY:
            raise TypeError(
                f'{describe(fn)}, parameter "{parameter.name}": nobody fills it where the function is a '
                f"dependency; give it a default, or let it depend on something: Annotated[..., Depends(...)]"
            )
    filled = {*signature.contexts, *(name for name, _ in signature.dependencies)}
    positional = tuple(name for name in signature.positional if name in filled)
    if positional != signature.positional[: len(positional)]:
        raise TypeError(f"{describe(fn)}: parameters before the / stand in the way; take it out")
    return Provider(fn, _kind_of(fn), signature.contexts, signature.dependencies, positional)


def _kind_of(fn: Callable[..., Any]) -> Kind:
    body = function_of(fn)
    if inspect.isasyncgenfunction(body):
        return "async generator"
    if inspect.isgeneratorfunction(body):
        return "generator"
    return "async" if is_async(fn) else "plain"


def _depends(parameter: inspect.Parameter, annotation: Any, label: str) -> Callable[..., Any] | None:
    if isinstance(parameter.default, Depends):
        raise TypeError(
            f'{label}, parameter "{parameter.name}": a dependency stands in the annotation, as '
            f"{parameter.name}: Annotated[..., Depends(...)], so that the function can still be called directly"
        )
    with _located(f'{label}, parameter "{parameter.name}"'):
        return depends_of(annotation)


def _variadic(parameter: inspect.Parameter, label: str, kind: str, *, allow_extra: bool) -> str:
    if parameter.kind is inspect.Parameter.VAR_KEYWORD and allow_extra:
        return parameter.name
    star, advice = "*", f'"{parameter.name}: list[...]"'
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        star, advice = "**", f'"{parameter.name}: dict[str, ...]"'
        if kind == "tool":
            advice += ", or register the tool with input_schema=..."
    raise TypeError(
        f"{label} takes {star}{parameter.name}, and nothing can say to callers what that is; "
        f"name each parameter" + ("" if "resource" in kind else f", or take one such as {advice}")
    )


def _is_dispatched(fn: Any) -> bool:
    """Return whether a function is made by singledispatch(method), or passes all arguments to such a function.

    Partials that fill the first argument, and wrappers that name it, pass it by position.
    """
    code = getattr(fn, "__code__", None)
    if isinstance(fn, functools.partial):
        return not fn.args and _is_dispatched(fn.func)
    from_functools = getattr(code, "co_filename", "") == _FUNCTOOLS
    if hasattr(fn, "register") and (from_functools or type(fn).__module__ == "functools"):
        return True
    passes_all = code is not None and code.co_argcount + code.co_kwonlyargcount == 0
    return passes_all and hasattr(fn, "__wrapped__") and _is_dispatched(fn.__wrapped__)


def _inspect(fn: Callable[..., Any], label: str, kind: str, *, is_provider: bool) -> inspect.Signature:
    if not is_bare(fn):
        _refuse_no_handler(fn, label, kind, is_provider=is_provider)
    body = function_of(fn)
    if not is_provider and (inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body)):
        raise TypeError(
            f"{label} is a generator, and a {kind} has one result; "
            f"return a list, and report on the way there through the context (progress, log)"
        )
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(fn, annotation_format=Format.FORWARDREF)
        return inspect.signature(fn)
    except ValueError as error:
        raise TypeError(f"{label} has no signature that Python can read; wrap it in a function") from error


def _refuse_no_handler(fn: Callable[..., Any], label: str, kind: str, *, is_provider: bool) -> None:
    """Refuse what cannot be a handler although it may be possible to call it.

    Raises:
        TypeError: says what to register in its place.
    """
    if inspect.isclass(fn) and not is_provider:
        raise TypeError(f"{label} is a class; register a function, a method or an instance that can be called")
    if isinstance(fn, classmethod):
        raise TypeError(f"{label} is a class method that is not bound yet; register it as Class.{raw_name(fn)}")
    if not is_provider and (kinds := _of_others([type(fn)])):
        _frameworks.refuse_registered(kinds[0])
    if not callable(fn):
        name = type(fn).__name__
        raise TypeError(f"an object of the class {name} cannot be called, so it cannot be a {kind}")
    if _is_dispatched(fn):
        raise TypeError(
            f"{label} is chosen by the type of its first argument (singledispatch), which a call gives by name; "
            f"register a function that takes the union of the types and calls it"
        )
    if hasattr(fn, "cache_parameters") and inspect.iscoroutinefunction(function_of(fn)):
        raise TypeError(
            f"{label} is `async` and has a functools.cache, which keeps a coroutine that can be awaited only "
            f"once; keep the values that it returns in a dict of your own"
        )


def is_async(fn: Any) -> bool:
    """Return whether calling `fn` gives a coroutine: `async def`, also below partials, methods, decorators."""
    return inspect.iscoroutinefunction(fn) or (not is_bare(fn) and inspect.iscoroutinefunction(function_of(fn)))


def raw_name(fn: Any) -> str:
    """Return the name of the function, of the function in a partial, or of the class of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return str(name)


def describe(fn: Any) -> str:
    """Return the name of a function in error messages: `add()`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return f"{getattr(fn, '__qualname__', None) or type(fn).__qualname__}()".replace("<locals>.", "")


def origin_of(fn: Any) -> str:
    """Return where a callable is defined, as `module:qualname (file.py:12)`, as far as it is known."""
    body = function_of(fn)
    name = getattr(body, "__qualname__", None) or type(body).__qualname__
    origin = f"{getattr(body, '__module__', None) or 'builtins'}:{name}"
    code = getattr(body, "__code__", None)
    if code is None:
        return origin
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{origin} ({file}:{code.co_firstlineno})"


def _filled_by_partial(fn: Any) -> frozenset[str]:
    return frozenset(fn.keywords) if isinstance(fn, functools.partial) else frozenset()


# -- types that need no pydantic -------------------------------------------------------------------------------


# Pydantic surely reads deferrable types, and a JSON Schema surely describes them. So a tool of them needs no
# validator before its first call and no schema before somebody lists it; `plain_schemas.py` and `plain_values.py`
# make most of them without pydantic. Whatever is not surely right is not deferrable, because a mistake in a
# signature must show when the tool is registered.
def is_plain(annotation: Any, default: Any) -> bool:
    """Return whether a parameter has such a type and a default of one, or none."""
    is_plain_default = default is EMPTY or type(default) in _PLAIN_DEFAULTS
    if not is_plain_default and isinstance(default, Enum):  # of its own type, alone or beside None
        is_plain_default = any(type(default) is kind for kind in (annotation, *get_args(annotation)))
    return is_plain_default and is_deferrable(annotation)


def is_deferrable_parameter(parameter: Parameter) -> bool:
    """Return whether a parameter has such a type, with nothing but texts in `Annotated`, and a default of one."""
    default = parameter.default
    if type(default) is float and not math.isfinite(default):
        return False
    return is_plain(_unannotated(parameter.annotation)[0], default)


def texts_of(parameter: Parameter) -> Iterator[Any]:
    """Yield the description and the default of such a parameter, which its schema will hold."""
    yield from _unannotated(parameter.annotation)[1]
    if parameter.default is not EMPTY:
        yield parameter.default


def _unannotated(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a type, and the texts beside it in `Annotated`."""
    if get_origin(annotation) is Annotated:
        kind, *texts = get_args(annotation)
        if all(type(text) is str for text in texts):
            return kind, tuple(texts)
    return annotation, ()
