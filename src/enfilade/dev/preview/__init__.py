"""The preview of views, in `enfilade dev`: a host of MCP Apps as a page, beside the endpoint.

    /preview/ ─ page/ ─ host.js ──▶ /mcp                      tools/call, resources/read
                          │ postMessage (bridge.js)
                          ▼
    another port ─ page/sandbox.html, with the policy of the view ──▶ the view

The page needs no build. Easy to get wrong: where the sandbox comes from. It must have another origin than the
page (ext-apps 2026-01-26, "Sandbox proxy"), and nothing else may be served there.
"""
