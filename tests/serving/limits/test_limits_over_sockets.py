"""Limits and budgets of one worker and of four, each a process of its own, over sockets, with principals."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.cluster.server_processes import ProcessCluster
from support.http_client.connection import Http, Reply
from support.servers.processes import python_command
from support.stores.valkey_server import Valkey

RETRY = "enfilade/retryAfterMs"
USERS = ("ada", "bob", "cleo", "dan", "eve")

SERVER = f"""
import asyncio
import sys
from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key

keys = {{hash_key(f"key-of-{{user}}"): Principal(user) for user in {USERS}}}
auth = ResourceServer("http://127.0.0.1:8000/mcp", [], verifiers=[APIKeys(keys)])
app = MCPApp("limits", auth=auth, rate_limit="60/hour", limit_per="principal", on_limit="refuse")


@app.tool(rate_limit="5/hour", limit_per="all", on_limit="refuse")
async def scarce() -> str:
    return "done"


@app.tool(rate_limit="3/hour", limit_per="principal", on_limit="refuse")
async def each() -> str:
    return "done"


@app.tool(max_concurrency=2, on_limit="wait", max_wait=60)
async def slotted() -> list[float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.sleep(0.02)
    return [begun, loop.time()]


@app.tool(max_concurrency=1, on_limit="refuse")
async def busy() -> str:
    await asyncio.sleep(1)
    return "done"


@app.tool(max_result=2000, on_overflow="link")
async def rows(count: int) -> list[int]:
    return list(range(count))


app.run("http", port=int(sys.argv[1]))
"""


@pytest.fixture(scope="module", params=["sqlite-1", "sqlite-4", "valkey-1", "valkey-4"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey_of_limits: Valkey
) -> Iterator[ProcessCluster]:
    folder = tmp_path_factory.mktemp("limits")
    kind, _, count = request.param.partition("-")
    url = f"sqlite:///{folder / 'state.db'}" if kind == "sqlite" else f"{valkey_of_limits.url}?prefix=s{count}:"
    (folder / "limits.py").write_text(SERVER, encoding="utf-8")
    with ProcessCluster(int(count), python_command(folder / "limits.py", "{port}"), url) as cluster:
        yield cluster


def call(http: Http, user: str, tool: str, **arguments: Any) -> Reply:
    headers = {"authorization": f"Bearer key-of-{user}"}
    return http.modern("tools/call", {"name": tool, "arguments": arguments}, **headers)


def results(cluster: ProcessCluster, users: list[str], tool: str, side_by_side: int = 8) -> list[dict[str, Any]]:
    """Return the results of a call of each of these users, made side by side at the workers in turn."""
    with ThreadPoolExecutor(side_by_side) as threads:
        replies = list(threads.map(lambda user: call(cluster.http, user, tool), users))
    return [reply.messages[-1]["result"] for reply in replies]


def test_a_limit_for_all_is_kept_by_all_workers_together(cluster: ProcessCluster) -> None:
    found = results(cluster, [user for user in USERS[:2] for _ in range(10)], "scarce")
    refused = [result for result in found if result.get("isError")]
    assert len(refused) == 15
    for result in refused:
        assert 0 < result["_meta"][RETRY] <= 3_600_000
        assert "takes 5 calls an hour" in result["content"][0]["text"]


def test_each_principal_has_its_share_wherever_it_calls(cluster: ProcessCluster) -> None:
    users = ["ada", "bob", "cleo"]
    found = results(cluster, users * 8, "each")
    admitted = [user for user, result in zip(users * 8, found, strict=True) if not result.get("isError")]
    assert sorted(admitted) == sorted(users * 3)


def test_no_more_run_side_by_side_than_may(cluster: ProcessCluster) -> None:
    """The clocks of processes on one machine are the same one."""
    found = results(cluster, ["dan"] * 24, "slotted", 12)
    assert not [result for result in found if "structuredContent" not in result]
    times = [result["structuredContent"]["result"] for result in found]
    events = sorted([(begun, 1) for begun, _ in times] + [(ended, -1) for _, ended in times])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert most <= 2


def test_a_tool_that_is_busy_at_one_worker_refuses_at_all(cluster: ProcessCluster) -> None:
    found = results(cluster, ["dan"] * 4, "busy", 4)
    assert sum(not result.get("isError") for result in found) == 1


def test_requests_beyond_the_limit_of_the_app_are_429(cluster: ProcessCluster) -> None:
    replies = [call(cluster.http, "eve", "rows", count=1) for _ in range(70)]
    assert [reply.status for reply in replies] == [200] * 60 + [429] * 10
    for reply in replies[60:]:
        assert 0 < int(reply.header("retry-after") or "") <= 3600
        assert reply.messages[0]["error"]["data"][RETRY] > 0
    assert call(cluster.http, "cleo", "rows", count=1).status == 200


def test_any_worker_has_what_a_link_leads_to_and_for_its_principal_alone(cluster: ProcessCluster) -> None:
    result = call(cluster.http, "ada", "rows", count=5000).result
    uri = result["content"][-1]["uri"]
    read = [
        (user, Http(server.port).modern("resources/read", {"uri": uri}, authorization=f"Bearer key-of-{user}"))
        for server in cluster.servers
        for user in ("ada", "bob")
    ]
    for user, reply in read:
        message = reply.messages[0]
        if user == "ada":
            assert json.loads(message["result"]["contents"][0]["text"])["result"] == list(range(5000))
        else:
            assert "error" in message
