"""The reserve: connections above `max_connections`, which serve only probes; and which one goes if it is full.

Most of them have sent nothing yet, so nobody knows which will turn out to be a probe. The connection that goes is
the oldest one of the network that has most of them: a flood from one network then never closes a probe that comes
from another. Within one network a probe has the time in which the flood fills the reserve.

Easy to get wrong: a network and not an address, since one host has 2^64 addresses in IPv6.
"""

import socket
from typing import Any

from enfilade.transports.http11.connection_timeouts import TimedConnection


class Reserve:
    """Connections above the limit, by the network that they come from.

    Args:
        size: at most so many; never less than one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._networks: dict[
            Any, dict[TimedConnection, None]
        ] = {}  # oldest first, as are the connections of each
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: TimedConnection) -> TimedConnection | None:
        """Take a connection; return the one that has to go, if there are too many now."""
        self._networks.setdefault(network_of(connection.peer), {})[connection] = None
        self._count += 1
        if self._count <= self._size:
            return None
        for connections in sorted(self._networks.values(), key=len, reverse=True):
            for each in connections:
                if not _is_at_work(each):
                    return each
        return connection

    def discard(self, connection: TimedConnection) -> None:
        """Forget a connection: it is closed, or there is room for it elsewhere."""
        network = network_of(connection.peer)
        connections = self._networks.get(network, {})
        if connection in connections:
            del connections[connection]
            self._count -= 1
            if not connections:
                del self._networks[network]


def network_of(peer: tuple[str, int] | None) -> str | bytes | None:
    """Return what addresses of one host have in common: IPv4 addresses whole, of IPv6 the first 64 bits.

    Args:
        peer: address of a client; None for a socket that has none.
    """
    if peer is None or ":" not in peer[0]:
        return peer and peer[0]
    try:
        address = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
    except OSError:
        return peer[0]
    return address if address.startswith(b"\0" * 10 + b"\xff\xff") else address[:8]  # IPv4 in the form of IPv6


def _is_at_work(connection: TimedConnection) -> bool:
    """Whether a complete request of a connection is just being answered."""
    cycle = connection.cycle
    return cycle is not None and not cycle.more_body and not cycle.response_complete
