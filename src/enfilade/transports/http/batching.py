"""The messages of a 2025-03-26 batch, served side by side: each request has an outcome of its own.

Each message has a task and a future for its response, because the response may come first: a handler that goes on
after its deadline delays neither the batch nor the other messages in it.

The host cancels the task of the POST only. Whatever else cancels the task of a message is done by its own
handler, and is a failure of that one message.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from msgspec import Raw

from enfilade.serving.channel import Outcome
from enfilade.serving.execution import expire
from enfilade.serving.failures import cut_off
from enfilade.serving.request import Request
from enfilade.transports.http.limits import RequestLimit
from enfilade.wire.jsonrpc import encode_error

#: The tasks of handlers that go on after their batch has its response: nothing else refers to them.
_tasks: Final[set["asyncio.Task[None]"]] = set()


class Batch:
    """The requests of one batch.

    Args:
        request_limit: runs them, and counts them as in flight like any others.
        request_timeout: seconds that each of them may take; 0 for no limit.
        unwinding: seconds that a cancelled handler has until its request gets an outcome all the same.

    Attributes:
        cancelled: whether the host has cancelled the batch.
    """

    def __init__(self, request_limit: RequestLimit, request_timeout: float, unwinding: float) -> None:
        self._request_limit = request_limit
        self._request_timeout = request_timeout
        self._unwinding = unwinding
        self._requests: list[Request] = []
        self.cancelled = False

    async def serve(
        self,
        messages: Sequence[Raw],
        serve: "Callable[[Raw, asyncio.Future[bytes | None]], Awaitable[bytes | None]]",
    ) -> list[bytes]:
        """Serve all messages, and return their responses, in the order of the messages.

        Args:
            serve: serves one message and returns its response, if it gets one. Its future may take the response
                before that.
        """
        loop = asyncio.get_running_loop()
        outcomes: list[asyncio.Future[bytes | None]] = [loop.create_future() for _ in messages]
        for message, outcome in zip(messages, outcomes, strict=True):
            task = loop.create_task(_settled(serve(message, outcome), outcome))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
        try:
            await asyncio.wait(outcomes)
        except asyncio.CancelledError:
            self.cancelled = True
            self._stop()
            await asyncio.wait(outcomes, timeout=2 * self._unwinding)
        return _responses(outcomes)

    async def respond(self, request: Request, outcome: "asyncio.Future[bytes | None]") -> bytes | None:
        """Run one request of the batch, and return its response, if it gets one."""
        request.channel.external_cancellations = 0
        request.channel.on_overdue = partial(_settle, outcome)
        request.channel.unwinding = self._unwinding
        self._requests.append(request)
        request.register_in_flight()  # in effect, since the others of the batch go on beside it
        timer = None
        if self._request_timeout:
            limit = self._request_timeout
            timer = asyncio.get_running_loop().call_later(limit, expire, request, limit)
        responder = self._request_limit.responder
        size = self._request_limit.enter(request)
        try:
            body, _ = await responder.respond(request)
            return body
        except asyncio.CancelledError:
            return encode_error(request.id, cut_off())
        finally:
            self._request_limit.leave(size)
            if timer is not None:
                timer.cancel()

    def _stop(self) -> None:
        for request in self._requests:
            request.channel.external_cancellations = 1
            request.cancel("the server is stopping", verdict=cut_off())


async def _settled(serving: Awaitable[bytes | None], outcome: "asyncio.Future[bytes | None]") -> None:
    body = None
    try:
        body = await serving
    finally:
        _settle(outcome, (body, None))


def _settle(future: "asyncio.Future[bytes | None]", outcome: Outcome) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # it has its response already
        future.set_result(outcome[0])


def _responses(outcomes: "Iterable[asyncio.Future[bytes | None]]") -> list[bytes]:
    bodies = [outcome.result() for outcome in outcomes if outcome.done()]
    return [body for body in bodies if body is not None]
