"""`enfilade tasks list|show|cancel`: read a server's tasks in its store, and cancel one.

The store is that of the server's settings, so the server need not run, and need not be reached. Easy to get
wrong: a store in memory, which is that of this process and empty.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from rich.table import Table

from enfilade.app import MCPApp
from enfilade.cli.command import FILE, Argument, CliCommand, CommandError, Option
from enfilade.cli.output import print_json, rich_text, stderr_console, table_console
from enfilade.cli.targets import app_with_store
from enfilade.extensions.tasks.extension import TasksExtension
from enfilade.extensions.tasks.ledger import Held, TaskLedger
from enfilade.extensions.tasks.state import TASKS, TaskState
from enfilade.state.store import StoreError

T = TypeVar("T")

_PAGE: Final = 200
#: Characters of an id in a table; a command takes an id by its beginning.
_SHORT_ID: Final = 12
#: What `--status` takes; a sleeping task is `working` for clients.
_STATUSES: Final = ("working", "sleeping", "input_required", "completed", "failed", "cancelled")
_ID: Final = Argument(["id"], metavar="ID", help="The id of the task, or its beginning.")
_JSON: Final = Option(["as_json", "--json"], is_flag=True, help="Print JSON.")
_FILE_OPTION: Final = Option(
    ["target", "--file"],
    metavar="FILE[:NAME]",
    help="Python file of the server, and the app's name in it; or a project's folder (default: this one).",
)


def _list(target: str | None, status: str | None, as_json: bool, limit: int) -> None:
    """List the tasks that a server keeps, the oldest first: running, sleeping, and ended ones."""
    if status is not None and status not in _STATUSES:
        raise CommandError(f"there is no status {status!r}; use {', '.join(_STATUSES)}")
    states = _with_ledger(target, lambda ledger: _collect(ledger, status, limit))
    if as_json:
        print_json(table_console(), [_summary(state) for state in states])
        return
    if not states:
        stderr_console().print("There are no tasks.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "tool", "status", "created", "caller", "message"):
        table.add_column(
            column, overflow="fold" if column == "message" else "ellipsis", no_wrap=column != "message"
        )
    for state in states:
        table.add_row(*(rich_text(value) for value in _row(state)))
    table_console().print(table)


def _show(id: str, target: str | None, as_json: bool) -> None:
    """Show a task: its call, its status, its questions, and what it came to."""
    state = _with_ledger(target, lambda ledger: _found(ledger, id)).state
    details = {**_summary(state), **_rest(state)}
    console = table_console()
    if as_json:
        print_json(console, details)
        return
    for name, value in details.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        console.print(rich_text(f"{name}: {text}"), soft_wrap=True)


def _cancel(id: str, target: str | None) -> None:
    """Cancel a task. The worker that runs it stops its handler within seconds."""

    async def cancel(ledger: TaskLedger) -> TaskState:
        held = await _found(ledger, id)
        if held.state.is_final:
            raise CommandError(f"task {held.state.id} is {held.state.status} already", status=1)

        def edit(state: TaskState) -> bool:
            if state.is_final:
                return False
            state.end("cancelled", "The operator of the server has cancelled the task")
            return True

        changed = await ledger.change(held, edit)
        return held.state if changed is None else changed.state

    state = _with_ledger(target, cancel)
    stderr_console().print(rich_text(f"Task {state.id} is {state.status}."))


def _with_ledger(target: str | None, work: Callable[[TaskLedger], Awaitable[T]]) -> T:
    """Return what a function makes of the tasks of a server.

    Raises:
        CommandError: there is no such server, or its store does not answer.
    """
    app = app_with_store(target, "tasks")

    async def use() -> T:
        async with _ledger_of(app) as ledger:
            return await work(ledger)

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return asyncio.run(use())
    except StoreError as error:
        raise CommandError(f"the store of the server does not answer: {error}") from None


@asynccontextmanager
async def _ledger_of(app: MCPApp) -> AsyncIterator[TaskLedger]:
    app.offer_tasks()
    extension = app.extensions.get(TASKS) if app.extensions is not None else None
    if not isinstance(extension, TasksExtension):
        raise CommandError("this server has an extension of its own for tasks")
    try:
        yield extension.ledger
    finally:
        await extension.ledger.close()
        await app.caller_state.close()


async def _collect(ledger: TaskLedger, status: str | None, limit: int) -> Sequence[TaskState]:
    states: Final = []
    async for held in _all(ledger):
        if status is None or _summary(held.state)["status"] == status:
            states.append(held.state)
            if len(states) >= limit:
                break
    return states


async def _found(ledger: TaskLedger, id: str) -> Held:
    held = await ledger.read(id)
    if held is not None:
        return held
    matching = [held async for held in _all(ledger) if held.state.id.startswith(id)]
    if len(matching) == 1:
        return matching[0]
    raise CommandError(
        f"{len(matching)} tasks begin with {id!r}" if matching else f"there is no task {id!r}", status=1
    )


async def _all(ledger: TaskLedger) -> AsyncIterator[Held]:
    after: str | None = None
    while True:
        held, after = await ledger.opened_page(after, _PAGE)
        for task in held:
            yield task
        if after is None:
            return


def _row(state: TaskState) -> Sequence[str]:
    summary = _summary(state)
    shown = {**summary, "id": state.id[:_SHORT_ID], "created": summary["created"].removesuffix("Z")}
    return [shown.get(name) or "-" for name in ("id", "tool", "status", "created", "caller", "message")]


def _summary(state: TaskState) -> dict[str, str]:
    summary = {
        "id": state.id,
        "tool": state.tool,
        "status": "sleeping" if state.status == "working" and state.wakes else state.status,
        "created": _time(state.created),
        "caller": state.client.principal or "",
        "message": state.message,
    }
    return {name: value for name, value in summary.items() if value}


def _rest(state: TaskState) -> dict[str, Any]:
    params = msgspec.json.decode(state.params)
    rest = {
        "revision": state.client.revision,
        "updated": _time(state.updated),
        "durable": state.durable,
        "worker": state.worker or None,
        "attempts": state.attempts or None,
        "wakes": _time(state.wakes) if state.wakes else None,
        "arguments": params.get("arguments", {}),
        "questions": {key: msgspec.json.decode(pending.request) for key, pending in state.inputs.items()} or None,
        "result": msgspec.json.decode(state.result) if state.result else None,
        "error": msgspec.json.decode(state.error) if state.error else None,
    }
    return {name: value for name, value in rest.items() if value is not None}


def _time(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") + "Z"
    )


list: Final = CliCommand(  # noqa: A001 - the verb
    "list",
    _list,
    params=[
        FILE,
        Option(
            ["--status"],
            metavar="|".join(_STATUSES),
            help="Only tasks with this status.",
        ),
        Option(["--limit"], type=int, default=1000, show_default=True, metavar="COUNT", help="Most tasks."),
        _JSON,
    ],
    examples=["tasks list", "tasks list server.py --status working --json"],
)

show: Final = CliCommand(
    "show", _show, params=[_ID, _FILE_OPTION, _JSON], examples=["tasks show 4f1c --file server.py"]
)

cancel: Final = CliCommand("cancel", _cancel, params=[_ID, _FILE_OPTION], examples=["tasks cancel 4f1c9a02"])
