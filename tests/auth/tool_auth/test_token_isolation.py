"""Whatever callers do side by side, a tool gets the token of its caller and of its provider (A13, P9, P10).

Who a caller is at a service has the name of the principal, so a mix-up is a wrong name. Easy to get wrong: a test
in which everything is refused. So whoever has consented, and does not take that back, must get what is theirs.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from support.authorization.desk import META, Desk, desk
from support.authorization.desk_server import TLS
from support.authorization.oauth_service import USERINFO, WHOAMI
from support.http_client.connection import modern_headers, request_of, stateless_meta

PROVIDERS = ("corp", "wiki")
USERS = ("ada", "bob", "cleo", "dora")
#: Has not consented at this one.
WITHOUT = ("dora", "wiki")
INTERLEAVINGS = 500


@dataclass(frozen=True)
class Step:
    """One call of a user."""

    user: str
    tool: str
    arguments: tuple[tuple[str, Any], ...] = ()


def steps() -> st.SearchStrategy[Step]:
    users, providers, pauses = (
        st.sampled_from(USERS),
        st.sampled_from(PROVIDERS),
        st.sampled_from((0.0, 0.001, 0.004)),
    )
    plain = st.builds(
        lambda user, id, pause: Step(user, f"whoami_{id}", (("pause", pause),)), users, providers, pauses
    )
    inner = st.sampled_from((*(f"whoami_{id}" for id in PROVIDERS), "nothing", "everywhere", "reject_wiki"))
    chained = st.builds(lambda user, tool: Step(user, "chain", (("tool", tool),)), users, inner)
    return st.one_of(
        *(plain, plain, chained, st.builds(Step, users, st.sampled_from(("everywhere", "nothing")))),
        st.builds(
            Step, users, st.sampled_from(("reject_corp", "reject_wiki", "fail_corp")), st.just((("kind", "x"),))
        ),
    )


class Callers:
    """Calls tools side by side, and checks each outcome.

    Attributes:
        served: how many calls have told who somebody is.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.served = 0
        self._headers = {user: desk.headers(user) for user in USERS}

    async def call_all(self, calls: list[Step]) -> None:
        """Make calls at once."""
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits, verify=TLS) as client:
            await asyncio.gather(*(self._call(client, each) for each in calls))

    async def _call(self, client: httpx.AsyncClient, step: Step) -> None:
        arguments = {name: value for name, value in step.arguments if name != "kind" or "fail" in step.tool}
        params = {"name": step.tool, "arguments": arguments}
        message = request_of("tools/call", params, 1, stateless_meta())
        headers = {name.replace("_", "-"): str(value) for name, value in modern_headers(message).items()}
        headers |= {"accept": "application/json, text/event-stream", **self._headers[step.user]}
        response = await client.post(self.desk.resource, json=message, headers=headers)
        text = response.text
        if response.headers["content-type"].startswith("text/event-stream"):
            text = re.findall(r"^data: (.+)$", text, re.MULTILINE)[-1]
        self._check(step, json.loads(text)["result"])

    def _check(self, step: Step, result: dict[str, Any]) -> None:
        text = result["content"][0]["text"]
        others = [user for user in USERS if user != step.user and user in text]
        assert not others, (step, text)
        if step.tool.startswith("whoami"):
            self._check_who(step.user, step.tool.removeprefix("whoami_"), result, text)
        elif step.tool == "nothing":
            assert "this tool has no token" in text
        elif step.tool == "everywhere":
            if step.user == WITHOUT[0]:
                self._check_refused(result, text)
            else:
                self._is_told(result["structuredContent"], dict.fromkeys(PROVIDERS, step.user))
        elif step.tool == "chain":
            self._check_chain(step, result)
        elif step.tool == "fail_corp":
            self._is_told(text, "nothing")
        else:
            assert result["isError"], (step, text)

    def _check_who(self, user: str, provider: str, result: dict[str, Any], text: str) -> None:
        if (user, provider) == WITHOUT:
            self._check_refused(result, text)
        else:
            self._is_told(text, user)

    def _check_refused(self, result: dict[str, Any], text: str) -> None:
        """There is a link for who has not consented, up to some number of links."""
        detail = result["_meta"].get(META)
        assert result["isError"]
        assert detail["provider"] == WITHOUT[1] if detail else "consent" in text

    def _check_chain(self, step: Step, result: dict[str, Any]) -> None:
        """The caller's own token is the same before and after, and it sees none of the callee's (P9, P10)."""
        tool = dict(step.arguments)["tool"]
        inner_fails = tool in ("nothing", "reject_wiki") or (step.user == WITHOUT[0] and tool != "whoami_corp")
        told = result["structuredContent"]
        self._is_told((told["before"], told["after"], told["providers"]), (step.user, step.user, ["corp"]))
        if inner_fails:
            assert told["inner"].startswith("error: "), told
        else:
            self._is_told(
                told["inner"], step.user if tool != "everywhere" else dict.fromkeys(PROVIDERS, step.user)
            )

    def _is_told(self, told: object, expected: object) -> None:
        assert told == expected
        self.served += 1


@contextmanager
def consented() -> Iterator[Callers]:
    with desk(*PROVIDERS, users=True) as it:
        for user in USERS:
            for id in PROVIDERS:
                if (user, id) != WITHOUT:
                    assert it.consent(f"whoami_{id}", user).status == 200
        yield Callers(it)


@pytest.fixture(scope="module")
def callers() -> Iterator[Callers]:
    with consented() as it:
        yield it


@settings(
    max_examples=INTERLEAVINGS,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(calls=st.lists(steps(), min_size=2, max_size=8), ends_tokens=st.booleans())
def test_tokens_stay_with_their_users(callers: Callers, calls: list[Step], ends_tokens: bool) -> None:
    """A13, A15, P9, P10: also while tokens are refreshed, because the service has refused them."""
    if ends_tokens:
        for service in callers.desk.services.values():
            service.grants.end_access_tokens()
    asyncio.run(callers.call_all(calls))


def test_what_the_services_were_sent(callers: Callers) -> None:
    """A13, R-610, R-707: no service was sent the token of a caller, or of another service."""
    assert callers.served > INTERLEAVINGS
    for service in callers.desk.services.values():
        bearers = {visit.bearer for path in (WHOAMI, USERINFO) for visit in service.visits_of(path)}
        assert bearers
        assert bearers <= service.grants.issued
        assert service.grants.replayed_refresh_tokens == service.grants.replayed_codes == 0
