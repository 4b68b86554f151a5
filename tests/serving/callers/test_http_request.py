"""B11: what handlers and middleware may know of the HTTP request, in both eras, and what they may not."""

from typing import Any

import pytest

from enfilade import Context, HttpRequest, MCPApp, Request, connect
from enfilade.serving.callers.http_request import CREDENTIALS_KEY, HttpHeaders
from support.http_client.asgi_calls import AsgiClient

pytestmark = pytest.mark.anyio

CREDENTIALS = {
    "authorization": "Bearer canary",
    "cookie": "session=canary",
    "proxy_authorization": "Basic canary",
    "dpop": "canary",
    "x_api_key": "canary",
    "x_team_apikey": "canary",
    "x_forwarded_access_token": "canary",
    "x_goog_iap_jwt_assertion": "canary",
}


class Calls:
    """A server whose tools note what they see of the request, and a way to call them."""

    def __init__(self) -> None:
        self.app = MCPApp("Facts")
        self.seen: list[HttpRequest | None] = []
        for fn in (self.look, self.look_in_a_thread, self.look_by_another):
            self.app.tool(fn)
        self.app.add_middleware(self.note)
        self.client = AsgiClient(self.app)

    async def look(self, ctx: Context) -> None:
        self.seen.append(ctx.http)

    def look_in_a_thread(self, ctx: Context) -> None:
        self.seen.append(ctx.http)

    async def look_by_another(self, ctx: Context) -> None:
        await ctx.tools.call("look")

    async def note(self, request: Request, call_next: Any) -> Any:
        if request.method == "tools/call":
            self.seen.append(request.http)
        return await call_next(request)

    async def modern(self, scope: dict[str, Any], tool: str = "look", **headers: Any) -> HttpRequest:
        """Call a tool by a request of which parts of the scope are others."""
        ordinary = self.client.scope
        self.client.scope = lambda *args: {**ordinary(*args), **scope}  # type: ignore[method-assign]
        await self.client.modern("tools/call", {"name": tool}, **headers)
        return self.http

    @property
    def http(self) -> HttpRequest:
        http = self.seen[-1]
        assert http is not None
        return http


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize("tool", ["look", "look_in_a_thread", "look_by_another"])
@pytest.mark.parametrize("era", ["session", "stateless"])
async def test_tools_and_middleware_see_the_request(calls: Calls, era: str, tool: str) -> None:
    call, headers = {"name": tool}, {"x_team": "blue", **CREDENTIALS}
    if era == "session":
        token = (await calls.client.initialize()).headers["mcp-session-id"]
        await calls.client.ask(token, "tools/call", call, **headers)
    else:
        await calls.client.modern("tools/call", call, **headers)
    assert len(calls.seen) == (3 if tool == "look_by_another" else 2)
    for http in calls.seen:
        assert http is calls.http
        assert http is not None
        assert (http.headers["X-Team"], http.client) == ("blue", "127.0.0.1")
        assert http.url == "http://127.0.0.1:8000/mcp"


async def test_no_credentials_are_there(calls: Calls) -> None:
    token = (await calls.client.initialize()).headers["mcp-session-id"]
    await calls.client.ask(token, "tools/call", {"name": "look"}, **CREDENTIALS)
    headers = calls.http.headers
    assert headers
    for name in (*CREDENTIALS, "mcp_session_id"):
        assert name.replace("_", "-") not in headers
        assert headers.getlist(name.replace("_", "-")) == []
    assert "canary" not in f"{dict(headers)} {calls.http.url} {calls.http!r} {headers!r}"
    assert token not in str(dict(headers))


async def test_a_host_names_further_headers_with_credentials(calls: Calls) -> None:
    state = {CREDENTIALS_KEY: ("x-team-badge",)}
    http = await calls.modern({"state": state}, x_team_badge="canary", idempotency_key="1")
    assert (http.headers.get("idempotency-key"), http.headers.get("x-team-badge")) == ("1", None)


#: Names of headers that clients, proxies and clouds send credentials in.
SECRET_NAMES = """
    Authorization Proxy-Authorization X-Authorization X-Forwarded-Authorization X-Original-Authorization
    X-Serverless-Authorization Authentication X-Auth Auth-Key X-Bearer DPoP Mcp-Session-Id
    Cookie Cookie2 Set-Cookie X-Forwarded-Cookie X-Original-Cookie
    X-Access-Token X-Forwarded-Access-Token X-Auth-Request-Access-Token X-Auth-Token X-CSRF-Token X-Id-Token
    X-Amzn-Oidc-Accesstoken X-Amzn-Oidc-Data X-Amz-Security-Token X-Vault-Token Private-Token OIDC_access_token
    X-Ms-Token-Aad-Access-Token X-Ms-Token-Aad-Id-Token X-Ms-Token-Aad-Expires-On X-Ms-Token-Google-Refresh-Token
    Cf-Access-Jwt-Assertion Cf-Access-Client-Secret X-Goog-Iap-Jwt-Assertion X-Forwarded-Jwt Client-Assertion
    X-Api-Key ApiKey X_API_KEY X-Goog-Api-Key X-RapidAPI-Key Ocp-Apim-Subscription-Key X-Functions-Key
    X-Secret-Key X-Master-Key X-Access-Key X-Amz-Server-Side-Encryption-Customer-Key X-Team-Key X-Ms-Key-1
    X-Password X-Passwd X-Client-Secret X-Amz-Credential X-Credentials X-Github-Otp X-Hub-Signature-256 Signature
    X-Session-Id X-Session X-Session-Token X-SessionId X-JSessionId X-Ticket X-Auth-Code X-Token-Value X-Token2
    X-Apikey-Prod X-Api-Key-V2 X-Key-Prod X-Secret-Header X-Hmac X-Hmac-Sha256 X-Password-Hash X-Signature-Ed25519
"""
#: Names of headers that hold none.
OTHER_NAMES = """
    Host User-Agent Accept Content-Type Traceparent Forwarded X-Forwarded-For X-Forwarded-User X-Forwarded-Email
    X-Auth-Request-User X-Auth-Request-Email X-Amzn-Oidc-Identity X-Ms-Client-Principal-Name X-Team X-Author
    X-Max-Tokens X-Keyboard X-Monkey-Count Idempotency-Key Sec-Websocket-Key X-Partition-Key X-Client-Cert
    X-Partition-Key-Range X-Tokenizer X-Auth-Request-Groups X-Country-Code X-Sessions-Open
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_names_of_headers_with_credentials(name: str) -> None:
    """B11: what a handler logs or hands on is no token."""
    headers = HttpHeaders([(name.encode(), b"canary"), (b"x-team", b"blue")])
    assert dict(headers) == {"x-team": "blue"}


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_names_of_headers_without_credentials(name: str) -> None:
    assert HttpHeaders([(name.encode(), b"blue")])[name] == "blue"


@pytest.mark.parametrize("name", ["Referer", "X-Original-URL", "X-Forwarded-Uri", "X-Envoy-Original-Path"])
def test_urls_in_headers_have_no_credentials(name: str) -> None:
    headers = HttpHeaders([(name.encode(), b"/mcp?access_token=canary&a=1#canary")])
    assert headers[name] == "/mcp?a=1"


def test_headers_are_a_mapping_without_case() -> None:
    headers = HttpHeaders([(b"x-a", b"1"), (b"X-B", b"2"), (b"x-a", b"3"), (b"cookie", b"canary")])
    assert (headers["X-A"], headers.getlist("X-A"), headers.getlist("x-c")) == ("1, 3", ["1", "3"], [])
    assert ("X-b" in headers, "x-c" in headers, 1 in headers, "Cookie" in headers) == (True, False, False, False)
    assert (dict(headers), len(headers)) == ({"x-a": "1, 3", "x-b": "2"}, 2)
    with pytest.raises(KeyError):
        headers["cookie"]
    assert "canary" not in repr(headers)


SCOPES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "of a proxy": ({"scheme": "https"}, {"host": "localhost"}, "https://localhost/mcp"),
    "in capitals": ({}, {"host": "LOCALHOST:80"}, "http://localhost:80/mcp"),
    "ipv6": ({}, {"host": "[::1]:80"}, "http://[::1]:80/mcp"),
    "without a host": ({}, {"host": None}, "http://127.0.0.1:8000/mcp"),
    "without any": ({"server": None}, {"host": None}, "http://localhost/mcp"),
    "of a socket": ({"server": ("/run/x.sock", None)}, {"host": None}, "http://localhost/mcp"),
    "query": ({"query_string": b"a=1&b=%20"}, {}, "http://127.0.0.1:8000/mcp?a=1&b=%20"),
    "secrets": (
        {"query_string": b"access_token=x&A=1&api%5Fkey=x&API-KEY=x&key=x&client_secret=x&X-Amz-Signature=x"},
        {},
        "http://127.0.0.1:8000/mcp?A=1",
    ),
    "mounted": ({"root_path": "/api", "path": "/api/mcp"}, {}, "http://127.0.0.1:8000/api/mcp"),
    "stripped prefix": ({"root_path": "/api", "path": "/mcp"}, {}, "http://127.0.0.1:8000/api/mcp"),
}


@pytest.mark.parametrize(("scope", "headers", "url"), SCOPES.values(), ids=SCOPES)
async def test_the_url_is_that_of_the_client(
    calls: Calls, scope: dict[str, Any], headers: dict[str, Any], url: str
) -> None:
    assert (await calls.modern(scope, **headers)).url == url


async def test_a_host_that_is_not_allowed_comes_nowhere(calls: Calls) -> None:
    reply = await calls.client.modern("tools/call", {"name": "look"}, host="evil.example")
    assert (reply.status, calls.seen) == (421, [])


async def test_the_client_is_the_address_alone(calls: Calls) -> None:
    assert (await calls.modern({"client": ("192.0.2.1", 5)})).client == "192.0.2.1"
    assert (await calls.modern({"client": None})).client is None


@pytest.mark.parametrize("era", ["session", "stateless"])
async def test_without_http_there_is_none(calls: Calls, era: Any) -> None:
    async with connect(calls.app, era=era) as client:
        await client.call_tool("look", {})
    assert calls.seen == [None, None]


async def test_a_call_that_does_not_look_makes_nothing(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(HttpRequest, "__init__", lambda self, head: made.append(head))
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        return "done"

    await AsgiClient(app).modern("tools/call", {"name": "work"})
    assert made == []
    await calls.client.modern("tools/call", {"name": "look"})
    assert len(made) == 1
