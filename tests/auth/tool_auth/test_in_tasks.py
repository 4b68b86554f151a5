"""Tokens of the user in tasks: asked for within the task, in place or by a run of its own (A4, A5, X-TASK-10)."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from enfilade import Context, MCPApp
from support.authorization.oauth_service import OAuthService
from support.authorization.tool_app import CLIENT, SECRET, provider_at, tool_app, visited
from support.harness import Serving
from support.http_client.connection import HeaderValue
from support.servers.task_server import QUICK, StatelessTasks, accept, text_of

pytestmark = pytest.mark.anyio
KINDS = ["waiting", "durable"]


class OverSockets:
    """Posts messages to a server."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def post(self, message: dict[str, Any], **headers: HeaderValue) -> Any:
        fields = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        async with httpx.AsyncClient() as client:
            response = await client.post(
                self.url, json=message, headers={"Accept": "application/json, text/event-stream", **fields}
            )
        return Reply(response.json())


class Reply:
    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message

    @property
    def result(self) -> Any:
        assert "result" in self.message, self.message
        return self.message["result"]


def task_app(service: OAuthService) -> MCPApp:
    app = tool_app(service)
    app._timings = msgspec.structs.replace(QUICK, consent_round=0.2)

    async def whose(ctx: Context) -> str:
        """Ask something else as well, after the token is there."""
        grant = service.grants.grant_of(ctx.auth.token)
        assert grant is not None
        answer = await ctx.elicit("Which file?", str)
        return f"{grant.user} {answer.data}"

    for kind in KINDS:
        app.add_tool(
            whose,
            name=kind,
            task="required",
            durable=kind == "durable",
            requires_auth=provider_at(service)(scopes=["read"]),
        )
    return app


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@pytest.fixture
def client(service: OAuthService) -> Iterator[StatelessTasks]:
    with Serving(task_app(service)) as serving:
        client = StatelessTasks(None)
        client.client = OverSockets(f"http://127.0.0.1:{serving.port}/mcp")  # type: ignore[assignment]
        yield client


def asks_for(mode: str) -> Any:
    def look(task: Any) -> bool:
        requests = task.get("inputRequests", {}).values()
        return mode in [request["params"].get("mode") or "form" for request in requests]

    return look


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_goes_on_after_consent(service: OAuthService, client: StatelessTasks, kind: str) -> None:
    id = (await client.call(kind))["taskId"]
    task = await client.until(id, asks_for("url"))
    ((key, question),) = task["inputRequests"].items()
    assert "elicitationId" not in question["params"]
    page = await asyncio.to_thread(visited, question["params"]["url"], "ada")
    assert page.status == 200
    await client.update(id, **{key: {"action": "accept"}})
    task = await client.until(id, asks_for("form"))
    ((key, _),) = task["inputRequests"].items()
    await client.update(id, **{key: accept(value="a.txt")})
    task = await client.until(id, "completed")
    assert text_of(task["result"]) == "ada a.txt"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_whose_user_declines(service: OAuthService, client: StatelessTasks, kind: str) -> None:
    id = (await client.call(kind))["taskId"]
    task = await client.until(id, asks_for("url"))
    ((key, _),) = task["inputRequests"].items()
    await client.update(id, **{key: {"action": "decline"}})
    task = await client.until(id, "completed")
    assert task["result"]["isError"]
    assert "the user has declined" in text_of(task["result"])
    assert service.visits == []


async def test_accept_before_the_callback(service: OAuthService, client: StatelessTasks) -> None:
    """A5: a durable task asks once more, by the same link."""
    id = (await client.call("durable"))["taskId"]
    task = await client.until(id, asks_for("url"))
    ((first, question),) = task["inputRequests"].items()
    await client.update(id, **{first: {"action": "accept"}})
    task = await client.until(id, lambda task: asks_for("url")(task) and first not in task["inputRequests"])
    ((second, again),) = task["inputRequests"].items()
    assert again["params"]["url"] == question["params"]["url"]
    await asyncio.to_thread(visited, again["params"]["url"], "ada")
    await client.update(id, **{second: {"action": "accept"}})
    await client.until(id, asks_for("form"))
