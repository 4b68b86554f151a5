"""A server whose tools run as tasks, and clients of both dialects that call them."""

import asyncio
import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from enfilade import Context, InputRequired, MCPApp, ToolError, elicitation
from enfilade.extensions import RpcError
from enfilade.extensions.tasks.extension import TasksExtension
from enfilade.serving.principal import Principal
from enfilade.timings import Timings
from enfilade.transports.asgi import PRINCIPAL_KEY
from support.http_client.asgi_calls import AsgiClient, AsgiReply
from support.http_client.asgi_connection import AsgiConnection, Exchange
from support.http_client.connection import HeaderValue, modern_headers, request_of, stateless_meta

TASKS = "io.modelcontextprotocol/tasks"
#: What a client of 2026-07-28 declares that can have tasks and answer questions.
ABLE: dict[str, Any] = {"extensions": {TASKS: {}}, "elicitation": {"form": {}, "url": {}}, "sampling": {}}

QUICK = Timings(lease=1.0, lease_renewal=0.2, poll_interval=0.1, task_farewell=0.2)

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class TaskApp(MCPApp):
    """A server whose tools wait for gates.

    Attributes:
        effects: what `ctx.once` has done, in order.
        runs: how often each tool has begun.
    """

    def __init__(self, gates: dict[str, asyncio.Event] | None = None, **options: Any) -> None:
        limits = options.pop("limits", {})
        super().__init__("tasks", **options)
        self.gates = {} if gates is None else gates
        self.effects: list[str] = []
        self.runs: list[str] = []
        self._timings = QUICK
        self.add_extension(TasksExtension(poll_interval=0.1, **limits))
        self.add_tool(self.plain)
        usual: list[Callable[..., Any]] = [self.work, self.fail, self.break_protocol, self.confirm]
        usual += [self.two_questions, self.report]
        for tool in usual:
            self.add_tool(tool, task="optional")
        self.add_tool(self.first_ask, task="required")
        self.add_tool(self.quick_or_slow, task_after=0.1)
        durable: list[Callable[..., Any]] = [self.journey, self.nap, self.durable_ask]
        for tool in durable:
            self.add_tool(tool, task="optional", durable=True)

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    def do(self, effect: str) -> int:
        self.effects.append(effect)
        return len(self.effects)

    async def plain(self) -> str:
        """Never a task."""
        return "plain"

    async def work(self, name: str) -> str:
        """Wait for the gate of that name."""
        self.runs.append(f"work {name}")
        try:
            await self.gate(name).wait()
        except asyncio.CancelledError:
            self.effects.append(f"{name} cancelled")
            raise
        return f"{name} done"

    async def fail(self) -> str:
        """Fail as a tool does."""
        await asyncio.sleep(0.01)
        raise ToolError("it failed")

    async def break_protocol(self) -> str:
        """Fail with an error of the protocol."""
        await asyncio.sleep(0.01)
        raise RpcError(-32000, "no luck", {"why": "unknown"})

    async def confirm(self, name: str, ctx: Context) -> str:
        """Ask whether to go on."""
        answer = await ctx.elicit(f"{name}?", bool)
        return f"{name} {answer.action} {answer.data if answer.action == 'accept' else ''}".rstrip()

    async def two_questions(self, ctx: Context) -> str:
        """Ask two at once, and then a third."""
        first, second = await asyncio.gather(ctx.elicit("first?", str), ctx.elicit("second?", str))
        third = await ctx.elicit("third?", str)
        return f"{first.data} {second.data} {third.data}"

    async def report(self, name: str, ctx: Context) -> str:
        """Report progress and log, and wait for a gate."""
        await asyncio.sleep(0.05)
        await ctx.progress.report(1, 2, f"{name} half")
        await ctx.log.info(f"{name} logged")
        await self.gate(name).wait()
        return f"{name} reported"

    async def first_ask(self, ctx: Context) -> str | InputRequired:
        """Ask before the task begins."""
        answer = ctx.input_responses.get("user_name")
        if answer is None:
            return InputRequired({"user_name": elicitation("Name?", NAME)})
        await asyncio.sleep(0.01)
        return f"Hello, {answer.content['name']}"

    async def quick_or_slow(self, name: str) -> str:
        """End at once, or wait for a gate."""
        if name:
            await self.gate(name).wait()
        return f"{name or 'quick'} done"

    async def journey(self, name: str, ctx: Context) -> str:
        """Do something once, ask, do something else once, sleep, and end."""
        self.runs.append(f"journey {name}")
        first = await ctx.once("first", partial(self.do, f"{name} first"))
        answer = await ctx.elicit(f"{name}: on?", bool)
        await ctx.once("second", partial(self.do, f"{name} second"))
        await ctx.sleep(1.2)
        return f"{name} {first > 0} {answer.action}"

    async def nap(self, seconds: float, ctx: Context) -> str:
        """Sleep."""
        self.runs.append("nap")
        await ctx.sleep(seconds)
        return "slept"

    async def durable_ask(self, ctx: Context) -> str:
        """Ask twice at once."""
        self.runs.append("durable_ask")
        first, second = await asyncio.gather(ctx.elicit("first?", str), ctx.elicit("second?", str))
        return f"{first.data} {second.data}"


class StatelessTasks:
    """A client of 2026-07-28 that has tasks."""

    def __init__(self, app: Any, capabilities: dict[str, Any] | None = None) -> None:
        self.client = AsgiClient(app)
        self.capabilities = ABLE if capabilities is None else capabilities
        self._ids = itertools.count(1)

    async def ask(
        self,
        method: str,
        params: dict[str, Any],
        capabilities: dict[str, Any] | None = None,
        **headers: HeaderValue,
    ) -> AsgiReply:
        """Send a request; the header `Mcp-Name` is that of its params unless another is given."""
        meta = stateless_meta(clientCapabilities=self.capabilities if capabilities is None else capabilities)
        message = request_of(method, params, next(self._ids), meta)
        fields = modern_headers(message)
        if "taskId" in params:
            fields["mcp_name"] = params["taskId"]
        return await self.client.post(message, **{**fields, **headers})

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        return (await self.ask("tools/call", {"name": tool, "arguments": arguments})).result

    async def get(self, id: str) -> Any:
        return (await self.ask("tasks/get", {"taskId": id})).result

    async def update(self, id: str, **responses: Any) -> Any:
        params = {
            "taskId": id,
            "inputResponses": {key.replace("_", "-"): value for key, value in responses.items()},
        }
        return (await self.ask("tasks/update", params)).result

    async def cancel(self, id: str) -> Any:
        return (await self.ask("tasks/cancel", {"taskId": id})).result

    async def until(self, id: str, condition: Callable[[Any], bool] | str, limit: float = 15.0) -> Any:
        """Look until a task has a status, or fits."""
        is_met = (lambda task: task["status"] == condition) if isinstance(condition, str) else condition
        end = asyncio.get_running_loop().time() + limit
        while True:
            task = await self.get(id)
            if is_met(task):
                return task
            assert asyncio.get_running_loop().time() < end, task
            await asyncio.sleep(0.02)


def accept(**content: Any) -> dict[str, Any]:
    """Return the answer to a form."""
    return {"action": "accept", "content": content}


def text_of(result: Any) -> str:
    """Return the text of a result."""
    text: str = result["content"][0]["text"]
    return text


def as_json(value: Any) -> Any:
    """Return a value after a round trip."""
    return json.loads(json.dumps(value))


def as_user(app: Any, user: str) -> Any:
    """Return an app whose host says who calls."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {PRINCIPAL_KEY: Principal(user)}}, receive, send)

    return served


def listen(app: Any, ids: list[str], capabilities: dict[str, Any]) -> Exchange:
    """Open a `subscriptions/listen` for tasks, with the id `listen`."""
    meta = stateless_meta(clientCapabilities=capabilities)
    message = request_of("subscriptions/listen", {"notifications": {"taskIds": ids}}, "listen", meta)
    fields = {name: value for name, value in modern_headers(message).items() if isinstance(value, str)}
    return AsgiConnection(app).post(message, **fields)
