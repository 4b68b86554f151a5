"""A session loop that somebody brings along, as the doorway sees it: what it is told, and whom its answers reach.

    POST ─▶ deliver ─▶ [100 messages] ─▶ the loop ─▶ [100 messages] ─▶ hear ─▶ a call's stream, or the session's

An answer goes to the call with that id, typed as it is; what names a call goes on that call's stream; the rest on
the session's own. Nothing in `hear` waits for a client, so a reader that stalls holds up nobody else (D6).

The easy thing to get wrong is an answer that reaches nobody: its caller would wait for ever. What cannot be read
is searched for an id, and if there is none, whoever is still waiting a moment later is told (D7, D28).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import UNSET, Raw

from enfilade.serving.request import InFlight, Request
from enfilade.transports.bridge.messages import Arrival, Said, UnreadableError, arrival_of, read
from enfilade.transports.bridge.server_stream import OwnStream
from enfilade.transports.bridge.session import session_over
from enfilade.transports.http.response import PostResponse
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

#: Seconds in which those who wait may still get their own answers, after one that named nobody.
DOUBT: Final = 2.0

LOST_ANSWER: Final = "The server's answer could not be read"
_NOBODY_TO_ASK: Final = "The client cannot be asked: its request is over, or it takes plain JSON only"

Outcome = tuple[bytes | None, RpcError | None]


class _Error(msgspec.Struct):
    code: int = INTERNAL_ERROR


class Call:
    """A client's request, from when the loop is told of it to its answer.

    Args:
        loop: whom to tell.
        arrival: the message.
        request: the same as something that can be cancelled.
        response: where its messages go.
        on_result: takes its result, as JSON, before the client has it.
    """

    def __init__(
        self,
        loop: "SessionLoop",
        arrival: Arrival,
        request: Request,
        response: PostResponse,
        on_result: Callable[[bytes], None] | None,
    ) -> None:
        self.request = request
        self.response = response
        self.on_result = on_result
        self._loop = loop
        self._arrival = arrival
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def settle(self, body: bytes | None, error: RpcError | None = None) -> None:
        """Give it its outcome, unless it has one; no body means that it gets no answer."""
        if not self._outcome.done():
            self._outcome.set_result((body, error))

    def fail(self, error: RpcError) -> None:
        """Let it end in an error."""
        self.settle(encode_error(self.request.id, error), error)

    async def respond(self, request: Request) -> Outcome:
        """Tell the loop, and return its answer; see `Dispatcher.respond`."""
        try:
            await self._loop.deliver(self._arrival)
            return await self._outcome
        except RpcError as refusal:
            return encode_error(request.id, refusal), refusal
        except asyncio.CancelledError:
            self._loop.tell_cancelled(request.id)
            if not request.adopt_cancellation():
                raise
            return request.given_up_outcome()
        finally:
            request.finish()
            self._loop.forget(self)


class SessionLoop:
    """The loop behind a pair of memory streams.

    Args:
        inbox: what the loop reads.
        message: makes of a message what the loop wants to read.
        own: the session's own stream.
    """

    def __init__(
        self, inbox: MemoryObjectSendStream[Any], message: Callable[[Arrival], object], own: OwnStream
    ) -> None:
        self._inbox = inbox
        self._message = message
        self._own = own
        self._calls: dict[RequestId, Call] = {}
        self._in_flight = InFlight()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work: set[asyncio.Task[None]] = set()
        self._doubtful: set[Call] = set()
        self._doubt: asyncio.TimerHandle | None = None

    # -- to the loop -------------------------------------------------------------------------------------------

    def begin(
        self,
        arrival: Arrival,
        request: Request,
        response: PostResponse,
        on_result: Callable[[bytes], None] | None = None,
    ) -> Call:
        """Take a request in, before the loop is told of it; see `Call`.

        Raises:
            RpcError: INVALID_REQUEST if its id is in flight already: the loop says by the id alone which request
                it answers.
        """
        if request.id in self._calls:
            raise invalid_request(f"id {request.id!r} is already in flight")
        self._in_flight.enter(request)
        call = Call(self, arrival, request, response, on_result)
        assert request.id is not None
        self._calls[request.id] = call
        return call

    def forget(self, call: Call) -> None:
        """Wait no more for an answer to a call."""
        if call.request.id is not None and self._calls.get(call.request.id) is call:
            del self._calls[call.request.id]

    async def deliver(self, arrival: Arrival) -> None:
        """Let the loop have a message; waits while it does not take any.

        Raises:
            RpcError: HTTP 404 if the session is over, or ends meanwhile; 400 for what the loop could not read.
        """
        message = self._message(arrival)
        if self._ended.done():
            raise session_over()
        try:
            self._inbox.send_nowait(message)
            return
        except anyio.WouldBlock:
            sending = asyncio.ensure_future(self._inbox.send(message))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise session_over() from None
        try:
            await asyncio.wait((sending, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise session_over()
            sending.result()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise session_over() from None
        finally:
            sending.cancel()

    def tell_cancelled(self, id: RequestId | None) -> None:
        """Let the loop know, in its own time, that nobody waits for an answer any more."""
        if id is not None and not self._ended.done():
            params = b'{"requestId":' + encode_id(id) + b"}"
            self._soon(self._say(encode_notification("notifications/cancelled", params)))

    def cancelled(self, id: RequestId) -> None:
        """End a call that its client has cancelled: no answer is due (R-361)."""
        if id in self._calls:
            self._calls[id].settle(None)

    def _refuse(self, id: RequestId) -> None:
        """Answer a question of the loop that no client will see."""
        self._soon(self._say(encode_error(id, RpcError(INVALID_REQUEST, _NOBODY_TO_ASK))))

    async def _say(self, body: bytes) -> None:
        try:
            await self.deliver(arrival_of(body))
        except RpcError as error:
            log.debug("the session loop could not be told: %s", error)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # -- from the loop -----------------------------------------------------------------------------------------

    def hear(self, written: object) -> None:
        """Pass on what the loop has written, whatever it is. Never raises, never waits."""
        try:
            said = read(written)
        except UnreadableError as error:
            log.error("the session loop wrote what is no message: %s", error)
            self._answered_badly(error.id, answers=error.answers)
            return
        except Exception:  # an author's class may do anything, and delivery goes on
            log.exception("the session loop wrote what cannot be looked at")
            return
        if said.envelope.method is UNSET:
            self._answered(said)
        else:
            self._asked_or_notified(said)

    def _answered(self, said: Said) -> None:
        id, error = said.envelope.id, said.envelope.error
        call = None if id is UNSET else self._calls.get(id)
        if call is None:
            log.warning("the session loop answered a request that nobody waits for (id %r)", id)
            self._answered_badly(None if id is UNSET else id, answers=id is UNSET)
            return
        if isinstance(said.envelope.result, Raw) and call.on_result is not None:
            call.on_result(bytes(said.envelope.result))
        call.settle(said.body, _error_in(error) if isinstance(error, Raw) else None)

    def _answered_badly(self, id: RequestId | None, *, answers: bool) -> None:
        """See to it that nobody waits for what has just been lost.

        Args:
            id: whose answer it seems to be.
            answers: whether it may be somebody's answer where no id says whose.
        """
        if id is not None:
            for each, call in list(self._calls.items()):
                if str(each) == str(id):
                    call.fail(RpcError(INTERNAL_ERROR, LOST_ANSWER))
        elif answers and self._calls:
            self._doubtful.update(self._calls.values())
            if self._doubt is None:
                self._doubt = asyncio.get_running_loop().call_later(DOUBT, self._give_up)

    def _give_up(self) -> None:
        doubtful, self._doubtful, self._doubt = self._doubtful, set(), None
        for call in doubtful:
            call.fail(RpcError(INTERNAL_ERROR, LOST_ANSWER))

    def _asked_or_notified(self, said: Said) -> None:
        id, body = said.envelope.id, said.body
        if said.related is None:
            taken = self._own.say(body, question=id is not UNSET)
        else:
            call = self._calls.get(said.related)
            if call is None or call.request.is_done:
                taken = False
                log.debug("the session loop said something about a request that is over (id %r)", said.related)
            else:
                taken = call.response.push(body) if id is UNSET else call.response.send(body)
        if not taken and id is not UNSET:
            self._refuse(id)

    # -- the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Tell the loop that there is nothing more to read, and all callers that there is no answer."""
        if not self._ended.done():
            self._ended.set_result(None)
        for call in list(self._calls.values()):
            call.fail(session_over())
        self._inbox.close()

    async def stop(self) -> None:
        """Leave nothing running."""
        if self._doubt is not None:
            self._doubt.cancel()
        for task in self._work:
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)


def _error_in(raw: Raw) -> RpcError:
    """Return an error of the loop as one that has a status."""
    try:
        code = msgspec.json.decode(raw, type=_Error).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        code = INTERNAL_ERROR
    return RpcError(code, "")
