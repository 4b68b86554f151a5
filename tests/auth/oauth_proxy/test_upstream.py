"""The provider behind a login: who the user is there, its tokens, and what becomes of a login when they end."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enfilade.auth import GitHub, GitLab, Google, OAuth2
from enfilade.auth.oauth_proxy.upstream import Upstream
from support.authorization.faulty_server import failing
from support.authorization.oauth_service import AUTHORIZE, REVOKE, TOKEN, USERINFO, WHOAMI, OAuthService
from support.authorization.proxy_client import ProxyClient, call, caller
from support.authorization.visitor import Visitor
from support.servers import login_server
from support.servers.scripted_http_server import Answer


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService() as service:
        yield service


def provider_of(service: OAuthService, **options: Any) -> OAuth2:
    """Return a provider that is no OpenID Connect provider, with the credentials of the server there."""
    urls = service.url(AUTHORIZE), service.url(TOKEN), service.url(REVOKE)
    provider = OAuth2("corp", *urls, title="Corp", user_info_url=service.url(WHOAMI), **options)
    return provider.client("app", "s3cret-of-app")


@pytest.fixture
def public_url(service: OAuthService, tmp_path: Path) -> Iterator[str]:
    with login_server.serving(provider_of(service), store=f"sqlite:///{tmp_path / 'store.db'}") as url:
        yield url


@pytest.fixture
def client(public_url: str) -> ProxyClient:
    return ProxyClient.registered(public_url)


def test_a_provider_with_ways_of_its_own(
    service: OAuthService, public_url: str, client: ProxyClient, visitor: Visitor
) -> None:
    """A23: numbers as ids, errors with status 200, forms and commas, as GitHub has them."""
    service.form_by_default = service.errors_with_200 = True
    service.scope_separator = ","
    user = {"id": 583231, "login": "ada", "name": "Ada", "email": "ada@example.com"}
    service.faults[WHOAMI] = Answer(user)
    tokens = client.tokens(visitor)
    who = caller(public_url, tokens["access_token"])
    assert who["subject"] == "583231"
    assert who["claims"] == {"name": "Ada", "preferred_username": "ada"}, "nobody has checked the address"
    (request,) = service.token_requests("authorization_code")
    assert request["redirect_uri"] == f"{public_url}/oauth/callback"
    assert request["code_verifier"] != client.verifier, "PKCE is our own there"


@pytest.mark.parametrize(
    ("provider", "scope"),
    [
        (GitHub, None),
        (Google, "openid"),
        (GitLab, "openid"),
        (OAuth2.discover("https://a.example.com"), "openid"),
    ],
    ids=lambda value: getattr(value, "id", value),
)
def test_the_provider_is_asked_for_no_more_than_who_the_user_is(provider: OAuth2, scope: str | None) -> None:
    """A23: what clients may do here is nothing to the provider."""
    upstream = Upstream(provider.client("id", "secret"), "https://mcp.example.com/oauth/callback")
    assert upstream._scopes == (() if scope is None else (scope,))


@pytest.mark.parametrize(
    "user", [{}, {"sub": ""}, {"sub": None}, {"id": True}, {"id": 1.5}, {"email": "a@b.c"}, []]
)
def test_a_user_without_an_id(service: OAuthService, client: ProxyClient, visitor: Visitor, user: Any) -> None:
    """A23: an address or a name is no id: they change hands."""
    service.faults[WHOAMI] = Answer(user)
    assert client.log_in(visitor)["error"] in ("server_error", "temporarily_unavailable")


@pytest.mark.parametrize(
    ("path", "fault", "error"),
    [
        (TOKEN, failing(503), "temporarily_unavailable"),
        (TOKEN, Answer({"error": "invalid_grant"}, 400), "server_error"),
        (TOKEN, Answer({"error": "<script>"}, 400), "server_error"),
        (TOKEN, Answer(b"<html>", 200), "temporarily_unavailable"),
        (TOKEN, Answer({}, 200), "temporarily_unavailable"),
        (WHOAMI, failing(500), "temporarily_unavailable"),
    ],
)
def test_a_provider_that_does_wrong(
    service: OAuthService, client: ProxyClient, visitor: Visitor, path: str, fault: Answer, error: str
) -> None:
    """X-AUTH-23: the client is told with its `state`, and nothing of the provider's words."""
    service.faults[path] = fault
    answer = client.log_in(visitor)
    assert (answer["error"], answer["state"]) == (error, client.state)
    assert "<script" not in str(answer)


def test_a_response_of_the_provider_without_what_it_promises(service: OAuthService, visitor: Visitor) -> None:
    """X-AUTH-23, RFC 9207: `iss` must be there if the metadata says so."""
    provider = OAuth2.discover(service.origin, id="corp").client("app", "s3cret-of-app")
    with login_server.serving(provider) as url:
        client = ProxyClient.registered(url)
        assert "code" in client.log_in(visitor)
        service.iss = "https://evil.example.com"
        assert client.log_in(visitor)["error"] == "server_error"


@pytest.mark.parametrize(
    "claims",
    [
        {"audience": "another"},
        {"expires_in": -600},
        {"iss": "https://evil.example.com"},
    ],
    ids=str,
)
def test_an_id_token_for_somebody_else(service: OAuthService, visitor: Visitor, claims: dict[str, Any]) -> None:
    """A23: who the user is, is said to this server."""
    options = dict(claims)
    audience = options.pop("audience", "app")
    provider = OAuth2.discover(service.origin, id="corp").client("app", "s3cret-of-app")
    service.reshape = lambda answer: {**answer, "id_token": service.id_token("eve", audience, **options)}
    with login_server.serving(provider) as url:
        assert ProxyClient.registered(url).log_in(visitor)["error"] == "server_error"


def test_two_answers_about_different_users(service: OAuthService, visitor: Visitor) -> None:
    provider = OAuth2.discover(service.origin, id="corp").client("app", "s3cret-of-app")
    service.faults[USERINFO] = Answer({"sub": "eve"})
    with login_server.serving(provider) as url:
        assert ProxyClient.registered(url).log_in(visitor)["error"] == "server_error"


async def only_ada(user: Any) -> bool:
    return bool(user.claims.get("preferred_username") == "ada")


@pytest.mark.parametrize(
    ("allow", "granted"),
    [
        (only_ada, "notes:read notes:write"),
        (lambda user: True, "notes:read notes:write"),
        (lambda user: ["notes:read"], "notes:read"),
        (lambda user: False, None),
        (lambda user: user.subject == "eve", None),
        (lambda user: None, None),
    ],
)
def test_who_may_log_in(service: OAuthService, visitor: Visitor, allow: Any, granted: str | None) -> None:
    """A23: an account at the provider is not enough where the author says so; its tokens are given back."""
    with login_server.serving(provider_of(service), allow=allow) as url:
        client = ProxyClient.registered(url)
        answer = client.log_in(visitor, scope="notes:read notes:write")
        if granted is None:
            assert answer["error"] == "access_denied"
            assert service.count(REVOKE) == 1
        else:
            assert client.redeem(answer["code"]).json()["scope"] == granted


@pytest.mark.parametrize("allow", [lambda user: user.nothing, lambda user: "notes:read", lambda user: 5])
def test_a_mistake_of_the_author(service: OAuthService, visitor: Visitor, allow: Any) -> None:
    """A23: nobody is let in by it, and the client is told no detail."""
    with login_server.serving(provider_of(service), allow=allow) as url:
        answer = ProxyClient.registered(url).log_in(visitor)
    assert answer["error"] == "server_error"
    assert "nothing" not in answer["error_description"]


def test_the_provider_is_asked_only_when_its_token_is_over(
    service: OAuthService, client: ProxyClient, visitor: Visitor
) -> None:
    """A23: and then, that it still knows the user."""
    tokens = client.tokens(visitor)
    tokens = client.refresh(tokens["refresh_token"]).json()
    assert service.token_requests("refresh_token") == []
    service.expires_in = 1
    tokens = client.tokens(visitor)
    tokens = client.refresh(tokens["refresh_token"]).json()
    assert len(service.token_requests("refresh_token")) == 1
    service.faults["refresh_token"] = failing(503)
    tokens = client.refresh(tokens["refresh_token"]).json()
    assert "access_token" in tokens, "a provider that is away ends no login"
    service.faults["refresh_token"] = Answer({"error": "invalid_grant"}, 400)
    refused = client.refresh(tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert call(client.public_url, tokens["access_token"]).status_code == 401


def test_refresh_tokens_of_the_provider_are_used_once(
    service: OAuthService, client: ProxyClient, visitor: Visitor
) -> None:
    """A23: requests at the same moment renew its tokens once; it may end everything if one came twice."""
    service.expires_in = 1
    tokens = client.tokens(visitor)
    service.expires_in = 3600
    gate = service.gates["refresh_token"] = threading.Event()
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(client.refresh, tokens["refresh_token"]) for _ in range(6)]
        threading.Timer(0.5, gate.set).start()
        answers = [future.result().json() for future in futures]
    assert all("access_token" in answer for answer in answers), answers
    assert len(service.token_requests("refresh_token")) == 1


def test_what_ends_here_ends_there(service: OAuthService, client: ProxyClient, visitor: Visitor) -> None:
    """A23, RFC 7009: by a code that comes twice, and by a refresh token that was used long ago."""
    code = client.code(visitor)
    client.redeem(code)
    client.redeem(code)
    assert service.count(REVOKE) == 1
    first = client.tokens(visitor)["refresh_token"]
    second = client.refresh(first).json()["refresh_token"]
    client.refresh(second)
    client.refresh(first)
    assert service.count(REVOKE) == 2


def test_tokens_of_the_provider_are_nowhere(
    service: OAuthService,
    client: ProxyClient,
    visitor: Visitor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-610, R-712, A23: not at the client, not in a log, and in the store only sealed."""
    service.expires_in = 1
    with caplog.at_level(logging.DEBUG):
        page = visitor.open(client.authorization_url())
        page = visitor.press(page, client.redirect_uri, decision="allow")
        tokens = client.redeem(client.returned(page)["code"]).json()
        renewed = client.refresh(tokens["refresh_token"]).json()
        called = call(client.public_url, renewed["access_token"]).text
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("enfilade"))
    seen = json.dumps([tokens, renewed, called, page.html, dict(page.response.headers)]) + logged
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("store.db*"))
    assert service.secrets
    for secret in service.secrets:
        assert secret not in seen
        assert secret.encode() not in stored
    for own in (*tokens.values(), *renewed.values()):
        if isinstance(own, str) and len(own) > 20:
            assert own not in logged
            assert own.encode() not in stored
    assert b"ada" not in stored
