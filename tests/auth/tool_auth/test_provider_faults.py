"""What providers do wrong, over real sockets: each ends in one error without a word of theirs (A10, A14, A17)."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from enfilade.auth import OAuth2
from enfilade.auth.oauth_providers.client import ProviderClient, new_verifier
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet
from support.authorization.faulty_server import failing, not_json, redirect
from support.authorization.oauth_service import (
    AUTHORIZE,
    OPENID,
    REVOKE,
    TOKEN,
    USERINFO,
    WHOAMI,
    Fault,
    OAuthService,
)
from support.authorization.visitor import Visitor
from support.servers.scripted_http_server import Answer

pytestmark = pytest.mark.anyio

CALLBACK = "http://127.0.0.1:9/auth/callback"
CANARY = "canary-0f-the-provider"


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService() as service:
        yield service


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "enfilade")
    return caplog


def provider(service: OAuthService, **options: Any) -> OAuth2:
    urls = (service.url(AUTHORIZE), service.url(TOKEN), service.url(REVOKE))
    return OAuth2("corp", *urls, user_info_url=service.url(USERINFO), **options)


def client_of(service: OAuthService, **options: Any) -> ProviderClient:
    return ProviderClient(provider(service, **options), "app", service.clients["app"])


async def redeemed(service: OAuthService, client: ProviderClient, verifier: str | None = None) -> TokenSet:
    """Return the tokens of a user who has consented."""
    secret = new_verifier()
    url = await client.authorization_url(redirect_uri=CALLBACK, state="s", verifier=secret, scopes=["read"])
    with Visitor() as visitor:
        page = visitor.open(url, until=CALLBACK)
    code = dict(parse_qsl(urlsplit(page.trail[-1]).query))["code"]
    return await client.redeem(code, verifier=verifier or secret, redirect_uri=CALLBACK)


@pytest.mark.parametrize("token_auth", ["basic", "post"])
async def test_the_whole_way(service: OAuthService, token_auth: Any) -> None:
    """A3, A14, A17: consent, tokens, refresh and revocation, as the provider wants it."""
    service.client_authentication = (f"client_secret_{token_auth}",)
    service.clients["app"] = "odd %&+: secret"
    client = client_of(service, token_auth=token_auth)
    tokens = await redeemed(service, client)
    assert (await client.user_info(tokens.access_token))["sub"] == "ada"
    assert tokens.refresh_token is not None
    newer = await client.refresh(tokens.refresh_token)
    assert newer.refresh_token not in (None, tokens.refresh_token)
    assert await client.revoke(newer.refresh_token or "", "refresh_token")
    with pytest.raises(ProviderError):
        await client.user_info(newer.access_token)
    assert service.grants.replayed_refresh_tokens == 0
    await client.aclose()


async def test_discovery(service: OAuthService) -> None:
    """A1: the URLs are read once, and `iss` is then promised."""
    found = OAuth2.discover(service.origin, id="corp")
    client = ProviderClient(found, "app", service.clients["app"])
    for _ in range(2):
        assert (await redeemed(service, client)).access_token
    assert service.count(OPENID) <= 1
    with pytest.raises(ProviderError, match="iss"):
        await client.check_issuer(None)
    with pytest.raises(ProviderError, match="iss"):
        await client.check_issuer("https://other.test")
    await client.check_issuer(service.origin)
    await client.aclose()


async def test_another_verifier_redeems_nothing(service: OAuthService) -> None:
    """A10: a code that somebody has injected is worth nothing without the verifier."""
    client = client_of(service)
    with pytest.raises(ProviderError) as caught:
        await redeemed(service, client, new_verifier())
    assert (caught.value.code, caught.value.is_final) == ("invalid_grant", True)
    assert len(service.token_requests("authorization_code")) == 1
    await client.aclose()


ESCAPES = f"{CANARY}\r\nSet-Cookie: x\x1b[31m"
FAULTS: dict[str, tuple[Fault, bool]] = {
    "503": (failing(503), False),
    "500": (Answer({"error": CANARY}, 500), False),
    "429": (Answer({"error": "slow_down"}, 429), False),
    "400": (Answer({"error": "invalid_grant", "error_description": ESCAPES}, 400), True),
    "401": (Answer({"error": "invalid_client", "error_description": ESCAPES}, 401), True),
    "403 in HTML": (Answer(f"<p>{CANARY}".encode(), 403), True),
    "odd error": (Answer({"error": ESCAPES}, 400), True),
    "HTML": (not_json(), False),
    "no object": (Answer([CANARY]), False),
    "another kind": (Answer({"access_token": CANARY, "token_type": "mac"}), True),
    "an odd token": (Answer({"access_token": ESCAPES}), False),
    "no token": (Answer({"access_token": None}), False),
    "huge": (Answer({"access_token": CANARY}, padding=None), False),
    "hangs up": (Answer(hangs_up=True), False),
    "deep": (Answer(b"[" * 100_000), False),
    "no UTF-8": (Answer(b'{"access_token": "\xff"}'), False),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_a_fault_of_the_token_endpoint(service: OAuthService, case: str, log: Any) -> None:
    """A10, A14: one request, one error; what may be tried again is known from what may not."""
    fault, is_final = FAULTS[case]
    service.faults[TOKEN] = fault
    client = client_of(service)
    for act in (redeemed(service, client), client.refresh("refresh-1")):
        with pytest.raises(ProviderError) as caught:
            await act
        assert caught.value.is_final is is_final, caught.value
        told = f"{caught.value}{caught.value!r}{caught.value.code}"
        assert CANARY not in told + log.text
        assert not set("\r\n\x1b") & set(told)
    assert service.count(TOKEN) == 2
    await client.aclose()


async def test_the_secret_follows_no_redirect(service: OAuthService) -> None:
    """A10, A18."""
    with OAuthService() as other:
        for status in (301, 302, 307, 308):
            service.faults.update(dict.fromkeys((TOKEN, REVOKE, USERINFO), redirect(other.url("/token"), status)))
            client = client_of(service, token_auth="post")
            for act in (redeemed(service, client), client.refresh("r"), client.revoke("t", "access_token")):
                with pytest.raises(ProviderError):
                    await act
            with pytest.raises(ProviderError):
                await client.user_info("t")
            await client.aclose()
        assert other.visits == []


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
async def test_a_fault_of_the_revocation(service: OAuthService, status: int, log: Any) -> None:
    """A17: it is told, and the token is in no log."""
    service.faults[REVOKE] = Answer({"error": "x"}, status)
    client = client_of(service)
    with pytest.raises(ProviderError):
        await client.revoke(CANARY, "refresh_token")
    assert CANARY not in log.text
    await client.aclose()


async def test_who_the_user_is_may_be_anything(service: OAuthService) -> None:
    client = client_of(service)
    for answer in (not_json(), Answer([1]), Answer({}, 401), failing(503), Answer({}, padding=None)):
        service.faults[USERINFO] = answer
        with pytest.raises(ProviderError):
            await client.user_info(CANARY)
    assert service.count(WHOAMI) == 0
    await client.aclose()
