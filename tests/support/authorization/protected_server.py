"""A protected MCP server with its authorization server, both on one port, whose every answer can be made wrong.

The endpoint is a real app behind a check of tokens. The authorization server knows one user, who agrees to
everything at once: authorization codes with PKCE, refresh tokens that rotate, client credentials, device codes
and dynamic registration. What a test changes are attributes: each document is a dict.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey

from enfilade import MCPApp

Form = dict[str, str]
Reply = tuple[int, dict[str, str], bytes]

CLIENT, SECRET = "registered-client", "the-secret-of-the-client"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """Return a response with a JSON body."""
    fields = {
        "content-type": "application/json",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    return status, fields, json.dumps(value).encode()


class ProtectedServer:
    """Both servers, for the length of a `with` block.

    Attributes:
        url: the endpoint.
        challenge: the parameters of the challenge; None for no `WWW-Authenticate`.
        resource_metadata: the document of RFC 9728.
        metadata: the document of RFC 8414.
        keys: the JWK set.
        replies: responses in place of the usual ones, by method and path.
        requests: what was asked for: method, path, headers and form.
        scopes: scopes that a request to the endpoint needs.
        lifetime: of access tokens in seconds.
        pending: how often a device code is answered with `authorization_pending`.
        denies: whether the user refuses.
    """

    def __init__(self, *, protected: bool = True) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"{self.origin}/mcp"
        self.issuer = f"{self.origin}/issuer"
        self._key = ECKey.generate_key("P-256", {"kid": "first", "alg": "ES256", "use": "sig"})
        self.reset(protected=protected)
        self._app = _app()
        self._server = uvicorn.Server(
            uvicorn.Config(self._asgi, log_level="critical", lifespan="off", ws="none", interface="asgi3")
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def reset(self, *, protected: bool = True) -> None:
        """Be again as at the beginning: every answer is right, and nothing was asked for."""
        self.protected = protected
        self.scopes = ["notes:read"]
        self.resource_metadata: dict[str, Any] = {
            "resource": self.url,
            "authorization_servers": [self.issuer],
            "scopes_supported": ["notes:read", "notes:write"],
            "bearer_methods_supported": ["header"],
        }
        self.metadata: dict[str, Any] = {
            "issuer": self.issuer,
            **{
                f"{name}_endpoint": f"{self.issuer}/{name}"
                for name in ("authorization", "token", "registration", "device_authorization", "revocation")
            },
            "jwks_uri": f"{self.issuer}/jwks",
            "scopes_supported": ["notes:read", "notes:write"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", DEVICE_GRANT],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.keys: list[Any] = [self._key.as_dict(private=False)]
        self.challenge: dict[str, str] | None = {
            "resource_metadata": f"{self.origin}/.well-known/oauth-protected-resource/mcp",
            "scope": "notes:read",
        }
        self.replies: dict[tuple[str, str], Reply] = {}
        self.requests: list[tuple[str, str, dict[str, str], Form]] = []
        self.lifetime = 3600
        self.pending = 0
        self.denies = False
        self._codes: dict[str, Form] = {}
        self._device_scope = ""
        self._refresh_tokens: set[str] = set()
        self._clients: set[str] = {CLIENT}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    async def _serve(self) -> None:
        async with self._app.running():
            await self._server.serve(sockets=[self._socket])

    def token(self, **claims: Any) -> str:
        """Return an access token of the issuer; a claim that is None is left out."""
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "aud": self.url,
            "sub": "ada",
            "client_id": CLIENT,
            "iat": now,
            "exp": now + self.lifetime,
            "scope": "notes:read",
        }
        chosen = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": "first", "typ": "at+jwt"}, chosen, self._key)

    def asked(self, method: str, path: str) -> int:
        """Return how often something was asked for."""
        return sum(request[:2] == (method, path) for request in self.requests)

    def revoke_all(self) -> None:
        """Make refresh tokens that were issued worthless."""
        self._refresh_tokens.clear()

    # -- HTTP ---
    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        if path == "/mcp":
            self.requests.append((method, path, headers, {}))
            reply = self.replies.get((method, path)) or self._refusal(headers)
            if reply is None:
                await self._app(scope, receive, send)
            else:
                await _send(send, reply)
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        query = dict(parse_qsl(scope["query_string"].decode()))
        form = dict(parse_qsl(body.decode())) if "urlencoded" in headers.get("content-type", "") else {}
        self.requests.append((method, path, headers, {**query, **form}))
        await _send(send, self.replies.get((method, path)) or self._reply(method, path, headers, query, form))

    def _refusal(self, headers: dict[str, str]) -> Reply | None:
        """Return the response to a request that the endpoint does not serve."""
        if not self.protected:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self._challenged(401, {})
        try:
            claims = jwt.decode(token, self._key, algorithms=["ES256"]).claims
        except Exception:
            return self._challenged(401, {"error": "invalid_token"})
        if claims.get("aud") != self.url or claims.get("exp", 0) <= time.time():
            return self._challenged(401, {"error": "invalid_token", "error_description": "expired or for others"})
        if not set(self.scopes) <= set(claims.get("scope", "").split()):
            return self._challenged(403, {"error": "insufficient_scope", "scope": " ".join(self.scopes)})
        return None

    def _challenged(self, status: int, more: dict[str, str]) -> Reply:
        if self.challenge is None:
            return status, {}, b""
        parameters = {**self.challenge, **more}
        text = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        return status, {"www-authenticate": f"Bearer {text}"}, b""

    def _reply(self, method: str, path: str, headers: dict[str, str], query: Form, form: Form) -> Reply:
        documents = {
            "/.well-known/oauth-protected-resource/mcp": self.resource_metadata,
            "/.well-known/oauth-protected-resource": self.resource_metadata,
            "/.well-known/oauth-authorization-server/issuer": self.metadata,
            "/issuer/jwks": {"keys": self.keys},
        }
        if not self.protected and "resource" in path:
            return 404, {}, b""
        if path in documents:
            return json_reply(documents[path], access_control_allow_origin="*")
        actions: dict[str, Callable[[], Reply]] = {
            "/issuer/authorization": lambda: self._authorize(query),
            "/issuer/token": lambda: self._token(headers, form),
            "/issuer/registration": self._register,
            "/issuer/device_authorization": lambda: self._device_code(form),
            "/issuer/revocation": lambda: self._revoke(form),
        }
        return actions[path]() if path in actions else (404, {}, b"")

    def _authorize(self, query: Form) -> Reply:
        code = secrets.token_urlsafe(8)
        self._codes[code] = query
        answer = {"error": "access_denied"} if self.denies else {"code": code}
        parameters = urlencode({**answer, "state": query["state"], "iss": self.issuer})
        if query["client_id"] not in self._clients:
            return json_reply({"error": "invalid_client"}, 401)
        return 302, {"location": f"{query['redirect_uri']}?{parameters}"}, b""

    def _register(self) -> Reply:
        client = f"client-{len(self._clients)}"
        self._clients.add(client)
        return json_reply({"client_id": client, "token_endpoint_auth_method": "none"}, 201)

    def _device_code(self, form: Form) -> Reply:
        self._device_scope = form.get("scope", "")
        return json_reply(
            {
                "device_code": "the-device-code",
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/device",
                "expires_in": 600,
                "interval": 0,
            }
        )

    def _revoke(self, form: Form) -> Reply:
        self._refresh_tokens.discard(form["token"])
        return (
            (200, {}, b"")
            if form.get("client_id") in self._clients
            else json_reply({"error": "invalid_client"}, 401)
        )

    def _token(self, headers: dict[str, str], form: Form) -> Reply:
        grant = form.get("grant_type")
        if grant == "authorization_code":
            request = self._codes.pop(form["code"], {})
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if proof != request.get("code_challenge") or form["redirect_uri"] != request["redirect_uri"]:
                return json_reply({"error": "invalid_grant"}, 400)
            return self._issued(request.get("scope", ""), form.get("resource"))
        if grant == "refresh_token":
            if form["refresh_token"] not in self._refresh_tokens:
                return json_reply({"error": "invalid_grant"}, 400)
            self._refresh_tokens.remove(form["refresh_token"])
            return self._issued(form.get("scope", "notes:read"), form.get("resource"))
        if grant == "client_credentials":
            credentials = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            if headers.get("authorization") != f"Basic {credentials}":
                return json_reply({"error": "invalid_client"}, 401)
            return self._issued(form.get("scope", ""), form.get("resource"))
        if grant == DEVICE_GRANT:
            if self.denies:
                return json_reply({"error": "access_denied"}, 400)
            if self.pending:
                self.pending -= 1
                return json_reply({"error": "authorization_pending"}, 400)
            return self._issued(self._device_scope, form.get("resource"))
        return json_reply({"error": "unsupported_grant_type"}, 400)

    def _issued(self, scope: str, resource: str | None) -> Reply:
        refresh_token = secrets.token_urlsafe(8)
        self._refresh_tokens.add(refresh_token)
        token = self.token(aud=resource, scope=scope, jti=secrets.token_urlsafe(8))
        return json_reply(
            {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "refresh_token": refresh_token,
                "scope": scope,
            }
        )


async def _send(send: Any, reply: Reply) -> None:
    status, headers, body = reply
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _app() -> MCPApp:
    app = MCPApp("Notes", version="1.0.0")

    @app.tool
    def note(text: str) -> str:
        """Repeat a text."""
        return f"noted: {text}"

    return app
