"""A method of an extension: its handler, its params, and what a client must send with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.channel import MissingCapabilityError, Peer
from enfilade.wire import headers as http
from enfilade.wire.message import Message, RequestParams

if TYPE_CHECKING:
    from enfilade.serving.request import Request

#: Answers a request: with a message, or with the members of the result.
ExtensionHandler = Callable[["Request"], Awaitable[Message | Mapping[str, Any]]]
#: Takes the params of a notification, without `_meta`, and who sent it.
NotificationHandler = Callable[[dict[str, Any], Peer], Awaitable[None]]


class OpenParams(RequestParams, kw_only=True):
    """The params of a method whose parameters are those of a function.

    Attributes:
        members: all but `_meta`, as JSON.
    """

    members: Raw = Raw(b"{}")


class ExtensionMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A method of an extension.

    Attributes:
        name: the method.
        handler: answers its requests.
        revisions: those that have it.
        decode: makes its params of their JSON; raises what a msgspec decoder raises.
        name_header: the member of the params that `Mcp-Name` must equal, as the protocol writes it; None if the
            method has no such header.
        requires: the extension that a client must have declared; None if it need not.
        check: raises the error of a caller without the scopes of what a request names; None if there is none.
    """

    name: str
    handler: ExtensionHandler
    revisions: frozenset[str]
    decode: Callable[[Raw], Message]
    name_header: str | None = None
    requires: str | None = None
    check: Callable[[Request], Awaitable[None] | None] | None = None

    def check_name(self, fields: Mapping[bytes, bytes], params: Message) -> None:
        """Check the header `Mcp-Name`, if the method has it (R-233, R-235).

        Raises:
            RpcError: HEADER_MISMATCH.
        """
        if self.name_header is not None:
            http.check_named(fields, self.name_header, _member(params, self.name_header))

    def check_declared(self, peer: Peer) -> None:
        """Check that the client declared the extension, if the method needs that (R-571).

        Raises:
            RpcError: MISSING_CLIENT_CAPABILITY, which names the extension.
        """
        if self.requires is not None and declared_by(peer, self.requires) is None:
            raise MissingCapabilityError({"extensions": {self.requires: {}}}).as_rpc()


def declared_by(peer: Peer, id: str) -> dict[str, Any] | None:
    """Return the settings with which a client declared an extension; None if it did not (X-EXT-2)."""
    extensions = peer.capabilities.extensions
    if extensions is UNSET or id not in extensions:
        return None
    settings = extensions[id]
    return settings if isinstance(settings, dict) else {}


def _member(params: Message, name: str) -> Any:
    """Return a member of params by its name in the protocol."""
    if isinstance(params, OpenParams):
        return msgspec.json.decode(params.members).get(name)
    names = dict(zip(params.__struct_encode_fields__, params.__struct_fields__, strict=True))
    return getattr(params, names.get(name, name), None)
