"""`Context`: a handler's view of its call, which it gets by annotation.

A context belongs to one request and shares no state with concurrent or chained calls. It knows no transport and
no revision.

Easy to get wrong: every server imports this file, and few of them ask. So the modules for questions are loaded
with the first question, and no annotation here is evaluated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, overload

from msgspec import UNSET

from enfilade.primitives.foreign_names import CONTEXT_ATTRIBUTES
from enfilade.primitives.other_frameworks import advice_on_arguments, advice_on_attributes
from enfilade.serving.arcade_compat import ArcadeNames, StateNames
from enfilade.serving.awaitables import to_await
from enfilade.serving.channel import MissingCapabilityError
from enfilade.serving.notifications import ClientLog, Progress
from enfilade.serving.secrets import NO_SECRETS, Secrets
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from typing_extensions import TypeForm, TypeVar

    from enfilade.primitives.options import OnInterrupted
    from enfilade.primitives.questions import Choices, question as _question
    from enfilade.primitives.questions.input_required import InputResponses
    from enfilade.primitives.questions.question import Elicited, Messages, Question, SpecialForm
    from enfilade.serving import chaining
    from enfilade.serving.callers import state as _state, tool_auth as _tool_auth
    from enfilade.serving.callers.http_request import HttpRequest
    from enfilade.serving.callers.tool_auth import CallAuth
    from enfilade.serving.channel import Peer
    from enfilade.serving.client_requests import ask as asking
    from enfilade.serving.principal import Principal
    from enfilade.serving.request import Request
    from enfilade.serving.subscriptions import Change
    from enfilade.wire.client_requests import CreateMessageResult, ModelPreferences, Root, ToolChoice
    from enfilade.wire.jsonrpc import RequestId
    from enfilade.wire.tools import Tool

    T = TypeVar("T")
    #: Types that are the same after a round trip through JSON.
    J = TypeVar("J", bound=str | int | float | list[Any] | Mapping[str, Any] | None)
    LifespanT = TypeVar("LifespanT", default=Any)
else:
    from typing import TypeVar

    LifespanT = TypeVar("LifespanT")  # a default needs a module more, and only type checkers read it
    _question = LazyModule("enfilade.primitives.questions.question")
    asking = LazyModule("enfilade.serving.client_requests.ask")
    chaining = LazyModule("enfilade.serving.chaining")
    _state = LazyModule("enfilade.serving.callers.state")
    _tool_auth = LazyModule("enfilade.serving.callers.tool_auth")


#: Most seconds of `Context.sleep`: ten years.
LONGEST_SLEEP: Final = 315_360_000.0


@advice_on_attributes(CONTEXT_ATTRIBUTES)
class Context(ArcadeNames, StateNames, Generic[LifespanT]):
    """One call, as its handler sees it.

    Ask for it by annotation, under any parameter name: `async def work(steps: int, ctx: Context) -> str`. Type
    checkers know what `ctx.lifespan` is if the annotation says so: `ctx: Context[Database]`.
    """

    __slots__ = ("_lifespan", "_log", "_progress", "_request", "_secrets", "_server")

    def __init__(
        self, request: Request, lifespan: LifespanT, server: chaining.ServerAccess, secrets: Secrets = NO_SECRETS
    ) -> None:
        self._request = request
        request.task  # noqa: B018 - by it, threads of the handler find the event loop
        self._lifespan = lifespan
        self._server = server
        self._secrets = secrets
        self._log: ClientLog | None = None
        self._progress: Progress | None = None

    @property
    def request_id(self) -> RequestId | None:
        """The JSON-RPC id of the client's request, with its own type."""
        return self._request.root.id

    @property
    def peer(self) -> Peer:
        """The client: its revision, its name, its capabilities, its principal."""
        return self._request.peer

    @property
    def principal(self) -> Principal | None:
        """Who calls: by a token, an API key, or as the host says; None if that is unknown."""
        return self._request.principal

    @property
    def user_id(self) -> str | None:
        """The subject of the principal, which is unique together with its issuer; None if nobody is known."""
        principal = self.principal
        return None if principal is None else principal.subject

    @property
    def session_id(self) -> str | None:
        """The session's id, or None without a session."""
        return self._request.peer.session_id

    @property
    def task_id(self) -> str | None:
        """The id of the task that the call has become; None for a call that is none, or none yet."""
        return self._request.channel.asker.task_id

    @property
    def meta(self) -> dict[str, Any]:
        """The `_meta` of the request, with all keys."""
        return self._request.raw_meta

    @property
    def lifespan(self) -> LifespanT:
        """The value that the server's lifespan yielded."""
        return self._lifespan

    @property
    def state(self) -> _state.State:
        """Values that are kept for the caller from one call to the next."""
        return _state.State(self._request, self._server.state)

    @property
    def request_data(self) -> dict[str, Any]:
        """Data of middleware on this request: its `request.state`."""
        return self._request.state

    @property
    def http(self) -> HttpRequest | None:
        """Headers, address and URL of the caller's HTTP request; None without HTTP."""
        return self._request.http

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled; for plain `def` tools to check in a loop."""
        return self._request.is_given_up

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
    def tools(self) -> chaining.ToolCalls:
        """The server's other tools."""
        return chaining.ToolCalls(self._request, self._server)

    @property
    def resources(self) -> chaining.ResourceReads:
        """The server's resources."""
        return chaining.ResourceReads(self._request, self._server)

    @property
    def prompts(self) -> chaining.PromptGets:
        """The server's prompts."""
        return chaining.PromptGets(self._request, self._server)

    def secret(self, name: str) -> str:
        """Return the value of a secret that the tool declares: `@app.tool(requires_secrets=[name])`.

        Args:
            name: its name, in any case.

        Raises:
            ValueError: the tool does not declare it.
        """
        return self._secrets.get(name)

    @property
    def auth(self) -> CallAuth:
        """The tokens that the tool declares: `@app.tool(requires_auth=GitHub(scopes=["repo"]))`.

        Raises:
            AuthError: the tool declares none.
        """
        auth = self.declared_auth
        if auth is None:
            raise _tool_auth.AuthError(_tool_auth.NOT_DECLARED)
        return auth

    @property
    def declared_auth(self) -> CallAuth | None:
        """The tokens that the tool declares; None if it declares none."""
        auth: CallAuth | None = self._secrets.auth
        return auth

    @to_await("ctx.token_for")
    async def token_for(self, audience: str, scopes: Sequence[str] = ()) -> str:
        """Return a token of the caller for another service, for which theirs is exchanged (RFC 8693).

        The caller's own token is for this server and is never sent anywhere else (R-610).

        Args:
            audience: the service, as the authorization server knows it: `https://api.example.com`.
            scopes: what the token must allow.

        Raises:
            AuthError: there is none; the text says why.
        """
        return await self._server.tool_auth().exchange(self._request, audience, scopes)

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send the client a notification of an extension, on the stream of this call.

        Args:
            method: `notifications/notes/changed`; those of the protocol are refused.
            params: its members.

        Raises:
            ValueError: the method is no notification, or one of the protocol.
            ReturnedValueError: JSON cannot hold the params.
        """
        chaining.send_notification(self._request, method, params)

    def announce(self, change: Change) -> None:
        """Notify the clients that subscribe to a change."""
        self._server.dispatcher.changes.announce(change)

    def close_stream(self, retry: float | None = None) -> bool:
        """Close the connection of a client that will resume the stream, while the handler goes on.

        For work that takes long: the client holds no connection meanwhile. Later messages and the result wait in
        the event log (2025-11-25 basic/transports, SEP-1699).

        Args:
            retry: seconds after which the client should come back; by default the setting `stream_retry`.

        Returns:
            Whether it was closed. A client of another revision, one that takes plain JSON only, and one whose
            stream cannot be resumed keep their connection.
        """
        return self._request.close_connection(retry)

    # -- asking the client ---------------------------------------------------------------------------------------

    @overload
    async def elicit(
        self, message: str, response_type: None = None, *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[None]: ...
    @overload
    async def elicit(
        self, message: str, response_type: Choices, *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[str]: ...
    @overload
    async def elicit(
        self,
        message: str,
        response_type: Mapping[str, Any],
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Elicited[dict[str, Any]]: ...
    @overload
    async def elicit(
        self, message: str, response_type: type[T], *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[T]: ...
    @overload
    async def elicit(
        self, message: str, response_type: TypeForm[T], *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[T]: ...
    @overload
    async def elicit(
        self, message: str, response_type: SpecialForm, *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[Any]: ...
    @advice_on_arguments("question")
    @to_await("ctx.elicit")
    async def elicit(
        self, message: str, response_type: Any = None, *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[Any]:
        """Ask the user by a form, in the middle of the handler.

        Where the client keeps no session, the call ends here and the handler runs again from the top once the
        answer is known: it must ask the same questions in the same words, and what must happen only once goes
        into `once`.

        Args:
            message: the question.
            response_type: a model, dataclass or TypedDict (one field each), a type such as `str`, `int`, `bool`,
                a date, an Enum, `Literal[...]`, `Choices(...)` or a list of choices, a JSON Schema as a dict, or
                nothing for consent alone. Never ask for secrets; use `elicit_url` for those (R-541).
            key: name of the question, to tell it from others in the same words; made up by default.
            timeout: seconds the user has, in a session (300 by default).

        Returns:
            The user's `action`, with `data` of that type if it is `accept`; otherwise reading `data` raises
            `NotAccepted`.

        Raises:
            MissingCapabilityError: the client cannot show forms; it was not asked.
            AnswerError: the answer does not fit the type.
            AskTimeoutError, ClientRefusedError, CannotAskError: there is no answer.
        """
        question: Question[Elicited[Any]] = _question.elicitation(message, response_type)
        return await asking.ask(self._request, question, key=key, timeout=timeout)

    @to_await("ctx.elicit_url")
    async def elicit_url(
        self, message: str, url: str, *, key: str | None = None, timeout: float | None = None
    ) -> Elicited[None]:
        """Ask the user to visit a page, for what must not pass through the client (R-541, R-544).

        Returns:
            The user's `action`; `accept` means consent to open the page, not that anything happened there.

        Raises:
            ValueError: the page has no web address, or one with credentials in it.

        The other errors are those of `elicit`.
        """
        question = _question.url_elicitation(message, url)
        return await asking.ask(self._request, question, key=key, timeout=timeout)

    @advice_on_arguments("sample")
    @to_await("ctx.sample")
    async def sample(
        self,
        messages: Messages,
        *,
        max_tokens: int = 512,
        system_prompt: str | None = None,
        temperature: float | None = None,
        model_preferences: str | Sequence[str] | ModelPreferences | None = None,
        include_context: Literal["none", "thisServer", "allServers"] | None = None,
        stop_sequences: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tools: Sequence[Tool] | None = None,
        tool_choice: ToolChoice | Literal["auto", "required", "none"] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> CreateMessageResult:
        """Ask the client's model to generate a message.

        Args:
            messages: a text, a message, or several.
            max_tokens: the most tokens that the model may generate.
            model_preferences: names of models that would suit, best first, or the whole preferences.
            tools: definitions of tools that the model may ask to use; the client must support that.
            timeout: seconds to wait, in a session (120 by default).

        Returns:
            The generated message; `enfilade.text_of` returns its text.

        The errors are those of `elicit`.
        """
        question = _question.sampling(
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
        )
        return await asking.ask(self._request, question, key=key, timeout=timeout)

    @to_await("ctx.roots")
    async def roots(self, *, key: str | None = None, timeout: float | None = None) -> list[Root]:
        """Return the directories and files that the user has opened for servers.

        Their URIs should be `file://` URIs, as the protocol says; what the client sends is not checked.
        The errors are those of `elicit`.
        """
        return await asking.ask(self._request, _question.roots(), key=key, timeout=timeout)

    @overload
    async def once(
        self, key: str, fn: Callable[[], Awaitable[J]], *, on_interrupted: OnInterrupted = "refuse"
    ) -> J: ...
    @overload
    async def once(self, key: str, fn: Callable[[], J], *, on_interrupted: OnInterrupted = "refuse") -> J: ...
    @overload
    async def once(self, key: str, fn: Callable[[], Any], *, on_interrupted: OnInterrupted = "refuse") -> Any: ...
    @to_await("ctx.once")
    async def once(self, key: str, fn: Callable[[], Any], *, on_interrupted: OnInterrupted = "refuse") -> Any:
        """Run a side effect once per call, however many rounds of questions the call has.

        One that raises counts as not run, and runs again the next time. In a durable task it also survives the
        death of its worker.

        Args:
            key: names it within the handler; a tool that is called twice runs it twice.
            fn: sync or async, without arguments; its value must be encodable as JSON. It cannot ask the client.
            on_interrupted: what a durable task does whose worker died in the middle of `fn`, so that nobody knows
                how much of it was done: it ends as failed (`refuse`), or runs it again (`run`).

        Returns:
            Its value after a round trip through JSON: a dataclass comes back as a dict, a tuple as a list.
        """
        return await asking.once(self._request, key, fn, on_interrupted)

    @to_await("ctx.sleep")
    async def sleep(self, seconds: float) -> None:
        """Wait for some time.

        In a durable task the handler ends here and runs again from the top when the time has come, at any worker;
        until then the task costs no more than its record. A sleep of up to a second is waited for in place, as is
        one in `ctx.once`.

        Args:
            seconds: of the wall clock, up to ten years.

        Raises:
            ValueError: it is no such number.
        """
        if isinstance(seconds, bool) or not 0 <= seconds <= LONGEST_SLEEP:
            raise ValueError(f"ctx.sleep takes seconds from 0 to {LONGEST_SLEEP:.0f}, not {seconds!r}")
        await asking.sleep(self._request, seconds)

    @property
    def input_responses(self) -> InputResponses:
        """The answers to the `InputRequired` that the previous run returned; empty in the first run."""
        return asking.responses_of(self._request)

    @property
    def input_state(self) -> Any:
        """The `state` of that `InputRequired`; None in the first run."""
        return asking.state_of(self._request)

    def require_capability(self, name: str) -> None:
        """Refuse the call unless the client declared a capability, such as `sampling` or `roots`.

        Raises:
            MissingCapabilityError: it did not (R-290).
        """
        if not self.supports(name):
            raise MissingCapabilityError({name: {}})

    def client_extension(self, id: str) -> dict[str, Any] | None:
        """Return the settings with which the client declared an extension; None if it did not (X-EXT-2).

        Args:
            id: of the extension: `com.example/notes`.
        """
        extensions = self._request.peer.capabilities.extensions
        if extensions is UNSET or id not in extensions:
            return None
        settings = extensions[id]
        return settings if isinstance(settings, dict) else {}

    @property
    def client_supports_apps(self) -> bool:
        """Whether the client shows views of MCP Apps (X-APP-2); if not, its user sees no more than text."""
        from enfilade.wire.apps import APPS, shows_views

        return shows_views(self.client_extension(APPS), in_session=self.session_id is not None)

    def supports(self, name: str) -> bool:
        """Return whether the client declared a capability: `elicitation`, `sampling`, `roots`, …"""
        return getattr(self._request.peer.capabilities, name, UNSET) is not UNSET
