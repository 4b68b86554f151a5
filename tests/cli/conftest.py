"""The command line, for tests of its verbs."""

import pytest

from support.cli.runner import Line


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    """`enfilade …`, typed in this process."""
    return Line(monkeypatch, capsys)
