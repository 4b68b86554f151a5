"""Conformance probes: requests without side effects, in each era.

No tool of the server is run: arguments that are not an object are sent to tools with required arguments, which
cannot run with them, or else to a tool that does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from enfilade.lint.findings import Finding, Severity

if TYPE_CHECKING:
    from enfilade.client.recording_client import Connected
    from enfilade.client.surface import Surface

_METHOD_NOT_FOUND: Final = -32601
_NO_SUCH_METHOD: Final = "enfilade/no-such-method"
_NO_SUCH_TOOL: Final = "enfilade_no_such_tool"
_MAX_PROBED_TOOLS: Final = 20  # that are called with arguments that are not an object

_FIXES: Final = {
    "unknown-method": "answer unknown methods with the JSON-RPC error -32601",
    "unknown-tool": "answer a call of a tool that does not exist with an error",
    "malformed-arguments": "validate arguments, and answer invalid ones with an error",
    "ping": "answer ping with an empty result",
    "alive": "an error in one request must not end the connection",
    "era": "nothing, if all of your clients support the other one",
}


async def probe(client: Connected, surface: Surface) -> list[Finding]:
    """Return the findings about a server's responses in the era of its client."""
    return [finding async for finding in _probe(client, surface)]


def missing_era(era: str, reason: str) -> Finding:
    """Return the finding that a server does not support an era."""
    return _finding("era", "note", era, reason)


async def _probe(client: Connected, surface: Surface) -> AsyncIterator[Finding]:
    where = client.protocol_version
    code = await _error_of(client, _NO_SUCH_METHOD, {})
    if code != _METHOD_NOT_FOUND:
        yield _finding("unknown-method", "error", where, f"an unknown method is answered with {_answer(code)}")
    if surface.tools:
        code = await _error_of(client, "tools/call", {"name": _NO_SUCH_TOOL, "arguments": {}})
        if code is None:
            yield _finding("unknown-tool", "error", where, "a call of a tool that does not exist succeeds")
        for tool in surface.tools[:_MAX_PROBED_TOOLS]:
            required = tool.get("inputSchema", {}).get("required")
            name = tool["name"] if required else _NO_SUCH_TOOL
            code = await _error_of(client, "tools/call", {"name": name, "arguments": "no object"})
            if code is None:
                yield _finding(
                    "malformed-arguments",
                    "error",
                    f"{where}, tool {name}",
                    "accepts arguments that are not an object",
                )
    async for finding in _probe_after_errors(client, where):
        yield finding


async def _probe_after_errors(client: Connected, where: str) -> AsyncIterator[Finding]:
    session = client.session.initialize_result is not None
    method = "ping" if session else "tools/list"
    code = await _error_of(client, method, {})
    if code is not None and not (method == "tools/list" and code == _METHOD_NOT_FOUND):
        rule = "ping" if code == _METHOD_NOT_FOUND else "alive"
        yield _finding(rule, "error", where, f"{method} is answered with {_answer(code)} after errors")


async def _error_of(client: Connected, method: str, params: dict[str, Any]) -> int | None:
    """Return the error code of a response; None if the request succeeds, 0 if a tool reports a failure."""
    from mcp import MCPError
    from mcp_types import Request
    from pydantic import RootModel, ValidationError

    request: Request[dict[str, Any], str] = Request(method=method, params=params)
    try:
        response = await client.session.send_request(request, RootModel[dict[str, Any]])
    except MCPError as error:
        return error.code
    except ValidationError:  # a result of another form
        return None
    return 0 if response.root.get("isError") else None


def _answer(code: int | None) -> str:
    return "a result" if code is None else f"the error {code}"


def _finding(rule: str, severity: Severity, where: str, problem: str) -> Finding:
    return Finding(rule=rule, severity=severity, where=where, problem=problem, fix=_FIXES[rule])
