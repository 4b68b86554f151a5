"""Grants in a store: what is bound to its row, who rotates, and what becomes of it all without a store."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade.auth.oauth_proxy import grants as module
from enfilade.auth.oauth_proxy.grants import GRACE, Grant, Grants, UpstreamTokens
from enfilade.auth.oauth_proxy.sealed import Codec
from enfilade.state.memory import MemoryStore
from enfilade.state.store import LogLimits, StoreError
from enfilade.state.tokens import Seal
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, call, register
from support.authorization.visitor import Visitor
from support.servers import login_server

pytestmark = pytest.mark.anyio
CLIENT = b"c" * 24


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of grants, which a test can change."""
    times = [1_000_000.0]
    monkeypatch.setattr(module.time, "time", lambda: times[0])
    return times


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(LogLimits())


def grants_in(store: MemoryStore, seal: Seal | None = None, issuer: str = "https://mcp.example.com") -> Grants:
    """Return the grants of a worker."""
    codec = Codec(seal or SEAL, issuer, f"{issuer}/mcp")
    return Grants(codec, lambda: store, 3600)


SEAL = Seal(["s" * 32])


def grant(**changes: Any) -> Grant:
    values: dict[str, Any] = {"subject": "ada", "client": CLIENT, "scopes": ["notes:read"], "claims": {}}
    return Grant(**{**values, **changes})


async def test_a_code_is_redeemed_by_one_of_many(store: MemoryStore) -> None:
    """A23: also if all come at the same moment."""
    workers = [grants_in(store) for _ in range(8)]
    grant_id = await workers[0].add(grant())
    outcomes = await asyncio.gather(*(worker.activate(grant_id) for worker in workers))
    assert sum(outcome is not None for outcome in outcomes) == 1


async def test_a_refresh_token_has_one_successor(store: MemoryStore, now: list[float]) -> None:
    """A23: whoever comes at the same moment, or a little later, gets the same."""
    workers = [grants_in(store) for _ in range(8)]
    grant_id = await workers[0].add(grant())
    await workers[0].activate(grant_id)
    outcomes = await asyncio.gather(*(worker.rotate(grant_id, CLIENT, 1) for worker in workers))
    assert {outcome.generation for outcome in outcomes if outcome} == {2}
    assert all(outcomes)
    now[0] += GRACE
    again = await workers[1].rotate(grant_id, CLIENT, 1)
    assert again is not None
    assert again.generation == 2


@pytest.mark.parametrize(("seconds", "generation"), [(GRACE + 1, 1), (0, 0), (0, 9), (GRACE + 1, 9)])
async def test_a_token_that_was_used_ends_the_login(
    store: MemoryStore, now: list[float], seconds: float, generation: int
) -> None:
    """A23, RFC 9700 §4.14: after the grace time, or long before the latest one."""
    grants = grants_in(store)
    heard: list[bytes] = []
    grants.on_revoked(heard.append)
    grant_id = await grants.add(grant())
    await grants.activate(grant_id)
    assert await grants.rotate(grant_id, CLIENT, 1) is not None
    now[0] += seconds
    assert await grants.rotate(grant_id, CLIENT, generation) is None
    assert await grants.get(grant_id) is None
    await asyncio.sleep(0)
    assert heard == [grant_id]


async def test_whose_token_it_is(store: MemoryStore) -> None:
    """A23: another client ends nothing, and a grant whose code was not redeemed has no refresh token."""
    grants = grants_in(store)
    grant_id = await grants.add(grant())
    assert await grants.rotate(grant_id, CLIENT, 0) is None
    await grants.activate(grant_id)
    assert await grants.rotate(grant_id, b"d" * 24, 1) is None
    assert await grants.rotate(grant_id, CLIENT, 1) is not None


async def test_a_row_opens_in_its_place_alone(store: MemoryStore) -> None:
    """A23: not under the id of another grant, not with another secret, and not for another server."""
    grants = grants_in(store)
    first, second = await grants.add(grant(subject="ada")), await grants.add(grant(subject="eve"))
    row = await store.keys.get(module._key(second))
    assert row is not None
    assert b"eve" not in row
    await store.keys.put(module._key(first), row, 60)
    assert await grants.get(first) is None
    assert (await grants.get(second) or grant()).subject == "eve"
    assert await grants_in(store, Seal(["t" * 32])).get(second) is None
    assert await grants_in(store, issuer="https://other.example.com").get(second) is None
    assert await grants_in(store, Seal(["t" * 32, "s" * 32])).get(second) is not None, "secrets rotate"


async def test_what_may_be_used_once(store: MemoryStore) -> None:
    """R-708: of many workers one may; after its time it may be used again."""
    workers = [grants_in(store) for _ in range(8)]
    outcomes = await asyncio.gather(*(worker.claim("login", b"id", 60) for worker in workers))
    assert outcomes.count(True) == 1
    assert await workers[0].claim("other", b"id", 60)


async def test_a_claim_is_released_by_whoever_has_it(store: MemoryStore) -> None:
    """A worker whose time was over does not take the claim of the one after it."""
    first, second = grants_in(store), grants_in(store)
    assert await first.claim("login", b"id", 60, b"of the first")
    await second.release("login", b"id", b"of the second")
    assert not await second.claim("login", b"id", 60, b"of the second")
    await first.release("login", b"id", b"of the first")
    assert await second.claim("login", b"id", 60, b"of the second")


async def test_tokens_of_the_provider_are_replaced(store: MemoryStore) -> None:
    grants = grants_in(store)
    grant_id = await grants.add(grant(upstream=UpstreamTokens("old", "refresh")))
    await grants.activate(grant_id)
    await grants.keep_upstream(grant_id, UpstreamTokens("new"))
    kept = await grants.get(grant_id)
    assert kept is not None
    assert (kept.upstream, kept.generation) == (UpstreamTokens("new"), 1)
    assert "new" not in repr(kept)
    await grants.keep_upstream(b"unknown", UpstreamTokens("new"))


class AwayStore(MemoryStore):
    """A store that can be made unavailable."""

    def __init__(self) -> None:
        super().__init__(LogLimits())
        self.is_away = False
        for name in ("get", "put", "swap", "delete"):
            setattr(self.keys, name, self._guarded(getattr(self.keys, name)))

    def _guarded(self, operation: Any) -> Any:
        async def guarded(*args: Any) -> Any:
            if self.is_away:
                raise StoreError("the store is away")
            return await operation(*args)

        return guarded


@pytest.fixture
def away(running_oidc_provider: OidcProvider) -> Iterator[tuple[str, AwayStore]]:
    store = AwayStore()
    with login_server.serving(running_oidc_provider, store=store) as url:
        yield url, store


def test_what_a_login_keeps(running_oidc_provider: OidcProvider, visitor: Visitor) -> None:
    """A23, X-AUTH-22: one grant; of registrations, consents and codes nothing, but that a step was taken."""
    store = AwayStore()
    keys: list[str] = []
    for name in ("put", "swap"):
        setattr(store.keys, name, _noting(keys, getattr(store.keys, name)))
    with login_server.serving(running_oidc_provider, store=store) as url:
        client = ProxyClient.registered(url)
        page = visitor.open(client.authorization_url())
        assert [key for key in keys if key.startswith("oauth")] == []
        visitor.press(page, client.redirect_uri, decision="allow")
    kinds = [key.rpartition(":")[0] for key in keys if key.startswith("oauth")]
    assert kinds == ["oauth:login", "oauth:grant"]


def _noting(keys: list[str], operation: Any) -> Any:
    async def noting(key: str, *args: Any) -> Any:
        keys.append(key)
        return await operation(key, *args)

    return noting


def test_without_a_store(away: tuple[str, AwayStore], oidc_provider: OidcProvider, visitor: Visitor) -> None:
    """A23, X-AUTH-4: what needs it says so, and nothing else fails; no login is lost by it."""
    url, store = away
    client = ProxyClient.registered(url)
    code, other = client.code(visitor), ProxyClient.registered(url)
    tokens = client.redeem(client.code(visitor)).json()
    store.is_away = True
    assert register(url).status_code == 201
    assert call(url, tokens["access_token"]).status_code == 200
    assert visitor.open(other.authorization_url()).status == 200
    for response in (client.redeem(code), client.refresh(tokens["refresh_token"])):
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"]
    assert other.log_in(visitor)["error"] == "temporarily_unavailable"
    store.is_away = False
    assert client.redeem(code).status_code == 200
    assert client.refresh(tokens["refresh_token"]).status_code == 200
    assert "code" in other.log_in(visitor)
