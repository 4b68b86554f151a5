"""`response_memory`: what all clients together may leave unread, and who gives way."""

import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest

from enfilade.timings import Timings
from enfilade.transports.http11 import memory_limits
from enfilade.transports.refusal_log import RefusalLog
from support.harness import eventually
from support.http_client.raw_http import request
from support.servers.limited_server import LARGE, UNIT, Limited, small_reader
from transports.http11.test_connection_timeouts import loop

__all__ = ["loop"]  # a fixture


def unread(server: Limited) -> Any:
    """Return what the server knows of responses that are not read."""
    return next(iter(server.state.connections))._slots.unread


def asking(stack: ExitStack, server: Limited) -> socket.socket:
    """Return a connection that has asked for a large response, and reads nothing."""
    before = len(server.app.seen)
    reader = stack.enter_context(small_reader(server.port))
    reader.sendall(request("/large"))
    eventually(lambda: len(server.app.seen) == before + 1)
    return reader


def fill(stack: ExitStack, server: Limited) -> tuple[socket.socket, socket.socket]:
    """Return two connections for whose responses there is room, and none for a third.

    How much of each the kernel takes differs, so the limit follows from what is left with the server.
    """
    first, second = asking(stack, server), asking(stack, server)
    waiting = unread(server)
    eventually(lambda: len(waiting._sizes) == 2)
    waiting._limit = LARGE // 4 + sum(each.transport.get_write_buffer_size() for each in waiting._sizes)
    return first, second


def size_read(reader: socket.socket) -> int:
    """Read a whole response, and return the size of its body."""
    with reader.makefile("rb") as file:
        while file.readline().strip():
            pass
        return len(file.read(LARGE))


def is_reset(reader: socket.socket) -> bool:
    try:
        while reader.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def test_the_newest_gives_way_to_those_that_may_still_read(
    loop: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limits, "refusals", RefusalLog())
    with Limited(loop) as server, ExitStack() as stack:
        first, second = fill(stack, server)
        third = asking(stack, server)
        eventually(lambda: server.connections() == 2)
        assert is_reset(third)
        assert 0 < unread(server).held <= unread(server)._limit
        assert (size_read(first), size_read(second)) == (LARGE, LARGE)
        eventually(lambda: unread(server).held == 0)
    assert "gave up a response that was not read, to make room for others (response_memory)" in caplog.text


def test_one_that_reads_nothing_gives_way_before_it(loop: str) -> None:
    timings = Timings(unread_progress=4 * UNIT)
    often = {"header_timeout": 4 * UNIT}  # and so a sweep for each `UNIT`
    with Limited(loop, timings=timings, **often) as server, ExitStack() as stack:
        first, second = fill(stack, server)
        slots = next(iter(server.state.connections))._slots
        end = slots.sweep.clock + 8 * UNIT
        while slots.sweep.clock < end:
            assert second.recv(64 * 1024), "it is slow, and goes on"
            time.sleep(UNIT / 4)
        third = asking(stack, server)
        assert is_reset(first)
        assert size_read(third) == LARGE
        eventually(lambda: server.connections() == 2)


def test_one_alone_may_be_larger_than_the_limit(loop: str) -> None:
    with Limited(loop, response_memory=1024) as server, ExitStack() as stack:
        assert size_read(asking(stack, server)) == LARGE


def test_whoever_goes_is_not_counted(loop: str) -> None:
    with Limited(loop) as server, ExitStack() as stack:
        stays = asking(stack, server)
        held = eventually(lambda: unread(server).held)
        assert held <= LARGE + 1024
        for _ in range(4):
            asking(stack, server).close()
            eventually(lambda: server.connections() == 1)
            assert unread(server).held == held
        assert size_read(stays) == LARGE
