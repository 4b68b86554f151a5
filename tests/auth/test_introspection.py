"""Opaque tokens, by asking an authorization server over HTTP (B4, X-AUTH-4)."""

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import httpx
import pytest

from enfilade.auth import InvalidTokenError, Principal, ServerUnavailableError
from enfilade.auth.claims import scopes_of
from enfilade.auth.introspection import Introspection
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer
from support.waiting import until

RESOURCE = "https://mcp.example.com/mcp"
SECRET = "s3cr3t: ä/+%"
PATH = "/introspect"


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        server.answers[PATH] = Answer({"active": True, "sub": "anna"})
        yield server


def introspection(server: ScriptedHttpServer, clock: Clock | None = None, **options: Any) -> Introspection:
    url = f"{server.origin}{PATH}"
    return Introspection(url, "my server", SECRET, clock=clock or time.monotonic, **options).for_resource(
        RESOURCE
    )


def run(verifier: Introspection, steps: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        try:
            return await steps()
        finally:
            await verifier.aclose()

    return asyncio.run(main())


def verify(server: ScriptedHttpServer, token: str = "opaque", **options: Any) -> Principal | None:
    verifier = introspection(server, **options)
    principal: Principal | None = run(verifier, lambda: verifier.verify_token(token))
    return principal


class TestAsking:
    def test_the_request(self, server: ScriptedHttpServer) -> None:
        """X-AUTH-4: a POST with the token in its body, and client authentication with both parts encoded."""
        assert verify(server, "a+b/c==") is not None
        request = server.received[0]
        assert request.method == "POST"
        assert parse_qs(request.body.decode()) == {"token": ["a+b/c=="], "token_type_hint": ["access_token"]}
        scheme, _, pair = request.headers["Authorization"].partition(" ")
        client_id, _, secret = base64.b64decode(pair).decode().partition(":")
        assert (scheme, unquote_plus(client_id), unquote_plus(secret)) == ("Basic", "my server", SECRET)

    def test_who_it_is(self, server: ScriptedHttpServer) -> None:
        expires_at = int(time.time()) + 600
        server.answers[PATH] = Answer(
            {"active": True, "sub": "anna", "client_id": "editor", "scope": "a b", "exp": expires_at}
            | {"aud": [RESOURCE], "iss": "https://idp.example.com", "team": "blue", "username": None}
        )
        principal = verify(server, issuer="https://idp.example.com")
        assert principal is not None
        assert (principal.issuer, principal.subject) == ("https://idp.example.com", "anna")
        assert principal.client_id == "editor"
        assert principal.scopes == {"a", "b"}
        assert principal.expires_at == expires_at
        assert principal.claims["team"] == "blue"
        assert principal.access_token is not None
        assert principal.access_token.get_secret_value() == "opaque"

    def test_users_of_two_servers_are_not_the_same(self, server: ScriptedHttpServer) -> None:
        """X-AUTH-4: a server that names no issuer is told from others by where it is."""
        first = verify(server)
        second = verify(server, issuer="https://idp.example.com")
        assert first is not None
        assert second is not None
        assert first.issuer == server.origin
        assert second.issuer == "https://idp.example.com"
        assert first.key != second.key

    @pytest.mark.parametrize("claims", [{}, {"sub": "robot"}], ids=["no sub", "RFC 9068"])
    def test_a_client_without_a_user(self, server: ScriptedHttpServer, claims: dict[str, str]) -> None:
        """X-AUTH-30."""
        server.answers[PATH] = Answer({"active": True, "client_id": "robot", **claims})
        principal = verify(server)
        assert principal is not None
        assert (principal.subject, principal.client_id) == ("robot", "robot")
        assert principal.key == f'["{server.origin}","robot","client"]'

    def test_a_token_that_is_not_active_is_nobodys(self, server: ScriptedHttpServer) -> None:
        """B4: so the next verifier is asked."""
        server.answers[PATH] = Answer({"active": False, "sub": "anna"})
        assert verify(server) is None

    @pytest.mark.parametrize(
        "token", ["a" * 20_000, "a b", "a\n", "é", "\ud800"], ids=["huge", "space", "line", "accent", "surrogate"]
    )
    def test_what_is_no_token_is_not_asked_about(self, server: ScriptedHttpServer, token: str) -> None:
        """B4."""
        assert verify(server, token) is None
        assert server.received == []


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        pytest.param({"exp": 1}, "expired", id="X-AUTH-4 expired"),
        pytest.param({"exp": "1"}, "exp is no number", id="X-AUTH-4 exp is a text"),
        pytest.param({"exp": True}, "exp is no number", id="X-AUTH-4 exp is a boolean"),
        pytest.param({"nbf": 4_102_444_800}, "not yet valid", id="X-AUTH-4 not yet valid"),
        pytest.param({"aud": "https://other.example.com"}, "audience", id="R-609 another audience"),
        pytest.param({"aud": []}, "audience", id="X-AUTH-4 empty audience"),
        pytest.param({"aud": 7}, "audience", id="X-AUTH-4 audience is a number"),
        pytest.param({"iss": "https://evil.example.com"}, "issuer", id="X-AUTH-4 another issuer"),
        pytest.param({"iss": 7}, "iss is no text", id="X-AUTH-4 iss is a number"),
        pytest.param({"sub": None}, "neither sub nor client_id", id="X-AUTH-4 nobody"),
        pytest.param({"sub": 7}, "sub is no text", id="X-AUTH-4 sub is a number"),
        pytest.param({"scope": 7}, "scope is neither", id="X-AUTH-4 scope is a number"),
        pytest.param({"token_type": "refresh_token"}, "no access token", id="X-AUTH-4 a refresh token"),
        pytest.param({"token_type": 7}, "token_type is no text", id="X-AUTH-4 token_type is a number"),
        pytest.param({"typ": "Refresh"}, "no access token", id="X-AUTH-4 a refresh token of Keycloak"),
        pytest.param({"typ": "Offline"}, "no access token", id="X-AUTH-4 an offline token of Keycloak"),
        pytest.param({"typ": "ID", "token_type": "Bearer"}, "no access token", id="X-AUTH-4 an ID token"),
        pytest.param({"token_use": "refresh_token"}, "no access token", id="X-AUTH-4 a refresh token of Hydra"),
        pytest.param({"token_usage": "id_token"}, "no access token", id="X-AUTH-4 an ID token of OpenIddict"),
        pytest.param(
            {"deep": json.loads("[" * 100 + "]" * 100)}, "nested too deeply", id="X-AUTH-4 nested deeply"
        ),
        pytest.param({"events": {"logout": {}}}, "no access token", id="X-AUTH-4 a logout token"),
    ],
)
def test_refused(server: ScriptedHttpServer, clock: Clock, claims: dict[str, Any], reason: str) -> None:
    """X-AUTH-4: it is active, but not here; for five seconds nobody is asked again."""
    server.answers[PATH] = Answer({"active": True, "sub": "anna", **claims})
    verifier = introspection(server, clock, issuer="https://idp.example.com")

    async def steps() -> None:
        for _ in range(3):
            with pytest.raises(InvalidTokenError, match=reason):
                await verifier.verify_token("opaque")
        assert server.count(PATH) == 1

    run(verifier, steps)


@pytest.mark.parametrize(
    "claims",
    [
        {"token_type": "Bearer", "typ": "Bearer"},
        {"token_type": "DPoP"},
        {"token_type": "N_A"},
        {"token_type": "access_token", "token_use": "access"},
        {"typ": "at+jwt", "token_usage": "access_token"},
    ],
    ids=["bearer", "dpop", "n_a", "use", "usage"],
)
def test_access_tokens_are_accepted(server: ScriptedHttpServer, claims: dict[str, Any]) -> None:
    """X-AUTH-4: whatever their server calls them."""
    server.answers[PATH] = Answer({"active": True, "sub": "anna", **claims})
    assert verify(server) is not None


def test_an_audience_that_is_required(server: ScriptedHttpServer) -> None:
    """X-AUTH-4: refresh tokens of some servers differ from access tokens by that alone."""
    with pytest.raises(InvalidTokenError, match="no audience"):
        verify(server, require_audience=True)
    server.answers[PATH] = Answer({"active": True, "sub": "anna", "aud": RESOURCE})
    assert verify(server, require_audience=True) is not None


def test_scopes_are_unicode() -> None:
    """X-AUTH-4: a half of a surrogate pair could be encoded nowhere."""
    for scopes in ("a \ud800", ["a", "\ud800"]):
        with pytest.raises(InvalidTokenError, match="scope is neither"):
            scopes_of({"scope": scopes})


def test_scopes_are_divided_by_one_character(server: ScriptedHttpServer) -> None:
    """X-AUTH-4: U+0020 and no other space (RFC 6749 §3.3)."""
    server.answers[PATH] = Answer({"active": True, "sub": "anna", "scope": "a  b\u00a0c\td "})
    principal = verify(server)
    assert principal is not None
    assert principal.scopes == {"a", "b\u00a0c\td"}


@pytest.mark.parametrize(
    ("endpoint", "issuer", "accepted"),
    [
        ("/realms/a/introspect", "{origin}/realms/a", True),
        ("/realms/a/introspect", "{origin}", True),
        ("/realms/a/introspect", "{origin}/", True),
        ("/realms/a/introspect", "{origin}/realms/b", False),
        ("/realms/ab/introspect", "{origin}/realms/a", False),
        ("/realms/a/introspect", "https://other.example.com", False),
    ],
    ids=["its realm", "its origin", "with a slash", "another realm", "a longer name", "another origin"],
)
def test_an_issuer_that_nobody_has_configured(
    server: ScriptedHttpServer, endpoint: str, issuer: str, accepted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """B7, X-AUTH-4: a server speaks for itself, and for no users of another one."""
    claims = {"active": True, "sub": "anna", "iss": issuer.format(origin=server.origin)}
    server.answers[endpoint] = Answer(claims)
    verifier = Introspection(f"{server.origin}{endpoint}", "me", SECRET)
    if accepted:
        principal = run(verifier, lambda: verifier.verify_token("opaque"))
        assert principal.issuer == claims["iss"]
    else:
        with pytest.raises(InvalidTokenError, match="issuer"):
            run(verifier, lambda: verifier.verify_token("opaque"))
    assert ("say so by Introspection" in caplog.text) is not accepted


def test_audiences_of_the_configuration(server: ScriptedHttpServer) -> None:
    server.answers[PATH] = Answer({"active": True, "sub": "anna", "aud": "api://notes"})
    assert verify(server, audiences=["api://notes"]) is not None


class TestWithoutTheServer:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer({}, 500), id="500"),
            pytest.param(Answer({}, 400), id="400"),
            pytest.param(Answer({}, 404), id="404"),
            pytest.param(Answer({"active": True, "sub": "anna"}, 201), id="another status"),
            pytest.param(Answer({}, 307, {"Location": "/other"}), id="a redirect"),
            pytest.param(Answer(b"<html>"), id="HTML"),
            pytest.param(Answer([]), id="a list"),
            pytest.param(Answer({"sub": "anna"}), id="no active"),
            pytest.param(Answer({"active": "true", "sub": "anna"}), id="active is a text"),
            pytest.param(Answer({"active": 1, "sub": "anna"}), id="active is a number"),
            pytest.param(Answer({"active": True, "sub": "anna", "more": "a" * 600_000}), id="huge"),
        ],
    )
    def test_no_answer_of_use(
        self, server: ScriptedHttpServer, clock: Clock, answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """X-AUTH-4: 503 for this token; what may be about it alone keeps no other out."""
        server.answers[PATH] = answer
        server.answers["/other"] = Answer({"active": True, "sub": "anna"})
        verifier = introspection(server, clock)

        async def steps() -> None:
            with pytest.raises(ServerUnavailableError) as caught:
                await verifier.verify_token("opaque")
            assert caught.value.retry_after > 0
            assert [request.path for request in server.received] == [PATH]
            server.answers[PATH] = Answer({"active": True, "sub": "anna"})
            assert await verifier.verify_token("another") is not None
            assert await verifier.verify_token("opaque") is not None

        run(verifier, steps)
        assert "cannot be asked about a token" in caplog.text
        assert "opaque" not in caplog.text

    @pytest.mark.parametrize("status", [502, 503, 504, 429])
    def test_a_server_that_is_away(self, server: ScriptedHttpServer, clock: Clock, status: int) -> None:
        """X-AUTH-4: after five failures 503 for all new tokens, and after a second it is asked again."""
        server.answers[PATH] = Answer({}, status)
        verifier = introspection(server, clock)

        async def steps() -> None:
            for number in range(9):
                with pytest.raises(ServerUnavailableError) as caught:
                    await verifier.verify_token(f"opaque-{number}")
                assert caught.value.retry_after > 0
            assert server.count(PATH) == 5
            server.answers[PATH] = Answer({"active": True, "sub": "anna"})
            clock.now += 1
            assert await verifier.verify_token("opaque-1") is not None

        run(verifier, steps)

    @pytest.mark.parametrize("status", [401, 403, 429, 503])
    def test_a_failure_for_one_token_keeps_no_other_out(
        self, server: ScriptedHttpServer, clock: Clock, status: int
    ) -> None:
        """X-AUTH-4: such as that of a firewall, for what looks like an attack."""

        def answer(request: Received) -> Answer:
            return Answer({}, status) if b"token=bad" in request.body else Answer({"active": True, "sub": "anna"})

        server.answers[PATH] = answer
        verifier = introspection(server, clock)

        async def steps() -> None:
            for number in range(6):
                with pytest.raises(ServerUnavailableError):
                    await verifier.verify_token(f"bad-{number}")
                assert await verifier.verify_token(f"good-{number}") is not None

        run(verifier, steps)

    def test_tokens_that_were_good_do_not_wait_for_the_pause_of_others(
        self, server: ScriptedHttpServer, clock: Clock
    ) -> None:
        """X-AUTH-4: whoever makes the server fail with invented tokens."""

        def answer(request: Received) -> Answer:
            return Answer({}, 503) if b"token=bad" in request.body else Answer({"active": True, "sub": "anna"})

        server.answers[PATH] = answer
        verifier = introspection(server, clock)

        async def steps() -> None:
            assert await verifier.verify_token("good") is not None
            clock.now += 60
            for number in range(9):
                with pytest.raises(ServerUnavailableError):
                    await verifier.verify_token(f"bad-{number}")
            assert await verifier.verify_token("good") is not None
            assert server.count(PATH) == 7

        run(verifier, steps)

    @pytest.mark.parametrize(
        ("retry_after", "pause"), [("3", 3), ("86400", 10), ("0", 1), ("-5", 1), ("soon", 1), ("9" * 400, 1)]
    )
    def test_a_pause_that_the_server_asks_for(
        self, server: ScriptedHttpServer, clock: Clock, retry_after: str, pause: float
    ) -> None:
        """X-AUTH-4: within bounds (RFC 9110 §10.2.3)."""
        server.answers[PATH] = Answer({}, 429, {"Retry-After": retry_after})
        verifier = introspection(server, clock)

        async def steps() -> None:
            for seconds, requests in ((0.0, 5), (pause - 0.1, 5), (0.2, 6)):
                clock.now += seconds
                for number in range(6 if requests == 5 else 1):
                    with pytest.raises(ServerUnavailableError):
                        await verifier.verify_token(f"opaque-{number}")
                assert server.count(PATH) == requests

        run(verifier, steps)

    @pytest.mark.parametrize("status", [401, 403])
    def test_our_own_client_is_not_accepted(
        self, server: ScriptedHttpServer, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """X-AUTH-4: 503, for the token may be good; the log says what to set, without the secret."""
        server.answers[PATH] = Answer({"error": "invalid_client"}, status)
        with pytest.raises(ServerUnavailableError):
            verify(server)
        assert "Set client_id= and client_secret= of Introspection" in caplog.text
        assert SECRET not in caplog.text

    def test_a_server_that_does_not_answer(
        self, server: ScriptedHttpServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """X-AUTH-4."""
        monkeypatch.setattr("enfilade.auth.http_client.REQUEST_TIME", 0.05)
        server.answers[PATH] = Answer({"active": True, "sub": "anna"}, gate=threading.Event())
        with pytest.raises(ServerUnavailableError):
            verify(server)

    def test_nothing_listens(self) -> None:
        """X-AUTH-4."""
        with ScriptedHttpServer() as server:
            pass
        with pytest.raises(ServerUnavailableError):
            verify(server)


class TestAnswersAreUsedAgain:
    def test_for_a_minute(self, server: ScriptedHttpServer, clock: Clock) -> None:
        """X-AUTH-4: also while the server is away."""
        verifier = introspection(server, clock)

        async def steps() -> None:
            first = await verifier.verify_token("opaque")
            server.answers[PATH] = Answer({}, 503)
            clock.now += 59
            assert await verifier.verify_token("opaque") is first
            clock.now += 1
            with pytest.raises(ServerUnavailableError):
                await verifier.verify_token("opaque")

        run(verifier, steps)

    @pytest.mark.parametrize(("seconds", "again"), [(0, True), (-10, True), (30, False), (600, False)])
    def test_not_longer_than_the_token_lives(
        self, server: ScriptedHttpServer, clock: Clock, seconds: float, again: bool
    ) -> None:
        """X-AUTH-4: a token whose end is near is asked about again when it and the leeway are over."""
        server.answers[PATH] = Answer({"active": True, "sub": "anna", "exp": time.time() + seconds})
        verifier = introspection(server, clock)

        async def steps() -> None:
            await verifier.verify_token("opaque")
            clock.now += 31
            await verifier.verify_token("opaque")
            assert server.count(PATH) == (2 if again else 1)

        run(verifier, steps)

    def test_a_token_that_is_not_active_for_five_seconds(self, server: ScriptedHttpServer, clock: Clock) -> None:
        """X-AUTH-4."""
        server.answers[PATH] = Answer({"active": False})
        verifier = introspection(server, clock)

        async def steps() -> None:
            for seconds, requests in ((0, 1), (4, 1), (2, 2)):
                clock.now += seconds
                assert await verifier.verify_token("opaque") is None
                assert server.count(PATH) == requests

        run(verifier, steps)

    def test_they_have_a_bound(self, server: ScriptedHttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Invented tokens push out one another, and no good one."""
        monkeypatch.setattr("enfilade.auth.introspection._MOST_NEGATIVE", 10)

        def answer(request: Received) -> Answer:
            return Answer({"active": b"token=good" in request.body, "sub": "anna"})

        server.answers[PATH] = answer
        verifier = introspection(server)

        async def steps() -> None:
            assert await verifier.verify_token("good") is not None
            for number in range(30):
                assert await verifier.verify_token(f"bad-{number}") is None
            assert await verifier.verify_token("good") is not None

        run(verifier, steps)
        assert server.count(PATH) == 31
        assert len(verifier._refused) == 10

    def test_they_have_a_bound_of_bytes(self, server: ScriptedHttpServer) -> None:
        """X-AUTH-4: 140 answers of 60 KB do not fit, 139 do. One above 64 KiB is used and not kept."""
        verifier = introspection(server)

        async def steps() -> None:
            for size, number in ((60_000, 140), (66_000, 1)):
                server.answers[PATH] = Answer({"active": True, "sub": "anna", "more": "a" * size})
                for position in range(number):
                    assert await verifier.verify_token(f"opaque-{size}-{position}") is not None

        run(verifier, steps)
        assert len(verifier._principals) == 139
        assert verifier._principals.get(hashlib.sha256(b"opaque-66000-0").digest()) is None

    def test_tokens_are_not_kept(self, server: ScriptedHttpServer) -> None:
        """Only their digests are keys."""
        verifier = introspection(server)
        run(verifier, lambda: verifier.verify_token("opaque"))
        assert "opaque" not in repr(vars(verifier._principals))


def test_all_share_one_request_and_a_cancelled_one_spoils_nothing(server: ScriptedHttpServer) -> None:
    """X-AUTH-4: even the one that began it."""
    gate = threading.Event()
    server.answers[PATH] = Answer({"active": True, "sub": "anna"}, gate=gate)
    verifier = introspection(server)

    async def steps() -> None:
        waiting = [asyncio.create_task(verifier.verify_token("opaque")) for _ in range(10)]
        await until(lambda: server.count(PATH) == 1)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert all(isinstance(result, Principal) for result in results[1:])
        assert server.count(PATH) == 1

    run(verifier, steps)


def test_closing_ends_a_request(server: ScriptedHttpServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is no failure of the server."""
    server.answers[PATH] = Answer({"active": True, "sub": "anna"}, gate=threading.Event())
    verifier = introspection(server)

    async def steps() -> None:
        waiting = asyncio.create_task(verifier.verify_token("opaque"))
        await until(lambda: server.count(PATH) == 1)
        await verifier.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(verifier, steps)
    assert caplog.text == ""


class TestAFlood:
    """X-AUTH-4: tokens that somebody invents keep no good one out."""

    @pytest.fixture
    def gate(self, server: ScriptedHttpServer) -> Iterator[threading.Event]:
        """Until it is set, the server answers for no token but those that begin with `good`."""
        gate = threading.Event()

        def answer(request: Received) -> Answer:
            is_good = b"token=good" in request.body
            return Answer({"active": is_good, "sub": "anna"}, gate=None if is_good else gate)

        server.answers[PATH] = answer
        yield gate
        gate.set()

    @staticmethod
    def flood(verifier: Introspection, number: int) -> list["asyncio.Task[Principal | None]"]:
        return [asyncio.create_task(verifier.verify_token(f"bad-{count}")) for count in range(number)]

    def test_requests_have_a_bound_and_the_newest_is_next(
        self, server: ScriptedHttpServer, gate: threading.Event
    ) -> None:
        verifier = introspection(server)

        async def steps() -> None:
            strangers = self.flood(verifier, 100)
            await until(lambda: server.count(PATH) == 10)
            await asyncio.sleep(0.05)  # in which an eleventh request would come
            assert server.count(PATH) == 10
            good = asyncio.create_task(verifier.verify_token("good"))
            await asyncio.sleep(0)
            gate.set()
            assert await good is not None
            position = [b"token=good" in request.body for request in server.received].index(True)
            assert position < 40
            assert await asyncio.gather(*strangers) == [None] * 100

        run(verifier, steps)

    def test_what_was_good_is_asked_about_again_at_once(
        self, server: ScriptedHttpServer, clock: Clock, gate: threading.Event
    ) -> None:
        """X-AUTH-4: while all turns of strangers are taken."""
        verifier = introspection(server, clock)

        async def steps() -> None:
            assert await verifier.verify_token("good") is not None
            strangers = self.flood(verifier, 50)
            await until(lambda: server.count(PATH) == 11)
            assert await verifier.verify_token("good") is not None
            assert server.count(PATH) == 11
            clock.now += 60
            assert await verifier.verify_token("good") is not None
            assert server.count(PATH) == 12
            gate.set()
            assert await asyncio.gather(*strangers) == [None] * 50

        run(verifier, steps)

    def test_what_is_too_much_is_refused_alone(
        self,
        server: ScriptedHttpServer,
        gate: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """X-AUTH-4: with 503, one line in the log, and no pause for others."""
        monkeypatch.setattr("enfilade.auth.introspection._MOST_WAITING", 5)
        verifier = introspection(server)

        async def steps() -> None:
            strangers = self.flood(verifier, 40)
            refused = strangers[10:35]
            await asyncio.wait(refused)
            assert all(isinstance(stranger.exception(), ServerUnavailableError) for stranger in refused)
            good = asyncio.create_task(verifier.verify_token("good"))
            await asyncio.sleep(0)
            gate.set()
            assert await good is not None
            await asyncio.wait(strangers)
            assert sum(stranger.exception() is None for stranger in strangers) == 14  # one more made room

        run(verifier, steps)
        assert caplog.text.count("more tokens are presented") == 1

    def test_our_own_connections_are_not_the_server(
        self, server: ScriptedHttpServer, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """X-AUTH-4: a client of the user's with few connections: nobody else waits for a back-off."""
        monkeypatch.setattr("enfilade.auth.http_client._CONNECTION_WAIT", 0.1)
        limits = httpx.Limits(max_connections=1)
        verifier = introspection(server, http_client=lambda: httpx.AsyncClient(limits=limits, trust_env=False))

        async def steps() -> None:
            stranger = self.flood(verifier, 1)[0]
            await until(lambda: server.count(PATH) == 1)
            with pytest.raises(ServerUnavailableError):
                await verifier.verify_token("good")
            gate.set()
            assert await stranger is None
            assert await verifier.verify_token("good") is not None

        run(verifier, steps)

    def test_connections_that_are_never_free_again(
        self, server: ScriptedHttpServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """X-AUTH-4: a client that has lost all of its connections is replaced by another one."""
        monkeypatch.setattr("enfilade.auth.http_client._CONNECTION_WAIT", 0.1)
        made: list[httpx.AsyncClient] = []

        def make() -> httpx.AsyncClient:
            made.append(httpx.AsyncClient(limits=httpx.Limits(max_connections=1), trust_env=False))
            return made[-1]

        verifier = introspection(server, http_client=make)

        async def steps() -> None:
            client = await verifier._clients.current()
            request = client.build_request("POST", f"{server.origin}{PATH}")
            lost = await client.send(request, stream=True)
            with pytest.raises(ServerUnavailableError):
                await verifier.verify_token("first")
            assert await verifier.verify_token("second") is not None
            await lost.aclose()

        run(verifier, steps)
        assert len(made) == 2
        assert all(client.is_closed for client in made)

    def test_a_turn_that_is_cancelled_is_given_back(
        self, server: ScriptedHttpServer, gate: threading.Event
    ) -> None:
        """Closing ends requests and those that wait; all turns are there again."""
        verifier = introspection(server)

        async def steps() -> None:
            strangers = self.flood(verifier, 30)
            await until(lambda: server.count(PATH) == 10)
            await verifier.aclose()
            await asyncio.wait(strangers)
            strangers = self.flood(verifier, 10)
            await until(lambda: server.count(PATH) == 20)
            gate.set()
            assert await asyncio.gather(*strangers) == [None] * 10

        run(verifier, steps)


class TestConfiguration:
    def test_the_secret_is_hidden(self) -> None:
        """X-AUTH-4."""
        verifier = Introspection("https://idp.example.com/introspect", "me", SECRET)
        assert repr(verifier) == "Introspection('https://idp.example.com/introspect', 'me')"
        assert SECRET not in str(vars(verifier))

    @pytest.mark.parametrize(
        ("arguments", "options", "reason"),
        [
            pytest.param(("http://idp.example.com", "me", "x"), {}, "https", id="R-617 http"),
            pytest.param(("https://idp.example.com", "", "x"), {}, "id and the secret", id="no client_id"),
            pytest.param(("https://idp.example.com", "me", ""), {}, "id and the secret", id="no secret"),
            pytest.param(("https://idp.example.com", "me", "x"), {"issuer": "idp"}, "issuer", id="issuer"),
            pytest.param(("https://idp.example.com", "me", "x"), {"audiences": "a"}, "list", id="audiences"),
        ],
    )
    def test_what_is_refused(self, arguments: tuple[str, str, str], options: dict[str, Any], reason: str) -> None:
        with pytest.raises((TypeError, ValueError), match=reason):
            Introspection(*arguments, **options)

    def test_one_configuration_for_two_endpoints(self, server: ScriptedHttpServer) -> None:
        """R-609: what is accepted by one is not accepted by the other."""
        server.answers[PATH] = Answer({"active": True, "sub": "anna", "aud": RESOURCE})
        configured = Introspection(f"{server.origin}{PATH}", "me", SECRET)
        mine, other = configured.for_resource(RESOURCE), configured.for_resource("https://other.example.com")

        async def steps() -> None:
            assert await mine.verify_token("opaque") is not None
            for verifier in (other, configured):
                with pytest.raises(InvalidTokenError, match="audience"):
                    await verifier.verify_token("opaque")
                await verifier.aclose()

        run(mine, steps)
