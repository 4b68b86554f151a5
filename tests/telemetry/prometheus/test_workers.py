"""Metrics of four workers: one scrape has the totals of all, also of those that were killed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http_client.connection import Http
from support.http_client.plain_http import fetch
from support.servers.processes import free_port
from support.telemetry.measured_server import MeasuredServer
from support.telemetry.scrape import Scrape, outcomes
from support.waiting import eventually

SESSIONS, CALLS = 8, 25


class Cluster(MeasuredServer):
    """The server with four workers, and metrics on a port of their own."""

    def __init__(self, folder: Path) -> None:
        self.metrics_port = free_port()
        super().__init__(
            ENFILADE_WORKERS="4",
            ENFILADE_METRICS_PORT=str(self.metrics_port),
            XDG_STATE_HOME=str(folder),
        )

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"


@pytest.fixture(scope="module")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def cluster(state_folder: Path) -> Iterator[Cluster]:
    with Cluster(state_folder) as cluster:
        eventually(lambda: Scrape.of(cluster.metrics_url).total("enfilade_workers") == 4, cluster.output)
        yield cluster


def add_calls(server: MeasuredServer) -> float:
    """Return how many calls of a tool there were."""
    return outcomes(Scrape.of(server.metrics_url)).get(("add", "ok"), 0)


def test_the_totals_are_those_of_all_workers(cluster: Cluster) -> None:
    before = outcomes(Scrape.of(cluster.metrics_url), method="tools/call")
    pids = set()
    for _ in range(SESSIONS):
        session = Http(cluster.port).initialize()
        for number in range(CALLS):
            session.call("add", a=number, b=1)
        session.call("fail")
        session.call("made-up")
        pids.add(session.call("pid").response["result"]["structuredContent"]["result"])
    expected = {
        ("add", "ok"): SESSIONS * CALLS,
        ("fail", "tool_error"): SESSIONS,
        ("pid", "ok"): SESSIONS,
        ("", "-32602"): SESSIONS,
    }

    def added() -> dict[tuple[str, str], float]:
        after = outcomes(Scrape.of(cluster.metrics_url), method="tools/call")
        return {key: after[key] - before.get(key, 0) for key in after}

    eventually(lambda: sum(added().values()) >= sum(expected.values()), f"{added()}")
    assert added() == expected
    assert len(pids) > 1, "one worker has served all of it"


def test_counts_of_a_killed_worker_stay_and_its_gauges_go(cluster: Cluster) -> None:
    calls = add_calls(cluster)
    Http(cluster.port).modern_call("add", a=1, b=2)
    eventually(lambda: add_calls(cluster) == calls + 1)
    with pytest.raises((OSError, ValueError)):
        Http(cluster.port).modern_call("die")
    eventually(lambda: Scrape.of(cluster.metrics_url).total("enfilade_worker_deaths_total") == 1, cluster.output)
    eventually(lambda: Scrape.of(cluster.metrics_url).total("enfilade_workers") == 4, cluster.output)
    assert add_calls(cluster) == calls + 1
    assert Scrape.of(cluster.metrics_url).total("enfilade_info") == 4


def test_the_port_of_clients_has_no_metrics(cluster: Cluster) -> None:
    assert fetch(cluster.port, "GET", "/metrics").status == 404
    assert fetch(cluster.metrics_port, "GET", "/mcp").status == 404


@pytest.mark.parametrize(("host", "status"), [("rebound.example", 421), ("10.0.0.1", 200)])
def test_the_port_of_metrics_is_guarded(cluster: Cluster, host: str, status: int) -> None:
    assert fetch(cluster.metrics_port, "GET", "/metrics", {"host": host}).status == status


def test_any_worker_answers_for_all_and_leaves_no_folder(tmp_path: Path) -> None:
    with MeasuredServer(ENFILADE_WORKERS="2", XDG_STATE_HOME=str(tmp_path)) as server:
        eventually(lambda: Scrape.of(server.metrics_url).total("enfilade_workers") == 2, server.output)
        for number in range(30):
            Http(server.port).modern_call("add", a=number, b=1)
        eventually(lambda: add_calls(server) == 30)
        for _ in range(6):  # at either worker
            assert add_calls(server) == 30
        assert len(list((tmp_path / "enfilade").glob("workers-*"))) == 2  # for the store, and for metrics
    assert list((tmp_path / "enfilade").glob("workers-*")) == []


def test_a_folder_of_somebody_else_is_used_and_left(tmp_path: Path) -> None:
    with MeasuredServer(PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        Http(server.port).modern_call("add", a=1, b=1)
        assert outcomes(Scrape.of(server.metrics_url))["add", "ok"] == 1
    assert any(name.startswith("histogram_") for name in os.listdir(tmp_path))
