"""What an endpoint allows, how many requests may be in flight, and how many event streams may be open.

Whatever a client can make the server hold has a limit (R-714).

*Requests.* A request is counted from the moment it waits for anything until its outcome is sent: one that is
answered at once has no moment in which another could be in flight beside it. So a plain call costs no counting.
Nor does it cost a comparison: at the limit, `RequestLimit.responder` is replaced by one that refuses.

*Streams.* GET streams, resumed streams and `subscriptions/listen` last for as long as their client likes, so one
client could take all that a process has. Who is one client is known best from authentication. Without it, a
session is all that tells clients apart in the session era, and nothing does in the stateless era. Anybody can
open sessions, so clients without a principal are bounded by their network address as well. That bound is
generous: behind a proxy that does not pass addresses on, all clients have the same one.
"""

import ipaddress
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from enfilade.serving.observation.current import current_record
from enfilade.serving.request import Request
from enfilade.transports.exchange import HttpRequest
from enfilade.transports.http.request_checks import BODY_MEMORY, BodyMemory
from enfilade.transports.http.response import Responder, ResponseOptions
from enfilade.transports.refusal_log import RefusalError, refusals
from enfilade.transports.request_parsing import LARGE_MESSAGE
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error
from enfilade.wire.revisions import LONGEST_BATCH

#: Methods that are served at the limit: clients give up a connection whose pings are not answered.
_EXEMPT: Final = frozenset({"ping"})

_PREFIX: Final = (
    64  # bits of an IPv6 address that identify a network; below, a client may choose (RFC 4291 §2.5.4)
)


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint allows.

    Attributes:
        body_limit: largest body in bytes.
        body_memory: bytes that unfinished bodies, and large ones of requests in flight, may take together.
        max_requests: requests in flight at once.
        max_streams: event streams that one principal, or one session, may have open.
        max_total_streams: event streams of all clients together.
        max_questions: unanswered questions of one principal, or one session.
        batch_limit: most messages in one 2025-03-26 batch.
        sessions: whether session-era clients get sessions; without, each of their requests stands alone.
        session_ttl: seconds without use after which a session may end.
        stream_age: seconds that a stream can be resumed after its last event.
    """

    responses: ResponseOptions = ResponseOptions()
    body_limit: int = 4 * 1024 * 1024
    body_memory: int = BODY_MEMORY
    max_requests: int = 1000
    max_streams: int = 64
    max_total_streams: int = 10_000
    max_questions: int = 64
    batch_limit: int = LONGEST_BATCH
    sessions: bool = True
    session_ttl: float = 86_400.0
    stream_age: float = 3600.0


class RequestLimit:
    """Counts the requests in flight, and refuses more than the limit.

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
        """Count a request that waits for something, and return the argument for `leave`."""
        if size := _large_size(request):
            self._memory.enter(size)
        self.count += 1
        if self.count >= self._limit:
            self.responder = self._refusing
        return size

    def leave(self, size: int) -> None:
        """Count a request no more."""
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
            raise too_many_requests(self._limit)


def note_refused_request(error: RpcError, request: Request) -> None:
    """Note in the current record, if there is one, that a request is refused which was read."""
    record = current_record.get()
    if record is not None and record.request is None:
        record.request = request
        record.refuse(error)


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
        error = too_many_requests(self._limit)
        note_refused_request(error, request)
        refusals.warn(None, error.status, error.message, error.setting)
        return encode_error(request.id, error), error


def _large_size(request: Request) -> int:
    """Return the bytes of the arguments of a request, as they came; 0 unless they are large."""
    arguments = getattr(request.params, "arguments", None)
    size = memoryview(arguments).nbytes if isinstance(arguments, Raw) else 0
    return size if size > LARGE_MESSAGE else 0


def too_many_requests(limit: int) -> RefusalError:
    """Return the error of a request beyond the limit: INTERNAL_ERROR with HTTP status 503."""
    busy = "1 request is" if limit == 1 else f"{limit} requests are"
    text = f"The server is busy: {busy} in flight; send this one again later"
    return RefusalError("max_requests", INTERNAL_ERROR, text, status=503)


class StreamQuota:
    """Counts the open event streams of one endpoint.

    Args:
        limit: streams of one session, and of one principal. Each session of a principal counts once, however
            many streams it has, because a client that was cut off comes back before its old stream is missed.
        total: streams of all clients; one address may have half of them without a principal.
    """

    def __init__(self, limit: int, total: int) -> None:
        self._limit = limit
        self._total = total
        self._open = 0
        self._sessions: Counter[str] = Counter()
        self._principals: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open

    def take(self, principal: str | None, session_id: str | None, address: str | None) -> None:
        """Count a stream that is about to be opened.

        Raises:
            RefusalError: HTTP 429 if this client has too many, 503 if all clients together have.
        """
        if self._open >= self._total:
            text = "Too many event streams are open; try again later"
            raise RefusalError("max_total_streams", INTERNAL_ERROR, text, status=503)
        session_streams = 0 if session_id is None else self._sessions[session_id]
        if session_streams >= self._limit:
            raise _too_many_streams("This session", self._limit)
        if principal is None:
            most = max(1, self._total // 2)
            if address is not None and self._addresses[_network(address)] >= most:
                raise _too_many_streams("This address", most, "max_total_streams")
        elif session_streams == 0 and self._principals[principal] >= self._limit:
            raise _too_many_streams("This client", self._limit)
        self._count(principal, session_id, address, 1)

    def give_back(self, principal: str | None, session_id: str | None, address: str | None) -> None:
        """Count a stream no more; the arguments are those of `take`."""
        self._count(principal, session_id, address, -1)

    def _count(self, principal: str | None, session_id: str | None, address: str | None, by: int) -> None:
        self._open += by
        other_streams = 0
        if session_id is not None:
            other_streams = self._sessions[session_id] - (by < 0)
            _add(self._sessions, session_id, by)
        if principal is None:
            if address is not None:
                _add(self._addresses, _network(address), by)
        elif other_streams == 0:
            _add(self._principals, principal, by)


def _add(counter: Counter[str], key: str, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]


def address_of(request: HttpRequest) -> str | None:
    """Return the IP address that a request comes from, as the server knows it; None if it does not."""
    client = request.client
    return client[0] if client else None


def _network(address: str) -> str:
    """Return what stands for one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a name, as test clients have
        return address
    if ip.version == 4:
        return address
    if ip.ipv4_mapped is not None:  # from a server that listens for both on one socket
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), _PREFIX), strict=False))


def _too_many_streams(who: str, limit: int, setting: str = "max_streams") -> RefusalError:
    streams = "1 event stream" if limit == 1 else f"{limit} event streams"
    text = f"{who} has {streams} open, which is the limit; close one, or try again later"
    return RefusalError(setting, INTERNAL_ERROR, text, status=429)
