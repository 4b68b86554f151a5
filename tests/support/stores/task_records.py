"""Records of tasks for the tests of stores."""

import asyncio
from typing import Any

from enfilade.state.open import open_store
from enfilade.state.tasks.records import NewTask, TaskRecord, Tasks, tasks_of

#: Seconds: longer than any test.
LONG = 1000.0


def new_task(
    id: str,
    due: float = LONG,
    owner: str = "ada",
    value: bytes = b"new",
    own_limit: int = 100_000,
    limit: int = 100_000,
) -> NewTask:
    """Return a task to create, with room for many others."""
    return NewTask(id=id, owner=owner, value=value, due=due, own_limit=own_limit, limit=limit)


async def take_all(tasks: Tasks, most: int, lease: float = LONG) -> list[tuple[str, int]]:
    """Take tasks until none is due; return their ids and versions."""
    taken: list[tuple[str, int]] = []
    while (due := await tasks.take_due(lease, most)).tasks:
        taken += [(task.id, task.version) for task in due.tasks]
    return taken


def ids(records: list[TaskRecord]) -> list[str]:
    """Return the ids of records, in their order."""
    return [record.id for record in records]


def take_from(url: str, barrier: Any) -> list[tuple[str, int]]:
    """Be a worker of another process: take tasks at the same moment as the others."""

    async def take() -> list[tuple[str, int]]:
        store = open_store(url)
        await store.start()
        await asyncio.to_thread(barrier.wait, 60)
        try:
            return await take_all(tasks_of(store), 2)
        finally:
            await store.close()

    return asyncio.run(take())
