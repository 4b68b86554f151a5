"""Which session a transport serves that serves one only: its id, its owner, and the revision that was agreed on.

The easy thing to get wrong is to tell those who guess how near they are: every wrong id and every wrong owner
gets the same answer, after the same time.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

from enfilade.transports.request_parsing import check_version, version_of
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError
from enfilade.wire.revisions import ASSUMED_WITHOUT_HEADER

_ID: Final = re.compile(r"[\x21-\x7e]+")


def session_over() -> RpcError:
    """Return what a client learns that uses a session which has ended, or is not its own."""
    return RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)


class SoleSession:
    """The session of one transport.

    Args:
        id: its id; None if requests need not name it.

    Attributes:
        key: what its streams are kept under.
        revision: the protocol revision of its client, as far as is known.
        agreed: whether it is known, because the client's `initialize` has been answered.

    Raises:
        ValueError: the id has characters that an HTTP header may not have.
    """

    def __init__(self, id: str | None) -> None:
        if id is not None and not _ID.fullmatch(id):
            raise ValueError("a session id is visible ASCII (0x21 to 0x7E); secrets.token_urlsafe() makes one")
        self.id = id
        self.key = id or secrets.token_hex(16)
        self.revision = ASSUMED_WITHOUT_HEADER
        self.agreed = False
        self._owned = False
        self._owner: str | None = None

    def agree(self, revision: str) -> None:
        """Take in the revision that the loop has agreed on with its client."""
        self.revision, self.agreed = revision, True

    def check_owner(self, principal: str | None) -> None:
        """Check that somebody may use the session: whoever came first.

        Raises:
            RpcError: HTTP 404, as for a session that does not exist.
        """
        if not self._owned:
            self._owned, self._owner = True, principal
        if principal != self._owner:
            raise session_over()

    def check(self, fields: Mapping[bytes, bytes]) -> None:
        """Check that a request names this session, and a revision that is served with sessions.

        Raises:
            RpcError: HTTP 400 without an id or with an unknown revision, 404 for another id.
        """
        check_version(version_of(fields))
        if self.id is not None:
            token = fields.get(http.SESSION_ID)
            if token is None:
                raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
            if not hmac.compare_digest(token.strip(), self.id.encode()):
                raise session_over()
