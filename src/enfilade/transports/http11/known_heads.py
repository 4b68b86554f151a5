"""Heads that a connection has read before: a request that has the same one is served without parsing it again.

Clients send the same head with every request on a connection, but for the digits of its Content-Length. A head is
known if the parser has taken the same bytes before, on this connection, at the beginning of a message, and if it
is plain (`HttpProtocol.on_headers_complete`): no transfer coding, no upgrade, no expectation, nothing that a
proxy has added, and the connection stays open. Then the same bytes are the same request, if they are in front of
a body that is complete, and nothing has come behind that.

Easy to get wrong: what is kept. Heads have credentials, so a connection keeps its own, and they end with it. It
keeps a few, and none that is long.
"""

import re
from typing import Any, Final

from enfilade.transports.http11.request_cycle import Target

#: Heads that a connection keeps: a client of the stateless revision has one for each tool.
MOST_KEPT: Final = 4
#: Bytes of the longest that is kept.
LONGEST_KEPT: Final = 2048

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\n(?:content-length):[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 9


class KnownHead:
    """A head, and what it means.

    Attributes:
        before: its bytes up to the digits of Content-Length.
        after: its bytes behind them.
        target: what requests with it are for.
        fields: the headers by their names; None until the endpoint has read them.
        verdict: what the endpoint makes of them.
    """

    __slots__ = ("after", "before", "fields", "target", "verdict")

    def __init__(self, before: bytes, after: bytes, target: Target) -> None:
        self.before = before
        self.after = after
        self.target = target
        self.fields: dict[bytes, bytes] | None = None
        self.verdict: Any = None

    def length_in(self, data: bytes) -> bytes | None:
        """Return the Content-Length if these bytes are one whole request with this head; else None."""
        before, after = self.before, self.after
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        if end <= start or not data.startswith(after, end):
            return None
        digits = data[start:end]
        return digits if digits.isdigit() and int(digits) == len(data) - end - len(after) else None


def head_of(data: bytes, target: Target) -> KnownHead | None:
    """Return the head of a request that was parsed, to know it again; None if it cannot be kept.

    Args:
        data: all bytes that the parser was given; a request begins at the first of them.
        target: of the request.
    """
    end = data.find(_END, 0, LONGEST_KEPT) + len(_END)
    if end < len(_END):
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None or _LENGTH.search(data, found.end() - 2, end) is not None:
        return None
    start, stop = found.span(1)
    if int(found[1]) != len(data) - end or data[stop : stop + 1] != b"\r":
        return None
    return KnownHead(data[:start], data[stop:end], target)
