"""Limits of the memory that clients can make a server hold: pipelined requests, and responses that nobody reads.

Pipelining: a client may send requests before it has read the responses. Each takes memory from when its head is
parsed, and its response may be far off: the request before it can be a stream. So their number and size are
limited for each connection, and their size for each server. At a limit the connection is not read, which refuses
nothing. Bytes that had been read by then are held back; they count for the server, and are refused above its
limit. A request takes more memory than its bytes: a short header becomes a tuple and two objects. So sizes are
estimates of what Python needs.

Unread responses: each connection whose client does not read may hold a whole response until `write_timeout`, and
a client can ask for a large one on as many connections as it has. Only connections that have more to write than
their client takes are counted, from that moment until the client has read nearly all of it.

Easy to get wrong: which response is dropped. A client that is slow but goes on must not lose its response to one
that asks for many. So those that have read nothing for a while go first, and after them the newest.
"""

from collections import deque
from functools import cache
from typing import Final

from enfilade.transports.http11.connection_timeouts import Sweep, TimedConnection
from enfilade.transports.http11.flow_control import reset
from enfilade.transports.http11.request_cycle import RequestCycle
from enfilade.transports.refusal_log import refusals

MAX_WAITING: Final = 16  # requests that wait on one connection before reading pauses
MAX_WAITING_SIZE: Final = 128 * 1024  # bytes of memory that they take

_REQUEST_SIZE: Final = 2048  # bytes of memory for a request with a few headers: its scope and its cycle
_HEADER_SIZE: Final = 128  # bytes of memory for a header, beside its text

_LARGEST_REUSED: Final = 8 * 1024 * 1024  # bytes of a block that the allocator keeps for the next one

_UNREAD_REASON: Final = "gave up a response that was not read, to make room for others"


class WaitingMemory:
    """The memory that the pipelined requests of all connections of a server take.

    Args:
        limit: bytes.

    Attributes:
        size: bytes that they take now.
    """

    __slots__ = ("limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0


class WaitingRequests:
    """The pipelined requests of one connection that have not begun, in order.

    Args:
        total: counts those of all connections of the server.
    """

    __slots__ = ("_cycles", "_held", "_size", "_sizes", "_total")

    def __init__(self, total: WaitingMemory) -> None:
        self._cycles: deque[RequestCycle] = deque()
        self._sizes: deque[int] = deque()
        self._held = 0  # bytes that are not parsed yet
        self._size = 0  # including those
        self._total = total

    def __len__(self) -> int:
        return len(self._cycles)

    def append(self, cycle: RequestCycle) -> None:
        """Add a request whose head is complete."""
        if self._cycles:
            self._measure_newest()
        self._cycles.append(cycle)
        self._sizes.append(0)
        self._measure_newest()

    def popleft(self) -> RequestCycle:
        """Remove and return the oldest request."""
        self._grow(-self._sizes.popleft())
        return self._cycles.popleft()

    def pop(self) -> None:
        """Drop the newest request."""
        self._grow(-self._sizes.pop())
        self._cycles.pop()

    def clear(self) -> None:
        """Drop all of them."""
        self._cycles.clear()
        self._sizes.clear()
        self._held = 0
        self._grow(-self._size)

    def hold(self, size: int) -> bool:
        """Count bytes of the connection that are not parsed yet; return whether there is room for them.

        Args:
            size: all of them; 0 once they are parsed.
        """
        self._grow(size - self._held)
        self._held = size
        return self._total.size <= self._total.limit

    def is_full(self) -> bool:
        """Whether enough requests wait, so that no more bytes should be parsed."""
        if not self._cycles:
            return False
        self._measure_newest()
        return (
            len(self._cycles) >= MAX_WAITING
            or self._size - self._held > MAX_WAITING_SIZE
            or self._total.size > self._total.limit
        )

    def _measure_newest(self) -> None:
        """Update the size of the newest request: it is the only one whose body still arrives."""
        cycle = self._cycles[-1]
        headers = cycle.headers
        size = _REQUEST_SIZE + sum(_HEADER_SIZE + len(name) + len(value) for name, value in headers)
        size += cycle.unread
        self._grow(size - self._sizes[-1])
        self._sizes[-1] = size

    def _grow(self, size: int) -> None:
        self._size += size
        self._total.size += size


class UnreadResponses:
    """Counts the bytes that wait for clients which do not read, and resets connections when they are too many.

    Args:
        limit: bytes that all of them may take; one response alone may take more.
        sweep: knows which clients make progress.

    Attributes:
        held: bytes that they take, as of the last measurement.
    """

    def __init__(self, limit: int, sweep: Sweep) -> None:
        self._limit = limit
        self._sweep = sweep
        self._sizes: dict[TimedConnection, int] = {}  # in the order in which their clients fell behind
        self._is_scheduled = False
        self.held = 0

    def add(self, connection: TimedConnection) -> None:
        """Count a connection whose client has fallen behind."""
        size = connection.transport.get_write_buffer_size()
        self._sizes[connection] = size
        self.held += size
        if self.held > self._limit and not self._is_scheduled:
            self._is_scheduled = True
            self._sweep.loop.call_soon(self._make_room)  # not now, in the middle of a write to one of them

    def remove(self, connection: TimedConnection) -> None:
        """Count it no more: its client reads again, or is gone."""
        self.held -= self._sizes.pop(connection, 0)

    def _make_room(self) -> None:
        self._is_scheduled = False
        for connection in self._sizes:
            self._sizes[connection] = connection.transport.get_write_buffer_size()
        self.held = sum(self._sizes.values())
        while self.held > self._limit and len(self._sizes) > 1:
            victim = self._choose_victim()
            self.remove(victim)
            refusals.warn(victim.client_address, None, _UNREAD_REASON, "response_memory")
            reset(victim.transport)

    def _choose_victim(self) -> TimedConnection:
        clock, patience = self._sweep.clock, self._sweep.limits.timings.unread_progress
        stuck = [
            (progress.stuck_since, number, connection)
            for number, connection in enumerate(self._sizes)
            if (progress := connection.progress) is not None
            and progress.outstanding
            and clock - progress.stuck_since >= patience
        ]
        return min(stuck)[2] if stuck else next(reversed(self._sizes))


@cache
def reuse_large_blocks() -> None:
    """Let the allocator of the process keep the memory of large messages for the next ones.

    The malloc of glibc returns large blocks to the system when they are freed, and each page of the next costs a
    fault: nearly half of what a call with a MiB costs. Blocks up to the size of the largest that was freed are
    kept for reuse, and twice that size of unused memory at the end of the heap (mallopt(3), M_MMAP_THRESHOLD). So
    a block is freed here, none of whose pages was ever used. It changes nothing for other allocators, and where
    `MALLOC_` variables set these limits. It is for the process of `run()`, once that gets large messages.
    """
    bytes(_LARGEST_REUSED)
