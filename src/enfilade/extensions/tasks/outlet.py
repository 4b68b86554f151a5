"""Where the messages of a task go: to its caller until the call has become a task, and from then on elsewhere.

2026-07-28 forbids progress and log messages of a task on any stream (X-TASK-12): the text of a report of progress
becomes the status message. In 2025-11-25 they go to the session of the caller, and name the task (R-376, R-379).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, UnsetType

from enfilade.serving.channel import NOWHERE, Outlet
from enfilade.wire.lifecycle import RELATED_TASK

if TYPE_CHECKING:
    from enfilade.extensions.tasks.protocols import MessageTaker

#: Messages that are kept for the moment at which a call becomes a task, which is nearly always at once.
_MOST_EARLY: Final = 100

_PROGRESS: Final = "notifications/progress"


class _Message(msgspec.Struct):
    method: str
    params: dict[str, Raw] = {}


class _Text(msgspec.Struct):
    message: str | UnsetType = msgspec.UNSET


class _Progress(msgspec.Struct):
    params: _Text


_read: Final = msgspec.json.Decoder(_Message).decode


class TaskOutlet:
    """The outlet of one run.

    Args:
        original: that of the call, while it is no task; None for a task that goes on.
        call: takes messages of the task.
    """

    is_congested = False

    def __init__(self, original: Outlet | None, call: MessageTaker) -> None:
        self._original: Outlet = original or NOWHERE
        self._early: list[bytes] | None = [] if original is None else None
        self._call = call
        self._task_id: str | None = None

    def become_task(self, id: str) -> None:
        """Send nothing more to the caller, whose call has become a task."""
        self._task_id = id
        self._original = NOWHERE
        early, self._early = self._early, None
        for message in early or ():
            self.push(message)

    def push(self, message: bytes) -> bool:
        """Send a notification, or make a status message of it."""
        if self._task_id is None:
            if self._early is None or len(self._early) >= _MOST_EARLY:
                return self._original.push(message)
            self._early.append(message)
            return True
        try:
            read = _read(message)
            if read.method == _PROGRESS:
                text = msgspec.json.decode(message, type=_Progress).params.message
                if isinstance(text, str):
                    self._call.note_status(text)
            if not self._call.is_stateless:
                self._call.forward(read.method, _related(read.params, self._task_id))
        except msgspec.DecodeError:
            return False
        return True

    def send(self, message: bytes) -> bool:
        """Send a question of the call that is no task yet."""
        return self._task_id is None and self._original.send(message)

    async def wait_for_room(self) -> None:
        """Wait for the caller's reader."""
        await self._original.wait_for_room()

    def close_connection(self, retry: float | None) -> bool:
        """Close the caller's connection, while the call is no task yet."""
        return self._original.close_connection(retry)

    def note_scopes(self, scopes: Iterable[str]) -> None:
        """Remember the scopes for the stream of the call."""
        self._original.note_scopes(scopes)


def _related(params: dict[str, Raw], task_id: str) -> bytes:
    """Return params whose `_meta` names the task."""
    meta: dict[str, Any] = msgspec.json.decode(params["_meta"]) if "_meta" in params else {}
    meta[RELATED_TASK] = {"taskId": task_id}
    return msgspec.json.encode({**params, "_meta": meta})
