"""What a handler sees of its call: the `Context` it may ask for by annotation.

One context belongs to one request and holds nothing that another call could change, so concurrent and chained
calls cannot meet in it. It knows no transport and no era.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from enfilade.serving.awaiting import DONE, Sent
from enfilade.serving.exchange import Request
from enfilade.serving.logging import ClientLog
from enfilade.serving.peer import Peer
from enfilade.wire.jsonrpc import MISSING_CLIENT_CAPABILITY, RequestId, RpcError
from enfilade.wire.progress import ProgressNotificationParams

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

    def require_capability(self, name: str) -> None:
        """Refuse the call unless the client declared a capability, such as `sampling` or `roots`.

        Raises:
            RpcError: MISSING_CLIENT_CAPABILITY, naming what is required (R-290).
        """
        if getattr(self._request.peer.capabilities, name, UNSET) is UNSET:
            raise RpcError(
                MISSING_CLIENT_CAPABILITY,
                f"This needs a client with the capability {name!r}",
                {"requiredCapabilities": {name: {}}},
            )
