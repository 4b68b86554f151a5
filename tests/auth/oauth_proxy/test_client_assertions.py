"""Clients that prove who they are with a key of their document, as ChatGPT does (X-AUTH-21, RFC 7523)."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from support.authorization.document_server import DocumentServer, fetcher
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, caller
from support.authorization.visitor import Visitor
from support.servers import login_server
from support.signed_tokens import jwks, private_key, sign

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentServer]:
    with DocumentServer(tmp_path_factory.mktemp("host")) as server:
        server.put("/jwks.json", msgspec.json.encode(jwks(private_key(number=0))))
        yield server


@pytest.fixture(scope="module")
def url(running_oidc_provider: OidcProvider, host: DocumentServer) -> Iterator[str]:
    documents = fetcher(host.port, host.certificate)
    with login_server.serving(running_oidc_provider, _fetcher=documents) as url:
        yield url


@pytest.fixture
def client(url: str, host: DocumentServer) -> ProxyClient:
    """A client whose document says that it has a key."""
    members = {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": host.url("/jwks.json")}
    return ProxyClient(url, host.describe("/keyed.json", **members))


def assertion(client: ProxyClient, number: int = 0, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a good assertion with some changes; a claim that is `...` is left out."""
    now = int(time.time())
    members = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": client.public_url,
        "jti": secrets.token_urlsafe(8),
        "iat": now,
        "exp": now + 60,
        **changes,
    }
    claims = {name: value for name, value in members.items() if value is not ...}
    return sign(claims, private_key(number=number), **{"typ": "JWT", **(header or {})})


def proven(client: ProxyClient, **options: Any) -> dict[str, str | None]:
    return {"client_assertion_type": TYPE, "client_assertion": assertion(client, **options)}


@pytest.mark.parametrize("where", ["at a URL", "in the document"])
def test_a_client_proves_who_it_is(url: str, host: DocumentServer, visitor: Visitor, where: str) -> None:
    """X-AUTH-21: for codes, for refresh tokens, and when it logs out."""
    keys = {"jwks_uri": host.url("/jwks.json")} if where == "at a URL" else {"jwks": jwks(private_key(number=0))}
    document = host.describe(f"/{where[:2]}.json", token_endpoint_auth_method="private_key_jwt", **keys)
    client = ProxyClient(url, document)
    code = client.code(visitor)
    unproven = client.redeem(code)
    assert (unproven.status_code, unproven.json()["error"]) == (401, "invalid_client")
    tokens = client.redeem(code, **proven(client)).json()
    assert caller(url, tokens["access_token"])["client"] == client.client_id
    assert client.refresh(tokens["refresh_token"]).status_code == 401
    tokens = client.refresh(tokens["refresh_token"], **proven(client, aud=f"{url}/oauth/token")).json()
    assert client.refresh(tokens["refresh_token"], client_id=None, **proven(client)).status_code == 200
    form = {"token": tokens["access_token"], **proven(client)}
    assert httpx.post(f"{url}/oauth/revoke", data=form).status_code == 200
    assert client.refresh(tokens["refresh_token"], **proven(client)).json()["error"] == "invalid_grant"


def test_a_client_that_may_do_both(url: str, host: DocumentServer, visitor: Visitor) -> None:
    """X-AUTH-21: what its document lists besides."""
    document = host.describe(
        "/both.json",
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_methods_supported=["none", "private_key_jwt"],
        jwks_uri=host.url("/jwks.json"),
    )
    client = ProxyClient(url, document)
    assert client.redeem(client.code(visitor)).status_code == 200
    assert client.redeem(client.code(visitor), **proven(client)).status_code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"number": 1},
        {"iss": "https://client.example.com/other.json"},
        {"sub": "https://client.example.com/other.json"},
        {"sub": ...},
        {"aud": "https://other.example.com"},
        {"aud": ...},
        {"exp": 1_000_000_000},
        {"exp": 4_000_000_000},
        {"exp": ...},
        {"nbf": 4_000_000_000},
        {"jti": ...},
        {"header": {"alg": "none"}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "oauth-id-jag+jwt"}},
        {"header": {"kid": "other"}},
        {"header": {"crit": ["exp"]}},
    ],
    ids=str,
)
def test_assertions_that_prove_nothing(client: ProxyClient, visitor: Visitor, options: dict[str, Any]) -> None:
    """X-AUTH-24: 401, and the code is good still."""
    code = client.code(visitor)
    refused = client.redeem(code, **proven(client, **options))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert client.redeem(code, **proven(client)).status_code == 200


def test_an_assertion_is_used_once(client: ProxyClient, visitor: Visitor) -> None:
    """RFC 7523 §3: in all workers."""
    form = proven(client)
    tokens = client.redeem(client.code(visitor), **form).json()
    assert client.refresh(tokens["refresh_token"], **form).status_code == 401


@pytest.mark.parametrize(
    "form",
    [
        {"client_assertion_type": "urn:other"},
        {"client_assertion_type": None},
        {"client_assertion": "no.assertion.this"},
        {"client_assertion": "none"},
        {"client_secret": "secret"},
        {"client_id": "https://client.example.com/other.json"},
    ],
    ids=str,
)
def test_requests_that_authenticate_otherwise(client: ProxyClient, form: dict[str, str | None]) -> None:
    refused = client.refresh("none", **{**proven(client), **form})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_keys_that_cannot_be_fetched(url: str, host: DocumentServer) -> None:
    """R-709: from public addresses alone, and not again at once."""
    for number, keys_url in enumerate(
        (host.url("/missing.json"), "https://127.0.0.1/jwks", "http://a.example.com/")
    ):
        document = host.describe(
            f"/away{number}.json", token_endpoint_auth_method="private_key_jwt", jwks_uri=keys_url
        )
        client = ProxyClient(url, document)
        for _ in range(3):
            assert client.refresh("none", **proven(client)).status_code == 401
    assert sum(path == "/missing.json" for path, _ in host.requests) == 1


def test_a_client_without_keys(url: str, host: DocumentServer) -> None:
    client = ProxyClient(url, host.describe("/keyless.json", token_endpoint_auth_method="private_key_jwt"))
    assert client.refresh("none", **proven(client)).status_code == 401
