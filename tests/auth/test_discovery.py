"""Where the keys of an authorization server are, as its metadata says (B4), over HTTP."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade.auth import AuthorizationServer, Principal, ServerUnavailableError
from enfilade.auth.discovery import metadata_urls
from enfilade.auth.jwt import JwtVerifier
from support.servers.scripted_http_server import Answer, ScriptedHttpServer
from support.signed_tokens import claims_for, jwks, private_key, sign

RESOURCE = "https://mcp.example.com/mcp"
KEY = private_key()
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


@pytest.fixture
def server() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        server.answers["/jwks"] = Answer(jwks(KEY))
        yield server


def verify(issuer: str) -> Principal:
    async def main() -> Principal:
        verifier = JwtVerifier(AuthorizationServer(issuer), RESOURCE)
        try:
            return await verifier.verify(sign(claims_for(issuer, RESOURCE), KEY))
        finally:
            await verifier.aclose()

    return asyncio.run(main())


def metadata(server: ScriptedHttpServer, issuer: str, /, **changes: Any) -> Answer:
    return Answer({"issuer": issuer, "jwks_uri": f"{server.origin}/jwks"} | changes)


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        ("https://idp.example.com", [OAUTH, OPENID]),
        ("https://idp.example.com/", [OAUTH, OPENID]),
        ("https://IDP.example.com:443/", [OAUTH, OPENID]),
        ("https://idp.example.com/a/b", [f"{OAUTH}/a/b", f"{OPENID}/a/b", f"/a/b{OPENID}"]),
        ("https://idp.example.com/a/", [f"{OAUTH}/a", f"{OPENID}/a", f"/a{OPENID}"]),
    ],
)
def test_where_metadata_may_be(issuer: str, paths: list[str]) -> None:
    """B4: RFC 8414, then OpenID Connect, with the path of the issuer in both places."""
    assert list(metadata_urls(issuer)) == [f"https://idp.example.com{path}" for path in paths]


@pytest.mark.parametrize("path", ["", "/", "/tenant", "/tenant/"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_metadata_is_found(server: ScriptedHttpServer, path: str, position: int) -> None:
    """B4: wherever it is; what comes before it answers 404."""
    issuer = server.origin + path
    urls = list(metadata_urls(issuer))
    url = urls[min(position, len(urls) - 1)]
    server.answers[url.removeprefix(server.origin)] = metadata(server, issuer)
    assert verify(issuer).issuer == issuer
    assert [server.origin + request.path for request in server.received] == [
        *urls[: urls.index(url) + 1],
        f"{server.origin}/jwks",
    ]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Answer(b"<html>"), id="HTML"),
        pytest.param(Answer([]), id="a list"),
        pytest.param(Answer({}, 500), id="500"),
        pytest.param(Answer({"issuer": "https://other.example.com", "jwks_uri": "x"}), id="another issuer"),
        pytest.param(Answer({}, 302, {"Location": "/jwks"}), id="a redirect"),
    ],
)
def test_the_next_place_is_tried(server: ScriptedHttpServer, first: Answer) -> None:
    server.answers[OAUTH] = first
    server.answers[OPENID] = metadata(server, server.origin)
    assert verify(server.origin).subject == "anna"


def test_oauth_metadata_without_keys_leads_on(server: ScriptedHttpServer) -> None:
    """B4: `jwks_uri` is optional in RFC 8414 and required in OpenID Connect."""
    server.answers[OAUTH] = Answer({"issuer": server.origin})
    server.answers[OPENID] = metadata(server, server.origin)
    assert verify(server.origin).subject == "anna"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"issuer": "https://evil.example.com"},
            "its issuer is 'https://evil.example.com'",
            id="another issuer",
        ),
        pytest.param({"issuer": None}, "its issuer is None", id="no issuer"),
        pytest.param({"jwks_uri": None}, "no jwks_uri", id="no jwks_uri"),
        pytest.param({"jwks_uri": 7}, "no jwks_uri", id="jwks_uri is a number"),
        pytest.param({"jwks_uri": "http://keys.example.com/"}, "no https URL", id="R-617 jwks_uri is http"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, "no https URL", id="R-617 jwks_uri is a file"),
        pytest.param({"jwks_uri": "/jwks"}, "no https URL", id="jwks_uri is a path"),
    ],
)
def test_metadata_that_is_not_used(
    server: ScriptedHttpServer, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    """X-AUTH-3: 503, and the log says what came and what was expected."""
    server.answers[OAUTH] = metadata(server, server.origin, **changes)
    with pytest.raises(ServerUnavailableError, match="the keys of"):
        verify(server.origin)
    assert server.count("/jwks") == 0
    assert reason in caplog.text
    assert server.origin in caplog.text


def test_an_issuer_with_a_slash_more(server: ScriptedHttpServer, caplog: pytest.LogCaptureFixture) -> None:
    """B4: issuers are compared exactly; the log shows both."""
    server.answers[OAUTH] = metadata(server, server.origin + "/")
    with pytest.raises(ServerUnavailableError):
        verify(server.origin)
    assert f"its issuer is '{server.origin}/', but '{server.origin}' is configured" in caplog.text


def test_keys_that_have_moved(server: ScriptedHttpServer) -> None:
    """B4: metadata is read anew when there are no keys any more where it said."""
    server.answers[OAUTH] = metadata(server, server.origin)
    now = [0.0]

    async def main() -> None:
        verifier = JwtVerifier(AuthorizationServer(server.origin), RESOURCE, clock=lambda: now[0])
        token = sign(claims_for(server.origin, RESOURCE), KEY)
        await verifier.verify(token)
        server.answers["/keys"] = server.answers.pop("/jwks")
        server.answers[OAUTH] = metadata(server, server.origin, jwks_uri=f"{server.origin}/keys")
        now[0] += 3_700
        with pytest.raises(ServerUnavailableError):
            await verifier.verify(token)
        now[0] += 1
        await verifier.verify(token)
        await verifier.aclose()

    asyncio.run(main())
    assert server.count("/keys") == 1
