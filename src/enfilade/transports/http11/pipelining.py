"""Pipelined requests that wait for an earlier one on their connection, and what they may take of the memory.

A client may send requests before it has read the responses. Each takes memory from when its head is parsed, and
its response may be a long time coming: the request before it can be a stream. So number and size are limited for
each connection, and the size for each server. At a limit the connection is not read, which refuses nothing. But
what was read by then and is held back counts for the server too, and is refused if that is too much.

Easy to get wrong: what a request takes is more than its bytes. A short header becomes a tuple and two objects, so
a size is counted in what Python needs, not in what the client sent.
"""

from collections import deque
from typing import Any, Final
from weakref import WeakKeyDictionary

from enfilade.transports.http11.request_cycle import Cycle

MAX_WAITING: Final = 16  # requests that wait on one connection before reading pauses
MAX_WAITING_SIZE: Final = 128 * 1024  # bytes of memory that they take
MAX_WAITING_SIZE_IN_ALL: Final = 32 * 1024 * 1024  # bytes of memory that those of all connections take

_REQUEST_SIZE: Final = 2048  # bytes of memory for a request with a few headers: its scope and its cycle
_HEADER_SIZE: Final = 128  # bytes of memory for a header, beside its text


class _Total:
    """Bytes of memory that the waiting requests of one server take."""

    __slots__ = ("__weakref__", "size")

    def __init__(self) -> None:
        self.size = 0


_totals: WeakKeyDictionary[Any, _Total] = WeakKeyDictionary()


class WaitingRequests:
    """Those of one connection, in order.

    Args:
        server_state: what the connections of a server share.
    """

    __slots__ = ("_cycles", "_held", "_size", "_sizes", "_total")

    def __init__(self, server_state: Any) -> None:
        self._cycles: deque[Cycle] = deque()
        self._sizes: deque[int] = deque()
        self._held = 0  # bytes that are not parsed yet
        self._size = 0  # with those
        self._total = _totals.setdefault(server_state, _Total())

    def __len__(self) -> int:
        return len(self._cycles)

    def append(self, cycle: Cycle) -> None:
        """Add a request whose head is complete."""
        if self._cycles:
            self._measure_last()
        self._cycles.append(cycle)
        self._sizes.append(0)
        self._measure_last()

    def popleft(self) -> Cycle:
        """Return the oldest request, which waits no more."""
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
        return self._total.size <= MAX_WAITING_SIZE_IN_ALL

    def is_full(self) -> bool:
        """Whether there are enough requests, so that no more bytes should be parsed."""
        if not self._cycles:
            return False
        self._measure_last()
        return (
            len(self._cycles) >= MAX_WAITING
            or self._size - self._held > MAX_WAITING_SIZE
            or self._total.size > MAX_WAITING_SIZE_IN_ALL
        )

    def _measure_last(self) -> None:
        """Count what the newest request has grown to: it is the only one whose body still arrives."""
        cycle = self._cycles[-1]
        headers = cycle.headers
        size = _REQUEST_SIZE + sum(_HEADER_SIZE + len(name) + len(value) for name, value in headers)
        size += cycle.unread
        self._grow(size - self._sizes[-1])
        self._sizes[-1] = size

    def _grow(self, size: int) -> None:
        self._size += size
        self._total.size += size
