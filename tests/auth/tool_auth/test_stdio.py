"""Consent over stdio, by a listener on this machine for as long as an authorization waits (A11)."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from enfilade import text_of
from enfilade.client.connect import Era
from enfilade.testing import Command, Question, accept, connect
from support.authorization.oauth_service import OAuthService
from support.authorization.tool_app import CLIENT, SECRET, consenting, visited
from support.waiting import until

pytestmark = pytest.mark.anyio
SERVER = Path(__file__).parents[2] / "support" / "authorization" / "tool_auth_server.py"


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


def command(service: OAuthService) -> Command:
    return Command([sys.executable, str(SERVER), service.origin])


@pytest.mark.parametrize("era", ["session", "stateless"])
async def test_the_listener_is_open_while_a_call_waits(service: OAuthService, era: Era) -> None:
    links: list[str] = []

    async def answer(question: Question) -> Any:
        links.append(str(question.url))
        return await consenting("ada")(question)

    async with connect(command(service), era=era, answers=answer) as client:
        assert text_of(await client.call_tool("whoami")) == "ada"
        assert text_of(await client.call_tool("whoami")) == "ada"
        (link,) = links
        assert urlsplit(link).hostname == "127.0.0.1"
        if era == "session":  # where the server knows that nobody waits any more
            await until(lambda: asyncio.to_thread(is_closed, link))


async def test_a_refused_token_is_replaced(service: OAuthService) -> None:
    """A15: a status 401 of the service, which the tool need not catch."""
    async with connect(command(service), answers=consenting("ada")) as client:
        assert text_of(await client.call_tool("whoami")) == "ada"
        service.grants.end_access_tokens()
        assert text_of(await client.call_tool("whoami")) == "ada"
        assert len(client.questions) == 1


async def test_two_servers_at_once(service: OAuthService) -> None:
    """Each has a listener of its own, whose pages know nothing of the other's links."""
    links: list[str] = []

    async def keep(question: Question) -> Any:
        links.append(str(question.url))
        await until(lambda: len(links) == 2)
        await asyncio.to_thread(visited, str(question.url), "ada")
        return accept()

    async def called() -> str:
        async with connect(command(service), era="session", answers=keep) as client:
            return text_of(await client.call_tool("whoami"))

    assert await asyncio.gather(called(), called()) == ["ada", "ada"]
    assert len({urlsplit(link).port for link in links}) == 2


def is_closed(link: str) -> bool:
    try:
        httpx.get(link)
    except httpx.TransportError:
        return True
    return False
