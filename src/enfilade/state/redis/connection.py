"""One connection over which everybody's commands go out together, and come back in order.

While an exchange with the server is under way, what is asked meanwhile waits and makes up the next one, so that a
thousand events cost a few round trips instead of a thousand. Nobody waits longer than `LIMIT`, whatever happens.

The easy thing to get wrong is a connection that breaks in the middle. What had been answered counts, the rest is
sent once more over a new connection, so only orders that may be carried out twice are.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from redis import exceptions

from enfilade.state.redis.address import PATIENCE
from enfilade.state.redis.availability import FAILURES, Reach
from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.state.redis.address import Address

Command: TypeAlias = tuple[bytes, ...]
Reply: TypeAlias = bytes | int | list["Reply"] | exceptions.ResponseError | None

#: Seconds within which whatever is asked has an outcome.
LIMIT: Final = 5.0
_PART: Final = "commands"
_BATCH: Final = 1024 * 1024  # bytes that are sent before answers are read
_OVERHEAD: Final = 512  # bytes that a command counts for at least
_IDLE: Final = 1.0  # seconds after which a connection is tried before it is used
_PROBE: Final = 0.5  # seconds that this may take
_BROKEN: Final = "the store is out of reach: the connection broke, and nobody knows whether it was done"


class _Order:
    """Commands whose answers somebody awaits."""

    __slots__ = ("commands", "outcome", "repeatable", "size", "until")

    def __init__(self, commands: Sequence[Command], loop: asyncio.AbstractEventLoop, repeatable: bool) -> None:
        self.commands = commands
        self.outcome: asyncio.Future[list[Reply]] = loop.create_future()
        self.repeatable = repeatable
        self.size = sum(_OVERHEAD + sum(map(len, command)) for command in commands)
        self.until = loop.time() + LIMIT - PATIENCE

    def refuse(self, why: str) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(StoreError(why))


class Lane:
    """A connection that is opened when first needed, and again after it was lost. Lives in one event loop.

    Args:
        address: where the server is.
        reach: what is known about its being there, shared by all that talk to it.
    """

    def __init__(self, address: "Address", reach: Reach) -> None:
        self._loop = asyncio.get_running_loop()
        self._reach = reach
        self._connection = address.connection()
        self._used = 0.0
        self._waiting: deque[_Order] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    async def ask(self, *commands: Command, repeatable: bool = True) -> list[Reply]:
        """Send commands and return their answers; the commands of one call stay together and in order.

        Args:
            commands: as the server knows them.
            repeatable: whether they may be carried out twice; if not, a connection that breaks is an error.

        Raises:
            StoreError: the server did not answer, or answered one of the commands with an error.
        """
        replies = await self.answers(*commands, repeatable=repeatable)
        for reply in replies:
            if isinstance(reply, exceptions.ResponseError):
                raise self._reach.complaint(reply)
        return replies

    async def answers(self, *commands: Command, repeatable: bool = True) -> list[Reply]:
        """The same, with the errors that the server answered in their places.

        Raises:
            StoreError: the server did not answer.
        """
        if self._closed:
            raise StoreError("the store was closed")
        self._reach.check(self._loop.time())
        order = _Order(commands, self._loop, repeatable)
        self._waiting.append(order)
        if self._flushing is None:
            self._flushing = self._loop.create_task(self._flush(), name="enfilade store")
        return await order.outcome

    async def close(self) -> None:
        """Wait a moment for what is under way, and let go of the connection."""
        self._closed = True
        if self._flushing is not None:
            await asyncio.wait((self._flushing,), timeout=PATIENCE / 2)
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait((self._flushing,))
        await self._hang_up(wait=True)

    def abandon(self) -> None:
        """Let go of the connection from another event loop; what waits here is not told."""
        self._closed = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))

    async def _flush(self) -> None:
        batch: list[_Order] = []
        why = "the exchange with the store was broken off"
        try:
            while self._waiting:
                batch = self._next_batch()
                await self._exchange(batch)
                self._used = self._loop.time()
                self._reach.back(_PART)
        except FAILURES as error:
            complaint = self._reach.complaint(error)
            why = str(complaint)
            self._reach.rest(self._loop.time(), complaint)
            self._reach.lost(_PART, complaint)
            await self._hang_up()
        finally:
            self._flushing = None
            batch.extend(self._waiting)
            self._waiting.clear()
            for order in batch:
                order.refuse(why)

    def _next_batch(self) -> list[_Order]:
        now, size = self._loop.time(), 0
        batch: list[_Order] = []
        while self._waiting and (not batch or size + self._waiting[0].size <= _BATCH):
            order = self._waiting.popleft()
            if order.until < now:
                order.refuse("the store has more to do than it can; it was not asked any more")
                continue
            size += order.size
            batch.append(order)
        return batch

    async def _exchange(self, batch: list[_Order]) -> None:
        async with asyncio.timeout(PATIENCE):
            reused = await self._connect()
            try:
                await self._converse(batch)
            except (exceptions.ConnectionError, OSError):
                if not reused:
                    raise
                await self._hang_up()
                for order in batch:
                    if not order.repeatable:
                        order.refuse(_BROKEN)
                await self._connect()
                await self._converse([order for order in batch if not order.outcome.done()])

    async def _connect(self) -> bool:
        """Return whether there was a connection; one that has been idle may be gone without our knowing."""
        if self._connection.is_connected:
            if self._loop.time() - self._used < _IDLE:
                return True
            try:
                async with asyncio.timeout(_PROBE):
                    await self._connection.send_packed_command(self._connection.pack_command(b"PING"))
                    await self._connection.read_response()
                return True
            except FAILURES:
                await self._hang_up()
        await self._connection.connect()
        return False

    async def _converse(self, batch: list[_Order]) -> None:
        connection = self._connection
        commands = [command for order in batch for command in order.commands]
        await connection.send_packed_command(connection.pack_commands(commands))
        moved = False
        for order in batch:
            replies: list[Reply] = []
            for _ in order.commands:
                try:
                    replies.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
                    moved = moved or isinstance(error, exceptions.ReadOnlyError)
            if not order.outcome.done():
                order.outcome.set_result(replies)
        if moved:
            await self._hang_up()  # the primary has become a replica: its name may lead elsewhere now

    async def _hang_up(self, wait: bool = False) -> None:
        # If it does not end in time, the client has let go of it all the same.
        with contextlib.suppress(exceptions.RedisError):
            await self._connection.disconnect(nowait=not wait)


class Lanes:
    """The ways to one server, for those that may outlive the event loop.

    What may be long goes another way than what must be quick.

    Args:
        address: where the server is.

    Attributes:
        reach: what is known about its being there.
    """

    def __init__(self, address: "Address") -> None:
        self._address = address
        self.reach = Reach(address)
        self._writing: Lane | None = None
        self._reading: Lane | None = None

    @property
    def writing(self) -> Lane:
        """For everything but the reading of streams.

        Raises:
            StoreError: the store was not started.
        """
        return _opened(self._writing)

    @property
    def reading(self) -> Lane:
        """For the reading of streams.

        Raises:
            StoreError: the store was not started.
        """
        return _opened(self._reading)

    def open(self) -> None:
        """Make ready, in the running event loop; nothing is sent yet."""
        self.reach = Reach(self._address)
        self._writing, self._reading = Lane(self._address, self.reach), Lane(self._address, self.reach)

    async def close(self) -> None:
        """Let what is under way come to its end, for a moment, and close all connections."""
        lanes, self._writing, self._reading = (self._writing, self._reading), None, None
        await asyncio.gather(*(lane.close() for lane in lanes if lane is not None))

    def abandon(self) -> None:
        """Let go of the connections of another event loop."""
        lanes, self._writing, self._reading = (self._writing, self._reading), None, None
        for lane in lanes:
            if lane is not None:
                lane.abandon()


def _opened(lane: Lane | None) -> Lane:
    if lane is None:
        raise StoreError("the store is not open; await its start() first")
    return lane
