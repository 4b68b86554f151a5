"""How many connections a server holds, and what becomes of one that is too many.

At `max_connections` a new connection takes the place of one that does the least: one that has not finished the
head of its request for a second or more, the oldest first; or else the one that has been idle for longest, or
sends what nobody wants of a body that is answered; or else the slowest body, if it is slow or takes long. If all
others are at work, the new connection goes into a reserve (see `connection_reserve`), where only probes are
served, and all other requests get 503 with `Retry-After`. So nobody can hold a place by waiting, or by sending
little.

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
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.server import ServerState

from enfilade.transports.asgi_types import Receive, Scope, Send
from enfilade.transports.http11.connection_reserve import Reserve
from enfilade.transports.http11.connection_timeouts import (
    BODY,
    HEAD,
    IDLE,
    REST,
    ConnectionLimits,
    Sweep,
    TimedConnection,
    phase_of,
)
from enfilade.transports.http11.flow_control import reset
from enfilade.transports.http11.unread_responses import UnreadResponses
from enfilade.transports.refusal_log import refusals
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

RESERVE: Final = 8  # connections above `max_connections` at once, at least
MOST_IN_RESERVE: Final = 256  # and at most, if there are descriptors for them
RETRY_AFTER: Final = 1  # seconds

_PATIENCE: Final = 1.0  # seconds for which the head of a request may be on its way, whatever room is needed
_BODY_PATIENCE: Final = 2.0  # seconds for which any body may be on its way, and below this rate no longer:
_SLOW_BODY: Final = 16 * 1024  # bytes per second
_SHARE: Final = 20  # at most one part in so many of the time is spent on looks at all connections

_FEWEST, _MOST = 4, 65_536  # connections that a server gets from the limit of descriptors
_OWN_FILES: Final = 16  # descriptors for what is opened later: store, files of the application, the loop
_RESERVE_SHARE: Final = 32  # one part in so many of the descriptors is for the reserve
_OWN_SHARE: Final = 10  # or one part in so many, up to `_MOST_OWN`, if that is more
_MOST_OWN: Final = 1024


log = logging.getLogger("enfilade.transports")


class ConnectionSlots:
    """The connections of one server, and their limit.

    Args:
        sweep: knows what the connections do.
        connections: all of them, with the one that is being admitted.

    Attributes:
        sweep: knows what the connections do.
        unread: bounds what waits for clients that do not read.
    """

    def __init__(self, sweep: Sweep, connections: set[Any]) -> None:
        self.sweep = sweep
        self.unread = UnreadResponses(sweep.limits.response_memory, sweep, sweep.loop)
        self._connections: set[Any] = connections
        wanted = sweep.limits.max_connections
        self._limit = sys.maxsize if wanted is None else connection_limit(wanted)
        self._probe_paths = sweep.limits.probe_paths
        self._reserve = Reserve(reserve_size(self._limit))
        self._victims: deque[tuple[TimedConnection, int, float]] = deque()
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
        connection.in_reserve = True
        if (victim := self._reserve.add(connection)) is not None:
            self._evict(victim)
        self._warn()

    def leave(self, connection: TimedConnection) -> None:
        """Forget a connection of the reserve: it is closed."""
        self._reserve.discard(connection)

    def is_served(self, connection: TimedConnection, path: str) -> bool:
        """Whether a request on a connection of the reserve is served: a probe, or there is room by now."""
        if len(self._connections) - len(self._reserve) < self._limit:
            self.leave(connection)
            connection.in_reserve = False
            return True
        return path in self._probe_paths

    def _evict(self, connection: TimedConnection) -> None:
        self._connections.discard(connection)  # now, and not when the transport has closed
        self._reserve.discard(connection)
        phase = phase_of(connection)
        if phase == IDLE:
            connection.transport.close()  # in good order: its client may be about to use it again
            return
        if connection.is_ending or phase == REST:  # a response may be on its way
            connection.transport.abort()
            return
        if phase == BODY and not connection.in_reserve:
            refusals.warn(connection.peer, None, "A slow body made room for a new connection", "max_connections")
        reset(connection.transport)

    def _next_victim(self, newcomer: TimedConnection) -> TimedConnection | None:
        """Return the connection that does the least, if there is one that can go."""
        now = time.monotonic()
        if not self._victims and now >= self._next_look:
            self._victims = self._find_victims(newcomer)
            end = time.monotonic()
            self._next_look = end + _SHARE * (end - now)
        while self._victims:
            connection, rank, since = self._victims.popleft()
            found = self._readiness(connection) if connection in self._connections else None
            if found is not None and (found[0], found[2]) == (rank, since):
                return connection
        return None

    def _find_victims(self, newcomer: TimedConnection) -> deque[tuple[TimedConnection, int, float]]:
        """Return who can make room, the most ready first, each with its rank and since when that holds."""
        found: list[tuple[int, float, float, int, TimedConnection]] = []
        for number, connection in enumerate(self._connections):
            readiness = self._readiness(connection)
            if readiness is not None and not connection.in_reserve and connection is not newcomer:
                found.append((*readiness, number, connection))
        return deque((connection, rank, since) for rank, _, since, _, connection in sorted(found))

    def _readiness(self, connection: TimedConnection) -> tuple[int, float, float] | None:
        """Return how ready a connection is to make room: rank, order within the rank, and since when.

        What became idle after the last sweep counts from now, since nobody has noted the time. None for one that
        does something, or that just came.
        """
        watch, phase, clock = connection.watch, phase_of(connection), self.sweep.clock
        is_noted = watch is not None and watch.phase == phase and watch.cycle is connection.cycle
        since = watch.since if watch is not None and is_noted else clock
        if phase == HEAD and clock - since >= _PATIENCE:
            return 0, since, since
        if phase == REST or (phase == IDLE and not connection.transport.get_write_buffer_size()):
            return 1, since, since
        if phase == BODY and watch is not None and is_noted and not connection.flow.read_paused:
            cycle, elapsed = connection.cycle, clock - watch.began
            assert cycle is not None
            if elapsed < _BODY_PATIENCE or cycle.is_continue_due:
                return None
            rate = cycle.received / elapsed
            if rate < _SLOW_BODY or elapsed >= self.sweep.limits.body_timeout:
                return 2, rate, watch.began
        return None

    def _warn(self) -> None:
        """Log that there are too many connections, once a minute at most."""
        now = time.monotonic()
        if now >= self._warned_at + 60 or not self._warned_at:
            self._warned_at = now
            log.warning("all connections are at work, and new ones get 503 (max_connections is %d)", self._limit)


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
    available = _available_descriptors()
    reserve = max(RESERVE, min(MOST_IN_RESERVE, available // _RESERVE_SHARE))
    allowed = min(_MOST, max(_FEWEST, available - reserve))
    if wanted > allowed:
        log.warning("max_connections is %d, but the limit of open files allows only %d", wanted, allowed)
    return min(wanted, allowed) if wanted else allowed


def reserve_size(limit: int) -> int:
    """Return how many connections a server can hold above a limit of them."""
    return max(RESERVE, min(MOST_IN_RESERVE, _available_descriptors() - limit))


def _available_descriptors() -> int:
    """Return how many descriptors there are for connections."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MOST + MOST_IN_RESERVE
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST + MOST_IN_RESERVE
    return soft - _open_descriptors() - max(_OWN_FILES, min(soft // _OWN_SHARE, _MOST_OWN))


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
