"""The lifespans of several ASGI applications as one: of a host, and of the apps in it, which it may not tell.

Applications start in order and stop in reverse. Easy to get wrong: an application without a lifespan. It raises,
or returns, when it is called with that scope, and is served all the same (ASGI, lifespan protocol).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from enfilade.transports.asgi import Receive, Scope, Send

log = logging.getLogger("enfilade")

_STARTUP: Final = "lifespan.startup"
_SHUTDOWN: Final = "lifespan.shutdown"

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Message = MutableMapping[str, Any]


async def serve_lifespans(
    applications: Sequence[Application], scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve a lifespan scope for several applications, of which the last one may set the state of requests."""
    running: list[_Lifespan] = []
    await receive()
    for application in applications:
        lifespan = _Lifespan(application, scope)
        failure = await lifespan.tell(_STARTUP)
        if failure is not None:
            await _stop(running)
            await send({"type": "lifespan.startup.failed", "message": failure})
            return
        running.append(lifespan)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    failures = await _stop(running)
    if failures:
        await send({"type": "lifespan.shutdown.failed", "message": "; ".join(failures)})
    else:
        await send({"type": "lifespan.shutdown.complete"})


async def _stop(running: "list[_Lifespan]") -> list[str]:
    failures = [await lifespan.tell(_SHUTDOWN) for lifespan in reversed(running)]
    return [failure for failure in failures if failure is not None]


class _Lifespan:
    """The lifespan of one application, which runs in a task of its own."""

    def __init__(self, application: Application, scope: Scope) -> None:
        self._requests: asyncio.Queue[Message] = asyncio.Queue()
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._run(application, scope))

    async def _run(self, application: Application, scope: Scope) -> None:
        await application(scope, self._requests.get, self._replies.put)

    async def tell(self, kind: str) -> str | None:
        """Send an event; return why the application failed, or None if it did not, or has no lifespan."""
        if self._task.done():
            return None
        self._requests.put_nowait({"type": kind})
        reply = asyncio.ensure_future(self._replies.get())
        try:
            await asyncio.wait((reply, self._task), return_when=asyncio.FIRST_COMPLETED)
            if reply.done():
                message = reply.result()
                return message.get("message", "") if message["type"] == f"{kind}.failed" else None
        finally:
            reply.cancel()
        error = self._task.exception()
        if kind == _STARTUP:
            log.debug("an application has no lifespan: %r", error)
            return None
        return None if error is None else repr(error)
