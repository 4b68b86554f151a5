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
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec

from enfilade.serving.failures import LimitedLog
from enfilade.state.process_identity import is_gone, process_namespace
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
    """This worker among the others that share its store.

    Args:
        store: the store; if it is not shared, there are no other workers.
        timings: of leases, and of reading the store for lost messages.

    Attributes:
        worker: the name of this worker, unlike that of any other, before or after.
        shared: whether there may be others.
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

    def on(self, kind: str, callback: Callback) -> None:
        """Hand on what other workers say of one kind, in the event loop."""
        self._callbacks[kind] = callback

    def on_missed(self, callback: Callable[[], None]) -> None:
        """Call back whenever something may have been missed; once, however often this is asked for."""
        if callback not in self._missed_callbacks:
            self._missed_callbacks.append(callback)

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Call back at each renewal of this worker's lease, every few seconds."""
        self._renewal_callbacks.append(callback)

    async def start(self) -> None:
        """Begin to hear the others, and to be there for them."""
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
        """Be gone: let the others know at once, rather than when the lease is over."""
        _LOCAL_WORKERS.discard(self.worker)
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            with contextlib.suppress(StoreError):
                await self.store.keys.delete(_lease_key(self.worker))
        for task in self._tasks:
            task.cancel()

    # -- saying ------------------------------------------------------------------------------------------------

    def send(self, kind: str, body: Any, worker: str | None = None) -> None:
        """Tell one worker, or all others, without waiting. This worker hears what it tells itself at once.

        To be called in the event loop.
        """
        if worker == self.worker:
            self._callbacks[kind](body)
        elif self.shared:
            self.spawn(self._publish(kind, body, worker))

    async def send_and_wait(self, kind: str, body: Any) -> None:
        """Tell all others, and return when those that are well have taken it in."""
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
        """Run a coroutine beside everything else; it must not raise."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- hearing -----------------------------------------------------------------------------------------------

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
        except Exception:  # one odd message must not end the hearing of all others
            log.exception("a message of kind %r from another worker could not be handled", message.kind)

    def _missed(self) -> None:
        for callback in self._missed_callbacks:
            callback()

    # -- being there -------------------------------------------------------------------------------------------

    async def is_alive(self, worker: str) -> bool:
        """Whether a worker is still there, as far as anybody knows.

        Raises:
            StoreError: the store does not say.
        """
        if worker == self.worker:
            return True
        if not self.shared:
            return False
        encoded = await self.store.keys.get(_lease_key(worker))
        now = time.monotonic()
        if encoded is None:
            if len(self._missing_since) > _MOST_MISSING:  # of workers long gone that nobody asks after any more
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
            log.debug("this worker could not say that it is there: %s", error)


def _lease_key(worker: str) -> str:
    return f"worker:{worker}"


# -- reconciliation with the store -----------------------------------------------------------------------------

#: The key of the mark that is made whenever a store is found without one. A store with another mark than before
#: has been emptied in between, even if other workers have put things back already.
_MARK: Final = "mark"


class Reconciler:
    """Keeps one worker and its store agreed.

    Args:
        seal: has the secrets of this worker.
        worker_channel: leads to the store, and to the other workers.

    Attributes:
        restore: puts back what else this worker knows, and returns how many entries there were.
    """

    def __init__(self, seal: Seal, worker_channel: WorkerChannel) -> None:
        self.restore: Callable[[], Awaitable[int]] | None = None
        self._seal = seal
        self._worker_channel = worker_channel
        self._timings = worker_channel.timings
        self._mark: bytes | None = None
        self._has_created = False
        self._must_restore = False
        self._check_due = False  # asked for again, perhaps while a check is under way
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
            StoreError: there is no secret yet, and the store does not say.
        """
        self._poll_lock = asyncio.Lock()  # of this event loop
        if self._worker_channel.shared:
            self._has_created = (await self._seal.agree(self._worker_channel.store.keys)).created

    async def join(self) -> None:
        """Let other workers restore their secrets first, if this one has created one; once it is started.

        Raises:
            StoreError: the store does not say.
        """
        if self._worker_channel.shared:
            if self._has_created:
                self._expects_until = time.monotonic() + self._timings.secret_wait
                await self._worker_channel.send_and_wait("secret", None)
            await self.check()

    async def check(self) -> None:
        """Return once this worker and the store agree.

        Raises:
            StoreError: the store does not say, or does not take what it lacks.
        """
        if not self._worker_channel.shared:
            return
        emptied = await self._was_emptied()
        ended = 0
        if self._must_restore and self.restore is not None:
            ended = await self.restore()  # before others can open the tokens of sessions that were ended
        self._must_restore = False
        agreement = await self._seal.agree(self._worker_channel.store.keys)
        if agreement.created or agreement.restored:
            self._worker_channel.send("secret", None)
        _report(emptied, agreement, ended)

    async def learn(self, opens: Callable[[], bool]) -> None:
        """Look for secrets that this worker does not know, unless that was done just now.

        Args:
            opens: whether what could not be opened can be by now.

        Raises:
            StoreError: the store does not say, or did not say just now.
        """
        while not self._seal.is_configured and self._worker_channel.shared:
            expects = time.monotonic() < self._expects_until
            async with self._poll_lock:  # whoever comes while a look is under way waits for what it finds
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
        """Whether the store has lost what it had since this was asked last."""
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
            except StoreError as error:  # after the last, it is tried again at the next renewal
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
