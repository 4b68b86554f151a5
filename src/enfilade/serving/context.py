"""What a handler sees of its call: the `Context` it may ask for by annotation.

One context belongs to one request and holds nothing that another call could change, so concurrent and chained
calls cannot meet in it. It knows no transport and no era.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET

from enfilade.serving import asking, questions
from enfilade.serving.awaiting import DONE, Sent
from enfilade.serving.exchange import Request
from enfilade.serving.logging import ClientLog
from enfilade.serving.peer import Peer
from enfilade.wire.jsonrpc import RequestId
from enfilade.wire.progress import ProgressNotificationParams
from enfilade.wire.roots import Root
from enfilade.wire.sampling import CreateMessageResult, ModelPreferences, ToolChoice

if TYPE_CHECKING:
    from enfilade.wire.tools import CallToolResult, Tool

#: Calls another tool on behalf of a request: (request, name, arguments) → result.
Caller = Callable[[Request, str, Mapping[str, Any]], Awaitable["CallToolResult"]]


class Progress:
    """Reports how far a call has come, to the client that asked to know."""

    __slots__ = ("_last", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._last = float("-inf")

    def report(self, progress: float, total: float | None = None, message: str | None = None) -> Sent:
        """Tell the client how far the call has come.

        Args:
            progress: steps or share done so far, in the tool's own unit. It must rise from report to report;
                one that does not is left out, as the protocol forbids it (R-2B0).
            total: where `progress` will end, if known.
            message: what is happening, for a person to read.

        Returns:
            Something that may be awaited to wait for a slow reader. Without a progress token in the client's
            request nothing is sent.
        """
        token = self._request.root.meta.progress_token
        if token is UNSET or not progress > self._last:
            return DONE
        self._last = progress
        params = ProgressNotificationParams(
            progress_token=token,
            progress=progress,
            total=UNSET if total is None else total,
            message=UNSET if message is None else message,
        )
        self._request.notify("notifications/progress", params)
        return Sent(self._request.root.outlet)


class ToolCalls:
    """Other tools of the same server, called as a client would call them: middleware, limits and all."""

    __slots__ = ("_caller", "_list", "_request")

    def __init__(self, request: Request, caller: Caller, listed: "Callable[[], Sequence[Tool]]") -> None:
        self._request = request
        self._caller = caller
        self._list = listed

    def list(self) -> "Sequence[Tool]":
        """Return the definitions of the server's tools, in listed order."""
        return self._list()

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> "CallToolResult":
        """Call a tool by its listed or qualified name.

        Returns:
            Its result; one with `is_error` set is returned, not raised.

        Raises:
            ToolError: there is no such tool, or calls are nested too deep.
        """
        return await self._caller(self._request, name, arguments or {})


class Context:
    """One call, as its handler sees it.

    Ask for it by annotation, under any parameter name: `async def work(steps: int, ctx: Context) -> str`.
    """

    __slots__ = ("_caller", "_lifespan", "_listed", "_log", "_progress", "_request")

    def __init__(
        self, request: Request, lifespan: Any, caller: Caller, listed: "Callable[[], Sequence[Tool]]"
    ) -> None:
        self._request = request
        self._lifespan = lifespan
        self._caller = caller
        self._listed = listed
        self._log: ClientLog | None = None
        self._progress: Progress | None = None

    @property
    def request_id(self) -> RequestId | None:
        """The JSON-RPC id of the client's request, with its own type."""
        return self._request.root.id

    @property
    def peer(self) -> Peer:
        """The client: its revision, what it says it is, what it can do, who authenticated it."""
        return self._request.peer

    @property
    def session_id(self) -> str | None:
        """The session's id, or None where the client keeps none."""
        return self._request.peer.session_id

    @property
    def meta(self) -> dict[str, Any]:
        """The whole `_meta` of the request, foreign keys included."""
        return self._request.raw_meta

    @property
    def lifespan(self) -> Any:
        """What the server's lifespan yielded."""
        return self._lifespan

    @property
    def state(self) -> dict[str, Any]:
        """What middleware left on this request."""
        return self._request.state

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more; for plain `def` tools to look at in a loop."""
        return self._request.root.cancelled

    @property
    def log(self) -> ClientLog:
        """Log messages to the client."""
        if self._log is None:
            self._log = ClientLog(self._request)
        return self._log

    @property
    def progress(self) -> Progress:
        """Progress of this call."""
        if self._progress is None:
            self._progress = Progress(self._request)
        return self._progress

    @property
    def tools(self) -> ToolCalls:
        """The server's other tools."""
        return ToolCalls(self._request, self._caller, self._listed)

    # -- asking the client ---------------------------------------------------------------------------------------

    async def elicit(
        self, message: str, wanted: Any = None, *, key: str | None = None, timeout: float | None = None
    ) -> questions.Elicited[Any]:
        """Ask the user by a form, in the middle of the handler.

        Where the client keeps no session, the call ends here and the handler runs again from the top once the
        answer is known: it must ask the same questions in the same order, and what must happen only once goes
        into `once`.

        Args:
            message: the question.
            wanted: what to ask for: a model, dataclass or TypedDict (one field each), a type such as `str`,
                `int`, `bool`, an Enum, `Literal[...]` or `list[Literal[...]]`, a JSON Schema as a dict, or
                nothing for consent alone. Never ask for secrets; use `elicit_url` for those (R-541).
            key: name of the question on the wire; made up by default.
            timeout: seconds the user has, in a session (300 by default).

        Returns:
            The user's `action`, with `data` as what was wanted if it is `accept`.

        Raises:
            MissingCapabilityError: the client cannot show forms; it was not asked.
            AnswerError: the answer does not fit what was wanted.
            AskTimeoutError, ClientRefusedError, CannotAskError: there is no answer.
        """
        return await questions.elicit(self._request, message, wanted, key=key, timeout=timeout)

    async def elicit_url(
        self, message: str, url: str, *, key: str | None = None, timeout: float | None = None
    ) -> questions.Elicited[None]:
        """Ask the user to visit a page, for what must not pass through the client (R-541, R-544).

        Returns:
            The user's `action`; `accept` means consent to open the page, not that anything happened there.

        Raises:
            As `elicit`.
        """
        return await questions.elicit_url(self._request, message, url, key=key, timeout=timeout)

    async def sample(
        self,
        messages: questions.Messages,
        *,
        max_tokens: int = 512,
        system_prompt: str | None = None,
        temperature: float | None = None,
        model_preferences: str | Sequence[str] | ModelPreferences | None = None,
        include_context: Literal["none", "thisServer", "allServers"] | None = None,
        stop_sequences: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tools: "Sequence[Tool] | None" = None,
        tool_choice: ToolChoice | Literal["auto", "required", "none"] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> CreateMessageResult:
        """Let the client's model write something.

        Args:
            messages: a text, a message, or several.
            max_tokens: the most the model may write.
            model_preferences: names of models that would suit, best first, or the whole preferences.
            tools: definitions of tools that the model may ask to use; the client must support that.
            timeout: seconds to wait, in a session (120 by default).

        Returns:
            The message that was written; `enfilade.text_of` gives its text.

        Raises:
            As `elicit`.
        """
        return await questions.sample(
            self._request,
            messages,
            max_tokens=max_tokens,
            system_prompt=system_prompt,
            temperature=temperature,
            model_preferences=model_preferences,
            include_context=include_context,
            stop_sequences=stop_sequences,
            metadata=metadata,
            tools=tools,
            tool_choice=tool_choice,
            key=key,
            timeout=timeout,
        )

    async def roots(self, *, key: str | None = None, timeout: float | None = None) -> list[Root]:
        """Return the directories and files that the user has opened for servers, as `file://` URIs.

        Raises:
            As `elicit`.
        """
        return await questions.roots(self._request, key=key, timeout=timeout)

    async def once(self, key: str, fn: Callable[[], Any]) -> Any:
        """Run a side effect once per call, however many rounds of questions the call has.

        Args:
            key: names it within the call.
            fn: sync or async, without arguments; what it returns must be something JSON can carry.

        Returns:
            What it returned, as JSON has it.
        """
        return await asking.once(self._request, key, fn)

    def require_capability(self, name: str) -> None:
        """Refuse the call unless the client declared a capability, such as `sampling` or `roots`.

        Raises:
            MissingCapabilityError: it did not (R-290).
        """
        if getattr(self._request.peer.capabilities, name, UNSET) is UNSET:
            raise asking.MissingCapabilityError({name: {}})
