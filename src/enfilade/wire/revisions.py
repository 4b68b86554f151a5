"""The protocol revisions, their eras, ranges of them for tables, and the agreement on one.

A revision is its date string, so revisions compare in time order with `<` and `>=`. Two lists must be equal: what
`server/discover` advertises and what a -32022 error names as supported (R-117); both are `STATELESS`.
"""

from typing import Final

import msgspec

#: Revisions opened by `initialize`, oldest first.
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

#: Revisions that carry their metadata on every request, oldest first.
STATELESS: Final = ("2026-07-28",)

ALL: Final = HANDSHAKE + STATELESS

#: Revisions whose results say in `_meta` which server made them (R-275).
NAMES_SERVER_IN_RESULTS: Final = frozenset(STATELESS)

LATEST_HANDSHAKE: Final = HANDSHAKE[-1]
LATEST_STATELESS: Final = STATELESS[-1]

#: The only revision in which a POST body or a line may be an array of messages (R-340, R-412).
BATCHING: Final = "2025-03-26"

#: Most messages in one such array (R-344).
LONGEST_BATCH: Final = 100

#: Revisions whose clients understand an event without data, and come back when a stream ends (R-353, R-354).
POLLING: Final = frozenset({"2025-11-25"})

#: What a session-era peer without a version header is taken to speak (R-113).
ASSUMED_WITHOUT_HEADER: Final = "2025-03-26"

#: Released clients look for this text in a 400 body before they fall back (R-115).
UNSUPPORTED: Final = "Unsupported protocol version"


class Span(msgspec.Struct, frozen=True):
    """All revisions from `first` to `last`, both included."""

    first: str
    last: str

    def __contains__(self, revision: str) -> bool:
        return self.first <= revision <= self.last


_NO_END: Final = "9999-12-31"  # a later revision has what the newest has

EVERY: Final = Span("2024-11-05", _NO_END)
SINCE_0326: Final = Span("2025-03-26", _NO_END)
SINCE_0618: Final = Span("2025-06-18", _NO_END)
SINCE_1125: Final = Span("2025-11-25", _NO_END)
SINCE_0728: Final = Span("2026-07-28", _NO_END)

ONLY_2024: Final = Span("2024-11-05", "2024-11-05")
UNTIL_0326: Final = Span("2024-11-05", "2025-03-26")
UNTIL_0618: Final = Span("2024-11-05", "2025-06-18")
UNTIL_1125: Final = Span("2024-11-05", "2025-11-25")
ONLY_1125: Final = Span("2025-11-25", "2025-11-25")


def negotiate(requested: str) -> str:
    """Return the revision that `initialize` answers with.

    All transports serve the same: 2024-11-05 never defined Streamable HTTP, but hosts ask for it there and take
    any other answer for a failure (R-116).

    Args:
        requested: the client's `protocolVersion`.

    Returns:
        `requested` if it is served, otherwise the newest with a handshake, for the client to take or leave
        (R-109). A stateless revision is never the answer: it has no handshake (R-110, E-13).
    """
    return requested if requested in HANDSHAKE else LATEST_HANDSHAKE


def kind_of(revision: str) -> str:
    """Return `stateless` or `session`, for people."""
    return "stateless" if revision in STATELESS else "session"
