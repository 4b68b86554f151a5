"""The lock on a session's standalone stream, among all workers: the newest connection holds it (R-330, R-333).

A new GET steals the lock from the connection that held it, which is then ended. A reconnecting client may still
hold the lock through a dead connection, such as one behind a proxy that keeps its side open, and a dead
connection cannot be told from a living one.

Two GETs may come at once. The lock is taken in this process before anything is awaited, and in the store by
compare-and-swap, so each of them sees exactly whom it has stolen it from (D8).
"""

import contextlib
import secrets
from typing import Final

from enfilade.serving.cluster import WorkerChannel
from enfilade.state.store import StoreError
from enfilade.transports.http.sse_stream import EventStream

#: How often the lock is tried to be taken while others take it at the same time.
_ATTEMPTS: Final = 50


class StreamLock:
    """The lock of one session, as one connection took it.

    Attributes:
        number: what tells it from other connections of the worker.
        holder: worker and number, as the store has it.
        stream: what is written to the connection, once that is open.
        in_store: whether the store has `holder`.
        was_held: whether another connection held the lock before, so that the client may have missed something.
        revoked: whether a newer connection has stolen it.
    """

    __slots__ = ("holder", "in_store", "number", "revoked", "session_id", "stream", "was_held")

    def __init__(self, session_id: str, worker: str) -> None:
        self.session_id = session_id
        self.number = secrets.token_hex(8)
        self.holder = f"{worker}:{self.number}".encode()
        self.stream: EventStream | None = None
        self.in_store = False
        self.was_held = False
        self.revoked = False

    def attach(self, stream: EventStream) -> None:
        """Set what is written to the connection; it ends at once if the lock was revoked meanwhile."""
        self.stream = stream
        if self.revoked:
            stream.detach()

    def revoke(self) -> None:
        """End the connection: a newer one has stolen the lock."""
        self.revoked = True
        if self.stream is not None:
            self.stream.detach()


class StreamLocks:
    """The locks that connections of this worker hold, and the way to those of other workers."""

    def __init__(self, worker_channel: WorkerChannel) -> None:
        self._worker_channel = worker_channel
        self._keys = worker_channel.store.keys
        self._held: dict[str, StreamLock] = {}
        worker_channel.on("vacate", self._revoke_for_other_worker)
        worker_channel.on_missed(self._check_all)

    def __len__(self) -> int:
        return len(self._held)

    async def steal(self, session_id: str, ttl: float, *, may_be_forgotten: bool = False) -> StreamLock:
        """Take the lock of a session, from whoever holds it.

        Args:
            ttl: seconds for which the store remembers who holds it.
            may_be_forgotten: whether a connection may be older than that, so that the store cannot say who holds
                it.

        Raises:
            StoreError: the store does not answer.
        """
        previous = self._held.get(session_id)
        lock = self._held[session_id] = StreamLock(session_id, self._worker_channel.worker)
        if previous is not None:
            lock.was_held = True
            previous.revoke()
        try:
            if self._worker_channel.shared:
                await self._steal_in_store(lock, ttl, may_be_forgotten)
        except BaseException:
            self._forget(lock)
            raise
        return lock

    async def release(self, lock: StreamLock) -> None:
        """Give a lock back, unless another connection took it."""
        self._forget(lock)
        if self._worker_channel.shared:
            with contextlib.suppress(StoreError):  # it can be stolen all the same
                await self._keys.swap(_key(lock.session_id), lock.holder, None, None)

    async def _steal_in_store(self, lock: StreamLock, ttl: float, may_be_forgotten: bool) -> None:
        key = _key(lock.session_id)
        for _ in range(_ATTEMPTS):
            holder = await self._keys.get(key)
            if lock.revoked:  # by a newer connection here, which writes its own name
                return
            if await self._keys.swap(key, holder, lock.holder, ttl):
                lock.in_store = True
                break
        else:
            raise StoreError("a session's stream is being opened by too many requests at once")
        if holder is not None:
            lock.was_held = True
            worker, number = _parse_holder(holder)
            if worker != self._worker_channel.worker:
                self._worker_channel.send("vacate", [lock.session_id, number], worker)
        elif may_be_forgotten:
            self._worker_channel.send("vacate", [lock.session_id, None])

    def _revoke_for_other_worker(self, body: tuple[str, str | None]) -> None:
        session_id, number = body
        lock = self._held.get(session_id)
        if lock is not None and number in (None, lock.number):
            lock.revoke()

    def _check_all(self) -> None:
        """Find out which locks were stolen by other workers whose message may have been lost."""
        for lock in self._held.values():
            if lock.in_store:
                self._worker_channel.spawn(self._check(lock))

    async def _check(self, lock: StreamLock) -> None:
        with contextlib.suppress(StoreError):
            holder = await self._keys.get(_key(lock.session_id))
            if holder is not None and holder != lock.holder:
                lock.revoke()

    def _forget(self, lock: StreamLock) -> None:
        if self._held.get(lock.session_id) is lock:
            del self._held[lock.session_id]


def _key(session_id: str) -> str:
    return f"get:{session_id}"


def _parse_holder(holder: bytes) -> tuple[str, str]:
    worker, _, number = holder.decode().partition(":")
    return worker, number
