"""A line for each HTTP request: for those who look for a mistake, and not for those who serve others.

The easy thing to get wrong is to look too soon: the line is written before the response, but read by a thread.
"""

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
