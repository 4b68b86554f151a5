"""What is stolen, lost on the way, or taken back at the wrong moment (A4, A5, A13, A14, A17, A19, A22)."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from support.authorization.desk import META, Desk, desk
from support.authorization.oauth_grants import GrantError
from support.authorization.oauth_service import AUTHORIZE, EXCHANGE, REVOKE, WHOAMI
from support.authorization.visitor import Visitor
from support.http_client.connection import Reply
from support.servers.scripted_http_server import Answer
from support.waiting import eventually

TOOL = "whoami_corp"
SHOWS_PAGES: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}


@pytest.fixture
def shared() -> Iterator[Desk]:
    with desk(users=True) as it:
        yield it


@pytest.fixture
def local() -> Iterator[Desk]:
    with desk() as it:
        yield it


def call(it: Desk, user: str, **more: Any) -> Reply:
    """Call a tool as a client that shows pages, in the stateless revision."""
    params = {"name": TOOL, "arguments": {}, **more}
    return it.http.modern("tools/call", params, meta=SHOWS_PAGES, **it.headers(user))


# -- questions -------------------------------------------------------------------------------------------------


def test_the_state_of_somebody_elses_call(shared: Desk) -> None:
    """A5, A13: it asks nothing for its thief, and gives nothing."""
    asked = call(shared, "ada").result
    assert asked["resultType"] == "input_required"
    ((key, question),) = asked["inputRequests"].items()
    link = question["params"]["url"]
    stolen = {"requestState": asked["requestState"], "inputResponses": {key: {"action": "accept"}}}
    reply = call(shared, "mallory", **stolen)
    assert link not in reply.body.decode()
    with Visitor("ada") as visitor:
        assert visitor.agree(link).text.startswith("Done")
    reply = call(shared, "mallory", **stolen)
    assert "ada" not in reply.body.decode().replace("Content", "")
    assert '"text":"ada"' not in reply.body.decode()
    assert call(shared, "ada", **stolen).result["content"][0]["text"] == "ada"


def test_an_answer_alone_releases_nothing(shared: Desk) -> None:
    """A5, R-544: however often a client says `accept`, the question is the same."""
    asked = call(shared, "ada").result
    for _ in range(3):
        ((key, question),) = asked["inputRequests"].items()
        url = question["params"]["url"]
        answered = {"requestState": asked["requestState"], "inputResponses": {key: {"action": "accept"}}}
        asked = call(shared, "ada", **answered).result
        assert asked["inputRequests"][key]["params"]["url"] == url
    assert shared.service.visits == []


def test_the_link_does_not_follow_the_host_header(local: Desk) -> None:
    """A8: whoever sends a request does not choose where its user is sent."""
    port = local.http.port
    params = {"name": TOOL, "arguments": {}}
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        reply = local.http.modern("tools/call", params, host=host)
        if reply.status == 200:
            assert reply.result["_meta"][META]["url"].startswith(f"{local.origin}/auth/start/")
    for host in ("evil.test", f"evil.test:{port}", f"127.0.0.1.evil.test:{port}"):
        reply = local.http.modern("tools/call", params, host=host)
        assert reply.status in (400, 403, 421)
        assert "/auth/start/" not in reply.body.decode()


# -- tokens ----------------------------------------------------------------------------------------------------


def test_a_refresh_token_that_somebody_else_has_used(local: Desk) -> None:
    """A14: the provider ends the grant; the entry is forgotten, and the user is asked again, not in a loop."""
    local.consent(TOOL)
    (stolen,) = [token for token in local.service.grants.issued if token.startswith("refresh-")]
    local.service.grants.use_refresh_token(stolen, "app")
    local.service.grants.end_access_tokens()
    assert local.link(TOOL)
    assert local.link(TOOL)
    assert len(local.service.token_requests("refresh_token")) == 1
    assert local.consent(TOOL).text.startswith("Done")
    assert local.text(TOOL) == "ada"


@pytest.mark.parametrize("code", ["bad_refresh_token", "invalid_refresh_token", "invalid_grant"])
def test_a_refusal_with_status_200(local: Desk, code: str) -> None:
    """A14: as GitHub and Slack refuse a refresh token."""
    local.consent(TOOL)
    local.service.faults["refresh_token"] = Answer({"ok": False, "error": code})
    local.service.grants.end_access_tokens()
    assert local.link(TOOL)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_revocation_while_a_refresh_is_under_way(shared: Desk, is_done: bool) -> None:
    """A17: what is taken back stays so. The new tokens of the refresh are kept by nobody, and end as well."""
    shared.consent(TOOL, "ada")
    gate = threading.Event()
    if is_done:  # the provider has given new tokens, and the response is on its way
        shared.service.faults["refresh_token"] = lambda visit: replace(shared.service.right(visit), gate=gate)
    else:
        shared.service.gates["refresh_token"] = gate
    shared.service.grants.end_access_tokens()
    with ThreadPoolExecutor(2) as threads:
        refreshing = threads.submit(shared.call, TOOL, "ada")
        eventually(lambda: shared.service.token_requests("refresh_token"))
        assert shared.text("revoke_corp", "ada") == "revoked"
        gate.set()
        result = refreshing.result(30).result
    assert result["isError"]
    assert META in result["_meta"]
    assert shared.link(TOOL, "ada")
    eventually(lambda: shared.service.count(REVOKE) > 0)
    for token in shared.service.grants.issued:
        assert shared.service.grants.grant_of(token) is None
        if token.startswith("refresh-"):
            with pytest.raises(GrantError):
                shared.service.grants.use_refresh_token(token, "app")


# -- the way back ----------------------------------------------------------------------------------------------


def test_a_browser_that_goes_away_loses_nothing(local: Desk) -> None:
    """A19: the code was sent to the provider, so the tokens are kept although nobody waits for the page."""
    gate = local.service.gates["authorization_code"] = threading.Event()
    with Visitor() as visitor:
        page = visitor.press(visitor.open(local.link(TOOL)), until=local.service.url(AUTHORIZE))
        callback = visitor.open(page.trail[-1], until=f"{local.origin}/").trail[-1]
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(callback, cookies=dict(visitor.cookies), timeout=0.3, trust_env=False)
        gate.set()
    eventually(lambda: local.is_allowed(TOOL))
    assert local.service.grants.replayed_codes == 0


def test_a_provider_that_never_answers_ends_the_authorization(local: Desk) -> None:
    """A10: there is a limit, and then a page; the code is not sent a second time."""
    local.service.gates["authorization_code"] = threading.Event()
    page = local.consent(TOOL)
    assert page.status == 502
    assert len(local.service.token_requests("authorization_code")) == 1
    assert not local.is_allowed(TOOL)


# -- exchange --------------------------------------------------------------------------------------------------


def test_exchanged_tokens_are_those_of_their_callers(shared: Desk) -> None:
    """A22, A13, R-610: side by side, for several audiences; no service sees the token of a caller."""
    users, audiences = ("ada", "bob", "cleo"), ("https://one.test", "https://two.test")
    assert shared.issuer is not None
    headers = {user: shared.headers(user) for user in users}

    def exchange(number: int) -> tuple[str, dict[str, Any]]:
        user = users[number % len(users)]
        arguments = {"audience": audiences[number % len(audiences)]}
        reply = shared.http.modern("tools/call", {"name": "exchanged", "arguments": arguments}, **headers[user])
        return user, reply.result

    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(exchange, range(60)))
    for user, result in outcomes:
        assert result["content"][0]["text"] == user, result
    callers = {header["authorization"].partition(" ")[2] for header in headers.values()}
    assert not callers & {visit.bearer for visit in shared.issuer.visits_of(WHOAMI)}
    requests = shared.issuer.token_requests(EXCHANGE)
    assert len(requests) >= len(users) * len(audiences)
    assert {request["subject_token"] for request in requests} == callers
