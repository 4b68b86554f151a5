"""Everything the server can say, said to each of the five revisions and judged by that revision's own schema.

R-501: no newer vocabulary reaches an older peer. R-502: null and absent stay apart.
"""

import json
from typing import Any

import msgspec
import pytest

from enfilade.wire.client_requests import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitationCompleteNotificationParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    ListRootsRequest,
    ModelHint,
    ModelPreferences,
    SamplingMessage,
    ToolChoice,
)
from enfilade.wire.content import (
    Annotations,
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from enfilade.wire.lifecycle import (
    RELATED_TASK,
    SERVER_INFO,
    SUBSCRIPTION_ID,
    DiscoverResult,
    Implementation,
    InitializeResult,
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.message import EmptyResult, Message, NotificationParams
from enfilade.wire.notifications import (
    CancelledNotificationParams,
    LoggingMessageNotificationParams,
    ProgressNotificationParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenResult,
)
from enfilade.wire.projection import encode
from enfilade.wire.prompts import (
    CompleteResult,
    Completion,
    GetPromptResult,
    ListPromptsResult,
    Prompt,
    PromptArgument,
    PromptMessage,
)
from enfilade.wire.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    ResourceUpdatedNotificationParams,
)
from enfilade.wire.revision_tables import METHODS, SERVER_METHODS
from enfilade.wire.revisions import ALL, HANDSHAKE
from enfilade.wire.tasks import (
    CancelTaskResult,
    CreateTaskResult,
    GetTaskResult,
    ListTasksResult,
    Task,
    TaskMetadata,
    TaskStatusNotificationParams,
)
from enfilade.wire.tools import CallToolResult, ListToolsResult, Tool, ToolAnnotations, ToolExecution
from support.schemas.validator import check_outgoing

META = {"com.example/mark": 1}
ICONS = [Icon(src="https://example.com/i.png", mime_type="image/png", sizes=["48x48"], theme="dark")]
HINTS = Annotations(audience=["user", "assistant"], priority=0.5, last_modified="2026-01-01T00:00:00Z")
SERVER = Implementation(
    name="n", version="1", title="N", description="d", website_url="https://example.com", icons=ICONS
)
TEXT = TextContent(text="t", annotations=HINTS, meta=META)
CONTENT = [
    TEXT,
    ImageContent(data="AA==", mime_type="image/png", annotations=HINTS, meta=META),
    AudioContent(data="AA==", mime_type="audio/wav", annotations=HINTS, meta=META),
    ResourceLink(
        uri="file:///a",
        name="a",
        title="A",
        description="d",
        mime_type="text/plain",
        size=1,
        annotations=HINTS,
        icons=ICONS,
        meta=META,
    ),
    EmbeddedResource(
        resource=TextResourceContents(uri="file:///a", mime_type="text/plain", text="t", meta=META),
        annotations=HINTS,
        meta=META,
    ),
    EmbeddedResource(resource=BlobResourceContents(uri="file:///b", blob="AA==", meta=META)),
]
CAPABILITIES = ServerCapabilities(
    tools=ToolsCapability(list_changed=True),
    resources=ResourcesCapability(subscribe=True, list_changed=True),
    prompts=PromptsCapability(list_changed=True),
    logging={},
    completions={},
    tasks={"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
    experimental={"x": {}},
    extensions={"com.example/x": {}},
)
TOOL = Tool(
    name="add",
    title="Add",
    description="d",
    input_schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    output_schema={"type": "object", "properties": {"sum": {"type": "integer"}}},
    annotations=ToolAnnotations(title="T", read_only_hint=True, destructive_hint=False),
    execution=ToolExecution(task_support="optional"),
    icons=ICONS,
    meta=META,
)
LIST_TOOL = Tool(name="all", title="All", input_schema={"type": "object"}, output_schema={"type": "array"})
STATE: dict[str, Any] = {
    "task_id": "t",
    "status": "working",
    "status_message": "m",
    "created_at": "2025-11-25T00:00:00Z",
    "last_updated_at": "2025-11-25T00:00:00Z",
    "ttl": None,
    "poll_interval": 5,
}
FORM = ElicitRequestFormParams(
    message="?",
    requested_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "text": {"type": "string", "title": "Text", "maxLength": 9, "default": "x"},
            "number": {"type": "integer", "minimum": 1, "default": 2},
            "flag": {"type": "boolean", "default": True},
            "plain": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "titled": {"type": "string", "oneOf": [{"const": "a", "title": "A"}], "default": "a"},
        },
        "required": ["text"],
    },
)
URL = ElicitRequestURLParams(message="?", url="https://example.com", elicitation_id="e")
QUESTION = CreateMessageRequestParams(
    messages=[SamplingMessage(role="user", content=TEXT, meta=META)],
    max_tokens=9,
    system_prompt="s",
    include_context="none",
    model_preferences=ModelPreferences(hints=[ModelHint(name="m")], cost_priority=0.5),
    temperature=0.5,
    stop_sequences=["x"],
    metadata={"a": 1},
    meta=META,
)
WITH_TOOLS = CreateMessageRequestParams(
    messages=[SamplingMessage(role="user", content=[TEXT, *CONTENT[1:3]])],
    max_tokens=9,
    tools=[TOOL],
    tool_choice=ToolChoice(mode="auto"),
    task=TaskMetadata(ttl=1),
)
MODERN_META = {**META, SERVER_INFO: SERVER, SUBSCRIPTION_ID: "s", RELATED_TASK: {"taskId": "t"}}

RESULTS: dict[str, tuple[str, Message]] = {
    "initialize": (
        "initialize",
        InitializeResult(protocol_version="x", capabilities=CAPABILITIES, server_info=SERVER, instructions="i"),
    ),
    "discover": (
        "server/discover",
        DiscoverResult(supported_versions=["x"], capabilities=CAPABILITIES, instructions="i", meta=MODERN_META),
    ),
    "ping": ("ping", EmptyResult()),
    "tools": ("tools/list", ListToolsResult(tools=[TOOL, LIST_TOOL], next_cursor="c", meta=MODERN_META)),
    "call": ("tools/call", CallToolResult(content=CONTENT, structured_content={"a": None}, meta=MODERN_META)),
    "call-null-R-502": ("tools/call", CallToolResult(content=[TEXT], structured_content=None, is_error=True)),
    "call-array-R-504": ("tools/call", CallToolResult(content=[TEXT], structured_content=[1])),
    "resources": (
        "resources/list",
        ListResourcesResult(
            resources=[
                Resource(uri="a:b", name="n", title="t", size=1, annotations=HINTS, icons=ICONS, meta=META)
            ]
        ),
    ),
    "templates": (
        "resources/templates/list",
        ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template="a:{b}", name="n", title="t", annotations=HINTS, icons=ICONS, meta=META
                )
            ]
        ),
    ),
    "read": (
        "resources/read",
        ReadResourceResult(
            contents=[
                TextResourceContents(uri="a:b", mime_type="text/plain", text="t", meta=META),
                BlobResourceContents(uri="a:c", blob="AA=="),
            ]
        ),
    ),
    "prompts": (
        "prompts/list",
        ListPromptsResult(
            prompts=[
                Prompt(
                    name="n",
                    title="t",
                    description="d",
                    arguments=[PromptArgument(name="a", title="A", description="d", required=True)],
                    icons=ICONS,
                    meta=META,
                )
            ]
        ),
    ),
    "prompt": (
        "prompts/get",
        GetPromptResult(
            description="d", messages=[PromptMessage(role="user", content=block) for block in CONTENT]
        ),
    ),
    "completion": (
        "completion/complete",
        CompleteResult(completion=Completion(values=["a"], total=1, has_more=True)),
    ),
    "listen": ("subscriptions/listen", SubscriptionsListenResult(meta={SUBSCRIPTION_ID: 1})),
    "task": ("tasks/get", GetTaskResult(**STATE)),
    "task-cancelled": ("tasks/cancel", CancelTaskResult(**STATE)),
    "tasks": ("tasks/list", ListTasksResult(tasks=[Task(**STATE)], next_cursor="c")),
}

SENT: dict[str, tuple[str, Message | None]] = {
    "cancelled": ("notifications/cancelled", CancelledNotificationParams(request_id=1, reason="r")),
    "progress": (
        "notifications/progress",
        ProgressNotificationParams(progress_token=1, progress=0.5, total=1, message="m"),
    ),
    "log": ("notifications/message", LoggingMessageNotificationParams(level="info", logger="l", data=None)),
    "tools": ("notifications/tools/list_changed", NotificationParams(meta=MODERN_META)),
    "prompts": ("notifications/prompts/list_changed", NotificationParams()),
    "resources": ("notifications/resources/list_changed", NotificationParams()),
    "updated": (
        "notifications/resources/updated",
        ResourceUpdatedNotificationParams(uri="a:b", meta=MODERN_META),
    ),
    "acknowledged": (
        "notifications/subscriptions/acknowledged",
        SubscriptionsAcknowledgedNotificationParams(
            notifications=SubscriptionFilter(tools_list_changed=True, resource_subscriptions=["a:b"]),
            meta={SUBSCRIPTION_ID: 1},
        ),
    ),
    "elicited": (
        "notifications/elicitation/complete",
        ElicitationCompleteNotificationParams(elicitation_id="e"),
    ),
    "task": ("notifications/tasks/status", TaskStatusNotificationParams(**STATE)),
    "ping": ("ping", None),
    "roots": ("roots/list", NotificationParams()),
    "form": ("elicitation/create", FORM),
    "sampling": ("sampling/createMessage", QUESTION),
}


def _known(table: dict[str, Any], methods: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(revision, method, message, id=f"{name}-{revision}")
        for name, (method, message) in table.items()
        for revision in ALL
        if revision in methods[method]
    ]


@pytest.mark.parametrize(("revision", "method", "message"), _known(RESULTS, METHODS))
def test_result(revision: str, method: str, message: Message) -> None:
    result = json.loads(encode(message, revision))
    check_outgoing(revision, {"jsonrpc": "2.0", "id": 1, "result": result}, method)


@pytest.mark.parametrize(("revision", "method", "params"), _known(SENT, SERVER_METHODS))
def test_notification_or_request(revision: str, method: str, params: Message | None) -> None:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = json.loads(encode(params, revision))
    if not method.startswith("notifications/"):
        message["id"] = "s-1"
    check_outgoing(revision, message, None)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        pytest.param("elicitation/create", URL, id="elicitation-url-R-546"),
        pytest.param("sampling/createMessage", WITH_TOOLS, id="sampling-with-tools-R-550"),
    ],
)
def test_request_that_only_2025_11_25_can_make(method: str, params: Message) -> None:
    body = json.loads(encode(params, HANDSHAKE[-1]))
    check_outgoing(HANDSHAKE[-1], {"jsonrpc": "2.0", "id": 1, "method": method, "params": body}, None)


def test_accepted_task() -> None:
    """R-372: the answer to a call that became a task keeps `ttl: null`."""
    result = json.loads(encode(CreateTaskResult(task=Task(**STATE)), HANDSHAKE[-1]))
    assert result["task"]["ttl"] is None
    check_outgoing(HANDSHAKE[-1], {"jsonrpc": "2.0", "id": 1, "result": result}, "tools/call")


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
@pytest.mark.parametrize(
    "question",
    [
        pytest.param(ElicitRequest(params=FORM), id="form"),
        pytest.param(ElicitRequest(params=URL), id="url-R-547"),
        pytest.param(CreateMessageRequest(params=QUESTION), id="sampling"),
        pytest.param(CreateMessageRequest(params=WITH_TOOLS), id="sampling-with-tools"),
        pytest.param(ListRootsRequest(), id="roots"),
    ],
)
def test_questions(method: str, question: Any) -> None:
    """R-287, R-288: questions travel inside the result."""
    message = InputRequiredResult(input_requests={"a": question}, request_state="s")
    result = json.loads(encode(message, ALL[-1]))
    assert set(result) == {"resultType", "inputRequests", "requestState"}
    assert "elicitationId" not in result["inputRequests"]["a"].get("params", {})
    check_outgoing(ALL[-1], {"jsonrpc": "2.0", "id": 1, "result": result}, method)


@pytest.mark.parametrize("revision", ALL)
def test_encoding_leaves_the_message_alone(revision: str) -> None:
    """One definition goes to peers of all revisions, so nothing may be changed in place."""
    before = [msgspec.json.encode(message) for _, message in RESULTS.values()]
    for method, message in RESULTS.values():
        if revision in METHODS[method]:
            encode(message, revision)
    assert [msgspec.json.encode(message) for _, message in RESULTS.values()] == before
