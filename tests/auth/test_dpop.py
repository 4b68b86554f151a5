"""Tokens bound to a key of the client (DPoP), over real sockets: proofs, nonces, challenges."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey

from enfilade.auth import APIKeys, Introspection, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.auth.dpop import (
    NONCE_AGE,
    PROOF_ALGORITHMS,
    InvalidProofError,
    NonceNeededError,
    Nonces,
    ProofVerifier,
)
from enfilade.auth.limits.proof_memory import ProofMemory, Verdict
from enfilade.state.tokens import Seal
from enfilade.testing.issuer import Issuer
from support.authorization.bound_server import FILE, RESOURCE, make_app
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proof_key import ProofKey, content_digest, digest_of
from support.cluster.server_processes import ProcessCluster
from support.harness import Serving
from support.http_client.connection import Http, Reply, request_of, stateless_meta
from support.signed_tokens import sign_bytes

METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
ALGS = f'algs="{" ".join(PROOF_ALGORITHMS)}"'

issuer = Issuer("https://issuer.test", audience=RESOURCE)
key = ProofKey()
other_key = ProofKey(number=1)


def token_for(bound_to: ProofKey | None = key, **claims: Any) -> str:
    cnf = {} if bound_to is None else {"cnf": {"jkt": bound_to.thumbprint}}
    return issuer.token("ada", **{"scopes": ["notes:read"], **cnf, **claims})


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(make_app([issuer.server()])) as server:
        yield server.http


def who(http: Http, fields: dict[str, Any]) -> Reply:
    return http.modern("tools/call", {"name": "who", "arguments": {}}, **fields)


def challenge_of(reply: Reply, status: int = 401) -> str:
    """Return the one challenge of a refusal."""
    assert reply.status == status, reply.body
    assert reply.error["code"] == -32600, "X-AUTH-53"
    return reply.header("www-authenticate") or ""


class TestProofs:
    @pytest.mark.parametrize("era", ["session", "stateless"])
    def test_a_bound_token_with_a_proof_for_each_request(self, http: Http, era: str) -> None:
        """X-AUTH-50: also GET and DELETE; the second call finds the token verified."""
        token = token_for()
        if era == "stateless":
            replies = [who(http, key.fields(token)) for _ in range(2)]
            assert [reply.result["structuredContent"] for reply in replies] == [{"user": "ada"}] * 2
            return
        session = http.initialize(**key.fields(token))
        reply = session.ask("tools/call", {"name": "who"}, **key.fields(token))
        assert reply.result["structuredContent"] == {"user": "ada"}
        fields = {name.replace("_", "-"): value for name, value in session.headers.items()}
        stream = http.start("GET", b"", {**fields, "accept": "text/event-stream", **key.fields(token, "GET")})
        assert stream.status == 200
        stream.cut()
        for verb in ("GET", "DELETE"):
            refused = http.request(verb, b"", {**fields, "accept": "text/event-stream", **key.fields(token)})
            assert "its htm is not the method" in challenge_of(refused)
        assert http.request("DELETE", b"", {**fields, **key.fields(token, "DELETE")}).status == 204

    @pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "RS256"])
    def test_every_algorithm_that_is_offered(self, http: Http, algorithm: str) -> None:
        """X-AUTH-50."""
        client = ProofKey(algorithm)
        assert who(http, client.fields(token_for(client))).status == 200

    @pytest.mark.parametrize(
        "url",
        [
            "HTTPS://MCP.example.com:443/mcp",
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/mcp?a=b#c",
            "https://mcp.example.com/%6dcp",
        ],
    )
    def test_urls_are_compared_normalized(self, http: Http, url: str) -> None:
        """X-AUTH-50, R-612: without query and fragment."""
        assert who(http, key.fields(token_for(), htu=url)).status == 200

    def test_the_resource_is_what_clients_call(self) -> None:
        """X-AUTH-50: a proxy in front of the server has another path; its own URL is no `htu`."""
        app = make_app([issuer.server(audiences=["https://a.example/tools/mcp"])])
        app._auth = app._auth.replaced(resource="https://a.example/tools/mcp")  # type: ignore[union-attr]
        with Serving(app) as server:
            token = token_for(audience="https://a.example/tools/mcp")
            assert who(server.http, key.fields(token, htu="https://a.example/tools/mcp")).status == 200
            reply = who(server.http, key.fields(token, htu=f"http://127.0.0.1:{server.port}/mcp"))
            assert "its htu is not the URL" in challenge_of(reply)

    @pytest.mark.parametrize("seconds", [-290, 290])
    def test_clocks_differ(self, http: Http, seconds: int) -> None:
        """X-AUTH-50."""
        assert who(http, key.fields(token_for(), iat=int(time.time()) + seconds)).status == 200


def secret_jwk() -> dict[str, Any]:
    return OctKey.generate_key(256).as_dict()


Make = Callable[[str], Any]
#: What is wrong with a proof: the header `DPoP` for a token, and what the challenge says of it.
FAULTS: dict[str, tuple[Make, str]] = {
    "X-AUTH-50 no proof": (lambda token: None, "DPoP is missing"),
    "X-AUTH-50 an empty proof": (lambda token: "", "DPoP is missing"),
    "X-AUTH-50 two proofs": (lambda token: [key.proof(token), key.proof(token)], "more than one"),
    "X-AUTH-50 two proofs in one header": (lambda t: f"{key.proof(t)}, {key.proof(t)}", "more than one"),
    "X-AUTH-50 no JWT": (lambda token: "proof", "no JWT"),
    "X-AUTH-50 bytes": (lambda token: b"\xff.\xff.\xff", "no JWT"),
    "X-AUTH-50 too long": (lambda token: key.proof(token, more="x" * 8000), "longer than 8192"),
    "X-AUTH-50 a claim twice": (
        lambda t: sign_bytes(json.dumps(key.header()).encode(), b'{"jti":"a","jti":"b"}', key.key),
        "no JWT",
    ),
    "X-AUTH-50 another typ": (lambda token: key.proof(token, header={"typ": "JWT"}), "typ"),
    "X-AUTH-50 no typ": (lambda token: key.proof(token, header={"typ": ...}), "typ"),
    "X-AUTH-50 no signature": (lambda token: key.proof(token, header={"alg": "none"}), "alg"),
    "X-AUTH-50 a shared secret": (lambda token: key.proof(token, header={"alg": "HS256"}), "alg"),
    "X-AUTH-50 a secret as key": (lambda token: key.proof(token, header={"jwk": secret_jwk()}), "private key"),
    "X-AUTH-50 an algorithm of another key": (
        lambda token: key.proof(token, header={"alg": "RS256"}),
        "for its alg",
    ),
    "X-AUTH-50 an algorithm that is no text": (lambda token: key.proof(token, header={"alg": ["ES256"]}), "alg"),
    "X-AUTH-50 crit": (lambda token: key.proof(token, header={"crit": ["x"]}), "crit"),
    "X-AUTH-50 no key": (lambda token: key.proof(token, header={"jwk": ...}), "no jwk"),
    "X-AUTH-50 a private key": (
        lambda token: key.proof(token, header={"jwk": key.key.as_dict(private=True)}),
        "private key",
    ),
    "X-AUTH-50 a part of a private key": (
        lambda token: key.proof(token, header={"jwk": {**key.jwk, "dp": "x"}}),
        "private key",
    ),
    "X-AUTH-50 a key on no curve": (
        lambda token: key.proof(token, header={"jwk": {**key.jwk, "x": key.jwk["y"]}}),
        "no public key",
    ),
    "X-AUTH-50 another key": (other_key.proof, "another one than that of the token"),
    "X-AUTH-50 the key of the token, the signature of another": (
        lambda token: other_key.proof(token, header={"jwk": key.jwk}),
        "signature",
    ),
    "X-AUTH-50 no jti": (lambda token: key.proof(token, jti=...), "jti"),
    "X-AUTH-50 an empty jti": (lambda token: key.proof(token, jti=""), "jti"),
    "X-AUTH-50 a long jti": (lambda token: key.proof(token, jti="x" * 257), "jti"),
    "X-AUTH-50 a jti that is no text": (lambda token: key.proof(token, jti=5), "jti"),
    "X-AUTH-50 no htm": (lambda token: key.proof(token, htm=...), "htm"),
    "X-AUTH-50 htm in lower case": (lambda token: key.proof(token, htm="post"), "htm"),
    "X-AUTH-50 htm of another method": (lambda token: key.proof(token, htm="GET"), "htm"),
    "X-AUTH-50 no htu": (lambda token: key.proof(token, htu=...), "htu"),
    "X-AUTH-50 htu of another path": (lambda token: key.proof(token, htu="https://mcp.example.com/other"), "htu"),
    "X-AUTH-50 htu of another host": (lambda token: key.proof(token, htu="https://example.com/mcp"), "htu"),
    "X-AUTH-50 htu that is no URL": (lambda token: key.proof(token, htu="https://[/mcp"), "htu"),
    "X-AUTH-50 htu that is no text": (lambda token: key.proof(token, htu=["https://mcp.example.com/mcp"]), "htu"),
    "X-AUTH-50 no iat": (lambda token: key.proof(token, iat=...), "iat"),
    "X-AUTH-50 iat as a text": (lambda token: key.proof(token, iat="now"), "iat"),
    "X-AUTH-50 an old iat": (lambda token: key.proof(token, iat=int(time.time()) - 310), "iat"),
    "X-AUTH-50 an iat to come": (lambda token: key.proof(token, iat=int(time.time()) + 310), "iat"),
    "X-AUTH-50 no ath": (lambda token: key.proof(token, ath=...), "ath"),
    "X-AUTH-50 ath of another token": (lambda token: key.proof(token, ath=digest_of("other")), "ath"),
    "X-AUTH-51 a digest of another form": (lambda token: key.proof(token, content_digest="sha-256=x"), "digest"),
    "X-AUTH-51 a digest that is no text": (lambda token: key.proof(token, content_digest=5), "digest"),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_bad_proof(self, http: Http, fault: str) -> None:
        """X-AUTH-52, X-AUTH-53, R-603: one challenge that says what is wrong, and nothing of the proof."""
        make, text = FAULTS[fault]
        token = token_for()
        reply = who(http, {"authorization": f"DPoP {token}", "dpop": make(token)})
        challenge = challenge_of(reply)
        assert challenge.startswith('DPoP error="invalid_dpop_proof", error_description="the proof: ')
        assert text in challenge
        assert challenge.endswith(f'resource_metadata="{METADATA}", {ALGS}')
        assert token.encode() not in reply.body

    def test_a_proof_is_used_once(self, http: Http) -> None:
        """X-AUTH-52: a worker remembers what it has accepted; what it has refused may be sent again put right."""
        token = token_for()
        fields = key.fields(token)
        assert "htm" in challenge_of(http.request("GET", b"", fields))
        assert who(http, fields).status == 200
        assert "used before" in challenge_of(who(http, fields))

    def test_a_stranger_cannot_use_up_what_others_send(self, http: Http) -> None:
        """X-AUTH-52: the same `jti` of another key is another proof."""
        assert who(http, key.fields(token_for(), jti="same")).status == 200
        assert who(http, other_key.fields(token_for(other_key), jti="same")).status == 200

    @pytest.mark.parametrize(
        ("scheme", "cnf", "text"),
        [
            pytest.param("Bearer", {"jkt": key.thumbprint}, "send it as DPoP", id="X-AUTH-50 bound, as Bearer"),
            pytest.param("DPoP", None, "bound to no key", id="X-AUTH-50 not bound, as DPoP"),
            pytest.param("DPoP", {"x5t#S256": "x" * 43}, "bound to no key", id="X-AUTH-50 certificate, as DPoP"),
            pytest.param(
                "DPoP", {"jkt": key.thumbprint, "x5t#S256": "x" * 43}, "one key or one", id="X-AUTH-50 both"
            ),
            pytest.param("DPoP", {"kid": "1"}, "not understood", id="X-AUTH-50 something else"),
            pytest.param("Bearer", {"jwk": {}}, "not understood", id="X-AUTH-50 something else, as Bearer"),
            pytest.param("Bearer", {}, "one key or one", id="X-AUTH-50 nothing"),
            pytest.param("Bearer", "x", "one key or one", id="X-AUTH-50 a text"),
            pytest.param("DPoP", {"jkt": 5}, "no SHA-256 thumbprint", id="X-AUTH-50 a number"),
            pytest.param("DPoP", {"jkt": ""}, "no SHA-256 thumbprint", id="X-AUTH-50 an empty thumbprint"),
        ],
    )
    def test_what_a_token_is_bound_to(self, http: Http, scheme: str, cnf: Any, text: str) -> None:
        """X-AUTH-50: twice, since a token that was verified is remembered."""
        token = token_for(None, cnf=cnf)
        for _ in range(2):
            reply = who(http, {"authorization": f"{scheme} {token}", "dpop": key.proof(token)})
            challenge = challenge_of(reply)
            assert challenge.startswith(f'{scheme} resource_metadata="{METADATA}"')
            assert 'error="invalid_token"' in challenge
            assert text in challenge

    def test_a_bad_token_with_a_good_proof(self, http: Http) -> None:
        """X-AUTH-52: it is the token that is wrong."""
        token = token_for(expires_in=-100)
        assert 'DPoP resource_metadata="' in (challenge := challenge_of(who(http, key.fields(token))))
        assert 'error="invalid_token", error_description="it has expired"' in challenge

    def test_scopes(self, http: Http) -> None:
        """R-605: the challenge is of the scheme that the client uses."""
        challenge = challenge_of(who(http, key.fields(token_for(scopes=["other"]))), 403)
        assert challenge.startswith('DPoP error="insufficient_scope", scope="notes:read"')


class TestContentDigest:
    """X-AUTH-51: a digest of the body is checked where there is one."""

    BODY = json.dumps(request_of("tools/call", {"name": "who", "arguments": {}}, 1, stateless_meta())).encode()
    HEADERS = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "who"}

    def post(self, http: Http, body: bytes, digest: str) -> Reply:
        return http.post(body, **self.HEADERS, **key.fields(token_for(), content_digest=digest))

    def test_of_the_same_body(self, http: Http) -> None:
        assert self.post(http, self.BODY, content_digest(self.BODY)).status == 200

    @pytest.mark.parametrize("size", [0, 300_000], ids=["one chunk", "many chunks"])
    def test_of_another_body(self, http: Http, size: int) -> None:
        """X-AUTH-51: nothing is run."""
        body = self.BODY + b" " * size
        assert self.post(http, body, content_digest(body)).status == 200
        challenge = challenge_of(self.post(http, body, content_digest(body + b" ")))
        assert 'error="invalid_dpop_proof", error_description="the proof: its content_digest' in challenge

    def test_methods_without_a_body(self, http: Http) -> None:
        token = token_for()
        session = http.initialize(**key.fields(token))
        fields = {"mcp-session-id": session.token, "mcp-protocol-version": session.revision}
        for body, status in ((b"x", 401), (b"", 204)):
            proof = key.fields(token, "DELETE", content_digest=content_digest(body))
            assert http.request("DELETE", b"", {**fields, **proof}).status == status


class TestModes:
    def test_off(self) -> None:
        """X-AUTH-50: a bound token is refused under either scheme, and the metadata say nothing of DPoP."""
        with Serving(make_app([issuer.server()], dpop="off")) as server:
            token = token_for()
            assert "DPoP is not used here" in challenge_of(who(server.http, key.fields(token)))
            bearer = {"authorization": f"Bearer {token}"}
            assert "DPoP is not used here" in challenge_of(who(server.http, bearer))
            assert "dpop" not in self.metadata(server.http)

    def test_required(self) -> None:
        """X-AUTH-50, X-AUTH-52: an unbound token is refused each time; an API key's own header is free."""
        keys = APIKeys({hash_key("of-the-build"): Principal("ci", scopes=["notes:read"])}, header="X-API-Key")
        app = make_app([issuer.server()], dpop="required", verifiers=[keys])
        with Serving(app) as server:
            http = server.http
            assert challenge_of(who(http, {})) == (
                f'DPoP resource_metadata="{METADATA}", scope="notes:read", {ALGS}'
            )
            bearer = {"authorization": f"Bearer {token_for(None)}"}
            for _ in range(2):
                assert "tokens must be bound to a key here" in challenge_of(who(http, bearer))
            assert "must be bound" in challenge_of(who(http, {"authorization": "Bearer of-the-build"}))
            assert who(http, {"x_api_key": "of-the-build"}).status == 200
            assert who(http, key.fields(token_for())).status == 200
            assert '"dpop_bound_access_tokens_required":true' in self.metadata(http)

    def test_allowed(self, http: Http) -> None:
        """R-604: without credentials the challenge is for Bearer, and the metadata say that DPoP may be used."""
        assert challenge_of(who(http, {})).startswith("Bearer ")
        assert who(http, {"authorization": f"Bearer {token_for(None)}"}).status == 200
        metadata = self.metadata(http)
        assert '"dpop_signing_alg_values_supported":["ES256",' in metadata
        assert "required" not in metadata

    @staticmethod
    def metadata(http: Http) -> str:
        return httpx.get(f"http://127.0.0.1:{http.port}/.well-known/oauth-protected-resource").text

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"dpop": "on"}, "one of off, allowed, required"),
            ({"dpop": "off", "dpop_nonce": True}, "needs dpop="),
            ({"dpop_nonce": 1}, "True or False"),
        ],
    )
    def test_wrong_options(self, options: Any, text: str) -> None:
        with pytest.raises((TypeError, ValueError), match=text):
            ResourceServer(RESOURCE, ["https://a.example"], **options)

    def test_pages_of_allowed_origins(self, http: Http) -> None:
        """R-720: a page may send the proof and read the nonce."""
        origin = f"http://localhost:{http.port}"
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, dpop",
        }
        reply = http.request("OPTIONS", b"", asked)
        assert "dpop" in (reply.header("access-control-allow-headers") or "")
        assert "DPoP-Nonce" in (who(http, {"origin": origin}).header("access-control-expose-headers") or "")


@pytest.fixture(scope="module")
def with_nonces() -> Iterator[Http]:
    with Serving(make_app([issuer.server()], dpop_nonce=True)) as server:
        yield server.http


class TestNonces:
    @pytest.mark.parametrize("nonce", [..., "made-up", 5, ""])
    def test_a_proof_without_a_good_nonce(self, with_nonces: Http, nonce: Any) -> None:
        """X-AUTH-52: the refusal has one, with which the request succeeds, whatever the client's clock."""
        http, token = with_nonces, token_for()
        reply = who(http, key.fields(token, nonce=nonce))
        assert challenge_of(reply).startswith('DPoP error="use_dpop_nonce"')
        fresh = reply.header("dpop-nonce")
        accepted = who(http, key.fields(token, nonce=fresh, iat=1_000_000_000))
        assert accepted.status == 200
        assert accepted.header("dpop-nonce") is None, "it is good for long"
        assert who(http, key.fields(token, nonce=fresh)).status == 200, "a nonce is for many requests"

    def test_tokens_that_are_not_bound_need_none(self, with_nonces: Http) -> None:
        assert who(with_nonces, {"authorization": f"Bearer {token_for(None)}"}).status == 200

    def test_a_new_one_comes_before_the_old_one_ends(self) -> None:
        """X-AUTH-52: with a response, so no request is refused."""
        app = make_app([issuer.server()], dpop_nonce=True)
        old, expired = (Nonces(app._seal, lambda ago=ago: time.time() - ago).new().decode() for ago in (200, 301))
        with Serving(app) as server:
            token = token_for()
            reply = who(server.http, key.fields(token, nonce=old))
            assert reply.status == 200
            fresh = reply.header("dpop-nonce")
            assert who(server.http, key.fields(token, nonce=fresh)).status == 200
            assert "use_dpop_nonce" in challenge_of(who(server.http, key.fields(token, nonce=expired)))

    def test_what_is_sealed_for_another_purpose_is_none(self) -> None:
        seal = Seal()
        nonces = Nonces(seal)
        assert nonces.age_of(seal.seal(b"%d" % time.time(), b"session")) is None
        assert nonces.age_of(nonces.new().decode()) is not None
        assert Nonces(seal, lambda: time.time() - 70).age_of(nonces.new().decode()) is None, (
            "of a clock far ahead"
        )

    def test_any_worker_accepts_it(self, oidc_provider: OidcProvider) -> None:
        """X-AUTH-52: two processes with one secret, and tokens that a real authorization server has bound."""
        token = oidc_provider.bound_token(key.token_request(oidc_provider.token_url), ["notes:read"])
        env = {"ISSUER": oidc_provider.issuer, "DPOP": "required", "ENFILADE_SECRET": "s" * 40}
        with ProcessCluster(2, [sys.executable, str(FILE), "{port}"], "memory://", env) as cluster:
            first, second = (Http(server.port) for server in cluster.servers)
            reply = who(first, key.fields(token))
            assert challenge_of(reply).startswith('DPoP error="use_dpop_nonce"')
            nonce = reply.header("dpop-nonce")
            for http in (second, first):
                assert who(http, key.fields(token, nonce=nonce)).status == 200
            session = second.initialize(**key.fields(token, nonce=nonce))
            assert session.ask("tools/list", **key.fields(token, nonce=nonce)).status == 200


class TestRealServer:
    @pytest.mark.parametrize("era", ["session", "stateless"])
    def test_a_jwt(self, oidc_provider: OidcProvider, era: str) -> None:
        """X-AUTH-50."""
        token = oidc_provider.bound_token(key.token_request(oidc_provider.token_url), ["notes:read"])
        with Serving(make_app([oidc_provider.issuer])) as server:
            http = server.http
            if era == "stateless":
                reply = who(http, key.fields(token))
            else:
                session = http.initialize(**key.fields(token))
                reply = session.ask("tools/call", {"name": "who"}, **key.fields(token))
            assert reply.result["structuredContent"] == {"user": oidc_provider.client_id}
            assert "send it as DPoP" in challenge_of(who(http, {"authorization": f"Bearer {token}"}))
            assert "another one than" in challenge_of(who(http, other_key.fields(token)))

    def test_an_opaque_token(self, oidc_provider: OidcProvider) -> None:
        """X-AUTH-4, X-AUTH-50: introspection says to which key it is bound."""
        oidc_provider.configure(format="opaque")
        token = oidc_provider.bound_token(key.token_request(oidc_provider.token_url), ["notes:read"])
        introspection = Introspection(
            oidc_provider.introspection_url, oidc_provider.client_id, oidc_provider.client_secret
        )
        with Serving(make_app([], verifiers=[introspection])) as server:
            assert who(server.http, key.fields(token)).status == 200
            assert "another one than" in challenge_of(who(server.http, other_key.fields(token)))
            assert "send it as DPoP" in challenge_of(who(server.http, {"authorization": f"Bearer {token}"}))


class TestMemory:
    def check(self, proofs: ProofVerifier, **claims: Any) -> float:
        proof = key.proof("token", **claims)
        return proofs.check(proof, method="POST", token="token", thumbprint=key.thumbprint).seconds

    @pytest.mark.parametrize("bounds", [{"share": 10}, {"capacity": 10}], ids=["of a key", "in all"])
    def test_it_is_bounded(self, bounds: dict[str, int]) -> None:
        """X-AUTH-52: a client that goes on is not refused, and what is forgotten cannot be used again."""
        now = 2_000_000_000.0

        def clock() -> float:
            return now

        memory = ProofMemory(clock, **bounds)
        proofs = ProofVerifier(RESOURCE, clock=clock, memory=memory)
        used = []
        for _ in range(40):
            now += 1
            used.append(key.proof("token", iat=int(now)))
            proofs.check(used[-1], method="POST", token="token", thumbprint=key.thumbprint)
            now += 0.001
            assert len(memory) <= 10
        for number, proof in enumerate(used):
            reason = "used before" if number >= 31 else "newer ones|used before"
            with pytest.raises(InvalidProofError, match=reason):
                proofs.check(proof, method="POST", token="token", thumbprint=key.thumbprint)

    def test_one_user_pushes_out_nothing_of_another(self) -> None:
        """X-AUTH-52: a proof that was used stays refused, whatever others do."""
        memory = ProofMemory(time.time, capacity=50, share=40)
        proofs = ProofVerifier(RESOURCE, memory=memory)
        victim = other_key.proof("token")
        proofs.check(victim, method="POST", token="token", thumbprint=other_key.thumbprint)
        for number in range(100):
            self.check(proofs, iat=int(time.time()) - 100 + number)
        assert len(memory) <= 50
        with pytest.raises(InvalidProofError, match="used before"):
            proofs.check(victim, method="POST", token="token", thumbprint=other_key.thumbprint)

    def test_many_keys(self) -> None:
        """X-AUTH-52: new keys are served, and no proof of a key that was given up is used again."""
        now = 1000.0
        memory = ProofMemory(lambda: now, capacity=10)
        for number in range(100):
            now += 1
            assert memory.accept(f"key {number}", b"a", 300) is Verdict.NEW
            assert len(memory) <= 10
        for number in range(100):
            end = 1301.0 + number
            assert memory.accept(f"key {number}", b"a", end - now) in (Verdict.USED, Verdict.TOO_OLD)
        now += 500
        assert memory.accept("key 0", b"a", 300) is Verdict.NEW
        assert len(memory) == 1

    def test_what_has_ended_is_forgotten(self) -> None:
        now = 1000.0
        memory = ProofMemory(lambda: now)
        for number in range(50):
            now += 20
            assert memory.accept("key", b"%d" % number, 300) is Verdict.NEW
        assert len(memory) <= 17

    def test_a_proof_is_remembered_for_as_long_as_it_is_good(self) -> None:
        now = int(time.time())
        proofs = ProofVerifier(RESOURCE, clock=lambda: float(now))
        assert [self.check(proofs, iat=now + ahead) for ahead in (-300, 0, 300)] == [0, 300, 600]
        proofs = ProofVerifier(RESOURCE, nonces := Nonces(Seal(), lambda: float(now)))
        assert self.check(proofs, nonce=nonces.new().decode()) == NONCE_AGE
        with pytest.raises(NonceNeededError):
            self.check(proofs)
