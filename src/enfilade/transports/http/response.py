"""The response to one POSTed request: JSON, until it must stream.

A response that is ready at once costs two sends. A request that waits for anything costs a timer as well, which
hardly ever fires: only if the handler takes longer than `Timings.slow_request` is its client watched, and only a
notification, or a silence longer than the grace time, turns the response into an event stream. In the stateless
era a disconnect cancels the request (R-277); in the session era it does not (R-325). As long as the head of a
stream is not sent, an error can have its own HTTP status (R-273).
"""

import asyncio
import contextlib
import types
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from enfilade.serving.channel import Outcome
from enfilade.serving.execution import expire
from enfilade.serving.failures import cancelled_by_host, cut_off
from enfilade.serving.request import Request
from enfilade.transports.exchange import Headers, HttpExchange, HttpResponse
from enfilade.transports.http.event_log import ResponseRecorder, SealedEventLog
from enfilade.transports.http.sse_stream import EventStream, StreamOptions, send_events
from enfilade.wire.jsonrpc import STATELESS_STATUS, RpcError, encode_error
from enfilade.wire.revisions import POLLING
from enfilade.wire.sse import event

T = TypeVar("T")

JSON: Final = (b"content-type", b"application/json")

#: Seconds after which a client that was refused because of a limit should try again (RFC 9110 §10.2.3).
_RETRY_AFTER: Final = (b"retry-after", b"1")
_TRY_AGAIN: Final = frozenset({429, 503})


class ResponseOptions(StreamOptions, frozen=True, kw_only=True):
    """How responses behave; times in seconds, sizes in bytes.

    Attributes:
        json_response: never stream to a client that takes JSON; notifications are then dropped (R-272).
        grace: silence after which the response becomes a stream, so that keep-alive comments can be sent.
        request_timeout: how long a request may take; 0 for no limit.
        eager: open the stream at once wherever one is allowed, instead of waiting for a reason to.
    """

    json_response: bool = False
    grace: float = 1.0
    request_timeout: float = 0.0
    eager: bool = False


class InFlightCounter(Protocol):
    """Counts the requests in flight."""

    def enter(self, request: Request) -> int:
        """Count a request that waits for something, and return the argument for `leave`."""
        ...

    def leave(self, size: int) -> None:
        """Count a request no more."""
        ...


class Responder(Protocol):
    """Returns the outcome of a request."""

    def respond(self, request: Request) -> Coroutine[Any, Any, tuple[bytes | None, RpcError | None]]:
        """Run a request and return its one outcome; see `Dispatcher.respond`."""
        ...


def send_json(response: HttpResponse, status: int, body: bytes, headers: Headers) -> Coroutine[Any, Any, None]:
    """Send a JSON response."""
    return response.send(status, [JSON, (b"content-length", b"%d" % len(body)), *headers], body)


def with_retry_after(status: int, headers: Headers) -> Headers:
    """Return the headers of a response, with the time after which its client should try again if it should."""
    if status not in _TRY_AGAIN or any(name == _RETRY_AFTER[0] for name, _ in headers):
        return headers
    return [*headers, _RETRY_AFTER]


def send_empty(response: HttpResponse, status: int, headers: Headers) -> Coroutine[Any, Any, None]:
    """Send a response without a body (R-211: 202 has none)."""
    return response.send(status, [(b"content-length", b"0"), *headers], b"")


class _Waiting(msgspec.Struct, eq=False):
    """What is set up for a request that waits for something.

    Attributes:
        timer: fires once the request is slow, and then when the response must become a stream.
        counted: what `InFlightCounter.enter` returned.
    """

    timer: asyncio.TimerHandle | None = None
    deadline: asyncio.TimerHandle | None = None
    watcher: asyncio.Task[None] | None = None
    client_gone: bool = False
    counted: int | None = None

    def stop(self) -> None:
        """Cancel timers and watcher."""
        if self.timer is not None:
            self.timer.cancel()
        if self.deadline is not None:
            self.deadline.cancel()
        if self.watcher is not None:
            self.watcher.cancel()


class PostResponse(msgspec.Struct, eq=False, kw_only=True):
    """The response to one request, as JSON or as a stream (R-265, R-322), and the outlet of its notifications.

    Attributes:
        exchange: the request, whose body was read, and the response, of which nothing was sent yet.
        accepts: whether the client takes (JSON, an event stream).
        headers: what the response carries besides its content type.
        stateless: the era, which decides what a disconnect means and which status an error has.
        endless: it lasts as long as its client stays: always a stream (R-272), without a deadline.
        event_log: where a session's streams are recorded, so that they can be resumed; None if they are not.
        in_flight: counts the request while it waits for anything; None if nobody counts.
    """

    exchange: HttpExchange
    accepts: tuple[bool, bool]
    options: ResponseOptions
    headers: Headers
    stateless: bool = False
    endless: bool = False
    event_log: SealedEventLog | None = None
    in_flight: InFlightCounter | None = None
    _session_id: str | None = None  # of a batch
    _request: Request | None = None
    _stream: EventStream | None = None
    _waiting: _Waiting | None = None  # None until the request waits for something
    _early_outcome: asyncio.Task[None] | None = None  # sends an outcome while the handler goes on
    _scopes: set[str] | None = None  # that its operations needed; None if they needed none

    # -- the outlet ------------------------------------------------------------------------------------------

    @property
    def is_congested(self) -> bool:
        return self._stream is not None and self._stream.is_congested

    async def wait_for_room(self) -> None:
        if self._stream is not None:
            await self._stream.wait_for_room()

    def push(self, message: bytes) -> bool:
        """Send a notification, which turns the response into a stream if the client takes one."""
        stream = self._stream or self._start_stream()
        if stream is None:
            return False
        return stream.push_now(message) if self.endless else stream.push(message)

    def send(self, message: bytes) -> bool:
        """Send a question; False if this client takes plain JSON only."""
        stream = self._stream or self._start_stream()
        return stream is not None and stream.send(message)

    def close_connection(self, retry: float | None) -> bool:
        """End the connection, for the client to reconnect for the rest, if it is one that does (R-354)."""
        stream = self._stream or self._start_stream()
        if stream is None or not self._client_reconnects:
            return False
        stream.detach(self.options.retry if retry is None else retry)
        return True

    def note_scopes(self, scopes: Iterable[str]) -> None:
        """Remember what whoever resumes the stream must be allowed as well."""
        self._shared_scopes().update(scopes)

    def _shared_scopes(self) -> set[str]:
        """Return the set that the recorder of the stream reads, whichever is there first."""
        if self._scopes is None:
            self._scopes = set()
        return self._scopes

    # -- the response ----------------------------------------------------------------------------------------

    async def run(self, responder: Responder, request: Request) -> None:
        """Serve the request and send its one outcome."""
        self._request = request
        if self.options.eager:
            self._waiting = _Waiting()
            self._start_stream()
        responding = responder.respond(request)
        request.channel.external_cancellations = 0  # nobody else runs before it waits for something
        try:
            try:
                awaited = responding.send(None)  # nearly always it is done at once
            except StopIteration as done:
                body, error = done.value
            else:
                self._start_waiting(request)
                body, error = await resume_handler(responding, awaited, request)
        except asyncio.CancelledError as cancellation:
            await self._conclude_cancelled(request, cancelled_by_host(cancellation, request.method))
            raise
        except BaseException:
            self._abandon_stream(request)
            raise
        finally:
            if self._waiting is not None:
                self._waiting.stop()
                if self._waiting.counted is not None and self.in_flight is not None:
                    self.in_flight.leave(self._waiting.counted)
        if (
            error is None
            and body is not None
            and self._waiting is None
            and self._stream is None
            and self.accepts[0]
        ):
            sending = self.exchange.send_json(body, self.headers)  # nearly always
            if sending is not None:
                await sending
        else:
            await self._send_outcome(body, error)

    async def _send_outcome(self, body: bytes | None, error: RpcError | None) -> None:
        if self._early_outcome is not None:
            await asyncio.wait((self._early_outcome,))
        elif error is None:
            await self.conclude(200, body)
        else:
            self.headers = [*self.headers, *error.headers]
            await self.conclude(self.status_of(error), body)

    def status_of(self, error: RpcError) -> int:
        """Return the HTTP status of an error that is the outcome of a request (R-327)."""
        if error.status is not None:
            return error.status
        return STATELESS_STATUS.get(error.code, 200) if self.stateless else 200

    async def conclude(self, status: int, body: bytes | None) -> None:
        """Send the outcome in the form that the response has taken by now."""
        if self._stream is not None:
            if self._client_gone:
                self._stream.abandon()
            else:
                await self._stream.finish(body)
        elif self._client_gone:
            return
        elif body is None:  # cancelled by the client's own notification: it ends without an outcome
            if self.accepts[1]:
                await send_events(self.exchange, b"", self.headers)
            else:
                await send_empty(self.exchange, 204, self.headers)
        elif self.accepts[0] or status != 200:
            await send_json(self.exchange, status, body, with_retry_after(status, self.headers))
        else:
            await send_events(self.exchange, event(body), self.headers)

    async def conclude_batch(self, bodies: list[bytes]) -> None:
        """Send the outcomes of a batch: a JSON array, or one event each (R-342, R-343)."""
        if self._stream is None and not self.accepts[0]:
            self._start_stream()
        if self._stream is not None:
            for body in bodies:
                self._stream.send(body)
            await self._stream.finish(None)
        else:
            await send_json(self.exchange, 200, b"[" + b",".join(bodies) + b"]", self.headers)

    async def conclude_cancelled_batch(self, bodies: list[bytes]) -> None:
        """Send the outcomes that a batch has by now, because its host cancelled it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self.options.timings.farewell):
                await self.conclude_batch(bodies)
        if self._stream is not None:
            self._stream.release()
            self._stream.abandon()

    async def _conclude_cancelled(self, request: Request, error: RpcError) -> None:
        """Tell the client that the server gives up its request, because the host cancelled it."""
        if self._early_outcome is None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self.options.timings.farewell):
                    await self.conclude(503, encode_error(request.id, error))
        self._abandon_stream(request)

    def _abandon_stream(self, request: Request) -> None:
        """Leave nobody waiting: a client that comes back for the rest reads that the server stopped."""
        if self._stream is not None:
            self._stream.send(encode_error(request.id, cut_off()))  # not taken, if it has its outcome
            self._stream.release()
            self._stream.abandon()

    def _send_early_outcome(self, outcome: Outcome) -> None:
        """Send an outcome although the handler goes on; what that returns in the end is not sent."""
        self.stop_waiting()
        body, error = outcome
        status = 200 if error is None else self.status_of(error)
        self._early_outcome = asyncio.get_running_loop().create_task(self.conclude(status, body))

    # -- requests that wait ----------------------------------------------------------------------------------

    @property
    def _client_gone(self) -> bool:
        return self._waiting is not None and self._waiting.client_gone

    def _start_waiting(self, request: Request) -> None:
        """Set up what a request needs that waits for something: until its handler has ended, it is in flight."""
        request.register_in_flight()
        waiting = self._waiting = self._waiting or _Waiting()
        if self.in_flight is not None and not self.endless:
            waiting.counted = self.in_flight.enter(request)
        if self._stream is not None:
            self._stream.open()
        waiting.timer = asyncio.get_running_loop().call_later(self.options.timings.slow_request, self._on_slow)
        request.channel.on_overdue = self._send_early_outcome
        request.channel.unwinding = self.options.timings.unwinding

    def start_batch(self, session_id: str | None) -> None:
        """Set up what a batch needs, which counts as waiting from the start."""
        self._session_id = session_id
        self._waiting = _Waiting()
        if self.options.eager:
            self._start_stream()
        self._waiting.timer = asyncio.get_running_loop().call_later(
            self.options.timings.slow_request, self._on_slow
        )

    def stop_waiting(self) -> None:
        """Cancel timers and stop watching the client: the outcome is known."""
        if self._waiting is not None:
            self._waiting.stop()

    def _on_slow(self) -> None:
        """Watch the client if a disconnect means something, set the deadline, and plan for a long silence."""
        loop, waiting = asyncio.get_running_loop(), self._waiting
        assert waiting is not None
        if self.stateless:
            waiting.watcher = loop.create_task(self._watch_disconnect(waiting))
        if self.options.request_timeout and not self.endless:
            waiting.deadline = loop.call_later(self.options.request_timeout, self._expire)
        if self._may_stream and self._stream is None:
            waiting.timer = loop.call_later(self.options.grace, self._start_stream)

    def _expire(self) -> None:
        if self._request is not None:
            expire(self._request, self.options.request_timeout)

    async def _watch_disconnect(self, waiting: _Waiting) -> None:
        await self.exchange.disconnected()
        waiting.client_gone = True
        if self._request is not None:
            self._request.cancel("the client went away")

    @property
    def _may_stream(self) -> bool:
        return self.accepts[1] and (self.endless or not (self.options.json_response and self.accepts[0]))

    def _start_stream(self) -> EventStream | None:
        """Turn the response into a stream, unless the client or the host wants JSON.

        The stream is opened only if the request waits for something: a complete response needs no writer task.
        """
        if self._stream is None and self._may_stream:
            recorder = None  # a stateless stream is not in the log, so its events have no ids
            request, traceparent = self._request, ""
            session_id = self._session_id if request is None else request.peer.session_id
            if self.event_log is not None and session_id is not None:
                if request is not None and request.record is not None:
                    traceparent = request.record.traceparent_of_span
                id = None if request is None else request.id
                scopes = self._shared_scopes()
                recorder = ResponseRecorder(self.event_log, session_id, id, scopes, traceparent)
            self._stream = EventStream(
                self.exchange, self.headers, self.options, recorder, self._client_reconnects
            )
            if self._waiting is not None:
                self._stream.open()
        return self._stream

    @property
    def _client_reconnects(self) -> bool:
        """Whether the client reconnects by itself when its stream ends early."""
        request = self._request
        return self.event_log is not None and request is not None and request.peer.revision in POLLING


@types.coroutine
def resume_handler(coroutine: Coroutine[Any, Any, T], awaited: Any, request: Request) -> Generator[Any, Any, T]:
    """Resume a handler, and tell cancellations from outside from its own; else as `sse_stream.resume_coroutine`.

    The task counts both alike. Those that are added while the coroutine runs are the handler's own, since nothing
    else runs then; those that are added between its steps come from outside.

    Args:
        coroutine: the handler, which has taken its first step.
        awaited: what that step yielded.
        request: what it serves; its channel counts the `external_cancellations`.
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
        from_outside = request.channel.external_cancellations = count_before - own
        if isinstance(thrown, asyncio.CancelledError) and from_outside > 0 and request.cancellation is None:
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
            if from_outside > 0:  # a time limit of the handler's own takes its cancellation back
                request.channel.external_cancellations = count_after - own


def _insist_on_outcome(request: Request, cancellation: asyncio.CancelledError) -> None:
    """Make sure that the caller gets an outcome, also if the handler ignores that its host has cancelled it.

    A timer of the handler, such as that of `asyncio.timeout`, cancels it as a host does, and takes that back.
    """

    def outcome() -> Outcome:
        error = cancelled_by_host(cancellation, request.method)
        return encode_error(request.id, error), error

    request.ensure_outcome(outcome, lambda: bool(request.channel.external_cancellations))
