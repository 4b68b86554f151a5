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
        session = root.channel.session
        return _joined("connection", _connections.setdefault(session, secrets.token_hex(8)))
    if per == "client":
        principal = request.principal
        name = None if principal is None else principal.client_id
        if name is not None:
            return _joined("client", name)
        return _joined("name", peer.principal, None if peer.client_info is None else peer.client_info.name)
    return _joined("principal", peer.principal)


def _joined(*parts: str | None) -> str:
    return json.dumps(parts)
