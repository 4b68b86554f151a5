"""Tools for some callers only: scopes that a call needs, and tools that others do not even see."""

from enfilade import Context, MCPApp, Peer
from enfilade.auth import APIKeys, Principal, ResourceServer

#: Who calls, by the digest of the key; `enfilade auth hash-key` makes one of a key of your own.
KEYS = APIKeys(
    {
        "sha256:5532e44183f47ed1fc146851b96d585c24da5bd5fe31a885cebc357261ed8f7f": Principal(
            "ada", scopes=frozenset({"notes:read"})
        ),
        "sha256:e4af1663a0a63785779c0318d6d40d9c093a325ccfaff63ecdafaf02ce0fd2b4": Principal(
            "build", scopes=frozenset({"notes:write"})
        ),
        "sha256:c8fab31a2dfb22d9ca0982ba68eaa017a4b1c0d9d1c1f5a973b486833c855c98": Principal(
            "eve", scopes=frozenset({"notes:read"}), claims={"groups": ["auditors"]}
        ),
    }
)

app = MCPApp(
    name="Scoped tools",
    version="1.0.0",
    instructions="Some tools need scopes; the error says which.",
    auth=ResourceServer(
        "http://127.0.0.1:8000/mcp",
        verifiers=[KEYS],
        scopes=["notes:read"],
        scope_hierarchy={"notes:write": ["notes:read"]},
    ),
)

notes = {"tea": "Ceylon"}


def is_auditor(principal: Principal | None, peer: Peer) -> bool:
    """Return whether a caller may know that there are audits."""
    return principal is not None and "auditors" in principal.claims.get("groups", [])


@app.tool(annotations={"readOnlyHint": True})
async def read_note(title: str) -> str:
    """Return a note.

    Args:
        title: the name of the note
    """
    return notes.get(title, "There is no such note.")


@app.tool(requires_scopes=["notes:write"], annotations={"destructiveHint": True})
async def write_note(title: str, text: str, ctx: Context) -> str:
    """Write a note, in place of an older one of this title.

    Args:
        title: the name of the note
        text: what is in it
    """
    notes[title] = text
    return f"{ctx.user_id or 'Somebody'} has written {title}"


@app.tool(visible=is_auditor, annotations={"readOnlyHint": True})
async def audit() -> list[str]:
    """List the titles of all notes."""
    return sorted(notes)


if __name__ == "__main__":
    app.run()
