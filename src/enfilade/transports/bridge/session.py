"""The one session of a transport, and the stream that its client opens by GET.

Until the client has opened the stream, and while it has none, messages wait here: a request of the loop that is
dropped would leave the loop waiting for its answer.

Easy to get wrong: a connection that has broken without a notice. A stream that can be resumed still takes
messages, one that cannot must not. And a client must not learn how close a wrong session id is: every wrong id
and every wrong owner gets the same answer, after the same time.
"""

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Final

from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.event_recorder import StreamRecorder
from enfilade.transports.http.request_checks import check_version
from enfilade.transports.http.resumption import SseResponse, retain
from enfilade.transports.http.sessions import session_not_found
from enfilade.transports.http.sse_stream import EventStream, settle
from enfilade.transports.http.stream_lock import StreamLock
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError
from enfilade.wire.revisions import ASSUMED_WITHOUT_HEADER, POLLING

log = logging.getLogger("enfilade.transports")

#: Messages that wait for a client to open its stream.
MAX_WAITING: Final = 100
#: Bytes that wait, above which notifications are dropped.
MAX_WAITING_SIZE: Final = 64 * 1024

_SESSION_ID: Final = re.compile(r"[\x21-\x7e]+")


class SingleSession:
    """The session of one transport.

    Args:
        id: its id; None if requests need not name it.

    Attributes:
        id: its id, or None.
        key: under which its streams are recorded.
        revision: the protocol revision of its client, as far as is known.
        is_initialized: whether it is known, because the client's `initialize` has been answered.

    Raises:
        ValueError: the id has characters that an HTTP header may not have.
    """

    def __init__(self, id: str | None) -> None:
        if id is not None and not _SESSION_ID.fullmatch(id):
            raise ValueError("a session id is visible ASCII (0x21 to 0x7E); secrets.token_urlsafe() makes one")
        self.id = id
        self.key = id or secrets.token_hex(16)
        self.revision = ASSUMED_WITHOUT_HEADER
        self.is_initialized = False
        self._has_owner = False
        self._owner: str | None = None

    def set_revision(self, revision: str) -> None:
        """Note the revision that the loop has agreed on with its client."""
        self.revision, self.is_initialized = revision, True

    def check_owner(self, principal: str | None) -> None:
        """Check that a principal may use the session: the one that came first.

        Raises:
            RpcError: HTTP 404, as for a session that does not exist.
        """
        if not self._has_owner:
            self._has_owner, self._owner = True, principal
        if principal != self._owner:
            raise session_not_found()

    def check(self, fields: Mapping[bytes, bytes], version: str) -> None:
        """Check that a request names this session, and a revision that is served with sessions.

        Args:
            fields: its headers.
            version: the text of `MCP-Protocol-Version` among them.

        Raises:
            RpcError: HTTP 400 without an id or with an unknown revision, 404 for another id.
        """
        check_version(version)
        if self.id is not None:
            token = fields.get(http.SESSION_ID)
            if token is None:
                raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
            if not hmac.compare_digest(token.strip(), self.id.encode()):
                raise session_not_found()


class ServerStream:
    """The stream that a session has by GET, for messages of the loop that belong to no request.

    Args:
        session: the session.
        event_log: where the stream is recorded, so that it can be resumed; None if it cannot be.

    Attributes:
        dropped: number of messages for which there was no room.
    """

    def __init__(self, session: SingleSession, event_log: SealedEventLog | None) -> None:
        self._session = session
        self._event_log = event_log
        self._retaining: set[asyncio.Task[None]] = set()
        self._stream: EventStream | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._has_ended = False
        self._ended: asyncio.Future[None] | None = None  # created with the first stream: there may be no loop yet
        self.dropped = 0

    def push(self, message: bytes, *, is_request: bool) -> bool:
        """Send a message, or let it wait for a stream; return False if there is no room for it."""
        stream = self._stream
        if stream is not None and (stream.connected or self._event_log is not None):
            return stream.send(message) if is_request else stream.push(message)
        is_full = len(self._waiting) >= MAX_WAITING or (not is_request and self._size > MAX_WAITING_SIZE)
        if is_full or self._has_ended:
            self.dropped += 1
            if self.dropped == 1:
                log.warning("no client has opened the session's stream, and no more messages can wait for it")
            return False
        self._waiting.append(message)
        self._size += len(message)
        return True

    def detach(self) -> None:
        """End the connection, so that the client reconnects."""
        if self._stream is not None:
            self._stream.detach(0.0)

    def end(self) -> None:
        """End the stream, because the session is over."""
        self._has_ended = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._waiting.clear()

    async def stop(self) -> None:
        """Wait until no task is left, after the end."""
        if self._retaining:
            await asyncio.wait(self._retaining)

    async def serve(self, lock: StreamLock, response: SseResponse) -> None:
        """Send what waits and what is pushed from now on, until the client has gone or the session is over."""
        previous, recorder = self._stream, None
        stream = response.open()
        lock.attach(stream)
        if lock.revoked:
            await stream.finish(None)
            return
        self._stream = stream
        if previous is not None and previous is not stream:
            previous.release()
        if self._event_log is not None:
            recorder = self._event_log.start_stream(self._session.key, is_response=False)
            stream.record_to(recorder, priming=self._session.revision in POLLING)
        waiting, self._waiting, self._size = self._waiting, [], 0
        for message in waiting:
            stream.send(message)
        is_retained = False
        try:
            await self._until_over(response)
            if self._has_ended:
                await stream.finish(None)
            elif recorder is not None and self._stream is stream:
                is_retained = True
                task = asyncio.get_running_loop().create_task(self._retain(stream, recorder))
                self._retaining.add(task)
                task.add_done_callback(self._retaining.discard)
        finally:
            if not is_retained:
                self._close(stream)
            if stream.connected:
                stream.abandon()

    async def _until_over(self, response: SseResponse) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended, stop = self._end(), partial(_settle_with, over)
        ended.add_done_callback(stop)
        try:
            await response.until(over)
        finally:
            ended.remove_done_callback(stop)

    async def _retain(self, stream: EventStream, recorder: StreamRecorder) -> None:
        """Keep the stream for a client that was cut off, while it may reconnect or reads it elsewhere."""
        try:
            await retain(recorder, self._end(), lambda: inf)
        finally:
            self._close(stream)

    def _end(self) -> "asyncio.Future[None]":
        """Return a future that is done when the session is over."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            if self._has_ended:
                self._ended.set_result(None)
        return self._ended

    def _close(self, stream: EventStream) -> None:
        if self._stream is stream:
            self._stream = None
        stream.release()


def _settle_with(over: "asyncio.Future[None]", _: "asyncio.Future[None]") -> None:
    settle(over)
