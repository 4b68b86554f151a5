"""kill -9: what a worker was doing dies with it and its client is told; everything else goes on elsewhere.

The easy thing to get wrong is who was killed: the worker that serves a request, or one that only reads its stream
to a client that came back. The first costs the work, the second nothing.
"""

import contextlib
import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import (
    ELICITS,
    LOOPS,
    check_given_up,
    check_serves,
    check_whole,
    check_whole_or_given_up,
    client_of,
    numbers,
    opened,
    serving_get,
)
from support.harness import eventually
from support.http_client.resuming_client import Lost, ResumingClient, Stream, seeded
from support.proxy.round_robin_proxy import ProxiedExchange

EVENTS = 200
MANY = 60
PAUSE = 0.002


def _unanswered(hop: ProxiedExchange) -> bool:
    """Whether a server has a request, and has not said anything yet."""
    return hop.verb == "POST" and hop.backend is not None and hop.status is None


def check_told_again(client: ResumingClient, stream: Stream, chance: random.Random) -> None:
    """Fail unless whoever comes back once more is told the same."""
    with client.listen(chance.choice(stream.ids[:-1]), stream=stream) as again:
        again.finish()
        assert again.messages[-1] == stream.messages[-1]
        assert [each for each in stream.messages if each in again.messages] == again.messages


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_worker_that_serves_a_stream_is_killed(cluster: ProcessCluster, round: int) -> None:
    """At any moment, from before the first event to after the last."""
    chance = seeded()
    client = client_of(cluster, chance)
    with client.call("count", n=EVENTS, pause=PAUSE) as stream:
        next(stream)
        killed = threading.Timer(
            chance.uniform(0, 1.2 * EVENTS * PAUSE), cluster.kill, (int(stream.served_by[0]),)
        )
        killed.start()
        try:
            check_whole_or_given_up(stream, EVENTS)
        finally:
            killed.join()
    if stream.outcome is not None:
        check_told_again(client, stream, chance)
    check_serves(cluster, client)


@contextlib.contextmanager
def _writes_held_up(store: str, seconds: float) -> Iterator[None]:
    """Let a store take nothing for so long, which can be read meanwhile; within, that time begins."""
    if store.startswith("sqlite"):
        path = store.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        released = threading.Timer(seconds, connection.execute, ("ROLLBACK",))
        released.start()
        try:
            yield
        finally:
            released.join()
            connection.close()
    else:
        with redis.Redis.from_url(store.replace("valkey", "redis", 1), protocol=2) as client:
            client.execute_command("CLIENT", "PAUSE", int(1000 * seconds), "WRITE")
            yield


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_worker_is_killed_at_its_first_event_while_the_store_is_slow(
    cluster: ProcessCluster, store: str, round: int
) -> None:
    """R-351: no event is given out before the store knows of its stream, however soon its worker dies then."""
    client = client_of(cluster, seeded())
    with _writes_held_up(store, 0.4), client.call("count", n=EVENTS, pause=0.05) as stream:
        next(stream)
        cluster.kill(int(stream.served_by[0]))
        assert not check_whole_or_given_up(stream, EVENTS)
    check_serves(cluster, client)


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_worker_is_killed_before_it_has_said_anything(cluster: ProcessCluster, round: int) -> None:
    """A request without an event has nothing to be resumed by: its connection breaks, and nothing hangs."""
    client = client_of(cluster, seeded())
    request = client.call("nap", seconds=60)
    (serving,) = eventually(lambda: [hop.backend for hop in cluster.proxy.under_way(_unanswered)])
    assert serving is not None
    cluster.kill(serving)
    with pytest.raises(Lost):
        request.finish()
    check_serves(cluster, client)


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_that_reads_a_stream_for_another_is_killed(cluster: ProcessCluster, round: int) -> None:
    """The work goes on where it is, and the client comes back for all of it."""
    chance = seeded()
    client = client_of(cluster, chance)
    with client.call("count", n=EVENTS, pause=PAUSE) as stream:
        at = chance.randrange(1, EVENTS // 2)
        stream.until(lambda _: len(numbers(stream)) >= at)
        stream.cut(reset=chance.random() < 0.5)
        while len(stream.served_by) < 2:
            next(stream)
        reader, worker = int(stream.served_by[1]), int(stream.served_by[0])
        assert reader != worker
        cluster.kill(reader)
        check_whole(stream, EVENTS)


@pytest.mark.parametrize("cut", [False, True], ids=["connected", "cut"])
@pytest.mark.parametrize("round", range(LOOPS))
def test_the_worker_is_killed_while_it_waits_for_the_user(
    cluster: ProcessCluster, tmp_path: Path, round: int, cut: bool
) -> None:
    """The call ends with the error; the answer that comes afterwards is taken, and nothing is charged."""
    ledger = tmp_path / "ledger"
    client = client_of(cluster, seeded(), ELICITS)
    with client.call("charge", ledger=str(ledger)) as stream:
        question = stream.until(lambda message: message.get("method") == "elicitation/create")
        if cut:
            stream.cut()
        cluster.kill(int(stream.served_by[0]))
        check_given_up(stream.finish())
    assert client.answer(question, {"action": "accept", "content": {"sure": True}}).status == 202
    check_serves(cluster, client)
    assert not ledger.exists()


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_lock_of_a_killed_worker_is_free(cluster: ProcessCluster, round: int) -> None:
    """R-330: the one stream that a session may have open by GET is not taken by the dead."""
    client = client_of(cluster, seeded())
    client.session.ask("resources/subscribe", {"uri": "note://a"})
    with opened(client):
        cluster.kill(serving_get(cluster))
    with opened(client) as second:
        assert client.session.call("announce", uri="note://a").status == 200
        told = second.until(lambda message: message.get("method") == "notifications/resources/updated")
        assert told["params"]["uri"] == "note://a"


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_worker_is_killed_while_a_change_goes_to_many(cluster: ProcessCluster, round: int) -> None:
    """R-351, R-357: whoever comes back hears of what it may have missed. `Stream` takes no event twice."""
    chance, uris = seeded(), {"note://a", "note://b"}
    clients = [client_of(cluster, chance) for _ in range(MANY)]
    for client, uri in itertools.product(clients, sorted(uris)):
        client.session.ask("resources/subscribe", {"uri": uri})
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(opened(client)) for client in clients]
        for stream in streams:
            stream.begin()
        victim = serving_get(cluster)
        other = next(index for index in cluster.running if index != victim)
        for uri in sorted(uris):  # elsewhere: what the victim has told no other worker yet would die with it
            params = {"name": "announce", "arguments": {"uri": uri}}
            assert clients[0].session.ask("tools/call", params, x_backend=str(other)).status == 200
            time.sleep(chance.uniform(0.0, 0.15))  # gathered, delivered, or written to the log
            if victim in cluster.running:
                cluster.kill(victim)
        for stream in streams:
            while {params["uri"] for params in stream.sent("notifications/resources/updated")} != uris:
                next(stream)
