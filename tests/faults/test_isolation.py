"""Isolation: no byte that was made for one session ever reaches another.

Sessions of several principals call, ask, listen and come back at several workers, side by side and by chance.
Their `Last-Event-ID`s come from anywhere: their own, others', changed, cut and pasted; and stores of events hand
back what is not theirs. Every message carries the mark of its session, so a leak is a mark in the wrong place.

Easy to get wrong: a test that could not see a leak. So those who come with an id of their own must get what is
theirs, and `test_a_leak_*_is_seen` shows that marks are found where the checks are taken away.
"""

import asyncio
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.event_store import EventCallback, EventMessage, EventStore
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports.http import event_log
from support.authorization.header_users import HeaderUsers
from support.cluster.in_process_workers import (
    ClusterClient,
    InProcessCluster,
    SharedMemory,
    WorkerResponse,
    running_cluster,
)
from support.exchanges import Message
from support.http_client.resuming_client import seeded

pytestmark = pytest.mark.anyio

USERS = ["alice", "bob", None]
ACTS = ["say", "say", "ask", "open", "back", "back", "back", "cut", "answer", "steal", "release"]
STEPS = 60
MARK = re.compile(r"mark-(\d+)-")


class Treacherous(EventStore):
    """Hands back some of what was kept for others, in any order, under any name."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._events: list[tuple[str, str]] = []

    async def store_event(self, stream_id: str, message: str) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        at = int(last_event_id)
        asked = self._events[at][0]
        manner = self._chance.choice(["right", "right", "all", "other", "shuffled", "raise", "none", "misnamed"])
        if manner == "raise":
            raise RuntimeError("no")
        if manner == "none":
            return None
        of = self._chance.choice(self._events)[0] if manner in ("other", "misnamed") else asked
        found = [event for event in self._events[at + 1 :] if event[0] == of or manner == "all"]
        if manner == "shuffled":
            self._chance.shuffle(found)
        for _, message in found:
            await send_callback(EventMessage(message))
        return of if manner == "misnamed" else asked


class Visitor:
    """One session, what it has said and heard, and the ids that it was given."""

    def __init__(self, client: ClusterClient, number: int, user: str | None) -> None:
        self.client, self.number, self.user = client, number, user
        self.calls = 0
        self.open: list[WorkerResponse] = []
        self.ids: list[str] = []
        self.questions: list[Message] = []

    def mark(self) -> str:
        self.calls += 1
        return f"mark-{self.number}-{self.calls}"

    def check(self) -> None:
        """Check all that has reached it so far."""
        for connection in self.open:
            found = {int(mark) for mark in MARK.findall(connection.body.decode())}
            assert found <= {self.number}, f"session {self.number} read what was said to {found}"
            self.ids += [id for id in connection.ids if id not in self.ids]
            for message in connection.received:
                if message.get("method") == "elicitation/create" and message not in self.questions:
                    self.questions.append(message)


class Play:
    """What happens by chance.

    Attributes:
        refused: how many came with an id that is not theirs, and were refused.
        came_back: how many came with one of their own, and were let in.
    """

    def __init__(self, cluster: InProcessCluster, visitors: list[Visitor], chance: random.Random) -> None:
        self.cluster, self.visitors, self.chance = cluster, visitors, chance
        self.refused = self.came_back = 0

    def any_id(self, visitor: Visitor) -> tuple[str, bool]:
        """Return a Last-Event-ID from anywhere, and whether it is one of the visitor's own."""
        own = visitor.ids
        others = [id for each in self.visitors if each is not visitor for id in each.ids]
        kind = self.chance.choice(["own", "own", "own", "other", "other", "position", "pasted", "changed"])
        if kind == "own" and own:
            return self.chance.choice(own), True
        if not others:
            return "unknown", False
        other = self.chance.choice(others)
        if kind == "position":
            return f"{other.rpartition('.')[0]}.{self.chance.randrange(9)}", False
        if kind == "pasted" and own:
            mine = self.chance.choice(own)
            cut = self.chance.choice([24, 25, 41, 42])
            return self.chance.choice([mine[:cut] + other[cut:], other[:cut] + mine[cut:]]), False
        if kind == "changed":
            at = self.chance.randrange(len(other) - 2)
            return f"{other[:at]}{self.chance.choice('0a9f-A_')}{other[at + 1 :]}", False
        return other, False

    async def step(self, visitor: Visitor) -> None:
        """Let one of the visitors do something at one of the workers."""
        worker = self.chance.randrange(len(self.cluster.apps))
        act = self.chance.choice(
            ["say", "say", "ask", "open", "back", "back", "back", "cut", "answer", "steal", "release"]
        )
        client = visitor.client
        if act in ("say", "ask"):
            mark = visitor.mark()
            if act == "ask":
                self.cluster.release(mark)
                visitor.open.append(client.call("ask", worker, name=mark))
            else:
                hold = self.chance.choice([-1, 1, 2])
                visitor.open.append(client.call("say", worker, name=mark, count=3, hold=hold))
        elif act == "open":
            visitor.open.append(client.get(None, worker))
        elif act == "cut" and visitor.open:
            await self.chance.choice(visitor.open).cut()
        elif act == "answer":
            of = self.chance.choice(self.visitors)
            if of.questions:
                note = f"mark-{visitor.number}-note"
                answer = {"action": "accept", "content": {"sure": True, "note": note}}
                question = self.chance.choice(of.questions)
                await client.post({"jsonrpc": "2.0", "id": question["id"], "result": answer}, worker).finish()
        elif act == "release":
            self.cluster.release(f"mark-{visitor.number}-{self.chance.randint(1, max(1, visitor.calls))}")
        elif act == "steal":
            other = self.chance.choice(self.visitors)
            if other.user != visitor.user and other.ids:
                thief = ClusterClient(self.cluster, other.client.token, "2025-11-25", x_user=visitor.user)
                stolen = await thief.get(self.chance.choice(other.ids), worker).finish()
                assert stolen.status == 404
        else:
            await self.come_back(visitor, worker)

    async def come_back(self, visitor: Visitor, worker: int) -> None:
        id, own = self.any_id(visitor)
        connection = visitor.client.get(id, worker)
        visitor.open.append(connection)
        await connection.until(lambda: connection.status)
        if own:
            self.came_back += connection.status == 200
        elif id not in visitor.ids and id.rpartition(".")[0] not in {
            each.rpartition(".")[0] for each in visitor.ids
        }:
            assert connection.status == 400, (id, connection.body)
            self.refused += 1

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            await self.step(self.chance.choice(self.visitors))
            for visitor in self.visitors:
                visitor.check()
        for visitor in self.visitors:
            for call in range(1, visitor.calls + 1):
                self.cluster.release(f"mark-{visitor.number}-{call}")
        await asyncio.sleep(0)
        for visitor in self.visitors:
            for each in visitor.open:
                await each.cut()
            visitor.check()

    async def everybody_has_what_is_theirs(self) -> None:
        """Let all come back once more, with ids of their own and then with those of the next."""
        calls = []
        for visitor in self.visitors:
            calls.append(await visitor.client.call("say", name=visitor.mark(), count=2).finish())
        for visitor, call, foreign in zip(self.visitors, calls, calls[1:] + calls[:1], strict=True):
            again = await visitor.client.get(call.ids[0], len(self.cluster.apps) - 1).finish()
            assert again.texts == call.texts
            assert await visitor.client.refused(foreign.ids[0]) == 400


async def play(stores: list[Any], chance: random.Random, steps: int = STEPS, **options: Any) -> Play:
    async with running_cluster(stores, QUICK, **options) as cluster:
        for app in cluster.apps:
            app.endpoint._authenticator = HeaderUsers()
        visitors = []
        for number, user in enumerate(USERS * 2):
            client = await cluster.client(worker=number % len(stores), x_user=user)
            visitors.append(Visitor(client, number, user))
        stage = Play(cluster, visitors, chance)
        await stage.run(steps)
        if "event_store" not in options:
            await stage.everybody_has_what_is_theirs()
        return stage


#: Whatever waits for somebody waits shorter.
QUICK = Timings(stream_retention=0.2, log_retries=0.3, resume_lookup=0.01)


@pytest.mark.parametrize("kind", ["alone", "together", "sqlite", "own store alone", "own store together"])
@pytest.mark.parametrize("turn", range(3))
async def test_nobody_reads_what_was_said_to_another(kind: str, turn: int, tmp_path: Path) -> None:
    """R-352, R-717, R-334, D3."""
    chance = seeded()
    options: dict[str, Any] = {}
    if kind.startswith("own store"):
        options["event_store"] = Treacherous(chance)
    if kind.endswith("alone"):
        stores: list[Any] = ["memory://"]
    elif kind == "sqlite":
        stores = [f"sqlite:///{tmp_path / 'state.db'}"] * 3
    else:
        stores = [SharedMemory()] * 3
    stage = await play(stores, chance, **options)
    print(f"refused: {stage.refused}, came back: {stage.came_back}")


# -- what the checks are for ----------------------------------------------------------------------------------


async def leaks(stores: list[Any], **options: Any) -> bool:
    """Say whether what one session was told reaches another that comes with its event id, or is handed it."""
    async with running_cluster(stores, **options) as cluster:
        one, other = await cluster.client(), await cluster.client()
        told = await one.call("say", name="mark-1-1", count=3).finish()
        own = await other.call("say", name="mark-2-1", count=3).finish()
        bodies = [
            (await other.get(id, worker).finish()).body
            for id in (told.ids[0], own.ids[0])
            for worker in range(len(stores))
        ]
        return any("1" in MARK.findall(body.decode()) for body in bodies)


def ignore_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seal, "verify", lambda *_: True)


def ignore_sessions_in_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_stream_key", lambda session_id, number: number)


def ignore_purposes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_entry_purpose", lambda stream, position: b"event")


class Confusing(Treacherous):
    """Hands back the first stream that there is, as if it were the one that was asked for."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        first = self._events[0][0]
        for stream, message in self._events[1:]:
            if stream == first:
                await send_callback(EventMessage(message))
        return self._events[int(last_event_id)][0]


@pytest.mark.parametrize(
    ("broken", "leaking"),
    [
        ([], False),
        ([ignore_signatures], False),
        ([ignore_sessions_in_keys], False),
        ([ignore_signatures, ignore_sessions_in_keys], True),
    ],
    ids=["whole", "without the signature", "without the session in the key", "without both"],
)
async def test_a_leak_by_an_id_is_seen(
    broken: list[Callable[[pytest.MonkeyPatch], None]], leaking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signature and key are two walls: each holds alone, and without both this test would see it."""
    for take_away in broken:
        take_away(monkeypatch)
    assert await leaks([SharedMemory()]) == leaking


@pytest.mark.parametrize(
    ("broken", "leaking"),
    [([], False), ([ignore_purposes], True)],
    ids=["whole", "without the purpose of a seal"],
)
async def test_a_leak_by_a_store_is_seen(
    broken: list[Callable[[pytest.MonkeyPatch], None]], leaking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a store mixes up, the seal tells apart, and nothing else could."""
    for take_away in broken:
        take_away(monkeypatch)
    assert await leaks(["memory://"], event_store=Confusing(random.Random(0))) == leaking


def test_the_mark_of_a_message_is_found() -> None:
    """Wherever it is in a body."""
    body = json.dumps({"result": {"content": [{"text": "mark-7-3 done"}]}})
    assert MARK.findall(body) == ["7"]
