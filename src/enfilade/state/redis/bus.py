"""Messages between processes, by pub/sub of Redis: a channel for each topic, and one connection that subscribes.

The easy thing to get wrong is silence. Redis keeps nothing for a disconnected subscriber, and a connection whose
other end is gone is silent too. So a silent connection is probed with PING, and subscribers are told after each
reconnection that they may have missed messages.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, ParamSpec

from redis import exceptions

from enfilade.state.redis.server import FAILURES

if TYPE_CHECKING:
    from redis.asyncio import Connection

    from enfilade.state.redis.connection import Connections
    from enfilade.state.redis.server import ServerAddress, ServerAvailability
    from enfilade.timings import Timings

log = logging.getLogger("enfilade.state")

_Args = ParamSpec("_Args")
_PURPOSE: Final = "messages"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0  # a worker that starts meanwhile waits for the others no longer than twice that
_SUBSCRIBE_WAIT: Final = 1.0  # seconds that a message waits until its sender has subscribed to a new topic


class SubscriberConnection:
    """The connection that subscribes, kept up by one task. Lives in one event loop.

    Args:
        address: of the server.
        availability: of the server.
        timings: `redis_exchange` and `redis_silence` count.
        channels: the callbacks by channel; call `subscribe_new` after adding one.
        gap_callbacks: called when messages may have been missed.
    """

    def __init__(
        self,
        address: "ServerAddress",
        availability: "ServerAvailability",
        timings: "Timings",
        channels: dict[bytes, list[Callable[[bytes], None]]],
        gap_callbacks: list[Callable[[], None]],
    ) -> None:
        self._availability = availability
        self._timings = timings
        self._channels = channels
        self._gap_callbacks = gap_callbacks
        self._connection: Connection = address.connection()
        self._is_connected = False
        self._requested: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._attempted = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="enfilade store messages")

    async def wait_attempted(self) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        await self._attempted.wait()

    async def wait_subscribed(self) -> None:
        """Wait a moment until all channels are subscribed, or cannot be for now."""
        if not self._subscribed.is_set():
            try:
                async with asyncio.timeout(_SUBSCRIBE_WAIT):
                    await self._subscribed.wait()
            except TimeoutError:
                pass  # the server is slow, which the next command reports

    def subscribe_new(self) -> None:
        """Subscribe to the channels that have been added."""
        if self._is_connected:  # otherwise it is connecting, and will subscribe to all of them
            self._subscribed.clear()
            task = self._loop.create_task(self._subscribe())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Stop listening."""
        tasks = {self._task, *self._sending}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Stop listening; called in another event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))

    async def _run(self) -> None:
        pause, is_first = _FIRST_PAUSE, True
        while True:
            try:
                await self._connect()
                if not is_first:
                    for callback in self._gap_callbacks:
                        _call(callback)
                pause = _FIRST_PAUSE
                await self._listen()
            except FAILURES as error:
                self._availability.report_lost(_PURPOSE, self._availability.explain(error))
            finally:
                await self._disconnect()
                self._attempted.set()
            is_first = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connect(self) -> None:
        async with asyncio.timeout(self._timings.redis_exchange):
            await self._connection.connect()
            self._is_connected = True
            await self._subscribe()
            while not self._confirmed.issuperset(self._channels):
                self._handle(await self._connection.read_response())
        self._availability.report_back(_PURPOSE)
        self._subscribed.set()
        self._attempted.set()

    async def _listen(self) -> None:
        is_probed = False
        while True:
            limit = self._timings.redis_exchange if is_probed else self._timings.redis_silence
            try:
                async with asyncio.timeout(limit):
                    self._handle(await self._connection.read_response(disconnect_on_error=False))
                is_probed = False
            except TimeoutError:
                if is_probed:
                    raise
                is_probed = True
                await self._send(b"PING")

    async def _subscribe(self) -> None:
        """Send SUBSCRIBE for the channels that were not requested over this connection."""
        channels = [channel for channel in self._channels if channel not in self._requested]
        if channels and self._is_connected:
            self._requested.update(channels)
            # If it fails, reading from the same connection fails as well, in the task that listens.
            with contextlib.suppress(*FAILURES):
                await self._send(b"SUBSCRIBE", *channels)

    async def _send(self, *command: bytes) -> None:
        async with asyncio.timeout(self._timings.redis_exchange):
            await self._connection.send_packed_command(self._connection.pack_command(*command))

    def _handle(self, reply: object) -> None:
        match reply:
            case [b"message", bytes(channel), bytes(message)]:
                for callback in self._channels.get(channel, ()):
                    _call(callback, message)
            case [b"subscribe", bytes(channel), _]:
                self._confirmed.add(channel)
                if self._confirmed.issuperset(self._channels):
                    self._subscribed.set()

    async def _disconnect(self) -> None:
        self._is_connected = False
        self._requested.clear()
        self._confirmed.clear()
        self._subscribed.set()
        # Even if this does not end in time, the client has dropped the connection.
        with contextlib.suppress(exceptions.RedisError):
            await self._connection.disconnect(nowait=True)


def _call(callback: Callable[_Args, None], *args: _Args.args, **kwargs: _Args.kwargs) -> None:
    """Call a subscriber; its exceptions are logged and do not affect the others."""
    try:
        callback(*args, **kwargs)
    except Exception:
        log.exception("a subscriber to messages of other processes failed")


class RedisBus:
    """`Bus` on pub/sub; a message reaches the processes that are subscribed at that moment."""

    propagation_delay = 0.01

    def __init__(self, address: "ServerAddress", connections: "Connections", timings: "Timings") -> None:
        self._address = address
        self._connections = connections
        self._timings = timings
        # Channels, unlike keys, are shared by all databases of a server.
        self._prefix = f"{address.prefix}bus:{address.database}:"
        self._channels: dict[bytes, list[Callable[[bytes], None]]] = {}
        self._gap_callbacks: list[Callable[[], None]] = []
        self._listener: SubscriberConnection | None = None

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message. If the connection broke in the middle, it may have been sent although this raises.

        Raises:
            StoreError: the server did not confirm it.
        """
        if self._listener is not None:
            await self._listener.wait_subscribed()
        command = (b"PUBLISH", (self._prefix + topic).encode(), message)
        await self._connections.commands.execute(command, is_idempotent=False)

    def subscribe(self, topic: str, callback: Callable[[bytes], None]) -> None:
        """Deliver messages from now on, including those that this process publishes after this call."""
        channel = (self._prefix + topic).encode()
        self._channels.setdefault(channel, []).append(callback)
        if self._listener is not None:
            self._listener.subscribe_new()

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call back after each reconnection."""
        self._gap_callbacks.append(callback)

    async def start(self) -> None:
        """Start listening; returns when it does, or when the server cannot be reached."""
        self._listener = SubscriberConnection(
            self._address, self._connections.availability, self._timings, self._channels, self._gap_callbacks
        )
        await self._listener.wait_attempted()

    async def close(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()

    def abandon(self) -> None:
        """Stop listening; called in another event loop."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.abandon()
