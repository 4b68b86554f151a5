"""Which revisions there are, and which one is agreed on."""

import pytest

from enfilade.wire import revisions
from enfilade.wire.revisions import (
    EVERY,
    HANDSHAKE,
    ONLY_1125,
    SINCE_0728,
    STATELESS,
    UNTIL_1125,
    Span,
    negotiate,
)


def test_they_are_in_the_order_of_time() -> None:
    """Revisions are compared as texts."""
    assert list(revisions.ALL) == sorted(set(revisions.ALL))
    assert max(HANDSHAKE) < min(STATELESS)
    assert (revisions.LATEST_HANDSHAKE, revisions.LATEST_STATELESS) == ("2025-11-25", "2026-07-28")


@pytest.mark.parametrize("requested", HANDSHAKE)
def test_what_is_known_is_agreed_on(requested: str) -> None:
    """R-109."""
    assert negotiate(requested) == requested


@pytest.mark.parametrize("requested", [*STATELESS, "1999-01-01", "", "2025-11-26", "draft", "2025-06-18 "])
def test_what_is_not_gets_the_newest(requested: str) -> None:
    """R-109, R-110: never a revision that has no handshake."""
    assert negotiate(requested) == "2025-11-25"


@pytest.mark.parametrize(
    ("span", "inside"),
    [
        (EVERY, revisions.ALL),
        (UNTIL_1125, HANDSHAKE),
        (ONLY_1125, ("2025-11-25",)),
        (SINCE_0728, STATELESS),
        (Span("2025-03-26", "2025-06-18"), ("2025-03-26", "2025-06-18")),
    ],
)
def test_spans_include_both_ends(span: Span, inside: tuple[str, ...]) -> None:
    assert tuple(revision for revision in revisions.ALL if revision in span) == inside


def test_the_newest_spans_hold_for_revisions_to_come() -> None:
    assert "2027-01-01" in SINCE_0728
    assert "2027-01-01" not in UNTIL_1125
