"""A server for two audiences: an auditor, for whom one tool is there at all, and a writer, who has a scope.

    with ProcessCluster(4, COMMAND, store, environment()) as cluster:

Its tool `renew` replaces the tool for the auditor, at the process that is asked. Then it announces an update of a
resource, of which everybody hears.
"""

from typing import Final

from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.serving.channel import Peer
from support.servers.processes import enfilade_command

COMMAND: Final = enfilade_command("run", __file__, "--transport", "http", "--port", "{port}")
AUDITOR, WRITER = "key-of-the-auditor", "key-of-the-writer"
SCOPE, RESOURCE = "notes:write", "note://open"


def audits(principal: Principal | None, peer: Peer) -> bool:
    return principal is not None and principal.subject == "auditor"


def text() -> str:
    """Return a text."""
    return "text"


def make_app() -> MCPApp:
    principals = {AUDITOR: Principal("auditor"), WRITER: Principal("writer", scopes=frozenset({SCOPE}))}
    keys = APIKeys({hash_key(key): principal for key, principal in principals.items()})
    app = MCPApp("audiences", auth=ResourceServer("https://mcp.example.com/mcp", verifiers=[keys]))
    app.add_resource(text, RESOURCE)
    app.add_prompt(text, name="findings", visible=audits)
    app.add_tool(text, name="audit", visible=audits)
    app.add_tool(text, name="write", requires_scopes=[SCOPE])

    @app.tool
    def renew() -> str:
        """Replace a tool."""
        app.remove_tool("audit")
        app.add_tool(text, name="audit", visible=audits)
        app.notify_resource_updated(RESOURCE)
        return "renewed"

    return app


app = make_app()
