"""Metrics of a server with one worker, over sockets: a scrape says what its clients have counted."""

import urllib.error
from collections.abc import Iterator

import pytest

from support.http_client.connection import Http
from support.http_client.plain_http import fetch
from support.telemetry.measured_server import MeasuredServer
from support.telemetry.scrape import Scrape, outcomes

REFUSED = "mcp_server_requests_refused_total"


@pytest.fixture(scope="module")
def server() -> Iterator[MeasuredServer]:
    with MeasuredServer(ENFILADE_ALLOWED_HOSTS="mcp.example.com") as server:
        yield server


def test_a_scrape_counts_what_the_clients_counted(server: MeasuredServer) -> None:
    http = Http(server.port)
    session = http.initialize()
    for number in range(40):
        http.modern_call("add", a=number, b=1)
        session.call("add", a=number, b=1)
    for number in range(20):
        session.call("fail")
        session.call(f"made-up-{number}")
        http.modern(f"made/up-{number}")
    session.call("add", a="no number")
    session.call("late")
    session.ask("prompts/get", {"name": "greet"})
    session.ask("prompts/get", {"name": "made-up-prompt"})
    session.ask("resources/read", {"uri": "made-up://uri"})
    for code in (7, 8, 9):
        http.modern_call("own_code", code=code)
    for _ in range(3):
        http.post(b"no json")
        http.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, host="rebound.example")
    session.delete()

    scrape = Scrape.of(server.metrics_url)
    assert outcomes(scrape, method="tools/call", transport="http") == {
        ("add", "ok"): 80,
        ("add", "tool_error"): 1,
        ("fail", "tool_error"): 20,
        ("late", "deadline"): 1,
        ("own_code", "error"): 3,
        ("", "-32602"): 20,
    }
    assert outcomes(scrape, method="prompts/get") == {("greet", "ok"): 1, ("", "-32602"): 1}
    assert outcomes(scrape, method="resources/read") == {("", "-32601"): 1}
    assert scrape.total(REFUSED, reason="allowed_hosts") == 3
    assert scrape.total(REFUSED, reason="invalid_request") == 3
    assert scrape.total("enfilade_info", server="Measured", server_version="2.1") == 1
    assert "made" not in scrape.text.replace("# HELP", "").replace("made of each other", "")


def test_chained_calls_are_counted_apart(server: MeasuredServer) -> None:
    before = Scrape.of(server.metrics_url)
    Http(server.port).modern_call("chain")
    after = Scrape.of(server.metrics_url)
    assert outcomes(after)["add", "ok"] == outcomes(before)["add", "ok"]
    assert after.total("enfilade_chained_call_duration_seconds_count", target="add", outcome="ok") == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "mcp.example.com"}, 200),
        ({"host": "10.1.2.3:8000"}, 200),  # how Prometheus calls a pod
        ({"host": "[fd00::1]:8000"}, 200),
        ({"host": "rebound.example"}, 421),
        ({"host": "1.2.3.4.example"}, 421),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "https://elsewhere.example", "host": "10.1.2.3"}, 403),
    ],
)
def test_who_may_scrape(server: MeasuredServer, headers: dict[str, str], status: int) -> None:
    reply = fetch(server.port, "GET", "/metrics", headers)
    assert reply.status == status
    assert (b"mcp_server_operation" in reply.body) == (status == 200)


def test_other_methods_are_refused(server: MeasuredServer) -> None:
    reply = fetch(server.port, "POST", "/metrics", body=b"{}")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_a_token_and_a_path_of_its_own() -> None:
    with MeasuredServer(ENFILADE_METRICS_TOKEN="t0ken", ENFILADE_METRICS_PATH="/internal/metrics") as server:
        url = f"http://127.0.0.1:{server.port}/internal/metrics"
        assert "enfilade_info" in Scrape.of(url, authorization="Bearer t0ken").families
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic t0ken"}):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                Scrape.of(url, **headers)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            Scrape.of(server.metrics_url)
