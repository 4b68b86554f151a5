"""The exceptions of this room: what a tool's caller may read.

Easy to get wrong: the text of a `ToolError` is shown to the model and often to a user. So it is written for
them, and nothing of this room puts a path, a traceback or more than a short excerpt of an argument into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ToolError(Exception):
    """Raise it in a tool to tell the model what went wrong; the call's result then has `isError` and this text.

    Any other exception is reported without its text, because nobody wrote that text for a stranger.

    Args:
        message: what the model reads. Say what to do about it, if anything can be done.
        meta: members for the `_meta` of the result, for clients that look there.
    """

    def __init__(self, message: str, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.meta = dict(meta) if meta else None


class ArgumentsError(ToolError):
    """The arguments of a call are not what the tool's input schema asks for."""


class ReturnedValueError(ToolError):
    """A tool returned what its output schema does not allow, or what no JSON can hold: the author's mistake."""
