"""Tokens of other services by which a tool acts for its caller: `ctx.auth`.

The tokens of a call are in an object of its own, which a call that it makes does not see: that gets those of its
own tool (P9, P10). Who gives them is the `ToolAuthorizer` of the app, which `enfilade.auth` has.

Easy to get wrong: what leaves the process. A token has no place in a repr, and the call's `Redaction` knows it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

from enfilade.primitives.errors import ToolError
from enfilade.serving.awaitables import to_await

if TYPE_CHECKING:
    from enfilade.primitives.access import AuthRequirement
    from enfilade.serving.channel import Channel
    from enfilade.serving.request import Request

R = TypeVar("R")


#: Where tests put tokens by provider into the state of a scope, for requests over HTTP.
TOKENS_KEY: Final = "enfilade.tool_tokens"


def given_tokens(channel: Channel) -> Mapping[str, str] | None:
    """Return the tokens that a test has given in place of those of users; None in any other case."""
    if channel.http is None:
        return channel.tool_tokens
    state: Any = channel.http.scope.get("state")
    return state.get(TOKENS_KEY) if state else None


class AuthError(ToolError):
    """There is no token for the caller; the text says why, and what to do."""

    _kind = "auth"


class RejectedTokenError(AuthError):
    """The service has refused a token that seemed to be good; `ctx.auth.rejected()` makes it.

    Args:
        provider: the id of the provider.
        title: its name for people.
    """

    def __init__(self, provider: str, title: str) -> None:
        super().__init__(f"{title} has refused the token; try again")
        self.provider = provider


class ToolToken:
    """The token of one provider for one call.

    Attributes:
        provider: the id of the provider.
        title: its name for people.
        token: the access token.
        scopes: what it allows, as far as the provider has said it.
        user_info: what the provider says of the user; empty if it says nothing.
    """

    __slots__ = ("provider", "scopes", "title", "token", "user_info")

    def __init__(
        self,
        provider: str,
        title: str,
        token: str,
        scopes: Sequence[str] = (),
        user_info: Mapping[str, Any] | None = None,
    ) -> None:
        self.provider = provider
        self.title = title
        self.token = token
        self.scopes = tuple(scopes)
        self.user_info = dict(user_info or {})

    def __reduce__(self) -> NoReturn:
        raise TypeError("the token of a call stays in its process")

    def __repr__(self) -> str:
        return f"<token of {self.title} for {' '.join(self.scopes) or 'no scopes'}>"


class ToolAuthorizer(Protocol):
    """Gives the tokens that tools need; one for each app."""

    async def authorize(
        self, request: Request, tool: str, requirements: Sequence[AuthRequirement]
    ) -> Sequence[ToolToken]:
        """Return a token for each requirement of a tool, asking the user for consent where there is none.

        Raises:
            AuthError: there is none for one of them.
            RpcError: the client has to send its user to a page, and then to call again.
            asyncio.CancelledError: the round ends here.
        """
        ...

    def meaning_of(self, error: BaseException, auth: CallAuth) -> ToolError | None:
        """Return what an exception of a tool means: `RejectedTokenError`, a text for the model, or nothing.

        Args:
            error: raised by the tool, such as that of an HTTP client.
            auth: the tokens of the call.
        """
        ...

    async def renew(self, request: Request, token: ToolToken) -> None:
        """Replace a token that the service has refused, or forget it if that cannot be done.

        Raises:
            AuthError: the provider cannot be asked at present.
        """
        ...

    async def revoke(self, request: Request, provider: str) -> None:
        """Revoke the tokens of the caller at a provider, and forget them in any case."""
        ...

    async def exchange(self, request: Request, audience: str, scopes: Sequence[str]) -> str:
        """Return a token of the caller for another service (RFC 8693).

        Raises:
            AuthError: there is none.
        """
        ...


class CallAuth:
    """The tokens of one call: `ctx.auth.token`, and `ctx.auth["slack"].token` where there are several."""

    __slots__ = ("_authorizer", "_request", "_tokens")

    def __init__(self, request: Request, authorizer: ToolAuthorizer, tokens: Sequence[ToolToken]) -> None:
        self._request = request
        self._authorizer = authorizer
        self._tokens = {token.provider: token for token in tokens}

    @property
    def token(self) -> str:
        """The access token, of a tool that needs that of one provider.

        Raises:
            AuthError: it needs those of several.
        """
        return self._only().token

    @property
    def provider(self) -> str:
        """The id of the provider, of a tool that needs one."""
        return self._only().provider

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the token allows, as far as the provider has said it."""
        return self._only().scopes

    @property
    def user_info(self) -> dict[str, Any]:
        """What the provider says of the user; empty if it says nothing."""
        return self._only().user_info

    def __getitem__(self, provider: str) -> ToolToken:
        """Return the token of one provider, by its id.

        Raises:
            AuthError: the tool does not need it.
        """
        token = self._tokens.get(provider)
        if token is None:
            known = ", ".join(self._tokens)
            raise AuthError(f"this tool has no token of {provider!r}; its requires_auth names {known}")
        return token

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def rejected(self, provider: str | None = None) -> RejectedTokenError:
        """Return the error of a token that the service has refused: `raise ctx.auth.rejected()`.

        The token is then replaced and the tool runs once more, unless the client was already sent something.

        Args:
            provider: its id, if the tool needs tokens of several.

        Raises:
            AuthError: the tool has no such token.
        """
        token = self._only() if provider is None else self[provider]
        return RejectedTokenError(token.provider, token.title)

    @to_await("ctx.auth.revoke")
    async def revoke(self, provider: str | None = None) -> None:
        """Revoke the tokens of the caller at the provider, and forget them: the next call asks for consent.

        Args:
            provider: its id, if the tool needs tokens of several.

        Raises:
            AuthError: the tool has no such token.
        """
        token = self._only() if provider is None else self[provider]
        await self._authorizer.revoke(self._request, token.provider)

    def _only(self) -> ToolToken:
        if len(self._tokens) != 1:
            known = ", ".join(self._tokens)
            raise AuthError(f'this tool has tokens of several providers, {known}: name one, ctx.auth["…"]')
        return next(iter(self._tokens.values()))

    def __reduce__(self) -> NoReturn:
        raise TypeError("the tokens of a call stay in its process")

    def __repr__(self) -> str:
        return f"<auth of {', '.join(self._tokens)}>"


#: Said to authors whose tool has not declared that it needs a token.
NOT_DECLARED: Final = (
    "this tool has no token: it has to say which it needs, such as @app.tool(requires_auth=GitHub(scopes=[...]))"
)


class WatchedOutlet:
    """Passes everything on to the outlet of a client's request, and counts what its client was sent.

    Attributes:
        sent: how many messages.
    """

    def __init__(self, outlet: Any) -> None:
        self._outlet = outlet
        self.sent = 0

    @classmethod
    def of(cls, request: Request) -> WatchedOutlet:
        """Return that of a client's request, which has one from now on; nested calls share it."""
        channel = request.root.channel
        if not isinstance(channel.outlet, cls):
            channel.outlet = cls(channel.outlet)
        return channel.outlet

    @property
    def is_congested(self) -> bool:
        """Whether a sender that can wait should wait."""
        return bool(self._outlet.is_congested)

    def push(self, message: bytes) -> bool:
        """Send a notification."""
        self.sent += 1
        return bool(self._outlet.push(message))

    def send(self, message: bytes) -> bool:
        """Send a question."""
        self.sent += 1
        return bool(self._outlet.send(message))

    async def wait_for_room(self) -> None:
        """Return once the reader has caught up."""
        await self._outlet.wait_for_room()

    def close_connection(self, retry: float | None) -> bool:
        """Close the connection and keep the stream."""
        return bool(self._outlet.close_connection(retry))

    def note_scopes(self, scopes: Any) -> None:
        """Remember the scopes of what is sent from now on."""
        self._outlet.note_scopes(scopes)


async def run_with_tokens(
    request: Request,
    authorizer: ToolAuthorizer,
    tool: str,
    requirements: Sequence[AuthRequirement],
    run: Callable[[CallAuth], Awaitable[R]],
) -> R:
    """Run a tool with the tokens that it needs; once more if a token was refused and nothing was sent (A15).

    A tool with tokens of several providers runs again for each of them whose token was refused, once.

    Args:
        request: the call.
        authorizer: gives the tokens.
        tool: the name of the tool.
        requirements: the tokens that it needs.
        run: calls the tool with them.

    Raises:
        Exception: raised by the tool, or `AuthError` if there is no token.
    """
    renewed: set[str] = set()
    while True:
        auth = CallAuth(request, authorizer, await authorizer.authorize(request, tool, requirements))
        watched = WatchedOutlet.of(request)
        begun = watched.sent, _done_by(request)
        try:
            return await run(auth)
        except Exception as error:
            refused = _refused(error, authorizer, auth)
            if refused.provider in renewed:
                title = auth[refused.provider].title
                raise AuthError(f"{title} refuses the token that it has just given") from error
            renewed.add(refused.provider)
            await authorizer.renew(request, auth[refused.provider])
            # What it has asked, or had other tools do, would be done again.
            if request.is_done or (watched.sent, _done_by(request)) != begun:
                raise refused from error


def _done_by(request: Request) -> tuple[int, int]:
    """Return how much the handler of a request has asked, and how many tools it has called."""
    return 0 if request.asking is None else request.asking.questions, request.calls


def _refused(error: Exception, authorizer: ToolAuthorizer, auth: CallAuth) -> RejectedTokenError:
    """Return the error of a refused token that an exception stands for.

    Raises:
        Exception: it is another one, or what it means for the model.
    """
    meaning = authorizer.meaning_of(error, auth)
    if isinstance(meaning, RejectedTokenError):
        return meaning
    if meaning is not None:
        raise meaning from error
    raise error
