"""Exceptions whose text reaches the caller: `EnfiladeError` and its kinds.

Easy to get wrong: the text is shown to the model and often to a user. So it must not contain a path, a traceback
or more than a short excerpt of an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The text for callers if the exception has none.
NO_REASON: Final = "It failed, and no reason was given"


class EnfiladeError(Exception):
    """Raise it, or a subclass, in a handler: its text reaches the caller.

    The text of any other exception is replaced, because it was not written for the caller. Subclasses are named
    for one kind of handler, but every handler may raise each of them.

    Args:
        message: what the caller reads. Say what the caller can do about it; without a message, the caller reads
            that there is no reason.
        meta: members for programs: the `_meta` of a tool's result, the `data` of a JSON-RPC error.
    """

    def __init__(self, message: str = NO_REASON, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
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
        meta: members for the `data` of the error.
    """

    def __init__(self, message: str = NOT_FOUND, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, meta=meta)


class PromptError(EnfiladeError):
    """Raise it in a prompt that cannot be made; the client gets an error with this text."""


class ArgumentsError(ToolError):
    """The arguments of a call do not match its schema."""


class NotAnObjectError(ArgumentsError):
    """The arguments of a call are not a JSON object: an error of the client that no model can correct."""


class AnswerError(ToolError):
    """The user's answer does not match the form of the question."""


class ReturnedValueError(ToolError):
    """A handler returned a value that its schema does not allow, or that cannot be sent: its author's error."""
