"""The tickets of this worker: their slots in the store, the wait for them, and the worker's lease.

The store decides (`state/limits`), in one round trip for a call that need not wait, and in none where the store
is in this process. A call gives its slots back without waiting for the store. Whoever releases slots tells the
worker whose ticket has them next by a message; as a message may be lost, waiting calls also ask now and then,
which finds the slots of killed workers as well. Those ask that are first in their queue: nobody else can have a
slot, and if all of them asked, a long queue would keep the store busy.

Easy to get wrong: a call that is cancelled while the store decides. It may have its slots by then, so its ticket
is released in any case.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import secrets
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Final

from enfilade.counters import count, watch
from enfilade.serving.failures import LimitedLog
from enfilade.state.limits.claims import (
    Claim,
    Granted,
    Limits,
    Queued,
    Refused,
    SharedRate,
    Slots,
    limits_of,
    worker_of,
)
from enfilade.state.store import Store, StoreError
from enfilade.timings import Timings

#: Tickets of a queue, in this worker, that ask the store now and then: several, as replies may change places.
_ASKING: Final = 4

_unreleased_log: Final = LimitedLog(logging.getLogger("enfilade.serving"))


class Tickets:
    """Takes and releases tickets for the calls of one server in this worker.

    Args:
        store: opens the store.
        timings: of leases, and of asking again.
    """

    def __init__(self, store: Callable[[], Store], timings: Timings) -> None:
        self._open_store = store
        self._timings = timings
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._queues: dict[str, dict[str, None]] = {}
        self._taken: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limits: Limits | None = None
        self._renewed_at = -math.inf
        self._renewing: asyncio.Task[None] | None = None
        self.worker = secrets.token_hex(8)
        watch("limit_waiting", self.waiting)

    def waiting(self) -> int:
        """Return how many calls wait for their turn, or for the store to decide."""
        return len(self._waiting)

    async def take(
        self, slots: Sequence[Slots], rates: Sequence[SharedRate], *, queues: bool, max_wait: float
    ) -> tuple[str, Refused | None]:
        """Return a ticket once its call may begin; `release` it in the end, unless it is refused.

        Args:
            slots: which it needs, in the order in which every call takes them.
            rates: of which it needs a share.
            queues: whether it waits for slots.
            max_wait: seconds that it waits at most, for slots and rates together.

        Returns:
            The ticket, and why there is none.

        Raises:
            StoreError: the store does not answer.
        """
        limits = self._limits if self._loop is asyncio.get_running_loop() else None
        if limits is None:
            limits = await self._start()
        ticket = f"{self.worker}.{next(self._numbers)}"
        self._taken.add(ticket)
        try:
            refused = await self._admitted(limits, ticket, slots, rates, queues, max_wait)
        except BaseException:
            await self.release(ticket, slots)
            raise
        finally:
            for slot in slots:
                self._leave_queue(ticket, slot.key)
        if refused is not None:
            await self.release(ticket, slots)
        return ticket, refused

    async def _admitted(
        self,
        limits: Limits,
        ticket: str,
        slots: Sequence[Slots],
        rates: Sequence[SharedRate],
        queues: bool,
        max_wait: float,
    ) -> Refused | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max_wait
        waits = is_told = False
        while True:
            remaining = max(0.0, deadline - loop.time())
            claim = Claim(
                ticket=ticket,
                slots=slots,
                rates=rates,
                may_queue=queues and remaining > 0,
                longest_delay=remaining,
                lease=self._due_lease(limits, loop),
            )
            woken = self._waiting[ticket] = loop.create_future()
            try:
                decision = await limits.admit(claim)
                if not waits and (
                    isinstance(decision, Queued) or (isinstance(decision, Granted) and decision.delay)
                ):
                    waits = True
                    count("limit_waits")
                match decision:
                    case Refused() as refused:
                        return refused
                    case Granted(delay):
                        if waits and not is_told:
                            self._ask_for_next(ticket, slots)
                        if delay > 0:
                            await asyncio.sleep(delay)
                        return None
                    case Queued(index):
                        is_told = await self._wait_in_queue(ticket, slots[index].key, woken, deadline)
            finally:
                del self._waiting[ticket]

    async def _wait_in_queue(self, ticket: str, key: str, woken: asyncio.Future[None], deadline: float) -> bool:
        """Wait until the store is to be asked again, and return whether a message says so."""
        loop, queue = asyncio.get_running_loop(), self._queues.setdefault(key, {})
        queue.setdefault(ticket)
        while not woken.done() and (remaining := deadline - loop.time()) > 0:
            await asyncio.wait((woken,), timeout=min(self._timings.poll_interval, remaining))
            if ticket in islice(queue, _ASKING):
                break
        return woken.done()

    def _leave_queue(self, ticket: str, key: str) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.pop(ticket, None)
            if not queue:
                del self._queues[key]

    def _ask_for_next(self, ticket: str, slots: Sequence[Slots]) -> None:
        """Let the next in the queues ask at once: a ticket had slots that nobody has told, and it may as well."""
        for slot in slots:
            self._leave_queue(ticket, slot.key)
            for waiting in islice(self._queues.get(slot.key, ()), 1):
                self._wake(waiting.encode())

    async def release(self, ticket: str, slots: Sequence[Slots]) -> None:
        """Give the slots of a ticket back; where the store is elsewhere, without waiting for it."""
        self._taken.discard(ticket)
        limits = self._limits
        if not slots or limits is None:
            return
        if limits.is_local:
            await self._release(limits, ticket, slots)
        else:
            self._spawn(self._release(limits, ticket, slots))

    async def _release(self, limits: Limits, ticket: str, slots: Sequence[Slots]) -> None:
        try:
            for granted in await limits.release(ticket, slots):
                if worker_of(granted) == self.worker:
                    self._wake(granted.encode())
                else:
                    await self._open_store().bus.publish(_topic(worker_of(granted)), granted.encode())
        except StoreError as error:  # its slots are free when this worker ends, or after `SLOTS_AGE`
            text = "slots of a call could not be given back, and count until this worker ends: %s"
            _unreleased_log.write(logging.WARNING, text, error)

    def _wake(self, ticket: bytes) -> None:
        woken = self._waiting.get(ticket.decode())
        if woken is not None and not woken.done():
            woken.set_result(None)

    async def _start(self) -> Limits:
        """Use the store in this event loop: hear of granted slots, under a name that has no tickets yet."""
        store, loop = self._open_store(), asyncio.get_running_loop()
        await store.start()
        limits = limits_of(store)
        if self._loop is not loop:  # otherwise another call was faster
            self.worker = secrets.token_hex(8)
            self._renewed_at, self._renewing = -math.inf, None
            self._loop, self._limits = loop, limits
            if not limits.is_local:
                store.bus.subscribe(_topic(self.worker), self._wake)
        return limits

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the lease ---------------------------------------------------------------------------------------------

    def _due_lease(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> float:
        """Return the lease to renew with a claim; 0 if none is due. A task renews it while there are tickets."""
        if limits.is_local:
            if self._renewed_at == -math.inf:  # this process keeps it for as long as it lives
                self._renewed_at = loop.time()
                return float(10**10)
            return 0.0
        if self._renewing is None or self._renewing.done():
            self._renewing = loop.create_task(self._renew_repeatedly(limits))
        if loop.time() - self._renewed_at < self._timings.lease_renewal:
            return 0.0
        self._renewed_at = loop.time()
        return self._timings.lease

    async def _renew_repeatedly(self, limits: Limits) -> None:
        while self._taken:
            await asyncio.sleep(self._timings.lease_renewal)
            self._renewed_at = asyncio.get_running_loop().time()
            with contextlib.suppress(StoreError):  # the next renewal tries again
                await limits.renew(self.worker, self._timings.lease)

    async def close(self) -> None:
        """Give everything back that calls of this worker have left, and close the store."""
        limits, loop = self._limits, self._loop
        if limits is None or loop is not asyncio.get_running_loop():
            return
        self._loop = None
        if self._renewing is not None:
            self._renewing.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timings.store_operation)
        store = self._open_store()
        with contextlib.suppress(StoreError):
            await store.start()  # the endpoint has closed it, after the last call
            await limits.renew(self.worker, 0)
        await store.close()


def _topic(worker: str) -> str:
    return f"limiter:{worker}"
