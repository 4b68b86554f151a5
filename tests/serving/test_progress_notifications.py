"""Progress notifications that are written directly: what the message types make of the same values (R-2B0)."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import UNSET

from enfilade.serving.notifications import ProgressNotifications
from enfilade.wire.jsonrpc import encode_notification
from enfilade.wire.notifications import ProgressNotificationParams
from enfilade.wire.projection import encode
from enfilade.wire.revisions import ALL

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


def by_type(token: Any, revision: str, progress: float, total: float | None, message: str | None) -> bytes:
    params = ProgressNotificationParams(
        progress_token=token,
        progress=progress,
        total=UNSET if total is None else total,
        message=UNSET if message is None else message,
    )
    return encode_notification("notifications/progress", encode(params, revision))


@pytest.mark.parametrize("revision", ALL)
@given(
    token=st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    reports=st.lists(st.tuples(NUMBERS, st.none() | NUMBERS, TEXTS), max_size=5),
)
def test_the_same_as_by_the_message_type(
    revision: str, token: int | str, reports: list[tuple[float, float | None, str | None]]
) -> None:
    """Whatever came before: nothing of one report is left in the next."""
    notifications = ProgressNotifications(token, with_messages=b"m" in by_type("", revision, 0, None, "m")[-5:])
    for report in reports:
        written, expected = notifications.encoded(*report), by_type(token, revision, *report)
        assert json.loads(written) == json.loads(expected)
        assert written == expected


def test_a_token_keeps_its_type() -> None:
    for token in (1, "1"):
        written = ProgressNotifications(token, with_messages=True).encoded(1, None, None)
        assert json.loads(written)["params"] == {"progressToken": token, "progress": 1}


def test_a_total_of_another_type_is_not_taken_for_the_one_before() -> None:
    notifications = ProgressNotifications("t", with_messages=True)
    totals = [json.loads(notifications.encoded(1, total, None))["params"]["total"] for total in (1, 1.0, True, 2)]
    assert [type(each) for each in totals] == [int, float, bool, int]
