"""Admits calls within the limits that authors stated, and says to the others when to come back.

A call takes slots before it takes a share of rates, so that a share counts when the call begins; and the slots of
its tool before those of the app, as all calls do, so that no two wait for each other.

Easy to get wrong: calls within calls. The client's call is the one that counts for the app, and a tool that is
called again below itself counts once. A call below one that holds slots does not wait for other slots, since that
one may in turn hold what others wait for: it is refused at once.
"""

import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import msgspec

from enfilade.counters import count
from enfilade.primitives.errors import ToolError
from enfilade.primitives.limits.call_limits import CallLimits
from enfilade.serving.failures import LimitedLog
from enfilade.serving.limits.callers import caller_key
from enfilade.serving.limits.tickets import Tickets
from enfilade.serving.request import Admission, Request
from enfilade.state.limits.claims import Refused, SharedRate, Slots
from enfilade.state.store import Store, StoreError
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError

T = TypeVar("T")

#: Member of `_meta` that says how many milliseconds to wait.
RETRY_AFTER: Final = "enfilade/retryAfterMs"

#: Seconds after which to come back if nobody knows when a slot is free.
_SLOT_RETRY: Final = 1.0

_PEOPLE: Final = {
    "principal": " for each user",
    "session": " in a session",
    "client": " for each client",
    "all": "",
}

_unavailable_log: Final = LimitedLog(logging.getLogger("enfilade.serving"))


class LimitError(ToolError):
    """A call has no room within a limit; the text and `meta` say how long to wait.

    Args:
        message: for the model.
        retry_after: seconds to wait.
    """

    _kind = "limit"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, meta={RETRY_AFTER: math.ceil(retry_after * 1000)})
        self.retry_after = retry_after


class _Limited(msgspec.Struct, frozen=True):
    """Limits, and what they are called."""

    limits: CallLimits
    subject: str | None


class Limiter:
    """Runs calls within limits.

    Args:
        server: its name; servers with one store and other names have limits of their own.
        app_limits: of the whole app; None if there are none.
        store: opens the store.
        timings: of leases, and of asking the store again.
    """

    def __init__(
        self, server: str, app_limits: CallLimits | None, store: Callable[[], Store], timings: Timings
    ) -> None:
        self._server = server
        self._app = None if app_limits is None else _Limited(app_limits, None)
        self._tickets = Tickets(store, timings)

    @property
    def limits_app(self) -> bool:
        """Whether there are limits of the whole app."""
        return self._app is not None

    def around(self, handler: Callable[[Request], Awaitable[T]]) -> Callable[[Request], Awaitable[T]]:
        """Return the handler of a method within the limits of the app."""
        return lambda request: self.run(request, None, None, lambda: handler(request))

    async def run(
        self,
        request: Request,
        tool: str | None,
        limits: CallLimits | None,
        call: Callable[[], Awaitable[T]],
    ) -> T:
        """Call something once there is room for it.

        Args:
            request: whose call it is.
            tool: the name of its tool.
            limits: of the tool; None if it has none.
            call: what to call.

        Raises:
            LimitError, RpcError: there is no room; the latter for the limits of the app over HTTP.
            Exception: as `call` raises it.
        """
        limited = list(self._limits_of(request, tool, limits))
        if not limited:
            return await call()
        slots, rates = self._claims(request, limited)
        longest = [each.limits.max_wait for each in limited if each.limits.waits]
        try:
            ticket, refused = await self._tickets.take(
                slots, rates, queues=not _holds_slots(request), max_wait=min(longest, default=0.0)
            )
        except StoreError as error:
            raise _unavailable(error) from error
        if refused is not None:
            raise self._refusal(request, limited, slots, refused)
        if limits is not None:
            request.admission = Admission(tool, limits.max_concurrency is not None)
        try:
            return await call()
        finally:
            await self._tickets.release(ticket, slots)

    def _limits_of(self, request: Request, tool: str | None, limits: CallLimits | None) -> Iterator[_Limited]:
        """Return the limits that a call counts for: not those that it counts for already."""
        if limits is not None and all(admission.subject != tool for admission in _above(request)):
            yield _Limited(limits, tool)
        if self._app is not None and request.parent is None:
            yield self._app

    def _claims(self, request: Request, limited: list[_Limited]) -> tuple[list[Slots], list[SharedRate]]:
        slots: list[Slots] = []
        rates: list[SharedRate] = []
        for subject in limited:
            limits = subject.limits
            caller = caller_key(request, limits.per)
            if limits.max_concurrency is not None:
                key = self._key("slots", subject, caller)
                slots.append(Slots(key, limits.max_concurrency, limits.waits))
            if limits.rate is not None:
                interval = limits.rate.period / limits.rate.count
                key = self._key("rate", subject, caller)
                longest = limits.max_wait if limits.waits else 0.0
                rates.append(SharedRate(key, interval, limits.rate.period, limits.waits, longest))
        return slots, rates

    def _key(self, kind: str, limited: _Limited, caller: str) -> str:
        limits = limited.limits  # a rate of another period has its own key, as a deployment may change it
        period = limits.rate.period if kind == "rate" and limits.rate is not None else None
        identity = json.dumps([self._server, limited.subject, limits.per, period, caller])
        return f"limit_{kind}:{hashlib.sha256(identity.encode()).hexdigest()[:40]}"

    def _refusal(
        self, request: Request, limited: list[_Limited], slots: list[Slots], refused: Refused
    ) -> Exception:
        """Return the error of a call that has no room."""
        concurrent = [each for each in limited if each.limits.max_concurrency is not None]
        if refused.index < len(slots):
            subject, retry_after, kind = concurrent[refused.index], _SLOT_RETRY, "concurrency"
            number = subject.limits.max_concurrency
            most = f"{number} {'call' if number == 1 else 'calls'} at the same time"
        else:
            rated = [each for each in limited if each.limits.rate is not None]
            subject, retry_after, kind = rated[refused.index - len(slots)], refused.retry_after, "rate"
            rate = subject.limits.rate
            most = "" if rate is None else rate.text
        count("limit_refusals", f"{'server' if subject.subject is None else 'tool'}_{kind}")
        name = "This server" if subject.subject is None else f"Tool {subject.subject!r}"
        seconds = math.ceil(retry_after)
        wait = f"try again in {seconds} {'second' if seconds == 1 else 'seconds'}"
        text = f"{name} takes {most}{_PEOPLE[subject.limits.per]}, and has no room for this one now; {wait}"
        if subject.subject is None and request.channel.http is not None:
            error = RpcError(INTERNAL_ERROR, text, {RETRY_AFTER: math.ceil(retry_after * 1000)}, status=429)
            error.headers = ((b"retry-after", b"%d" % max(1, seconds)),)
            return error
        return LimitError(text, retry_after)

    async def close(self) -> None:
        """Give back what calls have left."""
        await self._tickets.close()


def _above(request: Request) -> Iterator[Admission]:
    """Return what the calls were admitted with that a call stands below."""
    parent = request.parent
    while parent is not None:
        if parent.admission is not None:
            yield parent.admission
        parent = parent.parent


def _holds_slots(request: Request) -> bool:
    return any(admission.has_slots for admission in _above(request))


def _unavailable(error: StoreError) -> LimitError:
    """Return the error of a call whose limits cannot be looked up: it is refused, as it may be beyond them."""
    count("limit_refusals", "store_unavailable")
    _unavailable_log.write(logging.ERROR, "calls with limits are refused, as the store has no answer: %s", error)
    return LimitError("The server cannot look up its limits of calls at the moment; try again in 1 second", 1.0)
