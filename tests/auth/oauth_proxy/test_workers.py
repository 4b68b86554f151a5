"""One worker and four, on a file and on Valkey: any of them goes on with a login, and none is missed (A23)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, call, caller
from support.authorization.visitor import Visitor
from support.cluster.server_processes import ProcessCluster
from support.servers import login_server
from support.stores.valkey_server import Valkey
from support.waiting import eventually


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def cluster(
    request: pytest.FixtureRequest, running_oidc_provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessCluster]:
    """Four workers that share a store, and take turns with each request."""
    folder = tmp_path_factory.mktemp("workers")

    def env(url: str) -> dict[str, str]:
        public_url = url.removesuffix("/mcp")
        upstream = login_server.register_at(running_oidc_provider, public_url)
        return login_server.env(public_url, upstream)

    with ExitStack() as stack:
        if request.param == "valkey":
            store = stack.enter_context(Valkey(folder)).url
        else:
            store = f"sqlite:///{folder / 'store.db'}"
        cluster = stack.enter_context(ProcessCluster(4, login_server.COMMAND, store, env))
        yield cluster
        output = cluster.output()  # at level debug
    for secret in ("enf_at_", "enf_rt_", "enf_ac_", "enf_client_", "eyJ", "code=", "state=", "code_verifier"):
        assert secret not in output


@pytest.fixture
def public_url(cluster: ProcessCluster, oidc_provider: OidcProvider) -> str:
    return cluster.url.removesuffix("/mcp")


def crash(cluster: ProcessCluster) -> None:
    """End all workers without a word, and start them again."""
    for index in cluster.running:
        cluster.kill(index)
    cluster.start(*range(len(cluster.servers)))


def test_a_login_whose_steps_are_at_different_workers(public_url: str, visitor: Visitor) -> None:
    """A23: each request comes to another worker, and what one of them has sealed any other one opens."""
    client = ProxyClient.registered(public_url)
    tokens = client.tokens(visitor)
    for _ in range(8):
        assert caller(public_url, tokens["access_token"])["subject"] == "ada"
    for _ in range(8):
        tokens = client.refresh(tokens["refresh_token"]).json()
    assert caller(public_url, tokens["access_token"])["subject"] == "ada"


def test_all_workers_are_killed_after_each_step(
    public_url: str, cluster: ProcessCluster, visitor: Visitor
) -> None:
    """A23, X-AUTH-22: neither a registration nor a login, a code, a consent or a token is lost."""
    client = ProxyClient.registered(public_url)
    crash(cluster)
    page = visitor.open(client.authorization_url())
    crash(cluster)
    callback = visitor.press(page, f"{public_url}/oauth/callback", decision="allow").trail[-1]
    crash(cluster)
    code = client.returned(visitor.open(callback, client.redirect_uri))["code"]
    crash(cluster)
    tokens = client.redeem(code).json()
    crash(cluster)
    assert caller(public_url, tokens["access_token"])["subject"] == "ada"
    renewed = client.refresh(tokens["refresh_token"]).json()
    crash(cluster)
    assert caller(public_url, renewed["access_token"])["subject"] == "ada"
    again = client.refresh(tokens["refresh_token"])
    assert again.status_code == 200, "the response to it may have been lost"


def test_a_restart_logs_nobody_out(public_url: str, cluster: ProcessCluster, visitor: Visitor) -> None:
    """A23, X-AUTH-22: clients stay registered, and their tokens good."""
    uris = ["https://client.example.com/back"]
    client = ProxyClient.registered(
        public_url, redirect_uris=uris, token_endpoint_auth_method="client_secret_post"
    )
    tokens = client.tokens(visitor)
    cluster.restart(*cluster.running)
    assert caller(public_url, tokens["access_token"])["subject"] == "ada"
    assert not visitor.open(client.authorization_url(), client.redirect_uri).forms, "the consent is remembered"
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def at_once(action: Callable[[], httpx.Response]) -> list[dict[str, Any]]:
    """Send the same request eight times at once, and return the answers."""
    with ThreadPoolExecutor(8) as threads:
        return [future.result().json() for future in [threads.submit(action) for _ in range(8)]]


def test_workers_redeem_a_code_once(public_url: str, visitor: Visitor) -> None:
    """A23: of requests at the same moment one succeeds at most."""
    client = ProxyClient.registered(public_url)
    for _ in range(3):
        code = client.code(visitor)
        answers = at_once(lambda code=code: client.redeem(code))
        assert sum("access_token" in answer for answer in answers) <= 1
        assert {answer.get("error", "invalid_grant") for answer in answers} == {"invalid_grant"}


def test_workers_refresh_at_the_same_moment(public_url: str, visitor: Visitor) -> None:
    """A23: a client of several processes stays logged in, with the one successor that there is."""
    client = ProxyClient.registered(public_url)
    tokens = client.tokens(visitor)
    answers = at_once(lambda: client.refresh(tokens["refresh_token"]))
    assert all("refresh_token" in answer for answer in answers)
    assert client.refresh(answers[0]["refresh_token"]).status_code == 200
    assert client.refresh(answers[-1]["refresh_token"]).status_code == 200


def test_all_workers_hear_of_the_end(public_url: str, cluster: ProcessCluster, visitor: Visitor) -> None:
    """A23, RFC 7009: also those that have verified the token before."""
    client = ProxyClient.registered(public_url)
    tokens = client.tokens(visitor)
    for _ in range(8):
        caller(public_url, tokens["access_token"])
    form = {"client_id": client.client_id, "token": tokens["refresh_token"]}
    assert httpx.post(f"{public_url}/oauth/revoke", data=form).status_code == 200
    eventually(
        lambda: all(call(public_url, tokens["access_token"]).status_code == 401 for _ in range(8)),
        "a worker takes the token still",
    )


def test_a_client_is_known_to_all_workers(public_url: str, cluster: ProcessCluster, visitor: Visitor) -> None:
    """X-AUTH-22: at once, as its registration is in its id."""
    client = ProxyClient.registered(public_url)
    statuses = [visitor.open(client.authorization_url()).status for _ in cluster.servers]
    assert statuses == [200] * len(cluster.servers)
