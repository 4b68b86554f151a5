"""Official clients and `mcp-remote` log in at a server that is its own authorization server, one worker and four.

Each finds its own way from the first 401, in both kinds of revisions: by a registration, and by its document.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from clients.logins import CLIENTS, Clients, LoginClient
from support import tooling
from support.authorization.document_server import DocumentServer
from support.authorization.oidc_provider import OidcProvider
from support.cluster.server_processes import ProcessCluster
from support.servers import login_server
from support.servers.login_server import MORE, SCOPE

OFFICIAL = [client for client in CLIENTS if client.program]
LIFETIME = 2
"""Seconds that a token is valid for which a test lets expire."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentServer]:
    with DocumentServer(tmp_path_factory.mktemp("host")) as server:
        yield server


@pytest.fixture(scope="module", params=[1, 4], ids=["one-worker", "four-workers"])
def cluster(
    request: pytest.FixtureRequest,
    running_oidc_provider: OidcProvider,
    host: DocumentServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProcessCluster]:
    def env(url: str) -> dict[str, str]:
        public_url = url.removesuffix("/mcp")
        upstream = login_server.register_at(running_oidc_provider, public_url)
        options = {"access_token_time": LIFETIME} if request.param == 4 else {}
        return login_server.env(public_url, upstream, **options) | login_server.with_documents(host)

    with ExitStack() as stack:
        store = f"sqlite:///{tmp_path_factory.mktemp('clients') / 'store.db'}"
        cluster = stack.enter_context(ProcessCluster(request.param, login_server.COMMAND, store, env))
        yield cluster
        output = cluster.output()  # at level debug
        for secret in ("enf_at_", "enf_rt_", "enf_ac_", "eyJ"):
            assert secret not in output, output


@pytest.fixture
def url(cluster: ProcessCluster, oidc_provider: OidcProvider) -> str:
    return cluster.url


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


def test_a_client_registers_and_logs_in(
    clients: Clients, client: LoginClient, oidc_provider: OidcProvider, url: str
) -> None:
    """A23, X-AUTH-22, X-AUTH-23: from the challenge alone. Where tokens end soon, it goes on with others."""
    oidc_provider.configure(user="bob")
    connection = clients.connect(client, url)
    caller = connection.call("whoami")
    assert (caller["subject"], caller["revision"]) == ("bob", client.revision)
    assert caller["client"].startswith("enf_client_")
    assert SCOPE in caller["scopes"]
    time.sleep(LIFETIME)
    assert connection.call("whoami") == caller


@pytest.mark.parametrize("client", OFFICIAL, ids=lambda client: client.name)
def test_a_client_is_described_by_its_document(
    clients: Clients, client: LoginClient, host: DocumentServer, url: str
) -> None:
    """A23, X-AUTH-21: without a registration."""
    with tooling.or_skip():
        client.command()
    document = host.describe(f"/{client.name}.json")
    caller = clients.connect(client, url, document=document).call("whoami")
    assert (caller["subject"], caller["client"]) == ("ada", document)


def test_a_client_asks_for_more(clients: Clients, client: LoginClient, url: str) -> None:
    """R-605, R-606, X-AUTH-5: the user agrees to more scopes after a 403."""
    connection = clients.connect(client, url)
    before = connection.call("whoami")
    assert MORE not in before["scopes"]
    if not client.steps_up:
        with pytest.raises(AssertionError, match="403"):
            connection.call("write")
        return
    after = connection.call("write")
    assert {SCOPE, MORE} <= {*after["scopes"]}
    assert (after["user"], after["client"]) == (before["user"], before["client"])


def test_clients_stay_logged_in_when_all_workers_restart(
    clients: Clients, cluster: ProcessCluster, url: str
) -> None:
    """A23, X-AUTH-22: their sessions may end, but nobody is asked to log in again."""
    with tooling.or_skip():
        connections = {client: clients.connect(client, url) for client in OFFICIAL if client.command()}
    before = {client: connection.call("whoami") for client, connection in connections.items()}
    cluster.restart(*cluster.running)
    for client, connection in connections.items():
        assert connection.call("whoami")["client"] == before[client]["client"], client.name
