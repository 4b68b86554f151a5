"""B7: nobody becomes somebody else: by a verifier, by an issuer's name, or by what two requests share."""

import base64
import logging
from typing import Any

import httpx
import pytest

from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, Introspection, InvalidTokenError, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.auth.claims import is_same_url
from enfilade.testing import Issuer
from enfilade.transports.asgi import host_principal, host_principal_key
from support.http_client.asgi_calls import AsgiClient, AsgiReply

RESOURCE = "https://mcp.example.com/mcp"
issuer = Issuer("https://idp.test", audience=RESOURCE)


class SdkToken:
    """As an `AccessToken` of the official SDK, which has no issuer."""

    def __init__(self, token: str, subject: str, **claims: Any) -> None:
        self.token, self.client_id, self.scopes, self.subject = token, "client", ["base"], subject
        self.expires_at: int | None = None
        self.claims = claims


class Verifier:
    """It knows the tokens that begin with its name, and their users."""

    def __init__(self, name: str, **claims: Any) -> None:
        self.name = name
        self.claims = claims

    async def verify_token(self, token: str) -> Any:
        name, _, subject = token.partition(":")
        return SdkToken(token, subject, **self.claims) if name == self.name else None


class Another(Verifier):
    """One of another class."""


def make(*verifiers: Any, **options: Any) -> MCPApp:
    app = MCPApp("Notes", auth=ResourceServer(RESOURCE, [issuer.server()], verifiers=verifiers, **options))

    @app.tool
    async def remember(ctx: Context, value: str | None = None) -> str | None:
        """Return what the caller has said before."""
        before: str | None = await ctx.state.get("value")
        if value is not None:
            await ctx.state.set("value", value)
        return before

    @app.tool
    async def roles(ctx: Context) -> list[str]:
        """Return the roles in the token, and try to add one."""
        assert ctx.principal is not None
        found: list[str] = ctx.principal.claims["realm"]["roles"]
        found.append("admin")
        ctx.principal.claims["realm"]["roles"].append("admin")
        return ctx.principal.claims["realm"]["roles"]  # type: ignore[no-any-return]

    return app


async def call(app: MCPApp, tool: str, headers: dict[str, str], **arguments: Any) -> Any:
    reply = await AsgiClient(app).modern("tools/call", {"name": tool, "arguments": arguments}, **headers)
    return reply.result["structuredContent"]["result"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.anyio
async def test_the_same_subject_of_several_verifiers() -> None:
    """B7: "42" of a verifier, of two others, of an API key and of an issuer are five principals."""
    keys = APIKeys({hash_key("key-of-42"): Principal("42")})
    app = make(Verifier("one"), Verifier("two"), Another("three"), keys)
    callers = [bearer(token) for token in ("one:42", "two:42", "three:42", "key-of-42", issuer.token("42"))]
    for number, headers in enumerate(callers):
        assert await call(app, "remember", headers, value=str(number)) is None
    assert [await call(app, "remember", headers) for headers in callers] == ["0", "1", "2", "3", "4"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "options", "status"),
    [
        ("https://elsewhere.test/introspect", {}, 401),
        ("https://elsewhere.test/introspect", {"issuer": issuer.url}, 200),
        (f"{issuer.url}/introspect", {}, 200),
    ],
)
async def test_an_introspection_server_speaks_for_itself(
    url: str, options: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """B7, X-AUTH-4: it cannot name users of another issuer, unless it is said to be that issuer's."""
    said = {"active": True, "iss": issuer.url, "sub": "ada", "aud": RESOURCE}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=said))
    server = Introspection(
        url, "me", "secret", http_client=lambda: httpx.AsyncClient(transport=transport), **options
    )
    with caplog.at_level(logging.ERROR):
        reply = await AsgiClient(make(server)).modern("tools/list", **bearer("opaque"))
    assert reply.status == status
    assert ("say so by Introspection" in caplog.text) == (status == 401)


@pytest.mark.anyio
async def test_what_requests_of_one_token_share_cannot_be_changed() -> None:
    """B7: a handler gets copies of what is in the claims."""
    app, headers = make(), bearer(issuer.token("ada", realm={"roles": ["reader"]}))
    assert [await call(app, "roles", headers) for _ in range(2)] == [["reader"], ["reader"]]


async def stated(principal: Any, query: bytes = b"", **headers: str) -> AsgiReply:
    """Send a request for which a middleware of the host says who calls."""
    app = make(APIKeys({hash_key("key"): Principal("ci", scopes=["base"])}, header="X-Key"), scopes=["base"])

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "query_string": query, "state": {"enfilade.principal": principal}}, receive, send)

    return await AsgiClient(middleware).modern("tools/list", **headers)


@pytest.mark.anyio
async def test_a_principal_of_a_middleware_is_checked_as_others_are() -> None:
    """B6, B12, R-611: its scopes, its expiry, and that nothing else beside it is wrong."""
    good = Principal("eve", scopes=["base"])
    assert (await stated(good)).status == 200
    assert (await stated(Principal("eve"))).status == 403
    assert (await stated(Principal("eve", scopes=["base"], expires_at=1.0))).status == 401
    assert (await stated(good, x_key="wrong")).status == 401
    assert (await stated(good, authorization="Bearer wrong")).status == 401
    assert (await stated(good, query=b"access_token=x")).status == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "status"),
    [
        *((query, 401) for query in (b"%61ccess_token=x", b"ACCESS_TOKEN=x", b"a=1&%41ccess%5Ftoken=x")),
        *((query, 401) for query in (b"a=1;access_token=x", b"+access_token=x", b"access_token")),
        *((query, 200) for query in (b"a=access_token", b"%zz=1", b"&&=", b"my_access_token=x", b"\xff=1")),
    ],
)
async def test_a_token_in_the_query_however_it_is_spelled(query: bytes, status: int) -> None:
    """B2, R-611: beside credentials that are good."""
    assert (await stated(Principal("eve", scopes=["base"]), query=query)).status == status


class Asked:
    """It remembers what it was asked."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def verify_token(self, token: str) -> None:
        self.tokens.append(token)


def jws(payload: bytes, header: bytes = b'{"alg": "ES256"}', signature: bytes = b"signature") -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, payload, signature))


ISSUER = issuer.url.encode()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jws(b'{"iss": "%s", "sub": "a", "sub": "b"}' % ISSUER), id="a key twice"),
        pytest.param(jws(b'{"iss": "x", "iss": "%s"}' % ISSUER, b"{}"), id="an issuer twice"),
        pytest.param(jws(b'{"iss": "%s", "n": NaN}' % ISSUER), id="NaN"),
        pytest.param(jws(b'{"iss": "%s"}...' % ISSUER), id="bytes after the payload"),
        pytest.param(jws(b'{"iss": ["%s"]}' % ISSUER), id="a list of issuers"),
        pytest.param(jws(b'{"iss": "https:\\/\\/idp.test", "a": 1, "a": 2}'), id="an issuer with escapes"),
        pytest.param(jws(b'{"iss": "%s", "a": %s}' % (ISSUER, b"[" * 9000)), id="nested deeply"),
        pytest.param(jws(b"\xff"), id="no UTF-8"),
        pytest.param(jws(b"{", b' {"alg": "ES256", "alg": NaN}x'), id="a broken header as well"),
        pytest.param(f"{jws(b'').partition('.')[0]}.a.a", id="no base64url"),
    ],
)
async def test_a_broken_jwt_is_offered_to_nobody_else(token: str) -> None:
    """B2, B7: an introspection server of others is not sent a token of this issuer, to judge it another way."""
    asked = Asked()
    reply = await AsgiClient(make(asked)).modern("tools/list", **bearer(token))
    assert reply.status == 401
    assert asked.tokens == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "token",
    [
        pytest.param("opaque.with.dots", id="opaque"),
        pytest.param("v2.local.~~~", id="no base64url"),
        pytest.param(jws(b"random", b'["alg"]'), id="a header that is none"),
        pytest.param(jws(b'{"iss": "https://elsewhere.test"}'), id="of another issuer"),
        pytest.param(jws(b'{"sub": "ada"}'), id="without an issuer"),
    ],
)
async def test_what_is_no_jwt_of_a_known_issuer_goes_to_the_verifiers(token: str) -> None:
    """B7: also if it has two dots."""
    asked = Asked()
    assert (await AsgiClient(make(asked)).modern("tools/list", **bearer(token))).status == 401
    assert asked.tokens == [token]


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def verify_token(self, token: str) -> None:
        raise self.error


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "status"),
    [(ConnectionRefusedError(), 503), (httpx.ConnectTimeout("slow"), 503), (ValueError("bug"), 500)],
)
async def test_a_verifier_that_fails(error: Exception, status: int) -> None:
    """X-AUTH-4: who cannot be reached is 503; a fault of the verifier is 500; neither lets anybody in."""
    reply = await AsgiClient(make(Failing(error))).modern("tools/list", **bearer("x"))
    assert reply.status == status
    assert ("retry-after" in reply.headers) == (status == 503)


@pytest.mark.anyio
async def test_a_tool_that_fails_with_the_parts_of_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """R-712: as libraries do that cannot read it; the log has neither the token nor a part of it."""
    app, token = make(), issuer.token("ada", scopes=["base"])

    @app.tool
    def exchange(ctx: Context) -> None:
        """Fail."""
        assert ctx.principal is not None
        assert ctx.principal.access_token is not None
        raise ValueError(f"bad parts {ctx.principal.access_token.get_secret_value().split('.')}")

    await AsgiClient(app).modern("tools/call", {"name": "exchange"}, **bearer(token))
    assert "bad parts" in caplog.text
    assert not [part for part in token.split(".") if part in caplog.text]


@pytest.mark.anyio
async def test_a_reason_with_anything_in_it_is_one_parameter() -> None:
    """R-603: of a verifier's own `InvalidTokenError`, as of everything else in a challenge."""
    reason = 'no", resource_metadata="https://evil.test"\r\nSet-Cookie: a=b\\ \u00e9'
    reply = await AsgiClient(make(Failing(InvalidTokenError(reason)))).modern("tools/list", **bearer("x"))
    challenge = reply.headers["www-authenticate"]
    assert reply.status == 401
    assert challenge.count('resource_metadata="') == 1
    assert challenge.isascii()
    assert challenge.isprintable()
    assert "set-cookie" not in reply.headers


@pytest.mark.anyio
async def test_one_that_cannot_be_closed_keeps_none_open(caplog: pytest.LogCaptureFixture) -> None:
    class Own(Verifier):
        closed = False

        def for_resource(self, resource: str, leeway: float) -> "Own":
            return self

        async def aclose(self) -> None:
            type(self).closed = True
            raise OSError("closed already")

    class Shared(Verifier):
        async def aclose(self) -> None:
            raise AssertionError("a verifier of the user is the user's to close")

    app = make(Own("own"), Shared("shared"))
    assert app.authenticator is not None
    await app.authenticator.close()
    assert Own.closed
    assert "could not be closed" in caplog.text


@pytest.mark.parametrize(
    "audience",
    [
        "https://u:p@mcp.example.com/mcp",
        "https://mcp.example.com/m\ncp",
        " https://mcp.example.com/mcp",
        "https://mcp.example.com/mcp#x",
        "https://mcp.example.com\\@evil.test/mcp",
    ],
)
def test_an_audience_that_only_looks_like_the_resource(audience: str) -> None:
    """R-612: what could not be configured is not equal to what is."""
    assert not is_same_url(audience, RESOURCE)
    assert is_same_url("HTTPS://MCP.example.com:443/mcp/", RESOURCE)


@pytest.mark.parametrize("url", ["https://user:hunter2@mcp.example.com/mcp", 'https://mcp.example.com/"x'])
def test_a_url_that_is_refused_gives_no_password_away(url: str) -> None:
    """R-617: errors of the configuration are logged."""
    with pytest.raises(ValueError, match="resource") as raised:
        ResourceServer(url, [issuer.server()])
    assert "hunter2" not in str(raised.value)


def test_a_user_of_a_host_without_a_name_is_nobody() -> None:
    """B12: an empty name would be the same principal for all of them."""

    class Nameless:
        is_authenticated = True
        identity = display_name = ""

    assert host_principal({"user": Nameless()}) is None
    assert host_principal_key({"user": Nameless()}) is None


def test_sessions_of_a_users_own_loop_belong_to_the_stated_principal() -> None:
    """B12, R-317: as those of the endpoint do."""
    state = {"enfilade.principal": Principal("ada", "https://idp.test")}
    assert host_principal_key({"state": state}) == '["https://idp.test","ada"]'


@pytest.mark.anyio
async def test_scopes_of_what_is_hidden_are_not_published() -> None:
    """B5, B14: anybody may read the document."""
    app = make()
    app.tool(name="open", requires_scopes=["notes:write"])(lambda: 1)
    app.tool(name="hidden", requires_scopes=["merger:2027"], visible=lambda principal, peer: False)(lambda: 1)
    assert app.required_scopes() == ("notes:write",)
