"""The server of `desk_server.py` in a thread, its services, and people who call it and visit its pages."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from enfilade import MCPApp, Settings
from support.authorization.desk_server import make_app
from support.authorization.oauth_service import OAuthService
from support.authorization.visitor import Page, Visitor
from support.harness import Serving
from support.http_client.connection import Http, Reply

PUBLIC = "https://mcp.example.com/mcp"
META = "enfilade/authorization"


@dataclass
class Desk:
    """A way to a server with tool authorization.

    Attributes:
        http: the server.
        services: the providers, by their ids.
        issuer: at which callers log in; None if the only caller is the user of this machine.
        app: the app, if it runs here.
        resource: the URL of the endpoint, for which callers have tokens.
        serving: what serves the app, if it runs here.
        seen: whatever the server has answered to callers and browsers.
    """

    http: Http
    services: dict[str, OAuthService]
    issuer: OAuthService | None = None
    app: MCPApp | None = None
    resource: str = ""
    serving: Serving | None = None
    seen: list[str] = field(default_factory=list)

    @property
    def service(self) -> OAuthService:
        """The first of the services."""
        return next(iter(self.services.values()))

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    def headers(self, user: str | None) -> dict[str, str]:
        """Return the headers by which a user calls."""
        if self.issuer is None or user is None:
            return {}
        return {"authorization": f"Bearer {self.issuer.issuer.token(user, audience=self.resource)}"}

    def call(self, tool: str, user: str | None = None, *, http: Http | None = None, **arguments: Any) -> Reply:
        """Call a tool as a client that cannot show pages."""
        params = {"name": tool, "arguments": arguments}
        reply = (http or self.http).modern("tools/call", params, **self.headers(user))
        self.seen.append(reply.body.decode())
        return reply

    def text(self, tool: str, user: str | None = None, **arguments: Any) -> str:
        """Call a tool, and return the text of its result, which is no error."""
        result = self.call(tool, user, **arguments).result
        assert not result.get("isError"), result
        return str(result["content"][0]["text"])

    def refusal(self, tool: str, user: str | None = None, **arguments: Any) -> str:
        """Call a tool, and return the text of its error."""
        result = self.call(tool, user, **arguments).result
        assert result.get("isError"), result
        return str(result["content"][0]["text"])

    def link(self, tool: str, user: str | None = None, **arguments: Any) -> str:
        """Call a tool that needs consent, and return the link to it (A7)."""
        result = self.call(tool, user, **arguments).result
        assert result.get("isError"), result
        return str(result["_meta"][META]["url"])

    def consent(self, tool: str, user: str | None = None) -> Page:
        """Call a tool, and give consent as its user does."""
        with Visitor(user) as visitor:
            return self.visited(visitor.agree(self.link(tool, user)))

    def visited(self, page: Page) -> Page:
        """Remember a page."""
        self.seen += [page.html, repr(page.response.headers), *page.trail]
        return page

    def is_allowed(self, tool: str, user: str | None = None) -> bool:
        """Whether a tool has a token of a user."""
        return not self.call(tool, user).result.get("isError", False)


@contextmanager
def desk(
    *ids: str,
    users: bool = False,
    public: bool = False,
    services: dict[str, OAuthService] | None = None,
    **options: Any,
) -> Iterator[Desk]:
    """Serve the app.

    Args:
        ids: of the providers; `corp` by default.
        users: whether callers are told apart, by the tokens of an issuer.
        public: whether the endpoint is `PUBLIC`, behind a proxy that is not there.
        services: the providers, if they are there already.
        options: of `MCPApp`.
    """
    with ExitStack() as stack:
        if services is None:
            services = {id: stack.enter_context(OAuthService()) for id in ids or ("corp",)}
        issuer = stack.enter_context(OAuthService()) if users else None
        apps: list[MCPApp] = []

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            await apps[0](scope, receive, send)

        serving = Serving(asgi)
        resource = PUBLIC if public else f"http://127.0.0.1:{serving.port}/mcp"
        if public:
            options = {"settings": Settings(allowed_hosts=["mcp.example.com"]), **options}
        origins = {id: service.origin for id, service in services.items()}
        apps.append(make_app(origins, None if issuer is None else issuer.origin, resource, **options))
        stack.enter_context(serving)
        yield Desk(serving.http, services, issuer, apps[0], resource, serving)


def secrets_of(desk: Desk) -> set[str]:
    """Return the texts that nobody may read."""
    services = [*desk.services.values(), *([desk.issuer] if desk.issuer else [])]
    return {secret for service in services for secret in service.secrets}


def check_nothing_leaks(desk: Desk, *texts: str) -> None:
    """Check that neither the texts nor what was seen has a secret; codes pass through browsers, in URLs alone."""
    secrets = secrets_of(desk)
    assert secrets
    for text in (*texts, *desk.seen):
        found = [secret for secret in secrets if secret in text and not _is_code_in_url(secret, text)]
        assert not found, text


def _is_code_in_url(secret: str, text: str) -> bool:
    return secret.startswith("code-") and text.startswith("http") and f"code={secret}" in text


def decoded(reply: Reply) -> Any:
    """Return the structured content of a result."""
    return reply.result.get("structuredContent", json.loads(reply.result["content"][0]["text"]))
