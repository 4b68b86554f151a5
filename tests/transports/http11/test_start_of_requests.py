"""When the task of a request starts, and what it leaves: at once for a known head where Python can do that.

Easy to get wrong: a task that has ended before its request knows of it, for which the end of a server would wait.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from enfilade import MCPApp
from enfilade.transports.http11.protocol import HttpProtocol
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.http_client.protocol_driver import RecordingTransport

STARTS_AT_ONCE = sys.version_info >= (3, 12)
TURNS = 50


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


class Connection:
    """A connection to an application, without a socket.

    Args:
        app: the application.

    Attributes:
        state: of the server.
        sent: what it has sent.
    """

    def __init__(self, app: MCPApp) -> None:
        self._wire = RecordingTransport()
        self.state = ServerState()
        self.protocol = HttpProtocol(uvicorn.Config(app, log_config=None), self.state, {})
        self._wire.protocol = self.protocol
        self.protocol.connection_made(self._wire)

    @property
    def sent(self) -> bytes:
        return bytes(self._wire.written)

    def call(self, tool: str) -> bytes:
        """Send a call, and return what is sent before anything else has its turn."""
        message = request_of("tools/call", {"name": tool, "arguments": {}}, 1, stateless_meta())
        body = json.dumps(message).encode()
        fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
        fields |= {"accept": "application/json, text/event-stream", **modern_headers(message)}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        before = len(self.sent)
        self.protocol.data_received(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        return self.sent[before:]

    async def warm(self, tool: str) -> None:
        """Let the head of a call be known."""
        for _ in range(3):
            self.call(tool)
            await turns()
        assert self.protocol._known_heads
        self._wire.written.clear()


async def waiting_call() -> Connection:
    """Return a connection on which a call with a known head waits for the last gate."""
    connection = Connection(app)
    gate.append(asyncio.Event())
    gate[-1].set()
    await connection.warm("waiting")
    gate.append(asyncio.Event())
    tasks.clear()
    assert connection.call("waiting") == b""
    await turns()
    return connection


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


app = MCPApp("start")
user: ContextVar[str] = ContextVar("user", default="nobody")
tasks: list[asyncio.Task[Any] | None] = []
gate: list[asyncio.Event] = []


@app.tool
async def quick() -> str:
    """Return who the caller is said to be, and say something else."""
    seen = user.get()
    user.set("somebody")
    return seen


@app.tool
async def waiting() -> str:
    """Wait for the gate."""
    tasks.append(asyncio.current_task())
    await gate[-1].wait()
    tasks.append(asyncio.current_task())
    return "through"


@app.tool
async def failing() -> str:
    """Fail before anything was awaited."""
    raise asyncio.CancelledError


def test_a_call_with_a_known_head_starts_at_once(run: Any) -> None:
    async def work() -> None:
        connection = Connection(app)
        await connection.warm("quick")
        for _ in range(3):
            sent = connection.call("quick")
            assert (b'"nobody"' in sent) == STARTS_AT_ONCE
            await turns()
            assert not connection.state.tasks
        assert connection.sent.count(b'{"result":"nobody"}') == 3
        assert user.get() == "nobody"

    run(work())


def test_a_call_that_waits_is_one_task_that_the_server_knows(run: Any) -> None:
    async def work() -> None:
        connection = await waiting_call()
        assert connection.state.tasks == {tasks[0]}
        gate[-1].set()
        await turns()
        assert tasks[0] is tasks[1]
        assert tasks[0] is not asyncio.current_task()
        assert b"through" in connection.sent
        assert not connection.state.tasks

    run(work())


def test_a_call_that_waits_can_be_cancelled(run: Any) -> None:
    """As a server does that stops: the client reads that (503), and the connection ends."""

    async def work() -> None:
        connection = await waiting_call()
        (task,) = connection.state.tasks
        task.cancel("Task cancelled, timeout graceful shutdown exceeded")
        await asyncio.wait((task,))
        assert b" 503 " in connection.sent
        assert not connection.state.tasks

    run(work())


def test_a_call_that_fails_at_once_is_answered(run: Any) -> None:
    """A `CancelledError` of a handler that nobody has cancelled is a failure like any other."""

    async def work() -> None:
        connection = Connection(app)
        await connection.warm("failing")
        connection.call("failing")
        await turns()
        assert b" 200 " in connection.sent
        assert b'"isError":true' in connection.sent
        assert not connection.state.tasks

    run(work())


@pytest.mark.skipif(not STARTS_AT_ONCE, reason="there is no such factory")
def test_a_task_factory_is_asked(run: Any) -> None:
    async def work() -> None:
        made = []

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, eager_start=True, **options)

        asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]  # it takes what it is given
        connection = Connection(app)
        await connection.warm("quick")
        count = len(made)
        assert b'"nobody"' in connection.call("quick")
        assert len(made) == count + 1
        assert not connection.state.tasks

    run(work())
