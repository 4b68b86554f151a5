"""One POSTed request and its answer: JSON until it must stream.

A request that is answered at once costs one timer that never fires and two sends. Only a handler that outlives
`GLANCE` gets its client watched, and only a notification or a silence longer than the grace time turns the
answer into an event stream. The easy thing to get wrong is what a disconnect means: in the stateless era it is
the cancellation (R-277), in the session era it is not (R-325).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from enfilade.serving.exchange import Request
from enfilade.transports.recordings import Recordings
from enfilade.transports.stream import HEAD, EventStream, Headers, Send, StreamOptions
from enfilade.wire.jsonrpc import INTERNAL_ERROR, STATELESS_STATUS, RpcError, encode_error
from enfilade.wire.revisions import POLLING
from enfilade.wire.sse import event

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Seconds after which a request is no longer "answered at once".
GLANCE: Final = 0.01

#: Seconds for telling a client that its request is given up.
FAREWELL: Final = 1.0

JSON: Final = (b"content-type", b"application/json")


class AnswerOptions(StreamOptions, frozen=True, kw_only=True):
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


class Responder(Protocol):
    """What an answer gets its outcome from."""

    async def respond(self, request: Request) -> tuple[bytes | None, RpcError | None]:
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


async def send_empty(send: Send, status: int, headers: Headers) -> None:
    """Send a response without a body (R-211: 202 has none)."""
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]}
    )
    await send({"type": "http.response.body", "body": b""})


class Answer:
    """The answer to one request, and the outlet of its notifications.

    Args:
        accepts: whether the client takes (JSON, an event stream).
        stateless: the era, which decides what a disconnect means and which status an error has.
        headers: what the response carries besides its content type.
        endless: it lasts as long as its client stays: always a stream (R-272), without a deadline.
        recordings: where a session's streams are recorded, so that they can be resumed; None if they are not.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        accepts: tuple[bool, bool],
        stateless: bool,
        options: AnswerOptions,
        headers: Headers,
        endless: bool = False,
        recordings: Recordings | None = None,
    ) -> None:
        self._recordings = recordings
        self._receive = receive
        self._send = send
        self._json, self._sse = accepts
        self._stateless = stateless
        self._options = options
        self.headers = headers
        self._endless = endless
        self._stream: EventStream | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._request: Request | None = None
        self._session_id: str | None = None
        self._gone = False

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
        stream.part(self._options.retry if retry is None else retry)
        return True

    # -- the answer ------------------------------------------------------------------------------------------

    async def run(self, responder: Responder, request: Request) -> None:
        """Serve the request and send its one outcome."""
        self.start(request)
        try:
            body, error = await responder.respond(request)
        except asyncio.CancelledError:
            await self._farewell(request)
            raise
        except BaseException:
            self._give_up()
            raise
        finally:
            self.settle()
        await self.conclude(200 if error is None else self.status_of(error), body)

    async def _farewell(self, request: Request) -> None:
        """Say that the server gives the request up, because its host cancelled it: nobody is left waiting."""
        error = RpcError(INTERNAL_ERROR, "The server is stopping; send the request again")
        with contextlib.suppress(Exception):
            async with asyncio.timeout(FAREWELL):
                await self.conclude(503, encode_error(request.id, error))
        self._give_up()

    def _give_up(self) -> None:
        """Leave nobody waiting for an outcome that will not come."""
        if self._stream is not None:
            self._stream.let_go()
            self._stream.abandon()

    def status_of(self, error: RpcError) -> int:
        """Return the HTTP status of an error that is the outcome of a request (protocol §1.8, R-327)."""
        if error.status is not None:
            return error.status
        return STATELESS_STATUS.get(error.code, 200) if self._stateless else 200

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
            await self._send_whole_stream(b"") if self._sse else await send_empty(self._send, 204, self.headers)
        elif self._json or status != 200:
            await send_json(self._send, status, body, self.headers)
        else:
            await self._send_whole_stream(event(body))

    async def _send_whole_stream(self, body: bytes) -> None:
        headers = [*HEAD, *self.headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def conclude_batch(self, bodies: list[bytes]) -> None:
        """Send the outcomes of a batch: a JSON array, or one event each (R-342, R-343)."""
        if self._stream is None and not self._json:
            self._open()
        if self._stream is not None:
            for body in bodies:
                self._stream.push_always(body)
            await self._stream.finish(None)
        else:
            await send_json(self._send, 200, b"[" + b",".join(bodies) + b"]", self.headers)

    # -- what happens only to requests that take their time ----------------------------------------------------

    def start(self, request: Request | None, session_id: str | None = None) -> None:
        """Begin to measure the time that a request takes.

        Args:
            request: the one that is answered; None for a batch.
            session_id: the session of a batch.
        """
        self._request = request
        self._session_id = session_id if request is None else request.peer.session_id
        if self._options.eager:
            self._open()
        self._timer = asyncio.get_running_loop().call_later(GLANCE, self._outlived)

    def settle(self) -> None:
        """Stop measuring and watching: the outcome is known."""
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _outlived(self) -> None:
        """Start to care: watch the client if its going means something, and plan for a long silence."""
        loop = asyncio.get_running_loop()
        if self._stateless:
            self._watcher = loop.create_task(self._watch())
        if self._options.request_timeout and not self._endless:
            self._deadline = loop.call_later(self._options.request_timeout, self._expire)
        if self._may_stream and self._stream is None:
            self._timer = loop.call_later(self._options.grace, self._open)

    def _expire(self) -> None:
        if self._request is not None:
            self._request.cancel("deadline", expired=True)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._request is not None:
            self._request.cancel("the client went away")

    @property
    def _may_stream(self) -> bool:
        return self._sse and (self._endless or not (self._options.json_response and self._json))

    def _open(self) -> EventStream | None:
        """Turn the answer into a stream, unless the client or the host wants JSON."""
        if self._stream is None and self._may_stream:
            recording, id = None, None if self._request is None else self._request.id
            if self._recordings is not None and self._session_id is not None:
                recording = self._recordings.begin(self._session_id, request_id=id, answers=True)
            self._stream = EventStream(self._send, self.headers, self._options, recording, priming=self._polls)
        return self._stream

    @property
    def _polls(self) -> bool:
        """Whether the client comes back by itself when its stream ends early."""
        request = self._request
        return self._recordings is not None and request is not None and request.peer.revision in POLLING
