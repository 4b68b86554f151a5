"""The tools with a cache, and those that are idempotent: which calls are the same, and what is kept of them.

A result is cached if it is no error, and its handler has asked the client nothing: an answer belongs to the call
that asked. What is kept of an idempotent call is what its run came to, an error of the tool included. A run that
was stopped in its middle came to nothing: cancelled, timed out, or its worker died.

Easy to get wrong: a call that has not begun. Refused by a limit, or with invalid arguments, it has done nothing,
so its key is free. The same holds for a round that ends in questions: the handler runs again with the answers.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade import counters
from enfilade.primitives.errors import ArgumentsError, ReturnedValueError, ToolError
from enfilade.primitives.limits.call_limits import duration_text
from enfilade.primitives.limits.outcome_policy import CachePolicy, IdempotencyPolicy
from enfilade.primitives.tool import Tool
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.callers.tool_auth import AuthError
from enfilade.serving.execution import ToolTimeoutError
from enfilade.serving.failures import error_result, is_failure, single_error, tool_error_result
from enfilade.serving.limits.admission import RETRY_AFTER
from enfilade.serving.limits.callers import holder_key, identity_key
from enfilade.serving.observation.record import ANSWERED_FROM
from enfilade.serving.outcomes.flights import (
    DONE,
    FlightError,
    Flights,
    NoRoomError,
    OtherArgumentsError,
    Run,
    SharedCall,
    StillRunningError,
)
from enfilade.serving.outcomes.keys import canonical, digest, idempotency_key, read_arguments
from enfilade.serving.request import Request
from enfilade.serving.secrets import MissingSecretError
from enfilade.state.outcomes.claims import Bound
from enfilade.timings import Timings
from enfilade.wire.content import ContentBlock
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import CallToolResult

#: Most bytes of a result that is cached, and most results of a tool.
CACHED_SIZE: Final = 256 * 1024
CACHED_COUNT: Final = 5_000

#: Most bytes of an outcome that is kept under a key, and most keys of a caller for a tool.
KEPT_SIZE: Final = 64 * 1024
KEPT_COUNT: Final = 10_000

#: Callers who are not authenticated share their keys, and one of them has this many of these at most.
OWN_COUNT: Final = 1_000

#: Calls a tool, and says when its handler, or what is around it, is about to begin.
Call = Callable[[Callable[[], None]], Awaitable[CallToolResult]]

_INTERRUPTED: Final = (
    "An earlier call with this idempotency key was stopped in its middle, and nobody knows how much of it was "
    "done. Find out before you call again, with a new key"
)

_NOT_KEPT: Final = (
    "The first call with this idempotency key is done, and the server had no room for its result. Do not call "
    "again: read what it did"
)


class ServingEndpoint(Protocol):
    """What serves over HTTP."""

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which it serves; None before and after."""
        ...


class _StoredResult(Message, kw_only=True):
    """A result as it is kept: structured content stays as it was written."""

    content: list[ContentBlock]
    structured_content: Raw | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


_encode: Final = msgspec.json.Encoder().encode
_stored_in: Final = msgspec.json.Decoder(_StoredResult).decode


class KeptOutcomes:
    """Runs the calls of tools that get outcomes of earlier ones.

    Args:
        server: its name; servers with one store and other names have outcomes of their own.
        state: has the store and the keys.
        timings: of leases, and of waiting.
        endpoint: what serves over HTTP; None for what does not.
    """

    def __init__(
        self,
        server: str,
        state: Callable[[], StateStore],
        timings: Timings,
        endpoint: Callable[[], "ServingEndpoint | None"],
    ) -> None:
        self._server = server
        self._state = state
        self._endpoint = endpoint
        self._flights = Flights(state, timings)
        self._tools: dict[str, _ToolKeys] = {}
        self._running: set[int] = set()

    async def run(self, request: Request, tool: Tool, arguments: Raw | None, call: Call) -> CallToolResult:
        """Return the result of a call: its own, or that of one like it.

        Args:
            request: the call.
            tool: has a policy for outcomes.
            arguments: of the call.
            call: runs it.

        Raises:
            ToolError: it may not run, and there is no outcome.
            Exception: as `call` raises it.
        """
        values = read_arguments(arguments)
        if values is None:  # the tool says what is wrong
            return await call(_do_nothing)
        if isinstance(tool.outcomes, CachePolicy):
            return await self._cached(request, tool, tool.outcomes, values, call)
        if tool.outcomes is None:
            return await call(_do_nothing)
        key = idempotency_key(request, tool.outcomes, values)
        if key is None:
            return await call(_do_nothing)
        return await self._once(
            request, tool, tool.outcomes, key, canonical(values, tool.outcomes.defaults), call
        )

    # -- the cache ---------------------------------------------------------------------------------------------

    async def _cached(
        self, request: Request, tool: Tool, policy: CachePolicy, values: dict[str, Any], call: Call
    ) -> CallToolResult:
        form = canonical(values, policy.defaults).decode()
        keys = self._of_tool(tool)
        identity = identity_key(request) if policy.per == "principal" else "all"
        shared = SharedCall(
            key=f"cached:{digest(self._server, tool.name, keys.schemas, policy.per, identity, form)}",
            versions=(keys.version, self._version_key(tool.name, form)),
            ttl=policy.seconds,
            age=0.0,
            bound=keys.bound,
            owner=holder_key(request) or "",
            may_wait=not self._runs_above(request),
        )

        async def run(_: bool) -> Run:
            with _Running(self._running, request):
                result = await call(_do_nothing)
            return Run(result, _cacheable(request, result))

        try:
            result, outcome = await self._flights.run(shared, run)
        except FlightError:  # such as without a store: it costs a run, and not the call
            return await call(_do_nothing)
        return _answered(outcome, "cache") if result is None else result

    def _of_tool(self, tool: Tool) -> "_ToolKeys":
        """Return what is the same for all calls of a tool."""
        keys = self._tools.get(tool.name)
        if keys is None or keys.tool is not tool:
            definition, queue = tool.definition, f"outcome_queue:{digest(self._server, tool.name)}"
            keys = self._tools[tool.name] = _ToolKeys(
                tool,
                digest(json.dumps([definition.input_schema, definition.output_schema or None])),
                self._version_key(tool.name, None),
                Bound(queue, CACHED_COUNT, True),
            )
        return keys

    def _version_key(self, tool: str, form: str | None) -> str:
        """Return the key of the version of a tool, or of its calls with some arguments."""
        return f"outcome_version:{digest(self._server, tool, form)}"

    async def invalidate(self, tool: Tool, arguments: Mapping[str, Any] | None) -> None:
        """Let all workers forget the results of a tool, or of its calls with some arguments.

        Raises:
            ValueError: the tool has no cache, or the arguments are no JSON.
            StoreError: the store does not answer.
        """
        if not isinstance(tool.outcomes, CachePolicy):
            raise ValueError(f"tool {tool.name!r} has no cache; give it one: @app.tool(cache=60)")
        if arguments is None:
            key = self._version_key(tool.name, None)
        else:
            try:
                values = read_arguments(Raw(json_bytes(dict(arguments), "The arguments"))) or {}
            except ReturnedValueError as error:
                raise ValueError(str(error)) from None
            key = self._version_key(tool.name, canonical(values, tool.outcomes.defaults).decode())
        await self._in_loop_of_store(self._flights.change_version(key, secrets.token_bytes(8)))

    async def _in_loop_of_store(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Await a coroutine in the event loop that uses the store, if that is another one, as from a thread."""
        endpoint = self._endpoint()
        loop = (None if endpoint is None else endpoint.running_loop) or self._state().loop
        if loop is None or loop is asyncio.get_running_loop() or not loop.is_running():
            await coroutine
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    # -- idempotency -------------------------------------------------------------------------------------------

    async def _once(
        self, request: Request, tool: Tool, policy: IdempotencyPolicy, key: str, form: bytes, call: Call
    ) -> CallToolResult:
        caller, holder = request.root.peer.principal, holder_key(request)
        own = None
        if caller is None and holder is not None:
            own = Bound(f"outcome_queue:{digest(self._server, tool.name, caller, holder)}", OWN_COUNT, False)
        shared = SharedCall(
            key=f"idempotent:{digest(self._server, tool.name, caller, key)}",
            arguments=digest(form.decode()),
            ttl=policy.ttl,
            age=policy.ttl,
            bound=Bound(f"outcome_queue:{digest(self._server, tool.name, caller)}", KEPT_COUNT, False),
            own=own,
            owner=holder or "",
            may_wait=not self._runs_above(request),
        )

        async def run(is_again: bool) -> Run:
            if is_again and policy.on_interrupted == "refuse":
                return _interrupted(None)
            with _Running(self._running, request):
                return await _run_once(request, tool, policy, call)

        try:
            result, outcome = await self._flights.run(shared, run)
        except FlightError as error:
            raise _refusal(tool, policy, error) from None
        return _answered(outcome, "idempotency") if result is None else result

    def _runs_above(self, request: Request) -> bool:
        """Whether a call stands below one that runs for others."""
        parent = request.parent
        while parent is not None:
            if id(parent) in self._running:
                return True
            parent = parent.parent
        return False

    async def close(self) -> None:
        """Wait until what calls have left is given up."""
        await self._flights.close()


class _ToolKeys(NamedTuple):
    """What is the same for all calls of a tool.

    Attributes:
        tool: the tool.
        schemas: a digest of its schemas: a release with others does not use results of the one before.
        version: the key of its version.
        bound: of its cache.
    """

    tool: Tool
    schemas: str
    version: str
    bound: Bound


class _Running:
    """Notes that a request runs for others, for the length of a `with` block."""

    __slots__ = ("_id", "_running")

    def __init__(self, running: set[int], request: Request) -> None:
        self._running = running
        self._id = id(request)

    def __enter__(self) -> None:
        self._running.add(self._id)

    def __exit__(self, *_: object) -> None:
        self._running.discard(self._id)


def _do_nothing() -> None:
    """Take no notice of a beginning."""


def _has_ended_round(request: Request) -> bool:
    """Whether the client's call comes to questions, whatever its handlers return."""
    current = request.root.round
    return current is not None and current.has_ended


def _cacheable(request: Request, result: CallToolResult) -> bytes | None:
    """Return a result as it is cached; None if it is not."""
    if result.is_error is True or request.is_done or _has_ended_round(request):
        return None
    if request.asking is not None and request.asking.has_asked:
        return None
    encoded = _encode(result)
    return encoded if len(encoded) <= CACHED_SIZE else None


async def _run_once(request: Request, tool: Tool, policy: IdempotencyPolicy, call: Call) -> Run:
    """Run an idempotent call, and return what it came to, which may be an error."""
    has_begun = False

    def begin() -> None:
        nonlocal has_begun
        has_begun = True

    try:
        result = await call(begin)
    except BaseException as raised:
        error = single_error(raised)
        is_free = not has_begun or isinstance(error, ArgumentsError | MissingSecretError | AuthError)
        if is_free or _has_ended_round(request) or request.channel.asker.is_protocol_error(error):
            raise
        if isinstance(error, ToolTimeoutError | RpcError) or not is_failure(raised, request):
            if policy.on_interrupted == "refuse":
                return _interrupted(raised)
            raise
        result = tool_error_result(request, tool.name, raised)
    if _has_ended_round(request):
        return Run(result, None)
    encoded = _encode(result)
    if len(encoded) > KEPT_SIZE:
        text = (
            f"The first call with this idempotency key is done, and its result had {len(encoded)} bytes, of "
            f"which {KEPT_SIZE} are kept at most. Do not call again: read what it did"
        )
        encoded = _encode(error_result(text, None))
    return Run(result, encoded)


def _interrupted(error: BaseException | None) -> Run:
    result = error_result(_INTERRUPTED, None)
    return Run(result, _encode(result), error)


def _answered(outcome: bytes | None, source: str) -> CallToolResult:
    """Return the result for a call that did not run."""
    if outcome is None:
        raise AssertionError("a call neither ran nor has an outcome")
    counters.count("calls_answered", source)
    if outcome == DONE:
        outcome = _encode(error_result(_NOT_KEPT, None))
    stored = _stored_in(outcome)
    meta = {} if stored.meta is UNSET else stored.meta
    return CallToolResult(
        content=stored.content,
        structured_content=stored.structured_content,
        is_error=stored.is_error,
        meta={**meta, ANSWERED_FROM: source},
    )


def _refusal(tool: Tool, policy: IdempotencyPolicy, error: FlightError) -> ToolError:
    """Return the error of an idempotent call that neither ran nor has an outcome, for the model."""
    name = f"Tool {tool.name!r}"
    if isinstance(error, OtherArgumentsError):
        return ToolError(
            f"{name} was called with this idempotency key before, with other arguments. Send the same arguments "
            "for the outcome of that call, or a new key for another one"
        )
    if isinstance(error, StillRunningError):
        text = "the first call with this idempotency key still runs; try again in 1 second, with the same key"
    elif isinstance(error, NoRoomError):
        count, whom = (OWN_COUNT, "one caller") if error.is_own else (KEPT_COUNT, "a caller")
        text = (
            f"it keeps the outcomes of {count} idempotency keys of {whom}, each for "
            f"{duration_text(policy.ttl)}, and has no room for this one now; nothing was done"
        )
    else:
        text = "the server cannot look up idempotency keys at the moment; nothing was done, try again in 1 second"
    return ToolError(f"{name}: {text}", meta={RETRY_AFTER: 1000})
