"""What one caller may have of the room that callers share: over sockets, and in a full `memory://`."""

import time
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.serving.outcomes import kept_outcomes
from enfilade.state.limits.memory_limits import MemoryTable
from enfilade.state.memory import MemoryKeys, MemoryStore
from enfilade.state.outcomes.decisions import TableOutcomes
from enfilade.state.store import LogLimits
from support.harness import Serving
from support.http_client.connection import Http, HttpSession
from support.servers.dispatched_calls import called


def ordering(**options: Any) -> MCPApp:
    app = MCPApp("shop", **options)

    @app.tool(idempotency_key="key")
    async def order(key: str) -> str:
        return key

    return app


def orders(caller: Http | HttpSession, name: str, count: int) -> list[str]:
    """Return the errors of calls with some new keys; empty texts for those that ran."""
    errors = []
    for number in range(count):
        arguments = {"key": f"{name}{number}"}
        if isinstance(caller, Http):
            result = caller.modern_call("order", **arguments).result
        else:
            result = caller.call("order", **arguments).result
        errors.append(result["content"][0]["text"] if result.get("isError") else "")
    return errors


def test_one_caller_without_a_name_leaves_keys_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is a caller, and so is an address without one; together they have what one principal has."""
    monkeypatch.setattr(kept_outcomes, "OWN_COUNT", 5)
    monkeypatch.setattr(kept_outcomes, "KEPT_COUNT", 12)
    with Serving(ordering()) as serving:
        first, second = serving.http.initialize(), serving.http.initialize()
        refused = orders(first, "a", 8)
        assert refused[:5] == [""] * 5
        assert all("outcomes of 5 idempotency keys of one caller" in text for text in refused[5:])
        assert orders(first, "a", 5) == [""] * 5, "what is kept is still there"
        assert [bool(text) for text in orders(serving.http, "b", 7)] == [False] * 5 + [True] * 2
        refused = orders(second, "c", 3)
        assert refused[:2] == [""] * 2
        assert "outcomes of 12 idempotency keys of a caller" in refused[2]


def full_store(size: int) -> MemoryStore:
    """Return a store in this process with little room for outcomes."""
    store = MemoryStore(LogLimits())
    table = MemoryTable(MemoryKeys(size=size))

    async def run(job: Any) -> Any:
        return job(table)

    store._call_outcomes = TableOutcomes(run, time.monotonic, is_local=True)
    return store


@pytest.mark.anyio
async def test_a_flood_of_cached_results_evicts_its_callers_own() -> None:
    app, runs = MCPApp("shop", store=full_store(8 * 20 * 1024)), []

    @app.tool(cache=600, annotations={"read_only_hint": True})
    async def look(number: int) -> str:
        runs.append(number)
        return "x" * 2000

    async with app.running() as dispatcher:
        await called(dispatcher, "look", {"number": 0}, principal="bob")
        for number in range(200):
            await called(dispatcher, "look", {"number": number}, principal="ada")
        assert len(runs) == 201
        result = await called(dispatcher, "look", {"number": 0}, principal="bob")
        assert result["_meta"]["enfilade/answeredFrom"] == "cache"
        result = await called(dispatcher, "look", {"number": 199}, principal="ada")
        assert result["_meta"]["enfilade/answeredFrom"] == "cache", "its newest are there"
        await called(dispatcher, "look", {"number": 1}, principal="ada")
    assert len(runs) == 202


@pytest.mark.anyio
async def test_a_flood_of_keys_takes_its_callers_own_room() -> None:
    app = ordering(store=full_store(8 * 8 * 256))
    async with app.running() as dispatcher:
        results = [
            await called(dispatcher, "order", {"key": f"{number}"}, principal="ada") for number in range(20)
        ]
        assert [result.get("isError", False) for result in results] == [False] * 8 + [True] * 12
        for principal in ("bob", "eve"):
            result = await called(dispatcher, "order", {"key": "1"}, principal=principal)
            assert not result.get("isError", False)
