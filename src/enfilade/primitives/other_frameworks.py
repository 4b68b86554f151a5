"""Reading the names of other frameworks: options under another name are taken, the rest is refused with advice.

Authors who come from FastMCP, FastAPI or the official SDK write `tags=`, `auth=`, `app.mount(…)`,
`ctx.headers`, or raise and return their classes. An option that is only spelled otherwise is taken as it is
meant; every other error says what to write, from the tables in `foreign_names.py`.

Easy to get wrong: one kind of class of the official SDK's server is taken and no error, the messages of prompts
(`mcp.server.….prompts.base`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from inspect import CO_VARARGS, CO_VARKEYWORDS, isasyncgenfunction, isgeneratorfunction, signature, unwrap
from typing import Any, Final, NoReturn, TypeVar

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.foreign_names import (
    AUTH_NAMES,
    CLIENTS,
    COMPONENTS,
    EXCEPTIONS,
    FOREIGN_MODULES,
    NAMES,
    OAUTH_PROXY,
    OPTIONS,
    PACKAGES,
    PAGE,
    SPELLINGS,
    TYPES,
)

# What the objects are called in code, by their classes, and examples of arguments.
_OWNERS: Final = {"Registration": "app.", "MCPApp": "app.", "Context": "ctx."}
_EXAMPLES: Final = {
    "uri": '"scheme://..."',
    "text": '"text"',
    "path": 'Path("...")',
    "reference": '"prompt"',
    "argument": '"argument"',
    "message": '"..."',
    "messages": '"..."',
}

_MIDDLEWARE_USAGE: Final = (
    "write async def mw(request, call_next), which returns await call_next(request) (see docs/middleware.md)"
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
        required = positional[: len(positional) - len(unwrap(fn).__defaults__ or ())]

        # Other functions refuse by themselves what they do not take, and a good call costs no look-up.
        takes_any = code.co_flags & (CO_VARARGS | CO_VARKEYWORDS) or not SPELLINGS.keys().isdisjoint(parameters)

        def fits(args: Sequence[Any], arguments: Mapping[str, Any]) -> bool:
            return len(args) <= len(positional) and arguments.keys() <= own_names

        @wraps(fn)
        def call(*args: Any, **arguments: Any) -> Any:
            if not takes_any or fits(args, arguments):
                try:
                    return fn(*args, **arguments)
                except TypeError:
                    if fits(args, arguments):
                        if missing := [name for name in required[len(args) :] if name not in arguments]:
                            for value in args:
                                refuse_registered(type(value))
                            raise _missing_error(fn, required, missing) from None
                        raise
            if len(args) > len(positional):
                owner, _, name = fn.__qualname__.rpartition(".")
                _refuse_position(owner if name == "__init__" else name, positional, parameters[len(positional) :])
            if refuse_first is not None:
                refuse_first(
                    fn.__name__, {k: v for k, v in arguments.items() if k not in OPTIONS[subject]}, parameters
                )
            return fn(*args, **translate_options(subject, arguments, parameters))

        return call  # type: ignore[return-value]  # takes what `fn` takes

    return decorate


def _missing_error(fn: Callable[..., Any], required: Sequence[str], missing: Sequence[str]) -> TypeError:
    """Return the error for a call without arguments that a function needs, with the call as it is written."""
    owner, _, name = fn.__qualname__.rpartition(".")
    call = f"{_OWNERS.get(owner, '')}{name}"
    example = f"{call}({', '.join(_EXAMPLES.get(name, name) for name in required if name != 'self')})"
    is_decorator = name in ("resource", "completion", "view")
    return TypeError(f"{call}() needs {' and '.join(missing)}; write {'@' if is_decorator else ''}{example}")


def _refuse_position(function: str, positional: Sequence[str], by_name: Sequence[str]) -> NoReturn:
    """Refuse more arguments by position than a function takes; names some of the others."""
    examples = by_name[:2] if "description" not in by_name or "instructions" in by_name else ["description"]
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
    owner = "run()" if subject == "run" else f"a {subject}"
    if advice is not None:
        raise TypeError(f"{owner} has no option {name!r}: {advice} (see {PAGE})")
    names = [option for option in parameters if option not in ("self", "fn", "uri", *SPELLINGS)]
    near = difflib.get_close_matches(name, names, 1)
    raise TypeError(
        f"{owner} has no option {name!r}; " + (f"is it {near[0]!r}?" if near else f"it has: {', '.join(names)}")
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


def read_middleware(functions: object) -> list[Any]:
    """Return middleware that was given as a list.

    Raises:
        TypeError: it is a single function, or an item is no middleware.
    """
    if functions is None:
        return []
    if not isinstance(functions, Iterable):
        check_middleware(functions)
        name = getattr(functions, "__name__", "mw")
        raise TypeError(f"middleware= takes a list of functions: write middleware=[{name}]")
    listed = list(functions)
    for function in listed:
        check_middleware(function)
    return listed


def check_middleware(middleware: object) -> None:
    """Refuse what cannot be middleware, such as what other frameworks call so.

    Raises:
        TypeError: it is a class, an object with a method for each kind of request, a generator, or a function
            that does not take a request and the next function.
    """
    if isinstance(middleware, type):
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not the class {middleware.__name__}; "
            f"that of Starlette goes around the app: {middleware.__name__}(app, ...) (see docs/middleware.md)"
        )
    if (text := AUTH_NAMES.get(type(middleware).__name__)) is not None:
        raise TypeError(f"middleware= takes no {type(middleware).__name__}: {text} (see {PAGE})")
    hooks = sorted(name for name in dir(type(middleware)) if name.startswith("on_"))
    if hooks or not callable(middleware):
        advice = f"; what {hooks[0]} does goes there, for request.method" if hooks else ""
        given = "None" if middleware is None else f"an instance of {type(middleware).__name__}"
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not {given}{advice} "
            "(see docs/middleware.md)"
        )
    function = unwrap(middleware)
    name = getattr(function, "__name__", type(function).__name__)
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise TypeError(f"middleware {name}() is a generator; {_MIDDLEWARE_USAGE}")
    try:
        parameters = signature(middleware)
    except ValueError:  # of a callable that was written in C
        return
    try:
        parameters.bind(None, None)
    except TypeError as error:
        reason = f"is called with a request and the next function, and does not take them ({error})"
        raise TypeError(f"middleware {name}() {reason}; {_MIDDLEWARE_USAGE}") from None


# -- classes, exceptions and imported names --------------------------------------------------------------------
def advice_on_name(name: str) -> str:
    """Return what to write for a name that this package does not have; empty if there is none."""
    advice = NAMES.get(name)
    return "" if advice is None else f": {advice} (see {PAGE})"


def refuse_name(module: str, name: str, *, is_imported: bool) -> NoReturn:
    """Refuse a name that a module of this package does not have, with what to write for one that is known.

    Args:
        is_imported: whether it is read by `from module import name`, which hides the text of an `AttributeError`.
    """
    advice = "" if name.startswith("_") else advice_on_name(name)
    if is_imported and advice:
        raise ImportError(f"cannot import name {name!r} from {module!r}{advice}", name=module)
    raise AttributeError(f"module {module!r} has no attribute {name!r}{advice}")


def refuse_auth(auth: object) -> None:
    """Refuse what says elsewhere who may call, where it is no verifier of tokens alone.

    Raises:
        TypeError: it is such an object; says what to write.
    """
    for base in type(auth).__mro__:
        if base.__module__.startswith(FOREIGN_MODULES) and AUTH_NAMES.get(base.__name__) == OAUTH_PROXY:
            raise TypeError(f"auth= takes no {type(auth).__name__}: {OAUTH_PROXY} (see {PAGE})")


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


def refuse_registered(kind: type) -> None:
    """Refuse a tool, a resource or a prompt of another framework that is registered in place of a function.

    Raises:
        TypeError: it is one; says what to register.
    """
    for base in kind.__mro__:
        if base.__module__.startswith(FOREIGN_MODULES) and base.__name__ in COMPONENTS:
            own = f"{base.__name__} of {PACKAGES[base.__module__.partition('.')[0]]}"
            raise TypeError(f"a {own} cannot be registered here: {COMPONENTS[base.__name__]} (see {PAGE})")


def refuse_value(value: object) -> NoReturn:
    """Refuse a value that a function returned.

    Raises:
        ReturnedValueError: says what to return.
    """
    raise ReturnedValueError(f"It returned a value that cannot be sent. {_advice(type(value))}")


def refuse_in_data(kind: type) -> None:
    """Refuse a class of results or content of another framework, or a whole result, within data.

    Raises:
        ReturnedValueError: a value of the class is no data; says what to return.
    """
    module = kind.__module__
    if kind.__name__ == "ToolResult" and module.startswith("enfilade."):
        raise ReturnedValueError(
            "It returned a value that cannot be sent. A ToolResult is the whole result of a tool: there, "
            "return it alone, or put its structured_content into the data"
        )
    if module.startswith(FOREIGN_MODULES) and kind.__name__ in TYPES and not is_converted(kind):
        raise ReturnedValueError(f"It returned a value that cannot be sent. {_advice(kind)}")


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
    is_foreign = (
        module.startswith(FOREIGN_MODULES)
        or (package in ("fastapi", "starlette") and name in TYPES)
        or (package == "mcp" and name in CLIENTS)
    )
    if not is_foreign:
        return None
    advice = TYPES.get(name, "no client can send it, and none can receive it")
    return f"{name} of {PACKAGES[package]} is not understood here: {advice} (see {PAGE})"
