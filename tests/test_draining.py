"""Stopping: what was sent before the signal is answered, what waits is ended, and nothing takes for ever."""

import asyncio
import os
import random
import signal
import sys
import time

import pytest

from support.cluster.shutdown_load import Clients, call, exchange, exchange_all, opened, probe
from support.servers.processes import ROOT, ServerProcess, python_command

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform == "win32", reason="Windows ends processes without a signal they could act on"
    ),
]

SCRIPT = ROOT / "tests/support/cluster/shutdown_load.py"
STOPPING = b"The server is stopping"
UP = (200, b'{"status":"ok"}')
ROUNDS = int(os.environ.get("DRAINING_ROUNDS", "2"))


def server(workers: int = 1, **settings: object) -> ServerProcess:
    variables = {f"ENFILADE_{name.upper()}": str(value) for name, value in settings.items()}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return ServerProcess(
        python_command(SCRIPT, "{port}", str(workers)),
        env={"PYTHONPATH": path, "NO_COLOR": "1", **variables},
        start_timeout=90,
    )


async def all_serve(running: ServerProcess, workers: int) -> None:
    """Wait until so many processes have started to serve."""
    while running.output.count(": serving") < workers:
        await asyncio.sleep(0.02)


async def under_way(running: ServerProcess) -> None:
    """Wait until a tool has begun."""
    while "under way" not in running.output:
        await asyncio.sleep(0.01)


async def gone(running: ServerProcess) -> int:
    """Return the exit code, as soon as there is one."""
    return await asyncio.get_running_loop().run_in_executor(None, running.process.wait, 60)


@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize("workers", [1, 3])
async def test_every_request_sent_before_the_signal_is_answered(workers: int, round: int) -> None:
    """Connections that are kept, connections for one request, and a process that is busy at that very moment."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    requests = [call("nap", seconds=chance.choice([0, 0, 0.01, 0.05])) for _ in range(8)]
    requests.append(call("nap", seconds=0.03, busy=True))
    with server(workers, drain_delay=[0, 0.25][round % 2]) as running:
        await all_serve(running, workers)
        clients = Clients(running.port)
        clients.start(requests)
        await clients.answered(200 + chance.randrange(100))
        told_at = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        await clients.finished()
        await gone(running)
    sent = [each for each in clients.attempts if each.sent_at < told_at]
    assert [each for each in sent if not each.is_whole] == [], f"seed {seed}\n{running.output}"
    assert len(sent) >= 200


async def test_a_server_that_was_told_to_stop_says_so_and_still_answers() -> None:
    """For as long as `drain_delay`, so that a load balancer can notice."""
    with server(drain_delay=600) as running:
        kept = await opened(running.port)
        assert b"connection: close" not in (await exchange(kept, call("nap", seconds=0))).answer
        assert probe(running.port, "/readyz") == UP
        running.process.send_signal(signal.SIGTERM)
        while (found := probe(running.port, "/readyz")) == UP:
            await asyncio.sleep(0.01)
        assert found == (503, b'{"status":"unavailable","reason":"stopping"}')
        assert probe(running.port, "/healthz") == UP
        last = await exchange(kept, call("nap", seconds=0))
        assert last.is_whole
        assert b"connection: close" in last.answer
        assert await asyncio.get_running_loop().sock_recv(kept, 1) == b""
        kept.close()
        running.process.send_signal(signal.SIGINT)
        await gone(running)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_in_flight_is_finished(workers: int) -> None:
    with server(workers) as running:
        connection = await opened(running.port)
        waiting = asyncio.create_task(exchange(connection, call("nap", seconds=1.0)))
        await under_way(running)
        running.process.send_signal(signal.SIGTERM)
        assert (await waiting).is_whole
        await gone(running)
        connection.close()


@pytest.mark.parametrize("drain_delay", [0, 0.5])
@pytest.mark.parametrize("count", [3, 60])
async def test_requests_behind_one_in_flight_are_answered(count: int, drain_delay: float) -> None:
    """Also those that are parsed later, since only so many wait at once; the last response says close."""
    with server(drain_delay=drain_delay) as running:
        connection = await opened(running.port)
        sent = call("nap", seconds=1.0) + call("nap", seconds=0) * count
        waiting = asyncio.create_task(exchange_all(connection, sent))
        await under_way(running)
        running.process.send_signal(signal.SIGTERM)
        answers = await waiting
        assert answers.count(b"HTTP/1.1 200 ") == 1 + count
        assert answers.count(b"connection: close") == 1
        assert b"connection: close" in answers[answers.rindex(b"HTTP/1.1 ") :]
        assert await gone(running) == -signal.SIGTERM


async def test_requests_behind_one_that_does_not_end_are_not_begun() -> None:
    with server(shutdown_timeout=0.5) as running:
        connection = await opened(running.port)
        sent = call("nap", seconds=3600) + call("nap", seconds=1) * 2
        waiting = asyncio.create_task(exchange_all(connection, sent))
        await under_way(running)
        running.process.send_signal(signal.SIGTERM)
        answers = await waiting
        # Its head may have been sent before the signal, as that of a stream, and then announces no end.
        assert answers.count(b"HTTP/1.1 ") == 1
        assert STOPPING in answers
        await gone(running)
        assert running.output.count("under way") == 1
        assert "requests that have not ended in time are cancelled: 3" in running.output


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_does_not_end_is_ended(workers: int) -> None:
    """After `shutdown_timeout`; the client is told by the end of its connection."""
    with server(workers, shutdown_timeout=1) as running:
        connection = await opened(running.port)
        waiting = asyncio.create_task(exchange(connection, call("watch")))
        await under_way(running)
        running.process.send_signal(signal.SIGTERM)
        assert STOPPING in (await waiting).answer
        await gone(running)
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_callers_of_handlers_that_ignore_their_cancellation_are_told(workers: int) -> None:
    """As a JSON response and as an event, long before the process would be ended from outside."""
    limits = {"shutdown_timeout": 0.5, "lifespan_timeout": 600}
    with server(workers, **limits) as running:
        connections = [await opened(running.port) for _ in range(2)]
        calls = [call("deaf", streams=False), call("deaf", streams=True)]
        waiting = [asyncio.create_task(exchange(*each)) for each in zip(connections, calls, strict=True)]
        while running.output.count("under way") < 2:
            await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        for attempt in await asyncio.gather(*waiting):
            assert STOPPING in attempt.answer
            assert not attempt.failure
        assert await gone(running) == (128 + signal.SIGTERM if workers == 1 else 0)
        assert "Traceback" not in running.output
        for connection in connections:
            connection.close()


async def test_half_a_body_holds_up_no_end() -> None:
    with server(shutdown_timeout=600, drain_delay=0) as running:
        connection = await opened(running.port)
        head = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: 100\r\n\r\n"
        waiting = asyncio.create_task(exchange(connection, head + b"{"))
        other = await opened(running.port)
        assert (await exchange(other, call("nap", seconds=0))).is_whole
        running.process.send_signal(signal.SIGTERM)
        answer = (await waiting).answer
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert STOPPING in answer
        assert answer.count(b"connection: close") == 1
        connection.close()
        other.close()
        assert await gone(running) == -signal.SIGTERM
        assert "Traceback" not in running.output


@pytest.mark.parametrize("tool", ["nap", "deaf"])
async def test_ctrl_c_leaves_no_traceback(tool: str) -> None:
    """What is in flight is told; a handler that has to be left behind makes it a forced end."""
    with server(shutdown_timeout=0.5) as running:
        connection = await opened(running.port)
        waiting = asyncio.create_task(
            exchange(connection, call(tool, **({"seconds": 3600} if tool == "nap" else {})))
        )
        await under_way(running)
        running.process.send_signal(signal.SIGINT)
        assert STOPPING in (await waiting).answer
        assert await gone(running) == (0 if tool == "nap" else 128 + signal.SIGINT)
        assert "Traceback" not in running.output
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_interrupt_ends_it_at_once(workers: int) -> None:
    with server(workers, shutdown_timeout=600, drain_delay=600) as running:
        connection = await opened(running.port)
        waiting = asyncio.create_task(exchange(connection, call("watch")))
        await under_way(running)
        running.process.send_signal(signal.SIGINT)
        while probe(running.port, "/readyz") == UP:
            await asyncio.sleep(0.01)
        running.process.send_signal(signal.SIGINT)
        assert await gone(running) == (128 + signal.SIGINT if workers == 1 else 0)
        answer = (await waiting).answer
        assert workers > 1 or STOPPING in answer
        assert "Traceback" not in running.output
        connection.close()


async def test_an_idle_connection_keeps_nothing_up() -> None:
    """Neither one that was used, nor one on which nothing was ever said."""
    with server(shutdown_timeout=600) as running:
        used, silent = await opened(running.port), await opened(running.port)
        assert (await exchange(used, call("nap", seconds=0))).is_whole
        running.process.send_signal(signal.SIGTERM)
        await gone(running)
        for connection in (used, silent):
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
            connection.close()


@pytest.mark.parametrize(
    "kept", [True, False], ids=["unread-on-kept-connections", "on-connections-not-accepted-yet"]
)
async def test_what_the_kernel_holds_is_served(kept: bool) -> None:
    """It came while the process was busy, and the signal came before the process looked again."""
    with server(drain_delay=0) as running:
        busy = await opened(running.port)
        early = [await opened(running.port) for _ in range(50)] if kept else []
        for connection in early:
            assert (await exchange(connection, call("nap", seconds=0))).is_whole
        napping = asyncio.create_task(exchange(busy, call("nap", seconds=1.0, busy=True)))
        await under_way(running)
        connections = early or [await opened(running.port) for _ in range(50)]
        waiting = [asyncio.create_task(exchange(each, call("nap", seconds=0))) for each in connections]
        await asyncio.sleep(0)  # each has sent now: it is the first that it does, and the kernel takes it at once
        running.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.gather(napping, *waiting)
        assert [each for each in outcomes if not each.is_whole] == []
        await gone(running)
        for connection in (busy, *connections):
            connection.close()
