"""Of calls with one key, one runs, and the others get its outcome: those of this worker, and of all others.

The first call of a worker claims the outcome in the store for all of this worker. So a worker asks the store
once, however many calls wait, in one round trip. Whoever ends a run tells the workers that wait; as a message may
be lost, a waiting one also asks now and then, which finds the claims of killed workers as well.

Easy to get wrong: calls within calls. A call below one that runs for others does not wait for a third, since that
one may wait for it: it is told so at once.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec

from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.failures import LimitedLog
from enfilade.state.outcomes.claims import (
    Begun,
    Bound,
    Claim,
    Differs,
    Finish,
    Full,
    Kept,
    Outcomes,
    Running,
    outcomes_of,
)
from enfilade.state.store import StoreError
from enfilade.timings import Timings
from enfilade.wire.tools import CallToolResult

_PURPOSE: Final = b"outcome of a call "

#: The outcome of a run for whose own the store has no room: it is done, and what it came to is not kept.
DONE: Final = b""

_lost_log: Final = LimitedLog(logging.getLogger("enfilade.serving"))


class SharedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose outcome others get as well.

    Attributes:
        key: what it shares with other calls.
        arguments: a digest of what must be the same for all of these.
        versions: the keys of the versions that count for it.
        ttl: seconds for which an outcome is kept.
        age: seconds for which it is known that a run has begun.
        bound: how many outcomes are kept.
        own: how many of these are the caller's; None if that is not counted.
        owner: whose room they take, in a store in this process.
        may_wait: whether it may wait for others.
    """

    key: str
    arguments: str = ""
    versions: tuple[str, ...] = ()
    ttl: float
    age: float
    bound: Bound
    own: Bound | None = None
    owner: str = ""
    may_wait: bool = True


class Run(msgspec.Struct, frozen=True):
    """What a run came to.

    Attributes:
        result: for its own caller.
        outcome: to be kept for others; None if nothing is.
        error: to be raised in place of a result.
    """

    result: CallToolResult | None
    outcome: bytes | None
    error: BaseException | None = None


class FlightError(Exception):
    """A call can neither run nor get an outcome; the subclasses say why."""


class OtherArgumentsError(FlightError):
    """The key was used with other arguments."""


class StillRunningError(FlightError):
    """Another call runs, and this one must not wait, or has waited long enough."""


class NoRoomError(FlightError):
    """No more outcomes are kept. `is_own`: of this caller, who is not authenticated."""

    def __init__(self, is_own: bool) -> None:
        super().__init__()
        self.is_own = is_own


class UnknownError(FlightError):
    """The store does not answer, so nothing is known."""


class _Flight:
    """A key that a call of this worker has claimed, or is about to claim."""

    __slots__ = ("arguments", "landed", "outcome", "ticket")

    def __init__(self, arguments: str, ticket: str, landed: asyncio.Future[None]) -> None:
        self.arguments = arguments
        self.ticket = ticket
        self.landed = landed
        self.outcome: bytes | None = None


class Flights:
    """The calls of this worker that run, or wait for others.

    Args:
        state: has the store and the keys.
        timings: of leases, and of waiting.
    """

    def __init__(self, state: Callable[[], StateStore], timings: Timings) -> None:
        self._state = state
        self._timings = timings
        self._numbers = itertools.count(1)
        self._flights: dict[str, _Flight] = {}
        self._woken: dict[str, asyncio.Future[None]] = {}
        self._claimed: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outcomes: Outcomes | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._worker = secrets.token_hex(8)

    async def run(
        self, shared: SharedCall, call: Callable[[bool], Awaitable[Run]]
    ) -> tuple[CallToolResult | None, bytes | None]:
        """Return the result of a call if it ran here, or else the outcome of another.

        Args:
            shared: says which calls are the same.
            call: runs it; gets whether an earlier run was stopped in its middle.

        Raises:
            FlightError: it did not run, and there is no outcome.
            BaseException: as `call` raises it, or says that it be raised.
        """
        loop = asyncio.get_running_loop()
        outcomes = self._outcomes if self._loop is loop else None
        if outcomes is None:
            outcomes = await self._start(loop)
        deadline = loop.time() + self._timings.outcome_wait
        while (earlier := self._flights.get(shared.key)) is not None:
            if earlier.arguments != shared.arguments:
                raise OtherArgumentsError
            await self._wait(earlier.landed, shared, deadline)
            if not earlier.landed.done():
                raise StillRunningError
            if earlier.outcome is not None:
                return None, earlier.outcome
        ticket = f"{self._worker}.{next(self._numbers)}"
        flight = self._flights[shared.key] = _Flight(shared.arguments, ticket, loop.create_future())
        try:
            is_again = await self._claim(outcomes, flight, shared, deadline)
            if flight.outcome is not None:
                return None, flight.outcome
            return await self._run(outcomes, flight, shared, is_again, call), None
        finally:
            self._flights.pop(shared.key, None)
            flight.landed.set_result(None)

    async def _wait(
        self, event: asyncio.Future[None], shared: SharedCall, deadline: float, longest: float | None = None
    ) -> None:
        """Wait for an event, at most until a deadline.

        Raises:
            StillRunningError: the call may not wait, or the deadline is over.
        """
        remaining = deadline - asyncio.get_running_loop().time()
        if not shared.may_wait or remaining <= 0:
            raise StillRunningError
        await asyncio.wait((event,), timeout=remaining if longest is None else min(longest, remaining))

    async def _claim(self, outcomes: Outcomes, flight: _Flight, shared: SharedCall, deadline: float) -> bool:
        """Return once the call may run, or its flight has an outcome.

        Returns:
            Whether an earlier run was stopped in its middle.

        Raises:
            FlightError: neither will be.
        """
        loop = asyncio.get_running_loop()
        claim = Claim(
            key=shared.key,
            ticket=flight.ticket,
            arguments=shared.arguments,
            versions=shared.versions,
            lease=self._timings.lease,
            age=shared.age,
            bound=shared.bound,
            own=shared.own,
            owner=shared.owner,
            # An outcome under an idempotency key may be kept for longer than it has to be.
            kept_for=shared.ttl if shared.bound.evicts else None,
        )
        while True:
            woken = self._woken[shared.key] = loop.create_future()
            try:
                decision = await outcomes.claim(claim)
                if isinstance(decision, Kept):
                    flight.outcome = await self._opened(outcomes, shared.key, decision.outcome)
                    return False
                if isinstance(decision, Begun):
                    return decision.is_again
                if isinstance(decision, Running):
                    await self._wait(woken, shared, deadline, self._timings.poll_interval)
            except (StoreError, asyncio.CancelledError) as error:  # the store may have decided for it
                self._spawn(self._release(outcomes, shared.key, flight.ticket))
                if isinstance(error, StoreError):
                    raise UnknownError(str(error)) from error
                raise
            finally:
                self._woken.pop(shared.key, None)
            if isinstance(decision, Differs):
                raise OtherArgumentsError
            if isinstance(decision, Full):
                raise NoRoomError(decision.is_own)

    async def _run(
        self,
        outcomes: Outcomes,
        flight: _Flight,
        shared: SharedCall,
        is_again: bool,
        call: Callable[[bool], Awaitable[Run]],
    ) -> CallToolResult:
        self._claimed[shared.key] = flight.ticket
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._timings.lease_renewal, self._renew)
        try:
            run = await call(is_again)
            if run.outcome is not None:
                await self._finish(outcomes, flight, shared, run.outcome)
        except BaseException:
            await self._give_up(outcomes, shared.key, flight.ticket)
            raise
        finally:
            self._claimed.pop(shared.key, None)
        if run.outcome is None:
            await self._give_up(outcomes, shared.key, flight.ticket)
        if run.error is not None or run.result is None:
            raise run.error or AssertionError("a run came to nothing")
        return run.result

    async def _finish(self, outcomes: Outcomes, flight: _Flight, shared: SharedCall, outcome: bytes) -> None:
        finish = Finish(
            key=shared.key,
            ticket=flight.ticket,
            versions=shared.versions,
            bound=shared.bound,
            outcome=self._sealed(outcomes, shared.key, outcome),
            ttl=shared.ttl,
            own=shared.own,
            owner=shared.owner,
        )
        try:
            finished = await outcomes.finish(finish)
        except StoreError as error:
            if outcomes.is_local and not shared.bound.evicts and outcome != DONE:  # it is full
                await self._finish(outcomes, flight, shared, DONE)
                return
            text = "the outcome of a call could not be kept; the same call runs again: %s"
            _lost_log.write(logging.ERROR, text, error)
            return
        if finished.is_kept:
            flight.outcome = outcome
        if finished.waiting:
            self._spawn(self._tell(shared.key, finished.waiting))

    async def _give_up(self, outcomes: Outcomes, key: str, ticket: str) -> None:
        """Give up a claim; where the store is elsewhere, without waiting for it."""
        if outcomes.is_local:
            await self._release(outcomes, key, ticket)
        else:
            self._spawn(self._release(outcomes, key, ticket))

    async def _release(self, outcomes: Outcomes, key: str, ticket: str) -> None:
        try:
            await self._tell(key, await outcomes.release(key, ticket))
        except StoreError as error:  # the next one begins when the lease is over
            _lost_log.write(logging.WARNING, "a claim of a call could not be given up: %s", error)

    async def _tell(self, key: str, workers: list[str]) -> None:
        with contextlib.suppress(StoreError):  # they ask now and then
            for worker in workers:
                await self._state().store.bus.publish(_topic(worker), key.encode())

    def _wake(self, key: bytes) -> None:
        woken = self._woken.get(key.decode())
        if woken is not None and not woken.done():
            woken.set_result(None)

    # -- the store ---------------------------------------------------------------------------------------------

    async def _start(self, loop: asyncio.AbstractEventLoop) -> Outcomes:
        """Use the store in this event loop, under a name that has no claims yet.

        Raises:
            UnknownError: it does not answer.
        """
        state = self._state()
        try:
            await state.started_keys()
            outcomes = outcomes_of(state.store)
        except StoreError as error:
            raise UnknownError(str(error)) from error
        if self._loop is not loop:  # otherwise another call was faster
            self._worker = secrets.token_hex(8)
            self._flights, self._woken, self._claimed, self._renewal = {}, {}, {}, None
            self._loop, self._outcomes = loop, outcomes
            if not outcomes.is_local:
                state.store.bus.subscribe(_topic(self._worker), self._wake)
        return outcomes

    async def change_version(self, key: str, version: bytes) -> None:
        """Set a version, so that all workers forget what was kept with another one.

        Raises:
            StoreError: the store does not answer.
        """
        state = self._state()
        await state.started_keys()
        await outcomes_of(state.store).change_version(key, version)

    def _sealed(self, outcomes: Outcomes, key: str, outcome: bytes) -> bytes:
        return outcome if outcomes.is_local else self._state().seal.encrypt(outcome, _PURPOSE + key.encode())

    async def _opened(self, outcomes: Outcomes, key: str, stored: bytes) -> bytes:
        """Return an outcome as it was before it was sealed.

        Raises:
            StoreError: it was sealed with a secret that is not here.
        """
        if outcomes.is_local:
            return stored
        state, purpose = self._state(), _PURPOSE + key.encode()
        outcome = state.seal.decrypt(stored, purpose)
        if outcome is None and not state.seal.is_configured:  # by a worker whose secret is not here yet
            await state.seal.agree(state.store.keys)
            outcome = state.seal.decrypt(stored, purpose)
        if outcome is None:
            raise StoreError("an outcome of a call was encrypted with a secret that is not here")
        return outcome

    # -- the lease ---------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Renew the claims of calls that run for long, for as long as there are any."""
        self._renewal = None
        if self._claimed and self._outcomes is not None:
            self._spawn(self._renew_once(self._outcomes, dict(self._claimed)))
            self._renewal = asyncio.get_running_loop().call_later(self._timings.lease_renewal, self._renew)

    async def _renew_once(self, outcomes: Outcomes, claimed: Mapping[str, str]) -> None:
        with contextlib.suppress(StoreError):  # the next renewal tries again
            await outcomes.renew(claimed, self._timings.lease)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until claims are given up."""
        if self._loop is not asyncio.get_running_loop():
            return
        self._loop = None
        if self._renewal is not None:
            self._renewal.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timings.store_operation)


def _topic(worker: str) -> str:
    return f"outcomes:{worker}"
