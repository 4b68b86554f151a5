"""Workers that share a store: messages between them, leases, and restoring what the store has lost.

`WorkerChannel` sends messages over the store's bus, to one worker or to all: changes, cancellations, ended
sessions, answers, the readers of streams. Every worker has a name and a lease in the store; a worker whose lease
has run out is gone, and so is its work.

`Reconciler` compares what this worker knows with the store. A store can come back empty: a file was deleted,
Redis was flushed or restarted without its data. Every live worker still knows its secret and the sessions that
were ended, so it puts both back. It checks at the start, at each renewal of the lease, after each gap on the bus,
and when a readiness probe comes; never for a plain call.

Easy to get wrong: a message is only a hint, since the bus may lose some. What must happen is written to the
store, and the message only says that now is the time to read it. And a worker that starts while the store is
empty makes a secret of its own. Sessions sealed with it are valid too: so secrets are merged (`Seal.agree`), and
a worker that meets a token of a secret that it does not know reads the store before it says "not found". One that
has just made a secret polls for a while, because other workers may not have reached the store yet.
"""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.serving.failures import LimitedLog
from enfilade.state.store import Store, StoreError
from enfilade.state.tokens import Agreement, Seal
from enfilade.timings import Timings

log = logging.getLogger("enfilade.serving")
_unsent_log: Final = LimitedLog(log)

_ALL_WORKERS: Final = "workers"
_MOST_MISSING: Final = 1000

#: The workers of this process. There are several if it serves several apps.
_LOCAL_WORKERS: Final[set[str]] = set()

Callback = Callable[[Any], None]


class _Lease(msgspec.Struct, array_like=True):
    where: str
    pid: int


class _Message(msgspec.Struct, array_like=True):
    sender: str
    kind: str
    body: Any


class WorkerChannel:
    """Sends and receives messages of this worker, and renews its lease.

    Args:
        store: the store; if it is not shared, there are no other workers.
        timings: of leases, and of reading the store for lost messages.

    Attributes:
        worker: the name of this worker, which no other worker ever has.
        shared: whether there may be other workers.
    """

    def __init__(self, store: Store, timings: Timings = Timings()) -> None:
        self.timings = timings
        self.worker = secrets.token_hex(6)
        self.store = store
        self.shared = store.shared
        self._callbacks: dict[str, Callback] = {}
        self._missed_callbacks: list[Callable[[], None]] = []
        self._renewal_callbacks: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._missing_since: dict[str, float] = {}
        self._is_subscribed = False

    @property
    def is_connected(self) -> bool:
        """Whether it takes part: it has begun, and renews its lease. Alone, it always does."""
        return not self.shared or (self._renewing is not None and not self._renewing.done())

    def on(self, kind: str, callback: Callback) -> None:
        """Set the callback for messages of one kind from other workers, called in the event loop."""
        self._callbacks[kind] = callback

    def on_missed(self, callback: Callable[[], None]) -> None:
        """Call back whenever messages may have been missed; adding a callback again changes nothing."""
        if callback not in self._missed_callbacks:
            self._missed_callbacks.append(callback)

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Call back at each renewal of this worker's lease."""
        self._renewal_callbacks.append(callback)

    async def start(self) -> None:
        """Subscribe to the messages of other workers, and take the lease."""
        if not self.shared:
            return
        if not self._is_subscribed:
            self._is_subscribed = True
            self.store.bus.subscribe(_ALL_WORKERS, self._receive)
            self.store.bus.subscribe(self.worker, self._receive)
            self.store.bus.on_gap(self._missed)
        _LOCAL_WORKERS.add(self.worker)
        await self._renew_lease()
        self._renewing = asyncio.get_running_loop().create_task(self._renew_repeatedly())

    async def stop(self) -> None:
        """Give the lease up, so that other workers know at once."""
        _LOCAL_WORKERS.discard(self.worker)
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            with contextlib.suppress(StoreError):
                await self.store.keys.delete(_lease_key(self.worker))
        for task in self._tasks:
            task.cancel()

    # -- sending -----------------------------------------------------------------------------------------------

    def send(self, kind: str, body: Any, worker: str | None = None) -> None:
        """Send a message to one worker, or to all others, without waiting. One to this worker arrives at once.

        To be called in the event loop.
        """
        if worker == self.worker:
            self._callbacks[kind](body)
        elif self.shared:
            self.spawn(self._publish(kind, body, worker))

    async def send_and_wait(self, kind: str, body: Any) -> None:
        """Send a message to all others, and return once it should have been received."""
        if self.shared:
            await self._publish(kind, body, None)
            await asyncio.sleep(self.store.bus.propagation_delay)

    async def _publish(self, kind: str, body: Any, worker: str | None) -> None:
        payload = msgspec.msgpack.encode(_Message(self.worker, kind, body))
        try:
            await self.store.bus.publish(worker or _ALL_WORKERS, payload)
        except StoreError as error:
            _unsent_log.write(logging.WARNING, "other workers could not be told of %r: %s", kind, error)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task of its own; it must not raise."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- receiving ---------------------------------------------------------------------------------------------

    def _receive(self, payload: bytes) -> None:
        try:
            message = msgspec.msgpack.decode(payload, type=_Message)
        except msgspec.DecodeError:  # from another version of this package
            return
        callback = self._callbacks.get(message.kind)
        if callback is None or message.sender == self.worker:
            return
        try:
            callback(message.body)
        except Exception:  # one bad message must not end the subscription
            log.exception("a message of kind %r from another worker could not be handled", message.kind)

    def _missed(self) -> None:
        for callback in self._missed_callbacks:
            callback()

    # -- leases ------------------------------------------------------------------------------------------------

    async def is_alive(self, worker: str) -> bool:
        """Whether a worker is still running, as far as can be known.

        Raises:
            StoreError: the store cannot be read.
        """
        if worker == self.worker:
            return True
        if not self.shared:
            return False
        encoded = await self.store.keys.get(_lease_key(worker))
        now = time.monotonic()
        if encoded is None:
            if len(self._missing_since) > _MOST_MISSING:  # most are of workers that are long gone
                self._missing_since.clear()
            return now - self._missing_since.setdefault(worker, now) < self.timings.lease_grace
        self._missing_since.pop(worker, None)
        lease = msgspec.msgpack.decode(encoded, type=_Lease)
        return worker in _LOCAL_WORKERS or not is_gone(lease.where, lease.pid)

    async def _renew_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(self.timings.lease_renewal)
            await self._renew_lease()
            for callback in self._renewal_callbacks:
                callback()

    async def _renew_lease(self) -> None:
        lease = msgspec.msgpack.encode(_Lease(process_namespace(), os.getpid()))
        try:
            await self.store.keys.put(_lease_key(self.worker), lease, self.timings.lease)
        except StoreError as error:
            log.debug("the lease of this worker could not be renewed: %s", error)


def _lease_key(worker: str) -> str:
    return f"worker:{worker}"


# -- reconciliation with the store -----------------------------------------------------------------------------

#: The key of the mark that is created whenever a store has none. A store with another mark than before was
#: emptied in between, even if other workers have restored entries already.
_MARK: Final = "mark"


class Reconciler:
    """Keeps the secrets and ended sessions of one worker and of its store the same.

    Args:
        seal: the secrets of this worker.
        worker_channel: has the store and the other workers.

    Attributes:
        restore: restores what else this worker knows, and returns the number of entries.
    """

    def __init__(self, seal: Seal, worker_channel: WorkerChannel) -> None:
        self.restore: Callable[[], Awaitable[int]] | None = None
        self._seal = seal
        self._worker_channel = worker_channel
        self._timings = worker_channel.timings
        self._mark: bytes | None = None
        self._has_created = False
        self._must_restore = False
        self._check_due = False  # requested, perhaps while another check is running
        self._checking = False
        self._next_poll = 0.0
        self._failed_poll: StoreError | None = None
        self._poll_lock = asyncio.Lock()
        self._expects_until = 0.0
        if worker_channel.shared:
            worker_channel.on("secret", lambda _: self._spawn_check())
            worker_channel.on_missed(self._spawn_check)
            worker_channel.on_renewal(self._spawn_check)

    async def start(self) -> None:
        """Agree on a secret with the store, or create one; after the store has started, before the channel.

        Raises:
            StoreError: there is no secret yet, and the store cannot be read.
        """
        self._poll_lock = asyncio.Lock()  # of this event loop
        if self._worker_channel.shared:
            self._has_created = (await self._seal.agree(self._worker_channel.store.keys)).created

    async def join(self) -> None:
        """Let other workers restore their secrets first, if this one has created one; once it is started.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._worker_channel.shared:
            if self._has_created:
                self._expects_until = time.monotonic() + self._timings.secret_wait
                await self._worker_channel.send_and_wait("secret", None)
            await self.check()

    async def check(self) -> None:
        """Return once this worker and the store agree.

        Raises:
            StoreError: the store cannot be read, or refuses the missing entries.
        """
        if not self._worker_channel.shared:
            return
        emptied = await self._was_emptied()
        ended = 0
        if self._must_restore and self.restore is not None:
            ended = await self.restore()  # before other workers can open tokens of ended sessions
        self._must_restore = False
        agreement = await self._seal.agree(self._worker_channel.store.keys)
        if agreement.created or agreement.restored:
            self._worker_channel.send("secret", None)
        _report(emptied, agreement, ended)

    async def learn(self, opens: Callable[[], bool]) -> None:
        """Read secrets that this worker does not know from the store, unless that was done just now.

        Args:
            opens: whether the token that could not be opened can be opened now.

        Raises:
            StoreError: the store cannot be read, or could not be just now.
        """
        while not self._seal.is_configured and self._worker_channel.shared:
            expects = time.monotonic() < self._expects_until
            async with self._poll_lock:  # a caller that comes during a poll waits for its result
                if not opens():
                    await self._poll(self._timings.secret_wait_poll if expects else self._timings.secret_poll)
            if opens() or not expects:
                return
            await asyncio.sleep(self._timings.secret_wait_poll)

    async def _poll(self, pause: float) -> None:
        now = time.monotonic()
        if now < self._next_poll:
            if self._failed_poll is not None:
                raise StoreError(*self._failed_poll.args)
            return
        self._next_poll, self._failed_poll = now + pause, None
        try:
            agreement = await self._seal.agree(self._worker_channel.store.keys)
        except StoreError as error:
            self._failed_poll = error
            raise
        if agreement.restored:
            self._worker_channel.send("secret", None)
        _report(False, agreement, 0)

    async def _was_emptied(self) -> bool:
        """Whether the store has lost its data since the last call."""
        keys = self._worker_channel.store.keys
        mark = await keys.get(_MARK)
        if mark is None:
            mark = secrets.token_hex(8).encode()
            if not await keys.swap(_MARK, None, mark, None):
                mark = await keys.get(_MARK)
        emptied = self._mark is not None and mark != self._mark
        self._mark = mark or self._mark
        self._must_restore = self._must_restore or emptied
        return emptied

    def _spawn_check(self) -> None:
        self._check_due = True
        if not self._checking:
            self._checking = True
            self._worker_channel.spawn(self._check_quietly())

    async def _check_quietly(self) -> None:
        try:
            while self._check_due:
                self._check_due = False
                await self._check_repeatedly()
        finally:
            self._checking = False

    async def _check_repeatedly(self) -> None:
        for pause in self._timings.agreement_retries:
            try:
                await self.check()
                return
            except StoreError as error:  # after the last attempt, it is tried again at the next renewal
                log.debug("the store could not be compared with what this worker knows: %s", error)
            await asyncio.sleep(pause)


def _report(emptied: bool, agreement: Agreement, ended: int) -> None:
    if emptied:
        log.warning(
            "the store was emptied: this worker has put back its secret and what it knew of ended sessions (%d); "
            "streams, log levels and subscriptions that only the store had are lost",
            ended,
        )
    elif agreement.restored:
        log.warning("the secret of this worker was not in the store, and has been put there")
    if agreement.learned:
        log.warning(
            "another worker made a secret of its own while the store was empty; tokens of both are accepted now"
        )


# -- whether another process on the same machine is still running ------------------------------------------------
#
# A process id is unique per machine, boot and (on Linux) PID namespace only, so all of these are part of
# `process_namespace`; where it cannot be determined, no process is said to be gone.


@cache
def process_namespace() -> str:
    """Return a text that two processes share if and only if they see each other's process ids; "" if unknown."""
    parts = [sys.platform, platform.node()]
    if sys.platform == "linux":
        for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
            try:
                parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text().strip())
            except OSError:
                return ""
    return "|".join(parts)


def is_gone(namespace: str, pid: int) -> bool:
    """Whether a process has certainly ended; False if that cannot be determined."""
    if sys.platform == "win32" or not namespace or namespace != process_namespace():
        return False  # on Windows os.kill() ends a process instead of probing it
    if pid == os.getpid():
        return True  # an earlier process with the same id
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
