"""Checks messages that the server sent against everything that is official about their revision.

Three judges: the pydantic models of `mcp_types` (which know two shapes, 2025-11-25 for all handshake revisions
and 2026-07-28), the revision's JSON Schema, and the same schema closed, so that no newer vocabulary reaches an
older peer (R-501). The schemas judge only where their folder is present; see `official_schemas.py`.

Easy to get wrong: a response does not say what it answers, so its type follows from the method of the request.
"""

from typing import Any

import mcp_types.methods as official
import pydantic

from enfilade.wire.revisions import ALL, STATELESS
from support.schemas import official_schemas
from support.schemas.extension_shapes import (
    SKILL_RESULTS,
    TASK_METHODS,
    check_method,
    check_notification,
    check_skill_result,
    check_task_result,
    without_task_ids,
)

_ERRORS = {
    "2026-07-28": {
        -32020: "HeaderMismatchError",
        -32021: "MissingRequiredClientCapabilityError",
        -32022: "UnsupportedProtocolVersionError",
    },
    "2025-11-25": {-32042: "URLElicitationRequiredError"},
}

_RESULTS = {
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
    "subscriptions/listen": "SubscriptionsListenResult",
    "completion/complete": "CompleteResult",
    "logging/setLevel": "EmptyResult",
    "tasks/get": "GetTaskResult",
    "tasks/result": "GetTaskPayloadResult",
    "tasks/list": "ListTasksResult",
    "tasks/cancel": "CancelTaskResult",
}

_MAY_ASK = {"tools/call", "prompts/get", "resources/read"}

_SENT = {
    "ping": "PingRequest",
    "sampling/createMessage": "CreateMessageRequest",
    "roots/list": "ListRootsRequest",
    "elicitation/create": "ElicitRequest",
    "notifications/cancelled": "CancelledNotification",
    "notifications/progress": "ProgressNotification",
    "notifications/message": "LoggingMessageNotification",
    "notifications/tools/list_changed": "ToolListChangedNotification",
    "notifications/prompts/list_changed": "PromptListChangedNotification",
    "notifications/resources/list_changed": "ResourceListChangedNotification",
    "notifications/resources/updated": "ResourceUpdatedNotification",
    "notifications/subscriptions/acknowledged": "SubscriptionsAcknowledgedNotification",
    "notifications/elicitation/complete": "ElicitationCompleteNotification",
    "notifications/tasks/status": "TaskStatusNotification",
}

_MODERN_META = {"io.modelcontextprotocol/serverInfo", "io.modelcontextprotocol/subscriptionId"}


def check_outgoing(revision: str, message: dict[str, Any], request_method: str | None) -> None:
    """Check one JSON-RPC message that left the server.

    Args:
        revision: the peer's protocol revision.
        message: the parsed message: a response, a notification or a request of the server.
        request_method: what a response answers; None for all other messages, and for a response to something
            whose method could not be read, which can only be an error.

    Raises:
        AssertionError: the message is not legal in that revision; the text says why.
    """
    assert revision in ALL, f"unknown revision {revision!r}"
    try:
        _check_envelope(message)
        if "method" in message:
            _check_sent(revision, message)
        elif "error" in message:
            _check_error(revision, message)
        else:
            assert request_method is not None, "a result to a request whose method nobody knows"
            _check_result(revision, message["result"], request_method)
    except AssertionError as error:
        raise AssertionError(f"[{revision}, {request_method or message.get('method')}] {error}") from None


def _check_envelope(message: dict[str, Any]) -> None:
    assert message.get("jsonrpc") == "2.0", "jsonrpc is not '2.0'"
    parts = set(message) - {"jsonrpc"}
    shapes = [{"id", "result"}, {"id", "error"}, {"method", "id"}, {"method", "id", "params"}]
    shapes += [{"error"}, {"method"}, {"method", "params"}]
    assert parts in shapes, f"these members make no message: {sorted(parts)}"
    # C-18: the answer to what could not be read has the id null.
    if "id" in message and not ("error" in message and message["id"] is None):
        assert isinstance(message["id"], str | int), f"id {message['id']!r} is neither a string nor an integer"
        assert not isinstance(message["id"], bool), "id is a boolean"


def _check_sent(revision: str, message: dict[str, Any]) -> None:
    method, params = message["method"], message.get("params")
    name = _SENT.get(method)
    if name is None:
        assert "id" not in message, "the server has no such method"
        check_notification(method, params)
        _check_meta(revision, params or {})
        return
    if method == "notifications/subscriptions/acknowledged":
        message = without_task_ids(message)
    _check_schema(revision, name, message)
    surface = official.SERVER_REQUESTS if "id" in message else official.SERVER_NOTIFICATIONS
    if method == "notifications/tasks/status":
        assert revision == "2025-11-25", "tasks are known to 2025-11-25 only"
        return  # the official package leaves tasks out
    kind = surface.get((method, revision))
    assert kind, f"{revision} has no such {'request' if 'id' in message else 'notification'} of the server"
    _check_model(kind, message)
    _check_meta(revision, params or {})


def _check_error(revision: str, message: dict[str, Any]) -> None:
    error = message["error"]
    assert isinstance(error, dict), "error is no object"
    assert set(error) <= {"code", "message", "data"}, f"members of error: {sorted(error)}"
    assert type(error.get("code")) is int, "the code of an error is an integer"
    assert isinstance(error.get("message"), str), "the message of an error is a string"
    if official_schemas.PRESENT:
        name = _ERRORS.get(revision, {}).get(error["code"]) or (
            "JSONRPCErrorResponse" if revision >= "2025-11-25" else "JSONRPCError"
        )
        readable = message if message.get("id") is not None else {**message, "id": 0}
        _demand(official_schemas.complaint(revision, name, readable))


def _check_result(revision: str, result: Any, method: str) -> None:
    assert isinstance(result, dict), "a result is an object"
    name, kind = _RESULTS.get(method), result.get("resultType")
    if revision in STATELESS and (method in TASK_METHODS or (method == "tools/call" and kind == "task")):
        assert kind == ("task" if method == "tools/call" else "complete"), f"resultType is {kind!r}"
        check_task_result(method, result)
        return
    if name is None:
        check_method(method)
        if method in SKILL_RESULTS:
            check_skill_result(method, result, of_2026=revision in STATELESS)
            for resource in result.get("resources", ()):
                _check_schema(revision, "Resource", resource)
        assert kind == ("complete" if revision in STATELESS else None), f"resultType is {kind!r}"
        _check_meta(revision, result)
        return
    if kind == "input_required":
        assert method in _MAY_ASK, "this method may not answer with questions (R-286)"
        name = "InputRequiredResult"
    elif revision in STATELESS:
        assert kind == "complete", f"resultType is {kind!r}"
    if method == "tools/call" and set(result) - {"_meta"} == {"task"}:
        name = "CreateTaskResult"
    _check_schema(revision, name, result)
    if name != "CreateTaskResult" and not method.startswith("tasks/"):
        try:
            official.validate_server_result(method, revision, result)
        except KeyError:
            raise AssertionError(f"{revision} has no method {method}") from None
        except pydantic.ValidationError as error:
            raise AssertionError(f"mcp_types: {error}") from None
    _check_meta(revision, result)


def _check_model(kind: type[pydantic.BaseModel], message: dict[str, Any]) -> None:
    try:
        kind.model_validate(message, by_name=False)
    except pydantic.ValidationError as error:
        raise AssertionError(f"mcp_types: {error}") from None


def _check_schema(revision: str, name: str, value: dict[str, Any]) -> None:
    if name == "EmptyResult":  # an alias of the open Result, but it is empty for a reason
        allowed = {"_meta", "resultType"} if revision in STATELESS else {"_meta"}
        assert set(value) <= allowed, f"an empty result has no {sorted(set(value) - allowed)}"
    if official_schemas.PRESENT:
        assert name in official_schemas.definitions(revision), f"{revision} has no {name}"
        _demand(official_schemas.complaint(revision, name, value))
        _demand(official_schemas.complaint(revision, name, _bare(revision, name, value), closed=True))


def _bare(revision: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return a message without the members that older schemas leave to the envelope's own type."""
    listed = official_schemas.definitions(revision)[name].get("properties", {})
    outer = {"jsonrpc", "id"} - set(listed)
    return {key: part for key, part in value.items() if key not in outer}


def _check_meta(revision: str, holder: dict[str, Any]) -> None:
    meta = holder.get("_meta", {})
    assert isinstance(meta, dict), "_meta is no object"
    if revision not in STATELESS:
        assert not _MODERN_META & set(meta), f"_meta of a later revision: {sorted(_MODERN_META & set(meta))}"


def _demand(complaint: str | None) -> None:
    assert complaint is None, f"schema: {complaint}"
