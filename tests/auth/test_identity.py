"""Who calls is known wherever code of a server runs, by every way in which a call can come."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from mcp.types import PromptReference

from enfilade import Context, Depends, MCPApp, connect, text_of
from enfilade.auth import Principal, ResourceServer
from enfilade.serving.request import Request
from enfilade.testing.issuer import Issuer
from support.harness import Serving, eventually
from support.http_client.connection import Http, Reply, request_of

RESOURCE = "https://mcp.example.com/mcp"
issuer = Issuer("https://issuer.test", audience=RESOURCE)

Next = Callable[[Request], Awaitable[Any]]


@dataclass
class User:
    """A user as the domain of a server has it."""

    name: str
    issuer: str | None


def current_user(ctx: Context) -> User:
    """Return who calls."""
    assert ctx.principal is not None
    return User(ctx.principal.subject, ctx.principal.issuer)


async def current_principal(ctx: Context) -> Principal:
    """Return who calls, after a while."""
    await asyncio.sleep(0)
    assert ctx.principal is not None
    return ctx.principal


CurrentUser = Annotated[User, Depends(current_user)]
CurrentPrincipal = Annotated[Principal, Depends(current_principal)]


class Identified(MCPApp):
    """A server whose handlers return who calls.

    Attributes:
        seen: the subjects that middleware has seen, with the methods.
        later: the subjects that tasks have seen which went on when their request was over.
        gate: what those tasks wait for.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("Identified", **options)
        self.seen: list[tuple[str, str | None]] = []
        self.later: list[str | None] = []
        self.gate = threading.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.add_middleware(self.note)
        for tool in (self.waits, self.runs, self.in_thread, self.depends, self.chains, self.starts_a_task):
            self.tool(tool)
        self.resource("who://{place}")(self.resource_of)
        self.prompt(self.prompt_of)
        self.completion("prompt_of", "topic")(self.topics)

    async def note(self, request: Request, call_next: Next) -> Any:
        self.seen.append((request.method, request.principal and request.principal.subject))
        return await call_next(request)

    async def waits(self, ctx: Context) -> str | None:
        """Wait before."""
        await asyncio.sleep(0)
        return ctx.user_id

    async def runs(self, ctx: Context) -> str | None:
        """Wait for nothing."""
        return ctx.user_id

    def in_thread(self, ctx: Context) -> str | None:
        """Run in a thread."""
        return ctx.principal and ctx.principal.subject

    async def depends(self, user: CurrentUser, principal: CurrentPrincipal, ctx: Context) -> str:
        """Depend on who calls."""
        assert principal is ctx.principal
        assert user.issuer == principal.issuer
        return user.name

    async def chains(self, ctx: Context) -> str:
        """Call others, side by side."""
        names = ("waits", "runs", "in_thread", "depends")
        results = await asyncio.gather(*(ctx.tools.call(name, {}) for name in names))
        contents: Any = (await ctx.resources.read("who://chained")).contents
        texts = {str(result) for result in results} | {contents[0].text}
        (subject,) = texts
        return subject

    async def starts_a_task(self, ctx: Context) -> str | None:
        """Start what goes on after the request."""

        async def go_on() -> None:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
            self.later.append(ctx.user_id)

        task = asyncio.create_task(go_on())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return ctx.user_id

    def resource_of(self, place: str, user: CurrentUser) -> str:
        """Return who reads."""
        return user.name

    async def prompt_of(self, topic: str, principal: CurrentPrincipal) -> str:
        """Return who asks."""
        return f"{principal.subject} about {topic}"

    def topics(self, user: CurrentUser) -> list[str]:
        """Return what a user may ask about."""
        return [user.name]


TOOLS = ["waits", "runs", "in_thread", "depends", "chains", "starts_a_task"]


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.parametrize("transport", ["memory", "http"])
@pytest.mark.parametrize("who", ["ada", Principal("ada", "https://issuer.test")], ids=["text", "principal"])
def test_every_handler_knows_who_calls(era: Any, transport: Any, who: Principal | str) -> None:
    """B7, B12: with `connect(app, principal=…)`."""
    app = Identified()

    async def main() -> None:
        async with connect(app, era=era, transport=transport, principal=who) as client:
            for tool in TOOLS:
                result = await client.call_tool(tool, {})
                assert text_of(result) == "ada", tool
            assert (await client.read_resource("who://here")).contents[0].text == "ada"  # type: ignore[union-attr]
            message = (await client.get_prompt("prompt_of", {"topic": "tea"})).messages[0]
            assert message.content.text == "ada about tea"  # type: ignore[union-attr]
            reference = PromptReference(type="ref/prompt", name="prompt_of")
            completed = await client.complete(reference, {"name": "topic", "value": ""})
            assert completed.completion.values == ["ada"]
            app.gate.set()
            await asyncio.gather(*app.tasks)

    asyncio.run(main())
    assert app.later == ["ada"]
    assert {subject for method, subject in app.seen if method != "server/discover"} == {"ada"}
    assert {"tools/call", "resources/read", "prompts/get"} <= {method for method, _ in app.seen}


@pytest.fixture(scope="module")
def app() -> Identified:
    return Identified(auth=ResourceServer(RESOURCE, [issuer.server()]))


@pytest.fixture(scope="module")
def http(app: Identified) -> Iterator[Http]:
    with Serving(app) as server:
        yield server.http


def bearer(subject: str) -> str:
    return f"Bearer {issuer.token(subject)}"


def text(reply: Reply) -> str:
    found: str = reply.result["content"][0]["text"]
    return found


def test_requests_side_by_side(http: Http) -> None:
    """B7: whoever else calls meanwhile, on connections of their own."""
    users = [f"user-{number}" for number in range(10)]
    for tool in TOOLS[:-1]:
        waiting = [
            http.start_modern("tools/call", {"name": tool, "arguments": {}}, authorization=bearer(user))
            for user in users
        ]
        assert [text(each.read()) for each in waiting] == users


def test_a_task_keeps_who_started_it(http: Http, app: Identified) -> None:
    """B7: also when others have called since."""
    app.gate.clear()
    app.later.clear()
    call = {"name": "starts_a_task", "arguments": {}}
    session = http.initialize(authorization=bearer("ada"))
    assert text(session.ask("tools/call", call, authorization=bearer("ada"))) == "ada"
    assert text(http.modern("tools/call", call, authorization=bearer("bob"))) == "bob"
    app.gate.set()
    eventually(lambda: sorted(str(subject) for subject in app.later) == ["ada", "bob"])


def test_each_request_of_a_batch(http: Http, app: Identified) -> None:
    """B7, R-340: who sends the batch."""
    session = http.initialize("2025-03-26", authorization=bearer("ada"))
    calls = [request_of("tools/call", {"name": tool, "arguments": {}}, tool, None) for tool in TOOLS]
    replies = session.post(calls, authorization=bearer("ada")).messages
    assert {reply["id"]: reply["result"]["content"][0]["text"] for reply in replies} == dict.fromkeys(
        TOOLS, "ada"
    )
    app.gate.set()


def test_a_session_with_another_token_of_its_user(http: Http) -> None:
    """B7: handlers see the token of their own request, and not that of the handshake."""
    first, second = bearer("ada"), f"Bearer {issuer.token('ada', client_id='another')}"
    session = http.initialize(authorization=first)
    for token in (second, first):
        reply = session.ask("tools/call", {"name": "depends", "arguments": {}}, authorization=token)
        assert text(reply) == "ada"


WRONG_PARTS: dict[str, dict[str, Any]] = {
    "scopes": {"scopes": [1]},
    "bytes among scopes": {"scopes": ["read", b"write"]},
    "a list among scopes": {"scopes": [["read"]]},
    "no list of scopes": {"scopes": 5},
    "issuer": {"issuer": 5},
    "client_id": {"client_id": b"build"},
    "claims": {"claims": [("sub", "ada")]},
}


@pytest.mark.parametrize("parts", WRONG_PARTS.values(), ids=WRONG_PARTS)
def test_a_principal_of_wrong_types_is_refused(parts: dict[str, Any]) -> None:
    """A verifier's mistake is found where it is made, and not where a tool is hidden from everybody."""
    [name] = parts
    with pytest.raises(TypeError, match=f"^{name} of a Principal"):
        Principal("ada", **parts)
