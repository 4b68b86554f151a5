"""What decides how a request is read: version, Host, target and framing (RFC 9112), where llhttp does not.

llhttp checks the syntax. It leaves to its user what takes more than one line of a head: that an HTTP/1.1 request
has one Host, that HTTP/1.0 has no transfer coding, and that `chunked` is the only coding. It also takes
`Upgrade` for the end of HTTP on the connection, while a server may ignore it and serve the request (RFC 9110
§7.8); parsing then goes on with `parser_that_ignores_upgrade`. Easy to get wrong: the body of such a request is
framed like any other, so what follows it is the next request.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import httptools

if TYPE_CHECKING:
    from enfilade.transports.http11.reader import RequestReader

#: Headers that frame a request or change how it is served, by lower-case name; the rest is the application's.
FORWARDED: Final = frozenset(
    (b"forwarded", *(b"x-forwarded-" + part for part in (b"for", b"host", b"port", b"prefix", b"proto")))
)
NOTED: Final = frozenset((b"expect", b"transfer-encoding", b"upgrade", *FORWARDED))

#: Methods that llhttp takes for RTSP and ICE only, under a version that looks like HTTP/1.0.
_NOT_HTTP: Final = frozenset(
    (b"ANNOUNCE", b"DESCRIBE", b"FLUSH", b"GET_PARAMETER", b"PAUSE", b"PLAY", b"RECORD", b"REDIRECT", b"SETUP",
     b"SET_PARAMETER", b"SOURCE", b"TEARDOWN")
)  # fmt: skip

INVALID: Final = "Invalid HTTP request received."


class RequestRefused(Exception):  # noqa: N818 - an event of the protocol, not a fault of ours
    """A request that is not served.

    Args:
        status: of the response.
        reason: its text.
        setting: the name of the limit that was reached, for the log.
    """

    def __init__(self, status: int, reason: str, setting: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.setting = setting


def check_version(version: str, method: bytes) -> str:
    """Return the version as which a request is served: "1.0", or "1.1" for all later ones (RFC 9110 §2.5).

    Raises:
        RequestRefused: 505 for another major version; 400 for HTTP/0.9, whose client cannot read a head.
    """
    if version == "1.1":
        return version
    if version == "1.0":
        if method in _NOT_HTTP:
            raise RequestRefused(400, INVALID)
        return version
    if version.startswith("1."):
        return "1.1"
    if version.startswith("0."):
        raise RequestRefused(400, INVALID)
    raise RequestRefused(505, "This server speaks HTTP/1.1.")


def notes_of(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the values of the `NOTED` headers; of one that was repeated, joined by commas."""
    notes: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in NOTED:
            notes[name] = b"%b,%b" % (notes[name], value) if name in notes else value
    return notes


def check_framing(version: str, hosts: int, notes: Mapping[bytes, bytes]) -> None:
    """Make sure that everybody reads the same request here.

    Args:
        version: what `check_version` returned.
        hosts: number of Host headers.
        notes: what `notes_of` returned.

    Raises:
        RequestRefused: 400 for HTTP/1.1 without Host or more than one Host (RFC 9112 §3.2), 400 for a transfer
            coding in HTTP/1.0 (§6.1), 501 for another transfer coding than `chunked` (§6.1).
    """
    if hosts > 1 or (hosts == 0 and version != "1.0"):
        raise RequestRefused(400, "An HTTP/1.1 request has exactly one Host header.")
    coding = notes.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            raise RequestRefused(400, "An HTTP/1.0 request has no Transfer-Encoding.")
        if coding.strip().lower() != b"chunked":
            raise RequestRefused(501, "Transfer-Encoding must be chunked.")


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return path and query of a request target, and the authority of an absolute one (RFC 9112 §3.2).

    Raises:
        RequestRefused: 501 for CONNECT, since this is no proxy; 400 for what is no target of this method.
    """
    if method == b"CONNECT":
        raise RequestRefused(501, "CONNECT is not supported.")
    if target == b"*" and method == b"OPTIONS":
        return target, b"", None
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise RequestRefused(400, INVALID) from None
    if target.startswith(b"/"):
        return parsed.path, parsed.query or b"", None
    if (parsed.schema or b"").lower() not in (b"http", b"https") or parsed.userinfo is not None:
        raise RequestRefused(400, INVALID)
    authority = target.partition(b"://")[2]
    for end in (b"/", b"?", b"#"):
        authority = authority.partition(end)[0]
    return parsed.path or b"/", parsed.query or b"", authority


def framing_of(headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    """Return a head that frames a body as these headers do, and says nothing else.

    Args:
        headers: those of a request that llhttp and `check_framing` have accepted.
        keep_alive: another request may follow.
    """
    fields = dict(headers)
    if b"transfer-encoding" in fields:
        framing = b"transfer-encoding: chunked"
    else:
        framing = b"content-length: %d" % int(fields.get(b"content-length", b"0"))
    return b"POST / HTTP/1.1\r\n%b\r\n%b\r\n" % (framing, b"" if keep_alive else b"connection: close\r\n")


def set_leniencies(parser: httptools.HttpRequestParser) -> None:
    """Let a parser pass on what `check_version` decides."""
    parser.set_dangerous_leniencies(lenient_version=True)


def parser_that_ignores_upgrade(connection: "RequestReader", framing: bytes) -> httptools.HttpRequestParser:
    """Return a parser that is where the last one would be if the request it stopped at had no `Upgrade`.

    Args:
        framing: what `framing_of` returns for that request.
    """
    parser = httptools.HttpRequestParser(_FromBodyOn(connection))
    set_leniencies(parser)
    parser.feed_data(framing)
    return parser


class _FromBodyOn:
    """Callbacks for a parser whose first head the connection knows already; all that follows is handed on."""

    def __init__(self, connection: "RequestReader") -> None:
        self._connection = connection
        self._is_first_head = True
        self.on_body = connection.on_body
        self.on_chunk_complete = connection.on_chunk_complete
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        if not self._is_first_head:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first_head:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first_head:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_first_head:
            self._is_first_head = False
        else:
            self._connection.on_headers_complete()
