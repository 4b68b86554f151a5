"""Clients that are described by a document at the URL that is their id (X-AUTH-21)."""

import asyncio
from collections.abc import Iterator

import pytest

from enfilade.auth.oauth_proxy.documents import ClientDocuments
from enfilade.auth.safe_fetch.fetch import BusyError, Document, SafeFetcher, UnsafeURLError
from support.authorization.document_server import HOST, DocumentServer, fetcher
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, caller
from support.authorization.visitor import Visitor
from support.servers import login_server


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentServer]:
    with DocumentServer(tmp_path_factory.mktemp("host")) as server:
        yield server


@pytest.fixture(scope="module")
def url_with_host(running_oidc_provider: OidcProvider, host: DocumentServer) -> Iterator[str]:
    documents = fetcher(host.port, host.certificate)
    with login_server.serving(running_oidc_provider, _fetcher=documents) as url:
        yield url


def documents_of(host: DocumentServer) -> tuple[ClientDocuments, list[float]]:
    """Return what keeps documents, and its clock."""
    now = [0.0]
    return ClientDocuments(fetcher(host.port, host.certificate), "mcp.example.com", clock=lambda: now[0]), now


def test_a_client_needs_no_registration(url_with_host: str, host: DocumentServer, visitor: Visitor) -> None:
    """A23, X-AUTH-21: the user sees where it is described."""
    client = ProxyClient(url_with_host, host.describe("/app.json"))
    page = visitor.open(client.authorization_url())
    assert "a described client" in page.text
    assert f"{HOST}:{host.port}" in page.text
    tokens = client.redeem(client.code(visitor)).json()
    assert caller(url_with_host, tokens["access_token"])["client"] == client.client_id
    assert client.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"client_id": "https://client.example.com/other.json"}, "is not its URL"),
        ({"client_id": None}, "is not its URL"),
        ({"client_name": None}, "no client_name"),
        ({"client_name": 5}, "no client_name"),
        ({"client_name": " "}, "no client_name"),
        ({"redirect_uris": None}, "redirect_uris"),
        ({"redirect_uris": []}, "redirect_uris"),
        ({"redirect_uris": "http://127.0.0.1:1/callback"}, "redirect_uris"),
        ({"redirect_uris": ["javascript:alert(1)", "http://evil.example.com/"]}, "no redirect URI that is safe"),
        ({"redirect_uris": ["https://a.example.com/"] * 21}, "redirect_uris"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "and no secret"),
        ({"client_secret": "s"}, "and no secret"),
        ({"padding": "x" * 6000}, "more than"),
    ],
)
def test_documents_that_are_refused(
    url_with_host: str, host: DocumentServer, visitor: Visitor, members: dict[str, object], reason: str
) -> None:
    """X-AUTH-21: with a page that says what its makers have to correct, and no redirect."""
    client = ProxyClient(url_with_host, host.describe(f"/{abs(hash(str(members)))}.json", **members))
    page = visitor.open(client.authorization_url())
    assert page.status == 400
    assert reason in page.text
    assert "location" not in page.response.headers


@pytest.mark.parametrize("kind", ["text/html", "text/plain", ""])
def test_a_document_is_json(url_with_host: str, host: DocumentServer, visitor: Visitor, kind: str) -> None:
    url = host.describe(f"/kind{len(kind)}.json", headers={"Content-Type": kind})
    assert visitor.open(ProxyClient(url_with_host, url).authorization_url()).status == 400


def test_the_redirect_uri_is_one_of_the_document(
    url_with_host: str, host: DocumentServer, visitor: Visitor
) -> None:
    """X-AUTH-21, R-708."""
    client = ProxyClient(url_with_host, host.describe("/redirect.json"))
    page = visitor.open(client.authorization_url(redirect_uri="https://evil.example.com/"))
    assert page.status == 400


@pytest.mark.parametrize(
    "client_id",
    [
        "https://client.example.com",
        "https://client.example.com/",
        "https://client.example.com/a?b",
        "https://client.example.com/a#b",
        "https://client.example.com/../a",
        "https://client.example.com/a/%2E%2e/b",
        "https://client.example.com/" + "a" * 600,
        "http://client.example.com/a",
        "https://mcp.example.com/oauth/authorize",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/a",
    ],
)
def test_what_is_no_id_of_a_document(host: DocumentServer, client_id: str) -> None:
    """X-AUTH-21: nothing is fetched for it, from this server least of all."""
    documents = ClientDocuments(fetcher(443, host.certificate), "mcp.example.com")
    assert not documents.is_document(client_id)
    assert documents.is_document("https://client.example.com/a")


def fetched(host: DocumentServer, path: str) -> int:
    return sum(1 for requested, _ in host.requests if requested == path)


@pytest.mark.parametrize(
    ("control", "at", "count"),
    [
        ("max-age=100", 99, 1),
        ("max-age=100", 101, 2),
        ("public, max-age=99999999", 86_399, 1),
        ("public, max-age=99999999", 86_401, 2),
        ("no-store", 9, 1),
        ("no-store", 11, 2),
        ("max-age=0", 11, 2),
        ("", 299, 1),
        ("", 301, 2),
    ],
)
def test_a_document_is_kept_as_its_headers_say(host: DocumentServer, control: str, at: float, count: int) -> None:
    """X-AUTH-21: within bounds."""
    path = f"/kept-{abs(hash((control, at)))}.json"
    url = host.describe(path, headers={"Cache-Control": control})
    documents, now = documents_of(host)

    async def run() -> None:
        await documents.get(url)
        now[0] = at
        await documents.get(url)

    asyncio.run(run())
    assert fetched(host, path) == count


def test_a_document_that_is_not_there_is_not_asked_for_at_once(host: DocumentServer) -> None:
    """X-AUTH-21: negative results are kept, briefly."""
    documents, now = documents_of(host)
    url = host.url("/missing.json")

    async def run() -> None:
        for second in (0, 1, 59, 61):
            now[0] = float(second)
            with pytest.raises(UnsafeURLError, match="status 404"):
                await documents.get(url)

    asyncio.run(run())
    assert fetched(host, "/missing.json") == 2


def test_many_requests_wait_for_one_document(host: DocumentServer) -> None:
    """X-AUTH-21: also if whoever came first goes away."""
    documents, _ = documents_of(host)
    url = host.describe("/many.json")

    async def run() -> None:
        first = asyncio.create_task(documents.get(url))
        await asyncio.sleep(0)
        others = [asyncio.create_task(documents.get(url)) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        assert {document.name for document in await asyncio.gather(*others)} == {"a described client"}

    asyncio.run(run())
    assert fetched(host, "/many.json") == 1


@pytest.mark.anyio
async def test_a_busy_server_says_nothing_of_a_client(
    host: DocumentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X-AUTH-21: a client that was refused since others kept this server busy is asked for at once."""
    documents, _ = documents_of(host)
    url = host.describe("/busy.json")
    fetched = SafeFetcher.get

    async def busy(self: SafeFetcher, url: str) -> Document:
        raise BusyError("too many documents are being fetched at present", is_final=False)

    monkeypatch.setattr(SafeFetcher, "get", busy)
    with pytest.raises(UnsafeURLError, match="too many"):
        await documents.get(url)
    monkeypatch.setattr(SafeFetcher, "get", fetched)
    assert (await documents.get(url)).name == "a described client"
