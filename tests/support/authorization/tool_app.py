"""An app whose tools act for their callers at an `OAuthService`, and users who give consent."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2
from enfilade.testing import Question, accept
from support.authorization.oauth_service import AUTHORIZE, REVOKE, TOKEN, USERINFO, OAuthService
from support.authorization.visitor import Page, Visitor
from support.harness import Serving

CLIENT, SECRET = "enfilade", "client-secret-of-the-tests"

#: What the model would say to the user, or the client would show.
Answer = Callable[[Question], Awaitable[Any]]


def provider_at(service: OAuthService, **options: Any) -> OAuth2:
    """Return the service as a provider."""
    return OAuth2(
        "corp",
        service.url(AUTHORIZE),
        service.url(TOKEN),
        service.url(REVOKE),
        title="Corp",
        user_info_url=service.url(USERINFO),
        scope_texts={"read": "read your files"},
        **options,
    )


def tool_app(service: OAuthService, **options: Any) -> MCPApp:
    """Return an app with tools that have the user's token, and one that has not."""
    corp = provider_at(service)
    app = MCPApp("Files", **{"tool_auth": [corp.client(id=CLIENT, secret=SECRET)], **options})

    @app.tool(requires_auth=corp(scopes=["read"]))
    async def whoami(ctx: Context) -> str:
        """Say whose token it is, and what it allows."""
        grant = service.grants.grant_of(ctx.auth.token)
        if grant is None:
            raise ctx.auth.rejected()
        return f"{grant.user}: {' '.join(ctx.auth.scopes)}"

    @app.tool(requires_auth=corp(scopes=["read", "write"]))
    async def save(ctx: Context) -> str:
        """Need one scope more."""
        return " ".join(ctx.auth.scopes)

    @app.tool
    async def plain(ctx: Context) -> str:
        """Have no token."""
        return ctx.get_auth_token_or_empty() or ctx.auth.token

    return app


@contextmanager
def serving_at_its_port(make: Callable[[int], Any]) -> Iterator[Serving]:
    """Serve an application that has to know its port beforehand."""
    made: list[Any] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await made[0](scope, receive, send)

    serving = Serving(late)
    made.append(make(serving.port))
    with serving:
        yield serving


def consenting(login: str | None = None, pages: list[Page] | None = None) -> Answer:
    """Return answers of a client whose user opens each link and presses the button, and then says so."""

    async def answer(question: Question) -> Any:
        assert question.url is not None
        await asyncio.to_thread(visited, question.url, login, pages)
        return accept()

    return answer


def visited(url: str, login: str | None = None, pages: list[Page] | None = None) -> Page:
    """Open a link in a new browser, press the button, and return the last page; also into a list.

    A call may go on before the last page has come, and its client then waits for the user no longer.
    """
    with Visitor(login) as visitor:
        page = visitor.agree(url)
    if pages is not None:
        pages.append(page)
    return page
