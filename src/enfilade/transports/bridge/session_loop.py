"""Routes messages between HTTP requests and a session loop of the user.

    POST ─▶ deliver ─▶ [100 messages] ─▶ the loop ─▶ [100 messages] ─▶ route ─▶ a call's stream, or the session's

A response goes to the call with the same id, of the same type; a message that names a call goes on that call's
stream; any other on the session's stream by GET. `route` never waits for a client, so a reader that stalls does
not delay others (D6).

Easy to get wrong: a response that reaches no call, whose client would wait for ever. What cannot be decoded is
searched for an id. If it has none, calls that have no response `response_grace` seconds later fail (D7, D28).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import UNSET, Raw

from enfilade.serving.channel import Outcome
from enfilade.serving.request import InFlight, Request
from enfilade.timings import Timings
from enfilade.transports.bridge.messages import (
    InboundMessage,
    OutboundMessage,
    UnreadableError,
    decode_written,
    inbound_message,
)
from enfilade.transports.bridge.session import ServerStream
from enfilade.transports.http.response import PostResponse
from enfilade.transports.http.sessions import session_not_found
from enfilade.wire.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    RequestId,
    RpcError,
    encode_error,
    encode_id,
    encode_notification,
    invalid_request,
)

log = logging.getLogger("enfilade.transports")

LOST_RESPONSE: Final = "The server's answer could not be read"
_CANNOT_ASK: Final = "The client cannot be asked: its request is over, or it takes plain JSON only"


class _Error(msgspec.Struct):
    code: int = INTERNAL_ERROR


class Call:
    """A client's request, from its delivery to the loop to its answer.

    Args:
        message: the request for the loop.
        request: the same, which can be cancelled.
        response: where its messages go.
        on_result: called with its result, as JSON, before the client gets it.
    """

    def __init__(
        self,
        loop: "SessionLoop",
        message: InboundMessage,
        request: Request,
        response: PostResponse,
        on_result: Callable[[bytes], None] | None,
    ) -> None:
        self.request = request
        self.response = response
        self.on_result = on_result
        self._loop = loop
        self._message = message
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(self, body: bytes | None, error: RpcError | None = None) -> None:
        """Set its outcome, unless it has one; without a body it gets no answer."""
        if not self._outcome.done():
            self._outcome.set_result((body, error))

    def fail(self, error: RpcError) -> None:
        """End it with an error."""
        self.settle(encode_error(self.request.id, error), error)

    async def respond(self, request: Request) -> Outcome:
        """Deliver it to the loop, and return the answer; see `Dispatcher.respond`."""
        try:
            await self._loop.deliver(self._message)
            return await self._outcome
        except RpcError as refusal:
            return encode_error(request.id, refusal), refusal
        except asyncio.CancelledError:
            self._loop.notify_cancelled(request.id)
            if not request.adopt_cancellation():
                raise
            return request.given_up_outcome()
        finally:
            request.finish()
            self._loop.forget(self)


class SessionLoop:
    """The loop behind a pair of memory streams.

    Args:
        inbox: the stream that the loop reads.
        convert: converts a message into what the loop reads.
        timings: `response_grace` is used.
    """

    def __init__(
        self,
        inbox: MemoryObjectSendStream[Any],
        convert: Callable[[InboundMessage], object],
        server_stream: ServerStream,
        timings: Timings = Timings(),
    ) -> None:
        self._inbox = inbox
        self._convert = convert
        self._server_stream = server_stream
        self._timings = timings
        self._calls: dict[RequestId, Call] = {}
        self._in_flight = InFlight()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._maybe_lost: set[Call] = set()  # calls of one of which the answer may have been lost
        self._grace_timer: asyncio.TimerHandle | None = None

    # -- to the loop -------------------------------------------------------------------------------------------

    def begin(
        self,
        message: InboundMessage,
        request: Request,
        response: PostResponse,
        on_result: Callable[[bytes], None] | None = None,
    ) -> Call:
        """Register a request before it is delivered to the loop; see `Call`.

        Raises:
            RpcError: INVALID_REQUEST if its id is in flight already: the id alone tells which request the loop
                answers.
        """
        if request.id in self._calls:
            raise invalid_request(f"id {request.id!r} is already in flight")
        self._in_flight.enter(request)
        call = Call(self, message, request, response, on_result)
        assert request.id is not None
        self._calls[request.id] = call
        return call

    def forget(self, call: Call) -> None:
        """Wait no more for an answer to a call."""
        if call.request.id is not None and self._calls.get(call.request.id) is call:
            del self._calls[call.request.id]

    async def deliver(self, inbound: InboundMessage) -> None:
        """Deliver a message to the loop; wait while the loop reads none.

        Raises:
            RpcError: HTTP 404 if the session is over, or ends meanwhile; 400 for what cannot be converted.
        """
        message = self._convert(inbound)
        if self._ended.done():
            raise session_not_found()
        try:
            self._inbox.send_nowait(message)
            return
        except anyio.WouldBlock:
            sending = asyncio.ensure_future(self._inbox.send(message))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise session_not_found() from None
        try:
            await asyncio.wait((sending, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise session_not_found()
            sending.result()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise session_not_found() from None
        finally:
            sending.cancel()

    def notify_cancelled(self, id: RequestId | None) -> None:
        """Notify the loop, without waiting, that no client waits for an answer any more."""
        if id is not None and not self._ended.done():
            params = b'{"requestId":' + encode_id(id) + b"}"
            self._spawn(self._deliver_quietly(encode_notification("notifications/cancelled", params)))

    def end_call(self, id: RequestId) -> None:
        """End a call without an answer: its client has cancelled it (R-361), or the loop will not answer."""
        if id in self._calls:
            self._calls[id].settle(None)

    def _refuse(self, id: RequestId) -> None:
        """Answer a request of the loop that cannot reach the client."""
        self._spawn(self._deliver_quietly(encode_error(id, RpcError(INVALID_REQUEST, _CANNOT_ASK))))

    async def _deliver_quietly(self, body: bytes) -> None:
        try:
            await self.deliver(inbound_message(body))
        except RpcError as error:
            log.debug("a message could not be delivered to the session loop: %s", error)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- from the loop -----------------------------------------------------------------------------------------

    def route(self, written: object) -> None:
        """Route what the loop has written, whatever it is. Never raises, never waits."""
        try:
            message = decode_written(written)
        except UnreadableError as error:
            log.error("the session loop wrote what is not a message: %s", error)
            self._fail_lost(error.id, may_be_response=error.may_be_response)
            return
        except Exception:  # a user's class may do anything, and routing goes on
            log.exception("the session loop wrote an object that raises when it is read")
            return
        if message.envelope.method is UNSET:
            self._route_response(message)
        else:
            self._route_request(message)

    def _route_response(self, message: OutboundMessage) -> None:
        id, error = message.envelope.id, message.envelope.error
        call = None if id is UNSET else self._calls.get(id)
        if call is None:
            log.warning("the session loop answered a request that is not in flight (id %r)", id)
            self._fail_lost(None if id is UNSET else id, may_be_response=id is UNSET)
            return
        if isinstance(message.envelope.result, Raw) and call.on_result is not None:
            call.on_result(bytes(message.envelope.result))
        call.settle(message.body, _error_in(error) if isinstance(error, Raw) else None)

    def _fail_lost(self, id: RequestId | None, *, may_be_response: bool) -> None:
        """Fail the calls whose response may have been lost.

        Args:
            id: of the lost message, if it is known.
            may_be_response: whether it may be the response to any call, if the id is unknown.
        """
        if id is not None:
            for call_id, call in list(self._calls.items()):
                if str(call_id) == str(id):
                    call.fail(RpcError(INTERNAL_ERROR, LOST_RESPONSE))
        elif may_be_response and self._calls:
            self._maybe_lost.update(self._calls.values())
            if self._grace_timer is None:
                grace = self._timings.response_grace
                self._grace_timer = asyncio.get_running_loop().call_later(grace, self._fail_maybe_lost)

    def _fail_maybe_lost(self) -> None:
        calls, self._maybe_lost, self._grace_timer = self._maybe_lost, set(), None
        for call in calls:
            call.fail(RpcError(INTERNAL_ERROR, LOST_RESPONSE))

    def _route_request(self, message: OutboundMessage) -> None:
        """Route a request or notification of the loop."""
        id, body = message.envelope.id, message.body
        if message.related is None:
            is_taken = self._server_stream.push(body, is_request=id is not UNSET)
        else:
            call = self._calls.get(message.related)
            if call is None or call.request.is_done:
                is_taken = False
                log.debug("the session loop wrote a message for a request that is over (id %r)", message.related)
            else:
                is_taken = call.response.push(body) if id is UNSET else call.response.send(body)
        if not is_taken and id is not UNSET:
            self._refuse(id)

    # -- the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Close the stream that the loop reads, and fail all calls."""
        if not self._ended.done():
            self._ended.set_result(None)
        for call in list(self._calls.values()):
            call.fail(session_not_found())
        self._inbox.close()

    async def stop(self) -> None:
        """Cancel the timer and all tasks."""
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _error_in(raw: Raw) -> RpcError:
    """Return an error of the loop as an `RpcError`, which has a status."""
    try:
        code = msgspec.json.decode(raw, type=_Error).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        code = INTERNAL_ERROR
    return RpcError(code, "")
