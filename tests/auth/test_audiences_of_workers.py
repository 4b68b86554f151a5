"""Visibility and scopes with four processes that take turns behind one URL: whoever answers, it is the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.cluster.server_processes import ProcessCluster
from support.http_client.connection import Http
from support.servers.audience_server import AUDITOR, COMMAND, RESOURCE, SCOPE, WRITER
from support.servers.changing_server import OpenStream
from support.servers.processes import environment

WORKERS = 4
TOOLS_CHANGED, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    folder: Path = tmp_path_factory.mktemp("audiences")
    with ProcessCluster(WORKERS, COMMAND, f"sqlite:///{folder / 'store.db'}", environment()) as cluster:
        yield cluster.http


def ask(http: Http, key: str, method: str, params: dict[str, Any] | None = None) -> list[Any]:
    """Send a request once to each worker."""
    return [http.modern(method, params, authorization=f"Bearer {key}") for _ in range(WORKERS)]


def call(http: Http, key: str, tool: str) -> list[Any]:
    return ask(http, key, "tools/call", {"name": tool, "arguments": {}})


def listen(http: Http, key: str) -> OpenStream:
    wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": [RESOURCE]}}
    stream = OpenStream(http.start_modern("subscriptions/listen", wanted, authorization=f"Bearer {key}"))
    stream.next()
    return stream


def heard(stream: OpenStream) -> list[str]:
    """Return the methods of what comes up to the next update of the resource."""
    return list(iter(lambda: stream.next()["method"], UPDATED))


def test_every_worker_lists_and_calls_alike(http: Http) -> None:
    """B14, R-605, X-AUTH-6: lists, capabilities and calls."""
    for key, tools, has_prompts in (
        (AUDITOR, {"audit", "write", "renew"}, True),
        (WRITER, {"write", "renew"}, False),
    ):
        for reply in ask(http, key, "tools/list"):
            assert {tool["name"] for tool in reply.result["tools"]} == tools
        for reply in ask(http, key, "server/discover"):
            assert ("prompts" in reply.result["capabilities"]) is has_prompts
    assert [reply.result["content"][0]["text"] for reply in call(http, AUDITOR, "audit")] == ["text"] * WORKERS
    assert [reply.error["message"] for reply in call(http, WRITER, "audit")] == ["Unknown tool: audit"] * WORKERS
    assert [reply.result["content"][0]["text"] for reply in call(http, WRITER, "write")] == ["text"] * WORKERS
    for reply in call(http, AUDITOR, "write"):
        assert (reply.status, f'scope="{SCOPE}"' in (reply.header("www-authenticate") or "")) == (403, True)


def test_changes_at_one_worker_reach_their_audience_at_all(http: Http) -> None:
    """B14, R-2CB: an update that all hear of, announced last, shows what did not come."""
    with ExitStack() as stack:
        auditors, writers = (
            [stack.enter_context(listen(http, key)) for _ in range(WORKERS)] for key in (AUDITOR, WRITER)
        )
        http.modern("tools/call", {"name": "renew", "arguments": {}}, authorization=f"Bearer {WRITER}")
        assert [heard(stream) for stream in auditors] == [[TOOLS_CHANGED]] * WORKERS
        assert [heard(stream) for stream in writers] == [[]] * WORKERS
