"""B5, R-605: a stream with what an operation returned is resumed only by who has the scopes of that operation.

Two tokens of one user share a session; one has fewer scopes. What the user may do with the other one, it may not
read with this one, at whatever worker it comes back and however far the call has come.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enfilade import Context
from enfilade.auth import ResourceServer
from enfilade.testing import Issuer
from support.cluster.in_process_workers import (
    ClusterClient,
    InProcessCluster,
    SharedMemory,
    WorkerApp,
    WorkerResponse,
)
from support.http_client.connection import request_of

pytestmark = pytest.mark.anyio

RESOURCE = "https://mcp.example.com/mcp"
issuer = Issuer(audience=RESOURCE)
WRITER = f"Bearer {issuer.token('ada', scopes=['notes:write'])}"
READER = f"Bearer {issuer.token('ada', scopes=['notes:read'])}"
BOTH = f"Bearer {issuer.token('ada', scopes=['notes:all'])}"


@pytest.fixture
async def cluster() -> AsyncIterator[InProcessCluster]:
    store = SharedMemory()
    hierarchy = {"notes:all": ["notes:write", "notes:read"]}
    auth = ResourceServer(RESOURCE, [issuer.server()], scope_hierarchy=hierarchy)
    cluster = InProcessCluster([store, store], auth=auth)
    for app in cluster.apps:
        add_tools(app)
        await app.endpoint.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


def add_tools(app: WorkerApp) -> None:
    app.tool(app.say, name="secret", requires_scopes=["notes:write"])

    @app.tool
    async def chained(name: str, ctx: Context) -> str:
        """Say something, and later what another tool says."""
        await ctx.log.info(f"{name} begins")
        await app.gate(name).wait()
        return str(await ctx.tools.call("secret", {"name": name, "count": 0}))


async def writer(cluster: InProcessCluster) -> ClusterClient:
    return await cluster.client(authorization=WRITER)


async def begun(client: ClusterClient, tool: str, **arguments: Any) -> WorkerResponse:
    """Call a tool, and leave after its first message."""
    call = client.call(tool, name="a", **arguments)
    await call.wait_for(1)
    await call.cut()
    return call


@pytest.mark.parametrize("worker", [0, 1])
@pytest.mark.parametrize("is_done", [False, True], ids=["running", "done"])
async def test_a_token_without_the_scopes_is_refused(
    cluster: InProcessCluster, worker: int, is_done: bool
) -> None:
    """With 403 and a challenge; the same user goes on with a token that has them, or a broader one."""
    client = await writer(cluster)
    call = await begun(client, "secret", count=2, hold=1)
    if is_done:
        cluster.release("a")
        await asyncio.sleep(0.2)
    refused = await client.get(call.ids[-1], worker, authorization=READER).finish()
    assert refused.status == 403
    assert refused.error["message"].startswith("This needs the scope notes:write"), refused.error
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="notes:write"' in challenge
    cluster.release("a")
    for token in (BOTH, WRITER):
        resumed = await client.get(call.ids[-1], worker, authorization=token).finish()
        assert resumed.texts == ["a 1", "a done"]


async def test_what_needs_no_scopes_is_resumed_by_every_token_of_the_user(cluster: InProcessCluster) -> None:
    client = await writer(cluster)
    call = await begun(client, "say", count=2, hold=1)
    cluster.release("a")
    resumed = await client.get(call.ids[-1], 1, authorization=READER).finish()
    assert resumed.texts == ["a 1", "a done"]


@pytest.mark.parametrize("worker", [0, 1])
async def test_scopes_that_are_needed_later_on(cluster: InProcessCluster, worker: int) -> None:
    """A tool that calls another one: whoever reads before that is cut off, and refused from then on."""
    client = await writer(cluster)
    call = await begun(client, "chained")
    reading = client.get(call.ids[-1], worker, authorization=READER)
    await reading.until(lambda: reading.status)
    assert reading.status == 200
    cluster.release("a")
    assert (await reading.finish()).texts == []
    refused = await client.get(call.ids[-1], worker, authorization=READER).finish()
    assert refused.status == 403
    assert (await client.get(call.ids[-1], worker).finish()).texts == ["a done"]


@pytest.mark.parametrize("worker", [0, 1])
async def test_a_batch(cluster: InProcessCluster, worker: int) -> None:
    """One of its messages is enough."""
    client = await cluster.client("2025-03-26", authorization=WRITER)
    calls = [
        request_of("tools/call", {"name": name, "arguments": {"name": "a", "count": 2, "hold": 1}}, id, None)
        for id, name in enumerate(("say", "secret"), 1)
    ]
    batch = client.post(calls)
    await batch.until(lambda: len(batch.received) == 2)
    await batch.cut()
    reading = client.get(batch.ids[-1], worker, authorization=READER)
    cluster.release("a")
    assert (await reading.finish()).texts == []
    assert (await client.get(batch.ids[-1], worker, authorization=READER).finish()).status == 403
    resumed = await client.get(batch.ids[-1], worker).finish()
    assert sorted(resumed.texts) == ["a 1", "a 1", "a done", "a done"]


async def test_a_complete_response_in_the_log(cluster: InProcessCluster) -> None:
    """One whose connection broke in the middle."""
    client = await writer(cluster)
    call = await client.call("secret", name="a", count=2).finish()
    assert (await client.get(call.ids[0], 1, authorization=READER).finish()).status == 403
    assert (await client.get(call.ids[-1], 1, authorization=READER).finish()).status == 403
    assert (await client.get(call.ids[1], 1).finish()).texts[-1:] == ["a done"]
