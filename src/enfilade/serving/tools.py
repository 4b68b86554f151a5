"""`tools/list` and `tools/call`.

A listing is the same bytes for everybody who speaks the same revision, so it is rendered once per revision and
page and again only after a change. A call validates its arguments once, by the tool's own validator, from the
bytes as they came.

The easy thing to get wrong is which failure is whose: an unknown tool is a protocol error (R-518), while wrong
arguments and a failing tool are results with `isError`, so that the model can correct itself (SEP-1303).
"""

import base64
import binascii
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import ReturnedValueError, ToolError
from enfilade.primitives.jsonable import json_bytes
from enfilade.primitives.registry import Registry
from enfilade.primitives.tool import Tool
from enfilade.serving.asking import MissingCapabilityError, is_stateless
from enfilade.serving.context import Context
from enfilade.serving.dispatcher import Dispatcher, log_failure
from enfilade.serving.exchange import Request
from enfilade.serving.threads import Threads
from enfilade.wire.content import TextContent
from enfilade.wire.headers import MirroredParameter, check_mirrored, mirrored_parameters
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import CallToolRequestParams, CallToolResult, ListToolsResult
from enfilade.wire.tools import Tool as Definition

log = logging.getLogger("enfilade.serving")

#: A chain of tools calling tools deeper than this is a loop (D35).
MAXIMUM_DEPTH = 32


class Tools:
    """Serves the tools of a registry.

    Args:
        registry: the tools, in listed order.
        dispatcher: runs chained calls past the middleware.
        page_size: tools per page of a listing.
        threads: how many plain `def` tools may run at once.
        lifespan: returns what the lifespan yielded.
    """

    def __init__(
        self,
        registry: Registry[Tool],
        dispatcher: Dispatcher,
        *,
        page_size: int,
        threads: int,
        lifespan: Callable[[], Any],
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._page_size = page_size
        self._threads = Threads(threads)
        self._lifespan = lifespan
        self._rendered: dict[tuple[str, str | None], bytes] = {}
        self._rendered_version = -1
        self._mirrored: dict[Tool, tuple[MirroredParameter, ...]] = {}

    # -- listing ---------------------------------------------------------------------------------------------

    def ready_list(self, request: Request) -> bytes | None:
        """Return a listing's bytes if they were rendered since the last change."""
        self._forget_if_changed()
        cursor = request.params.cursor
        key = (request.peer.revision, None if cursor is UNSET else cursor)
        ready = self._rendered.get(key)
        if ready is None:
            ready = self._dispatcher.render(self._page(cursor), request.peer.revision)
            self._rendered[key] = ready
        return ready

    def _forget_if_changed(self) -> None:
        if self._rendered_version != self._registry.version:
            self._rendered_version = self._registry.version
            self._rendered.clear()
            self._mirrored.clear()

    async def list(self, request: Request) -> ListToolsResult:
        """Handle `tools/list`."""
        return self._page(request.params.cursor)

    def _page(self, cursor: str | msgspec.UnsetType) -> ListToolsResult:
        start = 0 if cursor is UNSET else decode_cursor(cursor)
        tools = list(self._registry)
        if start > len(tools):
            raise RpcError(INVALID_PARAMS, "Invalid params: unknown cursor")
        end = start + self._page_size
        return ListToolsResult(
            tools=[tool.definition for tool in tools[start:end]],
            next_cursor=encode_cursor(end) if end < len(tools) else UNSET,
        )

    # -- calling ---------------------------------------------------------------------------------------------

    async def call(self, request: Request) -> CallToolResult:
        """Handle `tools/call`."""
        params: CallToolRequestParams = request.params
        tool = self._registry.get(params.name)
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        arguments = None if params.arguments is UNSET else params.arguments
        if request.param_headers is not None:
            self._check_headers(tool, request.param_headers, arguments)
        try:
            context = self.context(request) if tool.needs_context else None
            bound = tool.bind(arguments, context)
            value = await (tool.call(bound) if tool.is_async else self._in_thread(tool, bound))
            return tool.result(value)
        except ToolError as error:
            if isinstance(error, MissingCapabilityError) and is_stateless(request):
                raise  # the stateless era has a code of its own for it
            if isinstance(error, ReturnedValueError):  # the author's mistake, which the model cannot mend
                log.warning("tool %r: %s", tool.name, error)
            return _failed(str(error), error.meta)
        except RpcError:
            raise
        except (Exception, SystemExit) as error:
            correlation = log_failure(error, f"tool {tool.name!r} failed")
            return _failed(f"Tool {tool.name!r} failed with an internal error (id {correlation}).", None)

    def context(self, request: Request) -> Context:
        """Return the context of a request's handler."""
        return Context(request, self._lifespan(), self.chain, self._definitions)

    def _definitions(self) -> Sequence[Definition]:
        return [tool.definition for tool in self._registry]

    async def chain(self, parent: Request, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool on behalf of another: the same way as a client's call, under the same request."""
        depth, ancestor = 0, parent
        while ancestor.parent is not None:
            depth, ancestor = depth + 1, ancestor.parent
        if depth >= MAXIMUM_DEPTH:
            raise ToolError(f"Tools call each other more than {MAXIMUM_DEPTH} deep")
        params = CallToolRequestParams(name=name, arguments=Raw(json_bytes(dict(arguments))))
        request = Request(
            None,
            "tools/call",
            params,
            parent.peer,
            log_level=parent.log_level,
            session=parent.session,
            parent=parent,
        )
        try:
            result: Message = await self._dispatcher.call(request)
        except RpcError as error:
            if error.code == INVALID_PARAMS:
                raise ToolError(error.message) from error
            raise
        if not isinstance(result, CallToolResult):
            raise TypeError(f"tools/call ended in {type(result).__name__}")
        return result

    async def _in_thread(self, tool: Tool, bound: Any) -> Any:
        """Run a plain `def` tool where it blocks nobody."""
        value = await self._threads.run(tool.call, bound)
        return await value if inspect.isawaitable(value) else value

    def _check_headers(self, tool: Tool, fields: Mapping[bytes, bytes], arguments: Raw | None) -> None:
        """Check `Mcp-Param-*` for tools whose schema asks for it (R-255); the others pay one look-up."""
        self._forget_if_changed()
        mirrored = self._mirrored.get(tool)
        if mirrored is None:
            mirrored = self._mirrored[tool] = mirrored_parameters(tool.definition.input_schema)
        if mirrored:
            try:
                decoded = {} if arguments is None else msgspec.json.decode(arguments, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return  # the tool's own validator says what is wrong
            check_mirrored(fields, mirrored, decoded)

    def close(self) -> None:
        """Let go of the threads; running `def` tools finish on their own."""
        self._threads.shutdown()
        self._threads = Threads(self._threads.limit)


def _failed(text: str, meta: dict[str, Any] | None) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True, meta=UNSET if meta is None else meta)


def encode_cursor(position: int) -> str:
    """Return an opaque cursor for a position; it means the same to every worker (R-532)."""
    return base64.urlsafe_b64encode(b"p%d" % position).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> int:
    """Return the position of a cursor.

    Raises:
        RpcError: INVALID_PARAMS for a text that is none of our cursors.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    position = int(raw[1:]) if raw[:1] == b"p" and raw[1:].isdigit() and len(raw) <= 12 else -1
    if position < 0 or encode_cursor(position) != cursor:
        raise RpcError(INVALID_PARAMS, "Invalid params: unknown cursor")
    return position
