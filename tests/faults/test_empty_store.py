"""The store loses everything while workers live, and one of them is replaced: all agree again, and say so.

No secret is set here, so the store had the only copy that a new worker can find. The easy thing to get wrong is
the one that starts while the store is empty: it makes a secret of its own, whose seals must be good everywhere.
"""

import contextlib
import http.client
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import LOOPS, faulty_cluster
from support.harness import eventually
from support.http_client.connection import Http, HttpSession
from support.stores.valkey_server import Valkey

WAYS = ["deleted", "replaced", "truncated", "flushed", "restarted"]
OF_SQLITE = WAYS[:3]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(scope="module")
def cluster_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ProcessCluster]]:
    """Two servers for each store, started when they are first needed."""
    with ExitStack() as stack:
        started: dict[str, ProcessCluster] = {}

        def of(url: str) -> ProcessCluster:
            if url not in started:
                started[url] = stack.enter_context(faulty_cluster(2, url))
            return started[url]

        yield of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite") / "shared.db"


def empty(way: str, file: Path, valkey: Valkey) -> None:
    """Take everything from the store."""
    if way == "deleted":  # as what tidies up a temporary folder does it
        for path in file.parent.glob("shared.db*"):
            path.unlink()
    elif way == "replaced":
        fresh = file.with_name("fresh")
        fresh.touch()
        fresh.replace(file)
    elif way == "truncated":
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or what is beside the file may still have all
        os.truncate(file, 0)
    elif way == "flushed":
        valkey.ask("FLUSHALL")
    else:
        valkey.kill()
        valkey.start()


def probe(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    return status


def status_of_call(cluster: ProcessCluster, session: HttpSession, index: int) -> int:
    params = {"name": "echo", "arguments": {"text": "there?"}}
    return session.ask("tools/call", params, id="there", x_backend=str(index)).status


@pytest.mark.skipif(os.name != "posix", reason="a file that is open cannot be deleted there")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("round", range(LOOPS))
def test_the_store_is_emptied_and_a_worker_is_replaced(
    cluster_on: Callable[[str], ProcessCluster], file: Path, valkey: Valkey, way: str, round: int
) -> None:
    """R-310, R-315: no session that was or is given out is lost, whoever gave it; what was ended stays ended."""
    cluster = cluster_on(f"sqlite:///{file}" if way in OF_SQLITE else valkey.url)
    old = Http(cluster.port).initialize()
    ended = Http(cluster.port).initialize()
    assert ended.delete().status == 204
    # The other worker learns it by a message, for which a busy machine may need longer than DELETE waits.
    eventually(lambda: [status_of_call(cluster, ended, index) for index in (0, 1)] == [404, 404])
    killed = round % 2
    empty(way, file, valkey)
    cluster.kill(killed)
    cluster.start(killed)
    sessions = [Http(cluster.port).initialize() for _ in range(16)]
    for number, session in enumerate([old, *sessions]):
        seen = [status_of_call(cluster, session, index) for index in (0, 1)]
        assert seen == [200, 200], (number, seen, cluster.output())
    assert [status_of_call(cluster, ended, index) for index in (0, 1)] == [404, 404]
    for index in (0, 1):
        eventually(lambda index=index: probe(cluster.servers[index].port) == 200)  # type: ignore[misc]
    assert cluster.servers[1 - killed].output.count("the store was emptied") >= 1
