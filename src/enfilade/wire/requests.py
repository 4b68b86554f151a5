"""The methods of all revisions, and the types of their parameters.

`PARAMS` and `METHODS` have the same keys, the methods of a client. `SERVER_METHODS` has those of the server.

Easy to get wrong: 2026-07-28 has no requests from the server. Its `sampling/createMessage`, `roots/list` and
`elicitation/create` are sent in an `InputRequiredResult`, so their spans end before it (R-267).
"""

from typing import Final

from enfilade.wire.completion import CompleteRequestParams
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.message import Message, NotificationParams, PaginatedRequestParams, RequestParams
from enfilade.wire.notifications import (
    CancelledNotificationParams,
    ProgressNotificationParams,
    SetLevelRequestParams,
)
from enfilade.wire.prompts import GetPromptRequestParams
from enfilade.wire.resources import ReadResourceRequestParams, SubscribeRequestParams, UnsubscribeRequestParams
from enfilade.wire.revisions import EVERY, ONLY_1125, SINCE_0618, SINCE_0728, UNTIL_1125, Span
from enfilade.wire.subscriptions import SubscriptionsListenRequestParams
from enfilade.wire.tasks import (
    CancelTaskRequestParams,
    GetTaskPayloadRequestParams,
    GetTaskRequestParams,
    TaskStatusNotificationParams,
)
from enfilade.wire.tools import CallToolRequestParams

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
