"""A change that goes to 5,000 streams keeps nobody waiting: how much is done in one turn of the event loop.

A stream that takes the change costs about 20 µs, and an entry of the log a third of that, so what is counted here
stays far below 10 ms. Easy to get wrong: the clock. The delivery looks at it after each stream; with a real one,
what is counted would depend on the machine. So it goes on by a fixed step for each look.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from enfilade.serving import subscriptions
from enfilade.transports.http.event_log import SealedEventLog
from support.counting import Socket
from support.http_client.many_streams import Streams
from support.stores.valkey_server import Valkey

A_STREAM = 20e-6

MOST_WRITES = round(subscriptions.SLICE / A_STREAM) + 2
MOST_ENTRIES = 128
assert MOST_WRITES * A_STREAM + MOST_ENTRIES * A_STREAM / 3 < 0.005  # half of what nobody should wait


class Turns:
    """Counts what is done in each turn of the event loop, while a `with` block lasts.

    Attributes:
        sealed: what was sealed for the log in all.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[int]] = {"writes": Counter(), "entries": Counter()}
        self._turn = 0
        self._is_on = False
        self.sealed = 0

    def __enter__(self) -> Self:
        self._is_on = True
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _next(self) -> None:
        self._turn += 1
        if self._is_on:
            asyncio.get_running_loop().call_soon(self._next)

    def note(self, what: str) -> None:
        if self._is_on:
            self._counts[what][self._turn] += 1

    def total(self, what: str) -> int:
        return self._counts[what].total()

    def most(self, what: str) -> int:
        """Return the most of it that was done in one turn."""
        return max(self._counts[what].values(), default=0)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    turns, clock = Turns(), itertools.count()
    write, seal = Socket.write, SealedEventLog._seal_entry

    def count_write(socket: Socket, data: Any) -> None:
        turns.note("writes")
        write(socket, data)

    def count_entry(log: SealedEventLog, *arguments: Any) -> bytes:
        turns.note("entries")
        turns.sealed += 1
        return seal(log, *arguments)

    monkeypatch.setattr(Socket, "write", count_write)
    monkeypatch.setattr(SealedEventLog, "_seal_entry", count_entry)
    stepping = SimpleNamespace(
        perf_counter=lambda: next(clock) * A_STREAM, monotonic=time.monotonic, time=time.time
    )
    monkeypatch.setattr(subscriptions, "time", stepping)
    return turns


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "redis":
            with Valkey(tmp_path) as valkey:
                yield valkey.url
        case "sqlite":
            yield f"sqlite:///{tmp_path / 'state.db'}"
        case _:
            yield "memory://"


@pytest.mark.parametrize(
    ("kind", "store_url", "count"),
    [
        ("session", "memory", 5000),
        ("session", "sqlite", 1000),
        ("session", "redis", 5000),
        ("stateless", "memory", 5000),
    ],
    indirect=["store_url"],
)
def test_nobody_waits_long_while_a_change_goes_to_thousands(
    kind: str, store_url: str, count: int, turns: Turns
) -> None:
    """R-2CB, R-351: the event loop has a turn after at most so many streams, and so many entries of the log."""
    asyncio.run(change(kind, store_url, count, turns))
    assert turns.total("writes") == count
    assert turns.total("entries") == (count if kind == "session" else 0)
    assert turns.most("writes") <= MOST_WRITES
    assert turns.most("entries") <= MOST_ENTRIES


async def change(kind: str, store_url: str, count: int, turns: Turns) -> None:
    """Count the turns of one change that goes to so many streams."""
    streams = Streams(store_url)
    async with streams.app.running():
        for _ in range(count):
            await streams.open(kind)
        await streams.change()  # makes what every later one uses
        while kind == "session" and turns.sealed < 2 * count:  # a head and an entry
            await asyncio.sleep(0.01)
        with turns:
            await streams.change()
            while kind == "session" and turns.total("entries") < count:
                await asyncio.sleep(0.01)
        streams.disconnect()
