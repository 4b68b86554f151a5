"""A pipelined connection: the commands of all callers go out together, and their replies come back in order.

While an exchange with the server is under way, new commands queue up and form the next one, so that a thousand
events cost a few round trips instead of a thousand. Every call ends within `Timings.store_operation`.

The easy thing to get wrong is a connection that breaks in the middle. Replies that have arrived count, and the
other commands are sent once more over a new connection, so only idempotent ones are. The outcome of any other is
unknown.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from redis import exceptions

from enfilade.state.redis.server import FAILURES, ServerAvailability
from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.state.redis.server import ServerAddress
    from enfilade.timings import Timings

RedisCommand: TypeAlias = tuple[bytes, ...]
Reply: TypeAlias = bytes | int | list["Reply"] | exceptions.ResponseError | None

_PURPOSE: Final = "commands"
_BATCH: Final = 1024 * 1024  # bytes that are sent before replies are read
_OVERHEAD: Final = 512  # bytes that a command counts for at least
_PROBE: Final = 0.5  # seconds for the probe of an idle connection
_UNKNOWN: Final = "the store is out of reach: the connection broke, and nobody knows whether it was done"


class _Call:
    """The commands of one caller."""

    __slots__ = ("commands", "deadline", "future", "is_idempotent", "size")

    def __init__(self, commands: Sequence[RedisCommand], is_idempotent: bool, deadline: float) -> None:
        self.commands = commands
        self.future: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self.is_idempotent = is_idempotent
        self.size = sum(_OVERHEAD + sum(map(len, command)) for command in commands)
        self.deadline = deadline

    def fail(self, text: str) -> None:
        if not self.future.done():
            self.future.set_exception(StoreError(text))


class PipelinedConnection:
    """A connection that is opened when it is first needed, and again after it was lost. Lives in one event loop.

    Args:
        address: of the server.
        availability: of the server, shared by all connections.
        timings: `store_operation`, `redis_exchange` and `redis_idle` count.
    """

    def __init__(self, address: "ServerAddress", availability: ServerAvailability, timings: "Timings") -> None:
        self._loop = asyncio.get_running_loop()
        self._availability = availability
        self._timings = timings
        self._connection = address.connection()
        self._used_at = 0.0
        self._queue: deque[_Call] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._is_closed = False

    async def execute(self, *commands: RedisCommand, is_idempotent: bool = True) -> list[Reply]:
        """Send commands and return their replies; the commands of one call stay together and in order.

        Args:
            commands: as the server defines them.
            is_idempotent: whether they may be sent twice; if not, a connection that breaks is an error.

        Raises:
            StoreError: the server did not reply, or replied to one of the commands with an error.
        """
        replies = await self.execute_unchecked(*commands, is_idempotent=is_idempotent)
        for reply in replies:
            if isinstance(reply, exceptions.ResponseError):
                raise self._availability.explain(reply)
        return replies

    async def execute_unchecked(self, *commands: RedisCommand, is_idempotent: bool = True) -> list[Reply]:
        """Like `execute`, but return error replies in their places.

        Raises:
            StoreError: the server did not reply.
        """
        if self._is_closed:
            raise StoreError("the store was closed")
        if asyncio.get_running_loop() is not self._loop:  # which alone could wake the caller
            raise StoreError("the store is used by another event loop; open one in each")
        now = self._loop.time()
        self._availability.check(now)
        deadline = now + self._timings.store_operation - self._timings.redis_exchange
        call = _Call(commands, is_idempotent, deadline)
        self._queue.append(call)
        if self._flushing is None:
            flushing = self._loop.create_task(self._flush(), name="enfilade store")
            if not flushing.done():  # with a task factory it may be
                self._flushing = flushing
        return await call.future

    async def close(self) -> None:
        """Give pending calls a moment to end, and close the connection."""
        self._is_closed = True
        if self._flushing is not None:
            await asyncio.wait((self._flushing,), timeout=self._timings.redis_exchange / 2)
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait((self._flushing,))
        await self._disconnect(wait=True)

    def abandon(self) -> None:
        """Close the connection from another event loop; pending calls get no outcome."""
        self._is_closed = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))

    async def _flush(self) -> None:
        batch: list[_Call] = []
        text = "the exchange with the store was broken off"
        try:
            while self._queue:
                batch = self._next_batch()
                await self._exchange(batch)
                self._used_at = self._loop.time()
                self._availability.report_back(_PURPOSE)
        except FAILURES as error:
            explained = self._availability.explain(error)
            text = str(explained)
            self._availability.back_off(self._loop.time(), explained)
            self._availability.report_lost(_PURPOSE, explained)
            await self._disconnect()
        finally:
            self._flushing = None
            batch.extend(self._queue)
            self._queue.clear()
            for call in batch:
                call.fail(text)

    def _next_batch(self) -> list[_Call]:
        now, size = self._loop.time(), 0
        batch: list[_Call] = []
        while self._queue and (not batch or size + self._queue[0].size <= _BATCH):
            call = self._queue.popleft()
            if call.deadline < now:
                call.fail("the store has more to do than it can; it was not asked any more")
                continue
            size += call.size
            batch.append(call)
        return batch

    async def _exchange(self, batch: list[_Call]) -> None:
        async with asyncio.timeout(self._timings.redis_exchange):
            is_reused = await self._connect()
            try:
                await self._converse(batch)
            except (exceptions.ConnectionError, OSError):
                if not is_reused:
                    raise
                await self._disconnect()
                for call in batch:
                    if not call.is_idempotent:
                        call.fail(_UNKNOWN)
                await self._connect()
                await self._converse([call for call in batch if not call.future.done()])

    async def _connect(self) -> bool:
        """Return whether the connection was open already; an idle one is probed, as it may be dead."""
        if self._connection.is_connected:
            if self._loop.time() - self._used_at < self._timings.redis_idle:
                return True
            try:
                async with asyncio.timeout(_PROBE):
                    await self._connection.send_packed_command(self._connection.pack_command(b"PING"))
                    await self._connection.read_response()
                return True
            except FAILURES:
                await self._disconnect()
        await self._connection.connect()
        return False

    async def _converse(self, batch: list[_Call]) -> None:
        connection = self._connection
        commands = [command for call in batch for command in call.commands]
        await connection.send_packed_command(connection.pack_commands(commands))
        is_replica = False
        for call in batch:
            replies: list[Reply] = []
            for _ in call.commands:
                try:
                    replies.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    replies.append(error)
                    is_replica = is_replica or isinstance(error, exceptions.ReadOnlyError)
            if not call.future.done():
                call.future.set_result(replies)
        if is_replica:
            await self._disconnect()  # no longer the primary: its name may resolve to another server now

    async def _disconnect(self, wait: bool = False) -> None:
        # Even if this does not end in time, the client has dropped the connection.
        with contextlib.suppress(exceptions.RedisError):
            await self._connection.disconnect(nowait=not wait)


class Connections:
    """The connections to one server, for objects that may outlive the event loop.

    The reading of streams has a connection of its own, so that long replies do not delay short commands.

    Args:
        address: of the server.
        timings: of the connections.

    Attributes:
        availability: of the server.
    """

    def __init__(self, address: "ServerAddress", timings: "Timings") -> None:
        self._address = address
        self._timings = timings
        self.availability = ServerAvailability(address)
        self._commands: PipelinedConnection | None = None
        self._reads: PipelinedConnection | None = None

    @property
    def commands(self) -> PipelinedConnection:
        """For everything but the reading of streams.

        Raises:
            StoreError: the store was not started.
        """
        return _started(self._commands)

    @property
    def reads(self) -> PipelinedConnection:
        """For the reading of streams.

        Raises:
            StoreError: the store was not started.
        """
        return _started(self._reads)

    def open(self) -> None:
        """Prepare for use in the running event loop; nothing is sent yet."""
        self.availability = ServerAvailability(self._address)
        self._commands = PipelinedConnection(self._address, self.availability, self._timings)
        self._reads = PipelinedConnection(self._address, self.availability, self._timings)

    async def close(self) -> None:
        """Give pending calls a moment to end, and close all connections."""
        await asyncio.gather(*(connection.close() for connection in self._release()))

    def abandon(self) -> None:
        """Close the connections from another event loop."""
        for connection in self._release():
            connection.abandon()

    def _release(self) -> list[PipelinedConnection]:
        connections = [connection for connection in (self._commands, self._reads) if connection is not None]
        self._commands = self._reads = None
        return connections


def _started(connection: PipelinedConnection | None) -> PipelinedConnection:
    if connection is None:
        raise StoreError("the store is not open; await its start() first")
    return connection
