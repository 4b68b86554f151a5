"""Own tokens: what is sealed opens as itself, where it belongs, and costs little (R-609, X-AUTH-40)."""

import base64
import time
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given, strategies as st

from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.oauth_proxy.messages import with_parameters
from enfilade.auth.oauth_proxy.redirects import CLIENT_SCHEMES, fault_of_redirect
from enfilade.auth.oauth_proxy.sealed import (
    AccessToken,
    ClientSecret,
    Code,
    Codec,
    Consents,
    Login,
    RefreshToken,
    Registration,
    Sealed,
)
from enfilade.auth.oauth_proxy.verifier import OwnTokens, new_access_token
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.state.tokens import Seal
from support.authorization.proxy_client import ProxyClient, call, caller
from support.authorization.visitor import Visitor

ISSUER = "https://mcp.example.com"
SEAL = Seal(["s" * 32])
NOW = int(time.time())
VALUES: list[Sealed] = [
    Registration("name", ["https://a.example.com/"], "none", NOW),
    Login(
        b"id", b"client", "https://a.example.com/", "state", "challenge", ["a"], b"browser", "verifier", NOW, 1
    ),
    Code(b"grant", b"client", "https://a.example.com/", "challenge", NOW),
    AccessToken(b"grant", "ada", "client", ["a"], NOW, NOW + 60, {"name": "Ada"}),
    RefreshToken(b"grant", b"client", 1),
    Consents(b"browser", [b"digest"]),
    ClientSecret(b"client"),
]


def codec(seal: Seal = SEAL, issuer: str = ISSUER, path: str = "/mcp") -> Codec:
    return Codec(seal, issuer, issuer + path)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_each_kind_opens_as_itself_alone(value: Sealed) -> None:
    """R-610: nothing that one step hands out is anything else at another, at another server, or when changed."""
    sealed = codec().seal(value)
    for other in VALUES:
        opened = codec().open(sealed, type(other))
        assert opened == (value if other is value else None)
    kind = type(value)
    assert codec(Seal(["t" * 32])).open(sealed, kind) is None
    assert codec(issuer="https://other.example.com").open(sealed, kind) is None
    assert codec(Seal(["t" * 32, "s" * 32])).open(sealed, kind) == value
    for changed in (sealed[:-1], sealed + "A", "A" + sealed, sealed.swapcase(), "", "=", "ü", "\x00"):
        assert codec().open(changed, kind) is None


def test_an_access_token_is_for_one_resource() -> None:
    """R-609, X-AUTH-40, RFC 8707: another endpoint with the same issuer and secret does not take it."""
    sealed = codec().seal(VALUES[3])
    assert codec(path="/other").open(sealed, AccessToken) is None


@pytest.fixture
def tokens() -> OwnTokens:
    return OwnTokens(SEAL, ISSUER, f"{ISSUER}/mcp", 0.0)


def access_token(seconds: int = 60, grant: bytes = b"g" * 16) -> str:
    return new_access_token(codec(), "ada", "client", ["a", "b"], seconds, grant, {"name": "Ada", "iss": "evil"})


@pytest.mark.anyio
async def test_who_presents_a_token(tokens: OwnTokens) -> None:
    """A23: what the server itself says is not what the provider may say."""
    principal = await tokens.verify(access_token())
    assert (principal.subject, principal.issuer, principal.client_id) == ("ada", ISSUER, "client")
    assert principal.scopes == {"a", "b"}
    assert principal.claims["iss"] == ISSUER
    assert principal.claims["aud"] == f"{ISSUER}/mcp"
    assert principal.claims["name"] == "Ada"
    assert principal.expires_at is not None


@pytest.mark.anyio
@pytest.mark.parametrize("token", ["", "enf_at_", "enf_at_AAAA", "enf_at_" + "A" * 20_000, "eyJ.eyJ.eyJ", "ü"])
async def test_texts_that_are_no_tokens(tokens: OwnTokens, token: str) -> None:
    with pytest.raises(InvalidTokenError):
        await tokens.verify(token)


@pytest.mark.anyio
async def test_a_token_ends(tokens: OwnTokens) -> None:
    """R-609: by its time, and by the end of its grant; what was verified before is checked anew."""
    with pytest.raises(InvalidTokenError, match="expired"):
        await tokens.verify(access_token(-1))
    generation = tokens.generation
    assert tokens.is_current(generation)
    token, other = access_token(), access_token(grant=b"h" * 16)
    tokens.revoke(b"g" * 16)
    assert not tokens.is_current(generation)
    with pytest.raises(InvalidTokenError, match="revoked"):
        await tokens.verify(token)
    assert await tokens.verify(other)
    assert await tokens.verify(access_token(grant=b"")), "a token of an assertion has no grant"


def test_a_token_is_opened_once(
    public_url: str, client: ProxyClient, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A23: later requests with it cost a look at what was verified before, as those with a JWT."""
    token = client.tokens(visitor)["access_token"]
    opened: list[Any] = []
    original = Codec.open

    def counting(self: Codec, sealed: str, kind: Any) -> Any:
        opened.append(kind)
        return original(self, sealed, kind)

    monkeypatch.setattr(Codec, "open", counting)
    for _ in range(5):
        caller(public_url, token)
    assert opened == [AccessToken]


def test_a_foreign_token_is_refused(public_url: str) -> None:
    """R-603, R-608: 401 with a challenge, whatever it is."""
    for token in ("none", "enf_at_none", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0."):
        refused = call(public_url, token)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_paths_at_which_nothing_is(public_url: str) -> None:
    """X-AUTH-20: a client that guesses is told where the endpoints are."""
    for path in ("/register", "/token", "/authorize"):
        response = httpx.post(public_url + path)
        assert response.status_code == 404
        assert "/.well-known/oauth-authorization-server" in response.json()["error_description"]


# -- whatever a stranger writes ----------------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_no_redirect_uri_runs_in_a_browser(text: str) -> None:
    """R-617: what is let through begins with https, a loopback address, or a scheme of an app."""
    if not fault_of_redirect(text):
        scheme = text.partition(":")[0]
        assert scheme in ("http", "https") or "." in scheme or scheme in CLIENT_SCHEMES
        assert text.isascii()
        assert text.isprintable()


@given(st.sampled_from(["javascript", "data", "vbscript", "file", "blob", "about", "ftp"]), st.text(max_size=20))
def test_schemes_of_browsers_are_refused(scheme: str, rest: str) -> None:
    """R-617: in any case of letters."""
    for spelled in (scheme, scheme.upper(), scheme.title()):
        assert fault_of_redirect(f"{spelled}:{rest}")


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=5))
def test_what_is_sent_back_is_one_line(values: dict[str, str]) -> None:
    """R-711: no character of a value ends a header, and the reader gets what was meant."""
    url = with_parameters("https://a.example.com/?x=y", values)
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url


@given(st.binary(max_size=200))
def test_queries_are_read_or_refused(data: bytes) -> None:
    """Nothing but an error of OAuth comes out of a query, or one value of each parameter, never an empty one."""
    try:
        parameters = Parameters(data)
    except OAuthError:
        return
    given_values: dict[str, str] = {}
    for name, value in parse_qsl(data.decode("ascii"), keep_blank_values=True):
        given_values[name] = given_values.get(name) or value
    for name, value in given_values.items():
        assert parameters.get(name) == (value or None)


@given(st.binary(max_size=100))
def test_what_is_sealed_by_nobody(data: bytes) -> None:
    """R-610: no bytes open by chance."""
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert all(codec().open(text, type(value)) is None for value in VALUES)
