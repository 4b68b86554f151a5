"""What to do about a request that was refused, for whoever writes the server or its client.

The server's own error says what is wrong, and often all there is to say; here stands what it leaves open. Easy to
get wrong: 404 and 400 have several reasons, so the words of the error decide where the status alone does not.
"""

from typing import Final

#: What to do, by HTTP status and words of the error; the first that fits.
_ADVICE: Final[tuple[tuple[int, str, str], ...]] = (
    (
        400,
        "session id",
        "a client of the session era begins with initialize, and sends Mcp-Session-Id from then on",
    ),
    (400, "protocol version", "the MCP-Protocol-Version header must name a revision that is served"),
    (400, "header", "headers and body must say the same: look at Mcp-Method, Mcp-Name and MCP-Protocol-Version"),
    (400, "json", "the body must be one JSON-RPC message, in UTF-8"),
    (400, "_meta", "since 2026-07-28 each request says in _meta which revision and client it is"),
    (
        404,
        "session",
        "the session has ended, or another secret sealed it; the client should send initialize again",
    ),
    (404, "endpoint", "give the client the whole URL, with the path"),
    (404, "method", "the client asked for what this server does not offer; it may only be trying"),
    (406, "", "send Accept: application/json, text/event-stream"),
    (413, "", "send less, or set ENFILADE_BODY_LIMIT"),
    (500, "", "the log above has the whole failure under the id"),
    (503, "", "the store is out of reach, or the server is stopping; the log above says which"),
)


def advice(status: int, message: str) -> str | None:
    """Return what to do about a refusal; None if the error says it all."""
    said = message.lower()
    return next((what for code, words, what in _ADVICE if code == status and words in said), None)
