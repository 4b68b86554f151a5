"""What messages of extensions look like, which the schemas of the protocol's revisions do not have.

Tasks of 2026-07-28 are as in its extension (SEP-2663), skills as in theirs (SEP-2640); of all others only what
holds for every result is checked.
"""

from typing import Any

_TASK = {"taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs"}
_TASK_OPTIONAL = {"pollIntervalMs", "statusMessage"}
_OUTCOMES = {"input_required": "inputRequests", "completed": "result", "failed": "error"}
_STATUSES = {"working", "input_required", "completed", "failed", "cancelled"}

#: Methods of extensions whose names begin as those of the protocol do.
_OF_EXTENSIONS = {"tasks/update", "resources/directory/read"}
_PROTOCOL = {"tools", "resources", "prompts", "completion", "logging", "server", "tasks", "subscriptions"}

#: The methods of tasks in 2026-07-28.
TASK_METHODS = {"tasks/get", "tasks/update", "tasks/cancel"}

#: The methods of skills, with the members of their results.
SKILL_RESULTS = {
    "skills/list": {"skills", "nextCursor"},
    "skills/get": {"skill"},
    "resources/directory/read": {"resources", "nextCursor"},
}


def check_skill_result(method: str, result: dict[str, Any], *, of_2026: bool) -> None:
    """Check the result of a method of skills, but for the resources in it."""
    members = SKILL_RESULTS[method]
    others = {"resultType", "ttlMs", "cacheScope"} if of_2026 else set[str]()
    assert set(result) - {"_meta"} - members == others, f"members of {method}: {sorted(result)}"
    assert members - {"nextCursor"} <= set(result), f"members of {method}: {sorted(result)}"
    for skill in result.get("skills", [result["skill"]] if "skill" in result else []):
        assert set(skill) == {"uri", "frontmatter", "resources"}, f"members of a skill: {sorted(skill)}"
        for resource in skill["resources"] if skill["resources"] != "dynamic" else ():
            assert set(resource) == {"uri", "digest", "size"}, f"members of a file: {sorted(resource)}"


def check_task_result(method: str, result: dict[str, Any]) -> None:
    """Check the result of a method of tasks, or that of a call that has become one."""
    members = set(result) - {"_meta", "resultType"}
    if method in ("tasks/update", "tasks/cancel"):
        assert not members, f"an acknowledgement has no {sorted(members)}"
        return
    check_task(result, members, with_outcome=method == "tasks/get")


def check_task(task: dict[str, Any], members: set[str], *, with_outcome: bool) -> None:
    """Check a task, flat among the members of a result or of the params of a notification."""
    assert members >= _TASK, f"a task lacks {sorted(_TASK - members)}"
    status = task["status"]
    assert status in _STATUSES, f"status is {status!r}"
    outcome = {_OUTCOMES[status]} if with_outcome and status in _OUTCOMES else set()
    assert outcome <= members, f"a task that is {status} has {sorted(outcome)}"
    assert members <= _TASK | _TASK_OPTIONAL | outcome, f"a task that is {status} has {sorted(members)}"
    assert task["ttlMs"] is None or (type(task["ttlMs"]) is int and task["ttlMs"] > 0), "ttlMs"
    assert type(task.get("pollIntervalMs", 1)) is int, "pollIntervalMs is no integer"


def check_method(method: str) -> None:
    """Check that a method that is not the protocol's may be one of an extension."""
    area, slash, _ = method.partition("/")
    assert method in _OF_EXTENSIONS or (slash and area not in _PROTOCOL), "no client may send this method"


def without_task_ids(acknowledgement: dict[str, Any]) -> dict[str, Any]:
    """Check the member that tasks add to what is listened to, and return the notification without it (X-TASK)."""
    params = acknowledgement["params"]
    topics = dict(params["notifications"])
    ids = topics.pop("taskIds", [])
    assert isinstance(ids, list), "taskIds is no array"
    assert all(isinstance(id, str) for id in ids), "taskIds are strings"
    return {**acknowledgement, "params": {**params, "notifications": topics}}


def check_notification(method: str, params: Any) -> None:
    """Check a notification of an extension."""
    is_named = method == "notifications/tasks" or method.count("/") > 1
    assert is_named, "the server has no such method"
    assert method.startswith("notifications/"), "the server has no such method"
    assert params is None or isinstance(params, dict), "params are no object"
    if method == "notifications/tasks":
        assert params, "no params"
        assert "io.modelcontextprotocol/subscriptionId" in params.get("_meta", {}), "no subscriptionId"
        check_task(params, set(params) - {"_meta"}, with_outcome=True)
