"""Heads that a connection has read before: a request that has the same one is served without parsing it again.

Clients send the same head with every request on a connection, but for the digits of its Content-Length. A head is
known if the parser has taken the same bytes before, on this connection, at the beginning of a message, and if it
is plain (`HttpProtocol.on_headers_complete`): no transfer coding, no upgrade, no expectation, nothing that a
proxy has added, and the connection stays open. Then the same bytes are the same request, if they are in front of
a body that is complete, and nothing has come behind that.

A connection whose heads are all different, as with a `traceparent` in each, gains nothing and pays for the search
nearly as much as a known head saves. So it counts heads that are not known, less those that are: beyond
`MOST_UNKNOWN` it keeps one in `TRIED_AGAIN`.

Easy to get wrong: what is kept. Heads have credentials, so a connection keeps its own. It keeps a few, none that
is long, and none once it is idle (`Sweep._check_idle`).
"""

import re
from typing import Any, Final

from enfilade.transports.http11.request_cycle import Target

#: Heads that a connection keeps: a client of the stateless revision has one for each tool.
MOST_KEPT: Final = 4
#: By how many the heads that were not known may outnumber those that were.
MOST_UNKNOWN: Final = 16
#: Of so many heads one is kept beyond that, in case they are the same by now.
TRIED_AGAIN: Final = 64
#: Bytes of the longest that is kept.
LONGEST_KEPT: Final = 2048
#: Headers of the longest that is kept: each takes a hundred bytes beside its own.
MOST_FIELDS: Final = 32

_END: Final = b"\r\n\r\n"
_NAME: Final = b"\r\ncontent-length:"
_LENGTH: Final = re.compile(rb"\r\n(?:content-length):[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


class KnownHead:
    """A head, and what it means.

    Args:
        head: its bytes.
        start: where the digits of its Content-Length begin.
        end: where they end.
        target: what requests with it are for.
        endpoint: what serves them.

    Attributes:
        size: bytes of the head.
        fields: the headers by their names; None until the endpoint has read them.
        verdict: what the endpoint makes of them.
    """

    __slots__ = ("_after", "_before", "_digits", "endpoint", "fields", "size", "target", "verdict")

    def __init__(self, head: bytes, start: int, end: int, target: Target, endpoint: Any) -> None:
        self._before, self._after = head[:start], head[end:]
        self._digits, self.size = end - start, len(head)
        self.target = target
        self.endpoint = endpoint
        self.fields: dict[bytes, bytes] | None = None
        self.verdict: Any = None

    def fields_in(self, data: bytes) -> dict[bytes, bytes] | None:
        """Return the headers of the request that these bytes are, if it is a whole one with this head.

        The digits may be others, but as many. None for all else, and while the headers are not known.
        """
        length = b"%d" % (len(data) - self.size)
        if len(length) != self._digits or not data.startswith(self._before + length + self._after):
            return None
        fields = self.fields
        if fields is None or fields[b"content-length"] == length:
            return fields
        return {**fields, b"content-length": length}


def head_of(data: bytes, target: Target, endpoint: Any) -> KnownHead | None:
    """Return the head of a request that was parsed, to know it again; None if it cannot be kept.

    Args:
        data: all bytes that the parser was given; a request begins at the first of them.
        target: of the request.
        endpoint: what serves it.
    """
    end = data.find(_END, 0, LONGEST_KEPT) + len(_END)
    if end < len(_END):
        return None
    if data.count(b"\n", 0, end) > MOST_FIELDS + 2:
        return None
    lowered = data[:end].lower()
    place = lowered.find(_NAME)
    if place < 0 or lowered.find(_NAME, place + 1) >= 0:
        return None
    found = _LENGTH.match(data, place, end)
    if found is None or int(found[1]) != len(data) - end:
        return None
    return KnownHead(data[:end], *found.span(1), target, endpoint)
