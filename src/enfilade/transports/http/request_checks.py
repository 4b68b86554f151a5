"""What the headers of a request say before its body is read, judged once for all requests that say the same.

A client repeats itself: the same few headers come with every request it makes. So the verdict on them is kept,
for as many as fit. The easy thing to get wrong is to keep what depends on anything else: only what follows from
these headers alone may be here.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from enfilade.transports.asgi_types import Headers
from enfilade.transports.http.origin_checks import Guard, cors
from enfilade.transports.refusal_log import RefusalError
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

#: Host, Origin, Content-Type, Accept and MCP-Protocol-Version of a request.
_Key = tuple[bytes | None, bytes | None, bytes | None, bytes | None, bytes | None]

#: Which setting refuses with a status.
_SETTINGS: Final = {421: "allowed_hosts", 403: "allowed_origins"}


class HeaderVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of itself.

    Attributes:
        refusal: HTTP status and reason for a Host or an Origin that is not let in; None if they are.
        media: HTTP status and reason for media types that cannot be served by POST; None if they can.
        accepts: whether the client takes (JSON, an event stream).
        version: the text of `MCP-Protocol-Version`, empty if it is absent.
        headers: what every response carries: those by which a browser lets a page read it.
    """

    refusal: tuple[int, str] | None = None
    media: tuple[int, str] | None = None
    accepts: tuple[bool, bool] = (True, True)
    version: str = ""
    headers: Headers = []

    def check(self) -> None:
        """Let the request in.

        Raises:
            RefusalError: with HTTP status 421 for a foreign Host, 403 for a foreign Origin (E-34, E-35).
        """
        if self.refusal is not None:
            status, reason = self.refusal
            raise RefusalError(_SETTINGS[status], INVALID_REQUEST, reason, status=status)

    def check_media(self) -> None:
        """Make sure that its body can be read and its answer understood.

        Raises:
            RpcError: HTTP 415 for a body that is no JSON, 406 for a client that takes neither kind of answer.
        """
        if self.media is not None:
            raise RpcError(INVALID_REQUEST, self.media[1], status=self.media[0])


def header_check_for(guard: Guard) -> Callable[[Mapping[bytes, bytes]], HeaderVerdict]:
    """Return what judges request headers."""

    def judge(key: _Key) -> HeaderVerdict:
        host, origin, content_type, accept, version = key
        refusal = guard.verdict(host, origin)
        if refusal is not None:
            return HeaderVerdict(refusal=refusal)
        # No Accept means anything (RFC 9110 §12.5.1).
        accepts = (True, True) if accept is None else http.acceptable(accept)
        media = None
        if not http.is_json(content_type or b""):
            media = 415, "Content-Type must be application/json"
        elif not any(accepts):
            media = 406, "Accept must allow application/json or text/event-stream, better both"
        return HeaderVerdict(
            media=media,
            accepts=accepts,
            version=http.single(version or b"").decode("latin-1"),
            headers=[] if origin is None else cors(origin),
        )

    known = http.HeaderCache(judge, _size)

    def judged(fields: Mapping[bytes, bytes]) -> HeaderVerdict:
        of = fields.get
        return known[of(b"host"), of(b"origin"), of(b"content-type"), of(b"accept"), of(http.PROTOCOL_VERSION)]

    return judged


def _size(key: _Key) -> int:
    return sum(len(value) for value in key if value is not None)
