"""Who has the one stream that a session may have open by GET, among all workers (R-330, R-333).

A client that comes back should find its seat free although nobody has noticed yet that it had gone, and a seat
must not stay taken because the worker that had it is dead. The easy thing to get wrong is the moment between
looking and taking: the seat is taken here before anybody is asked, and in the store by one step (D8).
"""

import asyncio
import contextlib
import secrets
from typing import Final

from enfilade.serving.relay import Relay
from enfilade.state.store import StoreError
from enfilade.transports.stream import EventStream
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

#: Seconds that a second stream of a session waits for the first to turn out to be gone.
HANDOVER: Final = 0.5
_LOOK_AGAIN: Final = 0.05


class Seat:
    """A session's seat, taken by one connection.

    Attributes:
        session_id: whose it is.
        stream: what is written to that connection, once it is open.
    """

    __slots__ = ("_left", "_taken", "mark", "number", "session_id", "stream", "worker")

    def __init__(self, session_id: str, worker: str) -> None:
        self.session_id = session_id
        self.worker = worker
        self.number = secrets.token_hex(8)
        self.mark = f"{worker}:{self.number}".encode()
        self.stream: EventStream | None = None
        self._taken = True
        self._left: asyncio.Event | None = None  # made by the first that waits for it

    async def left(self) -> None:
        """Return once it was left."""
        if self._taken:
            self._left = self._left or asyncio.Event()
            await self._left.wait()

    def leave(self) -> None:
        """Let who waits for it have it."""
        self._taken = False
        if self._left is not None:
            self._left.set()

    def knock(self) -> None:
        """Write something: to a connection that the client has given up, that shows that nobody is there."""
        if self.stream is not None:
            self.stream.knock()

    def vacate(self) -> None:
        """End the connection that has it."""
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
        relay.on("knock", self._knocked)
        relay.on("vacate", self._told_to_vacate)

    def __len__(self) -> int:
        return len(self._here)

    async def take(self, session_id: str, ttl: float) -> Seat:
        """Take a seat that is free, or turns out to be within a moment.

        Args:
            ttl: seconds that the session has left.

        Raises:
            RpcError: HTTP 409 if somebody has it.
            StoreError: the store does not say.
        """
        taken = self._here.get(session_id)
        if taken is not None:
            taken.knock()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(taken.left(), HANDOVER)
        if session_id in self._here:
            raise _taken()
        seat = self._here[session_id] = Seat(session_id, self._relay.worker)
        try:
            if self._relay.shared and not await self._take_among_all(seat, ttl):
                raise _taken()
        except BaseException:
            self._forget(seat)
            raise
        return seat

    async def take_over(self, session_id: str, ttl: float) -> Seat:
        """Take a seat from whoever has it: the client itself came for the rest of its stream.

        Raises:
            StoreError: the store does not say.
        """
        before = self._here.get(session_id)
        seat = self._here[session_id] = Seat(session_id, self._relay.worker)
        if before is not None:
            before.vacate()
        try:
            if self._relay.shared:
                holder = await self._keys.get(_key(session_id))
                await self._keys.put(_key(session_id), seat.mark, ttl)
                if holder is not None:
                    worker, number = _read(holder)
                    if worker != self._relay.worker:
                        self._relay.tell("vacate", [session_id, number], worker)
        except BaseException:
            self._forget(seat)
            raise
        return seat

    async def leave(self, seat: Seat) -> None:
        """Give a seat back, unless somebody else has it by now."""
        self._forget(seat)
        if self._relay.shared:
            with contextlib.suppress(StoreError):  # whoever wants it next will find that nobody is there
                await self._keys.swap(_key(seat.session_id), seat.mark, None, None)

    async def _take_among_all(self, seat: Seat, ttl: float) -> bool:
        key = _key(seat.session_id)
        end = asyncio.get_running_loop().time() + HANDOVER
        knocked = False
        while not await self._keys.swap(key, None, seat.mark, ttl):
            holder = await self._keys.get(key)
            if holder is None:
                continue
            worker, number = _read(holder)
            if not await self._relay.is_alive(worker):
                if await self._keys.swap(key, holder, seat.mark, ttl):
                    return True
                continue
            if asyncio.get_running_loop().time() > end:
                return False
            if not knocked:
                knocked = True
                self._relay.tell("knock", [seat.session_id, number], worker)
            await asyncio.sleep(_LOOK_AGAIN)
        return True

    def _knocked(self, body: tuple[str, str]) -> None:
        session_id, number = body
        seat = self._here.get(session_id)
        if seat is not None and seat.number == number:
            seat.knock()
        else:  # it was left, and the store did not take that in
            mark = f"{self._relay.worker}:{number}".encode()
            self._relay.soon(self._give_back(session_id, mark))

    async def _give_back(self, session_id: str, mark: bytes) -> None:
        with contextlib.suppress(StoreError):
            await self._keys.swap(_key(session_id), mark, None, None)

    def _told_to_vacate(self, body: tuple[str, str]) -> None:
        session_id, number = body
        seat = self._here.get(session_id)
        if seat is not None and seat.number == number:
            seat.vacate()

    def _forget(self, seat: Seat) -> None:
        if self._here.get(seat.session_id) is seat:
            del self._here[seat.session_id]
        seat.leave()


def _taken() -> RpcError:
    return RpcError(INVALID_REQUEST, "This session has its event stream open already", status=409)


def _key(session_id: str) -> str:
    return f"get:{session_id}"


def _read(holder: bytes) -> tuple[str, str]:
    worker, _, number = holder.decode().partition(":")
    return worker, number
