"""uvicorn in a thread of the tests, without the tenths of seconds that it sleeps between two looks.

A server that is told to stop by a test would otherwise take a third of a second to notice, hundreds of times. The
order of what it does is uvicorn's own.
"""

import asyncio
import socket
from types import ModuleType
from typing import Any

import uvicorn

_TICK = 0.1  # seconds, as uvicorn's own
_LONGEST_SLEEP = 0.005


class _ShortSleeps(ModuleType):
    """asyncio, for a server that stops."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(delay: float) -> None:
        await asyncio.sleep(min(delay, _LONGEST_SLEEP))


class QuickServer(uvicorn.Server):
    """A uvicorn server that stops as soon as `should_exit` is set."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._should_exit = False
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(config)

    @property  # an attribute of uvicorn's
    def should_exit(self) -> bool:
        """Whether it is to stop."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, stop: bool) -> None:
        self._should_exit = stop
        if stop and self._stop is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def main_loop(self) -> None:
        """Wait until it is to stop; see to the date header meanwhile."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            try:
                await asyncio.wait_for(self._stop.wait(), _TICK)
            except TimeoutError:
                continue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, with more looks."""
        uvicorn.server.asyncio = _ShortSleeps("asyncio")  # type: ignore[attr-defined]
        try:
            await super().shutdown(sockets)
        finally:  # of another server that stops meanwhile the sleeps become long again, which does no harm
            uvicorn.server.asyncio = asyncio  # type: ignore[attr-defined]
