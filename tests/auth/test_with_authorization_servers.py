"""The endpoint beside a real authorization server, and beside one with faults: real tokens, keys and failures.

Each request is made in both eras, because each of them has its own way into the server.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, Introspection, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from support import tooling
from support.authorization.faulty_server import JWKS, OAUTH, OPENID, FaultyServer, failing, not_json, redirect
from support.authorization.oidc_provider import RESOURCE, OidcProvider
from support.harness import Serving, eventually
from support.http_client.connection import Http, Reply, initialize_request
from support.servers.processes import free_port

OTHER = "https://other.example.com/mcp"
SCOPES = ["notes:read"]


@contextmanager
def serving(*issuers: str, **options: Any) -> Iterator[Http]:
    """Serve an app that accepts the tokens of these issuers."""
    app = MCPApp("Notes", auth=ResourceServer(RESOURCE, issuers, scopes=SCOPES, **options))

    @app.tool
    def whoami(ctx: Context) -> str | None:
        """Say who calls."""
        return ctx.user_id

    with Serving(app) as server:
        yield server.http


def replies(http: Http, token: str) -> list[Reply]:
    """Return the responses to a stateless call, and to the first request of a session."""
    authorization = f"Bearer {token}"
    return [
        http.modern("tools/call", {"name": "whoami", "arguments": {}}, authorization=authorization),
        http.post(initialize_request("2025-11-25"), authorization=authorization),
    ]


def user(http: Http, token: str) -> str:
    """Return who presents a token that both eras accept."""
    call, opening = replies(http, token)
    assert (call.status, opening.status) == (200, 200), (call.body, opening.body)
    return str(call.result["structuredContent"]["result"])


def assert_refused(http: Http, token: str) -> None:
    """Check that a token is refused for what it is: 401 with a challenge."""
    for reply in replies(http, token):
        assert reply.status == 401, reply.body
        assert 'error="invalid_token"' in (reply.header("www-authenticate") or "")
        assert token not in f"{reply.header('www-authenticate')}{reply.body!r}"


def assert_unavailable(http: Http, token: str) -> None:
    """Check that nobody can tell at present: 503, without a challenge that would begin a login."""
    for reply in replies(http, token):
        assert reply.status == 503, reply.body
        assert int(reply.header("retry-after") or 0) >= 1
        assert reply.header("www-authenticate") is None


@pytest.fixture
def http(oidc_provider: OidcProvider) -> Iterator[Http]:
    with serving(oidc_provider.issuer, leeway=0) as http:
        yield http


@pytest.fixture
def introspecting(oidc_provider: OidcProvider) -> Iterator[Http]:
    """A server whose tokens are opaque."""
    oidc_provider.configure(format="opaque")
    asked = Introspection(oidc_provider.introspection_url, oidc_provider.client_id, oidc_provider.client_secret)
    with serving(verifiers=[asked]) as http:
        yield http


class TestTokens:
    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_of_a_user_and_of_a_client(self, oidc_provider: OidcProvider, http: Http, algorithm: str) -> None:
        """B3, B4, R-609, X-AUTH-3, X-AUTH-30: the keys are found by the metadata of the issuer."""
        oidc_provider.configure(algorithm=algorithm)
        assert user(http, oidc_provider.user_token("bob", SCOPES)) == "bob"
        assert user(http, oidc_provider.client_credentials_token(SCOPES)) == oidc_provider.client_id

    def test_for_another_resource(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B2, R-609, R-610."""
        oidc_provider.accept_resource(OTHER)
        assert_refused(http, oidc_provider.user_token("bob", SCOPES, OTHER))

    def test_expired_also_when_it_was_good_before(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B2, B15: a remembered verdict ends with the token."""
        assert user(http, oidc_provider.user_token("ada", SCOPES)) == "ada"  # so that the keys are there
        oidc_provider.configure(lifetime=3)
        token = oidc_provider.user_token("bob", SCOPES)
        assert user(http, token) == "bob"
        eventually(lambda: {reply.status for reply in replies(http, token)} == {401})
        assert_refused(http, token)

    def test_without_the_scopes(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B6, R-605: the token is good, so that a login would change nothing."""
        for reply in replies(http, oidc_provider.user_token("bob", ["notes:write"])):
            assert reply.status == 403
            assert 'error="insufficient_scope", scope="notes:read"' in (reply.header("www-authenticate") or "")

    def test_of_an_identity(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B2, R-610: an ID token has the same issuer and the same keys, and is for the client."""
        assert_refused(http, oidc_provider.user_grant("bob", ["openid"])["id_token"])

    def test_of_an_issuer_that_is_none_of_ours(self, http: Http) -> None:
        """B2, B4: nothing is fetched from whoever a token names."""
        with FaultyServer() as stranger:
            assert_refused(http, stranger.token("bob", audience=RESOURCE, scopes=SCOPES))
            assert stranger.received == []

    def test_each_of_two_issuers_verifies_its_own(self, oidc_provider: OidcProvider) -> None:
        """B4, B7: the issuer of the token chooses."""
        with FaultyServer() as second, serving(oidc_provider.issuer, second.origin) as http:
            assert user(http, oidc_provider.user_token("bob", SCOPES)) == "bob"
            assert second.received == []
            assert user(http, second.token("bob", audience=RESOURCE, scopes=SCOPES)) == "bob"
            assert_refused(http, second.forged_token("bob", audience=RESOURCE, scopes=SCOPES))


class TestOpaqueTokens:
    def test_of_a_user(self, oidc_provider: OidcProvider, introspecting: Http) -> None:
        """B4, X-AUTH-4."""
        assert user(introspecting, oidc_provider.user_token("bob", SCOPES)) == "bob"

    def test_for_another_resource(self, oidc_provider: OidcProvider, introspecting: Http) -> None:
        """B2, B4, R-609."""
        oidc_provider.accept_resource(OTHER)
        assert_refused(introspecting, oidc_provider.user_token("bob", SCOPES, OTHER))

    def test_revoked(self, oidc_provider: OidcProvider, introspecting: Http) -> None:
        """B4."""
        token = oidc_provider.user_token("bob", SCOPES)
        oidc_provider.revoke(token)
        assert_refused(introspecting, token)

    def test_unknown(self, introspecting: Http) -> None:
        """B2."""
        assert_refused(introspecting, "no-token-of-anybody")


class TestRotation:
    def test_new_keys_beside_the_old_ones(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B3: calls go on, with old tokens and with the first new one."""
        old = oidc_provider.user_token("ada", SCOPES)
        assert user(http, old) == "ada"
        with calling(http, old) as statuses:
            oidc_provider.rotate_keys(keep=True)
            assert user(http, oidc_provider.user_token("bob", SCOPES)) == "bob"
            enough = len(statuses) + 5
            eventually(lambda: len(statuses) >= enough)
        assert set(statuses) == {200}

    def test_the_old_keys_are_gone(self, oidc_provider: OidcProvider, http: Http) -> None:
        """B3, B15: a new token is accepted at once; then the old one is not, whatever is remembered of it."""
        old = oidc_provider.user_token("ada", SCOPES)
        assert user(http, old) == "ada"
        oidc_provider.rotate_keys()
        assert user(http, oidc_provider.user_token("bob", SCOPES)) == "bob"
        assert_refused(http, old)


@contextmanager
def calling(http: Http, token: str) -> Iterator[list[int]]:
    """Call a tool again and again; yields the statuses so far."""
    statuses: list[int] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            statuses.append(http.modern("tools/list", authorization=f"Bearer {token}").status)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join(30)


class TestOutages:
    def test_the_server_is_killed_and_comes_back(self) -> None:
        """B3, X-AUTH-3: known keys go on until they are stale; then nobody can tell, which is no refusal."""
        port = free_port()
        with tooling.or_skip(), ExitStack() as stack:
            first = stack.enter_context(OidcProvider(port=port))
            patient = stack.enter_context(serving(first.issuer))
            strict = stack.enter_context(serving(first.issuer, jwks_stale=0.5))
            token, unseen = first.user_token("ada", SCOPES), first.user_token("bob", SCOPES)
            assert user(patient, token) == user(strict, token) == "ada"
            first.stop()
            assert user(patient, token) == "ada"
            assert user(patient, unseen) == "bob"  # signed with a known key
            seen = set[int]()
            eventually(lambda: 503 in seen or seen.update(reply.status for reply in replies(strict, token)))
            assert seen <= {200, 503}
            assert_unavailable(strict, token)
            second = stack.enter_context(OidcProvider(port=port))
            token = second.user_token("cyd", SCOPES)
            for http in (patient, strict):
                eventually(lambda http=http: {reply.status for reply in replies(http, token)} == {200})

    @pytest.mark.parametrize(
        "answers",
        [
            pytest.param({JWKS: failing(500)}, id="keys-500"),
            pytest.param({JWKS: not_json()}, id="keys-html"),
            pytest.param({JWKS: redirect("https://evil.example.com/jwks")}, id="keys-elsewhere"),
            pytest.param({OAUTH: failing(503), OPENID: failing(503)}, id="metadata-503"),
        ],
    )
    def test_the_keys_cannot_be_had(self, answers: dict[str, Any]) -> None:
        """B3, X-AUTH-3, X-AUTH-4: for a good token and for a forged one."""
        with FaultyServer() as server, serving(server.origin) as http:
            server.answers.update(answers)
            assert_unavailable(http, server.token("bob", audience=RESOURCE, scopes=SCOPES))
            assert_unavailable(http, server.forged_token("bob", audience=RESOURCE, scopes=SCOPES))

    def test_the_server_is_slow(self) -> None:
        """B3: whoever needs its keys waits; nobody else does."""
        keys = APIKeys({hash_key("key-of-the-build"): Principal("ci", scopes=SCOPES)})
        with FaultyServer() as server, serving(server.origin, verifiers=[keys]) as http:
            slow = server.answers[JWKS] = server.slow(JWKS)
            token = server.token("bob", audience=RESOURCE, scopes=SCOPES)
            first = in_background(lambda: user(http, token))
            eventually(lambda: any(request.path == JWKS for request in server.received))
            assert user(http, "key-of-the-build") == "ci"
            assert http.modern("tools/list").status == 401
            expired = server.token("bob", audience=RESOURCE, scopes=SCOPES, expires_in=-120)
            assert_refused(http, expired)  # what needs no key is checked first
            assert slow.gate is not None
            slow.gate.set()
            assert first() == "bob"

    def test_introspection_is_away(self, oidc_provider: OidcProvider) -> None:
        """B4, X-AUTH-4: of an opaque token nobody knows anything then."""
        nobody = f"http://127.0.0.1:{free_port()}/introspection"
        asked = Introspection(nobody, oidc_provider.client_id, oidc_provider.client_secret)
        with serving(verifiers=[asked]) as http:
            assert_unavailable(http, "opaque-token")


def in_background(work: Callable[[], str]) -> Callable[[], str]:
    """Begin something in a thread; what is returned waits for its result."""
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def wait() -> str:
        thread.join(30)
        assert results, "it did not end, or failed"
        return results[0]

    return wait
