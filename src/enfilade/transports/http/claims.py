"""Asking the worker that writes a stream whether it gave out an event that the log does not have yet.

Events reach the client a moment before they are in the log. So a client that comes back to another worker may
name an event beyond the log's end, and only the worker that sent it can tell that from an event which never was.
The easy thing to get wrong is a worker that is gone: it does not answer, and its client must be believed, so as
to be told that the worker is gone.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from enfilade.serving.cluster import Relay

#: Seconds for which a worker may answer.
_PATIENCE: Final = 1.0


class Claims:
    """What clients say that they have seen.

    Args:
        relay: the workers.
        position: returns the position of the last event that this worker gave out on a stream which it writes at
            present; None for other streams.
    """

    def __init__(self, relay: Relay, position: Callable[[str], int | None]) -> None:
        self._relay = relay
        self._position = position
        self._open: dict[str, asyncio.Future[bool]] = {}
        relay.on("claim", self._judge)
        relay.on("verdict", self._hear)

    async def is_good(self, stream: str, position: int, worker: str) -> bool:
        """Return what the worker of a stream says about a position; True if it does not answer.

        Args:
            stream: its key in the log.
            position: of the event that a client has named.
            worker: who writes the stream.
        """
        if not self._relay.shared or worker == self._relay.worker:
            return True
        number = secrets.token_hex(8)
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._open[number] = verdict
        try:
            self._relay.tell("claim", [stream, position, self._relay.worker, number], worker)
            async with asyncio.timeout(_PATIENCE):
                return await verdict
        except TimeoutError:
            return True
        finally:
            del self._open[number]

    def _judge(self, body: tuple[str, int, str, str]) -> None:
        stream, position, worker, number = body
        last = self._position(stream)
        self._relay.tell("verdict", [number, last is None or position <= last], worker)

    def _hear(self, body: tuple[str, bool]) -> None:
        number, good = body
        verdict = self._open.get(number)
        if verdict is not None and not verdict.done():
            verdict.set_result(good)
