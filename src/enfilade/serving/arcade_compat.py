"""Methods of a context under the names of `arcade-mcp-server` and FastMCP, for tools that were written for them.

`context.ui.elicit(…)` is `ctx.elicit(…)`, and so on; `docs/spellings.md` has the table of Arcade's. Of FastMCP
there are the methods about state. Nothing is decided here. Easy to get wrong: the return values differ too,
such as the bare content of a sampling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade.serving.awaitables import DONE, AwaitableSend, to_await
from enfilade.serving.subscriptions import PROMPTS, RESOURCES, TOOLS, Change
from enfilade.wire.tools import CallToolResult

if TYPE_CHECKING:
    from enfilade.serving.callers.state import State
    from enfilade.serving.callers.tool_auth import CallAuth
    from enfilade.serving.channel import Peer
    from enfilade.serving.client_requests.ask import Elicited, Messages
    from enfilade.wire.client_requests import (
        CreateMessageResult,
        ModelPreferences,
        SamplingMessageContentBlock,
        ToolChoice,
    )
    from enfilade.wire.tools import Tool


class ContextMethods(Protocol):
    """The methods of a `Context` that are used here."""

    @property
    def peer(self) -> Peer: ...
    @property
    def state(self) -> State: ...
    @property
    def request_data(self) -> dict[str, Any]: ...
    @property
    def auth(self) -> CallAuth: ...
    @property
    def declared_auth(self) -> CallAuth | None: ...
    def secret(self, name: str, /) -> str: ...
    def announce(self, change: Change, /) -> object: ...
    def elicit(
        self, message: str, response_type: Any = None, *, timeout: float | None = None
    ) -> Awaitable[Any]: ...
    def elicit_url(
        self, message: str, url: str, *, timeout: float | None = None
    ) -> Awaitable[Elicited[None]]: ...
    def sample(self, messages: Messages, **options: Any) -> Awaitable[CreateMessageResult]: ...


class ArcadeNames:
    """Members of `Context` under Arcade's names."""

    __slots__ = ()

    @property
    def ui(self) -> Ui:
        """Questions to the user: `elicit` and `elicit_url`."""
        return Ui(self._context)

    @property
    def sampling(self) -> Sampling:
        """Questions to the client's model: `sample`."""
        return Sampling(self._context)

    @property
    def notifications(self) -> Notifications:
        """Notifications of changed lists; the server sends them itself when an entry is added or removed."""
        return Notifications(self._context.announce)

    def get_secret(self, key: str) -> str:
        """Return a secret: `secret`."""
        return self._context.secret(key)

    def get_auth_token_or_empty(self) -> str:
        """Return the token that the tool declares, `auth.token`; empty if it declares none."""
        auth = self._context.declared_auth
        return "" if auth is None else auth.token

    @property
    def authorization(self) -> CallAuth:
        """The tokens that the tool declares, with `token` and `user_info`: `auth`."""
        return self._context.auth

    @property
    def _context(self) -> ContextMethods:
        return cast("ContextMethods", self)


class StateNames:
    """Members of `Context` under FastMCP's names: values that are kept for the caller, and data of this
    request."""

    __slots__ = ()

    @to_await("ctx.get_state")
    async def get_state(self, key: str) -> Any:
        """Return data of this request, or else a value that is kept for the caller: `state.get`."""
        context = cast("ContextMethods", self)
        data = context.request_data
        return data[key] if key in data else await context.state.get(key)

    @to_await("ctx.set_state")
    async def set_state(self, key: str, value: Any, *, serializable: bool = True) -> None:
        """Keep a value for the caller: `state.set`.

        Args:
            key: a text of 1 to 256 characters.
            value: JSON, unless it is for this request.
            serializable: False to keep any object, for this request alone: `request_data[key]`.
        """
        context = cast("ContextMethods", self)
        if serializable:
            context.request_data.pop(key, None)
            await context.state.set(key, value)
        else:
            context.request_data[key] = value

    @to_await("ctx.delete_state")
    async def delete_state(self, key: str) -> None:
        """Delete a value of this request, and the one that is kept for the caller: `state.delete`."""
        context = cast("ContextMethods", self)
        if key in context.request_data:
            del context.request_data[key]
        else:
            await context.state.delete(key)


#: The fields of a result, below the properties of `RawResult`.
_DATA: Any = vars(CallToolResult)["structured_content"]
_META: Any = CallToolResult.meta


class RawResult(CallToolResult):
    """The result of `ctx.tools.call_raw`: structured content and `meta` as Python values, and Arcade's names.

    A tool may return it as its own result; the field tells data that is null from no data.
    """

    if not TYPE_CHECKING:  # type checkers see the field

        @property
        def structured_content(self) -> Any:
            """The data for programs; None if there is none."""
            data = _DATA.__get__(self)
            return None if data is UNSET else data

        @structured_content.setter
        def structured_content(self, data: Any) -> None:
            _DATA.__set__(self, data)

        @property
        def meta(self) -> dict[str, Any] | None:
            """The `_meta` of the result; None if there is none."""
            meta = _META.__get__(self)
            return None if meta is UNSET else meta

        @meta.setter
        def meta(self, meta: dict[str, Any] | UnsetType) -> None:
            _META.__set__(self, meta)

    @property
    def isError(self) -> bool:  # noqa: N802 - as MCP and Arcade spell it
        """Whether the call failed: `is_error`."""
        return self.is_error is True

    @property
    def structuredContent(self) -> Any:  # noqa: N802
        """The data for programs: `structured_content`."""
        return self.structured_content

    @classmethod
    def of(cls, result: CallToolResult) -> RawResult:
        """Return a result with its structured content decoded."""
        data = result.structured_content
        return cls(
            content=result.content,
            structured_content=msgspec.json.decode(data) if isinstance(data, Raw) else data,
            is_error=result.is_error is True,
            meta=result.meta,
        )


class Ui:
    """`context.ui`."""

    __slots__ = ("_context",)

    def __init__(self, context: ContextMethods) -> None:
        self._context = context

    @to_await("context.ui.elicit")
    async def elicit(
        self,
        message: str,
        schema: Any = None,
        timeout: float | None = None,
        *,
        mode: Literal["form", "url"] = "form",
        url: str | None = None,
    ) -> Elicited[Any]:
        """Ask the user by a form, or to visit a page; see `Context.elicit` and `Context.elicit_url`.

        Raises:
            ValueError: a page is to be visited, and there is no URL.
        """
        if mode == "form":
            answer: Elicited[Any] = await self._context.elicit(message, schema, timeout=timeout)
            return answer
        if url is None:
            raise ValueError('mode="url" needs a url')
        return await self._context.elicit_url(message, url, timeout=timeout)


class Sampling:
    """`context.sampling`."""

    __slots__ = ("_context",)

    def __init__(self, context: ContextMethods) -> None:
        self._context = context

    @to_await("context.sampling.create_message")
    async def create_message(
        self,
        messages: Messages,
        system_prompt: str | None = None,
        include_context: Literal["none", "thisServer", "allServers"] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        model_preferences: str | Sequence[str] | ModelPreferences | None = None,
        *,
        tools: Sequence[Tool] | None = None,
        tool_choice: ToolChoice | Literal["auto", "required", "none"] | None = None,
    ) -> SamplingMessageContentBlock | list[SamplingMessageContentBlock]:
        """Ask the client's model, and return the content of its message alone; see `Context.sample`."""
        message = await self._context.sample(
            messages,
            max_tokens=max_tokens or 512,
            system_prompt=system_prompt,
            include_context=include_context,
            temperature=temperature,
            model_preferences=model_preferences,
            tools=tools,
            tool_choice=tool_choice,
        )
        return message.content


class Notifications:
    """`context.notifications`."""

    __slots__ = ("prompts", "resources", "tools")

    def __init__(self, announce: Callable[[Change], object]) -> None:
        self.tools = ListNotification(announce, TOOLS)
        self.resources = ListNotification(announce, RESOURCES)
        self.prompts = ListNotification(announce, PROMPTS)


class ListNotification:
    """`context.notifications.tools`, `.resources` and `.prompts`."""

    __slots__ = ("_announce", "_change")

    def __init__(self, announce: Callable[[Change], object], change: Change) -> None:
        self._announce = announce
        self._change = change

    def list_changed(self) -> AwaitableSend:
        """Notify the clients that subscribe to the list."""
        self._announce(self._change)
        return DONE
