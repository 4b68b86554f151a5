"""Cache and idempotency as clients see them: both eras, sockets and pipes, batches, killed workers."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster.server_processes import ProcessCluster
from support.harness import CLIENT_KINDS, McpClient, Serving, eventually, open_client
from support.http_client.connection import Http
from support.servers import outcome_server
from support.servers.processes import python_command

FROM = "enfilade/answeredFrom"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(outcome_server.OutcomeServer()) as serving:
        yield serving.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def client(request: pytest.FixtureRequest, http: Http) -> Iterator[McpClient]:
    with open_client(request.param, http, Path(outcome_server.__file__)) as client:
        yield client


def bare(result: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in result.items() if name != "_meta"}).encode()


def source(result: dict[str, Any]) -> str | None:
    found: str | None = result.get("_meta", {}).get(FROM)
    return found


def test_calls_share_a_run(client: McpClient) -> None:
    number = next(_numbers)
    waiting = [client.starts("look", number=number, meta={"progressToken": f"p{count}"}) for count in range(3)]
    outcomes = [wait() for wait in waiting]
    assert len({bare(outcome.result) for outcome in outcomes}) == 1
    assert sorted(source(outcome.result) or "" for outcome in outcomes) == ["", "cache", "cache"]
    again = client.call("look", number=number, meta={"progressToken": "again"})
    assert bare(again.result) == bare(outcomes[0].result)
    assert again.sent("notifications/progress") == []


def test_a_key_has_one_run(client: McpClient) -> None:
    key = {"enfilade/idempotencyKey": f"key {next(_numbers)}"}
    first = client.call("order", item="tea", meta=key)
    again = client.call("order", item="tea", meta=key)
    assert bare(again.result) == bare(first.result)
    assert [source(first.result), source(again.result)] == [None, "idempotency"]
    refused = client.call("order", item="milk", meta=key)
    assert refused.result["isError"] is True
    assert "other arguments" in refused.text
    assert bare(client.call("order", item="tea").result) != bare(first.result)


def test_an_argument_is_a_key(client: McpClient) -> None:
    order = f"order {next(_numbers)}"
    waiting = [client.starts("order", item="tea", order_id=order) for _ in range(4)]
    assert len({wait().text for wait in waiting}) == 1


def test_a_batch_may_have_the_same_call_twice(http: Http) -> None:
    session = http.initialize("2025-03-26")
    call = {"name": "order", "arguments": {"item": "tea", "order_id": f"order {next(_numbers)}"}}
    batch = [{"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call} for id in ("a", "b", "c")]
    answers = session.post(batch).messages
    assert {answer["id"] for answer in answers} == {"a", "b", "c"}
    assert len({answer["result"]["content"][0]["text"] for answer in answers}) == 1


# -- workers as processes ----------------------------------------------------------------------------------------

SERVER = """
import asyncio
import sys
from enfilade import MCPApp
from enfilade.timings import Timings

app = MCPApp("outcomes")
app._timings = Timings(lease=1.5, lease_renewal=0.4, poll_interval=0.2)


async def run(seconds: float) -> str:
    print("begun", file=sys.stderr, flush=True)
    await asyncio.sleep(seconds if sys.argv[2] == "0" else 0)
    return sys.argv[2]


@app.tool(cache=60, annotations={"read_only_hint": True})
async def look(seconds: float) -> str:
    return await run(seconds)


@app.tool(idempotency_key="key")
async def pay(seconds: float, key: str) -> str:
    return await run(seconds)


@app.tool(idempotency_key="key", on_interrupted="refuse")
async def pay_once(seconds: float, key: str) -> str:
    return await run(seconds)


app.run("http", port=int(sys.argv[1]))
"""


def test_another_worker_takes_over_from_a_killed_one(shared_url: str, tmp_path: Path) -> None:
    file = tmp_path / "outcomes.py"
    file.write_text(SERVER, encoding="utf-8")
    calls = {
        "look": {"seconds": 1000},
        "pay": {"seconds": 1000, "key": "a"},
        "pay_once": {"seconds": 1000, "key": "a"},
    }
    with ProcessCluster(2, lambda index: python_command(file, "{port}", str(index)), shared_url) as cluster:
        first, second = (Http(server.port) for server in cluster.servers)
        kept = first.modern_call("pay", seconds=0, key="done")
        pending = [first.start_modern("tools/call", {"name": n, "arguments": a}) for n, a in calls.items()]
        eventually(lambda: cluster.servers[0].output.count("begun") == 4)
        waiting = [second.start_modern("tools/call", {"name": n, "arguments": a}) for n, a in calls.items()]
        cluster.kill(0)
        looked, paid, refused = (wait.read().messages[-1]["result"] for wait in waiting)
        assert looked["content"][0]["text"] == paid["content"][0]["text"] == "1"
        assert refused["isError"] is True
        assert "was stopped in its middle" in refused["content"][0]["text"]
        again = second.modern_call("pay", seconds=0, key="done").messages[-1]["result"]
        assert again["content"] == kept.messages[-1]["result"]["content"]
        assert source(again) == "idempotency"
        for call in pending:
            call.close()
