"""SIGTERM under load, one worker after the other, as a rolling update does it: nobody loses anything.

What one server does when it is stopped is tested elsewhere; here its clients go to the others. The easy thing to
get wrong is to look at requests alone: streams that have no end must end too, and go on at another worker.
"""

import itertools
import sys
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import LOOPS, check_whole, client_of, faulty_cluster, numbers, opened
from support.harness import eventually
from support.http_client.resuming_client import ResumingClient, seeded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")

STOPPED = [-15]
"""Exit codes of a server that has put everything away, and then ended by the signal as it would have at once."""

DRAIN_DELAY, NOTICED = 1.0, 0.3

CALLERS = 6
EVENTS = 400


@pytest.fixture(scope="module")
def cluster(store: str) -> Iterator[ProcessCluster]:
    """Servers that wait for their last stream however long it takes; the test kills one that does not end."""
    with faulty_cluster(3, store, shutdown_timeout=600, drain_delay=DRAIN_DELAY) as cluster:
        yield cluster


def stop(cluster: ProcessCluster, index: int) -> list[int]:
    """Stop a server, and take note of it somewhat later, as a load balancer does that asks from time to time."""
    noticed = threading.Timer(NOTICED, cluster.proxy.take_out, [index])
    noticed.start()
    exits = cluster.stop(index)
    noticed.join()
    return exits


def start(cluster: ProcessCluster, index: int) -> None:
    """Start it again."""
    cluster.start(index)
    cluster.proxy.put_back(index)


class Load:
    """Clients that call without a pause, as long as the `with` block lasts."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self._over = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        clients = [ResumingClient(cluster.port) for _ in range(CALLERS)]
        self._threads = [threading.Thread(target=self._call, args=(client,)) for client in clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def _call(self, client: ResumingClient) -> None:
        for number in itertools.count():
            tool = {"name": "nap", "arguments": {"seconds": 0.02}} if number % 4 else None
            try:
                if tool is not None:
                    reply = client.session.ask("tools/call", tool, id=number)
                else:
                    reply = client.session.ask("tools/list", id=number)
                assert "result" in reply.response, reply.response
                self.answered += 1
            except Exception as error:  # whatever it is, this client was let down
                self.failures.append(repr(error))
            if self._over.is_set():
                return


@pytest.mark.parametrize("round", range(LOOPS))
def test_workers_are_stopped_one_after_the_other(cluster: ProcessCluster, round: int) -> None:
    """Every request is answered; work in flight ends well; the streams of sessions go on at another worker."""
    chance = seeded()
    listener = client_of(cluster, chance)
    listener.session.ask("resources/subscribe", {"uri": "note://a"})
    with Load(cluster) as load, opened(listener) as own:
        for index in chance.sample(range(3), 3):
            before = load.answered
            eventually(lambda: load.answered > before + chance.randrange(20, 100))
            with client_of(cluster, chance).call("count", n=EVENTS, pause=0.002) as stream:
                stream.until(lambda _: len(numbers(stream)) >= chance.randrange(1, 100))
                assert stop(cluster, index) == STOPPED
                check_whole(stream, EVENTS)
            listener.session.call("announce", uri="note://a")
            own.until(lambda message: message.get("method") == "notifications/resources/updated")
            start(cluster, index)
    assert load.failures == []
    assert len(own.served_by) > 1
    assert own.retry == 0.05


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_is_stopped_that_reads_a_stream_for_another(cluster: ProcessCluster, round: int) -> None:
    """It lets the client go, which comes back elsewhere; the work is not done here, so nothing is waited for."""
    client = client_of(cluster, seeded())
    with client.call("count", n=1_000_000, pause=0.01) as stream:
        next(stream)
        stream.cut()
        while len(stream.served_by) < 2:
            next(stream)
        reader = int(stream.served_by[1])
        assert stop(cluster, reader) == STOPPED
        start(cluster, reader)
        seen = len(numbers(stream))
        stream.until(lambda _: len(numbers(stream)) > seen + 50)
        assert numbers(stream) == list(range(1, len(numbers(stream)) + 1))
    assert client.session.delete().status == 204
