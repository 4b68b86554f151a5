"""How much Python runs for one `tools/call`: instructions of the interpreter and calls, counted without a clock.

The numbers are the same on every run of one Python version, so the slightest growth shows. What they may be is
in `cost_of_a_call.json`, by version; this file, run as a program with `tests` on the path, writes it anew. Easy
to get wrong: a number that falls is good news, but the baseline has to follow, or it guards what was won no more.
"""

import asyncio
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
from enfilade.testing import Issuer
from enfilade.transports.http11.protocol import HttpProtocol
from support.counting import Socket, instruction_tracer, no_garbage
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import BOTH, modern_headers, request_of, stateless_meta

BASELINE = Path(__file__).with_name("cost_of_a_call.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

TOLERANCE = 0.05
TIMES = 10
"""Calls that are counted; what happens in one of them only, such as a clock that ticks, does not show."""

Cost = dict[str, float]


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
    """A call of a tool, and whether it has an access token for a server that wants one."""

    era: str
    tool: str
    arguments: dict[str, Any]
    authorized: bool = False

    @property
    def app(self) -> MCPApp:
        return protected_app if self.authorized else app


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
}


OVER_HTTP = ", over HTTP/1.1"
"""Ends the name of a call that is counted from the bytes of its request to those of its response."""

COUNTED = [*CALLS, *(name + OVER_HTTP for name in list(CALLS)[:4])]


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
    asgi = AsgiClient(call.app)
    stateless = call.era == "stateless"
    meta = {**(stateless_meta() if stateless else {}), **({"progressToken": 1} if call.tool == "count" else {})}
    message = request_of("tools/call", {"name": call.tool, "arguments": call.arguments}, 1, meta or None)
    token = f"Bearer {issuer.token('ada', scopes=['notes:read'])}"
    credentials = {"authorization": token} if call.authorized else {}
    session = (await asgi.initialize(**credentials)).headers["mcp-session-id"]
    headers = modern_headers(message) if stateless else {"mcp-session-id": session}
    fields = {"content-type": "application/json", "accept": BOTH, **headers, **credentials}
    wire = kind(call.app, asgi.scope(fields), json.dumps(message).encode())
    for _ in range(3):
        await wire.call()
    assert wire.status == 200
    return wire


async def cost_of(name: str, extra: Callable[[], object] | None = None) -> Cost:
    """Return what one call costs.

    Args:
        extra: something to do besides, within each call.
    """
    over_http = name.endswith(OVER_HTTP)
    wire = await wire_of(CALLS[name.removesuffix(OVER_HTTP)], HttpWire if over_http else Wire)
    counted: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            counted["built-in functions"] += 1

    for start, watch in ((sys.settrace, instruction_tracer(counted)), (sys.setprofile, profile)):
        before = sys.gettrace() if start is sys.settrace else sys.getprofile()
        with no_garbage():
            start(watch)  # type: ignore[arg-type]  # each gets its own
            try:
                for _ in range(TIMES):
                    await wire.call()
                    if extra is not None:
                        extra()
            finally:
                start(before)
    return {what: float(round(count / TIMES)) for what, count in sorted(counted.items())}


def excess(cost: Cost, allowed: Cost) -> list[str]:
    """Return what costs more than it may, or so much less that the baseline is out of date."""
    return [
        f"{what}: {cost[what]:g} instead of {allowed[what]:g}"
        for what in allowed
        if abs(cost[what] - allowed[what]) > TOLERANCE * allowed[what]
    ]


def allowed(name: str) -> Cost:
    baseline: dict[str, dict[str, Cost]] = json.loads(BASELINE.read_text())
    if VERSION not in baseline:
        pytest.skip(f"there is no baseline for Python {VERSION}")
    return baseline[VERSION][name]


@pytest.mark.parametrize("name", COUNTED)
def test_a_call_costs_what_it_did(name: str) -> None:
    """Where this fails for good reasons, the docstring above says how to write the baseline anew.

    B15: a token that was verified before is not verified again, so a call with it costs little more.

    On a busy machine a timer of the server may fire within a call, but hardly in each of eight series.
    """
    excesses = [excess(asyncio.run(cost_of(name)), allowed(name))]
    while excesses[-1] and len(excesses) < 8:
        excesses.append(excess(asyncio.run(cost_of(name)), allowed(name)))
    assert excesses[-1] == [], excesses


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(lambda: json.loads('{"another": "parse"}'), id="parse"),
        pytest.param(lambda: [number * number for number in range(20)], id="instructions"),
    ],
)
def test_what_is_added_shows(extra: Callable[[], object]) -> None:
    name = "a call in a session"
    assert excess(asyncio.run(cost_of(name, extra)), allowed(name)) != []


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_no_garbage(name: str) -> None:
    """What refers to itself in a circle waits for the garbage collector, which costs more than the call."""
    assert asyncio.run(garbage_of(name)) == 0


async def garbage_of(name: str) -> int:
    """Return how many objects calls leave to the garbage collector."""
    wire = await wire_of(CALLS[name])
    await asyncio.sleep(0)
    with no_garbage():
        for _ in range(TIMES):
            await wire.call()
        await asyncio.sleep(0)
        return gc.collect()


async def measured() -> dict[str, Cost]:
    return {name: await cost_of(name) for name in COUNTED}


if __name__ == "__main__":
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    known[VERSION] = asyncio.run(measured())
    BASELINE.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")
