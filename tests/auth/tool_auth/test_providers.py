"""Providers as data, what they ask for, and what is read of their responses (A1, A3)."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from enfilade.auth import GitHub, OAuth2, Slack
from enfilade.auth.http_client import JsonResponse
from enfilade.auth.oauth_providers.client import ProviderClient, challenge_of, new_verifier
from enfilade.auth.oauth_providers.presets import PRESETS
from enfilade.auth.oauth_providers.responses import ProviderError, read_tokens

pytestmark = pytest.mark.anyio

CORP = OAuth2("corp", "https://corp.example/authorize?tenant=a", "https://corp.example/token")
NEEDED = {
    *("github", "google", "microsoft", "slack", "atlassian"),
    *("notion", "linear", "discord", "spotify", "reddit"),
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_a_preset_has_https_urls(preset: OAuth2) -> None:
    """A1."""
    urls = (preset.authorize_url, preset.token_url, preset.revoke_url, preset.user_info_url, preset.issuer)
    for url in filter(None, urls):
        parts = urlsplit(url)
        assert parts.scheme == "https"
        assert parts.hostname
        assert not parts.fragment
    assert preset.title != preset.id
    assert preset.client_id is None


def test_the_presets_that_there_must_be() -> None:
    """A1."""
    assert PRESETS.keys() >= NEEDED
    assert all(id == preset.id for id, preset in PRESETS.items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: OAuth2("Corp", "https://a.example", "https://b.example"),
        lambda: OAuth2("corp", "http://a.example", "https://b.example"),
        lambda: OAuth2("corp", "https://a.example", "https://b.example", "ftp://c.example"),
        lambda: OAuth2("corp", "https://a.example", "https://b.example", scopes=["two words"]),
        lambda: OAuth2("c", "https://a.example", "https://b.example", authorize_parameters={"state": "x"}),
        lambda: OAuth2("c", "https://a.example", "https://b.example", token_auth="jwt"),  # type: ignore[arg-type]
        lambda: OAuth2.discover("http://corp.example"),
    ],
)
def test_what_cannot_be_a_provider(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def test_the_secret_is_in_no_repr() -> None:
    """A18."""
    assert "hush" not in repr(GitHub.client(id="me", secret="hush"))


async def test_the_authorization_request() -> None:
    """A3: a code with PKCE, the exact redirect, the scopes, and `resource` if the provider has one."""
    corp = OAuth2("corp", CORP.authorize_url, CORP.token_url, scopes=["base"], resource="https://api.example")
    client, verifier = ProviderClient(corp, "me", None), new_verifier()
    url = await client.authorization_url(
        redirect_uri="https://mcp.example/auth/callback", state="s" * 43, verifier=verifier, scopes=["a", "base"]
    )
    assert parse_qs(urlsplit(url).query) == {
        "tenant": ["a"],
        "response_type": ["code"],
        "client_id": ["me"],
        "redirect_uri": ["https://mcp.example/auth/callback"],
        "state": ["s" * 43],
        "scope": ["base a"],
        "code_challenge": [challenge_of(verifier)],
        "code_challenge_method": ["S256"],
        "resource": ["https://api.example"],
    }


async def test_a_provider_that_takes_scopes_otherwise() -> None:
    """A1: Slack's scopes of a user have a parameter of their own."""
    url = await ProviderClient(Slack, "me", None).authorization_url(
        redirect_uri="https://mcp.example/auth/callback",
        state="s",
        verifier="v",
        scopes=["chat:write", "users:read"],
    )
    query = parse_qs(urlsplit(url).query)
    assert query["user_scope"] == ["chat:write,users:read"]
    assert "scope" not in query


@pytest.mark.parametrize(
    ("provider", "value", "expected"),
    [
        (CORP, {"access_token": "t", "token_type": "Bearer", "scope": "a b a"}, ("t", None, ("a", "b"))),
        (CORP, {"access_token": "t", "refresh_token": "r"}, ("t", "r", None)),
        (
            GitHub,
            {"access_token": "t", "token_type": "bearer", "scope": "repo,gist"},
            ("t", None, ("repo", "gist")),
        ),
        (
            Slack,
            {"ok": True, "access_token": "bot", "authed_user": {"access_token": "u", "scope": "x,y"}},
            ("u", None, ("x", "y")),
        ),
    ],
)
def test_token_responses(provider: OAuth2, value: Any, expected: tuple[Any, ...]) -> None:
    tokens = read_tokens(JsonResponse(value, {}, 0), provider)
    assert (tokens.access_token, tokens.refresh_token, tokens.scopes) == expected
    assert "'t'" not in repr(tokens)


@pytest.mark.parametrize(
    ("provider", "status", "value", "code", "is_final"),
    [
        (CORP, 400, {"error": "invalid_grant", "error_description": "x"}, "invalid_grant", True),
        (GitHub, 200, {"error": "bad_verification_code"}, "bad_verification_code", True),
        (Slack, 200, {"ok": False, "error": "invalid_code"}, "invalid_code", True),
        (CORP, 429, {"error": "slow_down"}, "slow_down", False),
        (CORP, 400, {"error": "a\r\nSet-Cookie: x"}, None, True),
        (CORP, 200, [], None, False),
        (CORP, 200, {"token_type": "bearer"}, None, False),
        (CORP, 200, {"access_token": "two words"}, None, False),
        (CORP, 200, {"access_token": "a\r\nb"}, None, False),
        (CORP, 200, {"access_token": "t", "token_type": "mac"}, None, True),
        (Slack, 200, {"ok": True, "access_token": "bot"}, None, False),
    ],
)
def test_responses_without_tokens(
    provider: OAuth2, status: int, value: Any, code: str | None, is_final: bool
) -> None:
    with pytest.raises(ProviderError) as caught:
        read_tokens(JsonResponse(value, {}, 0, status), provider)
    assert (caught.value.code, caught.value.is_final) == (code, is_final)
    assert "Set-Cookie" not in str(caught.value)
