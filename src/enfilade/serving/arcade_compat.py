"""Other spellings of what a context offers, for tools that were written for Arcade's `arcade-mcp-server`.

`context.ui.elicit(…)` is `ctx.elicit(…)`, and so on; `docs/spellings.md` has the table. Nothing is decided here.
Easy to get wrong: what these methods give back is part of the spelling, such as the bare content of a sampling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.notifications import DONE, AwaitableSend, to_await
from enfilade.serving.subscriptions import PROMPTS, RESOURCES, TOOLS, Change
from enfilade.wire.tools import CallToolResult

if TYPE_CHECKING:
    from enfilade.serving.channel import Peer
    from enfilade.serving.client_requests.ask import Elicited, Messages
    from enfilade.wire.sampling import (
        CreateMessageResult,
        ModelPreferences,
        SamplingMessageContentBlock,
        ToolChoice,
    )
    from enfilade.wire.tools import Tool


class ContextMethods(Protocol):
    """What these spellings use of a `Context`."""

    @property
    def peer(self) -> Peer: ...
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
    """What `Context` offers under other names."""

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
        """Announcements of changes; the server makes them by itself when something is added or removed."""
        return Notifications(self._context.announce)

    @property
    def user_id(self) -> str | None:
        """Who is asking: `peer.principal`."""
        return self._context.peer.principal

    def get_secret(self, key: str) -> str:
        """Return a secret: `secret`."""
        return self._context.secret(key)

    @property
    def _context(self) -> ContextMethods:
        return cast("ContextMethods", self)


#: The field of a result, below the property of `RawResult`.
_DATA: Any = vars(CallToolResult)["structured_content"]


class RawResult(CallToolResult):
    """What `ctx.tools.call_raw` returns: structured content as Python has it, and Arcade's spellings.

    Return it from a tool to pass the whole on; then data that is null is told from no data by the field itself.
    """

    if not TYPE_CHECKING:  # who know the field, and no property over it

        @property
        def structured_content(self) -> Any:
            """The data for programs; None if there is none."""
            data = _DATA.__get__(self)
            return None if data is UNSET else data

        @structured_content.setter
        def structured_content(self, data: Any) -> None:
            _DATA.__set__(self, data)

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
        """Let the client's model write something, and return the content alone; see `Context.sample`."""
        written = await self._context.sample(
            messages,
            max_tokens=max_tokens or 512,
            system_prompt=system_prompt,
            include_context=include_context,
            temperature=temperature,
            model_preferences=model_preferences,
            tools=tools,
            tool_choice=tool_choice,
        )
        return written.content


class Notifications:
    """`context.notifications`."""

    __slots__ = ("prompts", "resources", "tools")

    def __init__(self, announce: Callable[[Change], object]) -> None:
        self.tools = ListNotification(announce, TOOLS)
        self.resources = ListNotification(announce, RESOURCES)
        self.prompts = ListNotification(announce, PROMPTS)


class ListNotification:
    """`context.notifications.tools` and its kin."""

    __slots__ = ("_announce", "_change")

    def __init__(self, announce: Callable[[Change], object], change: Change) -> None:
        self._announce = announce
        self._change = change

    def list_changed(self) -> AwaitableSend:
        """Tell every client that wants to know that the list has changed."""
        self._announce(self._change)
        return DONE
