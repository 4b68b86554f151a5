"""Which records are lines of the log, and count towards its limit."""

import logging
import time

import pytest

from enfilade.serving.channel import Channel, Peer
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.request_log import RequestLog
from enfilade.serving.request import Request


def ended(parent: RequestRecord | None = None) -> RequestRecord:
    now = time.perf_counter()
    record = RequestRecord("http", now, ended=now, parent=parent)
    record.request = Request(1, "ping", None, Peer(revision="2025-11-25"), Channel())
    record.is_dispatched = True
    return record


@pytest.mark.parametrize(("level", "lines"), [(logging.INFO, 2), (logging.WARNING, 0)])
def test_what_the_level_leaves_out_takes_no_place(
    caplog: pytest.LogCaptureFixture, level: int, lines: int
) -> None:
    """Calls that tools make of each other are of the level debug. A level may change while the server runs."""
    log = RequestLog(limit=2)
    caplog.set_level(level, "enfilade.requests")
    first, second = ended(), ended()
    log.end(first)
    for _ in range(10):
        log.end(ended(first))
    log.end(second)
    assert len([line for line in caplog.records if line.name == "enfilade.requests"]) == lines
    assert log._left_out.total() == 0
