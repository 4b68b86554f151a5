"""Several workers in one event loop: apps that share nothing but a store, and clients that turn to any of them.

What a request meets is as in real processes, except that no socket is between: a client that goes away says so,
or (`WorkerResponse.reading`) stops to read. Easy to get wrong: a worker that is stopped here is still in memory.
`lose` makes it as dead to the others as one that was killed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from enfilade import Context, MCPApp
from enfilade.serving.cluster import _LOCAL_WORKERS
from enfilade.serving.subscriptions import TOOLS, updated
from enfilade.state.memory import MemoryBus, MemoryStore
from enfilade.state.store import LogLimits, Store
from enfilade.timings import Timings
from support.exchanges import Message, SentRequests
from support.http_client.asgi_calls import AsgiClient, PausableRequest
from support.http_client.connection import BOTH, HeaderValue, request_of
from support.http_client.sse_reader import Event, EventReader


@dataclass
class Sure:
    """What is asked."""

    sure: bool


class FaultyBus(MemoryBus):
    """A bus that may lose everything, and say so afterwards or not.

    Attributes:
        deaf: whether it loses what is published.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False
        self._gap_callbacks: list[Callable[[], None]] = []

    async def publish(self, topic: str, message: bytes) -> None:
        if not self.deaf:
            await super().publish(topic, message)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._gap_callbacks.append(callback)

    def say_so(self) -> None:
        """Tell everybody that something may have been missed."""
        for callback in self._gap_callbacks:
            callback()


class SharedMemory(MemoryStore):
    """A store that several workers of one event loop share, and trust no more than one that is elsewhere."""

    shared = True

    def __init__(self, limits: LogLimits | None = None) -> None:
        super().__init__(limits or LogLimits())
        self.log.private = False
        self.bus: FaultyBus = FaultyBus()


class WorkerApp(MCPApp):
    """A server whose tools talk as long as they are told to. What a gate's name stands for, all workers share."""

    def __init__(self, gates: dict[str, asyncio.Event], **options: Any) -> None:
        super().__init__("talker", version="1.0.0", **options)
        self._gates = gates
        self.parted: list[bool] = []
        self.ended: list[str] = []
        self.add_text_resource("note://a", "a note")
        for each in (self.say, self.ask, self.poll, self.poll_in_thread, self.change):
            self.tool(each)

    def gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def say(self, name: str, count: int, ctx: Context, hold: int = -1, padding: int = 0) -> str:
        """Log numbered messages; after `hold` of them, wait for the gate of that name."""
        try:
            for number in range(count):
                if number == hold:
                    await self.gate(name).wait()
                await ctx.log.info(f"{name} {number}" + " " * padding)
            if hold == count:
                await self.gate(name).wait()
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            raise
        self.ended.append(f"{name} done")
        return f"{name} done"

    async def ask(self, name: str, ctx: Context) -> str:
        """Ask, and say what was answered."""
        await ctx.log.info(f"{name} asks")
        await self.gate(name).wait()
        answer = await ctx.elicit(f"{name}: sure?", Sure)
        return f"{name} {answer.action}"

    async def poll(self, name: str, ctx: Context, retry: float | None = None) -> str:
        """Let the client go, and go on."""
        await ctx.log.info(f"{name} before")
        self.parted.append(ctx.close_stream(retry))
        await ctx.log.info(f"{name} after")
        await self.gate(name).wait()
        return f"{name} done"

    def poll_in_thread(self, name: str, ctx: Context) -> str:
        """Let the client go, from another thread."""
        ctx.log.info(f"{name} before")
        self.parted.append(ctx.close_stream())
        ctx.log.info(f"{name} after")
        return f"{name} done"

    def change(self, what: list[str]) -> list[str]:
        """Announce changes: `tools`, or a URI."""
        for each in what:
            self.changes.announce(TOOLS if each == "tools" else updated(each))
        return what


class WorkerResponse(PausableRequest):
    """One request to one worker, and what has come back so far."""

    def __init__(self, app: WorkerApp, scope: dict[str, Any], body: bytes, asked: SentRequests) -> None:
        super().__init__(app, scope, body)
        self._asked = asked
        self._whole = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        return list(EventReader().feed(self.body))

    @property
    def received(self) -> list[Message]:
        """The messages so far, each legal in the session's revision."""
        found: list[Message] = []
        for each in self.events:
            if each.data:
                found.append(json.loads(each.data))
                self._asked.check(found[-1])
        return found

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.events if each.id is not None]

    @property
    def texts(self) -> list[str]:
        """What was logged, without padding, and texts of results."""
        return [text for message in self.received if (text := text_of_message(message))]

    @property
    def error(self) -> dict[str, Any]:
        """The error of a response that is no stream."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error

    async def wait_for(self, count: int) -> None:
        """Wait for that many messages, and check that there are not more."""
        await self.until(lambda: len(self.received) >= count)
        assert len(self.received) == count, self.received

    async def finish(self) -> "WorkerResponse":
        """Wait for the end of the response, or of its serving if the client has left."""
        whole = asyncio.ensure_future(self._whole.wait())
        done, _ = await asyncio.wait((self.task, whole), timeout=30, return_when=asyncio.FIRST_COMPLETED)
        whole.cancel()
        assert done, f"there is no end after {self.events[-3:]}"
        if self.task.done():
            self.task.result()
        return self

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if not self._gone.is_set():  # a server drops what it is given after that
            await super()._send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._whole.set()

    async def cut(self) -> None:
        """Leave; the server notices at once."""
        self.leave()
        await asyncio.sleep(0)


def text_of_message(message: Message) -> str:
    """Return what a message says, in a word."""
    if message.get("method") == "notifications/message":
        return str(message["params"]["data"]).rstrip()
    if "method" in message:
        return str(message["params"]["uri"]) if "uri" in message.get("params", {}) else str(message["method"])
    if "error" in message:
        return f"error {message['error']['code']}"
    return str(message["result"]["content"][0]["text"])


class ClusterClient:
    """A session, which may turn to any worker."""

    def __init__(self, cluster: "InProcessCluster", token: str, revision: str, **headers: HeaderValue) -> None:
        self.cluster, self.token, self.revision = cluster, token, revision
        self._asked = SentRequests(revision)
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._ids = iter(range(1, 1_000_000))

    def _send(self, worker: int, verb: str, message: Any, **headers: HeaderValue) -> WorkerResponse:
        asgi = self.cluster.asgis[worker]
        body = b"" if message is None else json.dumps(message).encode()
        self._asked.note(message)
        fields: dict[str, HeaderValue] = {"mcp-session-id": self.token, **self._headers}
        if verb == "POST":
            fields |= {"content-type": "application/json", "accept": BOTH}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = WorkerResponse(asgi.app, asgi.scope(fields, verb), body, self._asked)
        self.cluster.connections.append(connection)
        return connection

    def post(self, message: Message | list[Message], worker: int = 0, **headers: HeaderValue) -> WorkerResponse:
        return self._send(worker, "POST", message, **headers)

    def start(
        self, method: str, params: dict[str, Any], worker: int = 0, **headers: HeaderValue
    ) -> WorkerResponse:
        return self.post(request_of(method, params, next(self._ids), None), worker, **headers)

    def call(self, tool: str, /, worker: int = 0, **arguments: Any) -> WorkerResponse:
        return self.start("tools/call", {"name": tool, "arguments": arguments}, worker)

    async def call_and_cut(self) -> WorkerResponse:
        """Call a tool that says two things, and leave after the first; it goes on when `a` is released."""
        call = self.call("say", name="a", count=2, hold=1)
        await call.wait_for(1)
        await call.cut()
        return call

    def get(self, last_id: str | bytes | None = None, worker: int = 0, **headers: HeaderValue) -> WorkerResponse:
        return self._send(worker, "GET", None, last_event_id=last_id, accept="text/event-stream", **headers)

    async def resume(self, last_id: str, worker: int = 0) -> WorkerResponse:
        """Come back for the rest, and wait until it is agreed to."""
        connection = self.get(last_id, worker)
        await connection.until(lambda: connection.status)
        assert connection.status == 200, connection.body
        return connection

    async def open(self, worker: int = 0) -> WorkerResponse:
        """Open the session's own stream."""
        connection = self.get(None, worker)
        await connection.until(lambda: connection.status)
        assert connection.status == 200, connection.body
        return connection

    async def open_and_cut(self) -> WorkerResponse:
        """Open the session's own stream, and leave once it has an id to come back with."""
        stream = await self.open()
        await stream.until(lambda: stream.ids)
        await stream.cut()
        return stream

    async def refused(self, last_id: str | bytes | None, worker: int = 0) -> int:
        """Return the status of a GET that is refused, with a JSON-RPC error and nothing else."""
        connection = await self.get(last_id, worker).finish()
        assert connection.error["code"] == -32600, connection.body
        assert b"event:" not in connection.body
        return connection.status

    async def notify(self, method: str, params: dict[str, Any], worker: int = 0) -> None:
        done = await self.post({"jsonrpc": "2.0", "method": method, "params": params}, worker).finish()
        assert done.status == 202

    async def answer(self, question: Message, worker: int = 0, action: str = "accept") -> None:
        content = {"content": {"sure": True}} if action == "accept" else {}
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": action, **content}}
        assert (await self.post(answer, worker).finish()).status == 202

    async def delete(self, worker: int = 0) -> int:
        return (await self._send(worker, "DELETE", None).finish()).status


class InProcessCluster:
    """Workers that share a store.

    Args:
        stores: what each of them is given: an object, or a URL.
        timings: time limits of each of them; None for the usual ones.
        options: for each of them.

    Attributes:
        apps: the workers.
        connections: all that were ever made.
    """

    def __init__(self, stores: Sequence[Store | str], timings: Timings | None = None, **options: Any) -> None:
        self._gates: dict[str, asyncio.Event] = {}
        self.apps = [WorkerApp(self._gates, store=store, **options) for store in stores]
        for app in self.apps:
            app._timings = timings
        self.asgis = [AsgiClient(app) for app in self.apps]
        self.connections: list[WorkerResponse] = []

    def set_event_log_timings(self, timings: Timings) -> None:
        """Give the event logs of all workers other time limits."""
        for app in self.apps:
            event_log = app.endpoint.services.event_log
            assert event_log is not None
            event_log.timings = timings

    def release(self, name: str) -> None:
        """Open a gate."""
        self._gates.setdefault(name, asyncio.Event()).set()

    async def client(
        self, revision: str = "2025-11-25", worker: int = 0, **headers: HeaderValue
    ) -> ClusterClient:
        """Open a session; it can elicit."""
        capabilities: dict[str, Any] = {"elicitation": {}}
        answered = await self.asgis[worker].initialize(revision, capabilities, **headers)
        return ClusterClient(self, answered.headers["mcp-session-id"], revision, **headers)

    async def lose(self, worker: int) -> None:
        """Let a worker be dead to the others, as if by kill -9: what it does from now on nobody sees."""
        endpoint = self.apps[worker].endpoint
        worker_channel, recordings = endpoint.worker_channel, endpoint.services.event_log
        assert worker_channel._renewing is not None
        assert recordings is not None
        worker_channel._renewing.cancel()
        for recording in list(recordings._open.values()):
            await recording.stop()
        worker_channel._callbacks.clear()
        _LOCAL_WORKERS.discard(
            worker_channel.worker
        )  # its lease says that it is a process with our id, which it is no more

    async def stop(self) -> None:
        for connection in self.connections:
            connection.leave()
            connection.reading.set()
            connection.task.cancel()
        await asyncio.gather(*(each.task for each in self.connections), return_exceptions=True)
        for app in self.apps:
            await app.endpoint.stop(0.5)


@contextlib.asynccontextmanager
async def running_cluster(
    stores: Sequence[Store | str], timings: Timings | None = None, **options: Any
) -> AsyncIterator[InProcessCluster]:
    """Have some workers for the length of a block."""
    cluster = InProcessCluster(stores, timings, **options)
    for app in cluster.apps:
        await app.endpoint.start()
    try:
        yield cluster
    finally:
        await cluster.stop()
