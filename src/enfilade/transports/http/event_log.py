"""The event log as sessions use it: signed event ids, sealed entries, and reading what any worker has written.

    event id = number of the stream - signature [- anchor] . position

The signature covers the session, so an id is good in the session that got it and nowhere else. Entries are sealed
for their session, stream and position, so whatever a store mixes up, nobody reads what was sent to somebody else
(R-352, D3). A stream whose beginning has expired is refused, since its reader would not notice what is missing.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Set
from functools import partial
from typing import Final

import msgspec

from enfilade.serving.cluster import WorkerChannel
from enfilade.state.event_store import EventStoreLog
from enfilade.state.memory import MemoryLog
from enfilade.state.store import EventLog, StoreError
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports.http.event_recorder import (
    CONCLUDED,
    ENTRY_SIZE,
    NOT_ENDED,
    Entry,
    StreamHead,
    StreamRecorder,
)
from enfilade.wire.jsonrpc import INVALID_REQUEST, RequestId, RpcError

log = logging.getLogger("enfilade.transports")

#: Most streams that are written in one step.
_TOGETHER: Final = 128

#: How often a stream that is not in the log is looked for again.
_LOOKS: Final = 2

_SIGNATURE_PURPOSE: Final = b"stream"
_ID: Final = re.compile(rb"([0-9a-f]{24})-([A-Za-z0-9_-]{16})(?:-([A-Za-z0-9_-]*))?\.(\d{1,15})")


class EventBatch(msgspec.Struct):
    """What is read of a stream at once.

    Attributes:
        head: the first record of the stream.
        messages: what follows the position that was asked for, each message with its position.
        end: how the stream ended, if the batch reaches its end.
        scopes: what is needed to read it.
    """

    head: StreamHead
    messages: list[tuple[int, bytes]]
    end: int
    scopes: Set[str] = frozenset()


class EventPosition(msgspec.Struct, frozen=True):
    """What an event id says.

    Attributes:
        prefix: what the ids of all its events begin with.
        position: of the event on the stream.
    """

    stream: str
    prefix: bytes
    position: int


class SentEvents:
    """Asks the worker that writes a stream whether it sent an event that the log does not have yet.

    Events reach the client a moment before the log has them. A client that comes back to another worker may name
    an event beyond the end of the log, and only the worker that sent it can tell it from one that never existed.
    A worker that is gone does not answer; its client is believed, so that it learns that the worker is gone.

    Args:
        last_sent: returns the position of the last event that this worker sent on a stream which it writes at
            present; None for other streams.
    """

    def __init__(self, worker_channel: WorkerChannel, last_sent: Callable[[str], int | None]) -> None:
        self._worker_channel = worker_channel
        self._last_sent = last_sent
        self._open: dict[str, asyncio.Future[bool]] = {}
        worker_channel.on("claim", self._send_verdict)
        worker_channel.on("verdict", self._take_verdict)

    async def was_sent(self, stream: str, position: int, worker: str, timeout: float) -> bool:
        """Return whether a worker has sent an event, as far as it says; True if it does not answer.

        Args:
            position: of the event that a client has named.
            timeout: seconds that it has to answer.
        """
        if not self._worker_channel.shared or worker == self._worker_channel.worker:
            return True
        number = secrets.token_hex(8)
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._open[number] = verdict
        try:
            self._worker_channel.send("claim", [stream, position, self._worker_channel.worker, number], worker)
            async with asyncio.timeout(timeout):
                return await verdict
        except TimeoutError:
            return True
        finally:
            del self._open[number]

    def _send_verdict(self, body: tuple[str, int, str, str]) -> None:
        stream, position, worker, number = body
        last_sent = self._last_sent(stream)
        self._worker_channel.send("verdict", [number, last_sent is None or position <= last_sent], worker)

    def _take_verdict(self, body: tuple[str, bool]) -> None:
        number, was_sent = body
        verdict = self._open.get(number)
        if verdict is not None and not verdict.done():
            verdict.set_result(was_sent)


class SealedEventLog:
    """The streams that this worker writes, and those of all workers to read.

    Args:
        seal: signs event ids, and seals entries unless the log is private to this process.
        worker_channel: tells readers at other workers that there is more.
        age: seconds for which the log keeps a stream to which nothing is written.

    Attributes:
        external_log: the log, if it names the first event of each stream itself.
        local_log: the log, if it never has to be waited for: it is in this process, and its own.
    """

    def __init__(
        self, log: EventLog, seal: Seal, worker_channel: WorkerChannel, age: float, timings: Timings = Timings()
    ) -> None:
        self.log = log
        self.timings = timings
        self.worker_channel = worker_channel
        self.external_log = log if isinstance(log, EventStoreLog) else None
        self.local_log = log if isinstance(log, MemoryLog) and log.private else None
        self._seal = seal
        self._age = age
        self._open: dict[str, StreamRecorder] = {}
        self._refresh_timer: asyncio.TimerHandle | None = None
        self._gathered: list[StreamRecorder] = []
        self._gathering: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self._sent_events = SentEvents(worker_channel, self._last_sent)
        worker_channel.on("resume", self._claim)

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, stream: str) -> bool:
        return stream in self._open

    # -- writing -----------------------------------------------------------------------------------------------

    def start_stream(
        self,
        session_id: str,
        request_id: RequestId | None = None,
        scopes: Collection[str] = (),
        *,
        is_response: bool,
        traceparent: str = "",
    ) -> StreamRecorder:
        """Return the recorder of a new stream of a session.

        Args:
            request_id: the request that the stream answers; None for a batch, and for a standalone stream.
            scopes: what is needed to read it; more may be added to them while the stream is written.
            is_response: whether it answers anything.
            traceparent: names the span of the request.
        """
        number = _new_number()
        head = StreamHead(self.worker_channel.worker, is_response, request_id, list(scopes), traceparent)
        find_prefix = partial(self._event_id_prefix, session_id, number)
        recorder = StreamRecorder(self, _stream_key(session_id, number), head, find_prefix, scopes)
        self._open[recorder.stream] = recorder
        if self._refresh_timer is None:
            self._schedule_refresh()
        if self.external_log is not None:
            recorder.write()  # the log names the stream
        return recorder

    def write_complete(
        self,
        session_id: str,
        request_id: RequestId | None,
        messages: list[bytes],
        scopes: Collection[str] = (),
        traceparent: str = "",
    ) -> bytes | None:
        """Write a complete response, and return the prefix of its event ids.

        Args:
            scopes: what is needed to read it.
            traceparent: names the span of the request.

        Returns:
            None if nothing was written: it is too long for one entry, or the log has to be waited for.
        """
        if self.local_log is None or sum(map(len, messages)) > ENTRY_SIZE:
            return None
        number = _new_number()
        head = StreamHead(self.worker_channel.worker, True, request_id, [], traceparent)
        end = len(messages) + 1
        try:
            entry = Entry(1, messages, CONCLUDED, list(scopes))
            self.append_now(_stream_key(session_id, number), head, end, entry)
        except StoreError:
            return None
        return self._prefix(session_id, number, None)

    @property
    def is_local(self) -> bool:
        """Whether `append_now` may be used."""
        return self.local_log is not None

    def append_now(self, stream: str, head: StreamHead | None, position: int, entry: Entry | None) -> None:
        """Write to the local log, as `LogWriter` says."""
        assert self.local_log is not None
        entries = () if entry is None else ((position, self._seal_entry(stream, position, entry)),)
        self.local_log.write(stream, None if head is None else self._seal_entry(stream, 0, head), entries)

    async def append(self, stream: str, head: StreamHead | None, position: int, entry: Entry | None) -> None:
        """Write to the log, as `LogWriter` says."""
        sealed_head = None if head is None else self._seal_entry(stream, 0, head)
        if sealed_head is not None and (entry is None or self.external_log is not None):
            await self.log.open(stream, sealed_head)  # an external log names the stream after its first event
            sealed_head = None
        if entry is None:
            return
        entries = [(position, self._seal_entry(stream, position, entry))]
        if sealed_head is None:
            await self.log.append(stream, entries)
        else:
            await self.log.begin(stream, sealed_head, entries[0])

    def gather(self, recorder: StreamRecorder) -> None:
        """Let a recorder write after a while, as `LogWriter` says: one timer serves all of them."""
        self._gathered.append(recorder)
        if self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(self.timings.event_gathering, self._start_gathered)

    def _start_gathered(self) -> None:
        gathered, self._gathered, self._gathering = self._gathered, [], None
        if len(gathered) == 1:  # as with a single call that takes long
            gathered[0].write_gathered()
        else:
            self._gathering = asyncio.get_running_loop().create_task(self._write_gathered(gathered))

    async def _write_gathered(self, gathered: list[StreamRecorder]) -> None:
        """Write what recorders have gathered, many streams in one step of the store."""
        try:
            for start in range(0, len(gathered), _TOGETHER):
                recorders = gathered[start : start + _TOGETHER]
                if self.local_log is None:
                    await self._write_together(recorders)
                else:
                    for recorder in recorders:
                        recorder.write_gathered()
                await asyncio.sleep(0)  # also where a store that is out of reach has refused at once
        finally:
            self._gathering = None
            if self._gathered:  # what was recorded meanwhile
                self.gather(self._gathered.pop())

    async def _write_together(self, recorders: list[StreamRecorder]) -> None:
        """Write the next entry of each stream; what the log refuses is tried again by itself."""
        task = asyncio.current_task()
        assert task is not None
        taken: list[tuple[StreamRecorder, int, Entry]] = []
        for recorder in recorders:
            gathered = recorder.take_gathered(task)
            if gathered is None:
                recorder.write_gathered()
            else:
                taken.append((recorder, *gathered))
        results = [False] * len(taken)
        try:
            entries = [
                (recorder.stream, position, self._seal_entry(recorder.stream, position, entry))
                for recorder, position, entry in taken
            ]
            results = await self.log.append_each(entries)
        except StoreError as error:
            log.debug("entries of %d streams were not written together: %s", len(taken), error)
        finally:
            for (recorder, _, entry), is_written in zip(taken, results, strict=True):
                recorder.end_gathered(entry, is_written=is_written)

    async def append_terminal_error(self, stream: str, position: int, message: bytes) -> None:
        """Write the last message of a stream whose worker is gone, so that every reader gets the same.

        Raises:
            StoreError: it could not be written.
        """
        entry = Entry(position, [message], CONCLUDED)
        await self.log.append(stream, [(position + 1, self._seal_entry(stream, position + 1, entry))])

    def tell_reader(self, kind: str, reader: tuple[str, str]) -> None:
        """Send a message to a reader: worker and number."""
        worker, number = reader
        self.worker_channel.send(kind, number, worker)

    def forget(self, recorder: StreamRecorder) -> None:
        """Forget a stream that is in the log to its end."""
        self._open.pop(recorder.stream, None)
        recorder.on_claimed = None  # nobody takes it over any more, and so nothing refers to its connection

    def reset(self) -> None:
        """Forget what was open in an event loop that has ended."""
        self._open.clear()
        self._gathered.clear()
        if self._gathering is not None:
            with contextlib.suppress(RuntimeError):  # its loop was closed before its tasks had ended
                self._gathering.cancel()
            self._gathering = None
        if self._refresh_timer is not None:
            self._refresh_timer.cancel()
            self._refresh_timer = None

    async def stop(self) -> None:
        """Give up whatever is not in the log yet, and leave nothing running."""
        for recorder in list(self._open.values()):
            await recorder.stop()
        self.reset()

    async def flush(self, timeout: float) -> None:
        """Wait until everything that was sent is in the log, for at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while unwritten := [recorder for recorder in self._open.values() if recorder.unwritten]:
                    await asyncio.gather(*(recorder.wait_written() for recorder in unwritten))

    def _claim(self, body: tuple[str, str, str, bool]) -> None:
        """Let a reader have a stream, if this worker still writes it."""
        stream, worker, number, is_new = body
        recorder = self._open.get(stream)
        if recorder is not None:
            recorder.claim_by_reader(worker, number, is_new=is_new)
        else:
            self.worker_channel.send("unserved", number, worker)

    def _schedule_refresh(self) -> None:
        self._refresh_timer = asyncio.get_running_loop().call_later(self._age / 4, self._refresh)

    def _refresh(self) -> None:
        """Keep the streams in the log that are quiet and have not ended."""
        self._refresh_timer = None
        now = time.monotonic()
        for recorder in self._open.values():
            if now - recorder.last_write > self._age / 4:
                self.worker_channel.spawn(self._touch(recorder))
        if self._open:
            self._schedule_refresh()

    async def _touch(self, recorder: StreamRecorder) -> None:
        try:
            await self.log.touch(recorder.stream)
            recorder.last_write = time.monotonic()
        except StoreError as error:
            log.debug("a stream could not be kept alive: %s", error)

    # -- event ids and seals -----------------------------------------------------------------------------------

    def _event_id_prefix(self, session_id: str, number: str) -> bytes | None:
        """Return what the event ids of a stream begin with (R-350); None while it has no name yet."""
        anchor = None
        if self.external_log is not None:
            anchor = self.external_log.anchor(_stream_key(session_id, number))
            if anchor is None:
                return None
        return self._prefix(session_id, number, anchor)

    def _prefix(self, session_id: str, number: str, anchor: str | None) -> bytes:
        signature = base64.urlsafe_b64encode(
            self._seal.sign(_signed_text(session_id, number, anchor), _SIGNATURE_PURPOSE)
        )
        encoded_anchor = b"" if anchor is None else b"-" + base64.urlsafe_b64encode(anchor.encode()).rstrip(b"=")
        return number.encode() + b"-" + signature + encoded_anchor + b"."

    def parse_event_id(self, event_id: bytes, session_id: str) -> EventPosition:
        """Return what an event id says, to the session that got it and to nobody else (R-717).

        Raises:
            RpcError: HTTP 400 if this session never got it.
        """
        match = _ID.fullmatch(event_id)
        if match is None:
            raise unknown_event()
        number, encoded_anchor = match[1].decode(), match[3]
        try:
            anchor = None
            if encoded_anchor is not None:
                anchor = base64.urlsafe_b64decode(encoded_anchor + b"=" * (-len(encoded_anchor) % 4)).decode()
            signature = base64.urlsafe_b64decode(match[2])
        except (binascii.Error, UnicodeDecodeError):
            raise unknown_event() from None
        if (anchor is None) != (self.external_log is None):
            raise unknown_event()
        if not self._seal.verify(_signed_text(session_id, number, anchor), signature, _SIGNATURE_PURPOSE):
            raise unknown_event()
        stream = _stream_key(session_id, number)
        if self.external_log is not None and anchor is not None:
            self.external_log.remember_anchor(stream, anchor)
        return EventPosition(stream, event_id[: match.start(4)], int(match[4]))

    def _seal_entry(self, stream: str, position: int, entry: StreamHead | Entry) -> bytes:
        """Return an entry as the log keeps it."""
        packed = msgspec.msgpack.encode(entry)
        return packed if self.log.private else self._seal.encrypt(packed, _entry_purpose(stream, position))

    def _open_entry(self, stream: str, position: int, sealed: bytes) -> bytes:
        packed = sealed if self.log.private else self._seal.decrypt(sealed, _entry_purpose(stream, position))
        if packed is None:
            raise StoreError(f"the event log returned what was not written for this stream (at {position})")
        return packed

    # -- reading -----------------------------------------------------------------------------------------------

    async def read(self, stream: str, after: int) -> EventBatch:
        """Return what follows a position.

        Raises:
            RpcError: HTTP 400 if that has expired.
            StoreError: the log does not answer, or returns what was not written.
        """
        stored = await self.log.read(stream, after)
        if stored is None:
            raise unknown_event()
        head = msgspec.msgpack.decode(self._open_entry(stream, 0, stored.head), type=StreamHead)
        messages: list[tuple[int, bytes]] = []
        scopes = set(head.scopes)
        end = NOT_ENDED
        for position, data in stored.entries:
            entry = msgspec.msgpack.decode(self._open_entry(stream, position, data), type=Entry)
            if position == stored.first and entry.first > after + 1:
                raise unknown_event()  # what came in between has expired
            # A write whose outcome was not known is done again with what has come since, so entries may overlap.
            start = max(0, after + 1 - entry.first)
            numbered = enumerate(entry.messages[start:], entry.first + start)
            messages += [(number, message) for number, message in numbered if message]
            scopes.update(entry.scopes)
            after = max(after, entry.first + len(entry.messages) - 1)
            if entry.end:
                end = entry.end
                break  # a worker that was given up may have added to it since
        return EventBatch(head, messages, end, scopes)

    async def resume(self, position: EventPosition) -> EventBatch:
        """Return what follows the event that a client has seen last.

        A client that was cut off at once may be here before its stream is in the log, so the log is asked again.

        Raises:
            RpcError: HTTP 400 if the event has expired, or was never sent.
            StoreError: the log does not answer, or returns what was not written.
        """
        batch = await self._read_patiently(position)
        if not (batch.messages or batch.end) and not await self._was_sent(position, batch.head.worker):
            raise unknown_event()
        return batch

    async def _read_patiently(self, position: EventPosition) -> EventBatch:
        for _ in range(_LOOKS):
            with contextlib.suppress(RpcError):
                return await self.read(position.stream, position.position)
            await asyncio.sleep(self.timings.resume_lookup)
        return await self.read(position.stream, position.position)

    async def _was_sent(self, event: EventPosition, worker: str) -> bool:
        """Whether a client can have an event that is the last in the log, or lies beyond its end.

        While a stream goes on, a client may have seen more than the log has; its worker knows how much.
        """
        last_sent = self._last_sent(event.stream)
        if last_sent is not None:
            return event.position <= last_sent
        last = await self.log.last(event.stream)
        if last > event.position or event.position == 0:
            return True
        if last and (await self.read(event.stream, last - 1)).end:
            # It may have ended just now, beyond `last`. The end lies one position after the last event.
            return event.position < await self.log.last(event.stream)
        if last == event.position:
            return True
        timeout = self.timings.sent_event_check
        return await self._sent_events.was_sent(event.stream, event.position, worker, timeout)

    def _last_sent(self, stream: str) -> int | None:
        recorder = self._open.get(stream)
        return None if recorder is None else recorder.position


class ResponseRecorder(msgspec.Struct, frozen=True):
    """Records the response to one request: while it is sent, or before, if it is complete.

    A complete response needs an entry in the log as well, since its connection may break in the middle of it.

    Attributes:
        request_id: its id; None for a batch.
        scopes: what is needed to read it; more are added to them as operations need them.
        traceparent: names the span of the request; empty if nobody traces it.
    """

    event_log: SealedEventLog
    session_id: str
    request_id: RequestId | None
    scopes: Set[str] = frozenset()
    traceparent: str = ""

    def start(self) -> StreamRecorder:
        """Return the recorder of the stream, which has no messages yet."""
        return self.event_log.start_stream(
            self.session_id, self.request_id, self.scopes, is_response=True, traceparent=self.traceparent
        )

    async def write_complete(self, messages: list[bytes]) -> bytes | None:
        """Write a complete response, and return the prefix as `StreamRecorder.event_id_prefix` does."""
        prefix = self.event_log.write_complete(
            self.session_id, self.request_id, messages, self.scopes, self.traceparent
        )
        if prefix is not None:
            return prefix
        recorder = self.start()
        recorder.record_complete(messages)
        return await recorder.event_id_prefix()


def unknown_event() -> RpcError:
    """Return the refusal of an event id that is not known, or has expired (R-355)."""
    text = "Last-Event-ID is unknown or has expired; open a stream without it, and send what is unanswered again"
    return RpcError(INVALID_REQUEST, text, status=400)


def _stream_key(session_id: str, number: str) -> str:
    """Return the key of a session's stream in the log."""
    return f"{session_id}.{number}"


def _new_number() -> str:
    """Return a random stream number."""
    return os.urandom(12).hex()


def _signed_text(session_id: str, number: str, anchor: str | None) -> bytes:
    return f"{session_id} {number} {anchor}".encode()


def _entry_purpose(stream: str, position: int) -> bytes:
    return b"event %s %d" % (stream.encode(), position)
