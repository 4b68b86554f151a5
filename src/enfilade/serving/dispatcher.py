"""Dispatches a method to its handler, through the middleware, and encodes the result.

The table has the methods of each revision; a method that is not in it is neither served nor advertised (R-213).
Middleware is chained once, when the server starts; without any, a request goes straight to its handler.

A stateless call that asks something ends its round here: `_ended_round` takes the questions in place of whatever
the handler makes of its cancellation.

Easy to get wrong: every exception becomes exactly one outcome, also one that is no `Exception`. An `RpcError` is
sent as it is; any other exception is logged under an id, and the client reads the id alone (R-719).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import AnswerError
from enfilade.serving.channel import Round
from enfilade.serving.client_requests.errors import MissingCapabilityError, protocol_error
from enfilade.serving.client_requests.request_state import RequestStateCodec
from enfilade.serving.client_requests.stateless import StatelessAsker
from enfilade.serving.failures import ends_more, is_failure, masked, single_error, with_client_errors
from enfilade.serving.request import Request
from enfilade.serving.subscriptions import Changes
from enfilade.wire.jsonrpc import (
    RpcError,
    encode_error,
    encode_result,
)
from enfilade.wire.lifecycle import SERVER_INFO, Implementation
from enfilade.wire.message import Message, Result
from enfilade.wire.projection import encode
from enfilade.wire.requests import EMPTY_LISTS, METHODS
from enfilade.wire.revisions import ALL, LATEST_STATELESS, NAMES_SERVER_IN_RESULTS

MethodHandler = Callable[[Request], Awaitable[Message]]
Middleware = Callable[[Request, MethodHandler], Awaitable[Message]]

#: Returns the prepared bytes of a result, or None if the request needs its handler.
Ready = Callable[[Request], bytes | None]


class Dispatcher:
    """Serves requests by a table of handlers.

    Args:
        server_info: put into every result's `_meta` for revisions that have it (R-275).
        middleware: `async def mw(request, call_next)`, outermost first; each sees every request, also those
            that tools make by chaining.
        state_codec: seals the record of a stateless call, for the client to carry.
        changes: the changes that transports send to their clients.
    """

    def __init__(
        self,
        server_info: Implementation,
        middleware: Iterable[Middleware] = (),
        *,
        state_codec: RequestStateCodec,
        changes: Changes,
    ) -> None:
        self.server_info = server_info
        #: Asks the clients of stateless requests, by ending the round.
        self.stateless_asker: Final = StatelessAsker(state_codec)
        state_codec.render = self.render
        self.changes = changes
        self._middleware = tuple(middleware)
        self._handlers: dict[str, MethodHandler] = {}
        self._ready: dict[str, Ready] = {}
        self._methods: dict[str, frozenset[str]] = {}
        self._offered: dict[str, Callable[[], bool]] = {}
        self._chain: MethodHandler | None = None
        for entry in reversed(self._middleware):
            self._chain = _link(entry, self._chain or self._handle)
        if self._chain is not None:
            self._chain = with_client_errors(self._chain)
        info = encode(server_info, LATEST_STATELESS)
        self._head = b'{"_meta":{"' + SERVER_INFO.encode() + b'":' + info + b"}"

    def register(
        self,
        method: str,
        handler: MethodHandler,
        ready: Ready | None = None,
        *,
        is_offered: Callable[[], bool] | None = None,
    ) -> None:
        """Serve a method of the protocol, for the revisions that know it.

        Args:
            ready: returns prepared bytes; called first when there is no middleware.
            is_offered: whether the server has anything for the method at present; None for always.
        """
        self._handlers[method] = handler
        if is_offered is not None:
            self._offered[method] = is_offered
        if ready is not None and self._chain is None:
            self._ready[method] = ready
        self._methods = {
            revision: frozenset(name for name in self._handlers if revision in METHODS[name]) for revision in ALL
        }

    def offers(self, method: str, revision: str) -> bool:
        """Whether a peer of this revision may call the method."""
        if method not in self._methods[revision]:
            return False
        is_offered = self._offered.get(method)
        return is_offered is None or is_offered()

    def serves(self, method: str, revision: str) -> bool:
        """Whether a peer of this revision gets a result for the method.

        In some revisions that is more than what is offered: the lists of a server that has nothing to list are
        empty there (`EMPTY_LISTS`).
        """
        if method not in self._methods[revision]:
            return False
        is_offered = self._offered.get(method)
        return is_offered is None or is_offered() or revision in EMPTY_LISTS.get(method, ())

    async def dispatch(self, request: Request) -> bytes:
        """Run a client's request to its end. The transport has checked that its method is offered.

        Returns:
            The `result` member of the response, as JSON for the peer's revision.

        Raises:
            RpcError: the outcome is an error.
            asyncio.CancelledError: the client does not wait for the outcome any more.
        """
        try:
            ready = self._ready.get(request.method)
            if ready is not None and (prepared := ready(request)) is not None:
                return prepared
            request.channel.asker.open(request)
            try:
                result = await (self._chain or self._handlers[request.method])(request)
            except BaseException as error:
                ended = _ended_round(request)
                if ended is None or ends_more(error):
                    raise
            else:
                if request.asking is None or (ended := _ended_round(request)) is None:
                    return self.render(result, request.peer.revision)
            # The result are the questions, whatever the handler made of its cancellation.
            return self.render(ended.result(), request.peer.revision)
        except RpcError:
            raise
        except BaseException as error:
            if not is_failure(error, request):
                raise
            failure = single_error(error)
            if isinstance(failure, MissingCapabilityError | AnswerError):
                raise protocol_error(failure) from None
            raise masked(error, f"{request.method} failed") from None
        finally:
            request.finish()
            if request.asking is not None and request.asking.round is not None:
                request.asking.round.close()

    async def respond(self, request: Request) -> tuple[bytes | None, RpcError | None]:
        """Run a client's request and return its one outcome, as a whole JSON-RPC response.

        Returns:
            The response and, where it is an error, that error; (None, None) if the request was cancelled and
            nothing is to be sent for it (R-279, R-361, R-407).

        Raises:
            asyncio.CancelledError: the server itself is being stopped.
        """
        error: RpcError | None = None
        try:
            result = await self.dispatch(request)
            if request.cancellation is None:
                return encode_result(request.id, result), None
        except RpcError as failure:
            error = failure
        except asyncio.CancelledError:
            if not request.adopt_cancellation():
                raise
        if request.cancellation is not None or error is None:
            return request.given_up_outcome()
        return encode_error(request.id, error), error

    async def call(self, request: Request) -> Message:
        """Run a request that a handler made, through the same middleware as a client's."""
        return await (self._chain or self._handle)(request)

    async def _handle(self, request: Request) -> Message:
        return await self._handlers[request.method](request)

    def render(self, result: Message, revision: str) -> bytes:
        """Return a result as JSON, with the `_meta` that the revision requires on every result."""
        body = encode(result, revision)
        if revision not in NAMES_SERVER_IN_RESULTS:
            return body
        meta = getattr(result, "meta", UNSET)
        if meta is UNSET:
            return self._head + (b"}" if body == b"{}" else b"," + body[1:])
        if SERVER_INFO in meta:
            return body
        merged: Mapping[str, Any] = {**meta, SERVER_INFO: self.server_info}
        return encode(msgspec.structs.replace(result, meta=merged), revision)


def _ended_round(request: Request) -> Round | None:
    """Return the round of a request if it has ended, so that the questions are its result."""
    current = request.round
    return current if current is not None and current.has_ended else None


def _link(entry: Middleware, call_next: MethodHandler) -> MethodHandler:
    async def linked(request: Request) -> Message:
        result = await entry(request, call_next)
        if not isinstance(result, Result):
            raise TypeError(f"middleware {entry!r} returned {type(result).__name__} where a result is due")
        return result

    return linked
