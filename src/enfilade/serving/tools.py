"""`tools/list` and `tools/call`.

A call validates its arguments once, by the tool's own validator, from the received bytes.

Easy to get wrong: an unknown tool is a protocol error (R-518), while wrong arguments and a failing tool are
results with `isError`, so that the model can correct itself (SEP-1303). Their texts are made in `failures.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, overload

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import EnfiladeError, ReturnedValueError
from enfilade.primitives.questions.input_required import InputRequired
from enfilade.primitives.registry import Registry
from enfilade.serving.awaitables import refuse_not_awaited
from enfilade.serving.callers.access import caller_of
from enfilade.serving.channel import Outcome
from enfilade.serving.dispatcher import chained
from enfilade.serving.execution import HandlerRunner, TimeLimit
from enfilade.serving.failures import (
    error_result,
    is_failure,
    log_safely,
    redacted,
    single_error,
    tool_error_result,
)
from enfilade.serving.pagination import PageOptions, PaginatedList
from enfilade.serving.request import Request
from enfilade.serving.secrets import NO_SECRETS, Redaction, SecretSource, token_values
from enfilade.startup.lazy import LazyModule
from enfilade.wire.headers import MirroredParameter, check_mirrored, mirrored_parameters
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.tools import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    Tool as Definition,
    decode_arguments,
)

if TYPE_CHECKING:
    from enfilade.primitives.limits.result_budget import ResultBudget
    from enfilade.primitives.tool import Tool
    from enfilade.serving.callers import tool_auth as _tool_auth
    from enfilade.serving.callers.tool_auth import CallAuth, ToolAuthorizer
    from enfilade.serving.limits.admission import Limiter
    from enfilade.serving.limits.result_sizes import ResultSizes
    from enfilade.serving.outcomes.kept_outcomes import KeptOutcomes

else:  # for tools that need tokens of other services
    _tool_auth = LazyModule("enfilade.serving.callers.tool_auth")

log = logging.getLogger("enfilade.serving")


class Governing(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps calls and results within limits, each made when it is first needed.

    Attributes:
        limiter: runs calls within limits.
        sizes: makes results fit.
        outcomes: gives calls the outcomes of earlier ones.
        tool_auth: gives tokens of other services.
        limits_app: whether there are limits for all calls together.
        budget: of results of tools that do not say; None if they have none.
    """

    limiter: Callable[[], Limiter]
    sizes: Callable[[], ResultSizes]
    outcomes: Callable[[], KeptOutcomes]
    tool_auth: Callable[[], ToolAuthorizer]
    limits_app: bool = False
    budget: ResultBudget | None = None


class Tools:
    """Serves the tools of a registry, in its order.

    Args:
        registry: the tools.
        runner: runs their functions.
        secrets: where their secrets come from.
        lists: how they are listed.
        governing: the limits of calls and results.
    """

    def __init__(
        self,
        registry: Registry[Tool],
        runner: HandlerRunner,
        secrets: SecretSource,
        lists: PageOptions,
        governing: Governing,
    ) -> None:
        self._governing = governing
        self._runs_plain = not governing.limits_app and governing.budget is None
        self._registry = registry
        self._runner = runner
        self._secrets = secrets
        self._access = lists.access
        self._render = lists.render
        self._mirrored: dict[Tool, tuple[MirroredParameter, ...]] = {}
        self._mirrored_version = -1
        self.pages = PaginatedList(
            "tools/list",
            ListToolsResult,
            "tools",
            registry.items,
            _Definitions,
            lambda: registry.version,
            lists,
        )

    # -- calling ---------------------------------------------------------------------------------------------

    async def call(self, request: Request) -> CallToolResult:
        """Handle `tools/call`."""
        params: CallToolRequestParams = request.params
        tool = self._registry.get(params.name)
        if tool is None or (tool.access is not None and not self._access.admits(request, tool.access)):
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        arguments = None if params.arguments is UNSET else params.arguments
        if request.channel.param_headers is not None:  # over stdio there are no headers
            self._check_headers(tool, request.channel.param_headers, arguments)
        try:
            if not (tool.is_plain and self._runs_plain and request.redaction is None):
                if tool.auth:
                    return await self._run_with_tokens(request, tool, arguments)
                return await self._run_within_limits(request, tool, arguments)
            if not tool.is_direct:
                return await self._runner.run(request, tool, tool.bind, arguments, tool.result)
            # Nearly always; as the runner does, with a coroutine less.
            context = self._runner.context(request, NO_SECRETS) if tool.contexts else None
            value = await tool.call(tool.bind(arguments, context))
            if isinstance(value, InputRequired):
                return await self._runner.answered(value, request, tool, tool.bind, arguments, tool.result)
            try:
                return tool.result(value)
            except ReturnedValueError:
                refuse_not_awaited(value)
                raise
        except RpcError as error:
            error.message, error.data = redacted(request, error.message), redacted(request, error.data)
            raise
        except BaseException as error:
            if not is_failure(error, request):
                raise
            if request.record is not None:
                cause = single_error(error)
                request.record.tool_failure = cause._kind if isinstance(cause, EnfiladeError) else "exception"
            return tool_error_result(request, tool.name, error)

    def check_access(self, request: Request) -> None:
        """Check that a client may call the tool that it names, if the tool is there for it.

        Raises:
            RpcError: it lacks scopes.
        """
        tool = self._registry.get(request.params.name)
        if tool is not None and tool.access is not None:
            self._access.admits(request, tool.access)

    async def _run_with_tokens(self, request: Request, tool: Tool, arguments: Raw | None) -> CallToolResult:
        """Run a call with tokens of other services, which it has before it counts for any limit.

        A user may need minutes to consent, and takes no slot of the tool meanwhile.
        """

        async def run(auth: CallAuth) -> CallToolResult:
            values = [value for provider in auth for value in token_values(auth[provider].token)]
            request.redaction = (request.redaction or Redaction(())).with_values(values)
            request.auth = auth
            return await self._run_within_limits(request, tool, arguments)

        authorizer = self._governing.tool_auth()
        result = await _tool_auth.run_with_tokens(request, authorizer, tool.name, tool.auth, run)
        content = msgspec.json.encode(result)
        if request.redaction is None or request.redaction.text(text := content.decode()) == text:
            return result
        return msgspec.json.decode(request.redaction.json(content), type=CallToolResult)

    async def _run_within_limits(self, request: Request, tool: Tool, arguments: Raw | None) -> CallToolResult:
        governing = self._governing
        if tool.outcomes is not None:
            admitted = partial(self._run_admitted, request, tool, arguments)
            result = await governing.outcomes().run(request, tool, arguments, admitted)
        elif tool.limits is None and not governing.limits_app:
            result = await self._run_in_time(request, tool, arguments)
        else:
            run = partial(self._run_in_time, request, tool, arguments)
            result = await governing.limiter().run(request, tool.name, tool.limits, run)
        if tool.budget is None and governing.budget is None:
            return result
        return await governing.sizes().fitted(request, tool, arguments, result)

    async def _run_admitted(
        self, request: Request, tool: Tool, arguments: Raw | None, on_begin: Callable[[], None]
    ) -> CallToolResult:
        """Run a call within its limits, and say when it begins."""

        async def run() -> CallToolResult:
            on_begin()
            return await self._run_in_time(request, tool, arguments)

        if tool.limits is None and not self._governing.limits_app:
            return await run()
        return await self._governing.limiter().run(request, tool.name, tool.limits, run)

    async def _run_in_time(self, request: Request, tool: Tool, arguments: Raw | None) -> CallToolResult:
        if tool.timeout is None:
            return await self._run(request, tool, arguments)
        with TimeLimit(request, tool.name, tool.timeout, partial(self._overdue, request)):
            return await self._run(request, tool, arguments)

    async def _run(self, request: Request, tool: Tool, arguments: Raw | None) -> CallToolResult:
        """Call a tool that is not plain, within its own middleware."""
        if not tool.middleware:
            return await self._run_bare(request, tool, arguments)

        async def innermost(request: Request) -> CallToolResult:
            assigned = request.params.arguments
            return await self._run_bare(request, tool, None if assigned is UNSET else assigned)

        result: CallToolResult = await chained(tool.middleware, innermost)(request)  # type: ignore[assignment]
        return result

    async def _run_bare(self, request: Request, tool: Tool, arguments: Raw | None) -> CallToolResult:
        if not tool.secrets and not tool.auth:
            result = await self._runner.run(request, tool, tool.bind, arguments, tool.result)
        else:
            secrets = await self._secrets.resolve(tool, request.peer, request.auth if tool.auth else None)
            request.redaction = (request.redaction or Redaction(())).with_values(secrets.values)
            result = await self._runner.run(request, tool, tool.bind, arguments, tool.result, secrets)
        if request.redaction is not None and result.is_error is True:
            clean = request.redaction.json(msgspec.json.encode(result))
            return msgspec.json.decode(clean, type=CallToolResult)
        return result

    def _overdue(self, request: Request, error: EnfiladeError) -> Outcome:
        """Return the outcome of a client's call whose handler goes on after its time limit."""
        result = error_result(redacted(request, str(error)), None)
        return request.result_outcome(self._render(result, request.peer.revision))

    def definitions(self, request: Request) -> Sequence[Definition]:
        """Return the definitions of all tools that the caller of a request sees, in listed order."""
        shown = self._access.shown(self._registry.items(), caller_of(request))
        return [tool.definition for tool in shown]

    def _check_headers(self, tool: Tool, fields: Mapping[bytes, bytes], arguments: Raw | None) -> None:
        """Check `Mcp-Param-*` for tools whose listed schema has it (R-255, R-260); others cost one look-up."""
        if self._mirrored_version != self._registry.version:
            self._mirrored_version = self._registry.version
            self._mirrored.clear()
        mirrored = self._mirrored.get(tool)
        if mirrored is None:
            mirrored = self._mirrored[tool] = mirrored_parameters(tool.definition.input_schema)
        if mirrored:
            try:
                decoded = {} if arguments is None else decode_arguments(arguments)
            except (ValueError, RecursionError):
                return  # the tool's own validator reports the fault
            if isinstance(decoded, dict):
                check_mirrored(fields, mirrored, decoded)


class _Definitions(Sequence[Definition]):
    """The definitions of tools, each created at its first use, so that a page costs only its own tools."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools

    def __len__(self) -> int:
        return len(self._tools)

    @overload
    def __getitem__(self, index: int) -> Definition: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Definition]: ...

    def __getitem__(self, index: int | slice) -> Definition | Sequence[Definition]:
        if isinstance(index, slice):
            return [tool.definition for tool in self._tools[index]]
        return self._tools[index].definition


def prepare_later(tools: Iterable[Tool], delay: float) -> asyncio.TimerHandle:
    """Build the deferred parts of tools after a delay, so that a first call need not wait for them.

    Args:
        tools: those to build; may change until then.
        delay: seconds, `Timings.prepare_delay`.

    Returns:
        Cancel it if the server stops before.
    """
    return asyncio.get_running_loop().call_later(delay, lambda: _prepare(iter(tools)))


def _prepare(tools: Iterator[Tool]) -> None:
    """Build one tool, and the others in further turns of the event loop, so that requests are served between."""
    for tool in tools:
        try:
            tool.prepare()
        except Exception as error:  # such as without free descriptors; its first call tries again
            log_safely(
                log, logging.WARNING, "tool %r could not be built ahead of its first call: %r", tool.name, error
            )
        asyncio.get_running_loop().call_soon(_prepare, tools)
        return
