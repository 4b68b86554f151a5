"""A client of the session era that is made for faults: whatever breaks, it resumes, and it notices what is wrong.

A stream here is one request's answer (or the session's GET stream) over as many connections as it takes. What a
lenient client would never see is a failure: an event that comes twice, a message after the response. The easy
thing to get wrong is how a response ended: `readline` of http.client returns the same for an end and for a cut.
"""

import http.client
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Self

from enfilade.wire.revisions import LATEST_HANDSHAKE
from support.exchanges import Message, parsed
from support.http_client.connection import HeaderValue, Http, HttpSession, PendingReply, Reply
from support.http_client.sse_reader import EventReader

TIMEOUT = 60.0
"""Seconds that a stream may take in all, unless a test says otherwise."""

AGAIN = 0.05  # seconds between two attempts to reach a server that cannot serve just now

Broken = (OSError, http.client.HTTPException)
"""What a connection raises that broke off; so is a time-out, which must be caught before."""


class Hung(AssertionError):
    """The time was over and the stream was not."""


class Lost(Exception):
    """The connection broke before there was an id to resume from."""


class Refused(Exception):
    """The server will not serve the request.

    Attributes:
        status: of its response.
        message: the JSON-RPC error in it, or None.
    """

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.message: Message | None = parsed(reply.body)
        super().__init__(f"{reply.status}: {reply.body!r}")


def seeded() -> random.Random:
    """Return a source of chance that can be had again: pytest shows what it prints for a test that fails."""
    seed = os.environ.get("ENFILADE_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"to repeat this: ENFILADE_SEED={seed}")
    return random.Random(seed)


class Stream:
    """One stream of the server, read as an iterator of its messages, to its end.

    Args:
        session: whose.
        waiting: the request that began it.
        id: of that request; None for the session's own stream, which has no end.
        timeout: seconds that it may take in all.
        hurry: resume at once, whatever the server's `retry` says.

    Attributes:
        request_id, asked: of the request that it answers.
        messages: what came so far, each with the id of its event.
        ids: the ids of all events, those without a message included.
        last_id: where it would be resumed.
        retry: seconds that the server asks for before that, once it has.
        outcome: the response to the request, once it has come.
        served_by: the backend behind each connection, where the proxy says.
        troubles: what was in the way of resuming: a status, or the exception's name.
    """

    def __init__(
        self,
        session: HttpSession,
        waiting: PendingReply,
        id: Any,
        timeout: float = TIMEOUT,
        *,
        hurry: bool = False,
    ) -> None:
        self._session, self.request_id, self._hurry = session, id, hurry
        self.asked = waiting.asked
        self._deadline = time.monotonic() + timeout
        self._events = EventReader()
        self._ready: deque[Message] = deque()
        self._seen: set[str] = set()
        self.messages: list[tuple[str | None, Message]] = []
        self.ids: list[str] = []
        self.last_id: str | None = None
        self.retry: float | None = None
        self.outcome: Message | None = None
        self.served_by: list[str | None] = []
        self.troubles: list[int | str] = []
        self._waiting: PendingReply | None = waiting
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        """Return the next message.

        Raises:
            Lost, Refused: it cannot go on.
            Hung: its time is over.
        """
        while not self._ready:
            if self._waiting is not None:
                self._read(self._waiting)
            elif self.outcome is None:
                self._resume()
            else:
                raise StopIteration
        return self._ready.popleft()

    def begin(self) -> None:
        """Read up to the first event, which may be one without a message."""
        while not self.ids and self._waiting is not None:
            self._read(self._waiting)

    def until(self, is_wanted: Callable[[Message], bool]) -> Message:
        """Read up to a message and return it."""
        for message in self:
            if is_wanted(message):
                return message
        raise AssertionError(f"the stream ended before that came: {self.outcome}")

    def finish(self) -> Message:
        """Read to the end and return the response."""
        for _ in self:
            pass
        assert self.outcome is not None
        return self.outcome

    @property
    def result(self) -> dict[str, Any]:
        outcome = self.finish()
        assert "result" in outcome, outcome
        result: dict[str, Any] = outcome["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        outcome = self.finish()
        assert "error" in outcome, outcome
        error: dict[str, Any] = outcome["error"]
        return error

    def sent(self, method: str) -> list[dict[str, Any]]:
        """Return the params of the notifications and questions of one kind."""
        return [message["params"] for _, message in self.messages if message.get("method") == method]

    def cut(self, *, reset: bool = False) -> None:
        """Break the connection off, from this side; to read on is to resume."""
        waiting, self._waiting, self._begun = self._waiting, None, False
        if waiting is not None:
            with suppress(OSError):
                waiting.reset() if reset else waiting.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Hung(f"the stream took too long; {len(self.messages)} messages, troubles: {self.troubles}")
        return left

    def _read(self, waiting: PendingReply) -> None:
        """Take in what has come; whatever ends the connection leaves none."""
        try:
            waiting.limit(self._left())
            if not self._begun:
                self._begin(waiting)
                return
            data = waiting.response.read1(65536)
        except TimeoutError:
            self.cut()
            self._left()
            raise
        except Broken:
            data = b""
        if not data:
            self.cut()
        for event in self._events.feed(data):
            self._take(event.id, event.data, event.retry)

    def _begin(self, waiting: PendingReply) -> None:
        """Look at the head of a response."""
        status, streams = waiting.status, (waiting.header("content-type") or "").startswith("text/event-stream")
        if status == 200 and streams:
            self._begun, self._events = True, EventReader()
            self.served_by.append(waiting.header("x-served-by"))
            return
        reply = waiting.read()
        self._waiting = None
        if status == 200:
            self.served_by.append(reply.header("x-served-by"))
            self._take(None, reply.body.decode(), None)
        elif status in (502, 503) and self.last_id is not None:
            self.troubles.append(status)
        else:
            raise Refused(reply)

    def _take(self, id: str | None, data: str, retry: float | None) -> None:
        self.retry = self.retry if retry is None else retry
        if id is not None:
            assert id not in self._seen, f"event {id} came twice"
            self._seen.add(id)
            self.ids.append(id)
            self.last_id = id
        if not data:
            return
        message: Message = parsed(data.encode())
        self.asked.check(message)
        assert self.outcome is None, f"after the response there came {message}"
        if "method" not in message:
            assert message["id"] == self.request_id, f"the response to another request: {message}"
            self.outcome = message
        self.messages.append((id, message))
        self._ready.append(message)

    def _resume(self) -> None:
        if self.last_id is None and self.request_id is not None:
            raise Lost("the connection broke before the first event with an id")
        pause = AGAIN if self.troubles else 0.0
        time.sleep(min(self._left(), pause if self._hurry else max(pause, self.retry or 0.0)))
        try:
            self._waiting = get_stream(self._session, self.last_id)
        except Broken as broken:
            self.troubles.append(type(broken).__name__)


def get_stream(session: HttpSession, last_id: str | None, **headers: HeaderValue) -> PendingReply:
    """Send a GET: for the session's own stream, or for what follows an event."""
    fields = {**session.headers, **headers, "accept": "text/event-stream", "last_event_id": last_id}
    return session.http.start("GET", b"", {name.replace("_", "-"): value for name, value in fields.items()})


class ResumingClient:
    """Opens a session; safe to be used from several threads.

    Args:
        port: where the server, or a proxy before it, is.
        revision: to ask for.
        capabilities: of the client.
        timeout: seconds that each stream may take in all.
        hurry: let streams resume at once, whatever the server's `retry` says.
    """

    def __init__(
        self,
        port: int,
        revision: str = LATEST_HANDSHAKE,
        capabilities: dict[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
        hurry: bool = False,
    ) -> None:
        self.http = Http(port)
        self.session = self.http.initialize(revision, capabilities)
        self._timeout, self._hurry = timeout, hurry
        self._ids: Iterator[int] = iter(range(1, 1_000_000_000))

    def start(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        meta: dict[str, Any] | None = None,
        **headers: HeaderValue,
    ) -> Stream:
        """Send a request; its answer is a stream, also if it comes as JSON."""
        id = next(self._ids)
        waiting = self.session.start(method, params, id=id, meta=meta, **headers)
        return Stream(self.session, waiting, id, self._timeout, hurry=self._hurry)

    def call(self, tool: str, /, **arguments: Any) -> Stream:
        """Call a tool, with a progress token."""
        id = next(self._ids)
        params = {"name": tool, "arguments": arguments}
        waiting = self.session.start("tools/call", params, id=id, meta={"progressToken": id})
        return Stream(self.session, waiting, id, self._timeout, hurry=self._hurry)

    def listen(self, last_id: str | None = None, stream: Stream | None = None, **headers: HeaderValue) -> Stream:
        """Open the session's own stream, or resume any: `stream` is one that answers a request, even if over."""
        waiting = get_stream(self.session, last_id, **headers)
        waiting.asked = waiting.asked if stream is None else stream.asked
        return Stream(self.session, waiting, stream and stream.request_id, self._timeout, hurry=self._hurry)

    def answer(self, question: Message, result: dict[str, Any]) -> Reply:
        """Answer a question of the server."""
        return self.session.post({"jsonrpc": "2.0", "id": question["id"], "result": result})
