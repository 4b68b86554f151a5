"""An ASGI application at the end of a wire: requests side by side, answers read as they come, faults at will.

Nothing is a socket, so a test decides when the reader reads and when it is gone. The easy thing to get wrong is a
test that waits for ever: whatever is waited for here has `TIMEOUT` seconds.
"""

import asyncio
import json
from collections.abc import Callable, MutableMapping
from typing import Any

from support.exchanges import Message, parsed
from support.http_client.asgi_calls import Application, PausableRequest
from support.http_client.connection import BOTH
from support.http_client.sse_reader import Event, EventReader

TIMEOUT = 20.0


class Exchange(PausableRequest):
    """One request and its response, read event by event.

    Attributes:
        headers: of the response, once it has begun.
        ended: whether all of it has come.
    """

    def __init__(self, app: Application, scope: dict[str, Any], body: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.ended = False
        self._changed = asyncio.Condition()
        self._reader = EventReader()
        self._events: list[Event] = []
        super().__init__(app, scope, body)

    async def _serve(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            await super()._serve(app, scope)
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self.reading.wait()
        if self._gone.is_set():
            return  # as uvicorn does
        async with self._changed:
            if message["type"] == "http.response.start":
                assert not self.status, "a second response"
                self.status = message["status"]
                self.headers = {
                    name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]
                }
            else:
                assert not self.ended, "more after the end"
                self.body += message.get("body", b"")
                self._events += self._reader.feed(message.get("body", b""))
                self.ended = not message.get("more_body", False)
            self._changed.notify_all()

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: happened() or self.task.done())

    # -- what a test does ----------------------------------------------------------------------------------------

    def stall(self) -> None:
        """Read nothing any more."""
        self.reading.clear()

    def cut(self) -> None:
        """Be gone."""
        self.leave()
        self.reading.set()

    async def wait_for_status(self) -> int:
        """Return the status, as soon as there is one."""
        await self._until(lambda: self.status != 0)
        return self.status

    async def event(self) -> Event:
        """Return the next event, a priming one included."""
        await self._until(lambda: bool(self._events))
        assert self._events, f"the stream ended: {self.body!r}"
        return self._events.pop(0)

    async def message(self) -> Message:
        """Return the next message of the stream."""
        while not (event := await self.event()).data:
            pass
        message: Message = json.loads(event.data)
        return message

    async def wait_for_end(self) -> "Exchange":
        """Wait for the end of the response."""
        async with asyncio.timeout(TIMEOUT):
            await self.task
        assert self.ended or self._gone.is_set()
        return self

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self.body
        return parsed(self.body)

    @property
    def unread_messages(self) -> list[Message]:
        """What has come on the stream and was not read."""
        events, self._events = self._events, []
        return [json.loads(event.data) for event in events if event.data]


class AsgiConnection:
    """Requests to one ASGI application.

    Args:
        app: the application.
        fields: headers that each request has unless it says otherwise; None leaves one out.
    """

    def __init__(self, app: Application, **fields: str | None) -> None:
        self._app = app
        self.fields = fields

    def start(self, verb: str, body: bytes = b"", **fields: str | None) -> Exchange:
        """Send a request and wait for nothing."""
        headers = [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in {"host": "127.0.0.1", **self.fields, **fields}.items()
            if value is not None
        ]
        scope = {"type": "http", "method": verb, "path": "/mcp", "headers": headers, "query_string": b""}
        return Exchange(self._app, scope, body)

    def post(self, message: Any, **fields: str | None) -> Exchange:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.start("POST", body, **{"content_type": "application/json", "accept": BOTH, **fields})

    def ask(self, id: Any, method: str = "tools/call", **fields: str | None) -> Exchange:
        return self.post(request(id, method), **fields)

    def get(self, last_id: str | None = None, **fields: str | None) -> Exchange:
        return self.start("GET", b"", **{"accept": "text/event-stream", "last_event_id": last_id, **fields})


def request(id: Any, method: str = "tools/call") -> Message:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {}}


def notification(method: str, **params: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id: Any, **members: Any) -> Message:
    return {"jsonrpc": "2.0", "id": id, "result": members}
