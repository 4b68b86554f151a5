"""Timeouts of HTTP connections: slow heads, slow bodies, idle connections and responses that nobody reads.

One timer for each event loop checks all connections of a server, about once a second. A connection creates no
timer, and a request costs one assignment: whatever happens on a connection sets `check_at` to 0, and the next
sweep determines which phase the connection is in. So every timeout can be late by one interval of the sweep.

    HEAD ── head complete ─▶ BODY ── body complete ─▶ RESPONSE ── response complete ─▶ IDLE ── first byte ─▶ HEAD
                              └── response complete ─▶ DISCARD ── body complete ─▶ IDLE

    HEAD        `header_timeout`; also a new connection that has sent nothing
    BODY        `body_timeout` between two parts, and `body_rate` on average
    DISCARD     the rest of a body after its response: all of it has `body_timeout`, however fast it comes
    RESPONSE    no limit but `write_timeout`
    IDLE        `idle_timeout`

Writing is checked in every phase: while the write buffer of a connection is not empty, the client has to take
some of it every `write_timeout` seconds.

Easy to get wrong: blaming a client for what the server did. If the event loop was blocked, no client could make
progress, so the clock of the sweep advances by at most two intervals at a time. A body that the application does
not ask for is not slow. And a connection is idle only after its last response has left the server.
"""

import asyncio
import contextlib
import enum
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from enfilade.timings import Timings
from enfilade.transports.http11.flow_control import BackPressure, reset
from enfilade.transports.http11.request_cycle import RequestCycle

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows has neither
    _KERNEL_QUEUE = None
else:
    _KERNEL_QUEUE = TIOCOUTQ

_LONGEST_INTERVAL: Final = 1.0  # seconds between two sweeps
_SHORTEST_INTERVAL: Final = 0.02
_BATCH: Final = 1000  # connections that are checked before the event loop runs other callbacks

log = logging.getLogger("enfilade.transports")


class Phase(enum.Enum):
    """What a connection waits for; see the top of this file."""

    HEAD = enum.auto()
    BODY = enum.auto()
    DISCARD = enum.auto()
    RESPONSE = enum.auto()
    IDLE = enum.auto()


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of connections. Times are in seconds, sizes in bytes.

    Attributes:
        header_timeout: for the head of a request, from its first byte; on a new connection, from accept.
        body_timeout: in which some of a body has to arrive; and all that is left of one after the response.
        body_rate: bytes per second of a body, on the average of each `body_timeout`; 0 for any rate.
        idle_timeout: between a response and the next request.
        write_timeout: in which the client has to read some of a response.
        discard_limit: bytes that are read from a client after its request was refused.
        response_memory: bytes of responses that wait for clients which do not read, of all connections.
        waiting_memory: bytes of pipelined requests that wait, of all connections.
        max_connections: connections at once; 0 for what the limit of descriptors allows, None for no limit.
        max_reserve: connections above `max_connections`, if there are descriptors for them.
        evictable_rate: bytes per second below which a body makes room for a new connection.
        probe_paths: what is served also above `max_connections`.
    """

    header_timeout: float = 10.0
    body_timeout: float = 30.0
    body_rate: int = 256
    idle_timeout: float = 75.0
    write_timeout: float = 30.0
    discard_limit: int = 64 * 1024
    response_memory: int = 256 * 1024 * 1024
    waiting_memory: int = 32 * 1024 * 1024
    max_connections: int | None = None
    max_reserve: int = 256
    evictable_rate: int = 16 * 1024
    probe_paths: frozenset[str] = frozenset()
    timings: Timings = Timings()

    @property
    def interval(self) -> float:
        """Seconds between two sweeps: a quarter of the shortest timeout, and at most one."""
        shortest = min(self.header_timeout, self.body_timeout, self.idle_timeout, self.write_timeout)
        return min(_LONGEST_INTERVAL, max(_SHORTEST_INTERVAL, shortest / 4))


class TimedConnection(Protocol):
    """A connection as the sweep and the limits of a server see it.

    Attributes:
        check_at: when the sweep checks it next, by the clock of the sweep; 0 after something happened.
        progress: what the sweep noted at its last check; None before the first, and while a response has nothing
            to be written.
        in_reserve: whether it is above `max_connections`.
        cycle: its newest request.
        flow: its back-pressure.
    """

    transport: asyncio.Transport
    check_at: float
    progress: "ConnectionProgress | None"
    in_reserve: bool
    cycle: RequestCycle | None
    flow: BackPressure

    @property
    def is_reading_head(self) -> bool:
        """Whether a head has arrived in part."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether its request was refused, so that nothing more is expected of the client."""
        ...

    @property
    def client_address(self) -> tuple[str, int] | None:
        """Address of the client."""
        ...

    def release_parser(self, cycle: RequestCycle) -> None:
        """Do without a parser until something arrives behind a request, if it has arrived."""
        ...

    def forget_request(self) -> RequestCycle | None:
        """Forget all but the state of its newest request, which is answered; return what stands for it."""
        ...

    def time_out(self, setting: str) -> None:
        """Refuse an incomplete request with 408, or close a connection without one.

        Args:
            setting: the name of the limit, for the log.
        """
        ...


class ConnectionProgress:
    """What the sweep noted of one connection. Times are by the clock of the sweep.

    Attributes:
        phase: of the connection at the last check.
        cycle: its newest request at that time.
        since: start of the phase, or of the last progress in it.
        phase_began: start of the phase; for a body, without the time in which the application did not read it.
        checked_at: time of the last check.
        window_began: start of the interval over which `body_rate` is measured.
        received: bytes of the body now, and at the start of that interval.
        outstanding: bytes of responses that the client has not taken.
        resumptions: of `BackPressure`, at the last check.
        stuck_since: when the client last took some of them.
    """

    __slots__ = (
        "checked_at",
        "cycle",
        "outstanding",
        "phase",
        "phase_began",
        "received",
        "resumptions",
        "since",
        "stuck_since",
        "window_began",
    )

    def __init__(self, phase: Phase, cycle: RequestCycle | None, clock: float) -> None:
        self.phase = phase
        self.cycle = cycle
        self.since = self.phase_began = self.checked_at = self.window_began = self.stuck_since = clock
        self.received = (0, 0)
        self.outstanding = 0
        self.resumptions = 0


def phase_of(connection: TimedConnection) -> Phase:
    """Return the phase of a connection.

    A head that arrives behind a request in progress is not timed before that has its response.
    """
    cycle = connection.cycle
    if connection.is_ending:
        return Phase.RESPONSE
    if cycle is None:
        return Phase.HEAD
    if cycle.more_body:
        return Phase.DISCARD if cycle.response_complete else Phase.BODY
    if not cycle.response_complete:
        return Phase.RESPONSE
    return Phase.HEAD if connection.is_reading_head else Phase.IDLE


class Sweep:
    """Checks the connections of a server periodically, and ends those that exceed a limit.

    Args:
        connections: all of them; read anew at each sweep.

    Attributes:
        clock: seconds that the event loop has run while there were connections.
    """

    def __init__(
        self, limits: ConnectionLimits, connections: Iterable[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.limits = limits
        self.clock = 1.0  # above 0, which `check_at` uses for "at the next sweep"
        self.loop = loop
        self._connections = connections
        self._interval = limits.interval
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = 0.0
        self._aborted: list[tuple[str, int] | None] = []  # clients that did not read, in this sweep
        self._checks: dict[Phase, Callable[[TimedConnection, ConnectionProgress, float], float]] = {
            Phase.HEAD: self._check_head,
            Phase.BODY: self._check_body,
            Phase.DISCARD: self._check_discarded_body,
            Phase.RESPONSE: self._check_response,
            Phase.IDLE: self._check_idle,
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
            self._check_batch(connections)

    def _check_batch(self, connections: list[TimedConnection]) -> None:
        clock = self.clock
        for connection in connections[:_BATCH]:
            if connection.check_at <= clock:
                self.check(connection)
        if len(connections) > _BATCH:
            self.loop.call_soon(self._check_batch, connections[_BATCH:])
        elif self._aborted:
            self._log_aborted()

    def check(self, connection: TimedConnection) -> None:
        """Check one connection, and schedule its next check."""
        clock = self.clock
        phase, progress = phase_of(connection), connection.progress
        if progress is None:
            connection.progress = progress = ConnectionProgress(phase, connection.cycle, clock)
        elif progress.phase is not phase or progress.cycle is not connection.cycle:
            progress.phase, progress.cycle, progress.received = phase, connection.cycle, (0, 0)
            progress.since = progress.phase_began = progress.checked_at = progress.window_began = clock
        elapsed, progress.checked_at = clock - progress.checked_at, clock
        if buffered := connection.transport.get_write_buffer_size():
            if self._is_stuck(connection, progress, buffered):
                self._aborted.append(connection.client_address)
                reset(connection.transport)
                return
            if phase is Phase.IDLE:  # it is not idle before the response has left
                progress.since = clock
        else:
            progress.outstanding = 0
        next_check = self._checks[phase](connection, progress, elapsed)
        connection.check_at = clock if buffered else next_check
        if phase is Phase.RESPONSE and not buffered:  # it may be a stream that is open for days
            connection.progress = None
            if connection.cycle is not None:
                connection.release_parser(connection.cycle)

    # -- one phase each: end the connection, or return the time of the next check ------------------------------

    def _check_head(self, connection: TimedConnection, progress: ConnectionProgress, _: float) -> float:
        timeout, setting = self.limits.header_timeout, "header_timeout"
        if connection.in_reserve and timeout > self.limits.timings.reserve_head:
            timeout, setting = self.limits.timings.reserve_head, "max_connections"
        if self.clock - progress.since >= timeout and not connection.transport.is_closing():
            connection.time_out(setting)
        return progress.since + timeout

    def _check_body(self, connection: TimedConnection, progress: ConnectionProgress, elapsed: float) -> float:
        cycle, limits, clock = connection.cycle, self.limits, self.clock
        assert cycle is not None
        received, at_start = progress.received
        if cycle.received > received:
            progress.since, progress.received = clock, (cycle.received, at_start)
        if connection.flow.read_paused or cycle.is_continue_due:  # the application does not ask for more
            progress.since += elapsed
            progress.phase_began += elapsed
            progress.window_began += elapsed
        exceeded = ""
        if clock - progress.window_began >= limits.body_timeout:
            if cycle.received - at_start < limits.body_rate * limits.body_timeout:
                exceeded = "body_rate"
            progress.window_began, progress.received = clock, (cycle.received, cycle.received)
        if clock - progress.since >= limits.body_timeout:
            exceeded = "body_timeout"
        if exceeded and not connection.transport.is_closing():
            connection.time_out(exceeded)
        return clock

    def _check_discarded_body(self, connection: TimedConnection, progress: ConnectionProgress, _: float) -> float:
        is_over = self.clock - progress.since >= self.limits.body_timeout
        if is_over and not connection.transport.is_closing():
            connection.transport.close()
        return progress.since + self.limits.body_timeout

    def _check_response(self, connection: TimedConnection, progress: ConnectionProgress, _: float) -> float:
        return self.clock + self.limits.write_timeout / 3  # when the write buffer is checked

    def _check_idle(self, connection: TimedConnection, progress: ConnectionProgress, _: float) -> float:
        if self.clock - progress.since >= self.limits.idle_timeout:
            connection.transport.close()
        elif type(connection.cycle) is not RequestCycle:
            progress.cycle = connection.forget_request()
        return progress.since + self.limits.idle_timeout

    # ----------------------------------------------------------------------------------------------------------

    def _is_stuck(self, connection: TimedConnection, progress: ConnectionProgress, buffered: int) -> bool:
        """Whether the client has taken nothing for `write_timeout`.

        The kernel's buffer counts too. The kernel asks for more only after a good part of its buffer has gone,
        which can be megabytes, and takes longer than `write_timeout` where the client is slow.
        """
        outstanding = buffered + _kernel_buffered(connection.transport)
        has_resumed = progress.resumptions != connection.flow.resumptions
        if progress.outstanding == 0 or outstanding < progress.outstanding or has_resumed:
            progress.stuck_since = self.clock
        progress.outstanding, progress.resumptions = outstanding, connection.flow.resumptions
        return self.clock - progress.stuck_since >= self.limits.write_timeout

    def _log_aborted(self) -> None:
        """Log one line for a sweep, however many connections it has ended."""
        *_, last = aborted = self._aborted
        self._aborted = []
        client_address = f"{last[0]}:{last[1]}" if last else "a client"
        text = "%s - gave up a response that nobody read for %g seconds (write_timeout)%s"
        more = f" ({len(aborted)} such connections)" if len(aborted) > 1 else ""
        log.warning(text, client_address, self.limits.write_timeout, more)


def _kernel_buffered(transport: asyncio.Transport) -> int:
    """Return how many sent bytes the client has not acknowledged; 0 where the kernel does not tell."""
    connection = transport.get_extra_info("socket")
    if _KERNEL_QUEUE is None or connection is None:
        return 0
    with contextlib.suppress(OSError, ValueError):
        queued = ioctl(connection.fileno(), _KERNEL_QUEUE, b"\0\0\0\0")
        return int.from_bytes(queued, sys.byteorder)
    return 0
