"""Who is asking: the client as one request shows it.

A `Peer` never changes and is shared by the requests of a session; what belongs to one request alone (log level,
progress token, trace context) is on the `Request`.
"""

import msgspec

from enfilade.wire.lifecycle import ClientCapabilities, Implementation


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The client behind a request.

    Attributes:
        revision: protocol revision its messages follow, a date string.
        client_info: what the client says it is; None if it does not say. Never base security on it.
        capabilities: what the client declared it can do.
        principal: who the host authenticated, or None.
        session_id: the session's own id (not the token that carries it); None without a session.
    """

    revision: str
    client_info: Implementation | None = None
    capabilities: ClientCapabilities = msgspec.field(default_factory=ClientCapabilities)
    principal: str | None = None
    session_id: str | None = None
