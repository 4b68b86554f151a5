"""Notes for programs: who calls must have an API key. The server has the digests of the keys, and no key."""

import json
import os
from pathlib import Path

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import APIKeys, Principal, ResourceServer

#: The public URL of the endpoint.
RESOURCE = os.environ.get("RESOURCE", "http://127.0.0.1:8000/mcp")
#: Where keys.py keeps the digests. It is read at start; without it there is no key, and nobody gets in.
KEYS = Path(os.environ.get("KEYS", Path(__file__).with_name("keys.json")))


def known_keys() -> dict[str, Principal]:
    """Return who has a key, by the digest of the key."""
    entries = json.loads(KEYS.read_text("utf-8")) if KEYS.exists() else {}
    return {
        digest: Principal(entry["name"], scopes=frozenset(entry["scopes"])) for digest, entry in entries.items()
    }


app = MCPApp(
    name="api_keys",
    version="1.0.0",
    auth=ResourceServer(RESOURCE, verifiers=[APIKeys(known_keys(), header="X-API-Key")], scopes=["notes:read"]),
)

NOTES: dict[str, str] = {}


@app.tool
def whoami(ctx: Context) -> str:
    """Say whose key it is."""
    return ctx.user_id or "the local user"


@app.tool
def read_note(title: str) -> str:
    """Read a note."""
    if title not in NOTES:
        raise ToolError(f"There is no note {title!r}, but {len(NOTES)} others.")
    return NOTES[title]


@app.tool(requires_scopes=["notes:write"])
def write_note(title: str, text: str, ctx: Context) -> str:
    """Write a note. The key needs a scope more than the server demands of everybody."""
    NOTES[title] = text
    return f"{ctx.user_id} has written {title}."


if __name__ == "__main__":
    app.run()
