"""What the parts of one task know of each other: the call of its handler, and its run.

handler ─▶ TaskAsker, TaskOutlet ─▶ TaskCall ─▶ Run ─▶ TaskLedger
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec import Raw

from enfilade.extensions.tasks.state import PendingInput, TaskState
from enfilade.serving.request import Request


class TaskInPlace(Protocol):
    """A task that runs at this worker."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    def add_input(self, pending: PendingInput) -> tuple[str, "asyncio.Future[Raw]"]:
        """Keep a question with the task, and return its key and its answer."""
        ...

    def drop_input(self, key: str) -> None:
        """Forget a question whose answer has come, or that nobody waits for any more."""
        ...

    async def keep(self, edit: Callable[[TaskState], None], *, is_quiet: bool = False) -> bool:
        """Change what is kept of the task, also if the store is away; False if this worker has it no more."""
        ...

    def note_status(self, text: str) -> None:
        """Make a text the status message."""
        ...

    def forward(self, method: str, params: bytes) -> None:
        """Send a notification to the session of the caller."""
        ...


class MessageTaker(Protocol):
    """Takes the messages of a task."""

    @property
    def is_stateless(self) -> bool:
        """Whether its client is one of 2026-07-28."""
        ...

    def note_status(self, text: str) -> None:
        """Make the text of a report of progress the status message."""
        ...

    def forward(self, method: str, params: bytes) -> None:
        """Send a message of the handler to the session of the caller."""
        ...


class AskingCall(Protocol):
    """A call whose handler asks.

    Attributes:
        asks_first: whether it asks before it has become a task.
        asked_first: is set whenever that is over.
    """

    asks_first: bool
    asked_first: asyncio.Event

    @property
    def is_stateless(self) -> bool:
        """Whether its client is one of 2026-07-28."""
        ...

    @property
    def task_id(self) -> str | None:
        """The id of the task, once the call is one."""
        ...

    @property
    def original(self) -> Request | None:
        """The client's request, until the call has become a task."""
        ...

    @property
    def input_limit(self) -> float:
        """Seconds for which a question waits at most."""
        ...

    async def wait_until_task(self) -> TaskInPlace:
        """Return the task, once the call has become one."""
        ...

    def keep_journal(self, state: TaskState) -> None:
        """Put the record of a durable task into what is kept of it."""
        ...
