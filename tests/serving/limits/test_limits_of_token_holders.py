"""Limits for each principal where tokens of authorization servers say who calls: over sockets, by every store.

A principal is a subject of an issuer. Which token it shows, and by way of which client, makes no difference.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.auth import ResourceServer
from enfilade.testing import Issuer
from support.harness import Serving
from support.http_client.connection import Http, Reply

RESOURCE = "https://mcp.example.com/mcp"
RETRY = "enfilade/retryAfterMs"

issuer = Issuer(audience=RESOURCE)
other_issuer = Issuer("https://other-issuer.test", audience=RESOURCE)


class LimitedServer(MCPApp):
    """Tools whose calls count for each principal, or for each client."""

    def __init__(self, store: str) -> None:
        auth = ResourceServer(RESOURCE, [issuer.server(), other_issuer.server()])
        super().__init__("limits", store=store, auth=auth)
        self.add_tool(self.twice, rate_limit="2/hour", limit_per="principal", on_limit="refuse")
        self.add_tool(self.once, rate_limit="1/hour", limit_per="client", on_limit="refuse")
        self.add_tool(self.chosen, rate_limit="1/hour", limit_per="session", on_limit="refuse")

    async def twice(self) -> str:
        """Run twice an hour for each principal."""
        return "done"

    async def once(self) -> str:
        """Run once an hour for each client."""
        return "done"

    async def chosen(self) -> str:
        """Run once an hour in each session."""
        return "done"


@pytest.fixture(params=["memory", "sqlite", "valkey"])
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    with Serving(LimitedServer(url)) as serving:
        yield serving.http


def bearer(user: str | None, by: Issuer = issuer, **claims: Any) -> str:
    """Return the header of a new token."""
    return f"Bearer {by.token(user, **claims)}"


def call(http: Http, tool: str, token: str) -> dict[str, Any]:
    return result(http.modern("tools/call", {"name": tool, "arguments": {}}, authorization=token))


def result(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = reply.messages[-1]["result"]
    return found


def admitted(results: list[dict[str, Any]]) -> list[bool]:
    return [not result.get("isError") for result in results]


def test_each_user_has_a_limit_whatever_the_token(http: Http) -> None:
    tokens = [bearer("ada"), bearer("ada", client_id="another"), bearer("ada", scopes=["more"]), bearer("bob")]
    results = [call(http, "twice", token) for token in tokens]
    assert admitted(results) == [True, True, False, True]
    assert results[2]["content"][0]["text"].startswith("Tool 'twice' takes 2 calls an hour for each user")
    assert 0 < results[2]["_meta"][RETRY] <= 1_800_000
    assert admitted([call(http, "twice", bearer("bob")) for _ in range(2)]) == [True, False]


def test_a_name_with_another_issuer_is_somebody_else(http: Http) -> None:
    assert admitted([call(http, "twice", bearer("ada")) for _ in range(3)]) == [True, True, False]
    assert admitted([call(http, "twice", bearer("ada", other_issuer)) for _ in range(3)]) == [True, True, False]


def test_both_eras_count_together_for_a_user(http: Http) -> None:
    assert admitted([call(http, "twice", bearer("ada"))]) == [True]
    for expected in (True, False):
        session = http.initialize(authorization=bearer("ada"))
        params = {"name": "twice", "arguments": {}}
        reply = session.ask("tools/call", params, authorization=bearer("ada", client_id="another"))
        assert admitted([result(reply)]) == [expected]


def test_a_client_has_one_limit_for_all_of_its_users(http: Http) -> None:
    tokens = [bearer("ada", client_id="one"), bearer("bob", client_id="one"), bearer("bob", client_id="two")]
    assert admitted([call(http, "once", token) for token in tokens]) == [True, False, True]


def test_a_client_without_users_is_a_principal(http: Http) -> None:
    tokens = [bearer(None, client_id=client) for client in ("one", "one", "one", "two")]
    assert admitted([call(http, "twice", token) for token in tokens]) == [True, True, False, True]


def test_a_call_without_a_session_counts_for_its_user(http: Http) -> None:
    assert admitted([call(http, "chosen", bearer(user)) for user in ("ada", "ada", "bob")]) == [True, False, True]


def test_a_token_that_is_refused_takes_no_share(http: Http) -> None:
    params = {"name": "twice", "arguments": {}}
    for token in (bearer("ada", expires_in=-1000), bearer("ada", audience="https://else.example.com/mcp")):
        for _ in range(2):
            assert http.modern("tools/call", params, authorization=token).status == 401
    assert admitted([call(http, "twice", bearer("ada")) for _ in range(2)]) == [True, True]
