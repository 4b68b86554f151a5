"""One POSTed request and its answer: JSON until it must stream.

A request that is answered at once costs two sends. One that waits for anything costs a timer as well, that hardly
ever fires: only a handler that outlives `GLANCE` gets its client watched, and only a notification or a silence
longer than the grace time turns the answer into an event stream. The easy thing to get wrong is what a disconnect
means: in the stateless era it is the cancellation (R-277), in the session era it is not (R-325).
"""

import asyncio
import contextlib
import types
from collections.abc import Coroutine, Generator
from typing import Any, Final, Protocol, TypeVar

import msgspec

from enfilade.serving.channel import Outcome
from enfilade.serving.execution import expire
from enfilade.serving.failures import cancelled_by_host, cut_off
from enfilade.serving.request import Request
from enfilade.transports.asgi_types import Headers, Receive, Send
from enfilade.transports.http.event_log import ResponseRecorder, SealedEventLog
from enfilade.transports.http.sse_stream import EventStream, StreamOptions, send_events
from enfilade.wire.jsonrpc import STATELESS_STATUS, RpcError, encode_error
from enfilade.wire.revisions import POLLING
from enfilade.wire.sse import event

T = TypeVar("T")

#: Seconds after which a request is no longer "answered at once".
GLANCE: Final = 0.01

#: Seconds for telling a client that its request is given up.
FAREWELL: Final = 1.0

JSON: Final = (b"content-type", b"application/json")

#: Seconds after which a client that was refused for want of room should try again (RFC 9110 §10.2.3).
_RETRY_AFTER: Final = (b"retry-after", b"1")
_TRY_AGAIN: Final = frozenset({429, 503})


class ResponseOptions(StreamOptions, frozen=True, kw_only=True):
    """How answers behave; all times in seconds, all sizes in bytes.

    Attributes:
        json_response: never stream to a client that takes JSON; notifications are then dropped (R-272).
        grace: silence after which the answer becomes a stream, so that keep-alives can flow.
        request_timeout: how long a request may take; 0 for no limit.
        eager: open the stream at once wherever one may be, instead of waiting for a reason to.
    """

    json_response: bool = False
    grace: float = 1.0
    request_timeout: float = 0.0
    eager: bool = False


class Count(Protocol):
    """Counts the requests in flight."""

    def enter(self, request: Request) -> int:
        """Count one that waits for something, and return what `leave` is to be given."""
        ...

    def leave(self, size: int) -> None:
        """Count it no more."""
        ...


class Responder(Protocol):
    """What an answer gets its outcome from."""

    def respond(self, request: Request) -> Coroutine[Any, Any, tuple[bytes | None, RpcError | None]]:
        """Run a request and return its one outcome; see `Dispatcher.respond`."""
        ...


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole JSON response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def with_retry_after(status: int, headers: Headers) -> Headers:
    """Return the headers of a response, with the time after which its client should try again if it should."""
    return [*headers, _RETRY_AFTER] if status in _TRY_AGAIN else headers


async def send_empty(send: Send, status: int, headers: Headers) -> None:
    """Send a response without a body (R-211: 202 has none)."""
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]}
    )
    await send({"type": "http.response.body", "body": b""})


class PostResponse(msgspec.Struct, eq=False):
    """The answer to one request, and the outlet of its notifications.

    Attributes:
        receive: reads what the client does, as ASGI says.
        write: writes the response, as ASGI says.
        accepts: whether the client takes (JSON, an event stream).
        options: how answers behave.
        headers: what the response carries besides its content type.
        stateless: the era, which decides what a disconnect means and which status an error has.
        endless: it lasts as long as its client stays: always a stream (R-272), without a deadline.
        event_log: where a session's streams are recorded, so that they can be resumed; None if they are not.
        in_flight: counts it while it waits for anything; None if nobody counts.
    """

    receive: Receive
    write: Send
    accepts: tuple[bool, bool]
    options: ResponseOptions
    headers: Headers
    stateless: bool = False
    endless: bool = False
    event_log: SealedEventLog | None = None
    in_flight: "Count | None" = None
    _counted: int | None = None  # what `in_flight` returned
    _stream: EventStream | None = None
    _suspended: bool = False  # others go on beside it
    _watcher: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _deadline: asyncio.TimerHandle | None = None
    _request: Request | None = None
    _session_id: str | None = None
    _gone: bool = False
    _settling: asyncio.Task[None] | None = None  # sends an outcome that the handler has not come to

    # -- the outlet ------------------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        return self._stream is not None and self._stream.crowded

    async def drained(self) -> None:
        if self._stream is not None:
            await self._stream.drained()

    def push(self, message: bytes) -> bool:
        """Send a notification, which turns the answer into a stream if the client takes one."""
        stream = self._stream or self._open()
        return stream is not None and stream.push(message)

    def send(self, message: bytes) -> bool:
        """Send a question; False if this client takes plain JSON only."""
        stream = self._stream or self._open()
        return stream is not None and stream.push_always(message)

    def part(self, retry: float | None) -> bool:
        """End the connection, for the client to come back for the rest, if it is one that does (R-354)."""
        stream = self._stream or self._open()
        if stream is None or not self._polls:
            return False
        stream.part(self.options.retry if retry is None else retry)
        return True

    # -- the answer ------------------------------------------------------------------------------------------

    async def run(self, responder: Responder, request: Request) -> None:
        """Serve the request and send its one outcome."""
        self._request = request
        self._session_id = request.peer.session_id
        if self.options.eager:
            self._suspended = True
            self._open()
        responding = responder.respond(request)
        request.channel.outside = 0  # nobody else runs before it waits for something
        try:
            try:
                awaited = responding.send(None)  # nearly always it is done at once
            except StopIteration as done:
                body, error = done.value
            else:
                request.register_in_flight()
                self._suspended = True
                self._count(request)
                if self._stream is not None:
                    self._stream.open()
                self._timer = asyncio.get_running_loop().call_later(GLANCE, self._outlived)
                request.channel.overdue = self._settle
                body, error = await resume_handler(responding, awaited, request)
        except asyncio.CancelledError as cancellation:
            await self._farewell(request, cancelled_by_host(cancellation, request.method))
            raise
        except BaseException:
            self._give_up(request)
            raise
        finally:
            if self._timer is not None:
                self.settle()
                self._uncount()
        if self._settling is not None:
            await asyncio.wait((self._settling,))
        elif error is None and body is not None and self._stream is None and self.accepts[0] and not self._gone:
            await send_json(self.write, 200, body, self.headers)  # nearly always
        else:
            await self.conclude(200 if error is None else self.status_of(error), body)

    def _count(self, request: Request) -> None:
        """Count it as in flight, until its handler has ended: also when its outcome was sent before that."""
        if self.in_flight is not None and not self.endless:
            self._counted = self.in_flight.enter(request)

    def _uncount(self) -> None:
        if self._counted is not None and self.in_flight is not None:
            self.in_flight.leave(self._counted)

    async def _farewell(self, request: Request, error: RpcError) -> None:
        """Say that the server gives the request up, because its host cancelled it: nobody is left waiting."""
        if self._settling is None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(FAREWELL):
                    await self.conclude(503, encode_error(request.id, error))
        self._give_up(request)

    async def farewell_to_batch(self, bodies: list[bytes]) -> None:
        """Send what a batch has come to, because its host cancelled it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(FAREWELL):
                await self.conclude_batch(bodies)
        if self._stream is not None:
            self._stream.release()
            self._stream.abandon()

    def _give_up(self, request: Request) -> None:
        """Leave nobody waiting: whoever comes back for the rest reads that the server stopped."""
        if self._stream is not None:
            self._stream.push_always(encode_error(request.id, cut_off()))  # nothing, if it is concluded
            self._stream.release()
            self._stream.abandon()

    def _settle(self, outcome: Outcome) -> None:
        """Send an outcome although the handler goes on; what it comes to in the end is nobody's any more."""
        self.settle()
        body, error = outcome
        status = 200 if error is None else self.status_of(error)
        self._settling = asyncio.get_running_loop().create_task(self.conclude(status, body))

    def status_of(self, error: RpcError) -> int:
        """Return the HTTP status of an error that is the outcome of a request (protocol §1.8, R-327)."""
        if error.status is not None:
            return error.status
        return STATELESS_STATUS.get(error.code, 200) if self.stateless else 200

    async def conclude(self, status: int, body: bytes | None) -> None:
        """Send the outcome in the form the answer has taken by now."""
        if self._stream is not None:
            if self._gone:
                self._stream.abandon()
            else:
                await self._stream.finish(body)
        elif self._gone:
            return
        elif body is None:  # cancelled by the client's own notification: the response ends without an answer
            if self.accepts[1]:
                await send_events(self.write, b"", self.headers)
            else:
                await send_empty(self.write, 204, self.headers)
        elif self.accepts[0] or status != 200:
            await send_json(self.write, status, body, with_retry_after(status, self.headers))
        else:
            await send_events(self.write, event(body), self.headers)

    async def conclude_batch(self, bodies: list[bytes]) -> None:
        """Send the outcomes of a batch: a JSON array, or one event each (R-342, R-343)."""
        if self._stream is None and not self.accepts[0]:
            self._open()
        if self._stream is not None:
            for body in bodies:
                self._stream.push_always(body)
            await self._stream.finish(None)
        else:
            await send_json(self.write, 200, b"[" + b",".join(bodies) + b"]", self.headers)

    # -- what happens only to requests that take their time ----------------------------------------------------

    def start_batch(self, session_id: str | None) -> None:
        """Begin to measure the time that a batch takes.

        Args:
            session_id: whose it is.
        """
        self._session_id = session_id
        self._suspended = True
        if self.options.eager:
            self._open()
        self._timer = asyncio.get_running_loop().call_later(GLANCE, self._outlived)

    def settle(self) -> None:
        """Stop measuring and watching: the outcome is known."""
        if self._timer is not None:
            self._timer.cancel()
        if self._deadline is not None:
            self._deadline.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _outlived(self) -> None:
        """Start to care: watch the client if its going means something, and plan for a long silence."""
        loop = asyncio.get_running_loop()
        if self.stateless:
            self._watcher = loop.create_task(self._watch())
        if self.options.request_timeout and not self.endless:
            self._deadline = loop.call_later(self.options.request_timeout, self._expire)
        if self._may_stream and self._stream is None:
            self._timer = loop.call_later(self.options.grace, self._open)

    def _expire(self) -> None:
        if self._request is not None:
            expire(self._request, self.options.request_timeout)

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._request is not None:
            self._request.cancel("the client went away")

    @property
    def _may_stream(self) -> bool:
        return self.accepts[1] and (self.endless or not (self.options.json_response and self.accepts[0]))

    def _open(self) -> EventStream | None:
        """Turn the answer into a stream, unless the client or the host wants JSON."""
        if self._stream is None and self._may_stream:
            recorder = None
            if self.event_log is not None and self._session_id is not None:
                id = None if self._request is None else self._request.id
                recorder = ResponseRecorder(self.event_log, self._session_id, id)
            self._stream = EventStream(self.write, self.headers, self.options, recorder, self._polls)
            if self._suspended:
                self._stream.open()
        return self._stream

    @property
    def _polls(self) -> bool:
        """Whether the client comes back by itself when its stream ends early."""
        request = self._request
        return self.event_log is not None and request is not None and request.peer.revision in POLLING


@types.coroutine
def resume_handler(coroutine: Coroutine[Any, Any, T], awaited: Any, request: Request) -> Generator[Any, Any, T]:
    """Do as `resume_coroutine` for a handler, and tell cancellations from outside from those of its own.

    The task counts both alike. Those that are added while the coroutine runs are the handler's own, since nothing
    else runs then; those that are added between its steps come from outside.

    Args:
        coroutine: the handler, which has taken its first step.
        awaited: what that step yielded.
        request: what it serves; its `outside` says how many cancellations came from outside.
    """
    task = request.task
    assert task is not None
    own = task.cancelling()
    while True:
        value, thrown = None, None
        try:
            value = yield awaited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        count_before = task.cancelling()
        request.channel.outside = count_before - own
        if (
            isinstance(thrown, asyncio.CancelledError)
            and request.channel.outside > 0
            and request.cancellation is None
        ):
            _insist_on_outcome(request, thrown)
        try:
            awaited = coroutine.send(value) if thrown is None else coroutine.throw(thrown)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            del thrown
            count_after = task.cancelling()
            own = min(count_after, own + max(0, count_after - count_before))


def _insist_on_outcome(request: Request, cancellation: asyncio.CancelledError) -> None:
    """Make sure that the caller gets an outcome, also if the handler ignores that its host has cancelled it."""

    def outcome() -> Outcome:
        error = cancelled_by_host(cancellation, request.method)
        return encode_error(request.id, error), error

    request.insist(outcome)
