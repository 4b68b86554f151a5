"""The last requests of a server that stops: they finish, or their clients learn that the server stops.

    idle connections are closed ─▶ requests finish, with those pipelined behind them, at most shutdown_timeout ─▶
    those that have not begun are dropped, the others are cancelled, and have `unwinding` seconds to answer ─▶ the
    remaining connections are closed

A body of which nothing arrives for `BODY_PATIENCE` seconds is cancelled before that: an incomplete request does
not delay the end.

Easy to get wrong: a handler that goes on after its cancellation. Its client gets an outcome all the same, and its
task is not waited for.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.server import ServerState

from enfilade.transports.http11.flow_control import reset

#: Seconds without progress after which an incomplete body is cancelled while the server stops.
BODY_PATIENCE: Final = 1.0

_FORCED: Final = 0.3  # seconds for cancelled requests after a second signal
_POLL_INTERVAL: Final = 0.05  # seconds
_REASON: Final = "the server is stopping (shutdown)"  # by which the endpoint recognises this cancellation

log = logging.getLogger("enfilade.transports")


async def finish_requests(
    state: ServerState, timeout: float, unwinding: float, is_forced: Callable[[], bool]
) -> bool:
    """Let the requests of a server finish, and cancel those that do not.

    Args:
        timeout: seconds that the requests have.
        unwinding: seconds that cancelled requests have then.
        is_forced: returns whether to wait no longer.

    Returns:
        Whether all of their tasks have ended.
    """
    for connection in list(state.connections):
        connection.shutdown()
    bodies = _StalledBodies()
    end = time.monotonic() + timeout
    while _is_busy(state) and not is_forced() and time.monotonic() < end:
        await asyncio.sleep(_POLL_INTERVAL)
        bodies.cancel(state)
    dropped = _drop_waiting(state)
    if state.tasks or dropped:
        log.warning("requests that have not ended in time are cancelled: %d", len(state.tasks) + dropped)
    for task in list(state.tasks):
        task.cancel(_REASON)
    cancelled_at = time.monotonic()
    while _is_busy(state):
        if time.monotonic() - cancelled_at >= (_FORCED if is_forced() else unwinding):
            break
        await asyncio.sleep(_POLL_INTERVAL)
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
    connections: list[Any] = list(state.connections)  # of uvicorn's own protocol too, which has no pipeline
    return sum(connection.drop_waiting() for connection in connections if hasattr(connection, "drop_waiting"))


def _is_busy(state: ServerState) -> bool:
    return bool(state.tasks or state.connections)


class _StalledBodies:
    """Finds the bodies of which nothing arrives."""

    def __init__(self) -> None:
        self._progress: dict[asyncio.Task[None], tuple[int, float]] = {}

    def cancel(self, state: ServerState) -> None:
        """Cancel the requests whose body has made no progress for `BODY_PATIENCE` seconds."""
        now = time.monotonic()
        previous, self._progress = self._progress, {}
        for connection in list(state.connections):
            cycle: Any = getattr(connection, "cycle", None)
            if cycle is None or not cycle.more_body or cycle.response_started or cycle.task is None:
                continue
            received, since = previous.get(cycle.task, (-1, now))
            if cycle.received != received:
                since = now
            elif now - since >= BODY_PATIENCE:
                cycle.task.cancel(_REASON)
                since = float("inf")  # once is enough
            self._progress[cycle.task] = (cycle.received, since)
