"""One rule for whatever expires: it is good for `leeway=` longer than it says, also where it is remembered."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from enfilade import MCPApp
from enfilade.auth import APIKeys, Introspection, Principal, ResourceServer, claims, hash_key, introspection
from enfilade.auth.limits import known_tokens
from enfilade.testing import Issuer
from support.http_client.asgi_calls import AsgiClient
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer

RESOURCE = "https://mcp.example.com/mcp"
LEEWAY = 20
KEY = "key-of-a-test"
issuer = Issuer(audience=RESOURCE)


class Clock:
    """The clock of every part that looks at expiries; a test sets it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def time(self) -> float:
        return self.now


class Own:
    """A verifier of a user, for tokens that end at some time."""

    def __init__(self, expires_at: float) -> None:
        self._expires_at = expires_at

    async def verify_token(self, token: str) -> Principal | None:
        """Return who has a token."""
        return Principal("ada", expires_at=self._expires_at) if token == "own" else None


class Stating:
    """A host's middleware, which states who sends requests without a token."""

    def __init__(self, app: MCPApp, expires_at: float) -> None:
        self._app, self._principal = app, Principal("ada", expires_at=expires_at)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": {"enfilade.principal": self._principal}}, receive, send)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (claims, introspection, known_tokens):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def asked() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        yield server


def client_of(clock: Clock, asked: ScriptedHttpServer, expires_at: float) -> AsgiClient:
    """Return a client of a server that has every kind of credential."""

    def answer(request: Received) -> Answer:
        is_ours = parse_qs(request.body.decode())["token"] == ["opaque"]
        return Answer({"active": is_ours, "sub": "ada", "exp": expires_at})

    asked.answers["/introspect"] = answer
    verifiers = [
        APIKeys({hash_key(KEY): Principal("ci", expires_at=expires_at)}),
        Own(expires_at),
        Introspection(f"{asked.origin}/introspect", "notes", "secret", clock=clock.time),
    ]
    auth = ResourceServer(RESOURCE, [issuer.server()], verifiers=verifiers, leeway=LEEWAY)
    return AsgiClient(Stating(MCPApp("Notes", auth=auth), expires_at))


MOMENTS = ((-LEEWAY, 200), (0, 200), (LEEWAY - 1, 200), (LEEWAY, 401), (LEEWAY + 1, 401))
"""Seconds after the expiry, and the status then."""


@pytest.mark.anyio
@pytest.mark.parametrize("is_known", [False, True], ids=["presented first", "presented before"])
@pytest.mark.parametrize("kind", ["JWT", "introspected", "verifier", "API key", "stated by the host"])
async def test_what_expires_is_good_until_the_leeway_is_over(
    clock: Clock, asked: ScriptedHttpServer, kind: str, is_known: bool
) -> None:
    """R-609, X-AUTH-3, X-AUTH-4: by every check of it, and by all that is remembered."""
    expires_at = clock.now + 300
    token = {"JWT": issuer.token("ada", exp=expires_at), "introspected": "opaque", "verifier": "own"}.get(
        kind, KEY
    )
    authorization = None if kind == "stated by the host" else f"Bearer {token}"
    client = client_of(clock, asked, expires_at)
    for seconds, status in MOMENTS:
        clock.now = expires_at + seconds
        if not is_known:
            client = client_of(clock, asked, expires_at)
        reply = await client.modern("tools/list", authorization=authorization)
        assert reply.status == status, f"{seconds} seconds after the expiry"
        if status == 401:
            assert "it has expired" in str(reply.header("www-authenticate"))


@pytest.mark.anyio
async def test_an_answer_about_a_token_is_used_again_within_the_leeway(
    clock: Clock, asked: ScriptedHttpServer
) -> None:
    """X-AUTH-4: a token between its expiry and the end of the leeway is asked about once, as any other."""
    client = client_of(clock, asked, clock.now)
    for _ in range(3):
        assert (await client.modern("tools/list", authorization="Bearer opaque")).status == 200
        clock.now += LEEWAY // 4
    assert asked.count("/introspect") == 1


@pytest.mark.anyio
async def test_a_token_is_good_before_its_time_by_the_same_leeway(
    clock: Clock, asked: ScriptedHttpServer
) -> None:
    """X-AUTH-3: what begins may begin that much earlier."""
    begins_at = clock.now + 300
    token = issuer.token("ada", nbf=begins_at, exp=begins_at + 300)
    client = client_of(clock, asked, begins_at)
    for seconds, status in ((-LEEWAY - 1, 401), (-LEEWAY, 200), (0, 200)):
        clock.now = begins_at + seconds
        assert (await client.modern("tools/list", authorization=f"Bearer {token}")).status == status
