"""The keys of an authorization server over HTTP: when they are fetched, and what happens when they cannot be."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from enfilade.auth import AuthorizationServer, InvalidTokenError, ServerUnavailableError
from enfilade.auth.jwt import JwtVerifier
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer
from support.signed_tokens import claims_for, jwks, private_key, sign
from support.waiting import until

RESOURCE = "https://mcp.example.com/mcp"
OLD, NEW = private_key("ES256", "old"), private_key("ES256", "new")


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A verifier, its clock, and the server that it asks."""

    def __init__(self, server: ScriptedHttpServer, **options: Any) -> None:
        self.server, self.clock = server, Clock()
        configuration = AuthorizationServer(server.origin, jwks_uri=f"{server.origin}/jwks")
        self.verifier = JwtVerifier(configuration, RESOURCE, clock=self.clock, **options)

    @property
    def fetches(self) -> int:
        return self.server.count("/jwks")

    def publish(self, *keys: Any, **options: Any) -> None:
        self.server.answers["/jwks"] = Answer(jwks(*keys), **options)

    def break_down(self) -> None:
        self.server.answers["/jwks"] = Answer({}, 503)

    def token(self, key: Any = OLD, **header: Any) -> str:
        return sign(claims_for(self.server.origin, RESOURCE), key, **header)

    async def outcome(self, token: str) -> str:
        """Return what becomes of a token, as a status of HTTP."""
        try:
            await self.verifier.verify(token)
        except InvalidTokenError:
            return "401"
        except ServerUnavailableError as error:
            return "503" if 0 < error.retry_after <= 15 else "503 without a time"
        return "200"

    async def settled(self) -> None:
        """Wait for a fetch in the background."""
        task = self.verifier._keys._fetch
        if task is not None:
            await task


@pytest.fixture
def server() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        yield server


@pytest.fixture
def bench(server: ScriptedHttpServer) -> Bench:
    bench = Bench(server)
    bench.publish(OLD)
    return bench


def run(bench: Bench, steps: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            await steps()
        finally:
            await bench.verifier.aclose()

    asyncio.run(main())


class TestWhenKeysAreFetched:
    def test_at_the_first_token(self, bench: Bench) -> None:
        """B4: not when the verifier is made; B3: and not for each request."""
        assert bench.server.received == []

        async def steps() -> None:
            assert [await bench.outcome(bench.token()) for _ in range(20)] == ["200"] * 20
            assert bench.fetches == 1

        run(bench, steps)

    @pytest.mark.parametrize("at_once", [False, True], ids=["one after another", "all at once"])
    @pytest.mark.parametrize("warm", [False, True], ids=["at the start", "later"])
    def test_a_thousand_forged_ids(self, bench: Bench, at_once: bool, warm: bool) -> None:
        """B3: they cause two fetches at most, and are refused."""
        tokens = [bench.token(kid=f"forged-{number}") for number in range(1_000)]

        async def steps() -> None:
            if warm:
                assert await bench.outcome(bench.token()) == "200"
                bench.clock.now += 100
            before = bench.fetches
            if at_once:
                outcomes = await asyncio.gather(*map(bench.outcome, tokens))
            else:
                outcomes = [await bench.outcome(token) for token in tokens]
            assert set(outcomes) == {"401"}
            assert bench.fetches - before <= 2
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)

    def test_forged_ids_go_on(self, bench: Bench) -> None:
        """B3: then they cause one fetch each minute."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            for number in range(600):
                bench.clock.now += 1
                assert await bench.outcome(bench.token(kid=str(number))) == "401"
            await bench.settled()
            # 10 for ids, 1 at the start, 1 that was left, and 2 of five minutes in the background.
            assert 10 <= bench.fetches <= 14

        run(bench, steps)

    def test_a_new_key_is_found_at_once(self, bench: Bench) -> None:
        """B3: a token of a new key is accepted, with one fetch for all who come at the same time."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            bench.publish(OLD, NEW)
            outcomes = await asyncio.gather(*(bench.outcome(bench.token(NEW)) for _ in range(50)))
            assert set(outcomes) == {"200"}
            assert bench.fetches == 2
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)

    def test_a_client_that_repeats_an_old_id_leaves_room_for_a_new_key(self, bench: Bench) -> None:
        """B3: a new key is found although unknown ids have caused fetches all the time."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            for _ in range(300):
                bench.clock.now += 1
                assert await bench.outcome(bench.token(kid="withdrawn")) == "401"
            bench.publish(OLD, NEW)
            assert await bench.outcome(bench.token(NEW)) == "200"

        run(bench, steps)

    def test_the_id_of_a_coming_key_was_guessed(self, bench: Bench) -> None:
        """B3: whoever sends it all the time before the key is there delays that for two pauses at most."""
        bench.publish(OLD, headers={"Cache-Control": "max-age=900"})

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            for _ in range(600):
                bench.clock.now += 1
                assert await bench.outcome(bench.token(kid="new")) == "401"
            assert bench.fetches <= 8
            bench.publish(OLD, NEW, headers={"Cache-Control": "max-age=900"})
            bench.clock.now += 120
            assert await bench.outcome(bench.token(NEW)) == "200"

        run(bench, steps)

    def test_a_pause_that_is_long_over_is_forgotten(self, bench: Bench) -> None:
        """B3: an id that comes again later has one pause, as at the first time."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            for seconds in (1, 61, 241):  # pauses of 60, 120 and again 60 seconds
                bench.clock.now += seconds
                assert await bench.outcome(bench.token(kid="new")) == "401"
            bench.publish(OLD, NEW)
            bench.clock.now += 61
            assert await bench.outcome(bench.token(NEW)) == "200"

        run(bench, steps)

    def test_a_token_is_not_judged_by_an_answer_from_before_it(self, bench: Bench) -> None:
        """B3: keys that were read before the token came may lack its key."""
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            first = asyncio.create_task(bench.outcome(bench.token()))
            await until(lambda: bench.fetches == 1)
            bench.clock.now += 1
            bench.publish(OLD, NEW)
            second = asyncio.create_task(bench.outcome(bench.token(NEW)))
            await asyncio.sleep(0)
            gate.set()
            assert (await first, await second) == ("200", "200")

        run(bench, steps)

    def test_keys_are_fetched_anew_in_the_background(self, bench: Bench) -> None:
        """B3: after five minutes, while tokens go on; a withdrawn key is refused then, as are kept verdicts."""
        gate = threading.Event()

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            generation = bench.verifier.generation
            bench.publish(NEW, gate=gate)
            bench.clock.now += 301
            assert await bench.outcome(bench.token()) == "200"
            assert bench.verifier.is_current(generation)
            gate.set()
            await bench.settled()
            assert await bench.outcome(bench.token()) == "401"
            assert bench.verifier.generation == generation + 1
            assert not bench.verifier.is_current(generation)

        run(bench, steps)

    def test_kept_verdicts_begin_the_fetch_as_well(self, bench: Bench) -> None:
        """B15: a check that costs no I/O looks after the age of the keys."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            generation = bench.verifier.generation
            assert bench.verifier.is_current(generation)
            assert bench.fetches == 1
            bench.clock.now += 301
            assert bench.verifier.is_current(generation)
            await bench.settled()
            assert bench.fetches == 2
            bench.break_down()
            bench.clock.now += 3_601
            assert not bench.verifier.is_current(generation)

        run(bench, steps)

    def test_after_silence_a_withdrawn_key_is_refused_at_once(self, bench: Bench) -> None:
        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            bench.publish(NEW)
            bench.clock.now += 1_800
            assert await bench.outcome(bench.token()) == "401"

        run(bench, steps)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("max-age=120", 120), ("public, max-age=0", 60), ("max-age=86400", 900), ("no-store", 300), ("", 300)],
    )
    def test_the_response_says_for_how_long(self, bench: Bench, header: str, seconds: float) -> None:
        """B3: within bounds."""

        async def steps() -> None:
            bench.publish(OLD, headers={"Cache-Control": header})
            assert await bench.outcome(bench.token()) == "200"
            bench.clock.now += seconds - 1
            assert await bench.outcome(bench.token()) == "200"
            assert bench.verifier._keys._fetch is not None
            assert bench.fetches == 1
            bench.clock.now += 2
            assert await bench.outcome(bench.token()) == "200"
            await bench.settled()
            assert bench.fetches == 2

        run(bench, steps)

    def test_a_key_that_is_added_voids_nothing_and_one_that_changes_does(self, bench: Bench) -> None:
        """B15: verdicts are dropped when keys rotate."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            bench.publish(OLD, NEW)
            assert await bench.outcome(bench.token(NEW)) == "200"
            assert bench.verifier.generation == 0
            bench.publish(private_key("ES256", "old", 2), NEW)
            bench.clock.now += 3_000
            assert await bench.outcome(bench.token()) == "401"
            assert bench.verifier.generation == 1

        run(bench, steps)


class TestWithoutTheServer:
    def test_never_seen(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """X-AUTH-3: 503 with a time to try again; after a back-off it is asked anew, and not before."""
        bench.break_down()

        async def steps() -> None:
            assert [await bench.outcome(bench.token()) for _ in range(100)] == ["503"] * 100
            assert bench.fetches == 1
            bench.publish(OLD)
            bench.clock.now += 1
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)
        assert f"the keys of {bench.server.origin} cannot be fetched" in caplog.text
        assert "status 503" in caplog.text

    def test_keys_go_on_for_an_hour(self, bench: Bench) -> None:
        """B3: then 503, neither 401 nor 200, and 200 again when the server is back."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            generation = bench.verifier.generation
            bench.break_down()
            for _ in range(12):
                bench.clock.now += 299
                assert await bench.outcome(bench.token()) == "200"
                await bench.settled()
            assert bench.fetches > 5
            bench.clock.now += 60
            assert await bench.outcome(bench.token()) == "503"
            assert not bench.verifier.is_current(generation)
            bench.publish(OLD)
            bench.clock.now += 16
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)

    def test_an_unknown_key_is_no_fault_of_the_token(self, bench: Bench) -> None:
        """X-AUTH-3: while nobody knows the newest keys it is 503, and old ones go on; few fetches are tried."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            bench.break_down()
            outcomes = [await bench.outcome(bench.token(NEW)) for _ in range(1_000)]
            assert set(outcomes) == {"503"}
            assert await bench.outcome(bench.token()) == "200"
            assert bench.fetches == 2
            for _ in range(60):
                bench.clock.now += 1
                assert await bench.outcome(bench.token(NEW)) == "503"
            assert bench.fetches < 15
            bench.publish(OLD, NEW)
            bench.clock.now += 16
            assert await bench.outcome(bench.token(NEW)) == "200"

        run(bench, steps)

    def test_a_server_that_is_gone(self, bench: Bench, server: ScriptedHttpServer) -> None:
        """X-AUTH-3: nothing listens there any more."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            server.__exit__()
            await bench.verifier.aclose()
            bench.clock.now += 3_601
            assert await bench.outcome(bench.token()) == "503"

        run(bench, steps)
        server.__init__()  # type: ignore[misc]
        server.__enter__()

    def test_a_server_that_does_not_answer(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """X-AUTH-3: whoever waits does so for a limited time."""
        monkeypatch.setattr("enfilade.auth.http_client.REQUEST_TIME", 0.05)
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            assert await bench.outcome(bench.token()) == "503"
            gate.set()

        run(bench, steps)

    def test_a_fetch_that_never_ends(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """X-AUTH-3: each request has its own limit, and so has the fetch."""
        monkeypatch.setattr("enfilade.auth.key_cache.FETCH_TIME", 0.05)
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            assert set(await asyncio.gather(*(bench.outcome(bench.token()) for _ in range(5)))) == {"503"}
            assert bench.fetches == 1
            gate.set()

        run(bench, steps)

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer({}, 500), id="500"),
            pytest.param(Answer({}, 404), id="404"),
            pytest.param(Answer(jwks(OLD), 201), id="another status"),
            pytest.param(Answer({}, 302, {"Location": "/other"}), id="a redirect"),
            pytest.param(Answer(b"<html>"), id="HTML"),
            pytest.param(Answer(b"[" * 100_000), id="nested deeply"),
            pytest.param(Answer(b'{"keys": "\xff"}'), id="no UTF-8"),
            pytest.param(Answer([]), id="a list"),
            pytest.param(Answer({"keys": {}}), id="keys are no list"),
            pytest.param(Answer({"keys": []}), id="no keys"),
            pytest.param(Answer({**jwks(OLD), "padding": "a" * 600_000}), id="huge"),
            pytest.param(Answer(jwks(OLD), headers={"Content-Encoding": "gzip"}), id="compressed"),
        ],
    )
    def test_no_answer_of_use(self, bench: Bench, answer: Answer) -> None:
        """X-AUTH-3: 503, and nobody follows a redirect."""
        bench.server.answers["/jwks"] = answer
        bench.server.answers["/other"] = Answer(jwks(OLD))

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "503"
            assert bench.server.count("/other") == 0
            bench.publish(OLD)
            bench.clock.now += 1
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)

    def test_keys_are_not_lost_by_an_empty_answer(self, bench: Bench) -> None:
        """X-AUTH-3: a JWKS without keys is a fault of the server; those that are known go on."""

        async def steps() -> None:
            assert await bench.outcome(bench.token()) == "200"
            bench.server.answers["/jwks"] = Answer({"keys": []})
            bench.clock.now += 301
            assert await bench.outcome(bench.token()) == "200"
            await bench.settled()
            assert await bench.outcome(bench.token()) == "200"
            assert bench.verifier.generation == 0

        run(bench, steps)


class TestWaiting:
    def test_all_share_one_fetch_and_a_cancelled_one_spoils_nothing(self, bench: Bench) -> None:
        """B3: even the one that began it."""
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            waiting = [asyncio.create_task(bench.outcome(bench.token())) for _ in range(10)]
            await until(lambda: bench.fetches == 1)
            waiting[0].cancel()
            waiting[5].cancel()
            await asyncio.sleep(0)
            gate.set()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert outcomes.count("200") == 8
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert bench.fetches == 1

        run(bench, steps)

    def test_closing_ends_a_fetch(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """It is no failure of the server; and keys are fetched again by whoever comes later."""
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            waiting = asyncio.create_task(bench.outcome(bench.token()))
            await until(lambda: bench.fetches == 1)
            await bench.verifier.aclose()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.set()
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)
        assert caplog.text == ""

    def test_a_fetch_does_not_hold_the_context_of_a_request(self, bench: Bench) -> None:
        from contextvars import ContextVar

        variable: ContextVar[str] = ContextVar("variable", default="nothing")
        seen: list[str] = []

        def answer(request: Received) -> Answer:
            return Answer(jwks(OLD))

        async def steps() -> None:
            bench.server.answers["/jwks"] = answer
            variable.set("a request")
            load = bench.verifier._keys._load

            async def watched() -> None:
                seen.append(variable.get())
                await load()

            bench.verifier._keys._load = watched  # type: ignore[method-assign]
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)
        assert seen == ["nothing"]

    def test_one_event_loop_after_another(self, bench: Bench) -> None:
        """B3: the keys are the same, and each loop has an HTTP client of its own."""
        for _ in range(3):
            bench.clock.now += 3_700

            async def steps() -> None:
                assert await bench.outcome(bench.token()) == "200"

            asyncio.run(steps())  # whose client nobody closes
        assert bench.fetches == 3

    def test_a_client_that_somebody_brings_along(self, server: ScriptedHttpServer) -> None:
        """It is made once, when it is first needed, and closed with the verifier."""
        import httpx

        made: list[httpx.AsyncClient] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            import json

            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(jwks(OLD)).encode()})

        def make() -> httpx.AsyncClient:
            made.append(httpx.AsyncClient(transport=httpx.ASGITransport(app)))
            return made[-1]

        issuer = "https://idp.example.com"
        configuration = AuthorizationServer(issuer, jwks_uri=f"{issuer}/jwks", http_client=make)
        verifier = JwtVerifier(configuration, RESOURCE)
        assert made == []

        async def main() -> None:
            for _ in range(2):
                principal = await verifier.verify(sign(claims_for(issuer, RESOURCE), OLD))
                assert principal.issuer == issuer
            await verifier.aclose()

        asyncio.run(main())
        assert len(made) == 1
        assert made[0].is_closed

    def test_cookies_are_not_kept(self, bench: Bench) -> None:
        async def steps() -> None:
            bench.publish(OLD, headers={"Set-Cookie": "session=1; Path=/"})
            assert await bench.outcome(bench.token()) == "200"
            bench.clock.now += 3_700
            assert await bench.outcome(bench.token()) == "200"

        run(bench, steps)
        assert bench.fetches == 2
        assert not any("Cookie" in request.headers for request in bench.server.received)

    def test_a_token_that_expires_while_keys_are_fetched(self, bench: Bench) -> None:
        """B2: it is expired when the answer comes."""
        gate = threading.Event()

        async def steps() -> None:
            bench.publish(OLD, gate=gate)
            now = time.time()
            token = sign(claims_for(bench.server.origin, RESOURCE, exp=now - 29.8), OLD)
            outcome = asyncio.create_task(bench.outcome(token))
            await until(lambda: time.time() > now + 0.3)
            gate.set()
            assert await outcome == "401"

        run(bench, steps)
