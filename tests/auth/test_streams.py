"""B7: streams belong to a principal, and last no longer than the token of whoever opened them."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.serving import subscriptions
from enfilade.serving.subscriptions import Listener
from enfilade.testing import Issuer
from support.harness import Serving
from support.http_client.connection import Http

RESOURCE = "https://mcp.example.com/mcp"
LEEWAY = 60
issuer = Issuer(audience=RESOURCE)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[MCPApp, Http]]:
    app = MCPApp("Notes", auth=ResourceServer(RESOURCE, [issuer.server()], leeway=LEEWAY))

    @app.tool
    async def one() -> int:
        """Return 1."""
        return 1

    with Serving(app) as server:
        yield app, server.http


def bearer(expires_in: float) -> str:
    return f"Bearer {issuer.token('ada', expires_in=expires_in)}"


def listen(http: Http, token: str) -> Any:
    wanted = {"notifications": {"toolsListChanged": True}}
    return http.start_modern("subscriptions/listen", wanted, authorization=token)


def get(http: Http, token: str) -> Any:
    session = http.initialize(authorization=token)
    headers: Any = {
        "accept": "text/event-stream",
        "authorization": token,
        "mcp-session-id": session.token,
        "mcp-protocol-version": session.revision,
    }
    return http.start("GET", b"", headers)


@pytest.mark.parametrize("start", [listen, get])
def test_a_stream_ends_in_order_when_its_token_expires(served: tuple[MCPApp, Http], start: Any) -> None:
    """B7, R-609: with the result that is due, so that the client opens another one with a new token."""
    app, http = served
    with start(http, bearer(2 - LEEWAY)) as ending, start(http, bearer(3600)) as lasting:
        assert ending.status == lasting.status == 200
        messages = list(ending.events())  # until the server ends it
        if start is listen:
            assert "result" in messages[-1]
        app.tool(name=f"two_{start.__name__}")(lambda: 2)
        assert any(message.get("method") == "notifications/tools/list_changed" for message in lasting.events())


@pytest.mark.parametrize("start", [listen, get])
def test_a_stream_whose_principal_has_no_expiry_ends_in_order_all_the_same(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B7, R-609: the client opens another one, and is refused if its key was revoked meanwhile."""
    monkeypatch.setattr(subscriptions, "LONGEST_STREAM", 0.3)
    keys = APIKeys({hash_key("key-of-a-test"): Principal("ci")})
    app = MCPApp("Keys", auth=ResourceServer(RESOURCE, verifiers=[keys]))
    with Serving(app) as server, start(server.http, "Bearer key-of-a-test") as stream:
        assert stream.status == 200
        messages = list(stream.events())  # until the server ends it
    if start is listen:
        assert "result" in messages[-1]


@pytest.mark.anyio
async def test_streams_that_were_opened_together_do_not_end_together() -> None:
    """B7, R-714: but none lasts longer than its token is accepted, and none much shorter than an hour."""
    loop = asyncio.get_running_loop()

    def seconds(principal: Principal | None, leeway: float = 30.0) -> float:
        listener = Listener(lambda change: True, lambda change: True)
        listener.end_with(principal, leeway)
        timer = listener._expiry
        listener.stop()
        return float("inf") if timer is None else timer.when() - loop.time()

    durations = [seconds(Principal("ada")) for _ in range(200)]
    assert 2700 - 10 < min(durations) < max(durations) <= 3600
    in_one_minute = [[end <= other < end + 60 for other in durations].count(True) for end in durations]
    assert max(in_one_minute) < 50
    for leeway in (0.0, 30.0):
        expiring = Principal("ada", expires_at=time.time() + 600)
        assert 600 + leeway - 10 < seconds(expiring, leeway) <= 600 + leeway
    assert seconds(None) == float("inf")
