"""All servers stop or die, and others come up on the same store: what clients know of before holds afterwards.

The easy thing to get wrong is what nobody has asked for since: it must be in the store, or in the client's hands,
and not in the memory of a server that happens to live.
"""

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import LOOPS, check_serves, check_whole, client_of, numbers, opened
from support.http_client.resuming_client import ResumingClient, seeded


def restart(cluster: ProcessCluster, how: str) -> None:
    """Let all servers go, and start them again."""
    indexes = cluster.running
    if how == "killed":
        for index in indexes:
            cluster.kill(index)
    else:
        cluster.stop(*indexes)
    cluster.start(*range(len(cluster.servers)))


def heard(client: ResumingClient, tool: str) -> list[str]:
    """Return the log messages that a call of a tool brings."""
    stream = client.call(tool)
    stream.finish()
    return [params["data"] for params in stream.sent("notifications/message")]


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("round", range(LOOPS))
def test_sessions_and_finished_streams_outlive_all_servers(cluster: ProcessCluster, round: int, how: str) -> None:
    """R-310, R-351: log level, what is watched, what was ended, and every event of a stream that is over."""
    chance = seeded()
    client, ended = client_of(cluster, chance), client_of(cluster, chance)
    assert ended.session.delete().status == 204
    client.session.ask("logging/setLevel", {"level": "debug"})
    client.session.ask("resources/subscribe", {"uri": "note://a"})
    with client.call("count", n=50) as stream:
        check_whole(stream, 50)
    with client.listen(stream.ids[0], stream=stream) as before:
        check_whole(before, 50)  # now all of it is in the store
    restart(cluster, how)
    check_serves(cluster, client)
    assert heard(client, "whisper") == ["psst"]
    assert ended.session.call("whisper").status == 404
    seen = chance.randrange(len(stream.ids) - 1)
    with client.listen(stream.ids[seen], stream=stream) as again:
        assert again.result["structuredContent"] == {"result": 50}
        assert again.ids == stream.ids[seen + 1 :]
        assert numbers(again) == numbers(stream)[50 - len(numbers(again)) :]
    with opened(client) as own:
        client.session.call("announce", uri="note://a")
        own.until(lambda message: message.get("method") == "notifications/resources/updated")
