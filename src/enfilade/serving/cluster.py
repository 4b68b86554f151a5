"""What workers tell each other: changes, cancellations, ended sessions, answers, and who reads which stream.

Every worker has a name and keeps a lease in the store, so that the others know whether it is still there; what it
was doing is over once the lease is. Messages go over the store's bus, to one worker or to all.

The easy thing to get wrong is to rely on a message: the bus may lose some. Whatever must happen is written to the
store as well, and a message only says that now is the time to look.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enfilade.serving.failures import LimitedLog
from enfilade.state.process_identity import is_gone, process_namespace
from enfilade.state.store import Store, StoreError

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
