"""Log messages that are written directly: what the message types make of the same (R-2B2, R-2B4, R-502)."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import UNSET, Raw

from enfilade import Context, MCPApp, ToolError
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
        client.log(level, data, logger=logger, extra=extra)
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
async def test_a_logger_by_position_is_deprecated() -> None:
    kept = Kept()
    client: Any = ClientLog(request_with(kept, ALL[-1], "debug"))
    with pytest.warns(DeprecationWarning, match=r'ctx\.log\.info\(\.\.\., logger="\.\.\."\)') as caught:
        client.info("opened", "db", {"n": 1})
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r'ctx\.log\.log\("error", \.\.\., logger="\.\.\."\)'):
        client.log("error", "lost", "db")
    assert [json.loads(message)["params"] for message in kept.messages] == [
        {"level": "info", "logger": "db", "data": {"msg": "opened", "extra": {"n": 1}}},
        {"level": "error", "logger": "db", "data": "lost"},
    ]


@pytest.mark.parametrize("level", list(SEVERITY))
@pytest.mark.anyio
async def test_values_for_a_text_are_refused(level: LoggingLevel) -> None:
    """As `logging` takes them: `info("x %s", value)`."""
    kept = Kept()
    client: Any = ClientLog(request_with(kept, ALL[-1], "debug"))
    with pytest.raises(TypeError, match=rf'as logging does; write ctx\.log\.{level}\(f"'):
        getattr(client, level)("%s of %d", "a", 5)
    with pytest.raises(TypeError, match=rf'write ctx\.log\.log\("{level}", f"'):
        client.log(level, "x %s", "y")
    with pytest.raises(TypeError, match="takes one text or value"):
        getattr(client, level)("found", {"a": 1})
    with pytest.raises(TypeError, match="takes one logger"):
        getattr(client, level)("found", "db", logger="db")
    assert kept.messages == []


class Full(Kept):
    """An outlet whose reader does not catch up until it is told to."""

    is_congested = True

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.waiting = 0

    async def wait_for_room(self) -> None:
        self.waiting += 1
        try:
            await self.room.wait()
        finally:
            self.waiting -= 1


@pytest.mark.parametrize("outlet", [Kept, Full])
@pytest.mark.anyio
async def test_what_is_sent_may_run_as_a_task(outlet: type[Kept]) -> None:
    kept = outlet()
    client = ClientLog(request_with(kept, ALL[-1], "info"))

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for text in ("a", "b"):
                assert "AwaitableSend" in repr(group.create_task(client.info(text)))
            cancelled = asyncio.create_task(client.info("c"))
            group.create_task(client.debug("not wanted"))
            await asyncio.gather(asyncio.sleep(0), client.debug("nor this"))
            if isinstance(kept, Full):
                assert kept.waiting == 3
                cancelled.cancel()
                await asyncio.wait([cancelled])
                assert cancelled.cancelled()
                assert kept.waiting == 2
                kept.room.set()

    await asyncio.wait_for(run(), 5)
    assert len(kept.messages) == 3
    assert not isinstance(kept, Full) or kept.waiting == 0


@pytest.mark.anyio
async def test_half_a_surrogate_pair_is_replaced() -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        await ctx.log.info("a\ud800b")
        return "done"

    assert (await messages(app, "work"))[0]["params"] == {"level": "info", "data": "a\ufffdb"}


@pytest.mark.anyio
async def test_two_keys_of_one_name_do_not_fail_the_call() -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        await ctx.log.info({1: "a", "1": "b"})
        return "done"

    log, result = await messages(app, "work")
    assert log["method"] == "notifications/message"
    assert result["result"]["content"] == [{"type": "text", "text": "done"}]


@pytest.mark.anyio
async def test_what_cannot_be_logged_is_called_that() -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        with pytest.raises(
            ToolError, match="What it logged cannot be sent: JSON cannot hold an object of type object"
        ):
            await ctx.log.info(object())
        return "done"

    assert (await messages(app, "work"))[-1]["result"]["content"] == [{"type": "text", "text": "done"}]
