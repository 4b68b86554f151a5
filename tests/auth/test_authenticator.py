"""What the authenticator remembers, for how long, and what it says when nobody can be asked."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import enfilade.auth.authenticator as module
from enfilade import Context, MCPApp
from enfilade.auth import Principal, ResourceServer, ServerUnavailableError, foreign_tokens
from enfilade.auth.limits import known_tokens
from enfilade.testing import Issuer
from support.http_client.asgi_calls import AsgiClient
from support.waiting import until

RESOURCE = "https://mcp.example.com/mcp"


class CountingIssuer(Issuer):
    """An issuer that counts the requests to it, and may be away."""

    def __init__(self) -> None:
        super().__init__(audience=RESOURCE)
        self.requests = 0
        self.is_away = False

    def http_client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app)

        async def handle(request: httpx.Request) -> httpx.Response:
            self.requests += 1
            if self.is_away:
                return httpx.Response(503)
            response = await transport.handle_async_request(request)
            return httpx.Response(response.status_code, content=await response.aread())

        return httpx.AsyncClient(transport=httpx.MockTransport(handle))


def make(issuer: Issuer | None = None, **options: Any) -> MCPApp:
    servers = [] if issuer is None else [issuer.server()]
    app = MCPApp("Notes", auth=ResourceServer(RESOURCE, servers, **options))

    @app.tool
    async def who(ctx: Context) -> str | None:
        """Return who calls."""
        return ctx.user_id

    return app


async def statuses(app: MCPApp, *tokens: str) -> list[int]:
    client = AsgiClient(app)
    return [(await client.modern("tools/list", authorization=f"Bearer {token}")).status for token in tokens]


class Clock:
    """A clock that tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(known_tokens, "time", self)

    def time(self) -> float:
        return self.now


@pytest.mark.anyio
async def test_a_warm_check_asks_nobody_and_verifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """B3, B15: a token is verified once, and the keys are fetched once."""
    issuer = CountingIssuer()
    app = make(issuer)
    token = issuer.token("ada")
    assert await statuses(app, token) == [200]
    asked = issuer.requests

    async def verify(self: Any, token: str) -> Principal:
        raise AssertionError("it is verified again")

    monkeypatch.setattr(module.JwtVerifier, "verify", verify)
    assert await statuses(app, token, token) == [200, 200]
    assert issuer.requests == asked


@pytest.mark.anyio
async def test_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """B2, B15: with the leeway, and not a second longer."""
    issuer, clock = CountingIssuer(), Clock(monkeypatch)
    app = make(issuer, leeway=5)
    token = issuer.token("ada", expires_in=60)
    assert await statuses(app, token) == [200]
    authenticator, fields = app.authenticator, {b"authorization": f"Bearer {token}".encode()}
    assert authenticator is not None
    request: Any = SimpleNamespace(scope={}, query=b"")
    clock.now += 63
    known = authenticator.known(request, fields)
    assert known is not None
    assert known.subject == "ada"
    clock.now += 3
    assert authenticator.known(request, fields) is None
    assert len(authenticator._known) == 0


@pytest.mark.anyio
async def test_until_the_keys_change() -> None:
    """B15: a key that is gone takes its tokens with it."""
    issuer = CountingIssuer()
    app = make(issuer)
    old = issuer.token("ada")
    assert await statuses(app, old) == [200]
    issuer.rotate()
    new = issuer.token("ada")  # whose unknown key makes the server look
    assert await statuses(app, new, old) == [200, 401]


@pytest.mark.anyio
async def test_a_new_key_refuses_nobody() -> None:
    """B3: also while the old one is still published."""
    issuer = CountingIssuer()
    app = make(issuer)
    old = issuer.token("ada")
    assert await statuses(app, old) == [200]
    issuer.rotate(keep=True)
    assert await statuses(app, issuer.token("ada"), old) == [200, 200]


@pytest.mark.anyio
async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """B15, R-714: in tokens and in bytes; the one that was not used for the longest time goes."""
    issuer = CountingIssuer()
    app = make(issuer)
    monkeypatch.setattr(known_tokens, "_MOST", 3)
    tokens = [issuer.token(f"user-{number}") for number in range(4)]
    assert await statuses(app, *tokens[:3], tokens[0], tokens[3]) == [200] * 5
    authenticator = app.authenticator
    assert authenticator is not None
    known = authenticator._known
    subjects = [token.principal.subject for token in known._tokens.values()]
    assert subjects == ["user-2", "user-0", "user-3"]
    monkeypatch.setattr(known_tokens, "_MOST_BYTES", 1000)
    await statuses(app, issuer.token("x" * 300))
    assert known._bytes == sum(token.size for token in known._tokens.values()) <= 1000


@pytest.mark.anyio
async def test_where_the_system_allows_only_digests_of_fips(monkeypatch: pytest.MonkeyPatch) -> None:
    """B15: tokens are remembered there as well."""

    def refuse(data: bytes) -> None:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(known_tokens.hashlib, "blake2b", refuse)
    digest = known_tokens._digest_function()
    assert digest(b"").name == "sha256"
    monkeypatch.setattr(known_tokens, "_digest", digest)
    app, token = make(issuer := CountingIssuer()), issuer.token("ada")
    assert await statuses(app, token, token) == [200, 200]
    authenticator = app.authenticator
    assert authenticator is not None
    assert [len(key) for key in authenticator._known._tokens] == [32]


@pytest.mark.anyio
async def test_a_server_that_is_away() -> None:
    """B3, B4, X-AUTH-3, X-AUTH-4: 503 with Retry-After, and no challenge that would start a login."""
    issuer = CountingIssuer()
    issuer.is_away = True
    reply = await AsgiClient(make(issuer)).modern("tools/list", authorization=f"Bearer {issuer.token('ada')}")
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert "www-authenticate" not in reply.headers


class Away:
    async def verify_token(self, token: str) -> None:
        raise ServerUnavailableError("the directory", 7)


class Slow:
    async def verify_token(self, token: str) -> None:
        await asyncio.sleep(60)


class Unsure:
    """It knows one token, and leaves the others to the next."""

    async def verify_token(self, token: str) -> Principal | None:
        return Principal("first") if token == "one" else None


@pytest.mark.anyio
@pytest.mark.parametrize(("verifier", "after"), [(Away, "7"), (Slow, "5")])
async def test_a_verifier_that_is_away(
    verifier: Callable[[], Any], after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B4: nobody waits for it for ever."""
    monkeypatch.setattr(foreign_tokens, "_LIMIT", 0.05)
    reply = await AsgiClient(make(verifiers=[verifier()])).modern("tools/list", authorization="Bearer opaque")
    assert (reply.status, reply.headers["retry-after"]) == (503, after)


@pytest.mark.anyio
async def test_verifiers_are_asked_in_order() -> None:
    """B4: for tokens whose issuer is none of the authorization servers, and never for one of theirs."""
    issuer, other = CountingIssuer(), Issuer("https://other.test", audience=RESOURCE)

    class Everybody:
        asked: list[str] = []

        async def verify_token(self, token: str) -> Principal:
            self.asked.append(token)
            return Principal("second")

    client = AsgiClient(make(issuer, verifiers=[Unsure(), Everybody()]))
    foreign, broken = other.token("ada"), issuer.token("ada")[:-8]
    users = []
    for token in ("one", "two", foreign):
        reply = await client.modern("tools/call", {"name": "who"}, authorization=f"Bearer {token}")
        users.append(reply.result["structuredContent"]["result"])
    assert users == ["first", "second", "second"]
    assert (await client.modern("tools/list", authorization=f"Bearer {broken}")).status == 401
    assert Everybody.asked == ["two", foreign]


@pytest.mark.anyio
async def test_only_api_keys_have_no_metadata() -> None:
    """R-601: a document without authorization servers would be none; the challenge names no document."""
    app = make(verifiers=[Unsure()], scopes=["a"])
    reply = await AsgiClient(app).modern("tools/list")
    assert reply.headers["www-authenticate"] == 'Bearer scope="a"'
    assert app.authenticator is not None
    assert not app.authenticator.metadata.is_at("/.well-known/oauth-protected-resource")


class Slow:
    """A verifier of a user, whose answers wait for a test."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running: list[str] = []

    async def verify_token(self, token: str) -> Principal | None:
        """Return the user of a token that is good."""
        self.running.append(token)
        await self.gate.wait()
        return Principal("ada") if token.startswith("good") else None


@pytest.mark.anyio
async def test_calls_of_a_verifier_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-714, X-AUTH-4: what cannot be asked about in time is 503, and another verifier is not held up."""
    monkeypatch.setattr(foreign_tokens, "_TURN_TIME", 0.2)
    slow, other = Slow(), Slow()
    other.gate.set()
    client = AsgiClient(make(verifiers=[slow]))
    unaffected = AsgiClient(make(verifiers=[other]))

    async def send(token: str) -> Any:
        return await client.modern("tools/list", authorization=f"Bearer {token}")

    asked = [asyncio.create_task(send(f"good-{number}")) for number in range(20)]
    await until(lambda: len(slow.running) == 20)
    refused = await asyncio.gather(*(send(f"invented-{number}") for number in range(30)))
    assert {reply.status for reply in refused} == {503}
    assert {reply.header("retry-after") for reply in refused} == {"1"}
    assert len(slow.running) == 20
    assert (await unaffected.modern("tools/list", authorization="Bearer good")).status == 200
    slow.gate.set()
    assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
    assert (await send("good-later")).status == 200


@pytest.mark.anyio
async def test_invented_tokens_that_wait_are_behind_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-714: and the oldest of too many is refused, so nobody waits for all of a flood."""
    monkeypatch.setattr(foreign_tokens, "_AT_ONCE", 1)
    monkeypatch.setattr(foreign_tokens, "_MOST_WAITING", 3)
    slow = Slow()
    client = AsgiClient(make(verifiers=[slow]))

    async def status(token: str) -> int:
        return (await client.modern("tools/list", authorization=f"Bearer {token}")).status

    first = asyncio.create_task(status("invented"))
    await until(lambda: slow.running == ["invented"])
    waiting = [asyncio.create_task(status(f"invented-{number}")) for number in range(3)]
    newest = asyncio.create_task(status("good"))
    assert await waiting[0] == 503
    slow.gate.set()
    assert [await first, await newest, await waiting[1], await waiting[2]] == [401, 200, 401, 401]
    assert slow.running == ["invented", "good", "invented-2", "invented-1"]
