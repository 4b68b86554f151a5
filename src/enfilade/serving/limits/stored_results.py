"""Whole results that were too large: kept in the store for a while, encrypted, for whom they were made.

One caller may have a part of the room for all, in bytes; the oldest of its own results make room for a new one.

Easy to get wrong: whose they are. The key has the principal in it, so what another principal asks for is not
there. Without one, only the id in the link protects a result, so it cannot be guessed.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import ResourceNotFound
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.context import Context
from enfilade.serving.limits.callers import holder_key
from enfilade.serving.request import Request
from enfilade.state.outcomes.decisions import StoredResult, results_of
from enfilade.state.store import StoreError
from enfilade.wire.content import ResourceLink, TextContent
from enfilade.wire.tools import CallToolResult

#: Seconds for which a result is kept.
RESULT_AGE: Final = 3600.0

SCHEME: Final = "tool-result"
TEMPLATE: Final = f"{SCHEME}://{{id}}"

_ID: Final = re.compile(r"[0-9a-f]{32}")
_PURPOSE: Final = b"result of a tool "


class StoredResults:
    """The results of one server.

    Args:
        server: its name.
        state: makes what has the store and the keys.
        own_size: bytes that one caller may have.
        size: bytes that all callers of a store may have.
    """

    def __init__(self, server: str, state: Callable[[], StateStore], own_size: int, size: int) -> None:
        self._server = server
        self._own_size = own_size
        self._size = size
        self._state = state

    async def link(self, request: Request, tool: str, result: CallToolResult) -> ResourceLink:
        """Keep a result, and return the link to it.

        Raises:
            StoreError: the store does not answer, or has no room.
        """
        text, id = _text_of(result), secrets.token_hex(16)
        row, state = self._row(request.root.peer.principal, id), self._state()
        keys = await state.started_keys()
        sealed = state.seal.encrypt(text.encode(), _PURPOSE + row.encode())
        results = results_of(state.store)
        if results is None:  # a store of the author's
            await keys.put(row, sealed, RESULT_AGE)
        elif not await results.put(self._stored(request, row, sealed)):
            raise StoreError(
                f"whole results have no more room: one caller may have {self._own_size} bytes of them "
                f"(whole_results_per_caller), and all together {self._size} (whole_results_size)"
            )
        return ResourceLink(
            uri=f"{SCHEME}://{id}",
            name=f"result of {tool}",
            description=f"The whole result, for {RESULT_AGE / 60:g} minutes",
            mime_type="application/json" if text.startswith(("{", "[")) else "text/plain",
            size=len(text.encode()),
        )

    async def read(self, id: str, ctx: Context) -> str:
        """Return a whole result, under the URI in its link.

        Raises:
            ResourceNotFound: there is none, it has expired, or it is another principal's.
        """
        if not _ID.fullmatch(id):
            raise ResourceNotFound
        row, state = self._row(ctx.peer.principal, id), self._state()
        keys = await state.started_keys()
        stored = await keys.get(row)
        if stored is None:
            raise ResourceNotFound
        content = state.seal.decrypt(stored, _PURPOSE + row.encode())
        if content is None and not state.seal.is_configured:  # by a worker whose secret is not here yet
            await state.seal.agree(keys)
            content = state.seal.decrypt(stored, _PURPOSE + row.encode())
        if content is None:
            raise ResourceNotFound
        return content.decode()

    def _stored(self, request: Request, row: str, sealed: bytes) -> StoredResult:
        owner = hashlib.sha256(json.dumps([self._server, holder_key(request)]).encode()).hexdigest()
        return StoredResult(
            key=row,
            value=sealed,
            ttl=RESULT_AGE,
            owner=f"result_owner:{owner}",
            room="result_room:all",
            own_size=self._own_size,
            size=self._size,
        )

    def _row(self, principal: str | None, id: str) -> str:
        identity = json.dumps([self._server, principal, id])
        return f"tool_result:{hashlib.sha256(identity.encode()).hexdigest()}"


def _text_of(result: CallToolResult) -> str:
    """Return a result as one text: its structured content, or else its texts; other blocks as JSON."""
    content = result.structured_content
    if content is not UNSET:
        return (bytes(content) if isinstance(content, Raw) else msgspec.json.encode(content)).decode()
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    if len(texts) == len(result.content):
        return "\n".join(texts)
    return msgspec.json.encode(result.content).decode()
