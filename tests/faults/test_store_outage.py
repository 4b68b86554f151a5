"""Valkey is gone for five seconds under traffic, or frozen, and comes back: with what it had, or with nothing.

The easy thing to get wrong is to fail more than must fail: what a worker knows of a session that is in use it
goes on to rely on, and only what cannot be decided without the store is refused, clearly and in time.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import (
    LOOPS,
    check_refused,
    check_serves,
    check_whole,
    check_whole_or_unknown,
    client_of,
    faulty_cluster,
    numbers,
)
from support.harness import eventually
from support.http_client.connection import Reply
from support.http_client.resuming_client import ResumingClient, get_stream, seeded
from support.stores.valkey_server import Valkey

OUTAGE = 5.0
"""Seconds."""

EVENTS = 75
"""Of a stream that lasts longer than that."""

SECRET = "a secret that does not live in the store"


@pytest.fixture(scope="module", params=["stopped-durable", "killed-forgetful", "frozen-durable"])
def outage(request: pytest.FixtureRequest) -> str:
    """What happens to the store, and whether it has its data when it is back."""
    return str(request.param)


@pytest.fixture(scope="module")
def valkey(outage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey"), durable=outage.endswith("durable")) as valkey:
        yield valkey


@pytest.fixture(scope="module")
def cluster(valkey: Valkey) -> Iterator[ProcessCluster]:
    with faulty_cluster(2, valkey.url, secret=SECRET) as cluster:
        yield cluster


class Traffic:
    """Plain calls of one session at all workers, one after the other, as long as the `with` block lasts."""

    def __init__(self, cluster: ProcessCluster, client: ResumingClient) -> None:
        self._cluster, self._client = cluster, client
        self._over = threading.Event()
        self.outcomes: list[bytes | int] = []
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        eventually(lambda: len(self.outcomes) > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def goes_on(self) -> None:
        """Wait for some calls to begin and end from now on."""
        before = len(self.outcomes)
        eventually(lambda: len(self.outcomes) > before + 10)

    def _call(self) -> None:
        for number in itertools.count():
            index = self._cluster.running[number % 2]
            params = {"name": "echo", "arguments": {"text": "there?"}}
            reply = self._client.session.ask("tools/call", params, id=f"plain {number}", x_backend=str(index))
            self.outcomes.append(200 if reply.status == 200 else reply.body)
            if self._over.wait(0.01):
                return


def check_what_needs_the_store(client: ResumingClient, unused: ResumingClient, event_id: str) -> None:
    """Fail unless what cannot be decided without the store is refused, each within its time."""
    asked: list[Callable[[], Reply]] = [
        lambda: client.session.ask("logging/setLevel", {"level": "debug"}, id="level"),
        lambda: unused.session.call("echo", text="is this session over?"),
        lambda: get_stream(client.session, None).read(),
        lambda: get_stream(client.session, event_id).read(),
    ]
    with ThreadPoolExecutor(len(asked)) as threads:
        for reply in threads.map(lambda ask: ask(), asked):
            check_refused(reply)


@pytest.mark.parametrize("round", range(LOOPS if LOOPS > 3 else 1))
def test_the_store_is_gone_for_a_while(outage: str, valkey: Valkey, cluster: ProcessCluster, round: int) -> None:
    """Calls go on, what needs the store is refused, streams end well, and then everything is as before."""
    chance = seeded()
    client, unused = client_of(cluster, chance), client_of(cluster, chance)
    pids = cluster.pids()
    check_serves(cluster, client)
    with client.call("count", n=20) as over:
        check_whole(over, 20)
    with (
        Traffic(cluster, client) as traffic,
        client.call("count", n=EVENTS, pause=0.1) as connected,
        client.call("count", n=EVENTS, pause=0.1) as cut,
    ):
        cut.until(lambda _: len(numbers(cut)) >= chance.randrange(1, 20))
        what, _, _ = outage.partition("-")
        {"stopped": valkey.stop, "killed": valkey.kill, "frozen": valkey.pause}[what]()
        back = threading.Timer(OUTAGE, valkey.resume if what == "frozen" else valkey.start)
        back.start()
        check_what_needs_the_store(client, unused, over.ids[0])
        traffic.goes_on()
        opened = ResumingClient(cluster.port, hurry=True)
        cut.cut(reset=True)
        check_whole(connected, EVENTS)
        back.join()
        check_whole_or_unknown(cut, EVENTS)
    assert [each for each in traffic.outcomes if each != 200] == []
    assert cluster.pids() == pids
    assert all(cluster.servers[index].process.poll() is None for index in cluster.running)
    _check_full_service(cluster, [client, unused, opened])


def _check_full_service(cluster: ProcessCluster, clients: list[ResumingClient]) -> None:
    """Fail unless everything is as before, for sessions from before, within and after."""
    for client in [*clients, ResumingClient(cluster.port, hurry=True)]:
        eventually(lambda: client.session.ask("logging/setLevel", {"level": "info"}, id="level").status == 200)
        check_serves(cluster, client)
        with client.call("count", n=200, pause=0.001) as stream:
            stream.until(lambda _: len(numbers(stream)) >= 50)
            stream.cut()
            check_whole(stream, 200)
