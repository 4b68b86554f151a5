"""A client of a server with a login of its own, which does each step by itself, so that a test can change any.

The user is a `Visitor`. Nothing here is lenient: a response that is not as it must be fails the test.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from support.authorization.visitor import Page, Visitor

REDIRECT_URI = "http://127.0.0.1:1/callback"


@dataclass
class ProxyClient:
    """A client that has registered.

    Attributes:
        public_url: of the server.
        client_id: its id there.
        secret: its secret; None for a public client.
        verifier: of its PKCE.
        state: that it sends.
    """

    public_url: str
    client_id: str
    secret: str | None = None
    redirect_uri: str = REDIRECT_URI
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(8))

    @classmethod
    def registered(cls, public_url: str, **metadata: Any) -> "ProxyClient":
        """Register, and return the client."""
        response = register(public_url, **metadata)
        assert response.status_code == 201, response.text
        members = response.json()
        return cls(public_url, members["client_id"], members.get("client_secret"), members["redirect_uris"][0])

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorization_url(self, **changed: str | None) -> str:
        """Return the URL of an authorization request, with some parameters changed; None leaves one out."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "state": self.state,
            "resource": f"{self.public_url}/mcp",
            "scope": "notes:read",
            **changed,
        }
        query = {name: value for name, value in parameters.items() if value is not None}
        return str(httpx.URL(f"{self.public_url}/oauth/authorize", params=query))

    def returned(self, page: Page) -> dict[str, str]:
        """Return what the client is told by the redirect to it."""
        url = page.trail[-1]
        assert url.startswith(self.redirect_uri), f"{page.status}: {page.text}"
        return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    def log_in(self, visitor: Visitor, **changed: str | None) -> dict[str, str]:
        """Let a user log in and agree, and return what the client is told."""
        page = visitor.open(self.authorization_url(**changed), self.redirect_uri)
        if page.forms:
            page = visitor.press(page, self.redirect_uri, decision="allow")
        return self.returned(page)

    def code(self, visitor: Visitor, **changed: str | None) -> str:
        """Let a user log in and agree, and return the code."""
        answer = self.log_in(visitor, **changed)
        assert "code" in answer, answer
        assert answer["state"] == self.state
        assert answer["iss"] == self.public_url
        return answer["code"]

    def token_request(self, **form: str | None) -> httpx.Response:
        """Send a request to the token endpoint as this client; None leaves a parameter out."""
        fields: dict[str, str | None] = {"client_id": self.client_id, "client_secret": self.secret, **form}
        data = {name: value for name, value in fields.items() if value is not None}
        return httpx.post(f"{self.public_url}/oauth/token", data=data, timeout=30)

    def redeem(self, code: str, **changed: str | None) -> httpx.Response:
        """Send a code to the token endpoint."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            "resource": f"{self.public_url}/mcp",
        }
        return self.token_request(**{**form, **changed})

    def refresh(self, refresh_token: str, **changed: str | None) -> httpx.Response:
        """Send a refresh token to the token endpoint."""
        return self.token_request(grant_type="refresh_token", refresh_token=refresh_token, **changed)

    def tokens(self, visitor: Visitor, **changed: str | None) -> dict[str, Any]:
        """Let a user log in, and return the token response."""
        response = self.redeem(self.code(visitor, **changed))
        assert response.status_code == 200, response.text
        members: dict[str, Any] = response.json()
        return members


def register(public_url: str, **metadata: Any) -> httpx.Response:
    """Send a registration, with other values for some members."""
    body = {
        "client_name": "the client",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        **metadata,
    }
    return httpx.post(f"{public_url}/oauth/register", json=body, timeout=30)


def call(public_url: str, token: str, tool: str = "whoami") -> httpx.Response:
    """Call a tool with a token, by the stateless revision."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    return httpx.post(f"{public_url}/mcp", json=message, headers=headers, timeout=30)


def caller(public_url: str, token: str, tool: str = "whoami") -> dict[str, Any]:
    """Return who calls with a token, as the server has it."""
    response = call(public_url, token, tool)
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()["result"]["structuredContent"]
    return content
