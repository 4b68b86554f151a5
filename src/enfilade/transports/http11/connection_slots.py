"""`max_connections`: which connection makes room for a new one, and the reserve for probes above the limit.

At the limit a new connection takes the place of one that does the least, by rank:

    0  it has not finished the head of its request for a second or more; the oldest first
    1  it is idle, or sends the rest of a body that is answered; the longest idle first
    2  its body is slow, or takes longer than `body_timeout`; the slowest first

If all are at work, the new connection goes into the reserve, where only probes are served and other requests get
503 with `Retry-After`. So no client can hold a place by waiting, or by sending little. Accepting is never
paused: a queue in the kernel would make probes wait behind whoever fills it.

Most connections of the reserve have sent nothing yet, so it is unknown which will be a probe. If the reserve is
full, the oldest connection of the network that has most of them is closed: a flood from one network then never
closes a probe from another, and within one network a probe has the time in which the flood fills the reserve. It
is a network and not an address, since one host has 2^64 addresses in IPv6.

Easy to get wrong: the cost. Finding the connection that does the least takes a scan of all of them, so one scan
finds many, and the next comes only when that has paid off.
"""

import asyncio
import logging
import os
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.server import ServerState

from enfilade.transports.asgi import Receive, Scope, Send
from enfilade.transports.http11.connection_timeouts import (
    ConnectionLimits,
    Phase,
    Sweep,
    TimedConnection,
    phase_of,
)
from enfilade.transports.http11.flow_control import reset
from enfilade.transports.http11.memory_limits import UnreadResponses, WaitingMemory
from enfilade.transports.refusal_log import refusals
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

MIN_RESERVE: Final = 8  # connections above `max_connections`, however few descriptors there are
RETRY_AFTER: Final = 1  # seconds

_SCAN_SHARE: Final = 20  # at most one part in so many of the time is spent on scans of all connections
_WARNING_INTERVAL: Final = 60.0  # seconds between two log lines about the same lack

_MIN_LIMIT, _MAX_LIMIT = 4, 65_536  # connections that a server gets from the limit of descriptors
_MIN_OTHER_FILES: Final = 16  # descriptors for what is opened later: store, files of the application, the loop
_RESERVE_SHARE: Final = 32  # one part in so many of the descriptors is for the reserve
_OTHER_FILES_SHARE: Final = 10  # one part in so many is for other files, up to `_MAX_OTHER_FILES`
_MAX_OTHER_FILES: Final = 1024

log = logging.getLogger("enfilade.transports")


class Reserve:
    """Connections above the limit, by the network that they come from.

    Args:
        size: most connections; at least one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        #: Oldest first, as are the connections of each.
        self._networks: dict[str | bytes | None, dict[TimedConnection, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: TimedConnection) -> TimedConnection | None:
        """Add a connection; return the one to close, if there are too many now."""
        self._networks.setdefault(network_of(connection.client_address), {})[connection] = None
        self._count += 1
        if self._count <= self._size:
            return None
        for connections in sorted(self._networks.values(), key=len, reverse=True):
            for candidate in connections:
                if not _is_at_work(candidate):
                    return candidate
        return connection

    def discard(self, connection: TimedConnection) -> None:
        """Remove a connection: it is closed, or there is room for it below the limit."""
        network = network_of(connection.client_address)
        connections = self._networks.get(network, {})
        if connection in connections:
            del connections[connection]
            self._count -= 1
            if not connections:
                del self._networks[network]


def network_of(address: tuple[str, int] | None) -> str | bytes | None:
    """Return what addresses of one host have in common: the IPv4 address, or the first 64 bits in IPv6.

    Args:
        address: of a client; None for a socket that has none.
    """
    if address is None or ":" not in address[0]:
        return address and address[0]
    try:
        packed = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    except OSError:
        return address[0]
    return packed if packed.startswith(b"\0" * 10 + b"\xff\xff") else packed[:8]  # IPv4 mapped into IPv6


def _is_at_work(connection: TimedConnection) -> bool:
    """Whether a complete request of a connection is being answered."""
    cycle = connection.cycle
    return cycle is not None and not cycle.more_body and not cycle.response_complete


class ConnectionSlots:
    """The connections of one server, and their limit.

    Args:
        connections: all of them, including the one that is being admitted.

    Attributes:
        unread: limits what waits for clients that do not read.
        waiting: limits the pipelined requests that wait.
    """

    def __init__(self, sweep: Sweep, connections: set[Any]) -> None:
        limits = sweep.limits
        self.sweep = sweep
        self.unread = UnreadResponses(limits.response_memory, sweep)
        self.waiting = WaitingMemory(limits.waiting_memory)
        self._connections: set[Any] = connections
        self._limit = sys.maxsize
        if limits.max_connections is not None:
            self._limit = connection_limit(limits.max_connections, limits.max_reserve)
        self._reserve = Reserve(_reserve_size(self._limit, limits.max_reserve))
        self._victims: deque[tuple[TimedConnection, int, float]] = deque()
        self._next_scan = 0.0
        self._warned_at = 0.0

    @property
    def _is_full(self) -> bool:
        return len(self._connections) - len(self._reserve) > self._limit

    def admit(self, connection: TimedConnection) -> None:
        """Find room for a new connection, and start the sweep."""
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

    def leave_reserve(self, connection: TimedConnection) -> None:
        """Remove a connection from the reserve, since it is closed."""
        self._reserve.discard(connection)

    def is_served(self, connection: TimedConnection, path: str) -> bool:
        """Whether a request on a connection of the reserve is served: a probe, or there is room by now."""
        if len(self._connections) - len(self._reserve) < self._limit:
            self._reserve.discard(connection)
            connection.in_reserve = False
            return True
        return path in self.sweep.limits.probe_paths

    def _evict(self, connection: TimedConnection) -> None:
        self._connections.discard(connection)  # now, and not when the transport has closed
        self._reserve.discard(connection)
        phase = phase_of(connection)
        if phase is Phase.IDLE:
            connection.transport.close()  # no reset: its client may be about to use it again
            return
        if connection.is_ending or phase is Phase.DISCARD:  # a response may be on its way
            connection.transport.abort()
            return
        if phase is Phase.BODY and not connection.in_reserve:
            reason = "A slow body made room for a new connection"
            refusals.warn(connection.client_address, None, reason, "max_connections")
        reset(connection.transport)

    def _next_victim(self, newcomer: TimedConnection) -> TimedConnection | None:
        """Return the connection that does the least, if there is one that can be closed."""
        now = time.monotonic()
        if not self._victims and now >= self._next_scan:
            self._victims = self._find_victims(newcomer)
            end = time.monotonic()
            self._next_scan = end + _SCAN_SHARE * (end - now)
        while self._victims:
            connection, rank, since = self._victims.popleft()
            readiness = self._readiness(connection) if connection in self._connections else None
            if readiness is not None and (readiness[0], readiness[2]) == (rank, since):
                return connection
        return None

    def _find_victims(self, newcomer: TimedConnection) -> deque[tuple[TimedConnection, int, float]]:
        """Return the connections that can be closed, the first to go first, with rank and since when it holds."""
        candidates: list[tuple[int, float, float, int, TimedConnection]] = []
        for number, connection in enumerate(self._connections):
            readiness = self._readiness(connection)
            if readiness is not None and not connection.in_reserve and connection is not newcomer:
                candidates.append((*readiness, number, connection))
        return deque((connection, rank, since) for rank, _, since, _, connection in sorted(candidates))

    def _readiness(self, connection: TimedConnection) -> tuple[int, float, float] | None:
        """Return how ready a connection is to make room: rank, order within the rank, and since when.

        One that became idle after the last sweep counts from now, since the time was not noted. None for one
        that is at work, or that has just come.
        """
        progress, phase, clock = connection.progress, phase_of(connection), self.sweep.clock
        limits = self.sweep.limits
        is_noted = progress is not None and progress.phase is phase and progress.cycle is connection.cycle
        since = progress.since if progress is not None and is_noted else clock
        if phase is Phase.HEAD and clock - since >= limits.timings.eviction_head:
            return 0, since, since
        is_idle = phase is Phase.IDLE and not connection.transport.get_write_buffer_size()
        if phase is Phase.DISCARD or is_idle:
            return 1, since, since
        if phase is Phase.BODY and progress is not None and is_noted and not connection.flow.read_paused:
            cycle, elapsed = connection.cycle, clock - progress.phase_began
            assert cycle is not None
            if elapsed < limits.timings.eviction_body or cycle.is_continue_due:
                return None
            rate = cycle.received / elapsed
            if rate < limits.evictable_rate or elapsed >= limits.body_timeout:
                return 2, rate, progress.phase_began
        return None

    def _warn(self) -> None:
        """Log that there are too many connections, once a minute at most."""
        now = time.monotonic()
        if now >= self._warned_at + _WARNING_INTERVAL or not self._warned_at:
            self._warned_at = now
            log.warning("all connections are at work, and new ones get 503 (max_connections is %d)", self._limit)


_slots: Final[WeakKeyDictionary[ServerState, ConnectionSlots]] = WeakKeyDictionary()


def slots_of(config: uvicorn.Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> ConnectionSlots:
    """Return the slots of a server, created for the first of its connections.

    Args:
        config: of the server; without `connection_limits`, defaults and uvicorn's keep-alive timeout.
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


def connection_limit(requested: int, max_reserve: int) -> int:
    """Return how many connections a server can hold.

    The rest of the soft limit of descriptors is for the reserve, the store, and files of the application.

    Args:
        requested: at most so many; 0 for as many as the limit of descriptors allows.
        max_reserve: most connections of the reserve.
    """
    available = _available_descriptors(max_reserve)
    reserve = max(MIN_RESERVE, min(max_reserve, available // _RESERVE_SHARE))
    allowed = min(_MAX_LIMIT, max(_MIN_LIMIT, available - reserve))
    if requested > allowed:
        log.warning("max_connections is %d, but the limit of open files allows only %d", requested, allowed)
    return min(requested, allowed) if requested else allowed


def _reserve_size(limit: int, max_reserve: int) -> int:
    return max(MIN_RESERVE, min(max_reserve, _available_descriptors(max_reserve) - limit))


def _available_descriptors(max_reserve: int) -> int:
    """Return how many descriptors there are for connections."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MAX_LIMIT + max_reserve
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_LIMIT + max_reserve
    other_files = max(_MIN_OTHER_FILES, min(soft // _OTHER_FILES_SHARE, _MAX_OTHER_FILES))
    return soft - _open_descriptors() - other_files


def _open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    for folder in (Path("/proc/self/fd"), Path("/dev/fd")):
        try:
            return len(os.listdir(folder)) - 1  # without the one that reads the folder
        except OSError:
            continue
    return 16  # about what a server has that has just started


class AcceptErrors:
    """Exception handler of an event loop: errors of accept for lack of descriptors are logged once a minute.

    asyncio calls its handler up to `backlog` times for one such error, and then waits for a second before it
    accepts again. uvloop closes the connection.

    Args:
        loop: the event loop whose handler this becomes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._previous = loop.get_exception_handler()
        self._warned_at = 0.0
        loop.set_exception_handler(self)

    def restore(self) -> None:
        """Give the event loop its previous handler back."""
        if self._loop.get_exception_handler() is self:
            self._loop.set_exception_handler(self._previous)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error."""
        if context.get("message") == "socket.accept() out of system resource":
            now = time.monotonic()
            if now >= self._warned_at + _WARNING_INTERVAL or not self._warned_at:
                self._warned_at = now
                log.error("cannot accept a connection: %s", context.get("exception"))
        elif self._previous is not None:
            self._previous(loop, context)
        else:
            loop.default_exception_handler(context)
