"""How many requests may be in flight at an endpoint, and how much their large bodies take.

A request is counted from the moment it waits for anything until its outcome is sent: one that is answered at once
has no moment in which another could be in flight beside it. So a plain call costs no counting. Nor does it cost a
comparison: at the limit, `responder` is replaced by one that refuses.
"""

from collections.abc import Coroutine
from typing import Any, Final

from msgspec import Raw

from enfilade.serving.request import Request
from enfilade.transports.http.body import BodyMemory
from enfilade.transports.http.message_size import LARGE
from enfilade.transports.http.response import Responder
from enfilade.transports.refusal_log import RefusalError, refusals
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

#: Methods that are served whatever else is in flight: clients give up a connection whose pings are not answered.
_EXEMPT: Final = frozenset({"ping"})


class RequestLimit:
    """Counts the requests in flight, and refuses more than the limit.

    Args:
        responder: serves requests.
        limit: how many may be in flight.
        memory: counts the bytes of their large arguments.

    Attributes:
        responder: what serves the next request.
        count: requests in flight.
    """

    __slots__ = ("_limit", "_memory", "_refusing", "_serving", "count", "responder")

    def __init__(self, responder: Responder, limit: int, memory: BodyMemory) -> None:
        self._memory = memory
        self._serving = self.responder = responder
        self._refusing = _Refusing(responder, limit)
        self._limit = limit
        self.count = 0

    def enter(self, request: Request) -> int:
        """Count a request that waits for something, and return what `leave` is to be given."""
        if size := _large_size(request):
            self._memory.enter(size)
        self.count += 1
        if self.count >= self._limit:
            self.responder = self._refusing
        return size

    def leave(self, size: int) -> None:
        """Count it no more."""
        if size:
            self._memory.leave(size)
        self.count -= 1
        if self.count < self._limit:
            self.responder = self._serving

    def check(self) -> None:
        """Make sure that there is room for one more.

        Raises:
            RefusalError: INTERNAL_ERROR with HTTP status 503.
        """
        if self.count >= self._limit:
            raise too_many(self._limit)


class _Refusing:
    """Answers requests at the limit."""

    def __init__(self, responder: Responder, limit: int) -> None:
        self._serving = responder
        self._limit = limit

    def respond(self, request: Request) -> Coroutine[Any, Any, tuple[bytes | None, RpcError | None]]:
        """Refuse a request, unless it is exempt."""
        return self._serving.respond(request) if request.method in _EXEMPT else self._refuse(request)

    async def _refuse(self, request: Request) -> tuple[bytes | None, RpcError | None]:
        request.finish()
        error = too_many(self._limit)
        refusals.warn(None, error.status, error.message, error.setting)
        return encode_error(request.id, error), error


def _large_size(request: Request) -> int:
    """Return the bytes of the arguments of a request, as they came; 0 unless they are large."""
    arguments = getattr(request.params, "arguments", None)
    size = memoryview(arguments).nbytes if isinstance(arguments, Raw) else 0
    return size if size > LARGE else 0


def too_many(limit: int) -> RefusalError:
    """Return the error of a request beyond the limit: INTERNAL_ERROR with HTTP status 503."""
    busy = "1 request is" if limit == 1 else f"{limit} requests are"
    text = f"The server is busy: {busy} in flight; send this one again later"
    return RefusalError("max_requests", INTERNAL_ERROR, text, status=503)
