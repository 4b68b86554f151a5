"""Checks of a request before it is decoded: what its headers say, and how much its body takes.

*Headers.* Clients send the same few headers with every request, so the verdict on them (`HeaderVerdict`) is
cached. Only what follows from these headers alone may be part of it.

*Bodies.* What counts is the bytes that come, not a length that is announced. A body in one piece is the plain
case and is not counted anywhere. The others are bounded together (`BodyMemory`), because each connection may have
an unfinished one. When they reach the limit, the body that has made no progress for the longest time gives way,
large ones first, so stalled uploads do not keep out clients that send. A large body stays in memory for as long
as its request is in flight; those are bounded as well, apart from the others, so whoever holds many of them keeps
out large requests only.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from enfilade.transports.exchange import DisconnectedError, Headers, HttpRequest
from enfilade.transports.http.origin_checks import HostOriginPolicy, cors
from enfilade.transports.refusal_log import RefusalError
from enfilade.transports.request_parsing import LARGE_MESSAGE, check_values
from enfilade.wire import headers as http
from enfilade.wire.headers import PROTOCOL_VERSION
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError
from enfilade.wire.revisions import ALL, HANDSHAKE, STATELESS, UNSUPPORTED

#: Host, Origin, Content-Type, Accept and MCP-Protocol-Version of a request.
_Key = tuple[bytes | None, bytes | None, bytes | None, bytes | None, bytes | None]

#: Default of `BodyMemory`, in bytes.
BODY_MEMORY: Final = 64 * 1024 * 1024

#: Which setting refuses with a status.
_SETTINGS: Final = {421: "allowed_hosts", 403: "allowed_origins"}


class HeaderVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a request mean.

    Attributes:
        refusal: HTTP status and reason for a Host or an Origin that is not allowed; None if they are.
        media: HTTP status and reason for media types that cannot be served by POST; None if they can.
        accepts: whether the client takes (JSON, an event stream).
        version: the text of `MCP-Protocol-Version`, empty if it is absent.
        is_stateless: whether that is a revision without sessions.
        is_for_session: whether a request of a session may have it.
        headers: what every response carries: those by which a browser lets a page read it.
    """

    refusal: tuple[int, str] | None = None
    media: tuple[int, str] | None = None
    accepts: tuple[bool, bool] = (True, True)
    version: str = ""
    is_stateless: bool = False
    is_for_session: bool = True
    headers: Headers = []

    def check(self) -> None:
        """Check that the request may come from where it does.

        Raises:
            RefusalError: with HTTP status 421 for a foreign Host, 403 for a foreign Origin (E-34, E-35).
        """
        if self.refusal is not None:
            status, reason = self.refusal
            raise RefusalError(_SETTINGS[status], INVALID_REQUEST, reason, status=status)

    def check_media(self) -> None:
        """Check that the body can be read and the response understood.

        Raises:
            RpcError: HTTP 415 for a body that is no JSON (E-37), 406 for a client that takes neither kind of
                response (E-36, R-328).
        """
        if self.media is not None:
            raise RpcError(INVALID_REQUEST, self.media[1], status=self.media[0])


def header_check_for(policy: HostOriginPolicy) -> Callable[[Mapping[bytes, bytes]], HeaderVerdict]:
    """Return a function that returns the verdict on the headers of a request."""

    def verdict_of(key: _Key) -> HeaderVerdict:
        host, origin, content_type, accept, version = key
        refusal = policy.verdict(host, origin)
        if refusal is not None:
            return HeaderVerdict(refusal=refusal)
        # No Accept means anything (RFC 9110 §12.5.1).
        accepts = (True, True) if accept is None else http.acceptable(accept)
        media = None
        if not http.is_json(content_type or b""):
            media = 415, "Content-Type must be application/json"
        elif not any(accepts):
            media = 406, "Accept must allow application/json or text/event-stream, better both"
        revision = http.single(version or b"").decode("latin-1")
        return HeaderVerdict(
            media=media,
            accepts=accepts,
            version=revision,
            is_stateless=revision in STATELESS,
            is_for_session=not revision or revision in HANDSHAKE,
            headers=[] if origin is None else cors(origin),
        )

    verdicts = http.HeaderCache(verdict_of, _size)

    def check(fields: Mapping[bytes, bytes]) -> HeaderVerdict:
        get = fields.get
        key = get(b"host"), get(b"origin"), get(b"content-type"), get(b"accept"), get(PROTOCOL_VERSION)
        return verdicts[key]

    return check


def check_version(version: str) -> None:
    """Check the version header of a request that makes no claim (R-114, E-18).

    In a session any revision with a handshake is accepted: messages follow the revision that was negotiated,
    which the header cannot change, so a client that sends another one is not ambiguous (E-19).

    Raises:
        RpcError: HTTP 400 with the text that released clients look for (R-115).
    """
    if version and version not in HANDSHAKE:
        printable = "".join(c if c.isprintable() else "?" for c in version)[:40]
        supported = ", ".join(ALL)
        raise RpcError(INVALID_REQUEST, f"{UNSUPPORTED} {printable!r}; supported: {supported}", status=400)


def _size(key: _Key) -> int:
    return sum(len(value) for value in key if value is not None)


# -- bodies ----------------------------------------------------------------------------------------------------


class UnreadBodyError(RefusalError):
    """A request is refused before its body was read, so its connection cannot serve another one."""


class UnfinishedBody:
    """What was read of a body so far.

    Attributes:
        task: reads it.
        chunks: what was read.
        size: bytes in them.
        evicted: the memory is needed for others.
    """

    __slots__ = ("chunks", "evicted", "size", "task")

    def __init__(self, task: "asyncio.Task[Any] | None") -> None:
        self.task = task
        self.chunks: list[bytes] = []
        self.size = 0
        self.evicted = False


class BodyMemory:
    """Bounds the bytes of all unfinished bodies of a process, and those of large requests that wait.

    Args:
        limit: the most that each of the two may take, in bytes.

    Attributes:
        held: what unfinished bodies take now.
        waiting: what the large arguments of requests in flight take now.
    """

    def __init__(self, limit: int = BODY_MEMORY) -> None:
        self._limit = limit
        self.held = self.waiting = 0
        # Each in the order in which they last made progress.
        self._small: dict[UnfinishedBody, None] = {}
        self._large: dict[UnfinishedBody, None] = {}

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def add(self, body: UnfinishedBody, chunk: bytes) -> None:
        """Add what has come to a body.

        Raises:
            UnreadBodyError: HTTP 503; there is no room although all others that could give way have done so.
        """
        self._remove(body)
        body.chunks.append(chunk)
        body.size += len(chunk)
        self.held += len(chunk)
        (self._large if body.size > LARGE_MESSAGE else self._small)[body] = None
        while self.held > self._limit:
            stalled = next(iter(self._large or self._small))
            self.release(stalled)
            if stalled is body:
                raise _no_room()
            stalled.evicted = True
            if stalled.task is not None:
                stalled.task.cancel()  # it waits for more, in `_read_rest`

    def release(self, body: UnfinishedBody) -> None:
        """Forget a body that is complete or given up; idempotent."""
        self._remove(body)
        self.held -= body.size
        body.size, body.chunks = 0, []

    def check(self, size: int) -> None:
        """Make sure that there is room for the large body of a request, should it wait.

        Raises:
            RefusalError: HTTP 503; too many requests that are in flight have large bodies.
        """
        if self.waiting and self.waiting + size > self._limit:
            raise RefusalError("body_memory", INTERNAL_ERROR, _NO_ROOM, status=503)

    def enter(self, size: int) -> None:
        """Count the arguments of a request that waits for something."""
        self.waiting += size

    def leave(self, size: int) -> None:
        """Count the arguments of a request no more."""
        self.waiting -= size

    def _remove(self, body: UnfinishedBody) -> None:
        self._small.pop(body, None)
        self._large.pop(body, None)


_NO_ROOM: Final = "The server has too many large requests; send this one again later"

#: For endpoints that share the process and have no setting of their own.
SHARED: Final = BodyMemory()


class BodyReader:
    """Reads the bodies of one endpoint.

    Args:
        limit: the most that a body may have, in bytes.
        memory: bounds what all bodies take while they are unfinished.

    Attributes:
        plain: bytes up to which a body that comes at once needs no further checks.
    """

    __slots__ = ("_limit", "_most_digits", "memory", "plain")

    def __init__(self, limit: int, memory: BodyMemory = SHARED) -> None:
        self._limit = limit
        self.memory = memory
        self.plain: Final = min(limit, LARGE_MESSAGE)
        # A length with fewer digits than the limit is no greater, and most are not looked at further than that.
        self._most_digits = len(str(limit)) - 1

    async def read(self, fields: Mapping[bytes, bytes], request: HttpRequest) -> bytes:
        """Return the body of a request.

        Raises:
            RpcError: HTTP 413 if it is too long (E-38) or holds too many values; 415 if it is compressed; 400 if
                the client went away before its end; 503 if the unfinished bodies of the process take too much.
        """
        if b"content-encoding" in fields:
            _check_coding(fields[b"content-encoding"])
        announced = fields.get(b"content-length", b"")
        if len(announced) > self._most_digits and announced.isdigit() and int(announced) > self._limit:
            raise _too_large(self._limit)
        try:
            body, has_more = await request.read()
            if has_more or len(body) > self.plain:
                body = await _read_rest(body, has_more, request, self._limit, self.memory)
                if len(body) > LARGE_MESSAGE:
                    self.memory.check(len(body))
                    check_values(body)
        except DisconnectedError:
            raise RpcError(INVALID_REQUEST, "the body ended early", status=400) from None
        return body


async def _read_rest(chunk: bytes, has_more: bool, request: HttpRequest, limit: int, memory: BodyMemory) -> bytes:
    """Return a body that does not come in one piece, or is long."""
    body = UnfinishedBody(asyncio.current_task())
    try:
        while True:
            if body.size + len(chunk) > limit:
                raise _too_large(limit)
            if not has_more:
                return b"".join((*body.chunks, chunk))
            if chunk:
                memory.add(body, chunk)
            chunk, has_more = await request.read()
    except asyncio.CancelledError:
        if not body.evicted or body.task is None or body.task.uncancel() > 0:
            raise
        raise _no_room() from None
    finally:
        memory.release(body)


def _check_coding(coding: bytes) -> None:
    """Refuse a compressed body: nothing is decompressed here, so that no small body becomes a large one.

    Raises:
        RpcError: HTTP 415 (RFC 9110 §15.5.16).
    """
    if coding.strip().lower() not in (b"identity", b""):
        raise RpcError(INVALID_REQUEST, "Content-Encoding is not supported: send the body as it is", status=415)


def _too_large(limit: int) -> RpcError:
    text = f"the body is larger than {limit} bytes"
    return UnreadBodyError("body_limit", INVALID_REQUEST, text, status=413)


def _no_room() -> RpcError:
    return UnreadBodyError("body_memory", INTERNAL_ERROR, _NO_ROOM, status=503)
