"""The way from an event id to a stream: names, seals, and what any worker reads again of what one has written.

The name of a stream holds a signature over its session, so an id counts in the session that got it and nowhere
else; what is kept is sealed for its session, stream and position, so whatever a store may mix up, nobody ever
reads what was said to somebody else (R-352, D3). The easy thing to get wrong is a beginning that is not kept any
more: it must be refused, since nobody would notice what is missing.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from enfilade.serving.cluster import Relay
from enfilade.state.event_store import EventStoreLog
from enfilade.state.memory import MemoryLog
from enfilade.state.store import EventLog, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.http.event_recorder import (
    CONCLUDED,
    ENTRY,
    GOES_ON,
    Entry,
    Head,
    Recording,
    new_number,
    stream_key,
)
from enfilade.wire.jsonrpc import INVALID_REQUEST, RequestId, RpcError

log = logging.getLogger("enfilade.transports")

_LOOKS: Final = 2
_LOOK_AGAIN: Final = 0.05

#: Seconds that another worker has to answer whether it sent an event.
_CLAIM_TIMEOUT: Final = 1.0

_NAMING: Final = b"stream"
_ID: Final = re.compile(rb"([0-9a-f]{24})-([A-Za-z0-9_-]{16})(?:-([A-Za-z0-9_-]*))?\.(\d{1,15})")


class Page(msgspec.Struct):
    """What a reader gets at once.

    Attributes:
        head: how the stream was opened.
        messages: what follows, each with its position.
        end: how it ended, if its end is on this page.
    """

    head: Head
    messages: list[tuple[int, bytes]]
    end: int


class Place(msgspec.Struct, frozen=True):
    """What an event id says: a stream of this session, and a position on it."""

    stream: str
    name: bytes
    position: int


class Claims:
    """Asks the worker that writes a stream whether it sent an event that the log does not have yet.

    Events reach the client a moment before the log has them. A client that comes back to another worker may name
    an event beyond the end of the log, and only the worker that sent it can tell it from one that never existed.
    A worker that is gone does not answer; its client is believed, so that it learns that the worker is gone.

    Args:
        relay: the workers.
        position: returns the position of the last event that this worker gave out on a stream which it writes at
            present; None for other streams.
    """

    def __init__(self, relay: Relay, position: Callable[[str], int | None]) -> None:
        self._relay = relay
        self._position = position
        self._open: dict[str, asyncio.Future[bool]] = {}
        relay.on("claim", self._judge)
        relay.on("verdict", self._hear)

    async def is_good(self, stream: str, position: int, worker: str) -> bool:
        """Return what the worker of a stream says about a position; True if it does not answer.

        Args:
            stream: its key in the log.
            position: of the event that a client has named.
            worker: who writes the stream.
        """
        if not self._relay.shared or worker == self._relay.worker:
            return True
        number = secrets.token_hex(8)
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._open[number] = verdict
        try:
            self._relay.tell("claim", [stream, position, self._relay.worker, number], worker)
            async with asyncio.timeout(_CLAIM_TIMEOUT):
                return await verdict
        except TimeoutError:
            return True
        finally:
            del self._open[number]

    def _judge(self, body: tuple[str, int, str, str]) -> None:
        stream, position, worker, number = body
        last = self._position(stream)
        self._relay.tell("verdict", [number, last is None or position <= last], worker)

    def _hear(self, body: tuple[str, bool]) -> None:
        number, good = body
        verdict = self._open.get(number)
        if verdict is not None and not verdict.done():
            verdict.set_result(good)


class Recordings:
    """The streams that this worker writes, and the way to those of all workers.

    Args:
        log: where they are kept.
        seal: signs names, and seals what is kept unless the log is private to this process.
        relay: tells readers at other workers that there is more.
        age: seconds that the log keeps a stream to which nothing is written.

    Attributes:
        anchored: the log, if it names the first event of each stream itself.
        at_hand: the log, if nothing has to be waited for: it is in this process, and its own.
    """

    def __init__(self, log: EventLog, seal: Seal, relay: Relay, age: float) -> None:
        self.log = log
        self.relay = relay
        self.anchored = log if isinstance(log, EventStoreLog) else None
        self.at_hand = log if isinstance(log, MemoryLog) and log.private else None
        self._seal = seal
        self._age = age
        self._open: dict[str, Recording] = {}
        self._refreshing: asyncio.TimerHandle | None = None
        self._claims = Claims(relay, self._position)
        relay.on("resume", self._taken)

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, stream: str) -> bool:
        return stream in self._open

    def begin(self, session_id: str, *, request_id: RequestId | None = None, answers: bool) -> Recording:
        """Return a new stream of a session."""
        recording = Recording(self, session_id, Head(self.relay.worker, answers, request_id))
        self._open[recording.stream] = recording
        if self._refreshing is None:
            self._plan_refreshing()
        if self.anchored is not None:
            recording.write()  # it gets its name from the log
        return recording

    def keep(self, session_id: str, request_id: RequestId | None, messages: list[bytes]) -> bytes | None:
        """Write the answer to a request that is whole already, and return its name.

        Returns:
            None if nothing was written: it is too much for one entry, or the log has to be waited for.
        """
        if self.at_hand is None or sum(map(len, messages)) > ENTRY:
            return None
        number = new_number()
        stream, end = stream_key(session_id, number), len(messages) + 1
        head = self.kept(stream, 0, Head(self.relay.worker, True, request_id))
        entry = self.kept(stream, end, Entry(1, messages, CONCLUDED))
        try:
            self.at_hand.write(stream, head, ((end, entry),))
        except StoreError:
            return None
        return self.name(session_id, number, None)

    def closed(self, recording: Recording) -> None:
        """Forget a stream that is in the log to its end."""
        self._open.pop(recording.stream, None)
        recording.on_taken = None  # nobody takes it over any more, and so nothing refers to its connection

    def forget(self) -> None:
        """Forget what was open in an event loop that is no more."""
        self._open.clear()
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None

    async def stop(self) -> None:
        """Give up whatever is not in the log yet, and leave nothing running."""
        for recording in list(self._open.values()):
            await recording.stop()
        self.forget()

    async def flush(self, patience: float) -> None:
        """Wait until everything that was said is in the log, for at most `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while waiting := [each for each in self._open.values() if each.unwritten]:
                    await asyncio.gather(*(each.drained() for each in waiting))

    def _taken(self, body: tuple[str, str, str, bool]) -> None:
        stream, worker, number, anew = body
        recording = self._open.get(stream)
        if recording is not None:
            recording.taken(worker, number, anew=anew)
        else:
            self.relay.tell("unserved", number, worker)

    def _plan_refreshing(self) -> None:
        self._refreshing = asyncio.get_running_loop().call_later(self._age / 4, self._refresh)

    def _refresh(self) -> None:
        """Keep the streams that are quiet but not over."""
        self._refreshing = None
        now = time.monotonic()
        for recording in self._open.values():
            if now - recording.written_at > self._age / 4:
                self.relay.soon(self._touch(recording))
        if self._open:
            self._plan_refreshing()

    async def _touch(self, recording: Recording) -> None:
        try:
            await self.log.touch(recording.stream)
            recording.written_at = time.monotonic()
        except StoreError as error:
            log.debug("a stream could not be kept alive: %s", error)

    # -- names and seals ---------------------------------------------------------------------------------------

    def name(self, session_id: str, number: str, anchor: str | None) -> bytes:
        """Return what the event ids of a stream begin with."""
        signature = base64.urlsafe_b64encode(self._seal.sign(_signed(session_id, number, anchor), _NAMING))
        middle = b"" if anchor is None else b"-" + base64.urlsafe_b64encode(anchor.encode()).rstrip(b"=")
        return number.encode() + b"-" + signature + middle + b"."

    def place(self, event_id: bytes, session_id: str) -> Place:
        """Return what an event id says.

        Raises:
            RpcError: HTTP 400 if it is none that this session was given.
        """
        match = _ID.fullmatch(event_id)
        if match is None:
            raise unknown_event()
        number, signature, anchor = match[1].decode(), match[2], match[3]
        try:
            padded = None if anchor is None else anchor + b"=" * (-len(anchor) % 4)
            decoded = None if padded is None else base64.urlsafe_b64decode(padded).decode()
            mark = base64.urlsafe_b64decode(signature)
        except (binascii.Error, UnicodeDecodeError):
            raise unknown_event() from None
        if (decoded is None) != (self.anchored is None):
            raise unknown_event()
        if not self._seal.verify(_signed(session_id, number, decoded), mark, _NAMING):
            raise unknown_event()
        stream = stream_key(session_id, number)
        if self.anchored is not None and decoded is not None:
            self.anchored.remember_anchor(stream, decoded)
        return Place(stream, event_id[: match.start(4)], int(match[4]))

    def kept(self, stream: str, position: int, what: Head | Entry) -> bytes:
        """Return something as the log keeps it."""
        packed = msgspec.msgpack.encode(what)
        return packed if self.log.private else self._seal.encrypt(packed, _purpose(stream, position))

    def _unkept(self, stream: str, position: int, kept: bytes) -> bytes:
        opened = kept if self.log.private else self._seal.decrypt(kept, _purpose(stream, position))
        if opened is None:
            raise StoreError(f"the event log returned what was not written for this stream (at {position})")
        return opened

    # -- reading -----------------------------------------------------------------------------------------------

    async def read(self, stream: str, after: int) -> Page:
        """Return what follows a position.

        Raises:
            RpcError: HTTP 400 if that is not kept any more.
            StoreError: the log does not say, or says what was not written.
        """
        kept = await self.log.read(stream, after)
        if kept is None:
            raise unknown_event()
        head = msgspec.msgpack.decode(self._unkept(stream, 0, kept.head), type=Head)
        messages: list[tuple[int, bytes]] = []
        end = GOES_ON
        for position, data in kept.entries:
            entry = msgspec.msgpack.decode(self._unkept(stream, position, data), type=Entry)
            if position == kept.first and entry.first > after + 1:
                raise unknown_event()  # what came in between is not kept any more
            # A write whose outcome was not known is done again with what has come since, so entries may overlap.
            start = max(0, after + 1 - entry.first)
            messages += [each for each in enumerate(entry.messages[start:], entry.first + start) if each[1]]
            after = max(after, entry.first + len(entry.messages) - 1)
            if entry.end:
                end = entry.end
                break  # whatever a worker that was given up has added to it since
        return Page(head, messages, end)

    async def find(self, place: Place) -> Page:
        """Return what follows the place that a client came back to.

        A client that was cut off at once may be here before its stream is in the log, so there is a second look.

        Raises:
            RpcError: HTTP 400 if that is not kept, not any more, or if the place was never given out.
            StoreError: the log does not say, or says what was not written.
        """
        page = await self._look(place)
        if not (page.messages or page.end) and not await self._was_given_out(place, page.head.worker):
            raise unknown_event()
        return page

    async def _look(self, place: Place) -> Page:
        for _ in range(_LOOKS):
            with contextlib.suppress(RpcError):
                return await self.read(place.stream, place.position)
            await asyncio.sleep(_LOOK_AGAIN)
        return await self.read(place.stream, place.position)

    async def _was_given_out(self, place: Place, worker: str) -> bool:
        """Whether a client can have an event at whose place the log ends, or that lies beyond its end.

        While a stream goes on, a client may have seen more than the log has: its worker knows how much.
        """
        given_out = self._position(place.stream)
        if given_out is not None:
            return place.position <= given_out
        last = await self.log.last(place.stream)
        if last > place.position or place.position == 0:
            return True
        if last and (await self.read(place.stream, last - 1)).end:
            return False  # the end of a stream lies one position after its last event
        return last == place.position or await self._claims.is_good(place.stream, place.position, worker)

    def _position(self, stream: str) -> int | None:
        recording = self._open.get(stream)
        return None if recording is None else recording.position

    async def pronounce(self, stream: str, position: int, message: bytes) -> None:
        """Write the last word on a stream whose worker is gone, so that everybody who asks hears the same.

        Raises:
            StoreError: it could not be written.
        """
        entry = Entry(position, [message], CONCLUDED)
        await self.log.append(stream, [(position + 1, self.kept(stream, position + 1, entry))])


def unknown_event() -> RpcError:
    """Return the refusal of an event id that is not known, or not any more (R-355)."""
    text = "Last-Event-ID is unknown or has expired; open a stream without it, and send what is unanswered again"
    return RpcError(INVALID_REQUEST, text, status=400)


def _signed(session_id: str, number: str, anchor: str | None) -> bytes:
    return f"{session_id} {number} {anchor}".encode()


def _purpose(stream: str, position: int) -> bytes:
    return b"event %s %d" % (stream.encode(), position)
