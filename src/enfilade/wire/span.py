"""Runs of consecutive revisions, for tables that say who knows what.

Easy to get wrong: the end is included, as both ends are named by what still knows the thing.
"""

from typing import Final

import msgspec


class Span(msgspec.Struct, frozen=True):
    """All revisions from `first` to `last`, both included: `"2025-06-18" in SINCE_0618`."""

    first: str
    last: str

    def __contains__(self, revision: str) -> bool:
        return self.first <= revision <= self.last


_NO_END: Final = "9999-12-31"  # a revision still to come knows what the newest knows

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
