"""Principals apart: whatever several of them do side by side, nobody is shown anything of another.

Eight clients of seven principals do at random what clients do, in both eras and at two workers, and turn up with
each other's ids. Every message names the principal that it was made for: a leak is a number in the wrong place.
What is another's must be refused in the same words as what never was.

Easy to get wrong: a test in which everything is refused. So everybody must also get what is theirs: each call
that its own client has not given up ends in its result, and no update of a state is lost.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enfilade.serving.client_requests.request_state import RequestStateCodec
from enfilade.serving.principal import Principal
from enfilade.timings import Timings
from enfilade.transports.http.sessions import Sessions
from support.authorization import marked_server
from support.authorization.marked_server import NUMBERS, WHO
from support.cluster.in_process_workers import InProcessCluster, WorkerResponse
from support.exchanges import Message, SentRequests, parsed
from support.http_client.connection import (
    BOTH,
    HeaderValue,
    initialize_request,
    modern_headers,
    request_of,
    stateless_meta,
)
from support.http_client.resuming_client import seeded
from support.rounds import accept
from support.stores.valkey_server import Valkey
from support.waiting import until

pytestmark = pytest.mark.anyio

STEPS = 5
SESSION = "2025-11-25"
QUICK = Timings(change_debounce=0.005, change_retry=0.01)


class Loot:
    """What anybody may have overheard, by the number of the principal that it was made for."""

    def __init__(self) -> None:
        self.sessions: list[tuple[int, str]] = []
        self.events: list[tuple[int, str]] = []
        self.states: list[tuple[int, Message]] = []
        self.questions: list[tuple[int, str]] = []
        self.calls: list[tuple[int, int]] = []

    def foreign(self, kind: str, number: int, chance: random.Random) -> Any:
        """Return something of another principal, or None if there is nothing."""
        found = [thing for owner, thing in getattr(self, kind) if owner != number]
        return chance.choice(found) if found else None


class Visitor:
    """One client of a principal, with a session."""

    def __init__(self, stage: "Stage", place: int, chance: random.Random) -> None:
        key = WHO[place][0]
        self.number = marked_server.KEYS.index(key)
        self.stage, self.chance, self.place = stage, chance, place
        self._tokens = [headers for each, headers in WHO if each == key]
        self._asked = SentRequests(SESSION)
        self.token = ""
        self.connections: list[WorkerResponse] = []

    def mark(self) -> str:
        return f"mark-{self.number}-{next(self.stage.numbers)}-"

    # -- requests ----------------------------------------------------------------------------------------------

    @property
    def headers(self) -> dict[str, str]:
        """The credentials of a request: any token of the principal is as good for its session as another."""
        return self.chance.choice(self._tokens)

    def send(self, verb: str, message: Message | None, **more: HeaderValue) -> WorkerResponse:
        """Send a request of the session, or a stateless one, to any worker."""
        asgi = self.chance.choice(self.stage.cluster.asgis)
        fields: dict[str, HeaderValue] = {**self.headers, "mcp-session-id": self.token or None}
        fields["accept"] = BOTH if verb == "POST" else "text/event-stream"
        fields |= {"content-type": "application/json"} if verb == "POST" else {}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        revision = more.get("mcp_protocol_version")
        asked = SentRequests(str(revision)) if revision else self._asked
        asked.note(message)
        body = b"" if message is None else json.dumps(message).encode()
        connection = WorkerResponse(asgi.app, asgi.scope(fields, verb), body, asked)
        self.connections.append(connection)
        self.stage.cluster.connections.append(connection)
        return connection

    def request(self, method: str, params: dict[str, Any], **more: HeaderValue) -> WorkerResponse:
        id = next(self.stage.numbers)
        self.stage.loot.calls.append((self.number, id))
        return self.send("POST", request_of(method, params, id, None), **more)

    def stateless(self, method: str, params: dict[str, Any], id: int = 1) -> WorkerResponse:
        meta = stateless_meta(clientCapabilities={"elicitation": {}}, logLevel="debug")
        message = request_of(method, params, id, meta)
        return self.send("POST", message, **{"mcp-session-id": None, **modern_headers(message)})

    def call(self, tool: str, **arguments: Any) -> WorkerResponse:
        """Call a tool, in one of the eras."""
        params = {"name": tool, "arguments": arguments}
        start = self.chance.choice([self.request, self.stateless])
        return start("tools/call", params)

    async def begin(self) -> None:
        asgi = self.chance.choice(self.stage.cluster.asgis)
        reply = await asgi.post(initialize_request(SESSION, {"elicitation": {}}), **self.headers)
        assert reply.status == 200, reply.body
        self.token = reply.headers["mcp-session-id"]
        self.stage.loot.sessions.append((self.number, self.token))

    def check(self) -> None:
        """Check all that has reached it so far, and let others overhear the ids."""
        for connection in self.connections:
            found = {int(number) for number in NUMBERS.findall(connection.body.decode())}
            assert found <= {self.number}, f"{WHO[self.place][0]} was shown what is of {found}"
            self.stage.loot.events += [(self.number, id) for id in connection.ids]

    # -- what is its own ---------------------------------------------------------------------------------------

    async def tell(self) -> None:
        mark = self.mark()
        assert text_of(await self.call("tell", mark=mark).finish()) == f"{mark}done holder-{self.number}-"

    async def come_back(self) -> None:
        """Lose the connection of a call, and read the rest at any worker."""
        mark = self.mark()
        call = self.request("tools/call", {"name": "tell", "arguments": {"mark": mark, "hold": True}})
        await call.until(lambda: len(call.received) == 1)
        self.check()
        await call.cut()
        rest = self.send("GET", None, last_event_id=call.ids[-1])
        await self.pause()
        self.stage.cluster.release(mark)
        assert text_of(await rest.finish()) == f"{mark}done holder-{self.number}-"

    async def cancel(self) -> None:
        mark = self.mark()
        call = self.request("tools/call", {"name": "tell", "arguments": {"mark": mark, "hold": True}})
        await call.until(lambda: len(call.received) == 1)
        id = next(int(each[1]) for each in reversed(self.stage.loot.calls) if each[0] == self.number)
        await self.notify_cancelled(id)
        await self.pause()
        self.stage.cluster.release(mark)

    async def notify_cancelled(self, id: int) -> None:
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        assert (await self.send("POST", message).finish()).status == 202

    async def remember(self) -> None:
        mark = self.mark()
        self.stage.remembered[self.number] += 1
        assert mark in text_of(await self.call("remember", mark=mark).finish())

    async def inquire(self) -> None:
        """Be asked in the session, while others answer as well."""
        mark = self.mark()
        call = self.request("tools/call", {"name": "inquire", "arguments": {"mark": mark}})
        await call.until(lambda: call.received)
        (question,) = call.received
        self.stage.loot.questions.append((self.number, question["id"]))
        await self.pause()
        await self.pause()
        await self.answer(question["id"], f"{mark}note")
        self.check_answer(mark, await call.finish())

    async def answer(self, id: str, note: str) -> None:
        message = {"jsonrpc": "2.0", "id": id, "result": accept(note=note)}
        assert (await self.send("POST", message).finish()).status == 202

    async def inquire_in_rounds(self) -> None:
        mark = self.mark()
        params = {"name": "inquire", "arguments": {"mark": mark}}
        asked = parsed((await self.stateless("tools/call", params).finish()).body)["result"]
        answers = {key: accept(note=f"{mark}note") for key in asked["inputRequests"]}
        retry = {**params, "requestState": asked["requestState"], "inputResponses": answers}
        self.stage.loot.states.append((self.number, retry))
        await self.pause()
        self.check_answer(mark, await self.stateless("tools/call", retry).finish())

    def check_answer(self, mark: str, answered: WorkerResponse) -> None:
        holder = f"holder-{self.number}-"
        assert text_of(answered) == f"{mark}once {holder} {mark}note {holder}"

    async def watch(self) -> None:
        """Watch a resource in the session's own stream, and be told once it changes."""
        uri = f"note://{self.mark()}"
        stream = self.send("GET", None)
        await stream.until(lambda: stream.status)
        assert (await self.request("resources/subscribe", {"uri": uri}).finish()).status == 200
        await self.see(stream, uri)

    async def listen(self) -> None:
        uri = f"note://{self.mark()}"
        stream = self.stateless("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}})
        await stream.until(lambda: stream.received)
        await self.see(stream, uri)
        await stream.cut()

    async def see(self, stream: WorkerResponse, uri: str) -> None:
        await self.call("touch", uri=uri).finish()
        await until(lambda: uri in stream.body.decode() or stream.task.done())

    async def read(self) -> None:
        mark = self.mark()
        read = self.chance.choice([self.request, self.stateless])
        contents = answer_of(await read("resources/read", {"uri": f"note://{mark}"}).finish())["contents"]
        assert contents[0]["text"] == f"{mark} holder-{self.number}-"

    async def end(self) -> None:
        """End the session and open another one."""
        deleted = await self.send("DELETE", None).finish()
        assert deleted.status == 204, deleted.body
        await self.begin()

    # -- what is another's -------------------------------------------------------------------------------------

    async def steal_session(self) -> None:
        """R-317, R-705: a session of another does not exist, whatever is wanted of it."""
        token = self.stage.loot.foreign("sessions", self.number, self.chance)
        if token is None:
            return
        ping, note = request_of("ping", {}, 1, None), {"jsonrpc": "2.0", "method": "notifications/initialized"}
        answer = {"jsonrpc": "2.0", "id": "x", "result": {}}
        choices = [("POST", ping), ("POST", note), ("POST", answer), ("GET", None), ("DELETE", None)]
        verb, message = self.chance.choice(choices)
        await self.same(404, *(self.send(verb, message, mcp_session_id=each) for each in (token, changed(token))))

    async def steal_event(self) -> None:
        """R-717: with its own session, and with that of the other."""
        id = self.stage.loot.foreign("events", self.number, self.chance)
        if id is not None:
            await self.same(400, *(self.send("GET", None, last_event_id=each) for each in (id, changed(id))))

    async def steal_state(self) -> None:
        """R-294, R-705: the whole retry of another, arguments and answers included."""
        retry = self.stage.loot.foreign("states", self.number, self.chance)
        if retry is not None:
            unknown = {**retry, "requestState": changed(retry["requestState"])}
            await self.same(400, *(self.stateless("tools/call", each) for each in (retry, unknown)))

    async def answer_for_another(self) -> None:
        """B7, R-334: it is taken, as every answer is, and reaches nobody."""
        id = self.stage.loot.foreign("questions", self.number, self.chance)
        if id is not None:
            await self.answer(id, f"{self.mark()}note")

    async def cancel_for_another(self) -> None:
        """R-716: ids are the clients' own, so that of another is in this session an unknown one."""
        id = self.stage.loot.foreign("calls", self.number, self.chance)
        if id is not None:
            await self.notify_cancelled(id)

    async def same(self, status: int, *connections: WorkerResponse) -> None:
        foreign, unknown = [await each.finish() for each in connections]
        assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
        assert foreign.status == status, foreign.body
        self.stage.refused += 1

    # -- by chance ---------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        for _ in range(self.chance.randrange(8)):
            await asyncio.sleep(0)

    async def run(self) -> None:
        acts: list[Callable[[], Any]] = [
            *(self.tell, self.come_back, self.cancel, self.remember, self.inquire, self.inquire_in_rounds),
            *(self.watch, self.listen, self.read, self.end),
            *(self.steal_session, self.steal_event, self.steal_state) * 2,
            *(self.answer_for_another, self.cancel_for_another),
        ]
        await self.begin()
        for act in self.chance.choices(acts, k=STEPS):
            await act()
            await self.pause()
            self.check()


class Stage:
    """What visitors share.

    Attributes:
        remembered: how many updates of its state each principal has made.
        refused: how often somebody came with what is another's.
    """

    def __init__(self, cluster: InProcessCluster) -> None:
        self.cluster = cluster
        self.loot = Loot()
        self.numbers: Iterator[int] = itertools.count(1)
        self.remembered: Counter[int] = Counter()
        self.refused = 0

    async def play(self, chance: random.Random) -> None:
        """Let some visitors act side by side."""
        places = chance.sample(range(len(WHO)), 5)
        visitors = [Visitor(self, place, random.Random(chance.random())) for place in places]
        async with asyncio.TaskGroup() as group:
            for visitor in visitors:
                group.create_task(visitor.run())
        for visitor in visitors:
            for connection in visitor.connections:
                await connection.cut()
            visitor.check()

    async def nothing_is_lost(self, chance: random.Random) -> None:
        """Everybody has in its state what it has put there."""
        for place in range(len(WHO)):
            visitor = Visitor(self, place, chance)
            await visitor.begin()
            text = text_of(await visitor.call("remember", mark=visitor.mark()).finish())
            self.remembered[visitor.number] += 1
            every = text.split()[:-1]
            assert len(set(every)) == self.remembered[visitor.number]
            visitor.check()


def answer_of(connection: WorkerResponse) -> dict[str, Any]:
    """Return the result of a request, which came as JSON or as a stream."""
    response = parsed(connection.body) or connection.received[-1]
    assert "result" in response, response
    result: dict[str, Any] = response["result"]
    return result


def text_of(connection: WorkerResponse) -> str:
    text: str = answer_of(connection)["content"][0]["text"]
    return text


def changed(id: str) -> str:
    """Return an id of the same shape that was never given out."""
    at = len(id) // 2
    return f"{id[:at]}{'A' if id[at] != 'A' else 'B'}{id[at + 1 :]}"


@contextlib.asynccontextmanager
async def stage_on(store: str) -> AsyncIterator[Stage]:
    cluster = InProcessCluster([store] * 2, QUICK, auth=marked_server.auth())
    for app in cluster.apps:
        marked_server.add_tools(app, app.gate)
        await app.endpoint.start()
    try:
        yield Stage(cluster)
    finally:
        await cluster.stop()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
async def test_nobody_is_shown_anything_of_another(
    kind: str, part: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """B7, R-317, R-352, R-705, R-716, R-717: 200 interleavings in all, 25 of them in one store each."""
    chance = seeded()
    store = f"sqlite:///{tmp_path / 'state.db'}"
    if kind == "valkey":
        store = f"{request.getfixturevalue('valkey').url}?prefix=part{part}:"
    async with stage_on(store) as stage:
        for count in (5, 10, 10):
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(stage.play(random.Random(chance.random())))
        await stage.nothing_is_lost(chance)
        assert stage.refused > 100


# -- what the checks are for -----------------------------------------------------------------------------------


def ignore_issuers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Principal, "_key", lambda principal: principal.subject)


def ignore_owners_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Sessions.find

    async def found(sessions: Sessions, token: bytes, principal: str | None) -> Any:
        session = sessions._cached.get(token) or sessions._newcomers.get(token)
        return await find(sessions, token, principal if session is None else session.peer.principal)

    monkeypatch.setattr(Sessions, "find", found)


def ignore_owners_of_states(monkeypatch: pytest.MonkeyPatch) -> None:
    close, opened = RequestStateCodec.close, RequestStateCodec.open
    monkeypatch.setattr(RequestStateCodec, "close", lambda *arguments: close(*arguments[:-1], None))
    monkeypatch.setattr(RequestStateCodec, "open", lambda *arguments: opened(*arguments[:-1], None))


@pytest.mark.parametrize(
    "take_away", [ignore_issuers, ignore_owners_of_sessions, ignore_owners_of_states], ids=lambda it: it.__name__
)
async def test_a_mix_up_is_seen(
    take_away: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the checks is needed, and this play would not go well without it."""
    take_away(monkeypatch)
    chance = seeded()
    async with stage_on(f"sqlite:///{tmp_path / 'state.db'}") as stage:
        with pytest.raises(ExceptionGroup) as raised:
            for _ in range(25):
                await stage.play(chance)
    assert raised.group_contains(AssertionError)
