"""How many connections a server holds, and what becomes of one that is too many.

At `max_connections` a new connection takes the place of one that does the least: one that has not finished the
head of its request for a second or more, the oldest first, or else the one that has been idle for longest. If
all others are at work, the new connection goes into a small reserve, where only probes are served, and all other
requests get 503 with `Retry-After`. If the reserve is full too, its oldest connection is closed, except those
that are just being answered. So a probe is answered however many connections are half open: nobody can hold a
place by waiting.

Accepting is never paused: a queue in the kernel would keep probes waiting behind whoever fills it.

The easy thing to get wrong is the cost. Finding the connection that does the least takes a look at all of them,
so one look finds many, and it is not taken again before it has paid off.
"""

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.server import ServerState

from enfilade.transports.connection_timeouts import (
    HEAD,
    IDLE,
    ConnectionLimits,
    Sweep,
    TimedConnection,
    phase_of,
)
from enfilade.transports.http_flow import reset
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

RESERVE: Final = 8  # connections above `max_connections` at once
RETRY_AFTER: Final = 1  # seconds

_PATIENCE: Final = 1.0  # seconds for which the head of a request may be on its way, whatever room is needed
_SHARE: Final = 20  # at most one part in so many of the time is spent on looks at all connections

_FEWEST, _MOST = 4, 65_536  # connections that a server gets from the limit of descriptors
_OWN_FILES: Final = 16  # descriptors for what is opened later: store, files of the application, the loop
_OWN_SHARE: Final = 10  # or one part in so many, up to `_MOST_OWN`, if that is more
_MOST_OWN: Final = 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("enfilade.transports")


class ConnectionSlots:
    """The connections of one server, and their limit.

    Args:
        sweep: knows what the connections do.
        connections: all of them, with the one that is being admitted.

    Attributes:
        sweep: knows what the connections do.
    """

    def __init__(self, sweep: Sweep, connections: set[Any]) -> None:
        self.sweep = sweep
        self._connections: set[Any] = connections
        wanted = sweep.limits.max_connections
        self._limit = sys.maxsize if wanted is None else connection_limit(wanted)
        self._probe_paths = sweep.limits.probe_paths
        self._reserve: dict[TimedConnection, None] = {}  # in the order in which they came
        self._victims: deque[tuple[TimedConnection, float]] = deque()
        self._next_look = 0.0
        self._warned_at = 0.0

    @property
    def _is_full(self) -> bool:
        return len(self._connections) - len(self._reserve) > self._limit

    def admit(self, connection: TimedConnection) -> None:
        """Find room for a new connection, and watch it."""
        self.sweep.start()
        if not self._is_full:
            return
        if (victim := self._next_victim(connection)) is not None:
            self._evict(victim)
            return
        self._reserve[connection] = None
        connection.in_reserve = True
        if len(self._reserve) > RESERVE:
            self._evict(next((each for each in self._reserve if not _is_at_work(each)), connection))
        self._warn()

    def leave(self, connection: TimedConnection) -> None:
        """Forget a connection of the reserve: it is closed."""
        self._reserve.pop(connection, None)

    def is_served(self, connection: TimedConnection, path: str) -> bool:
        """Whether a request on a connection of the reserve is served: a probe, or there is room by now."""
        if len(self._connections) - len(self._reserve) < self._limit:
            self.leave(connection)
            connection.in_reserve = False
            return True
        return path in self._probe_paths

    def _evict(self, connection: TimedConnection) -> None:
        self._connections.discard(connection)  # now, and not when the transport has closed
        self._reserve.pop(connection, None)
        if phase_of(connection) == IDLE:
            connection.transport.close()  # in good order: its client may be about to use it again
        elif connection.is_ending:  # the response that refuses it may be on its way
            connection.transport.abort()
        else:
            reset(connection.transport)

    def _next_victim(self, newcomer: TimedConnection) -> TimedConnection | None:
        """Return the connection that does the least, if there is one that can go."""
        now = time.monotonic()
        if not self._victims and now >= self._next_look:
            self._victims = self._find_victims(newcomer)
            end = time.monotonic()
            self._next_look = end + _SHARE * (end - now)
        while self._victims:
            connection, since = self._victims.popleft()
            if connection in self._connections and self._waits_since(connection) == since:
                return connection
        return None

    def _find_victims(self, newcomer: TimedConnection) -> deque[tuple[TimedConnection, float]]:
        """Return who waits for the rest of a head, and then who is idle, each longest first."""
        found: list[tuple[bool, float, int, TimedConnection]] = []
        for number, connection in enumerate(self._connections):
            since = self._waits_since(connection)
            if since is not None and not connection.in_reserve and connection is not newcomer:
                found.append((phase_of(connection) == IDLE, since, number, connection))
        return deque((connection, since) for _, since, _, connection in sorted(found))

    def _waits_since(self, connection: TimedConnection) -> float | None:
        """Return since when a connection is idle or waits for a head; None if it does something, or just came.

        What became idle after the last sweep counts from now, since nobody has noted the time.
        """
        watch, phase = connection.watch, phase_of(connection)
        is_noted = watch is not None and watch.phase == phase and watch.cycle is connection.cycle
        since = watch.since if watch is not None and is_noted else self.sweep.clock
        if phase == HEAD and self.sweep.clock - since >= _PATIENCE:
            return since
        if phase == IDLE and not connection.transport.get_write_buffer_size():
            return since
        return None

    def _warn(self) -> None:
        """Log that there are too many connections, once a minute at most."""
        now = time.monotonic()
        if now >= self._warned_at + 60 or not self._warned_at:
            self._warned_at = now
            log.warning("all connections are at work, and new ones get 503 (max_connections is %d)", self._limit)


def _is_at_work(connection: TimedConnection) -> bool:
    """Whether a complete request of a connection is just being answered."""
    cycle = connection.cycle
    return cycle is not None and not cycle.more_body and not cycle.response_complete


_slots: Final[WeakKeyDictionary[ServerState, ConnectionSlots]] = WeakKeyDictionary()


def slots_of(config: uvicorn.Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> ConnectionSlots:
    """Return the slots of a server, from the first of its connections on.

    Args:
        config: of the server; without `connection_limits`, defaults and uvicorn's keep-alive timeout.
        state: what the connections of the server share.
        loop: the event loop that runs it.
    """
    slots = _slots.get(state)
    if slots is None:
        limits = getattr(config, "connection_limits", None)
        limits = limits or ConnectionLimits(idle_timeout=config.timeout_keep_alive)
        slots = _slots[state] = ConnectionSlots(Sweep(limits, state.connections, loop), state.connections)
    return slots


async def refuse_for_lack_of_room(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 503 to a request for which there is no connection left: an ASGI application."""
    body = encode_error(None, RpcError(INTERNAL_ERROR, "The server has no connection left; try again later"))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % RETRY_AFTER),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def connection_limit(wanted: int) -> int:
    """Return how many connections a server can hold.

    What is left of the soft limit of descriptors is for the reserve, the store, and files of the application.

    Args:
        wanted: at most so many; 0 for as many as the limit of descriptors allows.
    """
    allowed = _allowed_by_descriptors()
    if wanted > allowed:
        log.warning("max_connections is %d, but the limit of open files allows only %d", wanted, allowed)
    return min(wanted, allowed) if wanted else allowed


def _allowed_by_descriptors() -> int:
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    own = max(_OWN_FILES, min(soft // _OWN_SHARE, _MOST_OWN))
    return min(_MOST, max(_FEWEST, soft - _open_descriptors() - own - RESERVE))


def _open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    for folder in (Path("/proc/self/fd"), Path("/dev/fd")):
        try:
            return len(os.listdir(folder)) - 1  # less the one that reads the folder
        except OSError:
            continue
    return 16  # about what a server has that has just started


class AcceptErrors:
    """Handles the errors of an event loop: those of accept for lack of descriptors are logged once a minute.

    asyncio calls its handler up to `backlog` times for one such error, and then waits for a second before it
    accepts again. uvloop closes the connection.

    Args:
        loop: the event loop whose handler this becomes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._before = loop.get_exception_handler()
        self._warned_at = 0.0
        loop.set_exception_handler(self)

    def restore(self) -> None:
        """Give the event loop its handler back."""
        if self._loop.get_exception_handler() is self:
            self._loop.set_exception_handler(self._before)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error."""
        if context.get("message") == "socket.accept() out of system resource":
            now = time.monotonic()
            if now >= self._warned_at + 60 or not self._warned_at:
                self._warned_at = now
                log.error("cannot accept a connection: %s", context.get("exception"))
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)
