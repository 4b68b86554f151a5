"""Lists in pages: `tools/list`, `resources/list`, `resources/templates/list` and `prompts/list`.

A page has the same bytes for all clients of a revision, whatever came before (R-2A4), so it is rendered once per
revision and page, and again only after a change.

Easy to get wrong: the cursor. It means the same to every worker, so it holds the position and nothing of this
process, and it is checked exactly (R-532). An empty cursor was never issued, but means the first page: clients
send it that cannot leave the member out.
"""

import base64
import binascii
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from enfilade.primitives.metadata import NO_CACHING, Caching
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message, PaginatedResult

#: Renders a result for a revision.
Render = Callable[[Message, str], bytes]


class PaginatedList:
    """One list, in pages.

    Args:
        kind: the type of its result.
        field: the member of the result that holds the entries.
        entries: returns all entries, in order.
        version: returns a value that changes whenever the entries do; None if that cannot be known.
        render: makes bytes of a page.
        size: entries per page.
        caching: hints for clients, the same on all pages (R-2A1).
    """

    def __init__(
        self,
        kind: type[PaginatedResult],
        field: str,
        entries: Callable[[], Sequence[Message]],
        version: Callable[[], Hashable],
        render: Render,
        *,
        size: int,
        caching: Caching = NO_CACHING,
    ) -> None:
        self._kind: Callable[..., PaginatedResult] = kind
        self._field = field
        self._entries = entries
        self._version = version
        self._render = render
        self._size = size
        self._caching = caching
        self._ready: dict[tuple[str, str | UnsetType], bytes] = {}
        self._ready_version: Hashable = None

    def ready(self, request: Request) -> bytes | None:
        """Return the bytes of a page, rendered now if necessary; None for a list that may change at any time."""
        version = self._version()
        if version != self._ready_version:
            self._ready.clear()
            self._ready_version = version
        if version is None:
            return None
        key = (request.peer.revision, request.params.cursor)
        page = self._ready.get(key)
        if page is None and not key[1]:
            key = key[0], UNSET
            page = self._ready.get(key)
        if page is None:
            page = self._render(self.page(key[1]), key[0])
            # A cursor of another page size is valid, but there are too many of those to cache.
            if key[1] is UNSET or decode_cursor(key[1]) % self._size == 0:
                self._ready[key] = page
        return page

    async def list(self, request: Request) -> PaginatedResult:
        """Handle the list method."""
        return self.page(request.params.cursor)

    def page(self, cursor: str | UnsetType) -> PaginatedResult:
        """Return the page of a cursor.

        Raises:
            RpcError: INVALID_PARAMS for a cursor that is not one of ours, or that is past the end.
        """
        start = decode_cursor(cursor) if cursor else 0
        entries = self._entries()
        if start > len(entries):
            raise _unknown()
        end = start + self._size
        members: dict[str, Any] = {self._field: list(entries[start:end])}
        if end < len(entries):
            members["next_cursor"] = encode_cursor(end)
        return self._caching.apply_to(self._kind(**members))


def encode_cursor(position: int) -> str:
    """Return an opaque cursor for a position."""
    return base64.urlsafe_b64encode(b"p%d" % position).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> int:
    """Return the position of a cursor.

    Raises:
        RpcError: INVALID_PARAMS for a text that is not one of our cursors.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _unknown() from None
    position = int(raw[1:]) if raw[:1] == b"p" and raw[1:].isdigit() and len(raw) <= 12 else 0
    if position < 1 or encode_cursor(position) != cursor:
        raise _unknown()
    return position


def _unknown() -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid params: unknown cursor")
