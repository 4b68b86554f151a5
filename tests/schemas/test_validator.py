"""The judge is judged: `check_outgoing` accepts what is legal and sees what is not."""

import copy
from typing import Any

import pytest

from support.schemas.official_schemas import needs_schemas
from support.schemas.validator import check_outgoing

OLD, CURRENT, NEW = "2025-03-26", "2025-11-25", "2026-07-28"
TEXT = {"type": "text", "text": "hello"}
TOOL = {"name": "add", "inputSchema": {"type": "object"}}


def response(**result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


def error(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": members}


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


LEGAL = {
    "call-2024": ("2024-11-05", response(content=[TEXT], isError=False), "tools/call"),
    "call-2025": (CURRENT, response(content=[TEXT], structuredContent={"a": None}), "tools/call"),
    "call-2026": (NEW, response(resultType="complete", content=[TEXT], structuredContent=None), "tools/call"),
    "list-2026": (
        NEW,
        response(resultType="complete", tools=[TOOL], ttlMs=0, cacheScope="private"),
        "tools/list",
    ),
    "asks-R-287": (
        NEW,
        response(resultType="input_required", inputRequests={"a": {"method": "roots/list"}}, requestState="s"),
        "tools/call",
    ),
    "task-R-372": (
        CURRENT,
        response(task={"taskId": "t", "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": None}),
        "tools/call",
    ),
    "empty": (CURRENT, response(), "ping"),
    "unreadable-id-C-18": (OLD, {**error(code=-32700, message="Parse error"), "id": None}, None),
    "extensions-C-15": (
        CURRENT,
        response(
            protocolVersion=CURRENT,
            capabilities={"extensions": {"a/b": {}}},
            serverInfo={"name": "n", "version": "1"},
        ),
        "initialize",
    ),
    "log": (OLD, notification("notifications/message", level="info", data=None), None),
    "version-error-R-106": (
        NEW,
        error(code=-32022, message="no", data={"supported": [NEW], "requested": "x"}),
        "tools/call",
    ),
    "server-request": (CURRENT, {"jsonrpc": "2.0", "id": "s-1", "method": "ping"}, None),
}


@pytest.mark.parametrize(("revision", "message", "method"), LEGAL.values(), ids=LEGAL)
def test_accepts(revision: str, message: dict[str, Any], method: str | None) -> None:
    before = copy.deepcopy(message)
    check_outgoing(revision, message, method)
    assert message == before


ILLEGAL = {
    "no-resultType": (NEW, response(content=[TEXT]), "tools/call"),
    "no-caching-R-2A0": (NEW, response(resultType="complete", tools=[]), "tools/list"),
    "asks-where-it-must-not-R-286": (
        NEW,
        response(resultType="input_required", requestState="s"),
        "completion/complete",
    ),
    "unknown-content": (CURRENT, response(content=[{"type": "video", "data": ""}]), "tools/call"),
    "no-content": (CURRENT, response(), "tools/call"),
    "result-of-another-method": (CURRENT, response(tools=[]), "prompts/list"),
    "unknown-method": (CURRENT, response(), "tools/frobnicate"),
    "method-of-another-revision": (CURRENT, response(), "server/discover"),
    "error-code-as-text": (CURRENT, error(code="-32600", message="m"), "tools/call"),
    "error-without-message": (CURRENT, error(code=-32600), "tools/call"),
    "error-with-more": (CURRENT, error(code=-32600, message="m", status=400), "tools/call"),
    "result-and-error": (CURRENT, {**response(), **error(code=1, message="m")}, "ping"),
    "id-null-of-result": (CURRENT, {**response(), "id": None}, "ping"),
    "id-boolean": (CURRENT, {**response(), "id": True}, "ping"),
    "id-fraction": (CURRENT, {**response(), "id": 1.5}, "ping"),
    "no-jsonrpc": (CURRENT, {"id": 1, "result": {}}, "ping"),
    "legacy-array-structured-R-504": (CURRENT, response(content=[TEXT], structuredContent=[1]), "tools/call"),
    "modern-meta-R-501": (
        CURRENT,
        response(content=[TEXT], _meta={"io.modelcontextprotocol/serverInfo": {"name": "n", "version": "1"}}),
        "tools/call",
    ),
    "server-request-2026": (NEW, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, None),
    "listen-ack-2025": (
        CURRENT,
        notification("notifications/subscriptions/acknowledged", notifications={}),
        None,
    ),
    "not-empty": (CURRENT, response(resultType="complete"), "ping"),
    "unknown-notification": (CURRENT, notification("notifications/hello"), None),
    "progress-without-token": (CURRENT, notification("notifications/progress", progress=1), None),
}


@pytest.mark.parametrize(("revision", "message", "method"), ILLEGAL.values(), ids=ILLEGAL)
def test_refuses(revision: str, message: dict[str, Any], method: str | None) -> None:
    with pytest.raises(AssertionError, match=revision):
        check_outgoing(revision, message, method)


#: Only the schemas see these: the package takes null for absent, and knows two shapes for five revisions.
ONLY_BY_SCHEMA = {
    "null-cursor-R-502": (CURRENT, response(tools=[], nextCursor=None), "tools/list"),
    "null-title-R-502": (CURRENT, response(tools=[{**TOOL, "title": None}]), "tools/list"),
    "resultType": (CURRENT, response(resultType="complete", content=[TEXT]), "tools/call"),
    "ttlMs": (CURRENT, response(tools=[], ttlMs=0), "tools/list"),
    "execution-2026": (
        NEW,
        response(resultType="complete", ttlMs=0, cacheScope="private", tools=[{**TOOL, "execution": {}}]),
        "tools/list",
    ),
    "icons": ("2025-06-18", response(tools=[{**TOOL, "icons": []}]), "tools/list"),
    "title": (OLD, response(tools=[{**TOOL, "title": "Add"}]), "tools/list"),
    "annotations": ("2024-11-05", response(tools=[{**TOOL, "annotations": {}}]), "tools/list"),
    "audio": (
        "2024-11-05",
        response(content=[{"type": "audio", "data": "", "mimeType": "audio/wav"}]),
        "tools/call",
    ),
    "resource-link": (
        OLD,
        response(content=[{"type": "resource_link", "uri": "a:b", "name": "n"}]),
        "tools/call",
    ),
    "content-meta": (OLD, response(content=[{**TEXT, "_meta": {}}]), "tools/call"),
    "lastModified": (
        OLD,
        response(content=[{**TEXT, "annotations": {"lastModified": "2025-01-01T00:00:00Z"}}]),
        "tools/call",
    ),
    "progress-message": (
        "2024-11-05",
        notification("notifications/progress", progressToken=1, progress=1, message="m"),
        None,
    ),
    "completions": (
        "2024-11-05",
        response(
            protocolVersion="2024-11-05",
            capabilities={"completions": {}},
            serverInfo={"name": "n", "version": "1"},
        ),
        "initialize",
    ),
    "elicitation-mode": (
        "2025-06-18",
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "elicitation/create",
            "params": {
                "mode": "form",
                "message": "?",
                "requestedSchema": {"type": "object", "properties": {}},
            },
        },
        None,
    ),
}


@needs_schemas
@pytest.mark.parametrize(("revision", "message", "method"), ONLY_BY_SCHEMA.values(), ids=ONLY_BY_SCHEMA)
def test_refuses_by_schema(revision: str, message: dict[str, Any], method: str | None) -> None:
    """R-502 null where absent is due; R-501 fields of a later revision, which only closed schemas see."""
    with pytest.raises(AssertionError, match="schema"):
        check_outgoing(revision, message, method)
