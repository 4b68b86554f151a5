"""What a client gets to read when the handler of a resource, a prompt or a completion fails.

A tool has a result for its failures; these have the one error of their request. Easy to get wrong: whose words it
says. Those of an `EnfiladeError` were written for the client; of anything else it is told an id, under which the
log has the whole (R-719).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import UNSET

from enfilade.primitives.errors import AnswerError, ArgumentsError, EnfiladeError, ReturnedValueError
from enfilade.serving.asking import is_stateless
from enfilade.serving.exchange import Request
from enfilade.serving.failures import alone, is_failure, masked
from enfilade.serving.unanswered import MissingCapabilityError
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError


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
        if isinstance(error, MissingCapabilityError | AnswerError) and is_stateless(request):
            raise error from None
        if isinstance(error, ArgumentsError):
            raise _told(error, INVALID_PARAMS, data) from error
        if isinstance(error, EnfiladeError) and not isinstance(error, ReturnedValueError):
            raise _told(error, INTERNAL_ERROR, data) from error
        raise masked(raised, f"{what} failed", request.redaction) from None  # also the author's mistakes


def _told(error: EnfiladeError, code: int, data: Mapping[str, Any]) -> RpcError:
    members = {**(error.meta or {}), **data}
    return RpcError(code, error.message, members or UNSET)
