"""The durations of a store's operations, for metrics."""

import inspect

import pytest

from enfilade.state.measured import measured
from enfilade.state.open import open_store
from enfilade.state.store import EventLog, Keys
from enfilade.state.tasks.records import Tasks


@pytest.mark.parametrize(("part", "protocol"), [("log", EventLog), ("keys", Keys), ("tasks", Tasks)])
def test_every_operation_is_timed(part: str, protocol: type) -> None:
    """Also one that does the work of several others in one step."""
    timed = vars(getattr(measured(open_store("memory://")), part))
    assert {
        name for name, member in vars(protocol).items() if inspect.iscoroutinefunction(member)
    } <= timed.keys()
