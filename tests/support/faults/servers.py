"""What all fault tests share: how often, which server, and what a stream must look like whatever was done to it.

The easy thing to get wrong is to accept too much: a stream may end early if its worker was killed, and then with
exactly one error that says so; in no case may a number be missing, come twice or out of order.
"""

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.cluster.server_processes import ProcessCluster
from support.exchanges import Message
from support.http_client.connection import Reply
from support.http_client.resuming_client import Refused, ResumingClient, Stream, get_stream
from support.servers.processes import python_command

LOOPS = int(os.environ.get("ENFILADE_FAULT_LOOPS", "1"))
"""How often each fault happens, each time at another moment. `make faults` sets 100."""

SCRIPT = Path(__file__).with_name("server.py")

COMMAND = python_command(SCRIPT, "{port}")

GONE = "The worker that served this request is gone"

UNKNOWN = "Last-Event-ID is unknown or has expired"

ELICITS: dict[str, Any] = {"elicitation": {}}

SETTINGS = {"ENFILADE_STREAM_RETRY": "0.05", "NO_COLOR": "1"}
"""A client that was cut off comes back soon, as there is no crowd of them here."""


def faulty_cluster(
    count: int, store: str, env: Mapping[str, str] | None = None, **settings: object
) -> ProcessCluster:
    """Return servers to be started that share a store.

    Args:
        env: further variables.
        settings: those of the servers, in lower case.
    """
    named = {f"ENFILADE_{name.upper()}": str(value) for name, value in settings.items()}
    return ProcessCluster(count, COMMAND, store, {**SETTINGS, **named, **(env or {})})


def client_of(
    cluster: ProcessCluster, chance: random.Random, capabilities: dict[str, Any] | None = None
) -> ResumingClient:
    """Open a session, for a client that resumes at once or when it is told to, as chance has it."""
    return ResumingClient(cluster.port, capabilities=capabilities, hurry=chance.random() < 0.5)


def opened(client: ResumingClient) -> Stream:
    """Return the session's own stream, once the server has it open."""
    waiting = get_stream(client.session, None)
    assert waiting.status == 200
    return Stream(client.session, waiting, None, hurry=True)


def serving_get(cluster: ProcessCluster) -> int:
    """Return the index of the server that got the last GET."""
    (*_, last) = [hop for hop in cluster.proxy.log if hop.verb == "GET"]
    assert last.backend is not None
    return last.backend


def numbers(stream: Stream) -> list[int]:
    """Return what `count` said."""
    return [int(params["data"].split()[0]) for params in stream.sent("notifications/message")]


def check_whole(stream: Stream, n: int) -> None:
    """Fail unless all of `count(n)` came, once, in order, and then its result."""
    result = stream.result
    assert numbers(stream) == list(range(1, n + 1))
    assert result["structuredContent"] == {"result": n}


def check_whole_or_given_up(stream: Stream, n: int) -> bool:
    """Fail unless what came is the beginning of `count(n)`, then the result after all of it or the one error.

    Returns:
        Whether there was a result.
    """
    outcome = stream.finish()
    if "result" in outcome:
        check_whole(stream, n)
        return True
    _check_beginning(stream)
    check_given_up(outcome)
    return False


def check_whole_or_unknown(stream: Stream, n: int) -> None:
    """Fail unless a stream is complete, or is said to be lost, as may happen while the store takes nothing."""
    refusal: Refused | None = None
    try:
        check_whole(stream, n)
    except Refused as refused:
        refusal = refused
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.message is not None
        assert refusal.message["error"]["message"].startswith(UNKNOWN)
        _check_beginning(stream)


def _check_beginning(stream: Stream) -> None:
    said = numbers(stream)
    assert said == list(range(1, len(said) + 1))


def check_refused(reply: Reply) -> None:
    """Fail unless a response says that the server cannot serve at present, and nothing of why.

    What has taken long enough to become a stream ends with the error, and its status was 200.
    """
    assert reply.status == 503 or (reply.header("content-type") or "").startswith("text/event-stream")
    (error,) = [message["error"] for message in reply.messages if "method" not in message]
    assert error["code"] == -32603
    assert "cannot reach its store" in error["message"]
    assert not any(word in error["message"] for word in ("valkey", "sqlite", ".db", "/"))


def check_given_up(outcome: Message) -> None:
    """Fail unless a response is the error that stands for a request whose worker is gone."""
    assert outcome["error"]["code"] == -32603
    assert outcome["error"]["message"].startswith(GONE)


def check_serves(cluster: ProcessCluster, client: ResumingClient) -> None:
    """Fail unless every server that runs serves this session."""
    for index in cluster.running:
        params = {"name": "echo", "arguments": {"text": "there?"}}
        reply = client.session.ask("tools/call", params, id="serves", x_backend=str(index))
        assert reply.result["content"][0]["text"] == "there?", cluster.output()
