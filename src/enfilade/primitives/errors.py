"""Exceptions whose text reaches the caller: `EnfiladeError` and its kinds; errors of calls that authors write.

Easy to get wrong: the text is shown to the model and often to a user. So it must not contain a path, a traceback
or more than a short excerpt of an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from inspect import unwrap
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from enfilade.primitives.foreign_names import ARGUMENTS, PAGE

F = TypeVar("F", bound=Callable[..., Any])

#: The text for callers if the exception has none.
NO_REASON: Final = "It failed, and no reason was given"


class EnfiladeError(Exception):
    """Raise it, or a subclass, in a handler: its text reaches the caller.

    The text of any other exception is replaced, because it was not written for the caller. Subclasses are named
    for one kind of handler, but every handler may raise each of them.

    Args:
        message: what the caller reads. Say what the caller can do about it; without a message, the caller reads
            that there is no reason.
        more: further parts of the text, which follow after a space each, as `print` writes them.
        meta: members for programs: the `_meta` of a tool's result, the `data` of a JSON-RPC error.
        unknown: nothing; any other argument is refused with what to write.
    """

    #: What the log of requests calls it.
    _kind: ClassVar[str] = "tool"

    def __init__(
        self,
        message: str = NO_REASON,
        *more: object,
        meta: Mapping[str, Any] | None = None,
        **unknown: NoReturn,
    ) -> None:
        if unknown:
            refuse_arguments(type(self).__name__, unknown, ("message", "meta"), subject="ToolError")
        text = " ".join(map(str, (message, *more))) if more else message
        super().__init__(text)
        self.message = text
        self.meta = dict(meta) if meta else None


class ToolError(EnfiladeError):
    """Raise it in a tool to tell the model what went wrong; the result then has `isError` and this text."""


class ResourceError(EnfiladeError):
    """Raise it in a resource that cannot be read; the client gets an error with this text."""


#: The text for clients if a resource is missing and the exception has no text.
NOT_FOUND: Final = "Resource not found"


class ResourceNotFound(ResourceError):  # noqa: N818 - it is an answer as much as an error
    """Raise it in a resource if there is nothing at this URI.

    The client gets the error code that its revision defines for this.

    Args:
        message: what the client reads; by default that there is no such resource.
        more: further parts of the text.
        meta: members for the `data` of the error.
        unknown: nothing.
    """

    def __init__(
        self,
        message: str = NOT_FOUND,
        *more: object,
        meta: Mapping[str, Any] | None = None,
        **unknown: NoReturn,
    ) -> None:
        super().__init__(message, *more, meta=meta, **unknown)


class PromptError(EnfiladeError):
    """Raise it in a prompt that cannot be made; the client gets an error with this text."""


class ArgumentsError(ToolError):
    """The arguments of a call do not match its schema."""

    _kind = "arguments"


class NotAnObjectError(ArgumentsError):
    """The arguments of a call are not a JSON object: an error of the client that no model can correct."""


class AnswerError(ToolError):
    """The user's answer does not match the form of the question."""

    _kind = "client"


class ReturnedValueError(ToolError):
    """A handler returned a value that its schema does not allow, or that cannot be sent: its author's error."""

    _kind = "result"


# -- calls with unknown arguments -----------------------------------------------------------------------------
def named_in_errors(call: str) -> Callable[[F], F]:
    """Let a function refuse unknown arguments under the name by which authors call it.

    Args:
        call: that name, such as `app.override`; advice is in `foreign_names.ARGUMENTS`.
    """

    def decorate(fn: F) -> F:
        code = unwrap(fn).__code__
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

        @wraps(fn)
        def named(*args: Any, **arguments: Any) -> Any:
            try:
                return fn(*args, **arguments)
            except TypeError:
                refuse_arguments(call, arguments, parameters)
                raise

        return named  # type: ignore[return-value]  # takes what `fn` takes

    return decorate


def refuse_arguments(
    call: str, arguments: Iterable[str], parameters: Collection[str], subject: str | None = None
) -> None:
    """Refuse the first argument that a function does not take.

    Args:
        call: the function as authors call it.
        arguments: the names of those that it got.
        parameters: the names of those that it takes.
        subject: the key of its advice in `foreign_names.ARGUMENTS`; by default `call`.

    Raises:
        TypeError: there is one; says what to write, or what the function takes.
    """
    import difflib

    unknown = next((name for name in arguments if name not in parameters), None)
    if unknown is None:
        return
    advice = ARGUMENTS.get(subject or call, {}).get(unknown)
    if advice is not None:
        raise TypeError(f"{call}() has no argument {unknown!r}: {advice} (see {PAGE})") from None
    names = [name for name in parameters if name != "self"]
    near = difflib.get_close_matches(unknown, names, 1)
    takes = f"it takes {', '.join(names)}" if names else "it takes none"
    raise TypeError(f"{call}() has no argument {unknown!r}; {f'is it {near[0]!r}?' if near else takes}") from None
