"""Whose calls count together: the text that stands for a caller in the key of a limit.

Easy to get wrong: a caller that is unknown. If each of those counted alone, whoever opens sessions would have any
number of calls; so all of them count as one.
"""

import json
import secrets
from weakref import WeakKeyDictionary

from enfilade.primitives.options import LimitPer
from enfilade.serving.request import Request

#: Names of connections that are their own session, such as a pipe.
_connections: WeakKeyDictionary[object, str] = WeakKeyDictionary()


def caller_key(request: Request, per: LimitPer) -> str:
    """Return what is the same for all requests that count together.

    - `principal`: the user or client that authentication names.
    - `session`: the session, or the connection where that is the session; without one, the principal.
    - `client`: the OAuth client, or else the name that the client gives itself, for each principal.
    - `all`: everybody.
    """
    root = request.root
    peer = root.peer
    if per == "all":
        return "all"
    if per == "session" and peer.session_id is not None:
        return _joined("session", peer.session_id)
    if per == "session" and root.channel.session is not None:
        return _joined("connection", _connection_of(root.channel.session))
    if per == "client":
        principal = request.principal
        name = None if principal is None else principal.client_id
        if name is not None:
            return _joined("client", name)
        return _joined("name", peer.principal, None if peer.client_info is None else peer.client_info.name)
    return _joined("principal", peer.principal)


def identity_key(request: Request) -> str:
    """Return what no caller of another identity has: its principal, or else its session or connection.

    Callers without any of these have no identity, and cannot be told apart. Scopes are part of it, since a
    principal may have tokens that allow less than others.
    """
    root = request.root
    peer, principal = root.peer, request.principal
    if peer.principal is not None:
        scopes = () if principal is None else sorted(principal.scopes)
        return _joined("principal", peer.principal, *scopes)
    if peer.session_id is not None:
        return _joined("session", peer.session_id)
    if root.channel.session is not None:
        return _joined("connection", _connection_of(root.channel.session))
    return _joined("nobody")


def holder_key(request: Request) -> str | None:
    """Return whose what is kept for a request is, so that one caller cannot take the room of all.

    That is its principal, or else its session or connection, or else the address that it calls from, of which
    IPv6 gives a host the last 64 bits; None if nothing tells callers apart.
    """
    root = request.root
    peer, http = root.peer, root.channel.http
    if peer.principal is not None:
        return _joined("principal", peer.principal)
    if peer.session_id is not None:
        return _joined("session", peer.session_id)
    if root.channel.session is not None:
        return _joined("connection", _connection_of(root.channel.session))
    client = None if http is None else http.client
    return None if client is None else _joined("address", _network_of(client[0]))


def _network_of(address: str) -> str:
    if ":" not in address:
        return address
    import ipaddress

    try:
        full = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(full.ipv4_mapped or ipaddress.IPv6Network((full, 64), strict=False))


def _connection_of(session: object) -> str:
    return _connections.setdefault(session, secrets.token_hex(8))


def _joined(*parts: str | None) -> str:
    return json.dumps(parts)
