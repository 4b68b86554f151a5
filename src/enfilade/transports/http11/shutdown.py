"""The last requests of a server that stops: they finish, or each of their callers is told that the server stops.

    connections closed that are idle ─▶ requests finish, with those pipelined behind them, at most
    shutdown_timeout ─▶ what has not begun is dropped, the others are cancelled, and have `unwinding` seconds to
    tell their callers ─▶ what connections are left are closed

A body of which nothing comes for `BODY_PATIENCE` seconds is given up before that: half a request keeps nobody.

The easy thing to get wrong is a handler that goes on when it is cancelled. Its caller has an outcome all the
same, and its task is not waited for.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.server import ServerState

from enfilade.transports.http11.flow_control import reset

#: Seconds that an unfinished body may make no progress while the server stops.
BODY_PATIENCE: Final = 1.0

_FORCED: Final = 0.3  # seconds for the same after a second signal
_LOOK: Final = 0.05  # seconds between two looks
_REASON: Final = "the server is stopping (shutdown)"  # by which the doorway knows whose cancellation it is

log = logging.getLogger("enfilade.transports")


async def finish_requests(
    state: ServerState, timeout: float, unwinding: float, is_forced: Callable[[], bool]
) -> bool:
    """Let the requests of a server finish, and cancel those that do not.

    Args:
        state: what its connections share.
        timeout: seconds that the requests have.
        unwinding: seconds that those have then which were cancelled.
        is_forced: whether to wait no longer.

    Returns:
        Whether all of their tasks have ended.
    """
    for connection in list(state.connections):
        connection.shutdown()
    bodies = _Bodies()
    end = time.monotonic() + timeout
    while _is_busy(state) and not is_forced() and time.monotonic() < end:
        await asyncio.sleep(_LOOK)
        bodies.give_up_stalled(state)
    dropped = _drop_waiting(state)
    if state.tasks or dropped:
        log.warning("requests that have not ended in time are cancelled: %d", len(state.tasks) + dropped)
    for task in list(state.tasks):
        task.cancel(_REASON)
    cancelled_at = time.monotonic()
    while _is_busy(state):
        if time.monotonic() - cancelled_at >= (_FORCED if is_forced() else unwinding):
            break
        await asyncio.sleep(_LOOK)
    for connection in list(state.connections):
        if connection.transport.get_write_buffer_size():
            reset(connection.transport)
        else:
            connection.transport.close()
    have_ended = not state.tasks
    state.tasks.clear()  # or uvicorn would wait for them
    return have_ended


def _drop_waiting(state: ServerState) -> int:
    """Drop the pipelined requests that have not begun, and return how many there were."""
    connections: list[Any] = list(state.connections)
    return sum(each.drop_waiting() for each in connections if hasattr(each, "drop_waiting"))  # uvicorn's has none


def _is_busy(state: ServerState) -> bool:
    return bool(state.tasks or state.connections)


class _Bodies:
    """Finds the bodies that do not go on."""

    def __init__(self) -> None:
        self._progress: dict[asyncio.Task[None], tuple[int, float]] = {}

    def give_up_stalled(self, state: ServerState) -> None:
        """Cancel the requests whose body has made no progress for `BODY_PATIENCE` seconds."""
        now = time.monotonic()
        before, self._progress = self._progress, {}
        for connection in list(state.connections):
            cycle: Any = getattr(connection, "cycle", None)
            if cycle is None or not cycle.more_body or cycle.response_started or cycle.task is None:
                continue
            received, since = before.get(cycle.task, (-1, now))
            if cycle.received != received:
                since = now
            elif now - since >= BODY_PATIENCE:
                cycle.task.cancel(_REASON)
                since = float("inf")  # once is enough
            self._progress[cycle.task] = (cycle.received, since)
