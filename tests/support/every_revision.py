"""One way to ask in every revision: over HTTP where there is one, over stdio in 2024-11-05."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enfilade.wire.revisions import STATELESS
from support.harness import HttpMcpClient, McpClient, Stdio, StdioMcpClient
from support.http_client.connection import Http

CONTENT_SERVER = Path(__file__).parent / "servers/content_server.py"
STDIO_ONLY = "2024-11-05"


@contextmanager
def open_revision(revision: str, http: Http, script: Path = CONTENT_SERVER) -> Iterator[McpClient]:
    """Open a client of a server in one revision.

    Args:
        revision: which.
        http: where it is served over HTTP.
        script: what serves it over stdio.
    """
    client: McpClient
    if revision in STATELESS:
        yield HttpMcpClient(http, None)
    elif revision == STDIO_ONLY:
        with Stdio([sys.executable, str(script)]) as stdio:
            stdio.initialize(revision)
            client = StdioMcpClient(stdio, stateless=False)
            client.revision = revision
            yield client
    else:
        yield HttpMcpClient(http, http.initialize(revision))


def opening_of(client: McpClient, http: Http) -> dict[str, Any]:
    """Return what the server says of itself in the revision of a client."""
    if client.stateless:
        return client.ask("server/discover").result
    client_info = {"name": "harness", "version": "1"}
    params = {"protocolVersion": client.revision, "capabilities": {}, "clientInfo": client_info}
    if client.over_http:
        return http.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).result
    with Stdio([sys.executable, str(CONTENT_SERVER)]) as stdio:
        result: dict[str, Any] = stdio.initialize(client.revision)["result"]
        return result
