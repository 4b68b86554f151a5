"""Tool authorization with four workers that share a store: one refresh, and consent that outlives any of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.authorization.desk import Desk
from support.authorization.oauth_service import AUTHORIZE, OAuthService
from support.authorization.visitor import Visitor
from support.cluster.server_processes import ProcessCluster
from support.http_client.connection import Http
from support.servers.processes import ROOT, enfilade_command, environment
from support.stores.valkey_server import Valkey
from support.waiting import eventually

FILE = str(ROOT / "tests/support/authorization/desk_server.py")
COMMAND = enfilade_command("run", FILE, "--transport", "http", "--port", "{port}")
WORKERS, CALLS = 4, 20


@contextmanager
def cluster(store: str) -> Iterator[tuple[ProcessCluster, Desk]]:
    """Start workers whose callers have tokens of an issuer."""
    with OAuthService() as service, OAuthService() as issuer:

        def variables(url: str) -> dict[str, str]:
            providers = f'{{"corp": "{service.origin}"}}'
            named = {"PROVIDERS": providers, "ISSUER": issuer.origin, "RESOURCE": url}
            return environment(ENFILADE_SECRET="s" * 40, **named)

        with ProcessCluster(WORKERS, COMMAND, store, variables) as workers:
            yield workers, Desk(workers.http, {"corp": service}, issuer, None, workers.url)


@pytest.fixture(params=["sqlite", "redis"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ProcessCluster, Desk]]:
    if request.param == "sqlite":
        with cluster(f"sqlite:///{tmp_path / 'state.db'}") as it:
            yield it
    else:
        with Valkey(tmp_path) as valkey, cluster(valkey.url) as it:
            yield it


def call_everywhere(workers: ProcessCluster, it: Desk, user: str = "ada") -> list[str]:
    """Call a tool at all workers at once, and return the texts of the results."""
    meeting = threading.Barrier(CALLS)

    def call(number: int) -> str:
        http = Http(workers.servers[number % WORKERS].port)
        meeting.wait(30)
        return str(it.call("whoami_corp", user, http=http).result["content"][0]["text"])

    with ThreadPoolExecutor(CALLS) as threads:
        return list(threads.map(call, range(CALLS)))


def test_one_refresh(running: tuple[ProcessCluster, Desk]) -> None:
    """A14: of a token that ends soon, and of one that the service refuses; a rotated one is never used twice."""
    workers, it = running
    it.service.expires_in = 30  # below the minute before its end in which a token is refreshed
    assert it.consent("whoami_corp", "ada").status == 200
    it.service.expires_in = 3600
    gate = it.service.gates["refresh_token"] = threading.Event()
    release = threading.Timer(0.5, gate.set)  # meanwhile all workers come to it
    release.start()
    assert call_everywhere(workers, it) == ["ada"] * CALLS
    assert len(it.service.token_requests("refresh_token")) == 1
    it.service.grants.end_access_tokens()
    assert call_everywhere(workers, it) == ["ada"] * CALLS
    assert len(it.service.token_requests("refresh_token")) == 2
    assert it.service.grants.replayed_refresh_tokens == 0


def test_a_worker_that_dies_while_it_refreshes(tmp_path: Path) -> None:
    """A14: its lease ends, and another worker goes on; the refresh token was not used."""
    with cluster(f"sqlite:///{tmp_path / 'state.db'}") as (workers, it):
        it.service.expires_in = 30
        it.consent("whoami_corp", "ada")
        it.service.expires_in = 3600
        gate = it.service.gates["refresh_token"] = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            dying = threads.submit(it.call, "whoami_corp", "ada", http=Http(workers.servers[0].port))
            eventually(lambda: it.service.token_requests("refresh_token"))
            workers.kill(0)
            assert dying.exception(30) is not None
        del it.service.gates["refresh_token"]
        # What the dead worker has sent still waits at the provider, which has not looked at it.
        reply = it.call("whoami_corp", "ada", http=Http(workers.servers[1].port))
        assert reply.result["content"][0]["text"] == "ada"
        assert len(it.service.token_requests("refresh_token")) == 2
        gate.set()


def test_consent_outlives_workers(running: tuple[ProcessCluster, Desk]) -> None:
    """A19: any worker serves each step, and none of them is needed for the next one."""
    workers, it = running
    with Visitor("ada") as visitor:
        link = it.link("whoami_corp", "ada")
        assert urlsplit(link).port == workers.port
        workers.kill(0)
        page = visitor.open(link)
        workers.kill(1)
        callback = visitor.open(
            visitor.press(page, until=it.service.url(AUTHORIZE)).trail[-1],
            until=f"http://127.0.0.1:{workers.port}/",
        ).trail[-1]
        workers.start(0)
        workers.kill(2)
        assert visitor.open(callback).text.startswith("Done")
        workers.kill(3)
    workers.start(1)
    workers.kill(0)
    assert it.text("whoami_corp", "ada") == "ada"
    assert len(it.service.token_requests("authorization_code")) == 1
