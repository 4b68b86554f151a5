"""How requests are read from the bytes of a connection: httptools callbacks, and limits of heads and framing.

llhttp has no limit for a head, for trailers, or for the extensions of chunks, so they are counted here. Counting
must not cost a plain request anything. So bytes are counted by feeds of the parser and only while a request is
unfinished: whatever begins in a feed counts from the next one on, and a head that took several feeds is measured
when it ends. Easy to get wrong: a feed can end one request and begin another, and bytes of a body never count as
head.
"""

import asyncio
from typing import Any, Final
from urllib.parse import unquote

import httptools

from enfilade.transports.http11.framing import (
    INVALID,
    RequestRefused,
    check_framing,
    check_version,
    framing_of,
    notes_of,
    parser_that_ignores_upgrade,
    set_leniencies,
    split_target,
)

MAX_HEAD: Final = 65536  # bytes of a head; also of all chunk sizes, chunk extensions and trailers of one body
MAX_FIELDS: Final = 256  # headers of a request
BETWEEN, IN_HEAD, IN_BODY = range(3)  # what the parser is at

TOO_MANY_FIELDS: Final = f"The request has more than {MAX_FIELDS} headers."

_CHUNK_ALLOWANCE: Final = 16  # bytes that frame one chunk: its size, two line ends, and a few to spare


class _Dropped(list[tuple[bytes, bytes]]):
    """Where trailers go: they are no headers, least of all those that a proxy has looked at.

    Trailers frame nothing (RFC 9110 §6.5.1), but llhttp would obey these two, and refuse the next request instead
    of the one that has them.
    """

    def append(self, field: tuple[bytes, bytes]) -> None:
        if field[0] in (b"connection", b"proxy-connection"):
            raise RequestRefused(400, INVALID)


TRAILERS: Final = _Dropped()


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
        "_scope",
        "_stage",
        "_upgraded",
        "_url",
        "cycle",
    )

    def __init__(self, root_path: str) -> None:
        self._root_path = root_path
        self._scope: dict[str, Any] = {}  # of each request on this connection; what differs is added
        self._parser = httptools.HttpRequestParser(self)
        set_leniencies(self._parser)
        self._upgraded: bytes | None = None  # framing of a request whose Upgrade stops the parser
        self._last_url: bytes | None = None  # whose parts are in the scope, and the method that it came with
        self._last_method = b""
        self._refusal: RequestRefused | None = None  # why nothing is parsed any more
        self.cycle: Any = None  # the request that the parser is at
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
        """Take the URL, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; or a trailer, which is dropped."""
        self._headers.append((name.lower(), value))

    def on_chunk_complete(self) -> None:
        """Allow for what frames a chunk."""
        if self._overhead is not None:
            self._body_size += _CHUNK_ALLOWANCE

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse some bytes; refuse what is no request, or too large."""
        self._has_blanks = True  # or may have: what comes this way is rare enough to be looked at
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
        if self._stage != BETWEEN:
            self._check_overhead(len(data))

    def _after_upgrade(self, data: bytes | memoryview, upgrade: httptools.HttpParserUpgrade) -> memoryview:
        """Ignore the Upgrade at which the parser stopped; return the bytes behind that head."""
        framing, self._upgraded = self._upgraded, None
        if framing is None:  # nobody knows how its body is framed, so what follows could be read in two ways
            self._refuse(RequestRefused(400, INVALID))
            return memoryview(b"")
        self._parser = parser_that_ignores_upgrade(self, framing)
        return memoryview(data)[upgrade.args[0] :]

    def _check_overhead(self, size: int) -> None:
        """Count a head, or what frames a body, that has not ended with these bytes; refuse too much of it."""
        if self._overhead is not None:
            self._overhead = max(0, self._overhead + size - self._body_size)
        else:  # begun somewhere in these bytes: what is in front of it does not count
            self._overhead = self._head_size() if self._stage == IN_HEAD else 0
            if self._stage == IN_BODY:
                self.cycle.count_waiting()
        self._body_size = 0
        if self._stage == IN_HEAD and len(self._headers) > MAX_FIELDS:
            self._refuse(RequestRefused(431, TOO_MANY_FIELDS))
        elif self._overhead > MAX_HEAD:
            what = "head" if self._stage == IN_HEAD else "framing"
            self._refuse(RequestRefused(431, f"The {what} of the request is too large."))

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 3 for name, value in self._headers)

    def _check_head(self, version: str, method: bytes, keep_alive: bool) -> tuple[str, dict[bytes, bytes]]:
        """Return the version of a request that is not quite plain, and which headers it has that are noted.

        Raises:
            RequestRefused: it is not served.
        """
        is_split = self._overhead is not None
        notes = notes_of(self._headers)
        try:
            if is_split and self._head_size() > MAX_HEAD:
                raise RequestRefused(431, "The head of the request is too large.")
            if len(self._headers) > MAX_FIELDS:
                raise RequestRefused(431, TOO_MANY_FIELDS)
            version = check_version(version, method)
            check_framing(version, sum(name == b"host" for name, _ in self._headers), notes)
        except RequestRefused as refusal:
            self._refusal = refusal
            raise
        if self._has_blanks or is_split:  # around a value, which llhttp leaves at its end (RFC 9110 §5.5)
            self._headers[:] = [(name, value.rstrip(b" \t")) for name, value in self._headers]
        self._overhead = None
        if b"upgrade" in notes and self._parser.should_upgrade():
            self._upgraded = framing_of(self._headers, keep_alive)
        return version, notes

    def _keep_target(self, method: bytes) -> None:
        """Take the parts of the URL into the scope, for as long as requests have the same method and URL.

        Raises:
            RequestRefused: it is none.
        """
        try:
            raw_path, query, authority = split_target(method, self._url)
        except RequestRefused as refusal:
            self._refusal = refusal
            raise
        path = raw_path.decode("ascii")
        self._scope["path"] = self._root_path + (unquote(path) if "%" in path else path)
        self._scope["raw_path"] = self._root_path.encode("ascii") + raw_path
        self._scope["query_string"] = query
        self._last_url = self._url if self._url.startswith(b"/") else None
        self._last_method = method
        if authority is not None:  # it takes the place of Host (RFC 9112 §3.2.2), which HTTP/1.0 may lack
            others = [(name, value) for name, value in self._headers if name != b"host"]
            self._headers[:] = [(b"host", authority), *others]

    def on_headers_complete(self) -> None:
        """Begin to serve a request whose head is complete."""
        raise NotImplementedError

    def on_body(self, body: bytes) -> None:
        """Take a part of its body."""
        raise NotImplementedError

    def on_message_complete(self) -> None:
        """End it."""
        raise NotImplementedError

    def _refuse(self, refusal: RequestRefused) -> None:
        """Parse no more, and answer the request that could not be read."""
        raise NotImplementedError
