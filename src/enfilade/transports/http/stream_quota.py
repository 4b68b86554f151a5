"""How many event streams one client may have open: GET streams, resumed streams, and `subscriptions/listen`.

These streams last for as long as their client likes, so one client could take all that a process has. Who is one
client is known best from authentication; without it a session is all that tells clients apart in the session era,
and nothing does in the stateless era. Sessions are free, so clients without a principal are bounded by their
network address as well, generously: behind a proxy that does not tell addresses, all of them have the same one.
"""

import ipaddress
from collections import Counter
from typing import Final

from enfilade.transports.refusal_log import RefusalError
from enfilade.wire.jsonrpc import INTERNAL_ERROR

#: Event streams that a process has in all.
TOTAL: Final = 1024

_PREFIX: Final = 64  # bits of an IPv6 address that a single client may choose below (RFC 4291 §2.5.4)


class StreamQuota:
    """Counts the open event streams of one endpoint.

    Args:
        limit: streams of one session, and of one principal. Each session of a principal counts once, however
            many streams it has, because a client that was cut off comes back before its old stream is missed.
        total: streams of all clients; one address may have half of them without a principal.
    """

    def __init__(self, limit: int, total: int = TOTAL) -> None:
        self._limit = limit
        self._total = total
        self._open = 0
        self._sessions: Counter[str] = Counter()
        self._principals: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open

    def take(self, principal: str | None, session_id: str | None, address: str | None) -> None:
        """Count a stream that is about to be opened.

        Args:
            principal: who opens it, if that is known.
            session_id: the session that it belongs to; None without one.
            address: the IP address that it comes from; None if it has none.

        Raises:
            RefusalError: HTTP 429 if this client has too many, 503 if all clients together have.
        """
        if self._open >= self._total:
            text = "Too many event streams are open; try again later"
            raise RefusalError("", INTERNAL_ERROR, text, status=503)
        of_session = 0 if session_id is None else self._sessions[session_id]
        if of_session >= self._limit:
            raise _too_many("This session", self._limit)
        if principal is None:
            if address is not None and self._addresses[_network(address)] >= self._total // 2:
                raise _too_many("This address", self._total // 2)
        elif of_session == 0 and self._principals[principal] >= self._limit:
            raise _too_many("This client", self._limit)
        self._count(principal, session_id, address, 1)

    def give_back(self, principal: str | None, session_id: str | None, address: str | None) -> None:
        """Count it no more; the arguments are those of `take`."""
        self._count(principal, session_id, address, -1)

    def _count(self, principal: str | None, session_id: str | None, address: str | None, by: int) -> None:
        self._open += by
        others = 0
        if session_id is not None:
            others = self._sessions[session_id] - (by < 0)
            _add(self._sessions, session_id, by)
        if principal is None:
            if address is not None:
                _add(self._addresses, _network(address), by)
        elif others == 0:
            _add(self._principals, principal, by)


def _add(counter: Counter[str], key: str, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]


def _network(address: str) -> str:
    """Return what stands for one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a name, as test clients have
        return address
    if ip.version == 4:
        return address
    return str(ipaddress.ip_network((int(ip), _PREFIX), strict=False))


def _too_many(who: str, limit: int) -> RefusalError:
    streams = "1 event stream" if limit == 1 else f"{limit} event streams"
    text = f"{who} has {streams} open, which is the limit; close one, or try again later"
    return RefusalError("max_streams", INTERNAL_ERROR, text, status=429)
