"""The command line, for tests of its verbs."""

import pytest

from support.cli.runner import CommandLine


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `enfilade` in this process."""
    return CommandLine(monkeypatch, capsys)
