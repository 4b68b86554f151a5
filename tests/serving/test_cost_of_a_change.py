"""How much Python runs for a change that goes to 100 streams: instructions of the interpreter, without a clock.

What it may be is in `cost_of_a_change.json`, by version of Python; this file, run as a program with `tests` on
the path, writes it anew. Easy to get wrong: the first change on a stream makes what every later one uses, so it
is not counted.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

import enfilade
from enfilade import MCPApp
from enfilade.serving import subscriptions
from enfilade.transports.http11.protocol import HttpProtocol
from support.counting import Socket
from support.http_client.connection import INITIALIZE, modern_headers, request_of, stateless_meta

BASELINE = Path(__file__).with_name("cost_of_a_change.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

TOLERANCE = 0.02
LISTENERS = 100
TIMES = 3

PACKAGE, EXTRA = str(Path(enfilade.__file__).parent), "extra"

CHANGE = b'"notifications/tools/list_changed"'
KINDS = ["session", "stateless"]


class Streams:
    """An app with many open streams, each on a connection of its own."""

    def __init__(self) -> None:
        self.app = MCPApp("change")
        self.app.tool(lambda: "", name="one")
        self._config = uvicorn.Config(self.app, log_config=None)
        self._protocols: list[HttpProtocol] = []
        self.sockets: list[Socket] = []

    async def _send(self, method: str, headers: dict[str, str], message: Any = None) -> Socket:
        body = b"" if message is None else json.dumps(message).encode()
        fields = {
            "host": "localhost",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        state, socket = ServerState(), Socket()
        state.default_headers = [(b"date", b"today")]
        protocol = HttpProtocol(self._config, state, {})
        self._protocols.append(protocol)
        protocol.connection_made(socket)
        protocol.data_received(f"{method} /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        while not socket.sent:
            await asyncio.sleep(0)
        assert socket.sent.startswith(b"HTTP/1.1 200"), socket.sent
        return socket

    async def open(self, kind: str) -> None:
        """Open a stream for changes of tools."""
        if kind == "session":
            head = (await self._send("POST", {}, INITIALIZE)).sent
            session = next(line[16:] for line in head.split(b"\r\n") if line.startswith(b"mcp-session-id: "))
            socket = await self._send("GET", {"mcp-session-id": session.decode()})
        else:
            params = {"notifications": {"toolsListChanged": True}}
            message = request_of("subscriptions/listen", params, len(self.sockets), stateless_meta())
            socket = await self._send("POST", _with_hyphens(modern_headers(message)), message)
        self.sockets.append(socket)

    async def change(self) -> None:
        """Announce a change, and return when every stream has it and the log as well."""
        for socket in self.sockets:
            socket.sent = b""
        self.app.changes.announce(subscriptions.TOOLS)
        await asyncio.sleep(0.3)
        assert all(socket.sent.count(CHANGE) == 1 for socket in self.sockets)

    async def close(self) -> None:
        for protocol in self._protocols:
            protocol.connection_lost(None)
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def _with_hyphens(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def cost_of(kind: str, extra: Callable[[], object] | None = None) -> float:
    """Return the instructions for one change and one listener.

    Args:
        kind: of the streams.
        extra: something to do besides, for each listener.
    """
    streams, counted = Streams(), 0
    for _ in range(LISTENERS):
        await streams.open(kind)
    await streams.change()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal counted
        file = frame.f_code.co_filename
        if file.endswith("connection_timeouts.py") or not file.startswith((PACKAGE, EXTRA)):
            return None  # timers of the connections, and the event loop, which meets them
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        for _ in range(TIMES):
            await streams.change()
            for _ in range(LISTENERS if extra is not None else 0):
                assert extra is not None
                extra()
    finally:
        sys.settrace(before)
        gc.enable()
        await streams.close()
    return round(counted / TIMES / LISTENERS, 1)


def allowed(kind: str) -> float:
    baseline: dict[str, dict[str, float]] = json.loads(BASELINE.read_text())
    if VERSION not in baseline:
        pytest.skip(f"there is no baseline for Python {VERSION}")
    return baseline[VERSION][kind]


def is_as_before(cost: float, kind: str) -> bool:
    return abs(cost - allowed(kind)) <= TOLERANCE * allowed(kind)


@pytest.fixture(autouse=True)
def one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no turn of the event loop be counted because tracing is slow."""
    monkeypatch.setattr(subscriptions, "SLICE", 60.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_costs_what_it_did(kind: str) -> None:
    """On a busy machine a timer of the server may fire meanwhile, but hardly in each of five series."""
    costs = [asyncio.run(cost_of(kind))]
    while not is_as_before(costs[-1], kind) and len(costs) < 5:
        costs.append(asyncio.run(cost_of(kind)))
    assert is_as_before(costs[-1], kind), (costs, allowed(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_three_percent_more_show(kind: str) -> None:
    """R-2CB: a change goes to every listener, so what one of them costs is paid thousands of times."""
    count = round(allowed(kind) * 0.03)
    program = compile("\n".join(["x"] * count), EXTRA, "exec")  # two instructions each

    def extra() -> None:
        exec(program, {"x": 0})

    assert not is_as_before(asyncio.run(cost_of(kind, extra)), kind)


if __name__ == "__main__":
    subscriptions.SLICE = 60.0  # type: ignore[misc]
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    known[VERSION] = {kind: asyncio.run(cost_of(kind)) for kind in KINDS}
    BASELINE.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")
