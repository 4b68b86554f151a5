"""Handlers that use the same server: `ctx.tools`, `ctx.resources` and `ctx.prompts`.

Such a request passes the same middleware, validation and limits as a client's, as a child of the client's own
request: with its peer, its log level, its stream. Easy to get wrong: endless recursion. It ends at
`MAXIMUM_DEPTH`, in an error that the calling handlers can read (D35).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import EnfiladeError, PromptError, ResourceError, ResourceNotFound, ToolError
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.arcade_compat import RawResult
from enfilade.serving.awaitables import to_await
from enfilade.serving.channel import Channel
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.client_requests import Root
from enfilade.wire.content import TextContent
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, RpcError, encode_notification
from enfilade.wire.message import Message
from enfilade.wire.prompts import GetPromptRequestParams, GetPromptResult
from enfilade.wire.resources import NotFoundError, ReadResourceRequestParams, ReadResourceResult
from enfilade.wire.revision_tables import SERVER_METHODS
from enfilade.wire.tools import CallToolRequestParams, CallToolResult

if TYPE_CHECKING:
    from enfilade.primitives.tool import Tool as Handled
    from enfilade.primitives.values import results as _content
    from enfilade.serving.callers.state_records import StateStore
    from enfilade.serving.callers.tool_auth import ToolAuthorizer
    from enfilade.serving.client_requests import ask as asking
    from enfilade.serving.dispatcher import Dispatcher
    from enfilade.wire.prompts import Prompt
    from enfilade.wire.resources import Resource
    from enfilade.wire.tools import Tool
else:  # the first imports pydantic, which takes long to load; the second is for handlers that ask
    _content = LazyModule("enfilade.primitives.values.results")
    asking = LazyModule("enfilade.serving.client_requests.ask")

#: Added to the error for arguments as keywords.
_TOOL_ARGUMENTS: Final = 'arguments are a dict: await ctx.tools.call("name", {"a": 1})'
_PROMPT_ARGUMENTS: Final = 'arguments are a dict: await ctx.prompts.get("name", {"a": "1"})'

#: Handlers that call each other deeper than this count as endless recursion.
MAXIMUM_DEPTH: Final = 32

R = TypeVar("R", bound=Message)


class ServerAccess(msgspec.Struct, frozen=True):
    """The server for its own handlers: a tool by its name, lists of callers, and their state."""

    dispatcher: Dispatcher
    tool: Callable[[str], Handled | None]
    tools: Callable[[Request], Sequence[Tool]]
    resources: Callable[[Request], Sequence[Resource]]
    prompts: Callable[[Request], Sequence[Prompt]]
    state: Callable[[], StateStore]
    tool_auth: Callable[[], ToolAuthorizer]

    async def call(self, parent: Request, method: str, params: Message, kind: type[R]) -> R:
        """Make a request as a child of another.

        Raises:
            ToolError: requests are nested too deep.
            RpcError: the outcome is an error.
        """
        depth, ancestor = 0, parent
        while ancestor.parent is not None:
            depth, ancestor = depth + 1, ancestor.parent
        if depth >= MAXIMUM_DEPTH:
            raise ToolError(f"Tools call each other more than {MAXIMUM_DEPTH} deep")
        request = Request(
            None,
            method,
            params,
            parent.peer,
            Channel(
                log_level=parent.channel.log_level, session=parent.channel.session, asker=parent.channel.asker
            ),
            parent=parent,
            redaction=parent.redaction,
        )
        parent.calls += 1
        try:
            result = await self.dispatcher.call(request)
        finally:
            request.finish()  # tasks that it has left running send nothing any more
        if not isinstance(result, kind):
            raise TypeError(f"{method} ended in {type(result).__name__}")
        return result


def send_notification(request: Request, method: str, params: Mapping[str, Any] | None) -> None:
    """Send a notification of an extension; see `Context.notify`."""
    if not method.startswith("notifications/") or method in SERVER_METHODS:
        raise ValueError(
            f"ctx.notify sends notifications of extensions, such as notifications/notes/changed, not {method!r}"
        )
    members = None if params is None else json_bytes(dict(params), f"The params of {method}")
    request.push(encode_notification(method, members))


class _ServerCalls:
    """Calls of one handler to its own server."""

    __slots__ = ("_request", "_server")

    def __init__(self, request: Request, server: ServerAccess) -> None:
        self._request = request
        self._server = server


class ToolCalls(_ServerCalls):
    """Other tools of the same server, called as a client would call them: middleware, limits and all."""

    __slots__ = ()

    def list(self) -> Sequence[Tool]:
        """Return the definitions of the server's tools that the caller sees, in listed order."""
        return self._server.tools(self._request)

    @to_await("ctx.tools.call", usage=_TOOL_ARGUMENTS)
    async def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool by its listed or qualified name, and return what it returned, as JSON has it.

        Returns:
            Its structured content: a dict, or what was wrapped in one. Without any, the text of its content;
            None if that is empty.

        Raises:
            ToolError: it failed, there is no such tool, or calls are nested too deep.
        """
        tool = self._server.tool(name)
        result = await self._result(name, arguments)
        if result.is_error is True:
            raise ToolError(_text_in(result) or "", meta=None if result.meta is UNSET else result.meta)
        content = result.structured_content
        if content is UNSET:
            return _text_in(result)
        data = msgspec.json.decode(content) if isinstance(content, Raw) else content
        wrapped = tool is not None and tool.wraps_result and isinstance(data, dict) and data.keys() == {"result"}
        return data["result"] if wrapped else data

    @to_await("ctx.tools.call_raw", usage=_TOOL_ARGUMENTS)
    async def call_raw(self, name: str, arguments: Mapping[str, Any] | None = None) -> RawResult:
        """Call a tool by its listed or qualified name, and return its result as a client would get it.

        Returns:
            The result, with `structured_content` and `meta` as Python has them, None if there is none. One with
            `is_error` is returned, not raised; so is what a client would get as a protocol error, such as that
            there is no such tool (P7).

        Raises:
            ToolError: calls are nested too deep.
        """
        return RawResult.of(await self._result(name, arguments))

    async def _result(self, name: str, arguments: Mapping[str, Any] | None) -> CallToolResult:
        if problem := _fault_of(arguments):
            text = TextContent(text=f'Invalid arguments for tool "{name}": {problem}')
            return CallToolResult(content=[text], is_error=True)
        params = CallToolRequestParams(
            name=name, arguments=Raw(json_bytes(dict(arguments or {}), "The arguments"))
        )
        try:
            return await self._server.call(self._request, "tools/call", params, CallToolResult)
        except RpcError as error:
            if error.code == INTERNAL_ERROR or error.status is not None:  # which ends the client's call
                raise
            return CallToolResult(content=[TextContent(text=error.message)], is_error=True)


class ResourceReads(_ServerCalls):
    """The server's own resources."""

    __slots__ = ()

    def list(self) -> Sequence[Resource]:
        """Return the definitions of the server's resources that the caller sees, in order; looks up files."""
        return self._server.resources(self._request)

    @to_await("ctx.resources.list_roots")
    async def list_roots(self, timeout: float | None = None) -> Sequence[Root]:
        """Return the client's roots; another spelling of `Context.roots`."""
        return await asking.roots(self._request, key=None, timeout=timeout)

    @to_await("ctx.resources.read")
    async def read(self, uri: str) -> ReadResourceResult:
        """Read a resource by its URI, also one of a template.

        Raises:
            ResourceNotFound: there is nothing at this URI.
            ResourceError: its handler raised one, or the values in the URI are invalid.
            ToolError: calls are nested too deep.
            RpcError: an unexpected failure, which was logged.
        """
        params = ReadResourceRequestParams(uri=uri)
        try:
            return await self._server.call(self._request, "resources/read", params, ReadResourceResult)
        except NotFoundError as error:
            raise ResourceNotFound(error.message) from error
        except RpcError as error:
            raise _as_raised(error, ResourceError) from error.__cause__


class PromptGets(_ServerCalls):
    """The server's own prompts."""

    __slots__ = ()

    def list(self) -> Sequence[Prompt]:
        """Return the definitions of the server's prompts that the caller sees, in listed order."""
        return self._server.prompts(self._request)

    @to_await("ctx.prompts.get", usage=_PROMPT_ARGUMENTS)
    async def get(self, name: str, arguments: Mapping[str, Any] | None = None) -> GetPromptResult:
        """Fill in a prompt.

        Args:
            name: its name.
            arguments: strings, or values that are sent as their JSON.

        Raises:
            PromptError: there is no such prompt, an argument is invalid, or its handler raised one.
            ToolError: calls are nested too deep.
            RpcError: an unexpected failure, which was logged.
        """
        if problem := _fault_of(arguments):
            raise PromptError(f'Invalid arguments for prompt "{name}": {problem}')
        texts = {key: _content.text_of(value) for key, value in (arguments or {}).items()}
        params = GetPromptRequestParams(name=name, arguments=texts or UNSET)
        try:
            return await self._server.call(self._request, "prompts/get", params, GetPromptResult)
        except RpcError as error:
            raise _as_raised(error, PromptError) from error.__cause__


def _fault_of(arguments: object) -> str:
    """Return the fault of arguments that are no dict; empty for a dict and for None."""
    if arguments is None or isinstance(arguments, Mapping):
        return ""
    return f"they should be a dict, got {type(arguments).__name__}"


def _text_in(result: CallToolResult) -> str | None:
    """Return the text of a result's content, block by block; None if there is none."""
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    return "\n".join(texts) if texts else None


def _as_raised(error: RpcError, kind: type[EnfiladeError]) -> Exception:
    """Return the exception that a handler gets for an error; with its text, if that was meant for clients."""
    refused = error.code in (INVALID_PARAMS, INVALID_REQUEST) and error.status is None
    return kind(error.message) if refused or isinstance(error.__cause__, EnfiladeError) else error
