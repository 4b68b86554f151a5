"""Tools with a cache: which calls share a result, who runs, and what is forgotten when."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade import Context, ImageContent, MCPApp, TextContent, ToolError, ToolResult, counters
from enfilade.auth import Principal
from enfilade.primitives.limits.outcome_policy import CachePolicy
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.request_line import outcome_words
from enfilade.serving.outcomes import kept_outcomes
from enfilade.testing import connect
from support import rounds
from support.servers.dispatched_calls import call_request, called
from support.waiting import until

pytestmark = pytest.mark.anyio

READ_ONLY = {"read_only_hint": True}
FROM = "enfilade/answeredFrom"


def value(result: dict[str, Any]) -> Any:
    return result["structuredContent"]["result"]


def without_source(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what says that it is another's."""
    meta = {name: value for name, value in result.get("_meta", {}).items() if name != FROM}
    return {**result, "_meta": meta}


def counter(app: MCPApp, **options: Any) -> list[Any]:
    """Offer a tool that counts its runs, and return the arguments of these."""
    runs: list[Any] = []

    @app.tool(annotations=READ_ONLY, **{"cache": 60, **options})
    async def count(text: str = "a", number: int = 1, note: str | None = None) -> int:
        runs.append((text, number, note))
        return len(runs)

    return runs


async def test_a_result_is_used_again_by_all_workers(cluster: Any) -> None:
    runs: list[int] = []

    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache="5 minutes")
        async def look(number: int) -> dict[str, Any]:
            runs.append(number)
            return {"number": number, "deep": [{"a": 1.5, "b": None}], "text": "ä\u2028"}

    async with cluster(register) as workers:
        first = await workers[0].dispatch(call_request("look", {"number": 1}))
        others = [await worker.dispatch(call_request("look", {"number": 1})) for worker in workers]
        assert {without_meta(other) for other in others} == {without_meta(first)}
        assert all(json.loads(other)["_meta"][FROM] == "cache" for other in others)
        await called(workers[1], "look", {"number": 2})
    assert runs == [1, 2]


def without_meta(result: bytes) -> bytes:
    """Return the bytes of a result without `_meta`, in the order in which they came."""
    return json.dumps({k: v for k, v in json.loads(result).items() if k != "_meta"}).encode()


async def test_one_runs_and_the_others_wait(cluster: Any, gate: Any) -> None:
    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache=60)
        async def look() -> int:
            return await gate()

    async with cluster(register) as workers:
        calls = [asyncio.create_task(called(workers[number % 4], "look")) for number in range(40)]
        await until(lambda: gate.runs == 1)
        await asyncio.sleep(0.05)
        gate.open.set()
        results = await asyncio.gather(*calls)
    assert gate.runs == 1
    assert {value(result) for result in results} == {1}
    assert sorted(result.get("_meta", {}).get(FROM, "") for result in results) == [""] + ["cache"] * 39


async def test_a_failure_is_not_cached_and_another_one_runs(cluster: Any, gate: Any) -> None:
    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache=60)
        async def look() -> int:
            number: int = await gate()
            if number == 1:
                raise ToolError("not yet")
            if number == 2:
                raise ValueError("nor now")
            return number

    async with cluster(register) as workers:
        calls = [asyncio.create_task(called(workers[number % 4], "look")) for number in range(8)]
        await until(lambda: gate.runs == 1)
        gate.open.set()
        results = await asyncio.gather(*calls)
    assert gate.runs == 3
    assert [result.get("isError") for result in results].count(True) == 2
    assert [value(result) for result in results if "isError" not in result] == [3] * 6


async def test_another_one_runs_if_the_first_is_cancelled(cluster: Any, gate: Any) -> None:
    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache=60)
        async def look() -> int:
            return await gate()

    async with cluster(register) as workers:
        first = call_request("look")
        running = asyncio.create_task(workers[0].respond(first))
        await until(lambda: gate.runs == 1)
        waiting = [asyncio.create_task(called(workers[number], "look")) for number in (0, 1, 2)]
        await asyncio.sleep(0.02)
        first.cancel()
        assert await running == (None, None)
        await until(lambda: gate.runs == 2)
        gate.open.set()
        assert [value(result) for result in await asyncio.gather(*waiting)] == [2, 2, 2]


async def test_whoever_waits_may_be_cancelled(cluster: Any, gate: Any) -> None:
    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache=60)
        async def look() -> int:
            return await gate()

    async with cluster(register) as workers:
        running = asyncio.create_task(called(workers[0], "look"))
        await until(lambda: gate.runs == 1)
        waiting = [asyncio.create_task(called(workers[number % 4], "look")) for number in range(8)]
        await asyncio.sleep(0.02)
        for task in waiting[:6]:
            task.cancel()
        await asyncio.wait(waiting[:6])
        gate.open.set()
        assert {value(result) for result in await asyncio.gather(running, *waiting[6:])} == {1}


async def test_an_invalidation_reaches_all_workers(store_url: str, cluster: Any) -> None:
    apps: list[MCPApp] = []
    runs: list[Any] = []

    def register(app: MCPApp) -> None:
        apps.append(app)

        @app.tool(annotations=READ_ONLY, cache=60)
        async def look(text: str, number: int = 7) -> int:
            runs.append(text)
            return len(runs)

    async def look(worker: Dispatcher, **arguments: Any) -> int:
        found: int = value(await called(worker, "look", arguments))
        return found

    async with cluster(register) as workers:
        assert [await look(workers[0], text=text) for text in "ab"] == [1, 2]
        await apps[-1].tools.invalidate("look", {"text": "a", "number": 7})
        assert [await look(workers[1], text=text) for text in "ab"] == [3, 2]
        await apps[-1].tools.invalidate("look")
        assert [await look(workers[2], text=text) for text in "ab"] == [4, 5]
        assert [await look(workers[3], text=text) for text in "ab"] == [4, 5]


async def test_a_thread_may_invalidate(store_url: str) -> None:
    app = MCPApp(store=store_url)
    runs = counter(app)

    @app.tool
    def change() -> None:
        asyncio.run(app.tools.invalidate("count"))

    async with app.running() as dispatcher:
        for number in (1, 2, 3):
            assert value(await called(dispatcher, "count")) == number
            assert value(await called(dispatcher, "count")) == number
            await called(dispatcher, "change")
    assert len(runs) == 3


async def test_a_release_with_other_schemas_has_results_of_its_own(shared_url: str) -> None:
    async def once(fn: Callable[..., Any]) -> str:
        app = MCPApp("shop", store=shared_url)
        app.add_tool(fn, name="look", annotations=READ_ONLY, cache=60)
        async with app.running() as dispatcher:
            return json.dumps(value(await called(dispatcher, "look")))

    async def old() -> int:
        return 1

    async def new() -> list[int]:
        return [2]

    async def same() -> int:
        return 3

    assert [await once(fn) for fn in (old, new, same)] == ["1", "[2]", "1"]


async def test_what_runs_during_an_invalidation_is_not_cached(gate: Any) -> None:
    app = MCPApp()

    @app.tool(annotations=READ_ONLY, cache=60)
    async def look() -> int:
        return await gate()

    async with app.running() as dispatcher:
        first = asyncio.create_task(called(dispatcher, "look"))
        await until(lambda: gate.runs == 1)
        await app.tools.invalidate("look")
        second = asyncio.create_task(called(dispatcher, "look"))
        await asyncio.sleep(0)
        gate.open.set()
        assert [value(await first), value(await second), value(await called(dispatcher, "look"))] == [1, 2, 2]


async def test_what_can_be_invalidated() -> None:
    app = MCPApp()
    counter(app)

    @app.tool
    async def plain() -> int:
        return 1

    with pytest.raises(ValueError, match=r"tool 'plain' has no cache; give it one: @app\.tool\(cache=60\)"):
        await app.tools.invalidate("plain")
    with pytest.raises(KeyError, match='there is no tool called "other"'):
        await app.tools.invalidate("other")
    with pytest.raises(ValueError, match="The arguments cannot be sent"):
        await app.tools.invalidate("count", {"text": object()})


SPELLINGS = [
    b"{}",
    b'{"text":"a"}',
    b' { "number" : 1 , "text" : "\\u0061" } ',
    b'{"note":null,"text":"a","number":1}',
    b"null",
]


@pytest.mark.parametrize("arguments", SPELLINGS)
async def test_one_meaning_is_one_key(arguments: bytes) -> None:
    app = MCPApp()
    runs = counter(app)
    async with app.running() as dispatcher:
        await called(dispatcher, "count")
        await called(dispatcher, "count", arguments)
    assert len(runs) == 1


async def test_other_arguments_are_other_calls() -> None:
    app = MCPApp()
    runs = counter(app)
    several: list[dict[str, Any]] = [{}, {"text": "b"}, {"text": "A"}, {"number": 2}, {"note": "a"}, {"text": ""}]
    async with app.running() as dispatcher:
        for arguments in several * 2:
            await called(dispatcher, "count", arguments)
    assert len(runs) == len(several)


async def test_invalid_arguments_are_the_tools_matter() -> None:
    app = MCPApp()
    runs = counter(app)
    async with app.running() as dispatcher:
        for arguments in (b'{"number":"many"}', b'{"text":', b'{"text":"\\ud800"}'):
            for _ in range(2):
                assert (await called(dispatcher, "count", arguments))["isError"] is True
    assert runs == []


async def test_a_result_ends_with_its_time() -> None:
    app = MCPApp()
    runs = counter(app, cache=0.05)
    async with app.running() as dispatcher:
        await called(dispatcher, "count")
        await called(dispatcher, "count")
        assert len(runs) == 1
        await asyncio.sleep(0.06)
        await called(dispatcher, "count")
    assert len(runs) == 2


# -- whose results they are --------------------------------------------------------------------------------------

CALLERS: list[dict[str, Any]] = [
    {"principal": "ada"},
    {"principal": "bob"},
    {"principal": '["session"]'},
    {"session_id": "ada"},
    {"session_id": "s2"},
    {},
]


async def test_a_result_is_its_callers_own(cluster: Any) -> None:
    runs: list[int] = []

    def register(app: MCPApp) -> None:
        @app.tool(annotations=READ_ONLY, cache=60)
        async def look(ctx: Context) -> str:
            runs.append(1)
            return f"{ctx.peer.principal} {ctx.peer.session_id}"

    async with cluster(register) as workers:
        for number, caller in enumerate(CALLERS * 2):
            result = await called(workers[number % 4], "look", **caller)
            assert value(result) == f"{caller.get('principal')} {caller.get('session_id')}"
    assert len(runs) == len(CALLERS)


async def test_all_share_a_result_if_the_author_says_so() -> None:
    app = MCPApp()
    runs = counter(app, cache_per="all")
    async with app.running() as dispatcher:
        for caller in CALLERS:
            await called(dispatcher, "count", **caller)
    assert len(runs) == 1


async def test_a_token_that_allows_less_has_results_of_its_own() -> None:
    app = MCPApp()
    runs = counter(app)
    async with app.running() as dispatcher:
        for scopes in (["read", "all"], ["all", "read"], ["read"], []):
            request = call_request("count", principal="ada")
            request.channel.principal = Principal("ada", scopes=scopes)  # type: ignore[arg-type]
            await dispatcher.dispatch(request)
    assert len(runs) == 3


async def test_access_comes_first() -> None:
    app = MCPApp()
    runs = counter(app, cache_per="all", visible=lambda principal, peer: peer.principal == "ada")
    async with app.running() as dispatcher:
        assert value(await called(dispatcher, "count", principal="ada")) == 1
        _, error = await dispatcher.respond(call_request("count", principal="bob"))
        assert error is not None
        assert error.message == "Unknown tool: count"
        assert value(await called(dispatcher, "count", principal="ada")) == 1
    assert len(runs) == 1


# -- what is cached ----------------------------------------------------------------------------------------------


async def test_limits_count_runs_alone() -> None:
    app = MCPApp()
    runs = counter(app, rate_limit="1/day", on_limit="refuse")
    async with app.running() as dispatcher:
        for _ in range(3):
            assert value(await called(dispatcher, "count")) == 1
        refused = await called(dispatcher, "count", {"text": "b"})
        assert refused["isError"] is True
        assert "takes 1 call a day" in refused["content"][0]["text"]
    assert len(runs) == 1


async def test_a_large_result_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_outcomes, "CACHED_SIZE", 1000)
    app = MCPApp()
    runs: list[int] = []

    @app.tool(annotations=READ_ONLY, cache=60)
    async def look(size: int) -> str:
        runs.append(size)
        return "x" * size

    async with app.running() as dispatcher:
        for size in (100, 2000) * 2:
            assert len(value(await called(dispatcher, "look", {"size": size}))) == size
    assert runs == [100, 2000, 2000]


async def test_a_flood_of_arguments_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_outcomes, "CACHED_COUNT", 10)
    app = MCPApp()
    runs = counter(app)
    async with app.running() as dispatcher:
        for number in range(100):
            await called(dispatcher, "count", {"number": number})
        for number in (*range(90, 100), *range(10)):
            await called(dispatcher, "count", {"number": number})
    assert len(runs) == 110, "the newest ten were there, and the oldest were not"


async def test_a_budget_holds_for_each_answer() -> None:
    app = MCPApp()

    @app.tool(annotations=READ_ONLY, cache=60, max_result=300, on_overflow="link")
    async def look() -> list[int]:
        return list(range(500))

    async with app.running() as dispatcher:
        results = [await called(dispatcher, "look") for _ in range(2)]
        links = [
            block["uri"] for result in results for block in result["content"] if block["type"] == "resource_link"
        ]
    assert len(set(links)) == 2, "a link is its caller's own"
    assert results[0]["structuredContent"] == results[1]["structuredContent"]


async def test_calls_within_calls_have_the_cache_too() -> None:
    app = MCPApp()
    runs = counter(app)

    @app.tool
    async def outer(ctx: Context) -> list[Any]:
        return [await ctx.tools.call("count", {"text": "z"}) for _ in range(3)]

    async with app.running() as dispatcher:
        assert value(await called(dispatcher, "outer")) == [1, 1, 1]
    assert len(runs) == 1


async def test_a_tool_that_calls_itself_does_not_wait_for_itself() -> None:
    app = MCPApp()
    depths: list[int] = []

    @app.tool(annotations=READ_ONLY, cache=60)
    async def look(ctx: Context) -> int:
        depths.append(len(depths))
        return 1 if len(depths) == 3 else 1 + await ctx.tools.call("look")

    async with app.running() as dispatcher:
        assert value(await asyncio.wait_for(called(dispatcher, "look"), 5)) == 3


async def test_two_tools_that_call_each_other_do_not_wait_for_each_other() -> None:
    app = MCPApp()
    both = asyncio.Barrier(2)

    def register(name: str, other: str) -> None:
        @app.tool(name, annotations=READ_ONLY, cache=60)
        async def look(ctx: Context, ends: bool = False) -> str:
            if ends:
                return name
            await both.wait()
            return name + str(await ctx.tools.call(other, {"ends": True}))

    register("one", "two")
    register("two", "one")
    async with app.running() as dispatcher:
        calls = [called(dispatcher, "one"), called(dispatcher, "two")]
        found = await asyncio.wait_for(asyncio.gather(*calls), 5)
    assert [value(result) for result in found] == ["onetwo", "twoone"]


async def test_an_answer_of_a_user_belongs_to_the_call_that_asked() -> None:
    app = MCPApp()
    runs: list[str] = []

    @app.tool(annotations=READ_ONLY, cache=60)
    async def asks(ctx: Context, quiet: bool = False) -> str:
        answer = "nobody" if quiet else str((await ctx.elicit("Who?", str)).data)
        runs.append(answer)
        return answer

    @app.tool(annotations=READ_ONLY, cache=60)
    async def outer(ctx: Context) -> str:
        return str(await ctx.tools.call("asks"))

    async with app.running():
        for name in ("ada", "bob"):
            for tool in ("asks", "outer"):
                call = rounds.Call(app, tool)
                reply = await call.answer_all(lambda question, _: rounds.value(name))
                assert reply.result["structuredContent"] == {"result": name}
        for _ in range(2):
            await rounds.Call(app, "asks", {"quiet": True}).round()
    assert runs == ["ada", "ada", "bob", "bob", "nobody"]
    async with connect(app, answers=[{"value": "cy"}, {"value": "dan"}], era="session") as client:
        results = [await client.call_tool("outer", {}) for _ in range(2)]
    assert [result.structured_content for result in results] == [{"result": "cy"}, {"result": "dan"}]


async def test_a_cache_is_for_tools_that_only_read() -> None:
    app = MCPApp()
    for annotations in (None, {"read_only_hint": False}, {"idempotent_hint": True}):
        with pytest.raises(ValueError, match="cache= is for tools that only read: say so with annotations="):
            app.add_tool(lambda: 1, name="f", cache=5, annotations=annotations)
    assert len(app.tools) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": 0}, "cache is above 0 and at most 7 days, not 0"),
        ({"cache": float("nan")}, "cache is above 0"),
        ({"cache": "8 days"}, "at most 7 days"),
        ({"cache": "soon"}, 'cache is a number of seconds, or a text such as "5 minutes"'),
        ({"cache": True}, "cache is a number of seconds"),
        ({"cache_per": "all"}, "cache_per without a cache: give cache= as well"),
        ({"cache": 5, "cache_per": "session"}, "cache_per is 'principal' or 'all'"),
        ({"cache": 5, "idempotent": True}, "leave one of them out"),
    ],
)
def test_options_that_cannot_be(options: Any, message: str) -> None:
    app = MCPApp()
    with pytest.raises((TypeError, ValueError), match=message):
        app.add_tool(lambda: 1, name="f", annotations=READ_ONLY, **options)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5 minutes", 300), ("1.5h", 5400), ("90s", 90), (" 2 DAYS ", 172_800)]
)
def test_durations(text: str, seconds: float) -> None:
    tool = MCPApp().add_tool(lambda: 1, name="f", annotations=READ_ONLY, cache=text)
    assert isinstance(tool.outcomes, CachePolicy)
    assert tool.outcomes.seconds == seconds


async def test_records_say_what_did_not_run() -> None:
    entries: list[dict[str, Any]] = []
    lines: list[str] = []
    app = MCPApp(audit=entries.append)
    counter(app)

    class Lines:
        def begin(self, record: RequestRecord) -> None: ...

        def end(self, record: RequestRecord) -> None:
            lines.append(outcome_words(record))

    app.add_observer(Lines())

    @app.tool(idempotency_key="key")
    async def pay(key: str) -> None: ...

    before = [counters.counts().get(("calls_answered", source), 0) for source in ("cache", "idempotency")]
    async with connect(app) as client:
        for tool, arguments in (("count", {}), ("pay", {"key": "a"})) * 2:
            await client.call_tool(tool, arguments)
    assert [entry["answered_from"] for entry in entries] == [None, None, "cache", "idempotency"]
    assert [entry["outcome"] for entry in entries] == ["ok"] * 4
    counted = [counters.counts().get(("calls_answered", source), 0) for source in ("cache", "idempotency")]
    assert [now - earlier for now, earlier in zip(counted, before, strict=True)] == [1, 1]
    assert [line for line in lines if line != "ok"] == ["ok, from the cache", "ok, as the first call"]


# -- properties --------------------------------------------------------------------------------------------------

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


contents: list[tuple[dict[str, Any], dict[str, Any]]] = []
same_app = MCPApp()


@same_app.tool(annotations=READ_ONLY, cache=60)
async def stored(number: int) -> ToolResult:
    """Return the content of a number."""
    content, meta = contents[number]
    blocks = [TextContent(text="é\u2028", meta={"a": 1.0}), ImageContent(data="aGk=", mime_type="image/png")]
    return ToolResult(content=blocks, structured_content=content, meta={"own": meta})


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(), json_values, max_size=5),
    st.dictionaries(st.text(min_size=1), json_values, max_size=3),
)
def test_an_answer_from_the_cache_is_the_same_to_the_byte(content: dict[str, Any], meta: dict[str, Any]) -> None:
    contents.append((content, meta))
    source = b',"enfilade/answeredFrom":"cache"'

    async def twice(revision: str) -> list[bytes]:
        calls = [call_request("stored", {"number": len(contents) - 1}, revision=revision) for _ in range(2)]
        return [await same_app.dispatcher.dispatch(call) for call in calls]

    first, second = asyncio.run(twice("2026-07-28"))
    assert source in second
    assert second.replace(source, b"", 1) == first
    older, oldest = asyncio.run(twice("2024-11-05"))
    assert older == oldest
