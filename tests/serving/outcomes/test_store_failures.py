"""What calls cost the store, and what they come to while it is away."""

import time
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.state import measured
from enfilade.state.limits.memory_limits import MemoryTable
from enfilade.state.memory import MemoryKeys, MemoryStore
from enfilade.state.open import open_store
from enfilade.state.outcomes.decisions import TableOutcomes
from enfilade.state.store import LogLimits, Store
from support.servers.dispatched_calls import called
from support.stores.valkey_server import HOST, LossyProxy, Valkey

pytestmark = pytest.mark.anyio


def make_app(url: str | Store, **options: Any) -> tuple[MCPApp, list[str]]:
    app = MCPApp("shop", store=url, **options)
    runs: list[str] = []

    @app.tool(cache=60, annotations={"read_only_hint": True})
    async def look(number: int) -> int:
        runs.append("look")
        return number

    @app.tool(idempotency_key="key")
    async def pay(key: str) -> str:
        runs.append("pay")
        return key

    return app, runs


def text(result: dict[str, Any]) -> str:
    found: str = result["content"][0]["text"]
    return found


async def test_a_hit_is_one_round_trip_and_a_run_two(valkey_of_outcomes: Valkey) -> None:
    app, runs = make_app(f"{valkey_of_outcomes.url}?prefix=counted:")
    async with app.running() as dispatcher:
        for number in range(-3, 0):
            await called(dispatcher, "look", {"number": number})  # the scripts are there then
        for number in range(10):
            await called(dispatcher, "look", {"number": number})
        between = valkey_of_outcomes.calls("evalsha", "eval")
        for number in range(10):
            await called(dispatcher, "look", {"number": number})
            await called(dispatcher, "pay", {"key": "a"})
        after = valkey_of_outcomes.calls("evalsha", "eval")
    assert after - between == 10 + 2 + 9
    assert len(runs) == 14


async def test_operations_are_timed_for_metrics(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []
    monkeypatch.setattr(measured, "time_of", lambda _, operation, seconds: timed.append(operation))
    app, runs = make_app(measured.measured(open_store(store_url)))
    async with app.running() as dispatcher:
        for _ in range(2):
            await called(dispatcher, "look", {"number": 1})
        await app.tools.invalidate("look")
    assert runs == ["look"]
    operations = [operation for operation in timed if operation.startswith("outcomes.")]
    assert operations == ["outcomes.claim", "outcomes.finish", "outcomes.claim", "outcomes.change_version"]


async def test_a_store_that_is_away(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        app, runs = make_app(valkey.url)
        async with app.running() as dispatcher:
            for tool, arguments in (("look", {"number": 1}), ("pay", {"key": "a"})):
                assert "isError" not in await called(dispatcher, tool, arguments)
            valkey.kill()
            for _ in range(3):
                assert text(await called(dispatcher, "look", {"number": 1})) == "1"
                refused = await called(dispatcher, "pay", {"key": "a"})
                assert refused["isError"] is True
                assert "nothing was done, try again in 1 second" in text(refused)
                assert refused["_meta"]["enfilade/retryAfterMs"] == 1000
    assert runs == ["look", "pay", "look", "look", "look"]


async def test_replies_of_the_store_that_get_lost(valkey_of_outcomes: Valkey) -> None:
    """A command is sent again then, with the same effect: no call runs twice, or waits for itself."""
    async with LossyProxy(valkey_of_outcomes) as way:
        app, runs = make_app(f"redis://{HOST}:{way.port}/0?prefix=lossy:")

        @app.tool(idempotency_key="key")
        async def pay_lossy(key: str) -> str:
            runs.append(key)
            way.lose = b"EVALSHA"  # of what keeps the outcome
            return key

        async with app.running() as dispatcher:
            await called(dispatcher, "pay", {"key": "warm"})
            way.lose = b"EVALSHA"  # of the claim
            assert text(await called(dispatcher, "pay", {"key": "a"})) == "a"
            assert not way.lose
            assert text(await called(dispatcher, "pay_lossy", {"key": "b"})) == "b"
            assert not way.lose
            for tool, key in (("pay", "a"), ("pay_lossy", "b")):
                again = await called(dispatcher, tool, {"key": key})
                assert again["_meta"]["enfilade/answeredFrom"] == "idempotency"
    assert runs == ["pay", "pay", "b"]


async def test_other_servers_cannot_read_outcomes(valkey_of_outcomes: Valkey) -> None:
    url = f"{valkey_of_outcomes.url}?prefix=sealed:"
    results = []
    for secret in ("a" * 32, "b" * 32):
        app, runs = make_app(url, secret=secret)
        async with app.running() as dispatcher:
            results.append(await called(dispatcher, "pay", {"key": "visible-key"}))
            await called(dispatcher, "look", {"number": 12_345_678})
        assert runs == (["pay", "look"] if secret[0] == "a" else ["look"])
    assert "isError" not in results[0]
    assert "cannot look up idempotency keys" in text(results[1])
    stored = [valkey_of_outcomes.ask("GET", key) for key in valkey_of_outcomes.ask("KEYS", "sealed:*cached:*")]
    assert stored
    assert not [value for value in stored if b"12345678" in value]


async def test_in_a_store_that_is_full_a_call_runs_once_all_the_same() -> None:
    store = MemoryStore(LogLimits())
    table = MemoryTable(MemoryKeys(size=1700))

    async def run(job: Any) -> Any:
        return job(table)

    store._call_outcomes = TableOutcomes(run, time.monotonic, is_local=True)
    app, runs = MCPApp("shop", store=store), []

    @app.tool(idempotency_key="key")
    async def pay(key: str) -> str:
        runs.append(key)
        return "x" * 500

    async with app.running() as dispatcher:
        for key in ("a", "b", "b"):
            result = await called(dispatcher, "pay", {"key": key})
    assert runs == ["a", "b"]
    assert "is done, and the server had no room for its result" in text(result)
    assert result["_meta"]["enfilade/answeredFrom"] == "idempotency"
