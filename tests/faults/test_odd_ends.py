"""Tools that end in ways nobody planned: each is one failed call, and the server lives on (D33, R-719)."""

import logging
import re

import pytest

from support.harness import HttpMcpClient, McpClient, StdioMcpClient, eventually

ODD = [
    "crash",
    "run_dry",
    "run_dry_in_the_loop",
    "wait_for_the_cancelled",
    "fail_together",
    "leave",
    "leave_from_the_loop",
]


@pytest.mark.parametrize("tool", ODD)
def test_one_failed_call(client: McpClient, tool: str) -> None:
    """Also where Python's own machinery of iterators and cancellation gets in the way."""
    outcome = client.call(tool)
    assert outcome.result["isError"] is True
    assert re.search(r"failed with an internal error \(id [0-9a-f]{12}\)", outcome.text)
    assert client.call("echo", text="still here").text == "still here"


@pytest.mark.parametrize("client", ["http-session", "http-stateless"], indirect=True)
@pytest.mark.parametrize("tool", ["crash", "fail_together"])
def test_the_log_has_what_the_client_is_not_told(
    client: HttpMcpClient, tool: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R-719: the id leads from the one to the other."""
    with caplog.at_level(logging.ERROR, "enfilade"):
        text = client.call(tool).text
    assert "swordfish" not in text
    assert "one of several" not in text
    (record,) = caplog.records
    assert re.findall(r"[0-9a-f]{12}", text)[0] in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("client", ["stdio-session", "stdio-stateless"], indirect=True)
def test_the_log_goes_to_stderr(client: StdioMcpClient) -> None:
    text = client.call("crash").text
    correlation = re.findall(r"[0-9a-f]{12}", text)[0]
    assert "swordfish" not in text
    eventually(lambda: f"(id {correlation})" in client.stdio.log)
    eventually(lambda: "swordfish" in client.stdio.log)


def test_nothing_comes_after_the_end(client: McpClient) -> None:
    """R-2B0: work that a tool left behind has nobody to report to any more."""
    log_level = {"io.modelcontextprotocol/logLevel": "debug"} if client.stateless else {}
    outcome = client.call("outlive", meta={"progressToken": "outlive", **log_level})
    assert [params["progress"] for params in outcome.sent("notifications/progress")] == [1]
    assert outcome.sent("notifications/message") == []
    later = client.call("echo", text="x")
    assert later.notifications == []
