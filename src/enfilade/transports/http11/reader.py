"""How requests are read from the bytes of a connection: httptools callbacks, limits of size, and the rules of
heads.

llhttp checks the syntax. It leaves to its user what takes more than one line of a head: that an HTTP/1.1 request
has one Host, that HTTP/1.0 has no transfer coding, and that `chunked` is the only coding. It also stops at
`Upgrade`, while a server may ignore that header and serve the request (RFC 9110 §7.8): then parsing goes on with
a new parser (`_parser_after_upgrade`). The body of such a request is framed as any other, so what follows it is
the next request.

llhttp has no limit for a head, for trailers, or for chunk extensions, so their bytes are counted here. A plain
request must not pay for that. So bytes are counted by feeds of the parser, and only while a request is
incomplete: whatever begins in a feed counts from the next one on, and a head that took several feeds is measured
when it ends.

A large body whose length is known needs no parser: from the feed after its head on it is taken as it comes
(`LargeBody`), which spares copies of it.

Easy to get wrong: one feed can end a request and begin another, and bytes of a body never count as head.
"""

import asyncio
import enum
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import httptools

from enfilade.transports.http11.memory_limits import reuse_large_blocks
from enfilade.transports.http11.request_cycle import RequestCycle, Target

MAX_HEAD: Final = 65536  # bytes of a head; also of all chunk sizes, chunk extensions and trailers of one body
MAX_FIELDS: Final = 256  # headers of a request

#: Headers that a proxy adds. uvicorn's middleware reads them, and a request without them is called without it.
FORWARDED: Final = frozenset(
    (b"forwarded", *(b"x-forwarded-" + part for part in (b"for", b"host", b"port", b"prefix", b"proto")))
)
#: Headers that frame a request or change how it is served, by lower-case name; others are the application's.
NOTED: Final = frozenset((b"expect", b"transfer-encoding", b"upgrade", *FORWARDED))

INVALID: Final = "Invalid HTTP request received."
TOO_MANY_FIELDS: Final = f"The request has more than {MAX_FIELDS} headers."

#: Methods that llhttp takes for RTSP and ICE only, under a version that looks like HTTP/1.0.
_NOT_HTTP: Final = frozenset(
    (b"ANNOUNCE", b"DESCRIBE", b"FLUSH", b"GET_PARAMETER", b"PAUSE", b"PLAY", b"RECORD", b"REDIRECT", b"SETUP",
     b"SET_PARAMETER", b"SOURCE", b"TEARDOWN")
)  # fmt: skip

_LARGE_BODY: Final = 65536  # bytes that are missing of a body from which on it is taken as it comes
_CHUNK_ALLOWANCE: Final = 16  # bytes that frame one chunk: its size, two line ends, and a few to spare


class ParseStage(enum.Enum):
    """What the parser is at."""

    BETWEEN = enum.auto()
    IN_HEAD = enum.auto()
    IN_BODY = enum.auto()


# As globals, which are faster to read than attributes of an Enum.
BETWEEN, IN_HEAD, IN_BODY = ParseStage


class RequestRefused(Exception):  # noqa: N818 - an event of the protocol, not a fault of ours
    """A request that is not served.

    Args:
        setting: the name of the limit that was reached, for the log.
    """

    def __init__(self, status: int, reason: str, setting: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.setting = setting


class _DroppedFields(list[tuple[bytes, bytes]]):
    """Drops trailers: they are no headers, least of all those that a proxy has checked.

    Trailers frame nothing (RFC 9110 §6.5.1), but llhttp would obey these two, and refuse the next request instead
    of the one that has them.
    """

    def append(self, field: tuple[bytes, bytes]) -> None:
        if field[0] in (b"connection", b"proxy-connection"):
            raise RequestRefused(400, INVALID)


TRAILERS: Final = _DroppedFields()


class RequestReader(asyncio.Protocol):
    """The reading side of a connection.

    Args:
        root_path: prefix of every path, which the client does not send.
    """

    # There is one of these for each idle stream, and with more than 30 attributes an object without slots takes
    # a kilobyte more.
    __slots__ = (
        "_body_size",
        "_has_blanks",
        "_headers",
        "_last_method",
        "_last_url",
        "_overhead",
        "_parser",
        "_refusal",
        "_root_path",
        "_stage",
        "_target",
        "_upgraded",
        "_url",
        "cycle",
    )

    def __init__(self, root_path: str) -> None:
        self._root_path = root_path
        self._parser: Any = new_parser(self)  # or what stands for one, while its calls are not needed
        self._upgraded: bytes | None = None  # framing of a request whose Upgrade stops the parser
        self._last_url: bytes | None = None  # whose parts `_target` has, and the method that it came with
        self._last_method = b""
        self._target = Target("", b"", b"")
        self._refusal: RequestRefused | None = None  # why nothing is parsed any more
        self.cycle: RequestCycle | None = None  # the request that the parser is at
        self._stage = BETWEEN
        self._overhead: int | None = None  # bytes of a head, or that frame a body; None: begun in this feed
        self._body_size = 0  # bytes of this feed that are body, if that is all that it has
        self._has_blanks = False  # a value may have blanks behind it

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._stage = IN_HEAD
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._overhead = None

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; a trailer is dropped."""
        self._headers.append((name.lower(), value))

    def on_chunk_complete(self) -> None:
        """Allow for the bytes that frame a chunk."""
        if self._overhead is not None:
            self._body_size += _CHUNK_ALLOWANCE

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse some bytes; refuse what is no request, or too large."""
        self._has_blanks = True  # or may have: this path is rare enough to check each value
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._after_upgrade(data, upgrade)
            except httptools.HttpParserError:
                self._refuse(self._refusal or RequestRefused(400, INVALID))
                return
            else:
                break
        if self._stage is not BETWEEN:
            self._check_overhead(len(data))

    def _after_upgrade(self, data: bytes | memoryview, upgrade: httptools.HttpParserUpgrade) -> memoryview:
        """Ignore the Upgrade at which the parser stopped; return the bytes behind that head."""
        framing, self._upgraded = self._upgraded, None
        if framing is None:  # the framing of its body is unknown, so what follows could be read in two ways
            self._refuse(RequestRefused(400, INVALID))
            return memoryview(b"")
        self._parser = _parser_after_upgrade(self, framing)
        return memoryview(data)[upgrade.args[0] :]

    def _check_overhead(self, size: int) -> None:
        """Count a head, or the framing of a body, that has not ended with these bytes; refuse too much of it."""
        if self._overhead is not None:
            self._overhead = max(0, self._overhead + size - self._body_size)
        else:  # begun somewhere in these bytes: what is in front of it does not count
            self._overhead = self._head_size() if self._stage is IN_HEAD else 0
            if self._stage is IN_BODY:
                assert self.cycle is not None
                self.cycle.count_buffered()
                self._take_large_body(self.cycle)
        self._body_size = 0
        if self._stage is IN_HEAD and len(self._headers) > MAX_FIELDS:
            self._refuse(RequestRefused(431, TOO_MANY_FIELDS))
        elif self._overhead > MAX_HEAD:
            part = "head" if self._stage is IN_HEAD else "framing"
            self._refuse(RequestRefused(431, f"The {part} of the request is too large."))

    def _take_large_body(self, cycle: RequestCycle) -> None:
        """Take the rest of a body as it comes, if it is large and its length is known."""
        if cycle.response_complete:  # its head is gone, and what comes is dropped
            return
        length = dict(cycle.headers).get(b"content-length")
        if length is None or not cycle.keep_alive:  # else llhttp has to know that nothing may follow
            return
        missing = int(length) - cycle.received
        if missing > _LARGE_BODY:
            reuse_large_blocks()
            self._parser = LargeBody(self, missing)

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 3 for name, value in self._headers)

    def _check_head(self, version: str, method: bytes, keep_alive: bool) -> tuple[str, dict[bytes, bytes]]:
        """Return the version of a request that is not quite plain, and its headers that are `NOTED`.

        Raises:
            RequestRefused: it is not served.
        """
        is_split = self._overhead is not None
        noted = _noted_headers(self._headers)
        try:
            if is_split and self._head_size() > MAX_HEAD:
                raise RequestRefused(431, "The head of the request is too large.")
            if len(self._headers) > MAX_FIELDS:
                raise RequestRefused(431, TOO_MANY_FIELDS)
            version = _check_version(version, method)
            _check_framing(version, sum(name == b"host" for name, _ in self._headers), noted)
        except RequestRefused as refusal:
            self._refusal = refusal
            raise
        if self._has_blanks or is_split:  # around a value, which llhttp leaves at its end (RFC 9110 §5.5)
            self._headers[:] = [(name, value.rstrip(b" \t")) for name, value in self._headers]
        self._overhead = None
        if b"upgrade" in noted and self._parser.should_upgrade():
            self._upgraded = _framing_of(self._headers, keep_alive)
        return version, noted

    def _keep_target(self, method: bytes) -> None:
        """Keep the parts of the URL, while requests have the same method and URL.

        Raises:
            RequestRefused: it is no target of this method.
        """
        try:
            raw_path, query, authority = split_target(method, self._url)
        except RequestRefused as refusal:
            self._refusal = refusal
            raise
        path = raw_path.decode("ascii")
        self._target = Target(
            self._root_path + (unquote(path) if "%" in path else path),
            self._root_path.encode("ascii") + raw_path,
            query,
        )
        self._last_url = self._url if self._url.startswith(b"/") else None
        self._last_method = method
        if authority is not None:  # it takes the place of Host (RFC 9112 §3.2.2), which HTTP/1.0 may lack
            others = [(name, value) for name, value in self._headers if name != b"host"]
            self._headers[:] = [(b"host", authority), *others]

    def on_headers_complete(self) -> None:
        """Serve a request whose head is complete."""
        raise NotImplementedError

    def on_body(self, body: bytes) -> None:
        """Add a part of its body."""
        raise NotImplementedError

    def on_message_complete(self) -> None:
        """End it."""
        raise NotImplementedError

    def _refuse(self, refusal: RequestRefused) -> None:
        """Parse no more, and answer the request that could not be read."""
        raise NotImplementedError


# -- the rules of heads ----------------------------------------------------------------------------------------


def _check_version(version: str, method: bytes) -> str:
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


def _noted_headers(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the values of the `NOTED` headers; of one that was repeated, joined by commas."""
    noted: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in NOTED:
            noted[name] = b"%b,%b" % (noted[name], value) if name in noted else value
    return noted


def _check_framing(version: str, hosts: int, noted: Mapping[bytes, bytes]) -> None:
    """Refuse a request that another server could read in another way.

    Args:
        version: what `_check_version` returned.
        hosts: number of Host headers.
        noted: what `_noted_headers` returned.

    Raises:
        RequestRefused: 400 for HTTP/1.1 without Host or more than one Host (RFC 9112 §3.2), 400 for a transfer
            coding in HTTP/1.0 (§6.1), 501 for another transfer coding than `chunked` (§6.1).
    """
    if hosts > 1 or (hosts == 0 and version != "1.0"):
        raise RequestRefused(400, "An HTTP/1.1 request has exactly one Host header.")
    coding = noted.get(b"transfer-encoding")
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


# -- parsers ---------------------------------------------------------------------------------------------------


def new_parser(callbacks: Any) -> httptools.HttpRequestParser:
    """Return a parser at the beginning of a message."""
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_version=True)  # `_check_version` decides
    return parser


class NoParser:
    """Is in place of a parser between two requests, for as long as nothing arrives: a parser takes a KiB.

    Args:
        reader: of the connection; gets a new parser then.
    """

    __slots__ = ("_reader",)

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes | memoryview) -> None:
        """Parse bytes as `HttpRequestParser` does."""
        self._reader._parser = parser = new_parser(self._reader)
        parser.feed_data(data)


class LargeBody:
    """Takes bytes in place of a parser, until a body whose length is known is complete.

    Args:
        reader: of the connection; gets a new parser then.
        missing: bytes of the body that have not come.

    Attributes:
        missing: the same, by now.
    """

    __slots__ = ("_reader", "missing")

    def __init__(self, reader: RequestReader, missing: int) -> None:
        self._reader = reader
        self.missing = missing

    def feed_data(self, data: bytes | memoryview) -> None:
        """Take bytes as `HttpRequestParser` does."""
        reader, size = self._reader, min(len(data), self.missing)
        self.missing -= size
        reader.on_body(_as_bytes(data, size))
        if self.missing:
            return
        reader._parser = parser = new_parser(reader)
        reader.on_message_complete()
        if size < len(data):
            try:
                parser.feed_data(memoryview(data)[size:])
            except httptools.HttpParserUpgrade as upgrade:
                raise httptools.HttpParserUpgrade(upgrade.args[0] + size) from None


def _as_bytes(data: bytes | memoryview, size: int) -> bytes:
    """Return the first bytes, which are not copied if they are a whole buffer."""
    whole = data.obj if isinstance(data, memoryview) else data
    return whole if isinstance(whole, bytes) and len(whole) == size else bytes(data[:size])


def _framing_of(headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    """Return a head that frames a body as these headers do, and says nothing else.

    Args:
        headers: those of a request that llhttp and `_check_framing` have accepted.
        keep_alive: another request may follow.
    """
    fields = dict(headers)
    if b"transfer-encoding" in fields:
        framing = b"transfer-encoding: chunked"
    else:
        framing = b"content-length: %d" % int(fields.get(b"content-length", b"0"))
    return b"POST / HTTP/1.1\r\n%b\r\n%b\r\n" % (framing, b"" if keep_alive else b"connection: close\r\n")


def _parser_after_upgrade(reader: RequestReader, framing: bytes) -> httptools.HttpRequestParser:
    """Return a parser in the state of one whose request had no `Upgrade`.

    Args:
        framing: what `_framing_of` returns for that request.
    """
    parser = new_parser(_CallbacksFromBody(reader))
    parser.feed_data(framing)
    return parser


class _CallbacksFromBody:
    """Callbacks that skip the first head, which the reader knows already, and hand on all that follows."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader
        self._is_first_head = True
        self.on_body = reader.on_body
        self.on_chunk_complete = reader.on_chunk_complete
        self.on_message_complete = reader.on_message_complete

    def on_message_begin(self) -> None:
        if not self._is_first_head:
            self._reader.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first_head:
            self._reader.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first_head:
            self._reader.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_first_head:
            self._is_first_head = False
        else:
            self._reader.on_headers_complete()
