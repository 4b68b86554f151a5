"""One HTTP response as a stream of server-sent events: buffer, framing, keep-alive comments, and its end.

Theory of operation
===================
An `EventStream` has two sides. Producers hand it messages (`push`, `send`) and never wait for the network.
The connection side writes what waits in a bounded buffer to one HTTP response. With a recorder, each message goes
into the event log as well, so the producing side can outlive its connection (R-356): a client that reconnects
reads the rest from the log. `StreamState` is the state of the connection side:

                    open              detach             written, or 1 s later
              NEW ───────▶ OPEN ───────────▶ DETACHING ───────────────────────▶ CLOSED
               │             │ finish           │ finish                           ▲
               │ finish      └───────▶ CLOSING ◀┘                                  │
               └─────────────────────▶ CLOSING ────────────────────────────────────┘
                                                 written, or the reader has stalled

    state      a new message goes to        who writes to the connection
    NEW        the buffer                   nobody yet
    OPEN       the buffer and the log       a task, while something waits
    DETACHING  the log only                 the same task: what waits, then the end of the response
    CLOSING    nowhere, it is refused       the same task; or `finish` itself if the stream was NEW
    CLOSED     the log only                 nobody

A failed write and `abandon` lead from any state to CLOSED. A message for the log only is refused where there is
no recorder, and after `finish` or `release` (`_accepting` is False then).

*Complete responses.* If `finish` brings the outcome while the stream is NEW, as with a handler that reports
progress and never waits, the response is written in one piece with its length, after the log has it. That takes
neither a task nor a timer.

*Back-pressure.* Above `STREAM_HIGH_WATER` bytes, producers that can wait should (`is_congested`,
`wait_for_room`). They wait for a limited time, after which the reader counts as stalled and nobody waits for it.
Above `capacity`, notifications are dropped and counted; the outcome of the request never is. A stalled reader
slows down its own stream only.

*Keep-alive.* A comment is sent after a pause, so that proxies keep the connection open and a client that has gone
is noticed (R-270). `KeepAliveQueue` has one timer for all streams.

*Event ids.* An id is the prefix of the stream and the position of the message (R-352). The prefix is known only
once the log knows of the stream, so messages are framed when they are written and not when they are taken.

*The end.* A client that never reads must not keep the writer for ever. Our own HTTP/1.1 server closes such a
connection after `write_timeout`. Other ASGI servers may have no such limit, so `finish` gives up once no send has
returned for twice as long.
"""

import asyncio
import logging
import types
from collections.abc import Coroutine, Generator
from enum import Enum
from itertools import chain, groupby, islice
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import msgspec

from enfilade.counters import count
from enfilade.serving.failures import LimitedLog
from enfilade.timings import Timings
from enfilade.transports.exchange import Headers, HttpResponse
from enfilade.transports.http.event_log import ResponseRecorder
from enfilade.transports.http.event_recorder import CONCLUDED, RELEASED, StreamRecorder
from enfilade.wire.sse import EVENT_FORMAT, KEEP_ALIVE, OPENING, event, events, priming_event, reconnection_time

log = logging.getLogger("enfilade.transports")

# Clients decide how often these happen.
_dropped_log: Final = LimitedLog(log)
_stalled_log: Final = LimitedLog(log)

T = TypeVar("T")

#: Waiting bytes above which a producer that can wait should wait.
STREAM_HIGH_WATER: Final = 64 * 1024

#: Timers that are due within so many seconds count as due.
_TIMER_SLACK: Final = 0.002

#: Comments that are sent in one turn of the event loop.
_MOST_COMMENTS: Final = 100

#: The headers of every event stream: proxies may neither hold events back (R-269) nor transform them.
SSE_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How event streams behave; times in seconds, sizes in bytes.

    Attributes:
        keep_alive: pause after which a comment is sent.
        capacity: what may wait for a slow reader before notifications are dropped.
        retry: time after which a client that was disconnected should reconnect.
        write_timeout: how long a client may leave a response unread.
    """

    keep_alive: float = 15.0
    capacity: int = 1024 * 1024
    retry: float = 1.0
    write_timeout: float = 30.0
    timings: Timings = Timings()


class StreamState(Enum):
    """The state of the connection of a stream; the table is at the top of this file."""

    NEW = "new"
    OPEN = "open"
    DETACHING = "detaching"
    CLOSING = "closing"
    CLOSED = "closed"


NEW, OPEN, DETACHING, CLOSING, CLOSED = StreamState
_ENDING: Final = (CLOSING, DETACHING)  # the response ends after what waits


class SendBuffer(msgspec.Struct, eq=False):
    """What waits to be written to one connection, and the producers that wait for it (back-pressure).

    Attributes:
        chunks: messages, and chunks that are `Framed`.
        has_framed: whether one of them is `Framed`.
        size: bytes that were not written yet, those that are being written included.
        dropped: notifications for which there was no room.
        writes: calls of the response that have returned.
        stalled: whether producers have waited for the reader in vain.
    """

    chunks: list[bytes] = []
    has_framed: bool = False
    size: int = 0
    dropped: int = 0
    writes: int = 0
    stalled: bool = False
    _room: asyncio.Future[None] | None = None

    async def wait_for_room(self, seconds: float) -> None:
        """Return once something was written, or after so many seconds; the reader counts as stalled then."""
        self._room = self._room or asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait((self._room,), timeout=seconds)
        if not done:
            self.stalled = True

    def wake_producers(self) -> None:
        """Let the producers that wait for room go on."""
        self.stalled = False
        if self._room is not None:
            room, self._room = self._room, None
            if not room.done():
                room.set_result(None)


class EventStream(msgspec.Struct, eq=False):
    """Writes events to one HTTP response; the states are described at the top of this file.

    Attributes:
        response: of which nothing was sent yet.
        headers: response headers besides `SSE_HEADERS`.
        recorder: records the stream in the event log once it is open; None if it cannot be resumed, or not yet.
        priming: whether the client understands an event that has an id and no data (R-353).
    """

    response: HttpResponse
    headers: Headers
    options: StreamOptions
    recorder: ResponseRecorder | None = None
    priming: bool = False
    state: StreamState = NEW
    _accepting: bool = True
    _buffer: SendBuffer = msgspec.field(default_factory=SendBuffer)
    _stream_recorder: StreamRecorder | None = None
    _framing: "Framing | None" = None
    _task: asyncio.Task[None] | None = None  # writes, while there is something to write
    _closed: asyncio.Future[None] | None = None
    _watcher: asyncio.Future[None] | None = None
    _keep_alive: "KeepAliveQueue | None" = None  # None until the first pause

    def open(self) -> None:
        """Write what was sent so far, and from now on whatever is sent."""
        if self.state is not NEW:
            return
        if self.recorder is not None:
            buffer = self._buffer
            messages, buffer.chunks = buffer.chunks, []
            recorder = self.recorder.start()
            self.record_to(recorder, priming=self.priming)
            recorder.record_all(messages)
            buffer.chunks += messages
        self.state = OPEN
        self._wake_writer()

    # -- what producers send -----------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether anything that is sent may still arrive on this connection."""
        return self.state is OPEN or self.state is NEW

    @property
    def is_silent(self) -> bool:
        """Whether nothing is written at present."""
        return self._task is None

    @property
    def over_capacity(self) -> bool:
        """Whether more waits for the reader than should."""
        return self._buffer.size > self.options.capacity

    @property
    def is_congested(self) -> bool:
        """Whether a producer that can wait should wait, for the reader or for the log."""
        buffer = self._buffer
        if buffer.size > STREAM_HIGH_WATER and not buffer.stalled and self.state is not CLOSED:
            return True
        return self._stream_recorder is not None and self._stream_recorder.is_congested

    async def wait_for_room(self) -> None:
        """Wait until reader and log have taken what was waiting, for at most `Timings.reader_wait`."""
        if self._stream_recorder is not None and self._stream_recorder.is_congested:
            await self._stream_recorder.wait_written()
        if self._buffer.size > STREAM_HIGH_WATER and self.state is not CLOSED:
            await self._buffer.wait_for_room(self.options.timings.reader_wait)

    def push(self, message: bytes) -> bool:
        """Take one notification; False if there was no room for it, or nobody to take it."""
        buffer = self._buffer
        size = buffer.size + len(message)
        if not self._accepting or (size > self.options.capacity and self.connected):
            buffer.dropped += 1
            count("notifications_dropped")
            return False
        if self.state is NEW:  # nothing is recorded yet, and nobody writes
            buffer.chunks.append(message)
            buffer.size = size
            return True
        if self._stream_recorder is not None:
            self._stream_recorder.record(message, droppable=True)
        if self.state is not OPEN:
            return self._stream_recorder is not None
        buffer.chunks.append(message)
        buffer.size = size
        if self._task is None:
            self._wake_writer()
        return True

    def push_now(self, message: bytes) -> bool:
        """Take one notification as `push` does, and write it without a task if that can be done.

        For a stream that seldom has anything to send: messages in a row are better written together.
        """
        if self.state is not OPEN or self._task is not None or not self._accepting:
            return self.push(message)
        framing, recorder = self._framing, self._stream_recorder
        if framing is None or self._buffer.chunks or (recorder is not None and framing.prefix is None):
            return self.push(message)
        try:
            if not self.response.write_now(framing.next_frame(message)):
                return self.push(message)
        except Exception as error:  # as in `_write`
            log.debug("the reader of a stream went away: %r", error)
            self._close()
            return self.push(message)
        framing.skip()
        if recorder is not None:
            recorder.record(message, droppable=True)
        if self._keep_alive is not None:
            self._keep_alive.restart_idle(self)
        return True

    def send(self, message: bytes) -> bool:
        """Take a message that must not be lost, whatever waits already; False if there is nobody to take it."""
        if not self._accepting:
            return False
        if self._stream_recorder is not None:
            self._stream_recorder.record(message, droppable=False)
        if self.connected:
            self._add(message)
            return True
        return self._stream_recorder is not None

    def replay(self, position: int, message: bytes, prefix: bytes) -> None:
        """Send an event that has its id from the log already."""
        self._add_framed(Framed(EVENT_FORMAT % prefix % (position, message)))

    def send_keep_alive(self) -> None:
        """Send a comment now."""
        self._add_framed(Framed(KEEP_ALIVE))

    def record_to(self, recorder: StreamRecorder, *, priming: bool) -> None:
        """Record what follows, under a new prefix; nothing may have gone into an earlier recorder."""
        self._framing = None
        self._stream_recorder, recorder.on_claimed = recorder, self.detach
        if priming:
            self._add_framed(PRIMING)

    # -- how it ends -------------------------------------------------------------------------------------------

    @property
    def closed(self) -> "asyncio.Future[None]":
        """A future that is done once nothing more is written to this connection."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            if self.state is CLOSED:
                self._closed.set_result(None)
        return self._closed

    def watch(self, over: "asyncio.Future[None]") -> None:
        """Let a future that others may set be done as well once nothing more is written to this connection."""
        self._watcher = over
        if self.state is CLOSED:
            settle(over)

    def detach(self, retry: float | None = None) -> None:
        """End the connection, and let the stream go on in the log.

        Args:
            retry: seconds after which the client should reconnect for the rest; None to say nothing.
        """
        if self.connected:
            self.open()
            self._end_response(DETACHING, retry)
            asyncio.get_running_loop().call_later(self.options.timings.detaching, self.abandon)

    async def finish(self, message: bytes | None, *, retry: float | None = None) -> None:
        """Send the outcome, if there is one to send, and end the stream with it (R-268, R-323).

        Args:
            retry: seconds after which the client should reconnect; None to say nothing.
        """
        if message is not None:
            self.send(message)
        self._accepting = False
        if self._buffer.dropped:
            text = "notifications dropped for a slow reader: %d"
            _dropped_log.write(logging.WARNING, text, self._buffer.dropped)
        is_complete = message is not None and self.state is NEW
        try:
            await (self._write_complete() if is_complete else self._write_rest(message, retry))
        except TimeoutError:
            text = "gave up on a reader that took nothing for %g seconds"
            _stalled_log.write(logging.WARNING, text, self._stall_limit)
        finally:
            if self.state is not CLOSED:
                self.abandon()

    def release(self) -> None:
        """Take nothing more: whoever sent messages has gone without an outcome."""
        self._accepting = False
        if self._stream_recorder is not None:
            self._stream_recorder.end(RELEASED)

    def abandon(self) -> None:
        """Stop writing to this connection at once: nobody reads it any more."""
        if self._task is not None:
            self._task.cancel()
        self._close()

    @property
    def _stall_limit(self) -> float:
        return 2 * self.options.write_timeout

    def _end_response(self, state: StreamState, retry: float | None) -> None:
        """End the response after what waits."""
        if retry is not None and self.connected:
            self._add_framed(Framed(reconnection_time(round(retry * 1000))))
        if self.state is not CLOSED:
            self.state = state
            self._wake_writer()

    async def _write_rest(self, message: bytes | None, retry: float | None) -> None:
        """Wait until the writer task has written what waits.

        Raises:
            TimeoutError: no send has returned for `_stall_limit` seconds.
        """
        self.open()
        if self._stream_recorder is not None:
            self._stream_recorder.end(RELEASED if message is None else CONCLUDED)
        self._end_response(CLOSING, retry)
        while True:
            writes = self._buffer.writes
            if (await asyncio.wait((self.closed,), timeout=self._stall_limit))[0]:
                return
            if self._buffer.writes == writes:
                raise TimeoutError

    async def _write_complete(self) -> None:
        """Write the whole response in one piece, once the log has it or has had its time to take it."""
        self.state = CLOSING
        try:
            framing, messages = Framing(self.options.retry), self._buffer.chunks
            if self.recorder is None:
                body = framing.frame_messages(messages)
            else:
                framing.set_prefix(await self.recorder.write_complete(messages))
                body = framing.frame_complete(messages, priming=self.priming)
            if self.state is CLOSING:  # the client may have gone meanwhile
                await send_complete(self.response, body, self.headers, self._stall_limit)
        finally:
            self._close()

    def _close(self) -> None:
        self.state = CLOSED
        self._buffer.wake_producers()
        if self._keep_alive is not None:
            self._keep_alive.remove(self)
        if self._closed is not None or self._watcher is not None:
            settle(self._closed)
            settle(self._watcher)

    # -- the writer --------------------------------------------------------------------------------------------

    def _add(self, chunk: bytes) -> None:
        buffer = self._buffer
        buffer.chunks.append(chunk)
        buffer.size += len(chunk)
        if self.state is not NEW:
            self._wake_writer()

    def _add_framed(self, chunk: "Framed") -> None:
        self._buffer.has_framed = True
        self._add(chunk)

    def _wake_writer(self) -> None:
        """Start a task that writes. Most streams are silent nearly always, so none waits for something to do."""
        if self._task is None and self.state is not NEW and self.state is not CLOSED:
            task = asyncio.get_running_loop().create_task(self._write())
            if not task.done():  # with a task factory it may be
                self._task = task

    async def _write(self) -> None:
        """Write until nothing waits."""
        buffer, stays_open = self._buffer, False
        try:
            if not buffer.writes:
                await self._write_head()
            has_ended = False
            while buffer.chunks and not has_ended:
                has_ended = await self._write_waiting()
            if self.state in _ENDING and not has_ended:
                await self.response.write(b"", is_last=True)
            stays_open = self.state is OPEN
        except Exception as error:  # ASGI servers differ in what they raise once the client is gone, if anything
            log.debug("the reader of a stream went away: %r", error)
        finally:
            if stays_open:
                self._task = None
                self._keep_alive = self._keep_alive or keep_alive_queue(self.options.keep_alive)
                self._keep_alive.start_idle(self)
            else:
                self._close()

    async def _write_head(self) -> None:
        buffer = self._buffer
        await self.response.start(200, SSE_HEADERS + self.headers)
        buffer.writes += 1
        if not buffer.chunks or (
            self._stream_recorder is not None and self._stream_recorder.must_wait_for_prefix
        ):
            # Proxies and clients hold a response back until its first byte, so it has one at once.
            await self.response.write(OPENING, is_last=False)
            buffer.writes += 1

    async def _write_waiting(self) -> bool:
        """Write what waits now, and return whether the response has ended with it."""
        framing, buffer = await self._framing_with_prefix(), self._buffer
        size, is_last = buffer.size, self.state in _ENDING
        frame = framing.frame_mixed if buffer.has_framed else framing.frame_messages
        chunks, buffer.chunks, buffer.has_framed = buffer.chunks, [], False
        await self.response.write(frame(chunks), is_last=is_last)
        buffer.size -= size
        buffer.writes += 1
        buffer.wake_producers()
        return is_last

    async def _framing_with_prefix(self) -> "Framing":
        """Return what frames the messages, once it has the prefix of event ids, if there is to be one."""
        if self._framing is None:
            self._framing = Framing(self.options.retry)
        framing = self._framing
        if self._stream_recorder is not None and framing.prefix is None:
            framing.set_prefix(await self._stream_recorder.event_id_prefix())
        return framing


class KeepAliveQueue:
    """Sends comments on the silent streams of an event loop, with a single timer.

    There may be thousands of them, and a timer takes half a KiB. All have the same pause, so the first of them is
    due first. The timer is set for it, and set again if there was activity meanwhile.

    Args:
        interval: seconds of a pause after which a comment is due.
        loop: the event loop.
    """

    __slots__ = ("__weakref__", "_idle_since", "_interval", "_loop", "_timer")

    def __init__(self, interval: float, loop: asyncio.AbstractEventLoop) -> None:
        self._interval = interval
        self._loop = loop
        self._idle_since: dict[EventStream, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start_idle(self, stream: EventStream) -> None:
        """Measure a pause of a stream from now on."""
        streams = self._idle_since
        streams.pop(stream, None)
        streams[stream] = now = self._loop.time()  # behind all others
        if self._timer is None:
            self._schedule(now)

    def restart_idle(self, stream: EventStream) -> None:
        """Measure the pause of a stream, which is idle, from now on."""
        streams = self._idle_since
        streams.pop(stream, None)
        streams[stream] = self._loop.time()

    def remove(self, stream: EventStream) -> None:
        """Forget a stream that has ended."""
        self._idle_since.pop(stream, None)

    def _schedule(self, idle_since: float) -> None:
        self._timer = self._loop.call_at(idle_since + self._interval, self._check)

    def _check(self) -> None:
        begun = self._loop.time() + _TIMER_SLACK - self._interval
        try:
            for stream, idle_since in list(islice(self._idle_since.items(), _MOST_COMMENTS)):
                if idle_since > begun:
                    break
                del self._idle_since[stream]
                if stream.is_silent:  # else it comes back with the next pause
                    stream.send_keep_alive()
        finally:
            self._timer = None
            if self._idle_since:
                self._schedule(next(iter(self._idle_since.values())))  # others get their turn before


#: Those of streams that are open, by the id of the event loop, which they keep alive, and the interval.
_queues: Final["WeakValueDictionary[tuple[int, float], KeepAliveQueue]"] = WeakValueDictionary()


def keep_alive_queue(interval: float) -> KeepAliveQueue:
    """Return the queue of the running event loop for the streams that have an interval.

    Args:
        interval: seconds of a pause after which a comment is due.
    """
    loop = asyncio.get_running_loop()
    queue = _queues.get((id(loop), interval))
    if queue is None:
        queue = _queues[id(loop), interval] = KeepAliveQueue(interval, loop)
    return queue


def settle(future: "asyncio.Future[None] | None") -> None:
    """Let a future be done, if there is one that is not."""
    if future is not None and not future.done():
        future.set_result(None)


# -- framing ---------------------------------------------------------------------------------------------------


class Framed(bytes):
    """A chunk that is written as it is."""


#: Stands for the priming event, which has an id and no data.
PRIMING: Final = Framed()


class Framing:
    """Makes events of the messages for one connection, and counts their positions.

    Only messages have positions, not what is `Framed`.

    Args:
        retry: seconds after which a client that was disconnected should reconnect.

    Attributes:
        prefix: what event ids begin with; without one, events have no ids.
    """

    __slots__ = ("_event_format", "_position", "_retry", "prefix")

    def __init__(self, retry: float) -> None:
        self._retry = retry
        self._position = 0  # of the last message that was framed
        self._event_format = b""
        self.prefix: bytes | None = None

    def set_prefix(self, prefix: bytes | None) -> None:
        """Set what event ids begin with."""
        self.prefix = prefix
        if prefix is not None:
            self._event_format = EVENT_FORMAT % prefix

    def next_frame(self, message: bytes) -> bytes:
        """Frame the next message, without counting it."""
        if self.prefix is None:
            return event(message)
        return self._event_format % (self._position + 1, message)

    def skip(self) -> None:
        """Count a message that `next_frame` has framed."""
        self._position += 1

    def frame_messages(self, messages: list[bytes]) -> bytes:
        """Frame messages in a row, all of them at once."""
        first = self._position + 1
        self._position += len(messages)
        if self.prefix is None:
            return events(messages)
        return (self._event_format * len(messages)) % tuple(chain.from_iterable(enumerate(messages, first)))

    def frame_mixed(self, chunks: list[bytes]) -> bytes:
        """Frame messages, with chunks that are `Framed` among them."""
        frames: list[bytes] = []
        for kind, group in groupby(chunks, type):
            same_kind = list(group)
            frames += map(self._frame_other, same_kind) if kind is Framed else (self.frame_messages(same_kind),)
        return b"".join(frames)

    def frame_complete(self, messages: list[bytes], *, priming: bool) -> bytes:
        """Frame a complete response, after the priming event if the stream has ids."""
        start = self._frame_other(PRIMING) if priming else b""
        return start + self.frame_messages(messages)

    def _frame_other(self, chunk: bytes) -> bytes:
        if chunk is PRIMING and self.prefix is not None:
            return priming_event(b"%b%d" % (self.prefix, self._position), round(self._retry * 1000))
        return chunk


# -- complete responses ----------------------------------------------------------------------------------------


def send_events(response: HttpResponse, body: bytes, headers: Headers) -> Coroutine[Any, Any, None]:
    """Send a complete stream of events, with its length.

    Args:
        headers: response headers besides `SSE_HEADERS`.
    """
    return response.send(200, [*SSE_HEADERS, (b"content-length", b"%d" % len(body)), *headers], body)


async def send_complete(response: HttpResponse, body: bytes, headers: Headers, timeout: float) -> None:
    """Send a complete stream to a client that may have gone, which is no failure.

    A timer is set only if the connection does not take all of it at once, as it nearly always does.

    Args:
        timeout: seconds that the connection has to take it.

    Raises:
        TimeoutError: it did not.
    """
    sending = send_events(response, body, headers)
    try:
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        async with asyncio.timeout(timeout):
            await resume_coroutine(sending, awaited)
    except TimeoutError:
        raise
    except Exception as error:  # ASGI servers differ in what they raise once the client is gone, if anything
        log.debug("the reader of a stream went away: %r", error)


@types.coroutine
def resume_coroutine(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Drive a coroutine to its end after its first `send(None)`, and return its result, as `await` would.

    What is thrown into the waiting task, a cancellation above all, is thrown into the coroutine.

    Args:
        coroutine: one that has taken its first step.
        awaited: what that step yielded.
    """
    while True:
        value, thrown = None, None
        try:
            value = yield awaited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        try:
            awaited = coroutine.send(value) if thrown is None else coroutine.throw(thrown)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            del thrown  # it refers to this frame, and the frame to it
