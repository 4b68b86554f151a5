"""No two requests of a session in a row meet the same worker, and nobody can tell.

The easy thing to get wrong is to be lucky: the proxy sends each request to another server than the one before, so
an answer, a cancellation or a DELETE never arrives where it is waited for.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from enfilade.timings import Timings
from support.cluster.server_processes import ProcessCluster
from support.faults.servers import ELICITS, LOOPS, client_of, opened
from support.harness import eventually
from support.http_client.connection import Reply
from support.http_client.resuming_client import ResumingClient, get_stream, seeded

#: Seconds after which a worker asks the store again for a session that it knows.
FRESHNESS = Timings().session_freshness


def at(index: int, client: ResumingClient, tool: str) -> Reply:
    """Call a tool at one worker."""
    return client.session.ask("tools/call", {"name": tool, "arguments": {}}, x_backend=str(index))


def held(cluster: ProcessCluster, client: ResumingClient) -> set[str]:
    """Return what is being held, at any worker."""
    inside = [at(index, client, "inside").result["structuredContent"] for index in cluster.running]
    return {name for each in inside for name in each["held"]}


@pytest.mark.parametrize("round", range(LOOPS))
def test_an_answer_finds_its_question(cluster: ProcessCluster, tmp_path: Path, round: int) -> None:
    """R-334."""
    client = client_of(cluster, seeded(), ELICITS)
    with client.call("charge", ledger=str(tmp_path / "ledger")) as stream:
        question = stream.until(lambda message: message.get("method") == "elicitation/create")
        reply = client.answer(question, {"action": "accept", "content": {"sure": True}})
        assert (reply.status, reply.header("x-served-by")) != (202, stream.served_by[0])
        assert reply.status == 202
        assert stream.result["content"][0]["text"] == "charged: accept"


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
@pytest.mark.parametrize("round", range(LOOPS))
def test_work_is_cancelled_from_elsewhere(cluster: ProcessCluster, round: int, how: str) -> None:
    """R-316, R-363: by `notifications/cancelled`, and by the end of the session, which is told to the caller."""
    client, watcher = client_of(cluster, seeded()), client_of(cluster, seeded())
    name = f"{how} {client.session.token[:16]}"
    with client.session.start("tools/call", {"name": "hold", "arguments": {"name": name}}, id="held") as waiting:
        assert next(waiting.events())["params"]["data"] == "held"
        assert name in held(cluster, watcher)
        reply = client.session.cancel("held") if how == "cancelled" else client.session.delete()
        assert reply.status == (202 if how == "cancelled" else 204)
        assert reply.header("x-served-by") != waiting.header("x-served-by")
        outcome = [message["error"]["message"] for message in waiting.events()]
        assert outcome == ([] if how == "cancelled" else ["Session not found: send initialize again"])
    eventually(lambda: name not in held(cluster, watcher))


@pytest.mark.parametrize("round", range(LOOPS))
def test_what_changes_in_a_session_counts_everywhere(cluster: ProcessCluster, round: int) -> None:
    """R-316, D27: the log level, and that it is over; all workers have known the session before.

    They are told, and do not find out when they look again: that would be too late for this test.
    """
    client = client_of(cluster, seeded())

    def everywhere(holds: Callable[[Reply], bool]) -> bool:
        return all(holds(at(index, client, "whisper")) for index in cluster.running)

    for level in ("debug", "warning", "debug"):
        client.session.ask("logging/setLevel", {"level": level})
        told = level == "debug"
        eventually(lambda: everywhere(lambda reply: (b"psst" in reply.body) == told), timeout=0.8 * FRESHNESS)
    assert client.session.delete().status == 204
    eventually(lambda: everywhere(lambda reply: reply.status == 404), timeout=0.8 * FRESHNESS)


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_change_reaches_the_streams_of_all_workers(cluster: ProcessCluster, round: int) -> None:
    """R-331: whoever announces it, and wherever it was asked for."""
    clients = [client_of(cluster, seeded()) for _ in range(4)]
    for client in clients:
        client.session.ask("resources/subscribe", {"uri": "note://a"})
    streams = [opened(client) for client in clients]
    for client in clients:
        client.session.call("announce", uri="note://a")
        for stream in streams:
            stream.until(lambda message: message.get("method") == "notifications/resources/updated")
    for stream in streams:
        stream.cut()


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_session_has_one_stream_among_all_workers(cluster: ProcessCluster, round: int) -> None:
    """R-330, R-333, D23: a new GET takes it over, with or without an event id, wherever it is asked for."""
    client = client_of(cluster, seeded())
    client.session.ask("resources/subscribe", {"uri": "note://a"})
    with opened(client) as first:
        client.session.call("announce", uri="note://a")
        first.until(lambda message: message.get("method") == "notifications/resources/updated")
        with client.listen(first.last_id) as second:
            client.session.call("announce", uri="note://a")
            second.until(lambda message: message.get("method") == "notifications/resources/updated")
            with get_stream(client.session, None) as third:
                assert third.status == 200
                announced = (message["method"] for message in third.events())
                assert "notifications/resources/updated" in announced, "it may have been missed"
