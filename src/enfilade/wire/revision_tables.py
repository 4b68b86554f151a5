"""The tables by revision: the methods with the types of their parameters, and the fields of each type.

`PARAMS` and `METHODS` have the same keys, the methods of a client. `SERVER_METHODS` has those of the server.
`FIELD_REVISIONS` is the allow-list behind `projection.project` (R-501). A row names the attributes that a type
adds to those of its parents, grouped by the revisions that define them. A field without a row is sent to no peer,
and a test fails for it, so that a forgotten field cannot leak.

Easy to get wrong:
- 2026-07-28 has no requests from the server. Its `sampling/createMessage`, `roots/list` and `elicitation/create`
  are sent in an `InputRequiredResult`, so their spans end before it (R-267).
- The rows say what a peer *may* receive. What must not get lost although a revision has no field for it (a title,
  a sound) is rewritten by `projection.REWRITES` before fields are removed.
"""

from functools import cache
from typing import Final

from enfilade.wire import lifecycle
from enfilade.wire.client_requests import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitationCompleteNotificationParams,
    ElicitRequest,
    ElicitRequestParams,
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
    Block,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceContents,
    ResourceLink,
    TextContent,
    ToolResultContent,
    ToolUseContent,
)
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.message import (
    CacheableResult,
    Message,
    NotificationParams,
    PaginatedRequestParams,
    PaginatedResult,
    RequestParams,
    Result,
)
from enfilade.wire.notifications import (
    CancelledNotificationParams,
    LoggingMessageNotificationParams,
    ProgressNotificationParams,
    SetLevelRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
)
from enfilade.wire.prompts import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    Prompt,
    PromptArgument,
    PromptMessage,
)
from enfilade.wire.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from enfilade.wire.revisions import (
    EVERY,
    ONLY_1125,
    SINCE_0326,
    SINCE_0618,
    SINCE_0728,
    SINCE_1125,
    UNTIL_1125,
    Span,
)
from enfilade.wire.tasks import (
    CancelTaskRequestParams,
    CreateTaskResult,
    GetTaskPayloadRequestParams,
    GetTaskRequestParams,
    GetTaskResult,
    ListTasksResult,
    Task,
    TaskMetadata,
    TaskStatusNotificationParams,
)
from enfilade.wire.tools import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    Tool,
    ToolAnnotations,
    ToolExecution,
)

# -- methods ---------------------------------------------------------------------------------------------------

_CLIENT: Final[dict[str, tuple[type[Message], Span]]] = {
    "initialize": (InitializeRequestParams, UNTIL_1125),
    "ping": (RequestParams, UNTIL_1125),
    "server/discover": (RequestParams, SINCE_0728),
    "tools/list": (PaginatedRequestParams, EVERY),
    "tools/call": (CallToolRequestParams, EVERY),
    "prompts/list": (PaginatedRequestParams, EVERY),
    "prompts/get": (GetPromptRequestParams, EVERY),
    "resources/list": (PaginatedRequestParams, EVERY),
    "resources/templates/list": (PaginatedRequestParams, EVERY),
    "resources/read": (ReadResourceRequestParams, EVERY),
    "resources/subscribe": (SubscribeRequestParams, UNTIL_1125),
    "resources/unsubscribe": (UnsubscribeRequestParams, UNTIL_1125),
    "subscriptions/listen": (SubscriptionsListenRequestParams, SINCE_0728),
    "completion/complete": (CompleteRequestParams, EVERY),
    "logging/setLevel": (SetLevelRequestParams, UNTIL_1125),
    "tasks/get": (GetTaskRequestParams, ONLY_1125),
    "tasks/result": (GetTaskPayloadRequestParams, ONLY_1125),
    "tasks/list": (PaginatedRequestParams, ONLY_1125),
    "tasks/cancel": (CancelTaskRequestParams, ONLY_1125),
    "notifications/initialized": (NotificationParams, UNTIL_1125),
    "notifications/cancelled": (CancelledNotificationParams, EVERY),
    "notifications/progress": (ProgressNotificationParams, UNTIL_1125),
    "notifications/roots/list_changed": (NotificationParams, UNTIL_1125),
    "notifications/tasks/status": (TaskStatusNotificationParams, ONLY_1125),
}

#: The type of the parameters of a client's request or notification.
PARAMS: Final[dict[str, type[Message]]] = {method: params for method, (params, _) in _CLIENT.items()}

#: The revisions that define a client's request or notification; to any other it is an unknown method (R-214).
METHODS: Final[dict[str, Span]] = {method: span for method, (_, span) in _CLIENT.items()}

#: Lists that a server answers although it offers nothing of the kind, by revision. Clients of these revisions
#: request all lists whatever the capabilities are, and fail if one fails. In 2026-07-28 a list that is not
#: offered is not found (R-213).
EMPTY_LISTS: Final[dict[str, Span]] = dict.fromkeys(
    ("prompts/list", "resources/list", "resources/templates/list"), UNTIL_1125
)

#: The revisions that define each kind of question to a client, as a request or within a result.
CLIENT_REQUESTS: Final[dict[str, Span]] = {
    "sampling/createMessage": EVERY,
    "roots/list": EVERY,
    "elicitation/create": SINCE_0618,
}

#: The revisions that define a request or notification of the server.
SERVER_METHODS: Final[dict[str, Span]] = {
    "ping": UNTIL_1125,
    "sampling/createMessage": UNTIL_1125,
    "roots/list": UNTIL_1125,
    "elicitation/create": Span("2025-06-18", "2025-11-25"),
    "notifications/cancelled": EVERY,
    "notifications/progress": EVERY,
    "notifications/message": EVERY,
    "notifications/tools/list_changed": EVERY,
    "notifications/prompts/list_changed": EVERY,
    "notifications/resources/list_changed": EVERY,
    "notifications/resources/updated": EVERY,
    "notifications/subscriptions/acknowledged": SINCE_0728,
    "notifications/elicitation/complete": ONLY_1125,
    "notifications/tasks/status": ONLY_1125,
}

# -- fields ----------------------------------------------------------------------------------------------------

_TASK: Final = "task_id status status_message created_at last_updated_at ttl poll_interval"

FIELD_REVISIONS: Final[dict[type[Message], dict[Span, str]]] = {
    # results
    Result: {EVERY: "meta", SINCE_0728: "result_type"},
    CacheableResult: {SINCE_0728: "ttl_ms cache_scope"},
    PaginatedResult: {EVERY: "next_cursor"},
    lifecycle.InitializeResult: {UNTIL_1125: "protocol_version capabilities server_info instructions"},
    lifecycle.DiscoverResult: {SINCE_0728: "supported_versions capabilities instructions"},
    InputRequiredResult: {SINCE_0728: "input_requests request_state"},
    ListToolsResult: {EVERY: "tools"},
    CallToolResult: {EVERY: "content is_error", SINCE_0618: "structured_content"},
    ListResourcesResult: {EVERY: "resources"},
    ListResourceTemplatesResult: {EVERY: "resource_templates"},
    ReadResourceResult: {EVERY: "contents"},
    ListPromptsResult: {EVERY: "prompts"},
    GetPromptResult: {EVERY: "description messages"},
    CompleteResult: {EVERY: "completion"},
    Completion: {EVERY: "values total has_more"},
    CreateTaskResult: {ONLY_1125: "task"},
    GetTaskResult: {ONLY_1125: _TASK},
    ListTasksResult: {ONLY_1125: "next_cursor tasks"},
    Task: {ONLY_1125: _TASK},
    # notifications
    NotificationParams: {EVERY: "meta"},
    CancelledNotificationParams: {EVERY: "request_id reason"},
    ProgressNotificationParams: {EVERY: "progress_token progress total", SINCE_0326: "message"},
    LoggingMessageNotificationParams: {EVERY: "level logger data"},
    ResourceUpdatedNotificationParams: {EVERY: "uri"},
    SubscriptionsAcknowledgedNotificationParams: {SINCE_0728: "notifications"},
    ElicitationCompleteNotificationParams: {ONLY_1125: "elicitation_id"},
    TaskStatusNotificationParams: {ONLY_1125: _TASK},
    SubscriptionFilter: {
        SINCE_0728: "tools_list_changed prompts_list_changed resources_list_changed resource_subscriptions"
        " task_ids"
    },
    # questions to the client
    ElicitRequest: {SINCE_0728: "params"},
    ElicitRequestParams: {
        SINCE_0618: "message requested_schema",
        SINCE_1125: "mode url",
        UNTIL_1125: "meta",
        ONLY_1125: "elicitation_id task",
    },
    ListRootsRequest: {SINCE_0728: "params"},
    CreateMessageRequest: {SINCE_0728: "params"},
    CreateMessageRequestParams: {
        EVERY: "messages max_tokens system_prompt include_context model_preferences"
        " temperature stop_sequences metadata",
        SINCE_1125: "tools tool_choice",
        UNTIL_1125: "meta",
        ONLY_1125: "task",
    },
    SamplingMessage: {EVERY: "role content", SINCE_1125: "meta"},
    ModelPreferences: {EVERY: "hints cost_priority speed_priority intelligence_priority"},
    ModelHint: {EVERY: "name"},
    ToolChoice: {SINCE_1125: "mode"},
    TaskMetadata: {ONLY_1125: "ttl"},
    # who the server is and what it can do; C-15: 2025-11-25 hosts read extensions, older ones never heard of them
    lifecycle.Implementation: {
        EVERY: "name version",
        SINCE_0618: "title",
        SINCE_1125: "description website_url icons",
    },
    lifecycle.ServerCapabilities: {
        EVERY: "tools resources prompts logging experimental",
        SINCE_0326: "completions",
        ONLY_1125: "tasks",
        SINCE_1125: "extensions",
    },
    lifecycle.ToolsCapability: {EVERY: "list_changed"},
    lifecycle.PromptsCapability: {EVERY: "list_changed"},
    lifecycle.ResourcesCapability: {EVERY: "subscribe list_changed"},
    # definitions
    Tool: {
        EVERY: "name description input_schema",
        SINCE_0326: "annotations",
        SINCE_0618: "title output_schema meta",
        SINCE_1125: "icons",
        ONLY_1125: "execution",
    },
    ToolAnnotations: {SINCE_0326: "title read_only_hint destructive_hint idempotent_hint open_world_hint"},
    ToolExecution: {ONLY_1125: "task_support"},
    Resource: {
        EVERY: "uri name description mime_type size annotations",
        SINCE_0618: "title meta",
        SINCE_1125: "icons",
    },
    ResourceTemplate: {
        EVERY: "uri_template name description mime_type annotations",
        SINCE_0618: "title meta",
        SINCE_1125: "icons",
    },
    Prompt: {EVERY: "name description arguments", SINCE_0618: "title meta", SINCE_1125: "icons"},
    PromptArgument: {EVERY: "name description required", SINCE_0618: "title"},
    # content
    Annotations: {EVERY: "audience priority", SINCE_0618: "last_modified"},
    Icon: {SINCE_1125: "src mime_type sizes theme"},
    PromptMessage: {EVERY: "role content"},
    ResourceContents: {EVERY: "uri mime_type text blob", SINCE_0618: "meta"},
    Block: {SINCE_0618: "meta"},
    TextContent: {EVERY: "text annotations"},
    ImageContent: {EVERY: "data mime_type annotations"},
    AudioContent: {SINCE_0326: "data mime_type annotations"},
    ResourceLink: {
        SINCE_0618: "uri name title description mime_type size annotations",
        SINCE_1125: "icons",
    },
    EmbeddedResource: {EVERY: "resource annotations"},
    ToolUseContent: {SINCE_1125: "id name input"},
    ToolResultContent: {SINCE_1125: "tool_use_id content structured_content is_error"},
}

#: Keys of `_meta` that not every revision defines; all other keys are the author's and are never removed.
META_KEYS: Final[dict[str, Span]] = {
    lifecycle.SERVER_INFO: SINCE_0728,
    lifecycle.SUBSCRIPTION_ID: SINCE_0728,
    lifecycle.RELATED_TASK: ONLY_1125,
    lifecycle.PREFIX + "model-immediate-response": ONLY_1125,
}


@cache
def spans(kind: type[Message]) -> dict[str, Span]:
    """Return the revisions that define each field of a type, by attribute, including the parents' rows."""
    revisions: dict[str, Span] = {}
    for parent in reversed(kind.__mro__):
        for span, names in FIELD_REVISIONS.get(parent, {}).items():
            revisions.update(dict.fromkeys(names.split(), span))
    return revisions
