"""Connections that break off in the middle of a stream, time and again: nothing is lost, nothing comes twice.

The easy thing to get wrong is how they break: the client may close or reset, something in between may do so to
both sides, and the server may not be told at all.
"""

from collections.abc import Callable

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import ELICITS, LOOPS, check_whole, client_of, numbers
from support.http_client.resuming_client import Stream, seeded
from support.proxy.round_robin_proxy import ProxiedExchange

EVENTS = 1000
CUTS = 20


def ways_to_cut(cluster: ProcessCluster, stream: Stream, token: str) -> list[Callable[[], object]]:
    """Return what may happen to the connection of a stream."""

    def its(hop: ProxiedExchange) -> bool:
        return hop.session == token and hop.status is not None

    return [
        stream.cut,
        lambda: stream.cut(reset=True),
        lambda: cluster.proxy.cut(its),
        lambda: cluster.proxy.cut(its, reset=False),
        lambda: cluster.proxy.strand(its),
    ]


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_client_is_cut_off_twenty_times_within_a_thousand_events(cluster: ProcessCluster, round: int) -> None:
    """R-351: each time it comes back to another worker than before, for exactly what it has not seen."""
    chance = seeded()
    client = client_of(cluster, chance)
    with client.call("count", n=EVENTS, pause=0.0005, size=chance.choice([0, 0, 300])) as stream:
        ways = ways_to_cut(cluster, stream, client.session.token)
        for at in sorted(chance.sample(range(1, EVENTS), CUTS)):
            stream.until(lambda _: len(numbers(stream)) >= at)
            chance.choice(ways)()
        check_whole(stream, EVENTS)
    assert len({each for each in stream.served_by if each}) > 1


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_client_comes_back_while_its_old_connection_seems_to_be_there(
    cluster: ProcessCluster, round: int
) -> None:
    """R-351, D23: whoever comes for the rest gets it, and the connection before ends without the outcome."""
    chance = seeded()
    client = client_of(cluster, chance)
    params = {"name": "count", "arguments": {"n": 200, "pause": 0.002}}
    waiting = client.session.start("tools/call", params, id="first")
    with Stream(client.session, waiting, "first") as first:
        at = chance.randrange(1, 100)
        first.until(lambda _: len(numbers(first)) >= at)
        assert first.last_id is not None
        with client.listen(first.last_id, stream=first) as second:
            assert second.result["structuredContent"] == {"result": 200}
            assert numbers(first) + numbers(second) == list(range(1, 201))
        assert b'"result"' not in waiting.response.read()


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_user_is_asked_and_answers_while_the_client_is_cut_off(
    cluster: ProcessCluster, round: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R-325, R-334: the call goes on without its client, which finds the outcome when it comes back."""
    client = client_of(cluster, seeded(), ELICITS)
    ledger = tmp_path_factory.mktemp("ledger") / "ledger"
    with client.call("charge", ledger=str(ledger)) as stream:
        question = stream.until(lambda message: message.get("method") == "elicitation/create")
        stream.cut(reset=True)
        assert client.answer(question, {"action": "accept", "content": {"sure": True}}).status == 202
        assert stream.result["content"][0]["text"] == "charged: accept"
    assert ledger.read_text() == "charged\n"
