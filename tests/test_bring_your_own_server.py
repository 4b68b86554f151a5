"""The example that runs the official SDK's server over our transport: its client, and a network that breaks.

Easy to get wrong: a client that is cut off before its first event has nothing to resume from. Every cut here
comes after something has arrived.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import ElicitResult, TextContent

from support.harness import eventually
from support.http_client.connection import Http
from support.http_client.resuming_client import ResumingClient
from support.proxy.round_robin_proxy import RoundRobinProxy
from support.servers.processes import ServerProcess, python_command

EXAMPLE = "examples/bring_your_own_server/server.py"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(python_command(EXAMPLE, "--port", "{port}")) as server:
        yield server
        assert "Traceback" not in server.output, server.output


async def name(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Bo"})


def text(result: Any) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize(("mode", "revision"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
def test_the_official_client_lists_calls_and_hears_of_progress(
    server: ServerProcess, mode: str, revision: str
) -> None:
    heard: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, total))

    async def visit() -> None:
        async with Client(server.url, mode=mode) as client:
            assert client.protocol_version == revision
            assert [tool.name for tool in (await client.list_tools()).tools] == ["count", "greet"]
            result = await client.call_tool("count", {"to": 3}, progress_callback=progress)
            assert text(result) == "counted to 3"

    asyncio.run(visit())
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_the_official_client_is_asked(server: ServerProcess) -> None:
    async def visit() -> str:
        async with Client(server.url, mode="legacy", elicitation_callback=name) as client:
            return text(await client.call_tool("greet", {}))

    assert asyncio.run(visit()) == "Hello, Bo!"


def test_a_client_that_cannot_be_asked_is_not_left_waiting(server: ServerProcess) -> None:
    async def visit() -> None:
        async with Client(server.url, mode="auto") as client:
            with pytest.raises(MCPError):
                await client.call_tool("greet", {})

    asyncio.run(visit())


def test_the_official_client_resumes_a_call_that_was_cut_off(server: ServerProcess) -> None:
    heard: list[float] = []

    async def visit(proxy: RoundRobinProxy) -> str:
        async def progress(done: float, total: float | None, message: str | None) -> None:
            heard.append(done)
            if done == 10:
                assert proxy.cut(lambda hop: hop.verb == "POST") == 1

        async with Client(f"http://127.0.0.1:{proxy.port}/mcp", mode="legacy") as client:
            return text(await client.call_tool("count", {"to": 200}, progress_callback=progress))

    with RoundRobinProxy([server.port]) as proxy:
        assert asyncio.run(visit(proxy)) == "counted to 200"
    assert heard == list(range(1, 201))


def test_every_event_comes_exactly_once_however_often_the_client_is_cut_off(server: ServerProcess) -> None:
    client = ResumingClient(server.port, hurry=True)
    with client.call("count", to=200) as stream:
        for number, _ in enumerate(stream):
            if number % 20 == 5:
                stream.cut(reset=number % 40 == 5)
        assert stream.result["content"][0]["text"] == "counted to 200"
    assert [each["progress"] for each in stream.sent("notifications/progress")] == list(range(1, 201))
    assert len(stream.served_by) > 5


def test_an_id_of_another_session_is_refused(server: ServerProcess) -> None:
    one, two = (ResumingClient(server.port) for _ in range(2))
    with one.call("count", to=1) as stream:
        stream.finish()
    refused = two.session.http.request(
        "GET",
        b"",
        {"accept": "text/event-stream", "mcp-session-id": two.session.token, "last-event-id": stream.ids[0]},
    )
    assert (refused.status, refused.messages[0]["error"]["code"]) == (400, -32600)


def test_delete_ends_the_session_and_what_runs_in_it(server: ServerProcess) -> None:
    session = Http(server.port).initialize(capabilities={"elicitation": {}})
    with session.start("tools/call", {"name": "greet", "arguments": {}}) as waiting:
        events = waiting.events()
        assert next(events)["method"] == "elicitation/create"
        assert session.delete().status == 204
        assert "error" in next(events)
        assert list(events) == []
    eventually(lambda: session.ask("tools/list").status == 404)


def test_what_is_no_initialize_leaves_no_session(server: ServerProcess) -> None:
    http = Http(server.port)
    refused = http.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert refused.status == 400
    token = refused.header("mcp-session-id")
    assert token is not None
    assert http.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, mcp_session_id=token).status == 404
