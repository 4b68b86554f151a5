"""Reading the names of other frameworks: options under another name are taken, the rest is refused with advice.

Authors who come from FastMCP, FastAPI or the official SDK write `tags=`, `auth=`, `app.mount(…)`,
`ctx.get_state(…)`, or raise and return their classes. An option that is only spelled otherwise is taken as it is
meant; every other error says what to write, from the tables in `foreign_names.py`.

Easy to get wrong: one kind of class of the official SDK's server is taken and no error, the messages of prompts
(`mcp.server.….prompts.base`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from inspect import unwrap
from typing import Any, NoReturn, TypeVar

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.foreign_names import (
    EXCEPTIONS,
    FOREIGN_MODULES,
    NAMES,
    OPTIONS,
    PACKAGES,
    PAGE,
    SPELLINGS,
    TYPES,
)

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)


def advice_on_arguments(
    subject: str,
    options: type | None = None,
    *,
    refuse_first: Callable[[str, Mapping[str, Any], Collection[str]], object] | None = None,
) -> Callable[[F], F]:
    """Let a function refuse unknown arguments with advice, and take those that are only spelled otherwise.

    Args:
        subject: what it makes or does, a key of `foreign_names.OPTIONS`.
        options: the TypedDict of its `**options`, if it has some.
        refuse_first: gets the function's name, the unknown options that no table has, and its own; may
            raise a `TypeError` that says more about them.
    """

    def decorate(fn: F) -> F:
        code = unwrap(fn).__code__
        positional = code.co_varnames[: code.co_argcount]
        parameters = (
            *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
            *(options.__annotations__ if options else ()),
        )
        own_names = frozenset(parameters) - SPELLINGS.keys()

        @wraps(fn)
        def call(*args: Any, **arguments: Any) -> Any:
            if len(args) > len(positional):
                owner, _, name = fn.__qualname__.rpartition(".")
                _refuse_position(owner if name == "__init__" else name, positional, parameters[len(positional) :])
            if arguments.keys() <= own_names:
                return fn(*args, **arguments)
            if refuse_first is not None:
                refuse_first(
                    fn.__name__, {k: v for k, v in arguments.items() if k not in OPTIONS[subject]}, parameters
                )
            return fn(*args, **translate_options(subject, arguments, parameters))

        return call  # type: ignore[return-value]  # takes what `fn` takes

    return decorate


def _refuse_position(function: str, positional: Sequence[str], by_name: Sequence[str]) -> NoReturn:
    """Refuse more arguments by position than a function takes; names some of the others."""
    examples = ["description"] if "description" in by_name else by_name[:2]
    names = [name for name in positional if name != "self"]
    takes = f"{len(names)} arguments" if len(names) > 1 else "one argument" if names else "no arguments"
    raise TypeError(
        f"{function}() takes {takes} by position"
        f"{': ' if names else ''}{', '.join(names)}; "
        f"give the others by name, such as {', '.join(f'{name}=...' for name in examples)}"
    )


def translate_options(subject: str, options: Mapping[str, Any], parameters: Collection[str]) -> dict[str, Any]:
    """Return options under the names that they have here.

    Raises:
        TypeError: there is no such option; says what to write.
    """
    own_options: dict[str, Any] = {}
    for name, value in options.items():
        spelling = SPELLINGS.get(name, name)
        own = spelling if spelling in parameters else name
        if own not in parameters:
            _refuse(subject, name, parameters)
        if own in own_options or (own != name and own in options):
            raise TypeError(f"{name} and {own} are the same; give one of them")
        own_options[own] = value
    return own_options


def _refuse(subject: str, name: str, parameters: Collection[str]) -> NoReturn:
    """Refuse an option with what to write, or with the name that comes near it."""
    import difflib

    advice = OPTIONS[subject].get(name)
    if advice is not None:
        raise TypeError(f"a {subject} has no option {name!r}: {advice} (see {PAGE})")
    names = [option for option in parameters if option not in ("self", "fn", "uri")]
    near = difflib.get_close_matches(name, names, 1)
    raise TypeError(
        f"a {subject} has no option {name!r}; "
        + (f"is it {near[0]!r}?" if near else f"it has: {', '.join(names)}")
    )


class ForeignAttribute:
    """An attribute of other frameworks: reading it raises an error that says what to write."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._owner = owner.__name__

    def __get__(self, instance: object, owner: type) -> NoReturn:
        text = f"{self._owner} has no {self._name!r}: {self._text} (see {PAGE})"
        raise AttributeError(text, name=self._name, obj=None)  # without an object Python suggests no other name


def advice_on_attributes(advice: Mapping[str, str]) -> Callable[[K], K]:
    """Give a class attributes whose reading says what to write instead; `dir` of an object omits them.

    Args:
        advice: what to write, by attribute. Attributes that the class has stay as they are.
    """

    def add(kind: K) -> K:
        def own_dir(self: object) -> list[str]:
            own = getattr(self, "__dict__", ())
            return [name for name in object.__dir__(self) if name in own or not is_foreign(type(self), name)]

        setattr(kind, "__dir__", own_dir)  # noqa: B010 - which type checkers do not take as an assignment
        for name, text in advice.items():
            if not any(name in vars(base) for base in kind.__mro__):
                attribute = ForeignAttribute(text)
                attribute.__set_name__(kind, name)
                setattr(kind, name, attribute)
        return kind

    def is_foreign(kind: type, name: str) -> bool:  # without calling a descriptor
        attribute = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        return isinstance(attribute, ForeignAttribute)

    return add


def check_middleware(middleware: object) -> None:
    """Refuse what other frameworks call middleware.

    Raises:
        TypeError: it is a class, or an object with a method for each kind of request.
    """
    if isinstance(middleware, type):
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not the class {middleware.__name__}; "
            f"that of Starlette goes around the app: {middleware.__name__}(app, ...) (see docs/middleware.md)"
        )
    hooks = sorted(name for name in dir(type(middleware)) if name.startswith("on_"))
    if hooks or not callable(middleware):
        advice = f"; what {hooks[0]} does goes there, for request.method" if hooks else ""
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not a {type(middleware).__name__} "
            f"object{advice} (see docs/middleware.md)"
        )


# -- classes, exceptions and imported names --------------------------------------------------------------------
def advice_on_name(name: str) -> str:
    """Return what to write for a name that this package does not have; empty if there is none."""
    advice = NAMES.get(name)
    return "" if advice is None else f": {advice} (see {PAGE})"


def refuse_types(kinds: Iterable[type], where: str, *, returned: bool = False) -> None:
    """Refuse classes of other frameworks in an annotation or as a default.

    Args:
        kinds: the classes; those that no table has are accepted.
        where: what errors call the place.
        returned: they stand in a return annotation.

    Raises:
        TypeError: one of them is foreign; says what to write.
    """
    for kind in kinds:
        for base in kind.__mro__:
            if not (returned and is_converted(base)) and (text := _advice(base)) is not None:
                raise TypeError(f"{where}: {text}")


def refuse_value(value: object) -> NoReturn:
    """Refuse a value that a function returned.

    Raises:
        ReturnedValueError: says what to return.
    """
    raise ReturnedValueError(f"It returned a value that cannot be sent. {_advice(type(value))}")


def is_converted(kind: type) -> bool:
    """Return whether values of a foreign class are taken: the messages of prompts in the official SDK."""
    return kind.__module__.startswith("mcp.server.") and kind.__module__.endswith(".prompts.base")


def hint_for(error: BaseException) -> str:
    """Return what the log says beside an exception of another framework; empty if there is nothing to say."""
    package, name = type(error).__module__.partition(".")[0], type(error).__name__
    if package not in PACKAGES or name not in EXCEPTIONS:
        return ""
    return f"{name} of {PACKAGES[package]}: {EXCEPTIONS[name]}"


def _advice(kind: type[Any]) -> str | None:
    """Return what to write in place of a class; None if it is not foreign."""
    module, name = str(kind.__module__), kind.__name__.lstrip("_")
    package = module.partition(".")[0]
    is_foreign = module.startswith(FOREIGN_MODULES) or (package in ("fastapi", "starlette") and name in TYPES)
    if not is_foreign:
        return None
    advice = TYPES.get(name, "no client can send it, and none can receive it")
    return f"{name} of {PACKAGES[package]} is not understood here: {advice} (see {PAGE})"
