"""`enfilade.testing.Issuer`: tokens in one line, and what it serves."""

import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from mcp.shared.auth import OAuthMetadata

from enfilade.testing import Issuer

RESOURCE = "https://mcp.example.com/mcp"
ALGORITHMS = [*(f"{family}{size}" for family in ("RS", "PS", "ES") for size in (256, 384, 512)), "Ed25519"]


def claims_of(token: str, issuer: Issuer) -> dict[str, Any]:
    """Return the claims of a token that a key of the issuer has signed."""
    return jwt.decode(token, KeySet.import_key_set(issuer.jwks()), algorithms=[issuer.algorithm]).claims


async def request(issuer: Issuer, method: str, path: str, **options: Any) -> httpx.Response:
    async with issuer.http_client() as client:
        return await client.request(method, f"https://issuer.test{path}", **options)


def test_a_token_of_a_user() -> None:
    issuer = Issuer()
    before = int(time.time())
    claims = claims_of(
        issuer.token("ada", scopes=["notes:read", "notes:write"], audience=RESOURCE, tenant="t1"), issuer
    )
    assert before <= claims.pop("iat") <= claims.pop("exp") - 3600 <= time.time()
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://issuer.test",
        "sub": "ada",
        "aud": RESOURCE,
        "client_id": "test-client",
        "scope": "notes:read notes:write",
        "tenant": "t1",
    }


def test_the_header_is_that_of_an_access_token() -> None:
    issuer = Issuer()
    header = jws.extract_compact(issuer.token("ada").encode()).headers()
    assert header == {"typ": "at+jwt", "alg": "ES256", "kid": issuer.jwks()["keys"][0]["kid"]}
    other = jws.extract_compact(issuer.token("ada", header={"typ": "JWT", "kid": "unknown"}).encode()).headers()
    assert other == {"typ": "JWT", "alg": "ES256", "kid": "unknown"}


def test_a_token_of_a_client_that_acts_for_itself() -> None:
    """X-AUTH-30: the client is the subject."""
    issuer = Issuer(audience=RESOURCE)
    claims = claims_of(issuer.token(None, client_id="ci"), issuer)
    assert (claims["sub"], claims["client_id"], claims["aud"]) == ("ci", "ci", RESOURCE)


def test_claims_can_be_left_out_and_be_others() -> None:
    """Tests of a server need tokens that it must refuse."""
    issuer = Issuer(audience=RESOURCE)
    claims = claims_of(issuer.token("ada", exp=None, aud=None, client_id=None, iss="https://other.test"), issuer)
    assert claims["iss"] == "https://other.test"
    assert not {"exp", "aud", "client_id"} & claims.keys()
    assert claims_of(issuer.token("ada", expires_in=-60), issuer)["exp"] < time.time()
    assert claims_of(issuer.token("ada", audience=("a", "b")), issuer)["aud"] == ["a", "b"]


def test_no_two_tokens_are_the_same() -> None:
    issuer = Issuer()
    assert issuer.token("ada") != issuer.token("ada")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_signs_by(algorithm: str) -> None:
    issuer = Issuer(algorithm=algorithm)
    assert claims_of(issuer.token("ada"), issuer)["sub"] == "ada"


def test_the_key_set_has_no_private_key() -> None:
    for algorithm in ("RS256", "ES256", "Ed25519"):
        (key,) = Issuer(algorithm=algorithm).jwks()["keys"]
        assert not {"d", "p", "q", "dp", "dq", "qi"} & key.keys()
        assert (key["alg"], key["use"]) == (algorithm, "sig")


def test_keys_are_rotated() -> None:
    issuer = Issuer()
    first = issuer.token("ada")
    issuer.rotate(keep=True)
    second = issuer.token("ada")
    assert {claims_of(token, issuer)["sub"] for token in (first, second)} == {"ada"}
    issuer.rotate()
    for token in (first, second):
        with pytest.raises(InvalidKeyIdError):
            claims_of(token, issuer)
    assert claims_of(issuer.token("ada"), issuer)["sub"] == "ada"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"url": "http://issuer.test"}, ValueError, "the URL of an issuer needs https://"),
        ({"url": 1}, TypeError, "not int"),
        ({"algorithm": "HS256"}, ValueError, "algorithm= is one of RS256, .*; not 'HS256'"),
        ({"algorithm": "none"}, ValueError, "not 'none'"),
    ],
)
def test_what_it_cannot_be_made_of(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Issuer(**options)


def test_scopes_are_a_list() -> None:
    with pytest.raises(TypeError, match=r"scopes=\['notes:read'\]"):
        Issuer().token("ada", scopes="notes:read")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["", "/realms/notes"])
async def test_its_metadata_are_where_clients_look(path: str) -> None:
    """X-AUTH-30: RFC 8414 puts the name before the issuer's path, OpenID Connect behind it."""
    url = f"https://issuer.test{path}"
    issuer = Issuer(url, scopes=["notes:read"])
    documents = [
        (await request(issuer, "GET", place)).json()
        for place in (
            f"/.well-known/oauth-authorization-server{path}",
            f"{path}/.well-known/openid-configuration",
            f"/.well-known/openid-configuration{path}",
        )
    ]
    assert documents[0] == documents[1] == documents[2]
    assert documents[0]["issuer"] == url
    assert documents[0]["scopes_supported"] == ["notes:read"]
    OAuthMetadata.model_validate(documents[0])  # as the official client reads it
    assert documents[0]["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    async with issuer.http_client() as client:
        keys = (await client.get(documents[0]["jwks_uri"])).json()
    assert keys == issuer.jwks()


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["basic", "post"])
async def test_a_client_gets_a_token_at_the_endpoint(method: str) -> None:
    """X-AUTH-30."""
    issuer = Issuer(scopes=["notes:read"], clients={"c i": "se:cret+"})
    form = {"grant_type": "client_credentials", "scope": "notes:read", "resource": RESOURCE}
    options: dict[str, Any] = {"data": {**form, "client_id": "c i", "client_secret": "se:cret+"}}
    if method == "basic":  # both are form-encoded first
        options = {"data": form, "auth": ("c+i", "se%3Acret%2B")}
    response = await request(issuer, "POST", "/token", **options)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "notes:read")
    claims = claims_of(body["access_token"], issuer)
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("c i", RESOURCE, "notes:read")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "auth", "status", "error"),
    [
        ({}, ("ci", "other"), 401, "invalid_client"),
        ({}, ("nobody", "secret"), 401, "invalid_client"),
        ({}, None, 401, "invalid_client"),
        ({"grant_type": "password"}, ("ci", "secret"), 400, "unsupported_grant_type"),
        ({"scope": "notes:read everything"}, ("ci", "secret"), 400, "invalid_scope"),
        ({"resource": ""}, ("ci", "secret"), 400, "invalid_target"),
        ({"padding": "x" * 70_000}, ("ci", "secret"), 400, "invalid_request"),
    ],
    ids=[
        "wrong-secret",
        "unknown-client",
        "no-client",
        "other-grant",
        "unknown-scope",
        "no-resource",
        "too-long",
    ],
)
async def test_token_requests_that_are_refused(
    form: dict[str, str], auth: tuple[str, str] | None, status: int, error: str
) -> None:
    issuer = Issuer(scopes=["notes:read"], clients={"ci": "secret"})
    right = {"grant_type": "client_credentials", "scope": "notes:read", "resource": RESOURCE}
    response = await request(issuer, "POST", "/token", data={**right, **form}, auth=auth)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert ("www-authenticate" in response.headers) == (status == 401)


@pytest.mark.anyio
async def test_what_there_is_not() -> None:
    issuer = Issuer()
    assert (await request(issuer, "GET", "/authorize")).status_code == 404
    assert (await request(issuer, "GET", "/token")).headers["allow"] == "POST"
    assert (await request(issuer, "POST", "/jwks")).headers["allow"] == "GET, HEAD"
    assert (await request(issuer, "HEAD", "/jwks")).content == b""


@pytest.mark.anyio
async def test_the_server_asks_it_in_memory() -> None:
    issuer = Issuer()
    server = issuer.server(audiences=["api://notes"], client_id="notes")
    assert (server.issuer, server.audiences, server.client_id) == (issuer.url, ("api://notes",), "notes")
    assert server.http_client is not None
    async with server.http_client() as client:
        assert (await client.get(f"{issuer.url}/jwks")).json() == issuer.jwks()


@pytest.mark.parametrize("package", ["httpx", "joserfc"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from enfilade.testing import Issuer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    needed = 'ModuleNotFoundError: enfilade.testing.Issuer needs more packages: pip install "enfilade[auth]"'
    assert needed in done.stderr
