"""What clients do in the long run: everything, in no order.

Each deed is one thing that a client does from beginning to end, and fails if that went wrong. Easy to get wrong
is a client that leaves, or gives up because a worker was killed: what it has left behind must end by itself, so
no tool waits longer than `PATIENCE` for anybody.
"""

import os
import random
from collections.abc import Callable

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import ELICITS, check_whole_or_given_up, numbers
from support.http_client.connection import Http
from support.http_client.resuming_client import ResumingClient, get_stream

PATIENCE = 20.0


class Traffic:
    """What one client does, at random, again and again."""

    def __init__(self, cluster: ProcessCluster, chance: random.Random) -> None:
        self._fleet, self._chance = cluster, chance
        self._http = Http(cluster.port)
        self.deeds: list[Callable[[], None]] = [
            self.plain,
            self.plain,
            self.plain,
            self.plain,
            self.stream,
            self.stream,
            self.answer,
            self.cancel,
            self.leave,
            self.changes,
            self.stateless,
            self.repeat,
            self.listen,
            self.large,
            self.fail,
            self.abandon,
            self.limited,
        ]

    def next(self) -> Callable[[], None]:
        """Return what to do next."""
        return self._chance.choice(self.deeds)

    def open(self) -> ResumingClient:
        return ResumingClient(self._fleet.port, capabilities=ELICITS, hurry=True)

    def plain(self) -> None:
        client = self.open()
        client.session.ask("logging/setLevel", {"level": "info"})
        for number in range(10):
            assert client.session.call("echo", text=str(number)).status == 200
        if self._chance.random() < 0.5:
            assert client.session.delete().status == 204

    def stream(self) -> None:
        with self.open().call("count", n=100, pause=0.002, size=self._chance.choice([0, 500])) as stream:
            for at in sorted(self._chance.sample(range(1, 100), 4)):
                stream.until(lambda _: len(numbers(stream)) >= at)
                stream.cut(reset=self._chance.random() < 0.5)
            check_whole_or_given_up(stream, 100)

    def answer(self) -> None:
        client = self.open()
        with client.call("charge", ledger=os.devnull, patience=PATIENCE) as stream:
            question = stream.until(lambda message: message.get("method") == "elicitation/create")
            if self._chance.random() < 0.5:
                stream.cut()
            assert client.answer(question, {"action": "accept", "content": {"sure": True}}).status == 202
            stream.finish()

    def cancel(self) -> None:
        session = self.open().session
        held = {"name": session.token, "seconds": PATIENCE}
        with session.start("tools/call", {"name": "hold", "arguments": held}) as waiting:
            next(waiting.events())
            assert session.cancel(1).status == 202
            list(waiting.events())

    def leave(self) -> None:
        """Be cut off, and end the session with what still runs in it."""
        client = self.open()
        with client.call("hold", name=client.session.token, seconds=PATIENCE) as stream:
            next(stream)
        assert client.session.delete().status == 204

    def changes(self) -> None:
        client = self.open()
        client.session.ask("resources/subscribe", {"uri": "note://a"})
        with get_stream(client.session, None) as waiting:
            assert waiting.status == 200
            client.session.call("announce", uri="note://a")
            next(waiting.events())

    def stateless(self) -> None:
        assert self._http.modern_call("echo", text="hello").status == 200
        assert self._http.modern_call("count", n=20).status == 200

    def repeat(self) -> None:
        """Call what has a cache and what is idempotent, as other clients do at the same time."""
        for _ in range(10):
            number, order = self._chance.randrange(200), f"order {self._chance.randrange(200)}"
            looked = self._http.modern_call("look", number=number)
            assert looked.result["structuredContent"] == {"result": number}
            ordered = self._http.modern_call("order", order_id=order)
            assert ordered.result["structuredContent"] == {"result": order}

    def listen(self) -> None:
        wanted = {"notifications": {"toolsListChanged": True}}
        with self._http.start_modern("subscriptions/listen", wanted) as waiting:
            next(waiting.events())

    def large(self) -> None:
        text = "x" * self._chance.randrange(100_000, 1_000_000)
        assert self.open().session.call("echo", text=text).result["content"][0]["text"] == text

    def fail(self) -> None:
        session = self.open().session
        assert session.call("stumble").result["isError"]
        assert session.call("nobody_has_this").status == 200
        assert session.post(b"{").status == 400
        assert self._http.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, mcp_session_id="x").status == 404

    def abandon(self) -> None:
        """Ask, and never be heard of again; the call ends by itself."""
        self.open().call("nap", seconds=1).cut(reset=True)
        self.open().call("count", n=10, pause=0.05).cut()

    def limited(self) -> None:
        for _ in range(5):
            assert self._text("limited") == "done"
        assert len(self._http.modern_call("rows", n=5000).result["structuredContent"]["result"]) < 1000

    def _text(self, tool: str, **arguments: str) -> str:
        text: str = self._http.modern_call(tool, **arguments).result["content"][0]["text"]
        return text
