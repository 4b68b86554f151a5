"""Who has the one stream that a session may have open by GET, among all workers (R-330, R-333).

The newest GET of a session has it: the seat is taken from whoever had it before, whose connection is then ended.
A client that comes back may still have an old connection that nobody has noticed to be dead, such as one behind a
proxy that keeps its side open, and no such connection can be told from a living one.

The easy thing to get wrong is two that come at once. The seat is taken here before anybody is asked and in the
store by compare-and-swap, so each sees exactly whom it takes the place of (D8).
"""

import contextlib
import secrets
from typing import Final

from enfilade.serving.cluster import Relay
from enfilade.state.store import StoreError
from enfilade.transports.http.sse_stream import EventStream

#: How often taking a seat is tried that others take at the same time.
_ATTEMPTS: Final = 50


class Seat:
    """A session's seat, taken by one connection.

    Attributes:
        session_id: whose it is.
        stream: what is written to that connection, once it is open.
        written: whether the store has been told.
        inherited: whether another connection had it before, so that its client may have missed something.
        lost: whether a newer connection has it.
    """

    __slots__ = ("inherited", "lost", "mark", "number", "session_id", "stream", "written")

    def __init__(self, session_id: str, worker: str) -> None:
        self.session_id = session_id
        self.number = secrets.token_hex(8)
        self.mark = f"{worker}:{self.number}".encode()
        self.stream: EventStream | None = None
        self.written = False
        self.inherited = False
        self.lost = False

    def open(self, stream: EventStream) -> None:
        """Take in what is written to the connection; it ends at once if a newer one has the seat already."""
        self.stream = stream
        if self.lost:
            stream.part()

    def vacate(self) -> None:
        """End the connection: a newer one has the seat."""
        self.lost = True
        if self.stream is not None:
            self.stream.part()


class Seats:
    """The seats of all sessions: those taken here, and those that the store says are taken elsewhere.

    Args:
        relay: the other workers.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._keys = relay.store.keys
        self._here: dict[str, Seat] = {}
        relay.on("vacate", self._told_to_vacate)
        relay.on_gap(self._look_again)

    def __len__(self) -> int:
        return len(self._here)

    async def take_over(self, session_id: str, ttl: float, *, forgotten: bool = False) -> Seat:
        """Take a session's seat, from whoever has it.

        Args:
            ttl: seconds for which the store remembers who has it.
            forgotten: whether a connection may be older than that, so that the store cannot say where it is.

        Raises:
            StoreError: the store does not say.
        """
        before = self._here.get(session_id)
        seat = self._here[session_id] = Seat(session_id, self._relay.worker)
        if before is not None:
            seat.inherited = True
            before.vacate()
        try:
            if self._relay.shared:
                await self._take_among_all(seat, ttl, forgotten)
        except BaseException:
            self._forget(seat)
            raise
        return seat

    async def leave(self, seat: Seat) -> None:
        """Give a seat back, unless somebody else has it by now."""
        self._forget(seat)
        if self._relay.shared:
            with contextlib.suppress(StoreError):  # it is taken over all the same
                await self._keys.swap(_key(seat.session_id), seat.mark, None, None)

    async def _take_among_all(self, seat: Seat, ttl: float, forgotten: bool) -> None:
        key = _key(seat.session_id)
        for _ in range(_ATTEMPTS):
            holder = await self._keys.get(key)
            if seat.lost:  # to a newer one here, which puts its own mark
                return
            if await self._keys.swap(key, holder, seat.mark, ttl):
                seat.written = True
                break
        else:
            raise StoreError("a session's stream is being opened by too many requests at once")
        if holder is not None:
            seat.inherited = True
            worker, number = _read(holder)
            if worker != self._relay.worker:
                self._relay.tell("vacate", [seat.session_id, number], worker)
        elif forgotten:
            self._relay.tell("vacate", [seat.session_id, None])

    def _told_to_vacate(self, body: tuple[str, str | None]) -> None:
        session_id, number = body
        seat = self._here.get(session_id)
        if seat is not None and number in (None, seat.number):
            seat.vacate()

    def _look_again(self) -> None:
        """Find out which seats were taken by other workers whose message may have been lost."""
        for seat in self._here.values():
            if seat.written:
                self._relay.soon(self._look_at(seat))

    async def _look_at(self, seat: Seat) -> None:
        with contextlib.suppress(StoreError):
            holder = await self._keys.get(_key(seat.session_id))
            if holder is not None and holder != seat.mark:
                seat.vacate()

    def _forget(self, seat: Seat) -> None:
        if self._here.get(seat.session_id) is seat:
            del self._here[seat.session_id]


def _key(session_id: str) -> str:
    return f"get:{session_id}"


def _read(holder: bytes) -> tuple[str, str]:
    worker, _, number = holder.decode().partition(":")
    return worker, number
