"""The exceptions of this room: what a caller may read.

Easy to get wrong: the text of an `EnfiladeError` is shown to the model and often to a user. So it is written for
them, and nothing of this room puts a path, a traceback or more than a short excerpt of an argument into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: What a caller reads about a failure whose author gave no text.
NO_REASON: Final = "It failed, and no reason was given"


class EnfiladeError(Exception):
    """What a handler raises to tell its caller what went wrong, in words that the caller may read.

    Any other exception is reported without its text, because nobody wrote that text for a stranger. Its
    subclasses say where they are at home; each of them is understood everywhere.

    Args:
        message: what the caller reads. Say what to do about it, if anything can be done; without it, the caller
            reads that there is no reason.
        meta: what clients that look there get beside it: the `_meta` of a tool's result, the `data` of an error.
    """

    def __init__(self, message: str = NO_REASON, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.meta = dict(meta) if meta else None


class ToolError(EnfiladeError):
    """Raise it in a tool to tell the model what went wrong; the result then has `isError` and this text."""


class ResourceError(EnfiladeError):
    """Raise it in a resource to say why it cannot be read; the client gets an error with this text."""


#: What a client reads about a resource that is not there, unless its author says more.
NOT_FOUND: Final = "Resource not found"


class ResourceNotFound(ResourceError):  # noqa: N818 - it is an answer as much as an error
    """Raise it in a resource to say that there is nothing at this URI.

    Clients of every revision get the error that their revision has for it.

    Args:
        message: what the client reads; by default that there is no such resource.
        meta: members for the `data` of the error.
    """

    def __init__(self, message: str = NOT_FOUND, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, meta=meta)


class PromptError(EnfiladeError):
    """Raise it in a prompt to say why it cannot be made; the client gets an error with this text."""


class ArgumentsError(ToolError):
    """The arguments of a call are not what was asked for."""


class NotAnObjectError(ArgumentsError):
    """The arguments of a call are no JSON object: the client's mistake, which no model can mend."""


class AnswerError(ToolError):
    """The user's answer does not fit what was asked."""


class ReturnedValueError(ToolError):
    """A handler returned what its schema does not allow, or what cannot be sent: the author's mistake."""
