"""Messages between processes, by the pub/sub of Redis: one channel for each topic, one connection that listens.

The easy thing to get wrong is silence. Redis keeps nothing for a subscriber that is away, and a connection whose
other end is gone says nothing either. So a silent connection is asked for a sign of life, and whoever depends on
messages is told after each time that some may have been missed.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, ParamSpec

from redis import exceptions

from enfilade.state.redis.address import PATIENCE
from enfilade.state.redis.availability import FAILURES

if TYPE_CHECKING:
    from redis.asyncio import Connection

    from enfilade.state.redis.address import Address
    from enfilade.state.redis.availability import Reach
    from enfilade.state.redis.connection import Lanes

log = logging.getLogger("enfilade.state")

_Told = ParamSpec("_Told")
_PART: Final = "messages"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0  # a worker that starts meanwhile waits for the others no longer than twice that
_SETTLING: Final = 1.0  # seconds that a message waits for its sender to hear a new topic
_SILENCE: Final = 5.0  # seconds after which a sign of life is asked for


class Listening:
    """The connection that hears, kept up by one task. Lives in one event loop.

    Args:
        address: where the server is.
        reach: what is known about its being there.
        channels: what is heard, by channel; may grow, which `more` is to be told.
        gaps: what is called when messages may have been missed.
    """

    def __init__(
        self,
        address: "Address",
        reach: "Reach",
        channels: dict[bytes, list[Callable[[bytes], None]]],
        gaps: list[Callable[[], None]],
    ) -> None:
        self._reach = reach
        self._channels = channels
        self._gaps = gaps
        self._connection: Connection = address.connection()
        self._up = False
        self._asked: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._tried = asyncio.Event()
        self._settled = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="enfilade store messages")

    async def tried(self) -> None:
        """Wait until the first attempt has succeeded or failed."""
        await self._tried.wait()

    async def settled(self) -> None:
        """Wait a moment until all that is to be heard is heard, or cannot be for now."""
        if not self._settled.is_set():
            try:
                async with asyncio.timeout(_SETTLING):
                    await self._settled.wait()
            except TimeoutError:
                pass  # the server is slow, which whatever it is asked next will find too

    def more(self) -> None:
        """Hear the channels that have been added."""
        if self._up:  # else it is connecting, and will ask for all there are
            self._settled.clear()
            task = self._loop.create_task(self._subscribe())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """Hear nothing more."""
        tasks = {self._task, *self._asking}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Hear nothing more, said in another event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))

    async def _run(self) -> None:
        pause, first = _FIRST_PAUSE, True
        while True:
            try:
                await self._connect()
                if not first:
                    for told in self._gaps:
                        _tell(told)
                pause = _FIRST_PAUSE
                await self._listen()
            except FAILURES as error:
                self._reach.lost(_PART, self._reach.complaint(error))
            finally:
                await self._hang_up()
                self._tried.set()
            first = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connect(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._connection.connect()
            self._up = True
            await self._subscribe()
            while not self._confirmed.issuperset(self._channels):
                self._take(await self._connection.read_response())
        self._reach.back(_PART)
        self._settled.set()
        self._tried.set()

    async def _listen(self) -> None:
        alive = True
        while True:
            try:
                async with asyncio.timeout(_SILENCE if alive else PATIENCE):
                    self._take(await self._connection.read_response(disconnect_on_error=False))
                alive = True
            except TimeoutError:
                if not alive:
                    raise
                alive = False
                await self._send(b"PING")

    async def _subscribe(self) -> None:
        """Ask for the channels that were not asked for over this connection."""
        new = [channel for channel in self._channels if channel not in self._asked]
        if new and self._up:
            self._asked.update(new)
            # If it fails, the task that listens learns it too, as it has the same connection.
            with contextlib.suppress(*FAILURES):
                await self._send(b"SUBSCRIBE", *new)

    async def _send(self, *command: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._connection.send_packed_command(self._connection.pack_command(*command))

    def _take(self, reply: object) -> None:
        match reply:
            case [b"message", bytes(channel), bytes(message)]:
                for told in self._channels.get(channel, ()):
                    _tell(told, message)
            case [b"subscribe", bytes(channel), _]:
                self._confirmed.add(channel)
                if self._confirmed.issuperset(self._channels):
                    self._settled.set()

    async def _hang_up(self) -> None:
        self._up = False
        self._asked.clear()
        self._confirmed.clear()
        self._settled.set()
        # If it does not end in time, the client has let go of it all the same.
        with contextlib.suppress(exceptions.RedisError):
            await self._connection.disconnect(nowait=True)


def _tell(told: Callable[_Told, None], *what: _Told.args, **more: _Told.kwargs) -> None:
    """Call those who hear; one who fails is in nobody's way."""
    try:
        told(*what, **more)
    except Exception:
        log.exception("who hears messages of other processes failed at one")


class RedisBus:
    """`Bus` on pub/sub, where a message reaches who listens at that moment.

    Args:
        address: where the server is.
        lanes: the way to it.
    """

    propagation_delay = 0.01

    def __init__(self, address: "Address", lanes: "Lanes") -> None:
        self._address = address
        self._lanes = lanes
        # Channels, unlike keys, are the same in all databases of a server.
        self._prefix = f"{address.prefix}bus:{address.database}:"
        self._channels: dict[bytes, list[Callable[[bytes], None]]] = {}
        self._gaps: list[Callable[[], None]] = []
        self._listening: Listening | None = None

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message. If the connection broke in the middle, it may have been sent although this raises.

        Raises:
            StoreError: the server did not take it.
        """
        if self._listening is not None:
            await self._listening.settled()
        await self._lanes.writing.ask((b"PUBLISH", (self._prefix + topic).encode(), message), repeatable=False)

    def subscribe(self, topic: str, told: Callable[[bytes], None]) -> None:
        """Hand on what comes from now on; what is published here after this call is heard here."""
        channel = (self._prefix + topic).encode()
        self._channels.setdefault(channel, []).append(told)
        if self._listening is not None:
            self._listening.more()

    def on_gap(self, told: Callable[[], None]) -> None:
        """Call back after each connection that was not the first."""
        self._gaps.append(told)

    async def start(self) -> None:
        """Begin to listen; returns when it does, or when it turned out that the server is away."""
        self._listening = Listening(self._address, self._lanes.reach, self._channels, self._gaps)
        await self._listening.tried()

    async def close(self) -> None:
        """Hear nothing more."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.close()

    def abandon(self) -> None:
        """Hear nothing more, said in another event loop."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.abandon()
