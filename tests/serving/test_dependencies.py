"""Dependencies of handlers: made once per call, in order, cleaned up whatever happens, replaced in tests."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import pytest

from enfilade import Context, Depends, MCPApp, ToolError, connect, text_of as text_in
from enfilade.serving.dependencies import Overrides, open_dependencies
from enfilade.serving.thread_pool import ThreadPool
from enfilade.settings import Settings
from support.rounds import Call, text_of, value
from support.servers.calls_in_process import called, entered_limits, expire, messages, result, text

pytestmark = pytest.mark.anyio


class Trace(list[str]):
    """What happened, and functions to depend on that write it down."""

    def plain(self) -> str:
        self.append("plain")
        return "plain"

    async def awaited(self) -> str:
        await asyncio.sleep(0)
        self.append("awaited")
        return "awaited"

    def generator(self) -> Iterator[str]:
        self.append("generator opened")
        try:
            yield "generator"
        except BaseException as error:
            self.append(f"generator saw {type(error).__name__}")
            raise
        finally:
            self.append("generator closed")

    async def async_generator(self) -> AsyncIterator[str]:
        self.append("async generator opened")
        try:
            yield "async generator"
        except BaseException as error:
            self.append(f"async generator saw {type(error).__name__}")
            raise
        finally:
            self.append("async generator closed")


def work_app(trace: Trace, body: Callable[[], Any], *, in_thread: bool = False) -> MCPApp:
    """Return a server whose tool depends on one of each kind."""
    app = MCPApp()
    first, second = Depends(trace.plain), Depends(trace.awaited)
    third, fourth = Depends(trace.generator), Depends(trace.async_generator)

    @app.tool(name="work")
    async def work(
        a: Annotated[str, first], b: Annotated[str, second], c: Annotated[str, third], d: Annotated[str, fourth]
    ) -> str:
        trace.append("work")
        body()
        return f"{a}, {b}, {c}, {d}"

    @app.tool(name="work_in_a_thread")
    def work_in_a_thread(
        a: Annotated[str, first], b: Annotated[str, second], c: Annotated[str, third], d: Annotated[str, fourth]
    ) -> str:
        trace.append("work")
        body()
        return f"{a}, {b}, {c}, {d}"

    return app


OPENED = ["plain", "awaited", "generator opened", "async generator opened", "work"]
CLOSED = ["async generator closed", "generator closed"]


def refuse() -> None:
    raise ToolError("not today")


def crash() -> None:
    raise OSError("the disk is gone")


@pytest.mark.parametrize("tool", ["work", "work_in_a_thread"])
class TestTheCourse:
    def test_made_in_order_and_cleaned_up_in_reverse(self, tool: str) -> None:
        trace = Trace()
        assert text(called(work_app(trace, lambda: None), tool)) == "plain, awaited, generator, async generator"
        assert trace == OPENED + CLOSED

    @pytest.mark.parametrize(("body", "kind"), [(refuse, "ToolError"), (crash, "OSError")])
    def test_an_error_is_seen_and_not_hidden(self, tool: str, body: Any, kind: str) -> None:
        trace = Trace()
        assert called(work_app(trace, body), tool)["isError"]
        assert trace == [
            *OPENED,
            f"async generator saw {kind}",
            "async generator closed",
            f"generator saw {kind}",
            "generator closed",
        ]


async def test_a_cancellation_cleans_up() -> None:
    """D42: the handler is stopped, and what it held is given back."""
    trace, entered = Trace(), asyncio.Event()
    app = MCPApp()

    @app.tool
    async def work(
        a: Annotated[str, Depends(trace.generator)], b: Annotated[str, Depends(trace.async_generator)]
    ) -> str:
        entered.set()
        await asyncio.Event().wait()
        return a + b

    task = asyncio.create_task(result(app, "work"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace[2:] == [
        "async generator saw CancelledError",
        "async generator closed",
        "generator saw CancelledError",
        "generator closed",
    ]


def swallowing() -> Iterator[None]:
    try:
        yield
    except ToolError:
        return


def converting() -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        raise ToolError(f"there is no {error.args[0]}") from error


def test_an_error_cannot_be_swallowed_and_can_be_turned_into_another() -> None:
    app = MCPApp()

    @app.tool
    def swallowed(it: Annotated[None, Depends(swallowing)]) -> str:
        raise ToolError("still here")

    @app.tool
    async def converted(it: Annotated[None, Depends(converting)]) -> str:
        raise LookupError("cheese")

    assert text(called(app, "swallowed")) == "still here"
    assert text(called(app, "converted")) == "there is no cheese"


def failing() -> str:
    raise ToolError("the database sleeps")


def test_a_dependency_that_fails_is_the_outcome() -> None:
    """The tool does not run; what was made before it is cleaned up."""
    trace = Trace()
    app = MCPApp()

    @app.tool
    def work(a: Annotated[str, Depends(trace.generator)], b: Annotated[str, Depends(failing)]) -> str:
        trace.append("work")
        return a

    assert text(called(app, "work")) == "the database sleeps"
    assert trace == ["generator opened", "generator saw ToolError", "generator closed"]


# -- what they may take --------------------------------------------------------------------------------------


def count_up() -> Iterator[int]:
    count_up.calls += 1  # type: ignore[attr-defined]
    yield count_up.calls  # type: ignore[attr-defined]


def twice(one: Annotated[int, Depends(count_up)], limit: int = 5) -> int:
    return 2 * one + limit


async def caller(ctx: Context, number: Annotated[int, Depends(count_up)]) -> str:
    await ctx.log.info("a dependency was here")
    return f"{ctx.peer.revision} {number}"


async def test_context_other_dependencies_and_defaults() -> None:
    """One value per call, however many ask for it; the next call has another (D13: nothing is shared)."""
    count_up.calls = 0  # type: ignore[attr-defined]
    app = MCPApp()

    @app.tool
    def work(
        a: Annotated[int, Depends(count_up)],
        b: Annotated[int, Depends(twice)],
        who: Annotated[str, Depends(caller)],
    ) -> str:
        return f"{a} {b} {who}"

    first, second = await messages(app, "work"), await messages(app, "work")
    assert text(first[-1]["result"]) == "1 7 2026-07-28 1"
    assert text(second[-1]["result"]) == "2 9 2026-07-28 2"
    assert first[0]["params"]["data"] == "a dependency was here"


async def test_concurrent_and_chained_calls_have_their_own() -> None:
    """D34: by construction; each call makes its own."""
    live: list[object] = []

    async def connection() -> AsyncIterator[object]:
        mine = object()
        live.append(mine)
        yield mine
        live.remove(mine)

    app = MCPApp()
    seen: list[int] = []

    @app.tool
    async def inner(it: Annotated[object, Depends(connection)]) -> bool:
        await asyncio.sleep(0)
        seen.append(id(it))
        return it in live

    @app.tool
    async def outer(it: Annotated[object, Depends(connection)], ctx: Context) -> bool:
        seen.append(id(it))
        return all(await asyncio.gather(*(ctx.tools.call("inner") for _ in range(3)))) and it in live

    assert text(await result(app, "outer")) == "true"
    assert len(set(seen)) == 4
    assert live == []


def test_secrets_of_its_tool() -> None:
    app = MCPApp(secrets={"API_KEY": "abcdef"})

    def client(ctx: Context) -> str:
        return ctx.secret("API_KEY")[:2]

    @app.tool(requires_secrets=["API_KEY"])
    def work(it: Annotated[str, Depends(client)]) -> str:
        return it

    assert text(called(app, "work")) == "ab"


def test_positional_parameters() -> None:
    app = MCPApp()

    def base(ctx: Context, /) -> str:
        return ctx.peer.revision

    @app.tool
    def work(it: Annotated[str, Depends(base)], name: str, /, ctx: Context) -> str:
        return f"{it} {name} {ctx.request_id}"

    assert text(called(app, "work", name="x")) == "2026-07-28 x call"


def test_a_client_cannot_fill_it() -> None:
    """P16: not even where a hand-made schema would let anything through."""
    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(lambda: "ours")]) -> str:
        return it

    @app.tool(input_schema={"type": "object"})
    def anything(it: Annotated[str, Depends(lambda: "ours")], **rest: Any) -> str:
        return it

    assert '"it" is not an argument' in text(called(app, "work", it="theirs"))
    assert text(called(app, "anything", it="theirs")) == "ours"


async def test_resources_and_prompts_have_them_too() -> None:
    app = MCPApp()
    trace = Trace()

    @app.resource("config://it")
    def config(it: Annotated[str, Depends(trace.generator)]) -> str:
        return it

    @app.resource("config://{name}/it")
    async def family(name: str, it: Annotated[str, Depends(trace.awaited)]) -> str:
        return f"{name} {it}"

    @app.prompt
    def greet(name: str, it: Annotated[str, Depends(trace.plain)]) -> str:
        return f"{name} {it}"

    @app.tool
    async def all_of_it(ctx: Context) -> list[str]:
        one = await ctx.resources.read("config://it")
        other = await ctx.resources.read("config://ada/it")
        said = await ctx.prompts.get("greet", {"name": "ada"})
        return [one.contents[0].text, other.contents[0].text, said.messages[0].content.text]  # type: ignore[union-attr]

    found = await result(app, "all_of_it")
    assert found["structuredContent"] == {"result": ["generator", "ada awaited", "ada plain"]}
    assert trace[:2] == ["generator opened", "generator closed"]
    (argument,) = next(iter(app.prompts)).definition.arguments  # type: ignore[misc]
    assert argument.name == "name"


async def test_each_round_of_questions_makes_its_own() -> None:
    """Stateless era: the round ends, so what it opened is closed, and the retry opens it again."""
    trace = Trace()
    app = MCPApp()

    @app.tool
    async def ask(it: Annotated[str, Depends(trace.async_generator)], ctx: Context) -> str:
        return f"{it} {(await ctx.elicit('value?', str)).data}"

    assert text_of(await Call(app, "ask").answer_all(lambda *_: value("x"))) == "async generator x"
    opened, closed = "async generator opened", "async generator closed"
    assert trace == [opened, "async generator saw CancelledError", closed, opened, closed]


def test_the_result_is_made_while_they_are_open() -> None:
    """What a tool returns may read from what it depends on only when it is written."""
    state = {"open": False}

    def session() -> Iterator[dict[str, bool]]:
        state["open"] = True
        yield state
        state["open"] = False

    app = MCPApp()

    @app.tool
    async def work(it: Annotated[dict[str, bool], Depends(session)]) -> dict[str, bool]:
        return it

    assert called(app, "work")["structuredContent"] == {"open": True}
    assert state == {"open": False}


# -- other spellings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["in_loop", "in_thread"])
def test_functions_made_by_contextmanager_are_entered_and_left(tool: str) -> None:
    """FastMCP takes these, and no bare generators."""
    events: list[str] = []

    @contextmanager
    def session() -> Iterator[str]:
        events.append("opened")
        try:
            yield "session"
        except LookupError:
            events.append("failed")
            raise
        finally:
            events.append("closed")

    @asynccontextmanager
    async def client(on: Annotated[str, Depends(session)]) -> AsyncIterator[str]:
        events.append("client opened")
        try:
            yield f"client on {on}"
        finally:
            events.append("client closed")

    app = MCPApp()

    @app.tool
    async def in_loop(it: Annotated[str, Depends(client)], wrong: bool = False) -> str:
        if wrong:
            raise LookupError("cheese")
        return it

    @app.tool
    def in_thread(it: Annotated[str, Depends(client)], wrong: bool = False) -> str:
        if wrong:
            raise LookupError("cheese")
        return it

    assert text(called(app, tool)) == "client on session"
    assert events == ["opened", "client opened", "client closed", "closed"]
    events.clear()
    assert called(app, tool, wrong=True)["isError"]
    assert events == ["opened", "client opened", "client closed", "failed", "closed"]


def test_a_decorated_generator_is_run_as_one() -> None:
    """The decorator runs in the thread as well."""
    threads: list[int] = []

    def traced(fn: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
        @wraps(fn)
        def traced_fn() -> Iterator[str]:
            threads.append(threading.get_ident())
            return fn()

        return traced_fn

    @traced
    def source() -> Iterator[str]:
        threads.append(threading.get_ident())
        yield "value"

    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(source)]) -> str:
        return it

    assert text(called(app, "work")) == "value"
    assert threads == [threads[0]] * 2
    assert threads[0] != threading.get_ident()


def test_what_a_plain_function_returns_is_not_entered() -> None:
    """The context manager of `sqlite3` is a transaction, and the author's affair."""
    app = MCPApp()

    class Connection:
        def __enter__(self) -> None:
            raise AssertionError("nobody asked for a transaction")

        def __exit__(self, *_: object) -> None: ...

    @app.tool
    def work(it: Annotated[Connection, Depends(Connection)], also: Annotated[Connection, Depends()]) -> bool:
        return isinstance(it, Connection) and it is also

    assert text(called(app, "work")) == "true"


# -- in tests ------------------------------------------------------------------------------------------------


def real() -> str:
    return "real"


def on_top(it: Annotated[str, Depends(real)]) -> str:
    return f"on top of {it}"


def fake() -> str:
    return "fake"


def around(it: Annotated[str, Depends(real)]) -> str:
    return f"around {it}"


@pytest.fixture
def app() -> MCPApp:
    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(on_top)]) -> str:
        return it

    return app


def test_overridden_in_a_block(app: MCPApp) -> None:
    """At any depth; and a stand-in may use what it stands in for."""
    with app.override(real, fake):
        assert text(called(app, "work")) == "on top of fake"
        with app.override({real: around}):
            assert text(called(app, "work")) == "on top of around real"
        with app.override({on_top: lambda: "something else"}):
            assert text(called(app, "work")) == "something else"
        assert text(called(app, "work")) == "on top of fake"
    assert text(called(app, "work")) == "on top of real"


def test_blocks_may_end_in_any_order(app: MCPApp) -> None:
    one, other = app.override(real, fake), app.override(on_top, around)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert text(called(app, "work")) == "around real"
    other.__exit__(None, None, None)
    assert text(called(app, "work")) == "on top of real"


@pytest.mark.parametrize("other", [None, "fake", dict])
def test_only_functions_stand_in(app: MCPApp, other: Any) -> None:
    with pytest.raises(TypeError):
        app.override(real, other)


# -- threads -------------------------------------------------------------------------------------------------


async def test_what_a_thread_opens_for_a_cancelled_call_is_closed_again() -> None:
    """Nobody else knows of it."""
    entering, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        entering.set()
        go_on.wait(30)
        yield "opened"
        closed.set()

    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(slow)]) -> str:
        raise AssertionError("it was cancelled")

    task = asyncio.create_task(result(app, "work"))
    await asyncio.to_thread(entering.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 30)


async def test_plain_functions_run_in_threads() -> None:
    main = threading.get_ident()
    seen: list[int] = []

    def which() -> Iterator[None]:
        seen.append(threading.get_ident())
        yield
        seen.append(threading.get_ident())

    app = MCPApp()

    @app.tool
    async def work(it: Annotated[None, Depends(which)]) -> bool:
        return threading.get_ident() == main

    assert text(await result(app, "work")) == "true"
    assert main not in seen
    assert len(seen) == 2


def stock_app(tmp_path: Path, *, threads: int) -> MCPApp:
    """Return a server whose tools use sqlite3, whose connections belong to the thread that opened them."""
    app = MCPApp(settings=Settings(tool_threads=threads))
    with closing(sqlite3.connect(tmp_path / "stock.db")) as db, db:
        db.execute("create table stock (item text, amount int)")
        db.execute("insert into stock values ('tea', 3)")

    def opened() -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(tmp_path / "stock.db")
        try:
            yield db
        finally:
            db.close()

    def cursor(db: Annotated[sqlite3.Connection, Depends(opened)]) -> Iterator[sqlite3.Cursor]:
        with closing(db.cursor()) as found:
            yield found

    @app.tool
    def plain(rows: Annotated[sqlite3.Cursor, Depends(cursor)]) -> int:
        (amount,) = rows.execute("select amount from stock").fetchone()
        return int(amount)

    @app.tool
    async def waiting(rows: Annotated[sqlite3.Cursor, Depends(cursor)]) -> int:
        await asyncio.sleep(0.005)
        return 3

    @app.tool
    async def outer(rows: Annotated[sqlite3.Cursor, Depends(cursor)], ctx: Context) -> int:
        return sum(await asyncio.gather(*(ctx.tools.call("plain") for _ in range(2))))

    return app


@pytest.mark.parametrize("threads", [1, 2, 40])
async def test_all_plain_steps_of_a_call_run_in_one_thread(tmp_path: Path, threads: int) -> None:
    """sqlite3 works in a generator, in a dependency on it and in the tool, whatever else runs."""
    app = stock_app(tmp_path, threads=threads)
    names = ["plain", "waiting", "outer"]
    for name in names:
        assert not (await result(app, name)).get("isError"), name
    found = await asyncio.gather(*(result(app, names[number % 3]) for number in range(60)))
    assert [text(each) for each in found] == ["3", "3", "6"] * 20


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_clean_up_waits_for_a_plain_tool_that_was_cancelled(cancellations: int) -> None:
    """What it uses is not closed under its hands; and it is closed, also if the server ends meanwhile."""
    events: list[str] = []
    entered, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def session() -> Iterator[str]:
        try:
            yield "open"
        finally:
            events.append("closed")
            closed.set()

    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(session)]) -> str:
        entered.set()
        go_on.wait(30)
        events.append("the tool returned")
        return it

    task = asyncio.create_task(result(app, "work"))
    await asyncio.to_thread(entered.wait, 30)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0.02)
    assert events == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 30)
    assert events == ["the tool returned", "closed"]


async def test_a_call_past_its_time_limit_is_answered_while_its_tool_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long that takes, and although what it uses can only be closed then."""
    entered, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    limits = entered_limits(monkeypatch)

    def session() -> Iterator[str]:
        yield "open"

    def always() -> Iterator[str]:
        try:
            yield "open"
        finally:
            closed.set()

    app = MCPApp()

    @app.tool(timeout=1000)
    def work(it: Annotated[str, Depends(always)], also: Annotated[str, Depends(session)]) -> str:
        entered.set()
        go_on.wait(30)
        return it

    async with connect(app) as client:
        calling = asyncio.create_task(client.call_tool("work", {}))
        assert await asyncio.to_thread(entered.wait, 30)
        expire(limits[0])
        assert "took longer than" in text_in(await calling)
        assert not closed.is_set()
        go_on.set()
        assert await asyncio.to_thread(closed.wait, 30)


async def test_a_plain_function_may_return_something_to_await() -> None:
    async def later(text: str) -> str:
        return text

    app = MCPApp()

    @app.tool
    def work(it: Annotated[str, Depends(lambda: later("later"))]) -> str:
        return it

    assert text(await result(app, "work")) == "later"


async def test_nothing_wanted_is_nothing_made() -> None:
    async with open_dependencies((), None, ThreadPool(1).lane(), Overrides()) as values:
        assert values == {}
