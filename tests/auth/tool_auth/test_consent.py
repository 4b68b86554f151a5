"""Consent, from the question to the token: in each era, over each transport (A3 to A8, A10, A16)."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.shared.exceptions import MCPError

from enfilade import Context, text_of
from enfilade.client.connect import Era
from enfilade.client.targets import ClientTransport
from enfilade.testing import Question, accept, cancel, connect, decline
from enfilade.timings import Timings
from support.authorization.oauth_service import AUTHORIZE, REVOKE, USERINFO, OAuthService
from support.authorization.tool_app import CLIENT, SECRET, consenting, provider_at, tool_app, visited
from support.authorization.visitor import Page, Visitor
from support.servers.scripted_http_server import Answer
from support.waiting import until

pytestmark = pytest.mark.anyio
META = "enfilade/authorization"
ERAS = ("session", "stateless")
WAYS = [(era, transport) for era in ERAS for transport in ("memory", "http")]


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@pytest.mark.parametrize(("era", "transport"), WAYS)
async def test_a_call_goes_on_after_consent(service: OAuthService, era: Era, transport: ClientTransport) -> None:
    """A3, A4, A5: the user consents once, and later calls have the token."""
    pages: list[Page] = []
    app = tool_app(service)
    async with connect(app, era=era, transport=transport, answers=consenting("ada", pages)) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert text_of(await client.call_tool("whoami")) == "ada: read"
    (question,) = client.questions
    assert "Corp" in question.message
    assert "read" in question.message
    await until(lambda: pages)
    assert "Done" in pages[0].text
    (request,) = service.visits_of(AUTHORIZE)
    assert request.query["response_type"] == "code"
    assert request.query["code_challenge_method"] == "S256"
    assert len(request.query["state"]) >= 43
    assert request.query["redirect_uri"].endswith("/auth/callback")
    assert service.grants.replayed_codes == 0


@pytest.mark.parametrize(("era", "transport"), WAYS)
@pytest.mark.parametrize("said", [decline, cancel])
async def test_who_declines_grants_nothing(
    service: OAuthService, era: Era, transport: ClientTransport, said: Any
) -> None:
    """A7: told, no token, nothing stored, and the link is dead."""
    app = tool_app(service)
    urls: list[str] = []

    async def answer(question: Question) -> Any:
        urls.append(str(question.url))
        return said()

    async with connect(app, era=era, transport=transport, answers=answer) as client:
        result = await client.call_tool("whoami")
        assert result.is_error
        assert "the user has declined" in text_of(result)
        if transport == "http":
            page = await asyncio.to_thread(visited, urls[0])
            assert page.status == 410
        assert [entry async for entry in app.tool_authorization.vault.entries()] == []
    assert len(urls) == 1


async def test_accept_alone_releases_nothing(service: OAuthService) -> None:
    """A4, R-544: the call waits for the callback, and then says that nobody came."""
    app = tool_app(service, auth_timeout=1.0)

    async def answer(question: Question) -> Any:
        return accept()

    async with connect(app, era="session", answers=answer) as client:
        result = await client.call_tool("whoami")
    assert result.is_error
    assert "nobody has given consent within 1 seconds" in text_of(result)


async def test_a_retry_before_the_callback_gets_the_same_question(service: OAuthService) -> None:
    """A5: with the same URL, until the user has been there; there is no `elicitationId` (R-547)."""
    asked: list[Question] = []

    async def answer(question: Question) -> Any:
        asked.append(question)
        if len(asked) == 3:
            await asyncio.to_thread(visited, str(question.url), "ada")
        return accept()

    app = tool_app(service)
    app._timings = Timings(consent_round=0.2)
    async with connect(app, era="stateless", transport="http", answers=answer) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"
    assert len({question.url for question in asked}) == 1
    assert len({question.message for question in asked}) == 1
    assert len(asked) == 3


async def test_the_client_is_told_that_it_is_done(service: OAuthService) -> None:
    """A4: `notifications/elicitation/complete` in a session."""
    sent: list[Any] = []
    async with connect(
        tool_app(service), era="session", answers=consenting("ada"), message_handler=_collect(sent)
    ) as client:
        await client.call_tool("whoami")
    assert [message for message in sent if "ElicitComplete" in type(message).__name__]


def _collect(sent: list[Any]) -> Any:
    async def handle(message: Any) -> None:
        sent.append(getattr(message, "root", message))

    return handle


async def test_the_error_of_2025_11_25(service: OAuthService) -> None:
    """A6: -32042 with the page, and the repeated call works after consent."""
    app = tool_app(service, auth_prompt="error")
    async with connect(app, era="session", transport="http", answers=consenting("ada")) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("whoami")
        assert caught.value.error.code == -32042
        (page,) = caught.value.error.data["elicitations"]
        assert page.keys() == {"mode", "elicitationId", "url", "message"}
        assert page["mode"] == "url"
        await asyncio.to_thread(visited, page["url"], "ada")
        assert text_of(await client.call_tool("whoami")) == "ada: read"
    async with connect(app, era="stateless", transport="http", answers=consenting("bob")) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"  # never -32042 there


@pytest.mark.parametrize(("era", "transport"), WAYS)
async def test_a_client_without_pages_gets_the_link(
    service: OAuthService, era: Era, transport: ClientTransport
) -> None:
    """A7: in the text and in `_meta`."""
    async with connect(tool_app(service), era=era, transport=transport) as client:
        result = await client.call_tool("whoami")
        assert result.is_error
        assert result.meta is not None
        detail = result.meta["enfilade/authorization"]
        assert detail == {"provider": "corp", "url": detail["url"], "scopes": ["read"]}
        assert detail["url"] in text_of(result)
        assert "then call again" in text_of(result)
        page = await asyncio.to_thread(visited, detail["url"], "ada")
        assert page.status == 200
        assert text_of(await client.call_tool("whoami")) == "ada: read"


async def test_the_link_and_its_page(service: OAuthService) -> None:
    """A8: what is in the link, what the page says, its headers, and that it works once."""
    async with connect(tool_app(service), transport="http") as client:
        result = await client.call_tool("whoami")
        assert result.meta is not None
        url = result.meta["enfilade/authorization"]["url"]
        path = urlsplit(url)
        assert path.path.startswith("/auth/start/")
        assert not path.query
        assert len(path.path.rpartition("/")[2]) == 43
        with Visitor("ada") as visitor:
            page = await asyncio.to_thread(visitor.open, url)
            assert await asyncio.to_thread(visitor.open, url)  # a reload changes nothing
            for text in ("Files", "whoami", "Corp", "read your files"):
                assert text in page.text
            headers = page.response.headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert "<script" not in page.html
            assert (await asyncio.to_thread(visitor.press, page)).status == 200
            again = await asyncio.to_thread(visitor.open, url)
            assert again.status == 410
            assert (await asyncio.to_thread(visitor.press, page)).status == 410


async def test_an_abandoned_link_locks_nobody_out(service: OAuthService) -> None:
    """A8: the link of a new call works."""
    async with connect(tool_app(service), transport="http") as client:
        links = []
        for _ in range(2):
            result = await client.call_tool("whoami")
            assert result.meta is not None
            links.append(result.meta["enfilade/authorization"]["url"])
        with Visitor("ada") as visitor:
            page = await asyncio.to_thread(visitor.open, links[0])
            await asyncio.to_thread(visitor.press, page, service.url(AUTHORIZE))
        assert (await asyncio.to_thread(visited, links[0])).status == 410
        assert (await asyncio.to_thread(visited, links[1], "ada")).status == 200
        assert text_of(await client.call_tool("whoami")) == "ada: read"


@pytest.mark.parametrize(("era", "transport"), WAYS)
async def test_a_refusal_at_the_provider(service: OAuthService, era: Era, transport: ClientTransport) -> None:
    """A10: the page says so, and the call is told; it is asked once."""
    service.denies = True
    pages: list[Page] = []
    app = tool_app(service)
    async with connect(app, era=era, transport=transport, answers=consenting(None, pages)) as client:
        result = await client.call_tool("whoami")
        assert result.is_error
        assert "the user has refused" in text_of(result)
    await until(lambda: pages)
    assert len(pages) == 1
    assert "No access was given" in pages[0].text


async def test_more_scopes(service: OAuthService) -> None:
    """A16, A3: consent again, for the union of what is granted and what is needed."""
    async with connect(tool_app(service), transport="http", answers=consenting("ada")) as client:
        await client.call_tool("whoami")
        assert text_of(await client.call_tool("save")) == "read write"
        assert text_of(await client.call_tool("whoami")) == "ada: read write"
    assert [visit.query["scope"] for visit in service.visits_of(AUTHORIZE)] == ["read", "read write"]


async def test_a_provider_that_grants_less(service: OAuthService) -> None:
    """A16: told which is missing."""
    service.granted = ["read"]
    async with connect(tool_app(service), transport="http", answers=consenting("ada")) as client:
        result = await client.call_tool("save")
        assert result.is_error
        assert "it has not granted write" in text_of(result)
    assert len(client.questions) == 1


async def test_a_tool_that_declares_no_token_has_none(service: OAuthService) -> None:
    """A13, A20."""
    async with connect(tool_app(service)) as client:
        result = await client.call_tool("plain")
        assert result.is_error
        assert "requires_auth" in text_of(result)


async def test_a_token_of_a_test(service: OAuthService) -> None:
    """A20: it replaces the provider, without network."""
    app = tool_app(service)

    for transport in ("memory", "http"):
        async with connect(app, transport=transport, auth={"corp": "of the test"}) as client:
            result = await client.call_tool("save")
            assert text_of(result) == "read write"
    async with connect(app, auth={"other": "token"}) as client:
        result = await client.call_tool("save")
        assert 'connect(app, auth={"corp"' in text_of(result)
    assert service.visits == []


async def test_too_many_links(service: OAuthService) -> None:
    """R-714: nobody fills the store with links that are not used."""
    async with connect(tool_app(service)) as client:
        results = [await client.call_tool("whoami") for _ in range(61)]
    assert [META in (result.meta or {}) for result in results] == [True] * 60 + [False]
    assert "use an earlier link" in text_of(results[-1])


async def test_a_user_who_takes_time(service: OAuthService) -> None:
    """A5: official clients retry at once and 10 times at most, so a retry waits for the user for a while."""

    async def answer(question: Question) -> Any:
        threading.Timer(1.0, visited, (str(question.url), "ada")).start()
        return accept()

    async with connect(tool_app(service), era="stateless", transport="http", answers=answer) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"
    assert len(client.questions) == 1


async def test_one_consent_is_enough_for_all_calls(service: OAuthService) -> None:
    """A4: calls that wait for the same user go on with the consent that one of them got."""
    asked: list[str] = []

    async def answer(question: Question) -> Any:
        asked.append(str(question.url))
        if len(asked) == 3:
            await asyncio.to_thread(visited, asked[0], "ada")
        return accept()

    async with connect(tool_app(service), era="session", transport="http", answers=answer) as client:
        results = await asyncio.gather(*(client.call_tool("whoami") for _ in range(3)))
    assert [text_of(result) for result in results] == ["ada: read"] * 3
    assert len(service.visits_of(AUTHORIZE)) == 1


async def test_a_decline_while_a_code_is_redeemed(service: OAuthService) -> None:
    """A7: nothing is kept, and what came is given back."""
    app, gate = tool_app(service), threading.Event()
    service.gates["authorization_code"] = gate
    visits: list[threading.Thread] = []

    async def answer(question: Question) -> Any:
        visits.append(threading.Thread(target=visited, args=(str(question.url), "ada")))
        visits[0].start()
        await until(lambda: service.token_requests("authorization_code"))
        return decline()

    async with connect(app, era="session", transport="http", answers=answer) as client:
        result = await client.call_tool("whoami")
        assert "the user has declined" in text_of(result)
        gate.set()
        await asyncio.to_thread(visits[0].join)
        assert [entry async for entry in app.tool_authorization.vault.entries()] == []
    assert len(service.visits_of(REVOKE)) == 1


async def test_what_a_provider_says_of_a_user(service: OAuthService) -> None:
    """A number that the store cannot hold costs no consent."""
    service.faults[USERINFO] = Answer({"sub": "ada", "id": 10**30})
    async with connect(tool_app(service), answers=consenting("ada")) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"


async def test_a_provider_cannot_pass_on_the_codes_of_another(service: OAuthService) -> None:
    """RFC 9700 §4.4: with several providers each has a redirect URI of its own."""
    with OAuthService({CLIENT: SECRET}) as hostile:
        corp, other = provider_at(service).client(CLIENT, SECRET), provider_at(hostile).client(CLIENT, SECRET)
        other = type(other)(**{**vars(other), "id": "other", "title": "Other"})
        app = tool_app(service, tool_auth=[corp, other])

        @app.tool(requires_auth=other(scopes=["read"]))
        async def at_other() -> str:
            return "done"

        async with connect(app, transport="http") as client:
            links = []
            for tool in ("whoami", "at_other"):
                result = await client.call_tool(tool)
                assert result.meta is not None
                links.append(result.meta[META]["url"])
            with Visitor("ada") as visitor:
                base = links[0].partition("/auth/")[0]
                to = [
                    await asyncio.to_thread(
                        lambda link=link: visitor.press(visitor.open(link), f"{base}/auth/callback").trail[-1]
                    )
                    for link in links
                ]
                assert [urlsplit(url).path for url in to] == ["/auth/callback/corp", "/auth/callback/other"]
                swapped = to[1].replace("/callback/other", "/callback/corp")
                assert (await asyncio.to_thread(visitor.open, swapped)).status == 400
                assert hostile.token_requests("authorization_code") == []
                assert (await asyncio.to_thread(visitor.open, to[1])).status == 200


async def test_an_effect_with_the_name_of_a_question(service: OAuthService) -> None:
    """What an author calls an effect is nothing of the question for consent."""
    app = tool_app(service)

    @app.tool(requires_auth=provider_at(service)(scopes=["read"]))
    async def once(ctx: Context) -> str:
        value = await ctx.once("authorization-corp", lambda: "done once")
        await ctx.elicit("Sure?")
        return value

    async def answer(question: Question) -> Any:
        if question.url is None:
            return accept()
        return await consenting("ada")(question)

    async with connect(app, era="stateless", answers=answer) as client:
        assert text_of(await client.call_tool("once")) == "done once"


async def test_a_decline_leaves_what_was_granted_before(service: OAuthService) -> None:
    """A7: of a consent for more scopes, while its code is redeemed."""
    app, gate = tool_app(service), threading.Event()
    visits: list[threading.Thread] = []

    async def answer(question: Question) -> Any:
        if not service.token_requests("authorization_code"):
            return await consenting("ada")(question)
        service.gates["authorization_code"] = gate
        visits.append(threading.Thread(target=visited, args=(str(question.url), "ada")))
        visits[0].start()
        await until(lambda: len(service.token_requests("authorization_code")) == 2)
        return decline()

    async with connect(app, era="session", transport="http", answers=answer) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert "the user has declined" in text_of(await client.call_tool("save"))
        gate.set()
        await asyncio.to_thread(visits[0].join)
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert len(client.questions) == 2
