"""Tasks as 2025-11-25 has them: a request that returns a handle at once and finishes later.

The feature is experimental there and gone from the core of 2026-07-28; none of these types is sent to any other
revision (R-58C).

Easy to get wrong: `ttl` is required and may be null, which means "kept without limit"; it must not be dropped
(R-372).
"""

from typing import Literal

from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, NotificationParams, RequestParams, Result

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]


class TaskMetadata(Message, kw_only=True):
    """The client's request to run a task. `ttl`: how long to keep it, in milliseconds."""

    ttl: int | UnsetType = UNSET


class RelatedTaskMetadata(Message, kw_only=True):
    """The value of `_meta` key `io.modelcontextprotocol/related-task`."""

    task_id: str


class Task(Message, kw_only=True):
    """The state of a task. Times are ISO 8601; `ttl` and `poll_interval` are milliseconds."""

    task_id: str
    status: TaskStatus
    status_message: str | UnsetType = UNSET
    created_at: str
    last_updated_at: str
    ttl: int | None
    poll_interval: int | UnsetType = UNSET


class CreateTaskResult(Result, kw_only=True):
    """The immediate result of a request that became a task."""

    task: Task


class GetTaskResult(Result, kw_only=True):
    """A task, flat among the fields of the result."""

    task_id: str
    status: TaskStatus
    status_message: str | UnsetType = UNSET
    created_at: str
    last_updated_at: str
    ttl: int | None
    poll_interval: int | UnsetType = UNSET


class CancelTaskResult(GetTaskResult):
    """The task after its cancellation."""


class ListTasksResult(Result, kw_only=True):
    """One page of the tasks that belong to the caller."""

    next_cursor: str | UnsetType = UNSET
    tasks: list[Task]


class TaskStatusNotificationParams(NotificationParams, kw_only=True):
    """A task changed its state; flat, as in `GetTaskResult`."""

    task_id: str
    status: TaskStatus
    status_message: str | UnsetType = UNSET
    created_at: str
    last_updated_at: str
    ttl: int | None
    poll_interval: int | UnsetType = UNSET


class GetTaskRequestParams(RequestParams, kw_only=True):
    """Which task to look at."""

    task_id: str


class GetTaskPayloadRequestParams(RequestParams, kw_only=True):
    """Which task to wait for; the result is that of the original request."""

    task_id: str


class CancelTaskRequestParams(RequestParams, kw_only=True):
    """Which task to stop."""

    task_id: str
