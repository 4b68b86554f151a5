"""What a client gets to read when a resource, a prompt, a completion or middleware fails.

A call of a tool has a result for its failures; the others have the one error of their request.

Easy to get wrong: whose words it says. Those of an `EnfiladeError` were written for the client; of anything else
it is told an id, under which the log has the whole (R-719).
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import UNSET

from enfilade.primitives.errors import (
    NOT_FOUND,
    ArgumentsError,
    EnfiladeError,
    ResourceNotFound,
    ReturnedValueError,
)
from enfilade.serving.failures import alone, is_failure, log, log_safely, masked
from enfilade.serving.request import Request
from enfilade.wire.content import TextContent
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from enfilade.wire.message import Message
from enfilade.wire.resources import NotFoundError
from enfilade.wire.tools import CallToolResult

#: What is read where an author raised an error without a text.
_SILENT: Final = "It failed, and the server does not say why"

Handler = Callable[[Request], Awaitable[Message]]


@contextmanager
def failures_as_errors(request: Request, what: str, **data: Any) -> Iterator[None]:
    """Turn what a handler raises into the error that its client gets.

    Args:
        what: the handler, for the log: `prompt 'greet'`.
        data: what the error says besides.

    Raises:
        RpcError: INVALID_PARAMS for wrong arguments, INTERNAL_ERROR for anything else.
        MissingCapabilityError, AnswerError: the stateless era has errors of its own for them.
    """
    try:
        yield
    except RpcError:
        raise
    except BaseException as raised:
        if not is_failure(raised, request):
            raise
        error = alone(raised)
        if request.channel.asker.is_protocol_error(error):
            raise error from None
        if isinstance(error, ArgumentsError):
            raise _told(error, INVALID_PARAMS, data) from error
        if isinstance(error, ReturnedValueError):  # the author's mistake, whose text shows nothing of the value
            log_safely(log, logging.WARNING, "%s: %s", what, error.message)
        if isinstance(error, EnfiladeError):
            raise _told(error, INTERNAL_ERROR, data) from error
        raise masked(raised, f"{what} failed", request.redaction) from None


def told_to_clients(chain: Handler) -> Handler:
    """Return a chain of middleware whose failures are worded like those of the handlers.

    A `ToolError` that is raised around `tools/call` is a result that the model reads; around other methods it is
    an error with its text. What is not an `EnfiladeError` passes, and is masked by the dispatcher.
    """

    async def told(request: Request) -> Message:
        try:
            return await chain(request)
        except RpcError:
            raise
        except BaseException as raised:
            error = alone(raised) if is_failure(raised, request) else raised
            if not isinstance(error, EnfiladeError):
                raise
            if request.channel.asker.is_protocol_error(error):
                raise error from None
            if request.method == "tools/call":
                return failed_call(error.message, error.meta)
            if request.method == "resources/read" and isinstance(error, ResourceNotFound):
                raise not_found(error, request) from error
            raise _told(
                error, INVALID_PARAMS if isinstance(error, ArgumentsError) else INTERNAL_ERROR, {}
            ) from error

    return told


def failed_call(text: str, meta: dict[str, Any] | None) -> CallToolResult:
    """Return the result of a call that failed, for the model to read (SEP-1303)."""
    said = text if text.strip() else _SILENT
    return CallToolResult(content=[TextContent(text=said)], is_error=True, meta=UNSET if meta is None else meta)


def not_found(error: ResourceNotFound, request: Request) -> NotFoundError:
    """Return what a reader of its revision gets for a resource that is not there."""
    said = None if error.message == NOT_FOUND else error.message
    return NotFoundError(request.params.uri, request.peer.revision, said, error.meta)


def _told(error: EnfiladeError, code: int, data: Mapping[str, Any]) -> RpcError:
    members = {**(error.meta or {}), **data}
    return RpcError(code, error.message if error.message.strip() else _SILENT, members or UNSET)
