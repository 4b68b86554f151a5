"""A line for each HTTP request: for those who look for a mistake, and not for those who serve others.

The easy thing to get wrong is to look too soon: the line is written before the response, but read by a thread.
"""

import http.client

import pytest

from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command

LINE = '"POST /mcp HTTP/1.1" 200'
COMMAND = enfilade_command(
    "run", "examples/quickstart/server.py", "--transport", "http", "--port", "{port}", "--path", "/mcp"
)


@pytest.mark.parametrize(("level", "logged"), [("info", False), ("debug", True)])
def test_each_request_has_a_line_where_it_was_asked_for(level: str, logged: bool) -> None:
    with ServerProcess(COMMAND, env={"ENFILADE_LOG_LEVEL": level, "NO_COLOR": "1"}) as server:
        Http(server.port).initialize()
        if logged:
            eventually(lambda: LINE in server.output)
    assert (LINE in server.output) == logged


@pytest.mark.parametrize(
    "more", [{}, {"ENFILADE_HEALTH_PATH": "/alive", "ENFILADE_READY_PATH": "/busy"}], ids=len
)
def test_a_probe_that_is_answered_200_has_none(more: dict[str, str]) -> None:
    paths = [more.get("ENFILADE_HEALTH_PATH", "/healthz"), more.get("ENFILADE_READY_PATH", "/readyz")]
    elsewhere = {"/healthz", "/readyz"} - set(paths) or {"/other"}
    with ServerProcess(COMMAND, env={"ENFILADE_LOG_LEVEL": "debug", "NO_COLOR": "1", **more}) as server:
        for path in (*paths, f"{paths[0]}?q", *elsewhere):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", path)
            connection.getresponse().read()
        refused = http.client.HTTPConnection("127.0.0.1", server.port)
        refused.request("DELETE", paths[0])
        assert refused.getresponse().status == 405
        for path in elsewhere:
            eventually(lambda path=path: f'"GET {path} HTTP/1.1" 404' in server.output)
        eventually(lambda: f'"DELETE {paths[0]} HTTP/1.1" 405' in server.output)
    assert not [path for path in paths if f'"GET {path}' in server.output]


def test_a_query_is_not_logged() -> None:
    """B2, R-611: a client may have put its token there by mistake."""
    with ServerProcess(COMMAND, env={"ENFILADE_LOG_LEVEL": "debug", "NO_COLOR": "1"}) as server:
        for path in ("/mcp?access_token=hush", "/other?access_token=hush", "/mcp?a=%zz&access_token=hush"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", path, headers={"host": "elsewhere.example"} if "zz" in path else {})
            connection.getresponse().read()
        eventually(lambda: '"GET /other HTTP/1.1" 404' in server.output)
        eventually(lambda: server.output.count('"GET /mcp HTTP/1.1" 4') == 2)
    assert "hush" not in server.output
