"""The cluster of processes for the fault tests: servers come and go, and the proxy passes over who is away."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.cluster.server_processes import ProcessCluster
from support.harness import PROBE_SERVER, eventually
from support.servers.processes import enfilade_command


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    command = enfilade_command("run", f"{PROBE_SERVER}:app", "--transport", "http", "--port", "{port}")
    store: Path = tmp_path_factory.mktemp("cluster") / "store.db"
    with ProcessCluster(3, command, f"sqlite:///{store}") as cluster:
        yield cluster


def served(cluster: ProcessCluster, count: int) -> list[int | None]:
    """Return who serves some requests, all of which must be served well."""
    before = len(cluster.proxy.log)
    for _ in range(count):
        assert cluster.http.modern("tools/list").status == 200
    return [hop.backend for hop in cluster.proxy.log[before:]]


def test_servers_take_turns(cluster: ProcessCluster) -> None:
    first = served(cluster, 6)
    assert sorted(set(first)) == [0, 1, 2]
    assert first[:3] == first[3:]


def test_a_server_that_was_killed_or_stopped_is_passed_over_until_it_is_back(cluster: ProcessCluster) -> None:
    pids = cluster.pids()
    cluster.kill(1)
    assert (cluster.running, set(served(cluster, 4))) == ([0, 2], {0, 2})
    assert cluster.stop(2) != [-9], "it had to be killed"
    assert (cluster.running, set(served(cluster, 2))) == ([0], {0})
    cluster.start(1, 2)
    assert (cluster.running, set(served(cluster, 3))) == ([0, 1, 2], {0, 1, 2})
    assert not set(cluster.pids([1, 2])) & set(pids)


def test_sessions_outlive_the_restart_of_all(cluster: ProcessCluster) -> None:
    session = cluster.http.initialize()
    cluster.restart(0, 1, 2)
    assert [session.ask("tools/list", id=id).status for id in (1, 2, 3)] == [200] * 3


def test_nothing_is_left_running(tmp_path: Path) -> None:
    command = enfilade_command("run", f"{PROBE_SERVER}:app", "--transport", "http", "--port", "{port}")
    with ProcessCluster(2, command, f"sqlite:///{tmp_path / 'store.db'}") as cluster:
        pids = cluster.pids()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_when_one_of_them_cannot_start_none_is_left(tmp_path: Path) -> None:
    good = enfilade_command("run", f"{PROBE_SERVER}:app", "--transport", "http", "--port", "{port}")
    cluster = ProcessCluster(
        2, lambda index: good if index else [sys.executable, "-c", "1"], f"sqlite:///{tmp_path / 'x.db'}"
    )
    with pytest.raises(RuntimeError, match="the server ended"), cluster:
        pass
    assert cluster.running == []
    assert cluster.servers[1].process.poll() is not None
