"""What the connections of a server hold for clients that do not read: one limit for all of it.

Each connection whose client does not read may hold a whole response until `write_timeout`, and a client can ask
for a large one as often as it has connections. Only connections that have more to write than their client takes
are counted, from that moment until the client has read nearly all of it; others cost nothing.

The easy thing to get wrong is who gives way. A client that is slow but goes on must not lose its response to one
that asks for many: so those that have read nothing for a while go first, and after them the newest.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from enfilade.transports.http11.flow_control import reset
from enfilade.transports.refusal_log import refusals

if TYPE_CHECKING:
    from enfilade.transports.http11.connection_timeouts import Sweep, TimedConnection

_PATIENCE: Final = 2.0  # seconds without progress after which a client counts as one that does not read

_REASON: Final = "gave up a response that was not read, to make room for others"


class UnreadResponses:
    """Counts the bytes that wait for clients which do not read, and resets connections when they are too many.

    Args:
        limit: bytes that all of them may take; one response alone may take more.
        sweep: knows which clients make progress.
        loop: the event loop that the connections belong to.

    Attributes:
        held: bytes that they take, as far as is known.
    """

    def __init__(self, limit: int, sweep: "Sweep", loop: asyncio.AbstractEventLoop) -> None:
        self._limit = limit
        self._sweep = sweep
        self._loop = loop
        self._sizes: dict[TimedConnection, int] = {}  # in the order in which their clients fell behind
        self._is_due = False
        self.held = 0

    def add(self, connection: "TimedConnection") -> None:
        """Count a connection whose client has fallen behind."""
        size = connection.transport.get_write_buffer_size()
        self._sizes[connection] = size
        self.held += size
        if self.held > self._limit and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._make_room)  # not now, in the middle of a write to one of them

    def remove(self, connection: "TimedConnection") -> None:
        """Count it no more: its client reads again, or is gone."""
        self.held -= self._sizes.pop(connection, 0)

    def _make_room(self) -> None:
        self._is_due = False
        for connection in self._sizes:
            self._sizes[connection] = connection.transport.get_write_buffer_size()
        self.held = sum(self._sizes.values())
        while self.held > self._limit and len(self._sizes) > 1:
            victim = self._victim()
            self.remove(victim)
            refusals.warn(victim.peer, None, _REASON, "response_memory")
            reset(victim.transport)

    def _victim(self) -> "TimedConnection":
        """Return the connection that gives way."""
        clock = self._sweep.clock
        stuck = [
            (watch.stuck, number, connection)
            for number, connection in enumerate(self._sizes)
            if (watch := connection.watch) is not None and watch.outstanding and clock - watch.stuck >= _PATIENCE
        ]
        return min(stuck)[2] if stuck else next(reversed(self._sizes))
