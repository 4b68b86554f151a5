"""Dispatches a method to its handler, through the middleware, and encodes the result; `initialize` and its kin.

The table has the methods of each revision; a method that is not in it is neither served nor advertised (R-213).
Middleware is chained once, when the server starts; without any, a request goes straight to its handler.

A stateless call that asks something ends its round here: `_ended_round` takes the questions in place of whatever
the handler makes of its cancellation.

Easy to get wrong: every exception becomes exactly one outcome, also one that is no `Exception`. An `RpcError` is
sent as it is; any other exception is logged under an id, and the client reads the id alone (R-719).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.schema.signature import raw_name
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.callers.access import AccessPolicy, Caller
from enfilade.serving.channel import MissingCapabilityError, Outcome, Peer, Round, protocol_error
from enfilade.serving.client_requests.request_state import RequestStateCodec
from enfilade.serving.client_requests.stateless import StatelessAsker
from enfilade.serving.failures import (
    LimitedLog,
    ends_more,
    is_failure,
    masked,
    single_error,
    with_client_errors,
)
from enfilade.serving.request import Request
from enfilade.serving.subscriptions import Changes
from enfilade.wire.jsonrpc import METHOD_NOT_FOUND, RpcError, encode_error, encode_result
from enfilade.wire.lifecycle import (
    SERVER_INFO,
    DiscoverResult,
    Implementation,
    InitializeResult,
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.message import EmptyResult, JsonResult, Message, Result
from enfilade.wire.projection import encode
from enfilade.wire.revision_tables import EMPTY_LISTS, METHODS
from enfilade.wire.revisions import ALL, LATEST_STATELESS, NAMES_SERVER_IN_RESULTS, STATELESS

if TYPE_CHECKING:
    from enfilade.serving.extensions.method import ExtensionMethod, NotificationHandler
    from enfilade.serving.observation.observer import Observation

MethodHandler = Callable[[Request], Awaitable[Message]]
Middleware = Callable[[Request, MethodHandler], Awaitable[Message]]

#: Returns the prepared bytes of a result, or None if the request needs its handler.
Ready = Callable[[Request], bytes | None]

#: Raises the error of a caller without the scopes of what a request names; what takes long is awaited.
Check = Callable[[Request], Awaitable[None] | None]

#: Notifications of clients that are handled at once; their handlers are not waited for, so a client could send
#: any number of them.
MOST_NOTIFIED: Final = 1000
#: Seconds that their handlers have to end once they are cancelled.
_UNWINDING: Final = 1.0

_dropped_log: Final = LimitedLog(logging.getLogger("enfilade.extensions"))

#: The class of the result of each method whose result has members, for errors.
RESULT_NAMES: Final = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
}


class Dispatcher:
    """Serves requests by a table of handlers.

    Args:
        server_info: put into every result's `_meta` for revisions that have it (R-275).
        middleware: `async def mw(request, call_next)`, outermost first; each sees every request, also those
            that tools make by chaining.
        state_codec: seals the record of a stateless call, for the client to carry.
        changes: the changes that transports send to their clients.
        access: who may see and use what.

    Attributes:
        observation: makes records of requests, for transports as well; None if nobody observes them.
        audiences: by method, whether anything is there for a caller; transports ask `hides` for these.
        unconditional: by revision, the methods that are served to everybody at any time, so that transports need
            not ask.
        extension_methods: by revision, the methods of extensions; none of them is unconditional.
        notifications: what takes notifications of clients, by method.
        keeps_params: whether the params of calls are kept as they were before middleware, for calls that are made
            again later.
    """

    def __init__(
        self,
        server_info: Implementation,
        middleware: Iterable[Middleware] = (),
        *,
        state_codec: RequestStateCodec,
        changes: Changes,
        access: AccessPolicy | None = None,
    ) -> None:
        self.server_info = server_info
        #: Asks the clients of stateless requests, by ending the round.
        self.stateless_asker: Final = StatelessAsker(state_codec)
        state_codec.render = self.render
        self.changes = changes
        self.observation: Observation | None = None
        self.keeps_params = False
        self.access: Final = access or AccessPolicy()
        self._middleware = tuple(middleware)
        self._handlers: dict[str, MethodHandler] = {}
        self._ready: dict[str, Ready] = {}
        self._offered: dict[str, Callable[[], bool]] = {}
        #: By revision, with what `_offered` has.
        self._methods: dict[str, dict[str, Callable[[], bool] | None]] = {}
        self.unconditional: dict[str, frozenset[str]] = {}
        self.extension_methods: Final[dict[str, dict[str, ExtensionMethod]]] = {revision: {} for revision in ALL}
        self.notifications: Final[dict[str, NotificationHandler]] = {}
        self._notified: set[asyncio.Task[None]] = set()
        self._checks: dict[str, Check] = {}
        self.audiences: Final[dict[str, Callable[[Caller], bool]]] = {}
        self._chain: MethodHandler | None = None
        for entry in reversed(self._middleware):
            self._chain = _link(entry, self._chain or self._handle)
        if self._chain is not None:
            self._chain = self._with_checks(with_client_errors(self._chain))
        info = encode(server_info, LATEST_STATELESS)
        self._head = b'{"_meta":{"' + SERVER_INFO.encode() + b'":' + info + b"}"

    def register(
        self,
        method: str,
        handler: MethodHandler,
        ready: Ready | None = None,
        *,
        is_offered: Callable[[], bool] | None = None,
        is_offered_to: Callable[[Caller], bool] | None = None,
        check: Check | None = None,
    ) -> None:
        """Serve a method of the protocol, for the revisions that know it.

        Args:
            ready: returns prepared bytes; called first when there is no middleware.
            is_offered: whether the server has anything for the method at present; None for always.
            is_offered_to: whether any of that is there for a caller; None for whatever `is_offered` says.
            check: raises the error of a caller without the scopes of what a request names; called before
                middleware, which may send something (R-613), and the handler checks again. What takes long is
                awaited.
        """
        self._handlers[method] = handler
        if is_offered is not None:
            self._offered[method] = is_offered
        if is_offered_to is not None:
            self.audiences[method] = is_offered_to
        if check is not None:
            self._checks[method] = check
        if ready is not None and self._chain is None:
            self._ready[method] = ready
        extended = {name for methods in self.extension_methods.values() for name in methods}
        own = {name: METHODS[name] for name in self._handlers if name not in extended}
        self._methods = {
            revision: {
                **{name: self._offered.get(name) for name, span in own.items() if revision in span},
                **dict.fromkeys(self.extension_methods[revision]),
            }
            for revision in ALL
        }
        self.unconditional = {
            revision: frozenset(
                name
                for name in names
                if names[name] is None
                and name not in self.audiences
                and name not in self.extension_methods[revision]
            )
            for revision, names in self._methods.items()
        }

    def extend(
        self, methods: "Iterable[ExtensionMethod]", notifications: "Mapping[str, NotificationHandler]"
    ) -> None:
        """Serve the methods and take the notifications of an extension.

        Raises:
            ValueError: a method is one of the protocol, or of another extension.
        """
        for method in methods:
            for revision in method.revisions:
                if method.name in self._methods[revision]:
                    raise ValueError(f"{method.name} is a method of the server already, in {revision}")
                self.extension_methods[revision][method.name] = method
            self.register(method.name, self._handle_extension, check=self._check_extension)
        for name, handler in notifications.items():
            if name in METHODS or name in self.notifications:
                raise ValueError(f"{name} has a handler already")
            self.notifications[name] = handler

    async def _handle_extension(self, request: Request) -> Message:
        result = await self.extension_methods[request.peer.revision][request.method].handler(request)
        return result if isinstance(result, Message) else JsonResult.of(result)

    def _check_extension(self, request: Request) -> Awaitable[None] | None:
        check = self.extension_methods[request.peer.revision][request.method].check
        return None if check is None else check(request)

    def take_notification(self, method: str, params: Raw, peer: Peer) -> None:
        """Hand a notification of a client to the extension that takes it, without waiting for it."""
        handler = self.notifications.get(method)
        if handler is not None and len(self._notified) >= MOST_NOTIFIED:
            text = "%s of a client was dropped: %d notifications are being handled, which is the most"
            _dropped_log.write(logging.WARNING, text, method, MOST_NOTIFIED)
        elif handler is not None:
            task = asyncio.get_running_loop().create_task(_notified(handler, method, params, peer))
            self._notified.add(task)
            task.add_done_callback(self._notified.discard)

    async def stop_notified(self) -> None:
        """Cancel what handles notifications, and wait for it."""
        handling = [task for task in self._notified if task.get_loop() is asyncio.get_running_loop()]
        for task in handling:
            task.cancel()
        if handling:
            await asyncio.wait(handling, timeout=_UNWINDING)
        self._notified.clear()

    def observe(self, observation: "Observation") -> None:
        """Have requests observed; called once, after all methods are registered and before the first request."""
        self.observation = observation
        if observation.audit is not None:
            self._chain = observation.audit.link(self._chain or self._handle)

    def _with_checks(self, chain: MethodHandler) -> MethodHandler:
        async def checked(request: Request) -> Message:
            check = self._checks.get(request.method)
            if check is not None and request.parent is None and (rest := check(request)) is not None:
                await rest
            if self.keeps_params and request.method == "tools/call" and request.parent is None:
                request.ask_state().params = copy(request.params)
            return await chain(request)

        return checked

    def offers(self, method: str, revision: str) -> bool:
        """Whether a peer of this revision may call the method."""
        served = self._methods[revision]
        if method not in served:
            return False
        is_offered = served[method]
        return is_offered is None or is_offered()

    def serves(self, method: str, revision: str) -> bool:
        """Whether a peer of this revision gets a result for the method.

        In some revisions that is more than what is offered: the lists of a server that has nothing to list are
        empty there (`EMPTY_LISTS`).
        """
        served = self._methods[revision]
        if method not in served:
            return False
        is_offered = served[method]
        return is_offered is None or is_offered() or revision in EMPTY_LISTS.get(method, ())

    def hides(self, method: str, caller: Caller) -> bool:
        """Whether a method of `audiences` is as if it were not served, since nothing is there for the caller."""
        if self.audiences[method](caller):
            return False
        return caller.peer.revision not in EMPTY_LISTS.get(method, ())

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
            prepared = None if ready is None else ready(request)
            if prepared is None:
                request.channel.asker.open(request)
            record = None if self.observation is None else self.observation.begin(request)
            if prepared is not None:
                return prepared
            try:
                result = await (self._chain or self._handlers[request.method])(request)
            except BaseException as error:
                ended = _ended_round(request)
                if ended is None or ends_more(error):
                    raise
            else:
                if record is not None:
                    record.result = result
                if request.asking is None or (ended := _ended_round(request)) is None:
                    return self.render(result, request.peer.revision)
            # The result are the questions, whatever the handler made of its cancellation.
            return self._render_questions(ended, request)
        except RpcError:
            raise
        except BaseException as error:
            if not is_failure(error, request):
                raise
            raise _error_of(error, request) from None
        finally:
            request.finish()
            if request.asking is not None and request.asking.round is not None:
                request.asking.round.close()

    def _render_questions(self, ended: Round, request: Request) -> bytes:
        questions = ended.result()
        if request.record is not None:
            request.record.questions = len(getattr(questions, "input_requests", None) or ())
        return self.render(questions, request.peer.revision)

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
            outcome = request.given_up_outcome()
        else:
            outcome = _encoded(error, request)
        if request.record is not None and not request.channel.is_settled:
            request.record.settle(outcome[1])
        return outcome

    async def call(self, request: Request) -> Message:
        """Run a request that a handler made, through the same middleware as a client's."""
        call_next = self._chain or self._handle
        if self.observation is None:
            return await call_next(request)
        return await self.observation.run_chained(request, call_next)

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


def _error_of(error: BaseException, request: Request) -> RpcError:
    """Return the outcome of a request whose handler has failed, which is logged unless the client is at fault."""
    failure = single_error(error)
    if isinstance(failure, MissingCapabilityError | AnswerError):
        return protocol_error(failure)
    return masked(error, f"{request.method} failed", request.failure_redaction)


def _encoded(error: RpcError, request: Request) -> Outcome:
    """Return an error as the outcome of a request; one whose text or data cannot be sent is a failure."""
    try:
        return encode_error(request.id, error), error
    except Exception as unsent:
        failure = masked(unsent, f"the error of {request.method} cannot be sent", request.failure_redaction)
        return encode_error(request.id, failure), failure


def _ended_round(request: Request) -> Round | None:
    """Return the round of a request if it has ended, so that the questions are its result."""
    current = request.round
    return current if current is not None and current.has_ended else None


async def _notified(handler: "NotificationHandler", method: str, params: Raw, peer: Peer) -> None:
    """Hand over a notification; what goes wrong is logged, since a notification has no response."""
    try:
        members = msgspec.json.decode(params)
        members.pop("_meta", None)
        await handler(members, peer)
    except Exception as error:
        masked(error, f"{method} failed")


def method_not_found(method: str) -> RpcError:
    """Return the error of a method that is not served (R-213)."""
    return RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")


# -- middleware --------------------------------------------------------------------------------------------------


def chained(middleware: Sequence[Middleware], handler: MethodHandler) -> MethodHandler:
    """Return a handler with middleware around it, the first outermost."""
    for entry in reversed(middleware):
        handler = _link(entry, handler)
    return handler


def _link(entry: Middleware, call_next: MethodHandler) -> MethodHandler:
    def pass_on(request: Request) -> Awaitable[Message]:
        if request.method == "tools/call":
            _encode_arguments(entry, request.params)
        return call_next(request)

    async def linked(request: Request) -> Message:
        result = await entry(request, pass_on)
        return result if isinstance(result, Result) else _read_result(entry, request.method, result)

    return linked


def _encode_arguments(entry: Middleware, params: Any) -> None:
    """Encode the arguments of a call that middleware has assigned, for the tool's validator.

    Raises:
        TypeError: they are no dict.
    """
    arguments: object = params.arguments
    if type(arguments) is Raw or arguments is UNSET:
        return
    if arguments is not None and not isinstance(arguments, Mapping):
        kind = type(arguments).__name__
        raise TypeError(f"middleware {raw_name(entry)}() set the arguments to a {kind}; assign a dict of them")
    params.arguments = UNSET if arguments is None else Raw(json_bytes(dict(arguments), "The arguments"))


def _read_result(entry: Middleware, method: str, value: object) -> Result:
    """Return the result for a `ToolResult`, ours or the official SDK's, that middleware returned for a call.

    Raises:
        TypeError: it is anything else; the text names the middleware and what to return.
    """
    due = RESULT_NAMES.get(method, "EmptyResult")
    if method == "tools/call":
        from enfilade.primitives.values.results import explicit_result  # few middleware returns such a value

        due += " or ToolResult"
        if (result := explicit_result(value, None)) is not None:
            return result
    kind = "None" if value is None else type(value).__name__
    raise TypeError(
        f"middleware {raw_name(entry)}() returned {kind} for {method} where {due} is due, such as the result of "
        "call_next(request) (see docs/middleware.md)"
    )


# -- the methods about the server itself -------------------------------------------------------------------------


class Handshake:
    """Handles `initialize`, `server/discover` and `ping`.

    The handshake and the discovery advertise the same capabilities, and only those that have something for the
    caller.
    """

    def __init__(
        self,
        server_info: Implementation,
        capabilities: Callable[[Request], ServerCapabilities],
        instructions: str | None,
    ) -> None:
        self._server_info = server_info
        self._capabilities = capabilities
        self._instructions = UNSET if instructions is None else instructions

    async def initialize(self, request: Request) -> InitializeResult:
        """Handle `initialize`, with the revision that the transport negotiated (R-109, R-301)."""
        capabilities = self._capabilities(request)
        return InitializeResult(
            protocol_version=request.peer.revision,
            capabilities=capabilities if request.channel.session is not None else _without_changes(capabilities),
            server_info=self._server_info,
            instructions=self._instructions,
        )

    async def discover(self, request: Request) -> DiscoverResult:
        """Handle `server/discover`, on any transport (R-107, R-283), with the stateless revisions (R-118)."""
        return DiscoverResult(
            supported_versions=list(STATELESS),
            capabilities=self._capabilities(request),
            instructions=self._instructions,
        )

    async def ping(self, request: Request) -> EmptyResult:
        """Handle `ping` (R-366)."""
        return EmptyResult()


def _without_changes(capabilities: ServerCapabilities) -> ServerCapabilities:
    """Return the capabilities for a client without a session: it has no stream for changes."""
    tools, prompts, resources = capabilities.tools, capabilities.prompts, capabilities.resources
    return msgspec.structs.replace(
        capabilities,
        tools=tools if tools is UNSET else ToolsCapability(),
        prompts=prompts if prompts is UNSET else PromptsCapability(),
        resources=resources if resources is UNSET else ResourcesCapability(),
    )
