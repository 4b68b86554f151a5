"""The commands of docs/operating.md for an incident, run on the log and the audit of calls that failed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.servers.processes import ROOT

PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"```text\n((?:jq|grep) .*?)```", PAGE.partition("## A line for each request")[0], re.DOTALL
)

LINES = [
    {"logger": "enfilade", "message": "serving"},
    *(
        {
            "time": f"2026-11-28T20:56:{second:02d}.000Z",
            "logger": "enfilade.requests",
            "method": "tools/call",
            "target": target,
            "ms": ms,
            "outcome": outcome,
            "client": "acme/2",
            "principal": '[null,"ada"]',
            "request_id": "9d6895990000000b",
            **({} if outcome == "ok" else {"reason": "arguments"}),
        }
        for second, (target, ms, outcome) in enumerate(
            [
                ("price", 3.5, "ok"),
                ("price", 900.25, "ok"),
                ("stock", 2.0, "tool_error"),
                ("stock", 2.5, "tool_error"),
            ]
        )
    ),
]
ENTRY = {
    "outcome": "tool_error",
    "principal": "ada",
    "client": "acme/2",
    "target": "stock",
    "arguments": {"n": "two"},
    "request_id": "9d6895990000000b",
}


@pytest.mark.skipif(shutil.which("jq") is None or shutil.which("awk") is None, reason="jq or awk is not there")
def test_they_find_the_slow_tool_the_failing_client_and_the_request(tmp_path: Path) -> None:
    log = ["a line of another program", *map(json.dumps, LINES)]
    (tmp_path / "server.log").write_text("\n".join(log) + "\n", encoding="utf-8")
    (tmp_path / "audit.jsonl").write_text(json.dumps(ENTRY) + "\n", encoding="utf-8")
    found = [
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for command in COMMANDS
    ]
    slow, failing, callers, request = found
    assert "price 2 900.25 900.25 1" in slow
    assert "stock 2 2.5 2.5 0" in slow
    assert '2 acme/2\t[null,"ada"]\tstock\ttool_error\targuments' in failing
    assert '["ada","acme/2","stock",{"n":"two"}]' in failing
    assert '2 2026-11-28T20:56\t[null,"ada"]\tprice' in callers
    assert request.count("9d6895990000000b") == 5
