"""The authorization server of the tests does what the tests of the endpoint count on."""

from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from support.authorization.code_flow import CodeFlow, FlowError
from support.authorization.oidc_provider import RESOURCE, OidcProvider


def claims_of(token: str, provider: OidcProvider) -> dict[str, Any]:
    """Return the claims of a token that a key of the server has signed."""
    keys = KeySet.import_key_set(httpx.get(f"{provider.issuer}/jwks").json())
    return jwt.decode(token, keys, algorithms=["RS256", "ES256", "EdDSA"]).claims


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # by RFC 9864, in favour of Ed25519
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_client_gets_a_token_for_itself(oidc_provider: OidcProvider, algorithm: str) -> None:
    """X-AUTH-30: the subject is the client."""
    oidc_provider.configure(algorithm=algorithm)
    claims = claims_of(oidc_provider.client_credentials_token(["notes:read"]), oidc_provider)
    assert (claims["iss"], claims["aud"], claims["scope"]) == (oidc_provider.issuer, RESOURCE, "notes:read")
    assert claims["sub"] == claims["client_id"] == oidc_provider.client_id


def test_a_user_logs_in_and_consents(oidc_provider: OidcProvider) -> None:
    claims = claims_of(oidc_provider.user_token("bob", ["notes:read", "notes:write"]), oidc_provider)
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("bob", RESOURCE, "notes:read notes:write")


def test_a_user_refuses(oidc_provider: OidcProvider) -> None:
    oidc_provider.configure(deny=True)
    with pytest.raises(FlowError, match="access_denied"):
        oidc_provider.user_token("bob", ["notes:read"])


def test_an_unknown_resource_is_refused(oidc_provider: OidcProvider) -> None:
    """X-AUTH-40: tokens are for a registered resource only."""
    other = "https://other.example.com/mcp"
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        oidc_provider.client_credentials_token(["notes:read"], resource=other)
    oidc_provider.accept_resource(other)
    token = oidc_provider.client_credentials_token(["notes:read"], resource=other)
    assert claims_of(token, oidc_provider)["aud"] == other


def test_refresh_tokens_rotate(oidc_provider: OidcProvider) -> None:
    first = oidc_provider.user_grant("bob", ["notes:read"])
    second = oidc_provider.refresh(first["refresh_token"])
    assert claims_of(second["access_token"], oidc_provider)["sub"] == "bob"
    assert second["refresh_token"] != first["refresh_token"]
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        oidc_provider.refresh(first["refresh_token"])


def test_opaque_tokens_are_introspected_and_revoked(oidc_provider: OidcProvider) -> None:
    """X-AUTH-4: what an introspection endpoint answers."""
    oidc_provider.configure(format="opaque")
    token = oidc_provider.user_token("bob", ["notes:read"])
    assert "." not in token
    answer = oidc_provider.introspect(token)
    assert (answer["active"], answer["sub"], answer["aud"]) == (True, "bob", RESOURCE)
    oidc_provider.revoke(token)
    assert oidc_provider.introspect(token) == {"active": False}


def test_keys_are_rotated_and_what_was_granted_stays(oidc_provider: OidcProvider) -> None:
    grant = oidc_provider.user_grant("bob", ["notes:read"])
    oidc_provider.rotate_keys(keep=True)
    assert claims_of(grant["access_token"], oidc_provider)["sub"] == "bob"
    oidc_provider.rotate_keys()
    with pytest.raises(InvalidKeyIdError):
        claims_of(grant["access_token"], oidc_provider)
    renewed = oidc_provider.refresh(grant["refresh_token"])
    assert claims_of(renewed["access_token"], oidc_provider)["sub"] == "bob"


@pytest.mark.parametrize("known_by", ["registration", "document"])
def test_a_client_nobody_knew(oidc_provider: OidcProvider, known_by: str) -> None:
    """By dynamic registration, or by a Client ID Metadata Document."""
    metadata = {
        "client_name": "a host",
        "redirect_uris": ["http://127.0.0.1/back"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
    if known_by == "registration":
        registered = httpx.post(f"{oidc_provider.issuer}/reg", json=metadata).raise_for_status()
        client_id = registered.json()["client_id"]
    else:
        client_id = "https://host.example.com/client.json"
        oidc_provider.configure(documents={client_id: {**metadata, "client_id": client_id}})
    flow = CodeFlow(f"{oidc_provider.issuer}/auth", client_id, "http://127.0.0.1/back")
    code = flow.code(scope="notes:read", resource=RESOURCE)
    form = {"grant_type": "authorization_code", "client_id": client_id, "resource": RESOURCE}
    response = httpx.post(f"{oidc_provider.issuer}/token", data={**form, **flow.redemption(code)})
    assert response.status_code == 200, response.text
    claims = claims_of(response.json()["access_token"], oidc_provider)
    assert (claims["sub"], claims["client_id"]) == ("ada", client_id)


def test_its_metadata_have_what_clients_look_for(oidc_provider: OidcProvider) -> None:
    """X-AUTH-30: by both ways of discovery."""
    documents = [
        httpx.get(f"{oidc_provider.issuer}/.well-known/{name}").json()
        for name in ("oauth-authorization-server", "openid-configuration")
    ]
    for document in documents:
        assert document["issuer"] == oidc_provider.issuer
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert {"private_key_jwt", "client_secret_basic", "none"} <= {
            *document["token_endpoint_auth_methods_supported"]
        }
        assert document["client_id_metadata_document_supported"] is True
        assert "ES256" in document["dpop_signing_alg_values_supported"]
    assert documents[0] == documents[1]
