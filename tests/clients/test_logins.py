"""Real clients log in at a real authorization server, in both eras, with one worker and with four.

Every client finds its own way from the first 401: the metadata, a registration, the browser, a token for this
server. Then its token expires, and the session goes on.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from clients.drivers import SESSIONS
from clients.logins import CLIENTS, Clients, LoginClient
from enfilade.auth import AuthorizationServer
from support import tooling
from support.authorization.oidc_provider import OidcProvider
from support.cluster.server_processes import ProcessCluster
from support.harness import eventually
from support.http_client.connection import Http
from support.servers import whoami_server
from support.servers.processes import ServerProcess, free_port

#: `mcp-remote` is for people.
OFFICIAL = [client for client in CLIENTS if client.program]
LIFETIME = 2
"""Seconds that a token is valid for which a test lets expire."""


@pytest.fixture(scope="module", params=[1, 4], ids=["one-worker", "four-workers"])
def url(
    request: pytest.FixtureRequest,
    running_oidc_provider: OidcProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A protected server, or four that take turns behind one URL, which is the resource that tokens are for."""

    def env(url: str) -> dict[str, str]:
        return whoami_server.env(url, running_oidc_provider.issuer)

    servers: list[ServerProcess]
    with ExitStack() as stack:
        if request.param == 1:
            port = free_port()
            server = ServerProcess(whoami_server.COMMAND, port=port, env=env(f"http://127.0.0.1:{port}/mcp"))
            url, servers = stack.enter_context(server).url, [server]
        else:
            store = f"sqlite:///{tmp_path_factory.mktemp('logins') / 'store.db'}"
            cluster = ProcessCluster(request.param, whoami_server.COMMAND, store, env)
            url, servers = stack.enter_context(cluster).url, cluster.servers
        yield url
        for server in servers:  # at level debug; every token of the provider begins with this
            assert "eyJ" not in server.output, server.output


@pytest.fixture
def provider(oidc_provider: OidcProvider, url: str) -> OidcProvider:
    oidc_provider.accept_resource(url)
    return oidc_provider


@pytest.fixture(scope="module")
def running_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with Clients(tmp_path_factory.mktemp("clients")) as clients:
        yield clients


@pytest.fixture
def clients(running_clients: Clients) -> Iterator[Clients]:
    yield running_clients
    running_clients.close_remote()


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> LoginClient:
    chosen: LoginClient = request.param
    with tooling.or_skip():
        chosen.command()
    return chosen


def test_a_user_logs_in(clients: Clients, client: LoginClient, provider: OidcProvider, url: str) -> None:
    """B10, R-602, R-604, X-AUTH-2: from the challenge alone; the token is for this server, and says who calls."""
    before = len(provider.grants())
    provider.configure(user="bob")
    connection = clients.connect(client, url)
    caller = connection.call("whoami")
    assert caller["revision"] == client.revision
    (grant,) = provider.grants()[before:]
    assert caller["user"] == "bob"
    assert "notes:read" in caller["scopes"]
    assert grant == {"client": caller["client"], "kind": "authorization_code", "resource": url}


@pytest.mark.parametrize("client", OFFICIAL, ids=lambda client: client.name)
def test_a_client_is_known_by_its_document(
    clients: Clients, client: LoginClient, provider: OidcProvider, url: str
) -> None:
    """R-602, X-AUTH-2: the way of 2026-07-28, without a registration."""
    with tooling.or_skip():
        client.command()
    document = f"https://host.example.com/{client.name}.json"
    metadata = {
        "client_id": document,
        "client_name": client.name,
        "redirect_uris": ["http://127.0.0.1:1/callback"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
    provider.configure(documents={document: metadata})
    caller = clients.connect(client, url, document=document).call("whoami")
    assert (caller["user"], caller["client"]) == ("ada", document)


def test_a_tool_needs_another_scope(
    clients: Clients, client: LoginClient, provider: OidcProvider, url: str
) -> None:
    """R-605, R-606, R-613, X-AUTH-5: the challenge of the 403 has all that is needed, and the user stays in."""
    connection = clients.connect(client, url)
    before = connection.call("whoami")
    assert whoami_server.MORE not in before["scopes"]
    if not client.steps_up:
        with pytest.raises(AssertionError, match="403"):
            connection.call("write")
        assert connection.call("whoami")["user"] == before["user"]
        return
    after = connection.call("write")
    assert {whoami_server.SCOPE, whoami_server.MORE} <= {*after["scopes"]}
    assert (after["user"], after["client"]) == (before["user"], before["client"])
    assert connection.call("whoami") == after


def test_a_token_expires(clients: Clients, provider: OidcProvider, url: str) -> None:
    """B10, R-603: each client gets a new one, and its session goes on. They wait together.

    The TypeScript client 1.x asks with one refresh token for its stream, which ends with the token, and for the
    call beside it, so refresh tokens may be used twice here.
    """
    provider.configure(lifetime=LIFETIME, rotate=False)
    with tooling.or_skip():
        connections = {client: clients.connect(client, url) for client in CLIENTS if client.command()}
    before = {client: connection.call("whoami") for client, connection in connections.items()}
    provider.configure(lifetime=3600)
    time.sleep(LIFETIME)
    for client, connection in connections.items():
        assert connection.call("whoami") == before[client], client.name
    refreshed = {grant["client"] for grant in provider.grants() if grant["kind"] == "refresh_token"}
    assert {client.name for client in CLIENTS if before[client]["client"] not in refreshed} == set()


@pytest.mark.parametrize("client", OFFICIAL, ids=lambda client: client.name)
def test_a_client_logs_in_for_itself(
    clients: Clients, client: LoginClient, provider: OidcProvider, url: str
) -> None:
    """X-AUTH-30: by its own credentials; the principal needs no user."""
    with tooling.or_skip():
        client.command()
    credentials = {
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "issuer": provider.issuer,
        "scope": "notes:read",
    }
    caller = clients.connect(client, url, credentials=credentials).call("whoami")
    assert (caller["user"], caller["client"]) == (provider.client_id, provider.client_id)
    assert provider.grants()[-1] == {"client": provider.client_id, "kind": "client_credentials", "resource": url}


def bearer(provider: OidcProvider, subject: str, url: str) -> str:
    return f"Bearer {provider.user_token(subject, [whoami_server.SCOPE], url)}"


def test_a_session_belongs_to_its_user(provider: OidcProvider, url: str) -> None:
    """B7, R-317, R-703: whichever worker is asked, and whoever else has a good token."""
    http = Http(httpx.URL(url).port or 0)
    ada, bob = bearer(provider, "ada", url), bearer(provider, "bob", url)
    session = http.initialize(authorization=bob)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers: Any = {"mcp_session_id": session.token, "mcp_protocol_version": session.revision}
    for authorization, status in ((bob, 200), (ada, 404), (None, 401)) * 4:
        assert http.post(ping, **headers, authorization=authorization).status == status


def test_keys_rotate(provider: OidcProvider, url: str) -> None:
    """B3: every worker takes tokens of the new key at once, and those of the old one as long as it is there."""
    http = Http(httpx.URL(url).port or 0)
    old = bearer(provider, "ada", url)
    assert [http.modern("tools/list", authorization=old).status for _ in range(4)] == [200] * 4
    provider.rotate_keys(keep=True)
    new = bearer(provider, "bob", url)
    statuses = [http.modern("tools/list", authorization=token).status for token in [new] * 4 + [old] * 4]
    assert statuses == [200] * 8


def test_a_stream_ends_with_its_token_and_is_opened_again(clients: Clients, oidc_provider: OidcProvider) -> None:
    """R-609, R-704: clients of the session era hold a stream open; each opens another one with its new token."""
    opened = Counter[bytes]()

    def counting(app: Any) -> Any:
        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            async def tapped(message: Any) -> None:
                if message["type"] == "http.response.start" and message["status"] == 200:
                    session = dict(scope["headers"]).get(b"mcp-session-id", b"")
                    opened[session] += (scope["method"], scope["path"]) == ("GET", "/mcp")
                await send(message)

            await app(scope, receive, tapped)

        return asgi

    holders = [client for client in OFFICIAL if client.revision == SESSIONS]
    with tooling.or_skip(), whoami_server.serving(oidc_provider.issuer, counting) as url:
        oidc_provider.accept_resource(url)
        oidc_provider.configure(lifetime=LIFETIME)
        connections = [clients.connect(client, url) for client in holders if client.command()]
        eventually(lambda: sum(count > 1 for count in opened.values()) == len(holders), f"{opened}")
        for connection in connections:
            assert connection.call("whoami")["user"] == "ada"


@pytest.mark.parametrize("client", OFFICIAL, ids=lambda client: client.name)
def test_nobody_logs_in_again_while_tokens_cannot_be_checked(
    clients: Clients, client: LoginClient, oidc_provider: OidcProvider
) -> None:
    """B3, X-AUTH-4: 503 is an error to the client's user, and no reason to open a browser."""
    with tooling.or_skip():
        client.command()
    server = AuthorizationServer(oidc_provider.issuer, jwks_uri=f"http://127.0.0.1:{free_port()}/jwks")
    with whoami_server.serving(server) as url:
        oidc_provider.accept_resource(url)
        before = len(oidc_provider.grants())
        with pytest.raises(AssertionError, match=r"503|Tokens cannot be checked"):
            clients.connect(client, url)
        assert len(oidc_provider.grants()) == before + 1
