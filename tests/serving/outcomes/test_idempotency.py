"""Idempotent tools: a key has one run and one outcome, whoever asks, whenever, and whatever became of it."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from enfilade import Context, MCPApp, ToolError
from enfilade.serving.outcomes import kept_outcomes
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError
from support import rounds
from support.servers.dispatched_calls import call_request, called
from support.waiting import until

pytestmark = pytest.mark.anyio

FROM = "enfilade/answeredFrom"


def keyed(key: Any) -> dict[str, Any]:
    return {"enfilade/idempotencyKey": key}


def value(result: dict[str, Any]) -> Any:
    assert "isError" not in result, result
    return result["structuredContent"]["result"]


def text(result: dict[str, Any]) -> str:
    assert result["isError"] is True, result
    found: str = result["content"][0]["text"]
    return found


def orders(app: MCPApp, **options: Any) -> list[str]:
    """Offer a tool that orders something, and return what was ordered."""
    ordered: list[str] = []

    @app.tool(idempotent=True, **options)
    async def order(item: str, count: int = 1) -> str:
        ordered.append(item)
        if item == "nothing":
            raise ToolError("there is nothing")
        if item == "broken":
            raise ValueError("secret detail")
        return f"order {len(ordered)}: {count} {item}"

    return ordered


async def test_a_thousand_calls_with_twenty_keys_run_twenty_times(cluster: Any) -> None:
    runs: Counter[str] = Counter()

    def register(app: MCPApp) -> None:
        @app.tool(idempotency_key="order_id")
        async def order(order_id: str, item: str) -> str:
            runs[order_id] += 1
            await asyncio.sleep(0.01)
            return f"{order_id}: {item}"

    async with cluster(register) as workers:
        calls = [
            called(workers[number % 4], "order", {"order_id": f"o{number % 20}", "item": f"i{number % 20}"})
            for number in range(1000)
        ]
        results = await asyncio.gather(*calls)
    assert runs == {f"o{number}": 1 for number in range(20)}
    assert [value(result) for result in results] == [f"o{number % 20}: i{number % 20}" for number in range(1000)]


async def test_a_number_beyond_those_of_a_float_is_an_argument_like_others() -> None:
    app, runs = MCPApp("Shop"), []

    @app.tool(idempotent=True)
    async def order(item: Any) -> int:
        runs.append(item)
        return len(runs)

    for _ in range(2):
        result = await called(app.dispatcher, "order", b'{"item": 1e999}', meta=keyed("17"))
        assert value(result) == 1
    assert runs == [float("inf")]


async def test_an_outcome_outlasts_the_server(shared_url: str) -> None:
    async def once(item: str, **options: Any) -> tuple[dict[str, Any], int]:
        app = MCPApp("shop", store=shared_url)
        ordered = orders(app)
        async with app.running() as dispatcher:
            return await called(dispatcher, "order", {"item": item}, meta=keyed("k1"), **options), len(ordered)

    first, runs = await once("tea", principal="ada")
    assert runs == 1
    again, runs = await once("tea", principal="ada")
    assert runs == 0
    assert again["_meta"].pop(FROM) == "idempotency"
    first["_meta"].pop("enfilade", None)
    assert again == first
    refused, runs = await once("milk", principal="ada")
    assert runs == 0
    assert text(refused) == (
        "Tool 'order' was called with this idempotency key before, with other arguments. Send the same arguments "
        "for the outcome of that call, or a new key for another one"
    )
    assert (await once("milk", principal="bob"))[1] == 1, "another principal has keys of its own"


async def test_without_a_key_each_call_runs() -> None:
    app = MCPApp()
    ordered = orders(app)
    async with app.running() as dispatcher:
        for _ in range(3):
            await called(dispatcher, "order", {"item": "tea"}, meta={"other": 1})
    assert len(ordered) == 3


@pytest.mark.parametrize("item", ["nothing", "broken"])
async def test_a_failure_is_an_outcome(item: str, cluster: Any) -> None:
    counts: list[list[str]] = []
    async with cluster(lambda app: counts.append(orders(app))) as workers:
        results = [await called(worker, "order", {"item": item}, meta=keyed("k")) for worker in workers]
    assert sum(map(len, counts)) == 1
    assert len({text(result) for result in results}) == 1
    assert [result.get("_meta", {}).get(FROM) for result in results] == [None] + ["idempotency"] * 3


async def test_a_call_that_did_not_begin_leaves_its_key_free(monkeypatch: pytest.MonkeyPatch) -> None:
    app = MCPApp()
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    ordered = orders(app, rate_limit="2/day", on_limit="refuse", requires_secrets=["SHOP_TOKEN"])
    async with app.running() as dispatcher:

        async def order(**arguments: Any) -> dict[str, Any]:
            return await called(dispatcher, "order", arguments, meta=keyed("k"))

        assert "SHOP_TOKEN" in text(await order(item="tea"))
        monkeypatch.setenv("SHOP_TOKEN", "s3cret")
        assert "Invalid arguments" in text(await order(items="tea"))
        assert "takes 2 calls a day" in text(await order(item="tea"))
        assert "takes 2 calls a day" in text(await order(item="milk")), "other arguments, as nothing was done"
    assert ordered == []


class Interruption:
    """A tool whose runs can be stopped in their middle."""

    def __init__(self, app: MCPApp, gate: Any, **options: Any) -> None:
        self.gate = gate

        @app.tool(idempotent=True, timeout=5, **options)
        async def pay() -> int:
            return await gate()


async def test_a_call_that_was_cancelled_runs_again(cluster: Any, gate: Any) -> None:
    async with cluster(lambda app: Interruption(app, gate)) as workers:
        await cancelled(workers[0], gate)
        gate.open.set()
        assert value(await called(workers[1], "pay", meta=keyed("k"))) == 2
        assert value(await called(workers[2], "pay", meta=keyed("k"))) == 2


async def cancelled(worker: Any, gate: Any) -> None:
    """Begin a call and cancel it."""
    first = call_request("pay", meta=keyed("k"))
    running = asyncio.create_task(worker.respond(first))
    await until(lambda: gate.runs == 1)
    first.cancel()
    assert await running == (None, None)


async def test_a_call_that_was_cancelled_is_refused_if_the_author_says_so(cluster: Any, gate: Any) -> None:
    async with cluster(lambda app: Interruption(app, gate, on_interrupted="refuse")) as workers:
        await cancelled(workers[0], gate)
        for worker in workers:
            refused = text(await called(worker, "pay", meta=keyed("k")))
            assert refused.startswith("An earlier call with this idempotency key was stopped in its middle")
        gate.open.set()
        assert value(await called(workers[1], "pay", meta=keyed("k2"))) == 2


@pytest.mark.parametrize(("action", "runs"), [("run", 2), ("refuse", 1)])
async def test_a_call_that_took_too_long_was_stopped_in_its_middle(action: Any, runs: int, gate: Any) -> None:
    app = MCPApp()

    @app.tool(idempotent=True, timeout=0.02, on_interrupted=action)
    async def pay() -> int:
        return await gate()

    async with app.running() as dispatcher:
        assert "took longer than" in text(await called(dispatcher, "pay", meta=keyed("k")))
        await called(dispatcher, "pay", meta=keyed("k"))
    assert gate.runs == runs


@pytest.mark.parametrize(("action", "runs"), [("run", 2), ("refuse", 1)])
async def test_an_error_of_the_protocol_is_no_outcome_of_a_tool(action: Any, runs: int) -> None:
    app = MCPApp()
    begun: list[int] = []

    @app.tool(idempotent=True, on_interrupted=action)
    async def pay() -> int:
        begun.append(1)
        raise RpcError(INTERNAL_ERROR, "away", status=503)

    async with app.running() as dispatcher:
        outcomes = [await dispatcher.respond(call_request("pay", meta=keyed("k"))) for _ in range(2)]
    assert len(begun) == runs
    assert [error is None for _, error in outcomes] == [False, action == "refuse"]


async def test_whoever_waits_too_long_is_told_so(gate: Any) -> None:
    app = MCPApp()
    app._timings = Timings(outcome_wait=0.02)
    Interruption(app, gate)
    async with app.running() as dispatcher:
        first = asyncio.create_task(called(dispatcher, "pay", meta=keyed("k")))
        await until(lambda: gate.runs == 1)
        waiting = await called(dispatcher, "pay", meta=keyed("k"))
        assert "still runs; try again in 1 second, with the same key" in text(waiting)
        assert waiting["_meta"]["enfilade/retryAfterMs"] == 1000
        gate.open.set()
        assert value(await first) == 1


async def test_a_call_goes_on_beyond_its_lease(shared_url: str, gate: Any) -> None:
    apps = [MCPApp("shop", store=shared_url) for _ in range(2)]
    for app in apps:
        app._timings = Timings(lease=0.3, lease_renewal=0.05, poll_interval=0.05)
        Interruption(app, gate)
    async with apps[0].running() as first, apps[1].running() as second:
        running = asyncio.create_task(called(first, "pay", meta=keyed("k")))
        await until(lambda: gate.runs == 1)
        waiting = asyncio.create_task(called(second, "pay", meta=keyed("k")))
        await asyncio.wait((waiting,), timeout=0.8)
        gate.open.set()
        assert [value(await running), value(await waiting)] == [1, 1]
    assert gate.runs == 1


# -- keys --------------------------------------------------------------------------------------------------------

NO_KEYS = [
    (7, "a text, and this one is of another type"),
    ({"a": 1}, "a text, and this one is of another type"),
    (True, "a text, and this one is of another type"),
    ("", "it has 1 to 255 characters, and this one has 0"),
    ("x" * 256, "it has 1 to 255 characters, and this one has 256"),
    ("x" * 1_000_000, "this one has 1000000"),
    ("a\nb", "printable characters only"),
    ("\x00", "printable characters only"),
    ("a\u202eb", "printable characters only"),
]


@pytest.mark.parametrize(("key", "message"), NO_KEYS, ids=[str(number) for number in range(len(NO_KEYS))])
async def test_what_is_no_key_is_refused(key: Any, message: str) -> None:
    app = MCPApp()
    ordered = orders(app)
    async with app.running() as dispatcher:
        refused = text(await called(dispatcher, "order", {"item": "tea"}, meta=keyed(key)))
    assert refused.startswith("enfilade/idempotencyKey of _meta is an idempotency key: ")
    assert message in refused
    assert len(refused) < 200
    assert ordered == []


async def test_an_argument_is_the_key_and_meta_where_it_is_absent() -> None:
    app = MCPApp()
    runs: list[Any] = []

    @app.tool(idempotency_key="order_id")
    async def order(order_id: int | str | None = None) -> int:
        runs.append(order_id)
        return len(runs)

    async with app.running() as dispatcher:

        async def call(order_id: Any, key: Any = None) -> dict[str, Any]:
            return await called(dispatcher, "order", {"order_id": order_id}, meta=key and keyed(key))

        assert [value(await call(17)), value(await call(17)), value(await call(18))] == [1, 1, 2]
        assert value(await call(17, "ignored")) == 1
        assert [value(await call(None, "m")), value(await call(None, "m")), value(await call(None))] == [3, 3, 4]
        assert "The argument 'order_id' is an idempotency key" in text(await call(1.5))
        assert "other arguments" in text(await call("17")), "the text is another order"


async def test_keys_belong_to_a_principal_and_a_tool() -> None:
    app = MCPApp()
    ordered = orders(app)
    other = MCPApp("other", store=app.store)

    @app.tool("other", idempotent=True)
    async def order(item: str) -> None:
        ordered.append(item)

    also_ordered = orders(other)
    async with app.running() as dispatcher, other.running() as other_dispatcher:
        for _ in range(2):
            for principal in ("ada", "bob", None):
                await called(dispatcher, "order", {"item": "tea"}, meta=keyed("k"), principal=principal)
            await called(dispatcher, "other", {"item": "tea"}, meta=keyed("k"), principal="ada")
            await called(other_dispatcher, "order", {"item": "tea"}, meta=keyed("k"), principal="ada")
    assert (len(ordered), len(also_ordered)) == (4, 1)


async def test_a_flood_of_keys_is_refused_for_its_caller_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_outcomes, "KEPT_COUNT", 10)
    app = MCPApp()
    ordered = orders(app)
    async with app.running() as dispatcher:

        async def order(number: int, principal: str) -> dict[str, Any]:
            return await called(dispatcher, "order", {"item": "x"}, meta=keyed(f"k{number}"), principal=principal)

        results = [await order(number, "ada") for number in range(30)]
        assert [result.get("isError", False) for result in results] == [False] * 10 + [True] * 20
        assert "it keeps the outcomes of 10 idempotency keys of a caller, each for 1 day" in text(results[-1])
        assert value(await order(3, "ada")) == value(results[3])
        assert value(await order(1, "bob")) == "order 11: 1 x"
    assert len(ordered) == 11


async def test_a_large_outcome_is_not_kept_and_does_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_outcomes, "KEPT_SIZE", 500)
    app = MCPApp()
    ordered = orders(app)
    async with app.running() as dispatcher:
        item = "x" * 600
        assert item in value(await called(dispatcher, "order", {"item": item}, meta=keyed("k")))
        again = text(await called(dispatcher, "order", {"item": item}, meta=keyed("k")))
        assert again.startswith("The first call with this idempotency key is done, and its result had")
    assert len(ordered) == 1


# -- together with the rest --------------------------------------------------------------------------------------


async def test_chained_calls_have_keys_in_their_arguments() -> None:
    app = MCPApp()
    runs: list[str] = []

    @app.tool(idempotency_key="order_id")
    async def order(order_id: str, item: str) -> str:
        runs.append(item)
        return f"{order_id}: {item}"

    @app.tool
    async def basket(ctx: Context, items: list[str]) -> list[Any]:
        return [await ctx.tools.call("order", {"order_id": "o1", "item": item}) for item in items]

    async with app.running() as dispatcher:
        assert value(await called(dispatcher, "basket", {"items": ["tea", "tea"]})) == ["o1: tea", "o1: tea"]
        assert "other arguments" in text(await called(dispatcher, "basket", {"items": ["tea", "milk"]}))
    assert runs == ["tea"]


async def test_a_call_that_calls_itself_with_its_own_key_is_refused() -> None:
    app = MCPApp()

    @app.tool(idempotency_key="order_id")
    async def order(ctx: Context, order_id: str) -> Any:
        return await ctx.tools.call("order", {"order_id": order_id})

    async with app.running() as dispatcher:
        refused = await asyncio.wait_for(called(dispatcher, "order", {"order_id": "a"}), 5)
    assert "still runs" in text(refused)


async def test_each_round_of_questions_carries_the_key(store_url: str) -> None:
    app = MCPApp("shop", store=store_url)
    runs: list[str] = []

    @app.tool(idempotency_key="order_id")
    async def order(ctx: Context, order_id: str) -> str:
        size = await ctx.elicit("Size?", str)
        count = await ctx.elicit("How many?", int)
        runs.append(order_id)
        return f"{count.data} of {size.data}, {len(runs)}"

    answers = {"Size?": rounds.value("L"), "How many?": rounds.value(3)}
    async with app.running():
        calls = [rounds.Call(app, "order", {"order_id": "o"}) for _ in range(2)]
        for call in calls:
            reply = await call.answer_all(lambda question, _: answers[question])
            assert reply.result["structuredContent"] == {"result": "3 of L, 1"}
    assert [len(call.rounds) for call in calls] == [2, 0]
    assert runs == ["o"]


async def test_a_link_to_the_whole_result_is_made_for_each_answer() -> None:
    app = MCPApp()

    @app.tool(idempotent=True, max_result=300, on_overflow="link")
    async def pay() -> list[int]:
        return list(range(500))

    async with app.running() as dispatcher:
        results = [await called(dispatcher, "pay", meta=keyed("k")) for _ in range(2)]
    blocks = [block for result in results for block in result["content"]]
    assert len({block["uri"] for block in blocks if block["type"] == "resource_link"}) == 2


async def test_without_a_store_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        shared = unavailable = False
        keys = log = bus = None

        async def start(self) -> None: ...
        async def close(self) -> None: ...

    app = MCPApp(store=Bare())  # type: ignore[arg-type]
    ordered = orders(app)

    @app.tool(annotations={"read_only_hint": True}, cache=60)
    async def look() -> int:
        return 1

    async with app.running() as dispatcher:
        refused = text(await called(dispatcher, "order", {"item": "tea"}, meta=keyed("k")))
        assert "cannot look up idempotency keys at the moment; nothing was done" in refused
        assert value(await called(dispatcher, "look")) == 1
    assert ordered == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idempotency_key": "id"}, "idempotency_key='id' names no parameter; its parameters are: item"),
        ({"idempotency_key": 7}, "idempotency_key is the name of a parameter"),
        ({"idempotency_ttl": 5}, "idempotency_ttl without effect: give idempotent=True as well"),
        ({"idempotent": False, "idempotency_key": "item"}, "idempotency_key without effect"),
        ({"idempotent": 1}, "idempotent is True or False"),
        ({"idempotent": True, "idempotency_ttl": "31 days"}, "at most 30 days"),
        ({"idempotent": True, "on_interrupted": "stop"}, "on_interrupted is 'run' or 'refuse'"),
    ],
)
def test_options_that_cannot_be(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        MCPApp().add_tool(lambda item: item, name="f", **options)
