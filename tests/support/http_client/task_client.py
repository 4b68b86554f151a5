"""Clients of tasks over sockets, one for each dialect, with the same verbs. Each request is one connection."""

import itertools
import time
from collections.abc import Callable, Collection
from typing import Any

from support.http_client.connection import HeaderValue, Http, PendingReply, Reply

TASKS = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
FINAL = frozenset({"completed", "failed", "cancelled"})

#: What a client declares that can have tasks and answer questions.
_ABLE: dict[str, Any] = {"extensions": {TASKS: {}}, "elicitation": {"form": {}}}

#: Seconds that a task may take.
LIMIT = 60.0


class TaskClient:
    """A client of 2026-07-28.

    Args:
        port: of a server, or of a proxy before several.
        headers: of all requests.

    Attributes:
        served_by: the workers that have answered, where the proxy says.
    """

    def __init__(self, port: int, **headers: HeaderValue) -> None:
        self.http = Http(port)
        self._headers = headers
        self._ids = itertools.count(1)
        self.served_by: list[str | None] = []

    def start(self, method: str, params: dict[str, Any], **headers: HeaderValue) -> PendingReply:
        """Send a request."""
        named = {"mcp_name": params["taskId"]} if "taskId" in params else {}
        meta = {"io.modelcontextprotocol/clientCapabilities": _ABLE}
        more = {**named, **self._headers, **headers}
        return self.http.start_modern(method, params, id=next(self._ids), meta=meta, **more)

    def ask(self, method: str, params: dict[str, Any], **headers: HeaderValue) -> Reply:
        """Send a request, and wait for the response."""
        reply = self.start(method, params, **headers).read()
        self.served_by.append(reply.header("x-served-by"))
        return reply

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and return its task."""
        task: dict[str, Any] = self.ask("tools/call", {"name": tool, "arguments": arguments}).result
        return task

    def get(self, id: str, **headers: HeaderValue) -> dict[str, Any]:
        """Return a task as it is."""
        task: dict[str, Any] = self.ask("tasks/get", {"taskId": id}, **headers).result
        return task

    def until(self, id: str, statuses: Collection[str], limit: float = LIMIT) -> dict[str, Any]:
        """Look until a task has one of some statuses."""
        return look_until(lambda: self.get(id), statuses, limit)

    def answer(self, id: str, task: dict[str, Any], value: object = True) -> Reply:
        """Answer all questions of a task with yes."""
        answer = {"action": "accept", "content": {"value": value}}
        responses = dict.fromkeys(task["inputRequests"], answer)
        return self.ask("tasks/update", {"taskId": id, "inputResponses": responses})


class SessionTaskClient:
    """A client of 2025-11-25; the same arguments and attributes."""

    def __init__(self, port: int, **headers: HeaderValue) -> None:
        self._headers = headers
        self.http = Http(port)
        self.session = self.http.initialize("2025-11-25", {"elicitation": {"form": {}}}, **headers)
        self._ids = itertools.count(1)
        self.served_by: list[str | None] = []

    def start(self, method: str, params: dict[str, Any], **headers: HeaderValue) -> PendingReply:
        """Send a request of the session."""
        more = {**self._headers, **headers}
        return self.session.start(method, params, id=next(self._ids), meta=None, **more)

    def ask(self, method: str, params: dict[str, Any], **headers: HeaderValue) -> Reply:
        """Send a request of the session, and wait for the response."""
        reply = self.start(method, params, **headers).read()
        self.served_by.append(reply.header("x-served-by"))
        return reply

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool as a task, and return the task."""
        params = {"name": tool, "arguments": arguments, "task": {"ttl": 60_000}}
        task: dict[str, Any] = self.ask("tools/call", params).result["task"]
        return task

    def get(self, id: str, **headers: HeaderValue) -> dict[str, Any]:
        """Return a task as it is, without its outcome."""
        task: dict[str, Any] = self.ask("tasks/get", {"taskId": id}, **headers).result
        return task

    def until(self, id: str, statuses: Collection[str], limit: float = LIMIT) -> dict[str, Any]:
        """Look until a task has one of some statuses."""
        return look_until(lambda: self.get(id), statuses, limit)


def look_until(look: Callable[[], dict[str, Any]], statuses: Collection[str], limit: float) -> dict[str, Any]:
    """Look until a task has one of some statuses."""
    end = time.monotonic() + limit
    while (task := look())["status"] not in statuses:
        assert time.monotonic() < end, task
        time.sleep(0.02)
    return task
