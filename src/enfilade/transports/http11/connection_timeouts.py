"""Timeouts of HTTP connections: slow heads, slow bodies, idle connections and responses that nobody reads.

One timer per event loop looks at all connections of a server, about once a second. A connection creates no timer,
and a request costs one assignment: whatever happens on a connection sets `look_at` to 0, and the next sweep finds
out which phase the connection is in and since when. So every timeout can be late by one interval of the sweep.

    HEAD ── head complete ─▶ BODY ── body complete ─▶ RESPONSE ── response complete ─▶ IDLE ── first byte ─▶ HEAD
                              └── response complete ─▶ REST ── body complete ─▶ IDLE

HEAD includes a new connection that has sent nothing. REST is what still comes of a body that nobody wants; all of
it has `body_timeout`, however fast it comes. Writing is watched in every phase: while the write buffer of
a connection is not empty, the client has to take some of it every `write_timeout` seconds.

The easy thing to get wrong is to blame a client for what the server did. If the event loop was blocked, nobody
could make progress, so the clock of the sweep advances by at most two intervals at a time. A body that is not
read, because the application does not ask for it, is not slow. And an idle connection is idle only after its
last response has left the server.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from enfilade.transports.http11.flow_control import reset

if TYPE_CHECKING:
    from enfilade.transports.http11.request_cycle import Cycle

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows has neither
    _KERNEL_QUEUE = None
else:
    _KERNEL_QUEUE = TIOCOUTQ

HEAD, BODY, REST, RESPONSE, IDLE = "head", "body", "rest", "response", "idle"

RESERVE_TIMEOUT: Final = 2.0  # seconds for the head of a request on a connection above `max_connections`

_LONGEST_INTERVAL: Final = 1.0  # seconds between two sweeps
_SHORTEST_INTERVAL: Final = 0.02
_BATCH: Final = 1000  # connections that are looked at before the event loop gets its turn

log = logging.getLogger("enfilade.transports")


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take. Times are in seconds, sizes in bytes.

    Attributes:
        header_timeout: for the head of a request, from its first byte; on a new connection, from accept.
        body_timeout: in which some of a body has to arrive; and all that is left of one after the response.
        body_rate: bytes per second of a body, on the average of each `body_timeout`; 0 for any rate.
        idle_timeout: between a response and the next request.
        write_timeout: in which the client has to read some of a response.
        discard_limit: bytes that are read from a client after its request was refused.
        response_memory: bytes of responses that wait for clients which do not read, of all connections.
        max_connections: connections at once; 0 for what the limit of descriptors allows, None for no limit.
        probe_paths: what is served also above `max_connections`.
    """

    header_timeout: float = 10.0
    body_timeout: float = 30.0
    body_rate: int = 256
    idle_timeout: float = 75.0
    write_timeout: float = 30.0
    discard_limit: int = 64 * 1024
    response_memory: int = 256 * 1024 * 1024
    max_connections: int | None = None
    probe_paths: frozenset[str] = frozenset()

    @property
    def interval(self) -> float:
        """Seconds between two sweeps: a quarter of the shortest timeout, and at most one."""
        shortest = min(self.header_timeout, self.body_timeout, self.idle_timeout, self.write_timeout)
        return min(_LONGEST_INTERVAL, max(_SHORTEST_INTERVAL, shortest / 4))


class TimedFlow(Protocol):
    """Flow control of a connection."""

    read_paused: bool
    resumptions: int


class TimedConnection(Protocol):
    """What the sweep has to know of a connection.

    Attributes:
        look_at: when the sweep looks at it next, by the clock of the sweep; 0 after something happened.
        watch: what the sweep noted when it last looked; None before it has.
        in_reserve: above `max_connections`.
        cycle: the newest request.
    """

    transport: asyncio.Transport
    look_at: float
    watch: "Watch | None"
    in_reserve: bool
    cycle: "Cycle | None"

    @property
    def flow(self) -> TimedFlow:
        """Its flow control."""
        ...

    @property
    def is_reading_head(self) -> bool:
        """Whether some of a head has come, and not all."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether its request was refused, so that nothing more is expected of the client."""
        ...

    @property
    def peer(self) -> tuple[str, int] | None:
        """Address of the client."""
        ...

    def time_out(self, setting: str) -> None:
        """Refuse a request that does not become complete (408), or close the connection of none.

        Args:
            setting: the name of the limit, for the log.
        """
        ...


class Watch:
    """What the sweep noted of one connection.

    Attributes:
        phase: of the connection.
        cycle: the newest request at that time.
        since: when the phase began, or when there was progress in it.
        began: when the phase began; for a body, less the time in which the application did not read it.
    """

    __slots__ = (
        "began",
        "cycle",
        "looked",
        "outstanding",
        "phase",
        "received",
        "resumptions",
        "since",
        "stuck",
        "window",
    )

    def __init__(self, phase: str, cycle: "Cycle | None", clock: float) -> None:
        self.phase = phase
        self.cycle = cycle
        self.since = self.began = self.looked = self.window = self.stuck = clock
        self.received = (0, 0)  # bytes of the body now, and at the start of the window
        self.outstanding = 0  # bytes that the client has not taken
        self.resumptions = 0


def phase_of(connection: TimedConnection) -> str:
    """Return what a connection waits for.

    A head that arrives behind a request under way is not timed before that has its response.
    """
    cycle = connection.cycle
    if connection.is_ending:
        return RESPONSE
    if cycle is None:
        return HEAD
    if cycle.more_body:
        return REST if cycle.response_complete else BODY
    if not cycle.response_complete:
        return RESPONSE
    return HEAD if connection.is_reading_head else IDLE


class Sweep:
    """Looks at the connections of a server, and ends those that are over a limit.

    Args:
        limits: of each connection.
        connections: all of them; read anew at each sweep.
        loop: the event loop that they belong to.

    Attributes:
        clock: seconds that the event loop has run while there were connections.
        loop: the event loop that the connections belong to.
    """

    def __init__(
        self, limits: ConnectionLimits, connections: Iterable[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.limits = limits
        self.clock = 1.0  # above 0, which means at once
        self._connections = connections
        self.loop = loop
        self._interval = limits.interval
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = 0.0
        self._aborted: list[tuple[str, int] | None] = []  # clients that did not read, in this sweep
        self._phases: dict[str, Callable[[TimedConnection, Watch, float], float]] = {
            HEAD: self._look_at_head,
            BODY: self._look_at_body,
            REST: self._look_at_rest,
            RESPONSE: self._look_at_response,
            IDLE: self._look_at_idle,
        }

    def start(self) -> None:
        """Sweep for as long as there are connections."""
        if self._timer is None:
            self._swept_at = self.loop.time()
            self._timer = self.loop.call_later(self._interval, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        self.clock += min(now - self._swept_at, 2 * self._interval)
        self._swept_at = now
        connections = list(self._connections)
        self._timer = None
        if connections:
            self._timer = self.loop.call_later(self._interval, self._sweep)
            self._look_at_some(connections)

    def _look_at_some(self, connections: list[TimedConnection]) -> None:
        clock = self.clock
        for connection in connections[:_BATCH]:
            if connection.look_at <= clock:
                self.look(connection)
        if len(connections) > _BATCH:
            self.loop.call_soon(self._look_at_some, connections[_BATCH:])
        elif self._aborted:
            self._log()

    def look(self, connection: TimedConnection) -> None:
        """Look at one connection, and say when to look at it again."""
        clock = self.clock
        phase, watch = phase_of(connection), connection.watch
        if watch is None:
            connection.watch = watch = Watch(phase, connection.cycle, clock)
        elif watch.phase != phase or watch.cycle is not connection.cycle:
            watch.phase, watch.cycle, watch.received = phase, connection.cycle, (0, 0)
            watch.since = watch.began = watch.looked = watch.window = clock
        elapsed, watch.looked = clock - watch.looked, clock
        if buffered := connection.transport.get_write_buffer_size():
            if self._is_stuck(connection, watch, buffered):
                self._aborted.append(connection.peer)
                reset(connection.transport)
                return
            if phase == IDLE:  # not before the response has left
                watch.since = clock
        else:
            watch.outstanding = 0
        next_look = self._phases[phase](connection, watch, elapsed)
        connection.look_at = clock if buffered else next_look

    # -- one phase each: end the connection, or return when to look again --------------------------------------

    def _look_at_head(self, connection: TimedConnection, watch: Watch, _: float) -> float:
        timeout, setting = self.limits.header_timeout, "header_timeout"
        if connection.in_reserve and timeout > RESERVE_TIMEOUT:
            timeout, setting = RESERVE_TIMEOUT, "max_connections"
        if self.clock - watch.since >= timeout and not connection.transport.is_closing():
            connection.time_out(setting)
        return watch.since + timeout

    def _look_at_body(self, connection: TimedConnection, watch: Watch, elapsed: float) -> float:
        cycle, limits, clock = connection.cycle, self.limits, self.clock
        assert cycle is not None
        received, at_start = watch.received
        if cycle.received > received:
            watch.since, watch.received = clock, (cycle.received, at_start)
        if (
            connection.flow.read_paused or cycle.is_continue_due
        ):  # it is the application that does not ask for more
            watch.since += elapsed
            watch.began += elapsed
            watch.window += elapsed
        exceeded = ""
        if clock - watch.window >= limits.body_timeout:
            if cycle.received - at_start < limits.body_rate * limits.body_timeout:
                exceeded = "body_rate"
            watch.window, watch.received = clock, (cycle.received, cycle.received)
        if clock - watch.since >= limits.body_timeout:
            exceeded = "body_timeout"
        if exceeded and not connection.transport.is_closing():
            connection.time_out(exceeded)
        return clock

    def _look_at_rest(self, connection: TimedConnection, watch: Watch, _: float) -> float:
        if self.clock - watch.since >= self.limits.body_timeout and not connection.transport.is_closing():
            connection.transport.close()
        return watch.since + self.limits.body_timeout

    def _look_at_response(self, connection: TimedConnection, watch: Watch, _: float) -> float:
        return self.clock + self.limits.write_timeout / 3  # to see whether something waits for its reader

    def _look_at_idle(self, connection: TimedConnection, watch: Watch, _: float) -> float:
        if self.clock - watch.since >= self.limits.idle_timeout:
            connection.transport.close()
        return watch.since + self.limits.idle_timeout

    # ----------------------------------------------------------------------------------------------------------

    def _is_stuck(self, connection: TimedConnection, watch: Watch, buffered: int) -> bool:
        """Whether the client has taken nothing for `write_timeout`.

        What the kernel holds counts too. It asks for more only after a good part of its buffer has gone, which
        can be megabytes, and takes longer than `write_timeout` where the client is slow.
        """
        outstanding = buffered + _in_kernel(connection.transport)
        has_resumed = watch.resumptions != connection.flow.resumptions
        if watch.outstanding == 0 or outstanding < watch.outstanding or has_resumed:
            watch.stuck = self.clock
        watch.outstanding, watch.resumptions = outstanding, connection.flow.resumptions
        return self.clock - watch.stuck >= self.limits.write_timeout

    def _log(self) -> None:
        """Log one line for a sweep, however many connections it has ended."""
        *_, last = aborted = self._aborted
        self._aborted = []
        peer = f"{last[0]}:{last[1]}" if last else "a client"
        text = "%s - gave up a response that nobody read for %g seconds (write_timeout)%s"
        more = f" ({len(aborted)} such connections)" if len(aborted) > 1 else ""
        log.warning(text, peer, self.limits.write_timeout, more)


def _in_kernel(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel holds that the client has not acknowledged; 0 where it does not tell."""
    connection = transport.get_extra_info("socket")
    if _KERNEL_QUEUE is None or connection is None:
        return 0
    with contextlib.suppress(OSError, ValueError):
        queued = ioctl(connection.fileno(), _KERNEL_QUEUE, b"\0\0\0\0")
        return int.from_bytes(queued, sys.byteorder)
    return 0
