"""Which JWTs are accepted, and which are refused (B2, B3, X-AUTH-3), by keys over HTTP."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enfilade.auth import AuthorizationServer, InvalidTokenError, Principal
from enfilade.auth.compact_token import MOST_BYTES, MOST_OBJECTS, read_token, unverified_claims
from enfilade.auth.jwt import JwtVerifier
from enfilade.auth.servers import ALGORITHMS
from support.servers.scripted_http_server import Answer, ScriptedHttpServer
from support.signed_tokens import claims_for, jwk, private_key, sign, sign_bytes

RESOURCE = "https://mcp.example.com/mcp"
KEY = private_key("ES256")
RSA_KEY = private_key("RS256", "rsa")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        keys = [jwk(private_key(algorithm, algorithm)) for algorithm in ALGORITHMS]
        server.answers["/jwks"] = Answer({"keys": [jwk(KEY), jwk(RSA_KEY), *keys]})
        yield server


@pytest.fixture
def issuer(server: ScriptedHttpServer) -> str:
    return server.origin


def verify(issuer: str, token: str, **options: Any) -> Principal:
    """Return who presents a token, to a verifier that has seen none yet."""

    async def main() -> Principal:
        server = AuthorizationServer(issuer, jwks_uri=f"{issuer}/jwks", **options)
        verifier = JwtVerifier(server, RESOURCE)
        try:
            return await verifier.verify(token)
        finally:
            await verifier.aclose()

    return asyncio.run(main())


def good(issuer: str, **changes: Any) -> dict[str, Any]:
    return claims_for(issuer, RESOURCE, **changes)


class TestAccepted:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_each_algorithm(self, issuer: str, algorithm: str) -> None:
        """B3: RS, PS and ES with 256 to 512 bits, EdDSA, and its newer name Ed25519."""
        token = sign(good(issuer), private_key(algorithm, algorithm), algorithm)
        assert verify(issuer, token).subject == "anna"

    def test_who_it_is(self, issuer: str) -> None:
        """X-AUTH-3: the principal is the issuer and `sub`; the token is hidden in texts."""
        claims = good(issuer, scope="notes:read notes:write", team="blue")
        token = sign(claims, KEY)
        principal = verify(issuer, token)
        assert (principal.issuer, principal.subject, principal.client_id) == (issuer, "anna", "editor")
        assert principal.scopes == {"notes:read", "notes:write"}
        assert principal.expires_at == claims["exp"]
        assert principal.claims["team"] == "blue"
        assert principal.access_token is not None
        assert principal.access_token.get_secret_value() == token
        assert token not in repr(principal)
        assert token not in str(principal.access_token)

    @pytest.mark.parametrize(
        ("changes", "subject", "client_id"),
        [
            pytest.param({"sub": ..., "client_id": "robot"}, "robot", "robot", id="X-AUTH-30 no user"),
            pytest.param(
                {"sub": "robot", "client_id": "robot"}, "robot", "robot", id="X-AUTH-30 sub is the client"
            ),
            pytest.param({"client_id": ..., "azp": "web"}, "anna", "web", id="azp names the client"),
            pytest.param({"client_id": ...}, "anna", None, id="no client"),
        ],
    )
    def test_subjects(self, issuer: str, changes: dict[str, Any], subject: str, client_id: str | None) -> None:
        principal = verify(issuer, sign(good(issuer, **changes), KEY))
        assert (principal.subject, principal.client_id) == (subject, client_id)

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"sub": ..., "client_id": "robot"}, id="no sub"),
            pytest.param({"sub": "robot", "client_id": "robot"}, id="RFC 9068"),
            pytest.param({"sub": "robot", "client_id": ..., "azp": "robot"}, id="azp"),
            pytest.param({"sub": "robot", "client_id": ..., "cid": "robot"}, id="Okta"),
        ],
    )
    def test_a_client_for_itself_is_no_user(self, issuer: str, changes: dict[str, Any]) -> None:
        """X-AUTH-30: a user with the `sub` of a client is another principal."""
        user = verify(issuer, sign(good(issuer, sub="robot"), KEY))
        client = verify(issuer, sign(good(issuer, **changes), KEY))
        assert user.subject == client.subject == "robot"
        assert (user.key, client.key) == (f'["{issuer}","robot"]', f'["{issuer}","robot","client"]')

    @pytest.mark.parametrize(
        ("changes", "scopes"),
        [
            pytest.param({"scope": "a b  c"}, {"a", "b", "c"}, id="scope as a text"),
            pytest.param({"scope": ["a", "b"]}, {"a", "b"}, id="scope as a list"),
            pytest.param({"scp": "a b"}, {"a", "b"}, id="scp as a text"),
            pytest.param({"scp": ["a", "b"]}, {"a", "b"}, id="scp as a list"),
            pytest.param({"scope": "a", "scp": ["b"]}, {"a"}, id="scope before scp"),
            pytest.param({"scope": ""}, set(), id="empty"),
            pytest.param({}, set(), id="B6 none is no fault"),
        ],
    )
    def test_scopes(self, issuer: str, changes: dict[str, Any], scopes: set[str]) -> None:
        assert verify(issuer, sign(good(issuer, **changes), KEY)).scopes == scopes

    def test_a_client_without_audience(self, issuer: str) -> None:
        """B2: no `aud` is refused, but for clients that are named for it."""
        cognito = good(issuer, aud=..., client_id="app", token_use="access", scope="notes/read")
        principal = verify(issuer, sign(cognito, KEY, typ=...), clients_without_audience=["other", "app"])
        assert (principal.subject, principal.client_id, *principal.scopes) == ("anna", "app", "notes/read")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            pytest.param({"client_id": "another"}, "no audience", id="B2 another client"),
            pytest.param({"client_id": ...}, "no audience", id="B2 no client"),
            pytest.param({"client_id": ..., "azp": "app"}, "no audience", id="B2 azp is not client_id"),
            pytest.param({"client_id": ["app"]}, "client_id is no text", id="B2 client_id is a list"),
            pytest.param({"aud": "https://a.example"}, "audience is another", id="B2 another audience"),
            pytest.param({"aud": "app"}, "audience is another", id="B2 an ID token"),
            pytest.param({"aud": None}, "no audience", id="B2 aud is null"),
            pytest.param({"aud": []}, "no audience", id="B2 empty audience"),
        ],
    )
    def test_a_client_without_audience_is_let_in_for_nothing_else(
        self, issuer: str, changes: dict[str, Any], reason: str
    ) -> None:
        claims = {**good(issuer, aud=..., client_id="app"), **changes}
        token = sign({name: value for name, value in claims.items() if value is not ...}, KEY)
        with pytest.raises(InvalidTokenError, match=reason):
            verify(issuer, token, clients_without_audience=["app"])

    @pytest.mark.parametrize(
        "audience",
        [
            pytest.param(["https://api.example.com", RESOURCE], id="one of several"),
            pytest.param("HTTPS://MCP.Example.com:443/mcp/", id="R-612 normalized"),
            pytest.param("api://notes", id="one of the configuration"),
        ],
    )
    def test_audiences(self, issuer: str, audience: Any) -> None:
        token = sign(good(issuer, aud=audience), KEY)
        assert verify(issuer, token, audiences=["api://notes"]).subject == "anna"

    @pytest.mark.parametrize("kind", [..., "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
    def test_types(self, issuer: str, kind: Any) -> None:
        assert verify(issuer, sign(good(issuer), KEY, typ=kind)).subject == "anna"

    @pytest.mark.parametrize(
        "changes",
        [
            {"typ": "Bearer"},
            {"token_use": "access"},
            {"token_use": "access_token", "token_type": "Bearer"},
            {"token_usage": "access_token"},
            {"token_type": "access"},
            {"events": ["party"]},
            {"nonce": "n", "at_hash": "x"},
        ],
        ids=["Keycloak", "Cognito", "Hydra", "OpenIddict", "access", "events of its own", "Dex"],
    )
    def test_kinds(self, issuer: str, changes: dict[str, Any]) -> None:
        """X-AUTH-3: what servers call access tokens in claims; Dex makes them like its ID tokens."""
        assert verify(issuer, sign(good(issuer, **changes), KEY, typ="JWT")).subject == "anna"

    def test_clocks_may_differ(self, issuer: str) -> None:
        """B2: by 30 seconds."""
        now = time.time()
        assert verify(issuer, sign(good(issuer, exp=now - 20, nbf=now + 20), KEY)).subject == "anna"

    def test_without_kid_if_one_key_alone_has_the_algorithm(self, issuer: str) -> None:
        token = sign(good(issuer), private_key("ES384", "ES384"), "ES384", kid=...)
        assert verify(issuer, token).subject == "anna"

    @pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
    def test_keys_in_the_header_are_not_read(self, issuer: str, server: ScriptedHttpServer, name: str) -> None:
        """B2: and nothing is fetched."""
        values: dict[str, Any] = {"jwk": jwk(private_key("ES256", "evil")), "x5c": ["AAAA"]}
        token = sign(good(issuer), KEY, **{name: values.get(name, f"{issuer}/{name}")})
        assert verify(issuer, token).subject == "anna"
        assert server.count(f"/{name}") == 0


def forged(issuer: str, header: dict[str, Any]) -> str:
    """Return a token that the key in its own header has signed."""
    evil = private_key("ES256", "evil")
    return sign(good(issuer), evil, **header)


def hmac_by_public_key(issuer: str) -> str:
    """Return a token that is signed with what everybody knows, the RSA key's public text."""
    head = {"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, good(issuer))]
    signed = b".".join(parts)
    digest = hmac.new(RSA_KEY.as_pem(private=False), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


def unsigned(issuer: str, algorithm: str = "none") -> str:
    head = {"alg": algorithm, "typ": "at+jwt", "kid": "one"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, good(issuer))]
    return b".".join([*parts, b""]).decode()


def changed(issuer: str) -> str:
    """Return a good token in which somebody has written another user."""
    head, _, signature = sign(good(issuer), KEY).split(".")
    payload = base64.urlsafe_b64encode(json.dumps(good(issuer, sub="root")).encode()).rstrip(b"=").decode()
    return f"{head}.{payload}.{signature}"


def raw_claims(issuer: str, more: str) -> str:
    """Return a token whose payload has some JSON besides."""
    return sign(json.dumps(good(issuer)).encode()[:-1] + f", {more}}}".encode(), KEY)


def claims(**changes: Any) -> Callable[[str], str]:
    return lambda issuer: sign(good(issuer, **changes), KEY)


def header(**fields: Any) -> Callable[[str], str]:
    return lambda issuer: sign(good(issuer), KEY, **fields)


def times(**offsets: float) -> Callable[[str], str]:
    return lambda issuer: sign(
        good(issuer, **{name: time.time() + offset for name, offset in offsets.items()}), KEY
    )


#: Claims by which servers name other kinds of token, that they sign with the same keys.
OTHER_KINDS: list[tuple[str, Any]] = [
    *(("typ", kind) for kind in ("ID", "Refresh", "Offline", "Logout", "InitialAccessToken", ["ID"])),
    *(("token_use", kind) for kind in ("id", "refresh_token", "refresh-token")),
    *(("token_usage", kind) for kind in ("refresh_token", "id_token", "authorization_code")),
    *(("token_type", kind) for kind in ("refresh", "urn:ietf:params:oauth:token-type:id_token")),
    ("events", {"http://schemas.openid.net/event/backchannel-logout": {}}),
]

REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "B2 expired": (times(exp=-31), "expired"),
    "B2 not yet valid": (times(nbf=40), "not yet valid"),
    "B2 another issuer": (claims(iss="https://evil.example.com"), "issuer"),
    "B2 issuer with a slash more": (lambda issuer: claims(iss=issuer + "/")(issuer), "issuer"),
    "B2 no issuer": (claims(iss=...), "issuer"),
    "B2 issuer is a list": (lambda issuer: claims(iss=[issuer])(issuer), "issuer"),
    "R-609 another audience": (claims(aud="https://mcp.example.com/other"), "audience"),
    "B2 audience with a fragment": (claims(aud=RESOURCE + "#a"), "audience"),
    "B2 audience that begins the same": (claims(aud="https://mcp.example.com"), "audience"),
    "X-AUTH-40 audience of another server": (claims(aud=["https://a.example", "https://b.example"]), "audience"),
    "B2 no audience": (claims(aud=...), "audience"),
    "B2 empty audience": (claims(aud=[]), "audience"),
    "B2 audience is a number": (claims(aud=7), "audience"),
    "B2 audience has a number": (claims(aud=[RESOURCE, 7]), "audience"),
    "B2 no exp": (claims(exp=...), "exp"),
    "B2 exp is a text": (claims(exp="4102444800"), "exp is no number"),
    "B2 exp is a boolean": (claims(exp=True), "exp is no number"),
    "B2 exp is null": (claims(exp=None), "exp is no number"),
    "B2 exp has 400 digits": (claims(exp=10**400), "exp is no time"),
    "B2 exp is infinite": (lambda issuer: raw_claims(issuer, '"nbf": 1e999'), "JSON"),
    "B2 exp is NaN": (lambda issuer: raw_claims(issuer, '"nbf": NaN'), "JSON"),
    "B2 nbf is a text": (claims(nbf="0"), "nbf is no number"),
    "B2 iat is a text": (claims(iat="0"), "iat is no number"),
    "B2 neither sub nor client_id": (claims(sub=..., client_id=...), "neither sub nor client_id"),
    "B2 azp alone": (claims(sub=..., client_id=..., azp="web"), "neither sub nor client_id"),
    "B2 sub is a number": (claims(sub=7), "sub is no text"),
    "B2 sub is empty": (claims(sub=""), "sub is no text"),
    "B2 sub is null": (claims(sub=None), "sub is no text"),
    "B2 sub is half a character": (claims(sub="\ud800"), "sub is no text"),
    "B2 client_id is a list": (claims(client_id=["a"]), "client_id is no text"),
    "B2 scope is a number": (claims(scope=7), "scope is neither"),
    "B2 scope has a number": (claims(scope=["a", 7]), "scope is neither"),
    "B2 scp is an object": (claims(scp={"a": True}), "scp is neither"),
    "B2 unknown kid": (header(kid="two"), "key is none"),
    "B2 kid is a number": (header(kid=1), "kid is no text"),
    "B2 kid is empty": (header(kid=""), "kid is no text"),
    "B2 kid is long": (header(kid="a" * 513), "kid is too long"),
    "B2 no kid, several keys": (lambda issuer: sign(good(issuer), RSA_KEY, "RS256", kid=...), "key is none"),
    "B2 alg none": (unsigned, "algorithm"),
    "B2 alg None": (lambda issuer: unsigned(issuer, "None"), "algorithm"),
    "B2 no signature": (lambda issuer: unsigned(issuer, "ES256"), "signature"),
    "B2 HS256 with the public key": (hmac_by_public_key, "algorithm"),
    "B2 algorithm of another key type": (header(alg="RS256"), "key is not for its algorithm"),
    "B2 algorithm of another curve": (header(alg="ES384"), "key is not for its algorithm"),
    "B2 alg is a list": (header(alg=["ES256"]), "algorithm"),
    "B2 no alg": (header(alg=...), "algorithm"),
    "B2 jwk": (lambda issuer: forged(issuer, {"jwk": jwk(private_key("ES256", "evil"))}), "key is none"),
    "B2 jwk with a known kid": (
        lambda issuer: forged(issuer, {"kid": "one", "jwk": jwk(private_key("ES256", "evil"))}),
        "signature",
    ),
    "B2 jku": (lambda issuer: forged(issuer, {"kid": "one", "jku": f"{issuer}/evil"}), "signature"),
    "B2 x5u": (lambda issuer: forged(issuer, {"kid": "one", "x5u": f"{issuer}/evil"}), "signature"),
    "B2 crit": (header(crit=["exp"]), "crit"),
    "B2 crit is empty": (header(crit=[]), "crit"),
    "B2 typ is null": (lambda i: sign_bytes(b'{"alg":"ES256","kid":"one","typ":null}', good(i), KEY), "typ"),
    **{
        f"B2 typ {kind}": (header(typ=kind), "typ")
        for kind in ("dpop+jwt", "logout+jwt", "oauth-id-jag+jwt", "secevent+jwt", "application/dpop+jwt", 7, "")
    },
    **{f"X-AUTH-3 {name} {value}": (claims(**{name: value}), "no access token") for name, value in OTHER_KINDS},
    "B2 changed payload": (changed, "signature"),
    "B2 empty": (lambda _: "", "three parts"),
    "B2 two parts": (lambda issuer: sign(good(issuer), KEY).rpartition(".")[0], "three parts"),
    "B2 four parts": (lambda issuer: sign(good(issuer), KEY) + ".a", "three parts"),
    "B2 no base64url": (lambda issuer: sign(good(issuer), KEY) + "=", "base64url"),
    "B2 base64 of another alphabet": (lambda issuer: sign(good(issuer), KEY) + "+/", "base64url"),
    "B2 bits beyond the last byte": (lambda issuer: sign(good(issuer), KEY)[:-1] + "-", "base64url"),
    "B2 no ASCII": (lambda issuer: sign(good(issuer), KEY) + "é", "base64url"),
    "B2 no UTF-8": (lambda _: sign(b'{"iss": "\xff"}', KEY), "JSON"),
    "B2 no JSON": (lambda _: sign(b"{", KEY), "JSON"),
    "B2 a list": (lambda _: sign(b"[]", KEY), "JSON"),
    "B2 a claim twice": (lambda issuer: raw_claims(issuer, '"sub": "root"'), "JSON"),
    "B2 alg twice": (lambda i: sign_bytes(b'{"alg":"none","alg":"ES256","kid":"one"}', good(i), KEY), "JSON"),
    "B2 nested deeply": (claims(deep=json.loads("[" * 20 + "]" * 20)), "JSON"),
    "B2 nested beyond the stack": (lambda _: sign(b"[" * 5_000 + b"]" * 5_000, KEY), "JSON"),
    "B2 huge": (lambda issuer: sign(good(issuer, padding="a" * MOST_BYTES), KEY), "longer"),
    "B2 a number that is too great": (lambda issuer: raw_claims(issuer, '"n": {"a": [1, -1e999]}'), "JSON"),
    "B2 a number of 5000 digits": (lambda issuer: raw_claims(issuer, f'"n": {"9" * 5_000}'), "JSON"),
}


class TestRefused:
    @pytest.mark.parametrize("case", REFUSED)
    def test_refused(self, issuer: str, server: ScriptedHttpServer, case: str) -> None:
        make, reason = REFUSED[case]
        token = make(issuer)
        with pytest.raises(InvalidTokenError, match=reason) as caught:
            verify(issuer, token)
        assert server.count("/evil") == 0
        # The reason goes to the client in quotes (RFC 6750 §3): nothing of the token, and no quote, is in it.
        assert caught.value.reason.isascii()
        assert not {'"', "\\"} & set(caught.value.reason)
        assert all(part not in caught.value.reason for part in token.split(".") if len(part) > 3)

    def test_the_algorithms_of_the_configuration_alone(self, issuer: str) -> None:
        """B3."""
        with pytest.raises(InvalidTokenError, match="algorithm"):
            verify(issuer, sign(good(issuer), KEY), algorithms=["RS256"])

    def test_what_is_refused_without_a_key_causes_no_request(self) -> None:
        """B3: an expired token of a server that is away is refused, and is no reason to ask it."""
        with ScriptedHttpServer() as server:
            for make in (
                times(exp=-31),
                claims(aud="https://other.example.com"),
                claims(iss="https://e.example"),
            ):
                with pytest.raises(InvalidTokenError):
                    verify(server.origin, make(server.origin))
            assert server.received == []

    def test_each_byte_of_a_token_counts(self, issuer: str) -> None:
        """B2: no token in which one character is another one is accepted."""
        token = sign(good(issuer), KEY)

        async def main() -> int:
            verifier = JwtVerifier(AuthorizationServer(issuer, jwks_uri=f"{issuer}/jwks"), RESOURCE)
            refused = 0
            for position in range(0, len(token), 3):
                other = "A" if token[position] != "A" else "B"
                with pytest.raises(InvalidTokenError):
                    await verifier.verify(token[:position] + other + token[position + 1 :])
                refused += 1
            assert (await verifier.verify(token)).subject == "anna"
            await verifier.aclose()
            return refused

        assert asyncio.run(main()) > 100


@pytest.mark.parametrize(
    "options", [{"leeway": 61}, {"leeway": -1}, {"leeway": float("nan")}, {"jwks_stale": -1}, {"jwks_pause": -1}]
)
def test_durations_have_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        JwtVerifier(AuthorizationServer("https://idp.example.com"), RESOURCE, **options)


def test_the_issuer_that_a_token_names() -> None:
    """B4: it chooses who verifies the token; what is no JWT names none."""
    assert unverified_claims(sign(good("https://idp.example.com"), KEY))["iss"] == "https://idp.example.com"
    for token in ("", "opaque", "a.b.c", sign(good("x", iss=...), KEY)):
        assert unverified_claims(token) == {}
    with pytest.raises(InvalidTokenError):
        unverified_claims(sign(good("x", iss=7), KEY))


@pytest.mark.parametrize(
    ("values", "is_read"),
    [("{}," * 490, True), ("{}," * 510, False), ("1," * 1_990, True), ("1," * 2_010, False)],
)
def test_a_token_has_few_values(values: str, is_read: bool) -> None:
    """X-AUTH-3: each of them takes time."""
    token = sign(f'{{"iss": "https://idp.example.com", "a": [{values}0]}}'.encode(), KEY)
    with contextlib.nullcontext() if is_read else pytest.raises(InvalidTokenError, match="JSON"):
        assert read_token(token).claims["iss"] == "https://idp.example.com"


@pytest.mark.parametrize(
    "values",
    ["{}," * 5_000, "1.1," * 3_800, "1," * 7_500, '{"":1},' * 2_000, "[]," * 5_000, '"",' * 5_000, "[" * 15_000],
    ids=["objects", "floats", "numbers", "members", "lists", "texts", "brackets"],
)
def test_what_a_token_costs_has_a_bound(values: str) -> None:
    """X-AUTH-3: anybody may send one. No function is called for each of its values."""
    payload = f'{{"iss": "https://idp.example.com", "a": [{values}0]}}'[: MOST_BYTES * 3 // 4 - 300]
    token = sign(payload.encode(), KEY)
    called = 0

    def count(*_: Any) -> None:
        nonlocal called
        called += 1

    sys.setprofile(count)
    try:
        with contextlib.suppress(InvalidTokenError):
            read_token(token, unverified_claims(token, ["https://idp.example.com"]))
    finally:
        sys.setprofile(None)
    assert called < 4 * MOST_OBJECTS


def test_claims_are_read_once() -> None:
    """X-AUTH-3: by whoever chooses the verifier."""
    token = sign(good("https://idp.example.com"), KEY)
    claims = unverified_claims(token)
    assert read_token(token, claims).claims is claims
    assert read_token(token).claims == claims
