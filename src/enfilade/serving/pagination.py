"""Lists in pages: `tools/list`, `resources/list`, `resources/templates/list` and `prompts/list`.

A page has the same bytes for all clients of a revision, whatever came before (R-2A4), so it is rendered once per
revision and page, and again only after a change. Where some items are not for everybody, it is rendered once for
each audience: all callers from whom the same items are hidden.

Easy to get wrong: the cursor. It means the same to every worker, so it holds the position and nothing of this
process, and it is checked exactly (R-532). An empty cursor was never issued, but means the first page: clients
send it that cannot leave the member out. And `public`: a list that not everybody gets alike never is (R-715).
"""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.primitives.metadata import NO_CACHING, Caching
from enfilade.serving.callers.access import NOTHING, AccessPolicy, Item, caller_of
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message, PaginatedResult

#: Pages that are kept ready for audiences of one list, and their bytes together.
_MOST_PAGES: Final = 256
_MOST_BYTES: Final = 8 * 1024 * 1024

Items = Sequence[Any]
"""What a list is made of, each with its `access`."""

_Key = tuple[str, str | UnsetType, frozenset[Any]]


class PageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all lists of a server have in common.

    Attributes:
        render: makes bytes of a page for a revision.
        size: entries per page.
        caching: hints for clients by list method, the same on all pages (R-2A1).
        access: who may see what.
    """

    render: Callable[[Message, str], bytes]
    size: int
    caching: Mapping[str, Caching]
    access: AccessPolicy


class PaginatedList:
    """One list, in pages.

    Args:
        method: the list method.
        kind: the type of its result.
        field: the member of the result that holds the entries.
        items: returns all items, in order.
        entries: returns the entries of those that are shown.
        version: returns a value that changes whenever the entries do; None if that cannot be known.
    """

    def __init__(
        self,
        method: str,
        kind: type[PaginatedResult],
        field: str,
        items: Callable[[], Items],
        entries: Callable[[Items], Sequence[Message]],
        version: Callable[[], Hashable],
        options: PageOptions,
    ) -> None:
        self._kind: Callable[..., PaginatedResult] = kind
        self._field = field
        self._items = items
        self._entries = entries
        self._version = version
        self._render = options.render
        self._size = options.size
        self._access = options.access
        caching = options.caching.get(method, NO_CACHING)
        self._caching = caching, Caching(caching.ttl, "private")
        self._ready_version: Hashable = None
        self._known: Items = ()
        self._is_filtered = False
        self._ready: dict[tuple[str, str | UnsetType], bytes] = {}
        self._for_audiences = _AudiencePages()

    def ready(self, request: Request) -> bytes | None:
        """Return the bytes of a page, rendered now if necessary; None for a list that may change at any time."""
        version = self._version()
        if version != self._ready_version:
            self._ready.clear()
            self._for_audiences.clear()
            # What is judged is what is listed, whatever a thread adds meanwhile.
            self._known = self._items()
            self._is_filtered = self._access.filters(self._known)
            self._ready_version = version
        if version is None:
            return None
        if self._is_filtered:
            return self._ready_for_audience(request)
        key = (request.peer.revision, request.params.cursor)
        page = self._ready.get(key)
        if page is None and not key[1]:
            key = key[0], UNSET
            page = self._ready.get(key)
        if page is None:
            page = self._render(self._page(key[1], self._known, is_filtered=False), key[0])
            if self._is_ours(key[1]):
                self._ready[key] = page
        return page

    def _ready_for_audience(self, request: Request) -> bytes:
        hidden = self._access.hidden(self._known, caller_of(request))
        revision, cursor = request.peer.revision, request.params.cursor or UNSET
        key = revision, cursor, hidden
        page = self._for_audiences.get(key)
        if page is None:
            page = self._render(self._page(cursor, _without(hidden, self._known), is_filtered=True), revision)
            if self._is_ours(cursor):
                self._for_audiences.add(key, page)
        return page

    def _is_ours(self, cursor: str | UnsetType) -> bool:
        """Whether a cursor is of this page size. Others are valid, but there are too many of those to cache."""
        return cursor is UNSET or decode_cursor(cursor) % self._size == 0

    async def list(self, request: Request) -> PaginatedResult:
        """Handle the list method."""
        return self.page_of(request)()

    def page_of(self, request: Request) -> Callable[[], PaginatedResult]:
        """Return what makes the page that a request asks for, in any thread; what its caller sees is decided now.

        It raises an `RpcError` for a cursor that is not one of ours, or that is past the end.
        """
        items = self._items()
        is_filtered = self._access.filters(items)
        hidden = self._access.hidden(items, caller_of(request)) if is_filtered else NOTHING
        return partial(self._page, request.params.cursor, _without(hidden, items), is_filtered=is_filtered)

    def _page(self, cursor: str | UnsetType, items: Items, *, is_filtered: bool) -> PaginatedResult:
        start = decode_cursor(cursor) if cursor else 0
        entries = self._entries(items)
        if start > len(entries):
            raise _unknown()
        end = start + self._size
        members: dict[str, Any] = {self._field: list(entries[start:end])}
        if end < len(entries):
            members["next_cursor"] = encode_cursor(end)
        return self._caching[is_filtered].apply_to(self._kind(**members))


def _without(hidden: frozenset[Item], items: Items) -> Items:
    return [item for item in items if item not in hidden] if hidden else items


class _AudiencePages:
    """Rendered pages by revision, cursor and what is hidden; those that were used last, up to a bound."""

    def __init__(self) -> None:
        self._pages: OrderedDict[_Key, bytes] = OrderedDict()
        self._size = 0

    def get(self, key: _Key) -> bytes | None:
        """Return a page, if it is here."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def add(self, key: _Key, page: bytes) -> None:
        """Keep a page, and drop those that were used longest ago if there are too many."""
        self._pages[key] = page
        self._size += len(page)
        while len(self._pages) > _MOST_PAGES or self._size > _MOST_BYTES:
            _, dropped = self._pages.popitem(last=False)
            self._size -= len(dropped)

    def clear(self) -> None:
        """Drop all pages."""
        self._pages.clear()
        self._size = 0


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
