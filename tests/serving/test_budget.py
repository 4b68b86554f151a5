"""What one `tools/call` answered with JSON may cost: no task, no queue, no lock, no timer that fires, one parse,
one validation, one encode.

A request takes its whole way here, from the ASGI scope to the last send, in an event loop that counts. Easy to
get wrong: the first request of all builds things that later ones find ready, so the second is measured. A call
that takes long is answered by a stream, which costs more: here none takes long, however busy the machine is.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from enfilade import MCPApp
from enfilade.serving import dispatcher as serving
from enfilade.serving.thread_pool import ThreadPool
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports import request_parsing
from enfilade.wire import jsonrpc
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import BOTH, modern_headers, request_of, stateless_meta


class Meter(Counter[str]):
    """Counts what happens while it is on."""

    on = False

    def tick(self, what: str) -> None:
        if self.on:
            self[what] += 1

    def counting(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callable that does the same and is counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick(what)
            return call(*args, **kwargs)

        return counted


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the tasks, futures and timers it makes, and remembers its timers."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter
        self.timers: list[asyncio.TimerHandle] = []

    def create_task(self, *args: Any, **kwargs: Any) -> Any:
        self.meter.tick("task")
        return super().create_task(*args, **kwargs)

    def create_future(self) -> asyncio.Future[Any]:
        self.meter.tick("future")
        return super().create_future()

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timer = super().call_at(*args, **kwargs)
        if self.meter.on:
            self.timers.append(timer)
        return timer


class CountedDecoder:
    """A msgspec decoder whose uses are counted."""

    def __init__(self, meter: Meter, what: str, decoder: Any) -> None:
        self.decode = meter.counting(what, decoder.decode)


PRIMITIVES = (asyncio.Queue, asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """A meter on everything that a request could spend something on."""
    meter = Meter()
    for kind in PRIMITIVES:
        monkeypatch.setattr(kind, "__init__", meter.counting(kind.__name__.lower(), kind.__init__))
    monkeypatch.setattr(jsonrpc, "_decode_envelope", meter.counting("envelope", jsonrpc._decode_envelope))
    monkeypatch.setattr(request_parsing, "_decode_call", meter.counting("call", request_parsing._decode_call))
    monkeypatch.setattr(jsonrpc, "_encode", meter.counting("encode", jsonrpc._encode))
    monkeypatch.setattr(msgspec.json, "decode", meter.counting("another decode", msgspec.json.decode))
    monkeypatch.setattr(json, "loads", meter.counting("another decode", json.loads))
    for method in request_parsing.PARAMS:
        decoder = request_parsing._DECODERS[method]
        monkeypatch.setitem(request_parsing._DECODERS, method, CountedDecoder(meter, "params", decoder))
    monkeypatch.setattr(request_parsing, "_META", CountedDecoder(meter, "metadata", request_parsing._META))
    monkeypatch.setattr(serving, "encode", meter.counting("encode", serving.encode))
    monkeypatch.setattr(Seal, "open", meter.counting("unsealing", Seal.open))
    monkeypatch.setattr(ThreadPool, "add", meter.counting("thread", ThreadPool.add))
    return meter


@pytest.fixture
def app(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> MCPApp:
    app = MCPApp("budget")
    app._timings = Timings(slow_request=60.0)

    @app.tool
    async def add(a: int, b: int) -> int:
        return a + b

    @app.tool(name="add_in_a_thread")
    def add_plainly(a: int, b: int) -> int:
        return a + b

    for tool in app.tools:
        tool.prepare()
        reader = tool._reader._object
        monkeypatch.setattr(reader, "_decode", meter.counting("validation", reader._decode))
    return app


@pytest.fixture
def runner(meter: Meter) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=lambda: CountingLoop(meter)) as runner:
        yield runner


def ready(
    asgi: AsgiClient, era: str, method: str, params: dict[str, Any], token: str
) -> tuple[dict[str, Any], bytes]:
    """Return scope and body of a request, made before anything is counted."""
    message = request_of(method, params, 1, stateless_meta() if era == "stateless" else None)
    headers = modern_headers(message) if era == "stateless" else {"mcp-session-id": token}
    fields = {"content-type": "application/json", "accept": BOTH, **headers}
    return asgi.scope(fields), json.dumps(message).encode()


async def spend(app: MCPApp, meter: Meter, era: str, method: str, params: dict[str, Any]) -> Any:
    """Serve a request twice and count the second time."""
    asgi = AsgiClient(app)
    token = (await asgi.initialize()).headers["mcp-session-id"]
    await asgi.send(*ready(asgi, era, method, params, token))
    scope, body = ready(asgi, era, method, params, token)
    meter.on = True
    answered = await asgi.send(scope, body)
    meter.on = False
    return answered


ERAS = pytest.mark.parametrize("era", ["session", "stateless"])


@ERAS
def test_a_call(app: MCPApp, meter: Meter, runner: asyncio.Runner, era: str) -> None:
    """design §3: not even a timer, since the tool never waits."""
    params = {"name": "add", "arguments": {"a": 1, "b": 2}}
    answered = runner.run(spend(app, meter, era, "tools/call", params))
    assert answered.result["structuredContent"] == {"result": 3}
    metadata = {"metadata": 1} if era == "stateless" else {}
    assert meter == {"call": 1, "validation": 1, "encode": 1} | metadata
    assert answered.sends == 2
    loop = runner.get_loop()
    assert isinstance(loop, CountingLoop)
    assert loop.timers == []


@ERAS
def test_a_call_that_waits(app: MCPApp, meter: Meter, runner: asyncio.Runner, era: str) -> None:
    """design §3: then there is one timer, that says "it took longer", and that one never fires."""

    @app.tool
    async def pause() -> str:
        await asyncio.sleep(0)
        return "rested"

    answered = runner.run(spend(app, meter, era, "tools/call", {"name": "pause", "arguments": {}}))
    assert answered.result["structuredContent"] == {"result": "rested"}
    assert (meter["task"], meter["future"]) == (0, 0)
    loop = runner.get_loop()
    assert isinstance(loop, CountingLoop)
    assert [timer.cancelled() for timer in loop.timers] == [True]


@ERAS
def test_a_call_of_a_plain_function(app: MCPApp, meter: Meter, runner: asyncio.Runner, era: str) -> None:
    """A `def` tool costs one thread hop more, with the one future that it ends in, and still no task."""
    params = {"name": "add_in_a_thread", "arguments": {"a": 1, "b": 2}}
    answered = runner.run(spend(app, meter, era, "tools/call", params))
    assert answered.result["structuredContent"] == {"result": 3}
    metadata = {"metadata": 1} if era == "stateless" else {}
    assert meter == {"call": 1, "validation": 1, "encode": 1, "thread": 1, "future": 1} | metadata


@ERAS
def test_a_listing(app: MCPApp, meter: Meter, runner: asyncio.Runner, era: str) -> None:
    """design §3, step 6: a listing is bytes that are ready."""
    answered = runner.run(spend(app, meter, era, "tools/list", {}))
    assert [tool["name"] for tool in answered.result["tools"]] == ["add", "add_in_a_thread"]
    metadata = {"metadata": 1} if era == "stateless" else {}
    assert meter == {"envelope": 1, "params": 1} | metadata
    assert answered.sends == 2


def test_a_listing_is_made_anew_after_a_change(app: MCPApp, meter: Meter, runner: asyncio.Runner) -> None:
    async def listed() -> list[str]:
        answered = await spend(app, meter, "stateless", "tools/list", {})
        return [tool["name"] for tool in answered.result["tools"]]

    before = runner.run(listed())
    app.remove_tool("add")
    assert set(before) - set(runner.run(listed())) == {"add"}


@pytest.mark.parametrize(
    ("spender", "counted"),
    [
        pytest.param(lambda: asyncio.gather(asyncio.sleep(0)), "task", id="task"),
        pytest.param(lambda: asyncio.wait_for(asyncio.sleep(0.001), 1), "future", id="future"),
        pytest.param(asyncio.Queue, "queue", id="queue"),
        pytest.param(asyncio.Lock, "lock", id="lock"),
        pytest.param(asyncio.Event, "event", id="event"),
        pytest.param(lambda: msgspec.json.decode(b"1"), "another decode", id="decode"),
    ],
)
def test_the_meter_would_see_it(
    app: MCPApp, meter: Meter, runner: asyncio.Runner, spender: Callable[[], Any], counted: str
) -> None:
    """A budget that nothing can exceed is none: each thing is spent once within a call, and shows."""

    @app.tool
    async def spendthrift() -> None:
        spent = spender()
        if asyncio.isfuture(spent) or asyncio.iscoroutine(spent):
            await spent

    runner.run(spend(app, meter, "stateless", "tools/call", {"name": "spendthrift", "arguments": {}}))
    assert meter[counted] > 0
