"""How much Python runs for one request: instructions of the interpreter and calls, counted without a clock.

The numbers are the same on every run of one Python version, so the slightest growth shows. What they may be is
in `cost_of_a_call.json`, by version; this file, run as a program with `tests` on the path, writes it anew. Easy
to get wrong: a number that falls is good news, but the baseline has to follow, or it guards what was won no more.
"""

import asyncio
import functools
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import uvicorn
from pydantic import BaseModel
from uvicorn.server import ServerState

from enfilade import Context, MCPApp
from enfilade.auth import ResourceServer
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.request import Request
from enfilade.testing import Issuer
from enfilade.transports.http11.direct_exchange import DirectExchange
from enfilade.transports.http11.protocol import HttpProtocol
from support.counting import (
    Cost,
    Socket,
    baseline_of,
    burner,
    excess,
    instruction_tracer,
    no_garbage,
    run_alone,
    write_baseline,
)
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import BOTH, INITIALIZE, modern_headers, request_of, stateless_meta

BASELINE = Path(__file__).with_name("cost_of_a_call.json")

TIMES = 10
"""Calls that are counted in a series; what happens in one of them only does not show."""

SERIES = 2
"""Of which the least counts: a timer of the server may fire in one of them."""


class Point(BaseModel):
    """Where something is."""

    x: float
    y: float


class Found(BaseModel):
    """What was found there."""

    total: float
    name: str
    tags: list[str]


app = MCPApp("cost")

RESOURCE = "https://mcp.example.com/mcp"
issuer = Issuer(audience=RESOURCE)
protected_app = MCPApp("cost", auth=ResourceServer(RESOURCE, [issuer.server()], scopes=["notes:read"]))


@protected_app.tool
@app.tool
async def echo(text: str) -> str:
    """Return the text."""
    return text


@app.tool
async def measure(name: str, count: int, scale: float, tags: list[str], at: Point) -> Found:
    """Return something with structure."""
    return Found(total=count * scale * at.x, name=name, tags=tags)


@app.tool
async def report(name: str) -> Any:
    """Return something of no declared type, in which dicts lie in lists."""
    return {"name": name, "rows": [{"id": number, "tags": ["a", "b"], "at": {"x": 1.5}} for number in range(20)]}


@app.tool
async def count(n: int, ctx: Context) -> int:
    """Report each step."""
    for number in range(n):
        await ctx.progress.report(number, total=n)
    return n


class Call(NamedTuple):
    """A call of a tool, or `initialize`, and whether it has an access token for a server that wants one."""

    era: str
    tool: str
    arguments: dict[str, Any]
    authorized: bool = False

    def app(self) -> MCPApp:
        """Return the app that answers it: a new one for `initialize`, as an app caches only so many sessions."""
        if self.tool == "initialize":
            return MCPApp("cost")
        return protected_app if self.authorized else app

    @property
    def message(self) -> dict[str, Any]:
        if self.tool == "initialize":
            return INITIALIZE
        meta = stateless_meta() if self.era == "stateless" else {}
        if self.tool == "count":
            meta = {**meta, "progressToken": 1}
        return request_of("tools/call", {"name": self.tool, "arguments": self.arguments}, 1, meta or None)


HELLO = {"text": "hello"}
FIVE = {"name": "a", "count": 3, "scale": 1.5, "tags": ["b"], "at": {"x": 1.0, "y": 2.0}}

CALLS = {
    "a call in a session": Call("session", "echo", HELLO),
    "a stateless call": Call("stateless", "echo", HELLO),
    "five typed arguments and structured output": Call("session", "measure", FIVE),
    "a call with a verified token": Call("session", "echo", HELLO, authorized=True),
    "a stateless call with a verified token": Call("stateless", "echo", HELLO, authorized=True),
    "an untyped nested result": Call("session", "report", {"name": "a"}),
    "a report and the result in a session": Call("session", "count", {"n": 1}),
    "a report and the result, stateless": Call("stateless", "count", {"n": 1}),
    "a hundred reports and the result in a session": Call("session", "count", {"n": 100}),
    "the start of a session": Call("session", "initialize", {}),
}


OVER_HTTP = ", over HTTP/1.1"
"""Ends the name of a call that is counted from the bytes of its request to those of its response: `run()` answers
it without ASGI (`direct_exchange.py`)."""

BY_ASGI_ALONE = ("an untyped nested result", "a hundred reports and the result in a session")

COUNTED = [*CALLS, *(name + OVER_HTTP for name in CALLS if name not in BY_ASGI_ALONE)]


class Wire:
    """One request at a time, from scope to last send, with next to nothing of its own."""

    def __init__(self, app: MCPApp, scope: dict[str, Any], body: bytes) -> None:
        self._app = app
        self._scope = scope
        self._said = {"type": "http.request", "body": body, "more_body": False}
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        return self._said

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)

    async def call(self) -> None:
        await self._app(self._scope, self.receive, self.send)


class HttpWire(Wire):
    """The same request as bytes of a connection that is kept alive."""

    def __init__(self, app: MCPApp, scope: dict[str, Any], body: bytes) -> None:
        super().__init__(app, scope, body)
        fields = {b"content-length": b"%d" % len(body), **dict(scope["headers"])}
        head = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        self._request = b"POST %b HTTP/1.1\r\n%b\r\n%b" % (scope["path"].encode(), head, body)
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self._socket = Socket()
        self._protocol = HttpProtocol(uvicorn.Config(app, log_config=None), state, {})
        self._protocol.connection_made(self._socket)

    async def call(self) -> None:
        self._socket.sent = b""
        self._protocol.data_received(self._request)
        while not self._socket.sent:
            await asyncio.sleep(0)
        self.status = int(self._socket.sent.split()[1])


async def wire_of(call: Call, kind: type[Wire] = Wire) -> Wire:
    app, message = call.app(), call.message
    asgi = AsgiClient(app)
    token = f"Bearer {issuer.token('ada', scopes=['notes:read'])}"
    credentials = {"authorization": token} if call.authorized else {}
    if call.era == "stateless":
        headers = modern_headers(message)
    elif call.tool == "initialize":
        headers = {}
    else:
        headers = {"mcp-session-id": (await asgi.initialize(**credentials)).headers["mcp-session-id"]}
    fields = {"content-type": "application/json", "accept": BOTH, **headers, **credentials}
    wire = kind(app, asgi.scope(fields), json.dumps(message).encode())
    for _ in range(3):
        await wire.call()
    assert wire.status == 200
    return wire


async def cost_of(name: str) -> Cost:
    """Return what one call costs."""
    over_http = name.endswith(OVER_HTTP)
    wire = await wire_of(CALLS[name.removesuffix(OVER_HTTP)], HttpWire if over_http else Wire)
    series = [await _series(wire) for _ in range(SERIES)]
    return {what: min(cost[what] for cost in series) for what in sorted(series[0])}


async def _series(wire: Wire) -> Cost:
    counted: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            counted["built-in functions"] += 1

    for start, watch in ((sys.settrace, instruction_tracer(counted)), (sys.setprofile, profile)):
        with no_garbage():
            start(watch)  # type: ignore[arg-type]  # each gets its own
            try:
                for _ in range(TIMES):
                    await wire.call()
            finally:
                start(None)
    return {what: float(round(count / TIMES)) for what, count in counted.items()}


def add_to_each(extra: Callable[[], None]) -> None:
    """Let every request do something besides, from now on, where the app answers it."""
    dispatch = _dispatch

    def with_extra(self: Dispatcher, request: Request) -> Any:
        extra()
        return dispatch(self, request)

    Dispatcher.dispatch = with_extra  # type: ignore[method-assign]


_dispatch = Dispatcher.dispatch


def measured() -> dict[str, Cost]:
    return {name: asyncio.run(cost_of(name)) for name in COUNTED}


def measured_with_more() -> dict[str, Cost]:
    """Return what each call costs if three percent of its instructions are added to it."""
    costs, name = measured(), COUNTED[0]
    add_to_each(burner(0))
    own = asyncio.run(cost_of(name))["instructions"] - costs[name]["instructions"]
    for name, cost in costs.items():
        add_to_each(burner(round(0.03 * cost["instructions"] - own)))
        costs[name] = asyncio.run(cost_of(name))
    return costs


@functools.cache
def counted_alone(what: str) -> dict[str, Cost]:
    """Return what `measured` or `measured_with_more` return in a process of its own."""
    costs: dict[str, Cost] = run_alone(__file__, what)
    return costs


@pytest.mark.parametrize("name", COUNTED)
def test_a_call_costs_what_it_did(name: str) -> None:
    """Where this fails for good reasons, the docstring above says how to write the baseline anew.

    B15: a token that was verified before is not verified again, so a call with it costs little more.
    """
    allowed = baseline_of(BASELINE)[name]
    assert excess(counted_alone("as it is")[name], allowed) == []


@pytest.mark.parametrize("name", COUNTED)
def test_three_percent_more_show(name: str) -> None:
    allowed = baseline_of(BASELINE)[name]
    plain, more = counted_alone("as it is")[name], counted_alone("with more")[name]
    assert more["instructions"] == pytest.approx(1.03 * plain["instructions"], abs=3)
    assert any(line.startswith("instructions") for line in excess(more, allowed))


def test_calls_that_are_added_show() -> None:
    """An instruction may call a built-in function that takes long, so these are counted as well."""
    allowed = baseline_of(BASELINE)["a call in a session"]
    assert excess({**allowed, "built-in functions": allowed["built-in functions"] + 2}, allowed) != []
    assert excess({**allowed, "functions": allowed["functions"] + 2}, allowed) != []


def test_over_http_the_shorter_way_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[DirectExchange] = []

    def release(exchange: DirectExchange) -> None:
        calls.append(exchange)

    monkeypatch.setattr(DirectExchange, "_release", release)
    for name in COUNTED:
        if name.endswith(OVER_HTTP):
            calls.clear()
            asyncio.run(wire_of(CALLS[name.removesuffix(OVER_HTTP)], HttpWire))
            assert len(calls) == 3


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_no_garbage(name: str) -> None:
    """What refers to itself in a circle waits for the garbage collector, which costs more than the call.

    A call that leaves some leaves it each time; what a thread of an earlier test leaves, it leaves once.
    """
    assert min(asyncio.run(garbage_of(name)) for _ in range(3)) == 0


async def garbage_of(name: str) -> int:
    """Return how many objects calls leave to the garbage collector."""
    wire = await wire_of(CALLS[name])
    await asyncio.sleep(0)
    with no_garbage():
        for _ in range(TIMES):
            await wire.call()
        await asyncio.sleep(0)
        return gc.collect()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["as it is"]:
            print(json.dumps(measured()))
        case ["with more"]:
            print(json.dumps(measured_with_more()))
        case _:
            write_baseline(BASELINE, measured())
