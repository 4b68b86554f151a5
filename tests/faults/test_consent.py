"""kill -9 between any two steps of a consent and a refresh (A19): what was granted stays, nobody waits for ever.

The easy thing to get wrong is what a code proves: one that was sent may have been redeemed, whatever became of
the response, so nobody sends it again, and the user is asked anew.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.authorization.oauth_service import OAuthService
from support.authorization.visitor import Page, Visitor
from support.cluster.server_processes import ProcessCluster
from support.faults.servers import LOOPS, SETTINGS
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.proxy.round_robin_proxy import PIN
from support.servers.processes import python_command
from support.waiting import eventually

SCRIPT = Path(__file__).parents[1] / "support" / "faults" / "consent_server.py"
SERVERS = 3
CAPABILITIES: dict[str, Any] = {"elicitation": {"url": {}}}
META = "enfilade/authorization"


@pytest.fixture(scope="module")
def service() -> Iterator[OAuthService]:
    with OAuthService({"enfilade": "client-secret-of-the-tests"}) as service:
        yield service


@pytest.fixture(scope="module")
def _servers(store: str, service: OAuthService) -> Iterator[ProcessCluster]:
    def environment(url: str) -> dict[str, str]:
        return {**SETTINGS, "CONSENT_PROVIDER": service.origin, "CONSENT_PUBLIC": url.removesuffix("/mcp")}

    with ProcessCluster(SERVERS, python_command(SCRIPT, "{port}"), store, environment) as cluster:
        yield cluster


class Consents:
    """A client of 2026-07-28, and its user.

    Attributes:
        step: what was done last.
        served_by: the index of the server that did it.
    """

    def __init__(self, cluster: ProcessCluster, service: OAuthService) -> None:
        self.cluster, self.service = cluster, service
        self._ids = itertools.count(1)
        self._turns = itertools.count()
        self.served_by = 0

    def pin(self) -> dict[str, str]:
        """Return the header by which another server than before serves a request."""
        running = self.cluster.running
        self.served_by = running[next(self._turns) % len(running)]
        return {PIN: str(self.served_by)}

    def call(self, tool: str = "whoami", earlier: dict[str, Any] | None = None) -> dict[str, Any]:
        params: dict[str, Any] = {"name": tool, "arguments": {}}
        if earlier is not None:
            answers = {key: {"action": "accept"} for key in earlier["inputRequests"]}
            params |= {"requestState": earlier["requestState"], "inputResponses": answers}
        meta = stateless_meta(clientCapabilities=CAPABILITIES)
        message = request_of("tools/call", params, next(self._ids), meta)
        headers = {name.replace("_", "-"): str(value) for name, value in modern_headers(message).items()}
        headers |= {"Accept": "application/json, text/event-stream", **self.pin()}
        response = httpx.post(self.cluster.url, json=message, headers=headers, timeout=30)
        # A call that waits for long has a stream, whose last event is the response.
        *_, body = (line.removeprefix("data: ") for line in response.text.splitlines() if line)
        content: dict[str, Any] = json.loads(body)
        assert "result" in content, content
        result: dict[str, Any] = content["result"]
        return result

    def kill(self) -> None:
        """Kill the server that did the last step, and start it again."""
        self.cluster.kill(self.served_by)
        self.cluster.start(self.served_by)


@pytest.fixture
def consents(_servers: ProcessCluster, service: OAuthService) -> Consents:
    service.gates.clear()
    service.expires_in, service.grants.rotates = 3600, True
    _servers.start(*(set(range(SERVERS)) - set(_servers.running)))
    consents = Consents(_servers, service)
    forgotten = consents.call("forget")
    if forgotten["resultType"] == "complete":
        assert text_of(forgotten) == "forgotten"
    return consents


def text_of(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text


def link_in(result: dict[str, Any]) -> str:
    assert result["resultType"] == "input_required", result
    ((_, question),) = result["inputRequests"].items()
    url: str = question["params"]["url"]
    return url


STEPS = ["asked", "opened", "pressed", "granted", "retried"]


@pytest.mark.parametrize("killed_after", STEPS)
@pytest.mark.parametrize("round", range(LOOPS))
def test_a_server_is_killed_after_a_step(consents: Consents, round: int, killed_after: str) -> None:
    """Every step is done by another server, and that of one step dies."""
    replayed = consents.service.grants.replayed_codes

    def done(step: str) -> None:
        if step == killed_after:
            consents.kill()

    asked = consents.call()
    url = link_in(asked)
    done("asked")
    with Visitor("ada") as visitor:
        page = pinned(visitor, consents, lambda: visitor.open(url))
        done("opened")
        callback = consents.cluster.url.removesuffix("/mcp") + "/auth/callback"
        redirect = pinned(visitor, consents, lambda: visitor.press(page, callback))
        done("pressed")
        last = pinned(visitor, consents, lambda: visitor.open(redirect.trail[-1]))
        assert "Done" in last.text
        done("granted")
    result = consents.call(earlier=asked)
    assert text_of(result) == "ada"
    done("retried")
    assert text_of(consents.call()) == "ada"
    assert consents.service.grants.replayed_codes == replayed


def pinned(visitor: Visitor, consents: Consents, visit: Callable[[], Page]) -> Page:
    visitor.send_with(consents.pin())
    return visit()


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_server_is_killed_while_it_redeems_a_code(consents: Consents, round: int) -> None:
    """The code is not sent again; the call is told, and a new consent works."""
    service, gate = consents.service, threading.Event()
    replayed = service.grants.replayed_codes
    asked = consents.call()
    with Visitor("ada") as visitor:
        callback = consents.cluster.url.removesuffix("/mcp") + "/auth/callback"
        redirect = visitor.press(visitor.open(link_in(asked)), callback)
        service.gates["authorization_code"] = gate
        before = len(service.token_requests("authorization_code"))
        visitor.send_with(consents.pin())
        thread = threading.Thread(target=_lost, args=(visitor, redirect.trail[-1]))
        thread.start()
        eventually(lambda: len(service.token_requests("authorization_code")) > before)
        consents.kill()
        gate.set()
        thread.join(30)
        visitor.send_with({})
        assert visitor.open(redirect.trail[-1]).status == 400  # the same callback once more
    outcome = eventually(lambda: _unless_asked(consents.call(earlier=asked)), "the call waits for ever")
    assert "interrupted before it had the token" in text_of(outcome)
    again = consents.call()
    with Visitor("ada") as visitor:
        assert visitor.agree(link_in(again)).status == 200
    assert text_of(consents.call(earlier=again)) == "ada"
    assert service.grants.replayed_codes == replayed


def _lost(visitor: Visitor, url: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        visitor.open(url)


def _unless_asked(result: dict[str, Any]) -> dict[str, Any] | None:
    return None if result["resultType"] == "input_required" else result


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("round", range(LOOPS))
def test_a_server_is_killed_while_it_refreshes(consents: Consents, round: int, rotates: bool) -> None:
    """The others go on after its lease. A refresh token that does not rotate keeps the consent; with one that
    does, the new one has died with the server, and the user is asked anew."""
    service, gate = consents.service, threading.Event()
    service.expires_in, service.grants.rotates = 30, rotates
    asked = consents.call()
    with Visitor("ada") as visitor:
        assert visitor.agree(link_in(asked)).status == 200
    service.gates["refresh_token"] = gate
    before = len(service.token_requests("refresh_token"))
    pin = consents.pin()
    thread = threading.Thread(target=_cut_off, args=(consents, pin))
    thread.start()
    eventually(lambda: len(service.token_requests("refresh_token")) > before)
    consents.served_by = int(pin[PIN])
    consents.kill()
    service.expires_in = 3600
    gate.set()
    thread.join(30)
    result = consents.call()
    if rotates and result["resultType"] == "input_required":
        with Visitor("ada") as visitor:
            assert visitor.agree(link_in(result)).status == 200
        result = consents.call(earlier=result)
    assert text_of(result) == "ada"
    assert text_of(consents.call()) == "ada"


def _cut_off(consents: Consents, pin: dict[str, str]) -> None:
    consents.pin = lambda: pin  # type: ignore[method-assign]
    try:
        with contextlib.suppress(httpx.TransportError, ValueError):
            consents.call()
    finally:
        del consents.pin
