"""Log messages that are written directly: what the message types make of the same (R-2B2, R-2B4, R-502)."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import UNSET, Raw

from enfilade import Context, MCPApp
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.channel import Channel, Peer
from enfilade.serving.notifications import ClientLog
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import encode_notification
from enfilade.wire.message import RequestParams
from enfilade.wire.notifications import SEVERITY, LoggingLevel, LoggingMessageNotificationParams
from enfilade.wire.projection import encode
from enfilade.wire.revisions import ALL
from support.servers.calls_in_process import messages

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


class Kept:
    """An outlet that keeps what it gets."""

    is_congested = False

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def push(self, message: bytes) -> bool:
        self.messages.append(message)
        return True

    def send(self, message: bytes) -> bool:
        return self.push(message)

    async def wait_for_room(self) -> None:
        raise AssertionError("there is room")

    def close_connection(self, retry: float | None) -> bool:
        return False


def request_with(outlet: Kept, revision: str, level: LoggingLevel) -> Request:
    return Request(
        1, "tools/call", RequestParams(), Peer(revision=revision), Channel(outlet=outlet, log_level=level)
    )


@pytest.mark.parametrize("revision", ALL)
@pytest.mark.anyio
async def test_the_same_as_by_the_message_type(revision: str) -> None:
    kept = Kept()
    client = ClientLog(request_with(kept, revision, "debug"))

    @given(level=st.sampled_from(list(SEVERITY)), data=JSON, logger=st.none() | TEXT, extra=st.none() | JSON)
    def check(level: LoggingLevel, data: Any, logger: str | None, extra: Any) -> None:
        client.log(level, data, logger, extra)
        said = json_bytes(data if extra is None else {"msg": data, "extra": extra})
        params = LoggingMessageNotificationParams(
            level=level, data=Raw(said), logger=UNSET if logger is None else logger
        )
        written = kept.messages.pop()
        assert json.loads(written) == json.loads(
            encode_notification("notifications/message", encode(params, revision))
        )

    check()


@pytest.mark.anyio
async def test_to_wait_where_there_is_room_takes_no_turn_of_the_event_loop() -> None:
    """Neither a report nor a message that has room lets anybody else go first."""
    kept = Kept()
    request = request_with(kept, ALL[-1], "info")

    async def say() -> None:
        await ClientLog(request).info("here")
        await ClientLog(request).debug("not wanted")

    with pytest.raises(StopIteration):
        say().send(None)
    assert len(kept.messages) == 1


@pytest.mark.anyio
async def test_half_a_surrogate_pair_is_replaced() -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        await ctx.log.info("a\ud800b")
        return "done"

    assert (await messages(app, "work"))[0]["params"] == {"level": "info", "data": "a\ufffdb"}
