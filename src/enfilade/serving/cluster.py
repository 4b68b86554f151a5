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
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from enfilade.serving.failures import LimitedLog
from enfilade.state.process_identity import is_gone, process_namespace
from enfilade.state.store import Store, StoreError
from enfilade.state.tokens import Agreement, Seal

log = logging.getLogger("enfilade.serving")
_untold: Final = LimitedLog(log)

#: Seconds for which a worker that says nothing more counts as alive, and after which it says so again.
LEASE: Final = 12.0
RENEWAL: Final = 3.0

#: Seconds for which a worker without a lease counts as alive: a store that has lost its data has lost the leases
#: of those who live as well, and they need a while to say so again.
DOUBT: Final = RENEWAL + 2.0

#: Seconds between two looks into the store for what a lost message might have said.
LOOK: Final = 1.0

_EVERYBODY: Final = "workers"
_MISSED: Final = 1000

#: The workers of this process. There are several if it serves several apps.
_HERE: Final[set[str]] = set()

Told = Callable[[Any], None]


class _Lease(msgspec.Struct, array_like=True):
    where: str
    pid: int


class _Letter(msgspec.Struct, array_like=True):
    sender: str
    kind: str
    body: Any


class Relay:
    """This worker among the others that share its store.

    Args:
        store: what they share; with one that is not shared, there is nobody else.

    Attributes:
        worker: the name of this worker, unlike that of any other, before or after.
        shared: whether there may be others.
    """

    def __init__(self, store: Store) -> None:
        self.worker = secrets.token_hex(6)
        self.store = store
        self.shared = store.shared
        self._told: dict[str, Told] = {}
        self._gaps: list[Callable[[], None]] = []
        self._renewals: list[Callable[[], None]] = []
        self._work: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._missed_since: dict[str, float] = {}
        self._hears = False

    def on(self, kind: str, told: Told) -> None:
        """Hand on what other workers say of one kind, in the event loop."""
        self._told[kind] = told

    def on_gap(self, told: Callable[[], None]) -> None:
        """Call back whenever something may have been missed; once, however often this is asked for."""
        if told not in self._gaps:
            self._gaps.append(told)

    def on_renewal(self, told: Callable[[], None]) -> None:
        """Call back at each renewal of this worker's lease, every few seconds."""
        self._renewals.append(told)

    async def start(self) -> None:
        """Begin to hear the others, and to be there for them."""
        if not self.shared:
            return
        if not self._hears:
            self._hears = True
            self.store.bus.subscribe(_EVERYBODY, self._read)
            self.store.bus.subscribe(self.worker, self._read)
            self.store.bus.on_gap(self._missed)
        _HERE.add(self.worker)
        await self._renew_once()
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def stop(self) -> None:
        """Be gone: let the others know at once, rather than when the lease is over."""
        _HERE.discard(self.worker)
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            with contextlib.suppress(StoreError):
                await self.store.keys.delete(_lease(self.worker))
        for task in self._work:
            task.cancel()

    # -- saying ------------------------------------------------------------------------------------------------

    def tell(self, kind: str, body: Any, worker: str | None = None) -> None:
        """Tell one worker, or all others, without waiting. This worker hears what it tells itself at once.

        To be called in the event loop.
        """
        if worker == self.worker:
            self._told[kind](body)
        elif self.shared:
            self.soon(self._publish(kind, body, worker))

    async def tell_and_wait(self, kind: str, body: Any) -> None:
        """Tell all others, and return when those that are well have taken it in."""
        if self.shared:
            await self._publish(kind, body, None)
            await asyncio.sleep(self.store.bus.propagation_delay)

    async def _publish(self, kind: str, body: Any, worker: str | None) -> None:
        letter = msgspec.msgpack.encode(_Letter(self.worker, kind, body))
        try:
            await self.store.bus.publish(worker or _EVERYBODY, letter)
        except StoreError as error:
            _untold.write(logging.WARNING, "other workers could not be told of %r: %s", kind, error)

    def soon(self, work: Any) -> None:
        """Run a coroutine beside everything else; it must not raise."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # -- hearing -----------------------------------------------------------------------------------------------

    def _read(self, message: bytes) -> None:
        try:
            letter = msgspec.msgpack.decode(message, type=_Letter)
        except msgspec.DecodeError:  # from another version of this package
            return
        told = self._told.get(letter.kind)
        if told is None or letter.sender == self.worker:
            return
        try:
            told(letter.body)
        except Exception:  # one odd message must not end the hearing of all others
            log.exception("a message of kind %r from another worker could not be handled", letter.kind)

    def _missed(self) -> None:
        for told in self._gaps:
            told()

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
        kept = await self.store.keys.get(_lease(worker))
        now = time.monotonic()
        if kept is None:
            if len(self._missed_since) > _MISSED:  # of workers long gone that nobody asks after any more
                self._missed_since.clear()
            return now - self._missed_since.setdefault(worker, now) < DOUBT
        self._missed_since.pop(worker, None)
        lease = msgspec.msgpack.decode(kept, type=_Lease)
        return worker in _HERE or not is_gone(lease.where, lease.pid)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            await self._renew_once()
            for told in self._renewals:
                told()

    async def _renew_once(self) -> None:
        lease = msgspec.msgpack.encode(_Lease(process_namespace(), os.getpid()))
        try:
            await self.store.keys.put(_lease(self.worker), lease, LEASE)
        except StoreError as error:
            log.debug("this worker could not say that it is there: %s", error)


def _lease(worker: str) -> str:
    return f"worker:{worker}"


# -- reconciliation with the store -----------------------------------------------------------------------------

#: The key of the mark that is made whenever a store is found without one. A store with another mark than before
#: has been emptied in between, even if other workers have put things back already.
_MARK: Final = "mark"

#: Seconds between two looks for secrets because of tokens that cannot be opened: strangers can send those.
_LOOK_EVERY: Final = 1.0

#: Seconds for which a worker that has made a secret expects others to put theirs back, and between looks then.
_EXPECT: Final = 2.0
_LOOK_OFTEN: Final = 0.1

#: Seconds after each failed try to agree: a file that was replaced fails once for each connection to the old one.
_PAUSES: Final = (0.02, 0.05, 0.1, 0.2)


class Reconciler:
    """Keeps one worker and its store agreed.

    Args:
        seal: has the secrets of this worker.
        relay: leads to the store, and to the other workers.

    Attributes:
        restore: puts back what else this worker knows, and returns how many entries there were.
    """

    def __init__(self, seal: Seal, relay: Relay) -> None:
        self.restore: Callable[[], Awaitable[int]] | None = None
        self._seal = seal
        self._relay = relay
        self._mark: bytes | None = None
        self._made = False
        self._owes = False
        self._due = False  # asked for again, perhaps while a check is under way
        self._checking = False
        self._next_look = 0.0
        self._failed_look: StoreError | None = None
        self._look_lock = asyncio.Lock()
        self._expects_until = 0.0
        if relay.shared:
            relay.on("secret", lambda _: self._check_soon())
            relay.on_gap(self._check_soon)
            relay.on_renewal(self._check_soon)

    async def start(self) -> None:
        """Have a secret, the store's or a new one; to be called after the store is started and before the relay.

        Raises:
            StoreError: there is no secret yet, and the store does not say.
        """
        self._look_lock = asyncio.Lock()  # of this event loop
        if self._relay.shared:
            self._made = (await self._seal.agree(self._relay.store.keys)).created

    async def join(self) -> None:
        """Let the others put their secrets back first, if this worker has made one; called when the relay hears.

        Raises:
            StoreError: the store does not say.
        """
        if self._relay.shared:
            if self._made:
                self._expects_until = time.monotonic() + _EXPECT
                await self._relay.tell_and_wait("secret", None)
            await self.check()

    async def check(self) -> None:
        """Return once this worker and the store agree.

        Raises:
            StoreError: the store does not say, or does not take what it lacks.
        """
        if not self._relay.shared:
            return
        emptied = await self._was_emptied()
        ended = 0
        if self._owes and self.restore is not None:
            ended = await self.restore()  # before others can open the tokens of sessions that were ended
        self._owes = False
        agreement = await self._seal.agree(self._relay.store.keys)
        if agreement.created or agreement.restored:
            self._relay.tell("secret", None)
        _report(emptied, agreement, ended)

    async def learn(self, opens: Callable[[], bool]) -> None:
        """Look for secrets that this worker does not know, unless that was done just now.

        Args:
            opens: whether what could not be opened can be by now.

        Raises:
            StoreError: the store does not say, or did not say just now.
        """
        while not self._seal.is_configured and self._relay.shared:
            expects = time.monotonic() < self._expects_until
            async with self._look_lock:  # whoever comes while a look is under way waits for what it finds
                if not opens():
                    await self._look(_LOOK_OFTEN if expects else _LOOK_EVERY)
            if opens() or not expects:
                return
            await asyncio.sleep(_LOOK_OFTEN)

    async def _look(self, pause: float) -> None:
        now = time.monotonic()
        if now < self._next_look:
            if self._failed_look is not None:
                raise StoreError(*self._failed_look.args)
            return
        self._next_look, self._failed_look = now + pause, None
        try:
            agreement = await self._seal.agree(self._relay.store.keys)
        except StoreError as error:
            self._failed_look = error
            raise
        if agreement.restored:
            self._relay.tell("secret", None)
        _report(False, agreement, 0)

    async def _was_emptied(self) -> bool:
        """Whether the store has lost what it had since this was asked last."""
        keys = self._relay.store.keys
        mark = await keys.get(_MARK)
        if mark is None:
            mark = secrets.token_hex(8).encode()
            if not await keys.swap(_MARK, None, mark, None):
                mark = await keys.get(_MARK)
        emptied = self._mark is not None and mark != self._mark
        self._mark = mark or self._mark
        self._owes = self._owes or emptied
        return emptied

    def _check_soon(self) -> None:
        self._due = True
        if not self._checking:
            self._checking = True
            self._relay.soon(self._check_quietly())

    async def _check_quietly(self) -> None:
        try:
            while self._due:
                self._due = False
                await self._check_repeatedly()
        finally:
            self._checking = False

    async def _check_repeatedly(self) -> None:
        for pause in _PAUSES:
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
