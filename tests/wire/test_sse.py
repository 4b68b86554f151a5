"""Framing of events, as an EventSource reads it."""

import json

from hypothesis import given, strategies as st

from enfilade.wire.jsonrpc import encode_result
from enfilade.wire.sse import KEEP_ALIVE, event
from support.exchanges import event_data

texts = st.text(max_size=40)


@given(st.lists(texts, max_size=4))
def test_every_message_comes_back(ids: list[str]) -> None:
    """R-271, S24: whatever characters it holds, U+2028 and U+0085 included."""
    stream = b"".join(event(encode_result(id, b"{}")) + KEEP_ALIVE for id in ids)
    assert [json.loads(data)["id"] for data in event_data(stream.decode().split("\n"))] == ids


def test_shape() -> None:
    """R-271: named `message`, one line of data, a blank line."""
    assert event(b"{}").split(b"\n") == [b"event: message", b"data: {}", b"", b""]


def test_keep_alive_is_a_comment() -> None:
    """R-270: no event, and nothing that an old parser could stumble over."""
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")
    assert b"data" not in KEEP_ALIVE
