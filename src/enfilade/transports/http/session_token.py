"""The sealed session id: a token that holds all that is fixed about a session at its handshake (R-310, R-311).

Only who has the secret can make one or open it (R-703), so the session can be served after a restart and by
another worker. It is sent as an HTTP header, so its length is bounded: texts are cut, and the settings of
extensions are left out if need be, but for what clients show of MCP Apps.
"""

from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.serving.channel import Peer
from enfilade.state.tokens import Seal
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.lifecycle import ClientCapabilities, Implementation, InitializeRequestParams

_PURPOSE: Final = b"session"
_LONGEST_TOKEN: Final = 3072
_LONGEST_TEXT: Final = 256


class _Content(msgspec.Struct, array_like=True):
    """What a token holds."""

    session_id: bytes
    revision: str
    opened: float
    idle_time: float
    principal: str | None
    name: str
    version: str
    title: str | None
    capabilities: bytes


class OpenedToken(NamedTuple):
    """What a token says.

    Attributes:
        opened: seconds since the epoch at which the session was opened.
        idle_time: seconds without use after which it may end.
    """

    peer: Peer
    opened: float
    idle_time: float


def seal_token(
    seal: Seal,
    session_id: bytes,
    params: InitializeRequestParams,
    *,
    revision: str,
    principal: str | None,
    opened: float,
    idle_time: float,
) -> tuple[Peer, str]:
    """Return the client of a new session, and the token that is its id.

    Raises:
        RpcError: INVALID_PARAMS if the client says more about itself than a header can carry.
    """
    info, capabilities = params.client_info, params.capabilities
    content = _Content(
        session_id=session_id,
        revision=revision,
        opened=opened,
        idle_time=idle_time,
        principal=principal,
        name=info.name[:_LONGEST_TEXT],
        version=info.version[:_LONGEST_TEXT],
        title=None if info.title is UNSET else info.title[:_LONGEST_TEXT],
        capabilities=msgspec.json.encode(capabilities),
    )
    token = seal.seal(msgspec.msgpack.encode(content), _PURPOSE)
    if len(token) > _LONGEST_TOKEN:  # extension settings may be long; the names of extensions are not
        capabilities = _without_settings(capabilities)
        content.capabilities = msgspec.json.encode(capabilities)
        token = seal.seal(msgspec.msgpack.encode(content), _PURPOSE)
    if len(token) > _LONGEST_TOKEN:
        raise RpcError(INVALID_PARAMS, "Invalid params: capabilities are too long for a session")
    return _peer_of(content, capabilities), token


def open_token(seal: Seal, token: bytes) -> OpenedToken | None:
    """Return what a token says; None if it is none of this server."""
    if len(token) > _LONGEST_TOKEN:
        return None
    opened = seal.open(token, _PURPOSE)
    if opened is None:
        return None
    try:
        content = msgspec.msgpack.decode(opened, type=_Content)
        capabilities = msgspec.json.decode(content.capabilities, type=ClientCapabilities)
    except msgspec.DecodeError:  # sealed by another version of this package
        return None
    return OpenedToken(_peer_of(content, capabilities), content.opened, content.idle_time)


def _peer_of(content: _Content, capabilities: ClientCapabilities) -> Peer:
    title: str | UnsetType = UNSET if content.title is None else content.title
    return Peer(
        revision=content.revision,
        client_info=Implementation(name=content.name, version=content.version, title=title),
        capabilities=capabilities,
        principal=content.principal,
        session_id=content.session_id.hex(),
    )


def _without_settings(capabilities: ClientCapabilities) -> ClientCapabilities:
    """Return the capabilities without experiments and without the settings of extensions.

    Whether the client shows views is left, as it decides what tools return (X-EXT-2).
    """
    from enfilade.wire.apps import APPS, without_other_types

    extensions = capabilities.extensions
    if extensions is not UNSET:
        views = without_other_types(extensions.get(APPS))
        extensions = {name: views if name == APPS else {} for name in extensions}
    return msgspec.structs.replace(capabilities, experimental=UNSET, extensions=extensions)
