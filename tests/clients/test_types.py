"""The official TypeScript clients list a tool for every supported type, and take what it returns."""

import json
import sys
from pathlib import Path

import pytest

from clients.drivers import DRIVERS, HERE, Driver, drive, installed
from support.schemas.supported_types import BASE

TYPESCRIPT = [each for each in DRIVERS if each.name in ("typescript-v1", "typescript-v2-auto")]


@pytest.mark.parametrize("client", TYPESCRIPT, ids=lambda client: client.name)
def test_a_client_takes_every_type(client: Driver, tmp_path: Path) -> None:
    """Both compile the output schema of each tool, and refuse a result that it does not allow."""
    names = [name.replace(" ", "_") for name in BASE]
    steps = [[{"key": name, "tool": name, "arguments": {}}] for name in names]
    script = tmp_path / "types.json"
    script.write_text(json.dumps({"logLevel": "error", "steps": steps}), encoding="utf-8")
    report = drive(installed(client), str(script), ["stdio", sys.executable, str(HERE / "types_server.py")])
    assert list(report.tools) == names
    assert {name: call for name, call in report.calls.items() if call.get("isError") is not False} == {}
    assert len(report.calls) == len(names)
