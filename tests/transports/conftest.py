"""Shorter waits of a connection, for tests in which they pass."""

import pytest

from enfilade.transports.http11 import flow_control, protocol
from support.servers.limited_server import UNIT


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon close connections whose client neither reads on nor leaves, or has closed its half and waits."""
    monkeypatch.setattr(flow_control, "LINGER", 4 * UNIT)
    monkeypatch.setattr(protocol, "_HALF_CLOSED", 4 * UNIT)
