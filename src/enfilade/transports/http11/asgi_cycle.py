"""A request that an ASGI application answers, and its response: what the application is called with."""

from collections.abc import Awaitable, MutableMapping, Sequence
from typing import Any

from enfilade.transports.http11.request_cycle import RequestCycle

AsgiMessage = MutableMapping[str, Any]


class AsgiCycle(RequestCycle, eq=False, kw_only=True):
    """One request and its response.

    Attributes:
        app: the application.
        scope: what it is called with; empty once the response has started.
    """

    app: Any
    scope: dict[str, Any]

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Headers of a request that has no response yet."""
        headers: list[tuple[bytes, bytes]] = self.scope["headers"]
        return headers

    def _answer(self) -> Awaitable[Any]:
        answer: Awaitable[Any] = self.app(self.scope, self.receive, self.send)
        return answer

    def _drop_head(self) -> None:
        self.scope = {}

    # -- calls by the application ------------------------------------------------------------------------------

    async def receive(self) -> AsgiMessage:
        """Return the next part of the body once some has arrived; after its end, that the client has gone."""
        if self._has_event and not self.expects_continue and not self._connection.flow.read_paused:
            self._has_event = False  # nearly always
        else:
            await self._next_event()
        if self._is_disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: AsgiMessage) -> None:
        """Write a part of the response, when the client has read enough of what was written before.

        Raises:
            RuntimeError: the application must not send this, or not now.
        """
        flow = self._connection.flow
        if flow.write_paused and not self._is_disconnected:
            await flow.wait_writable()
        if self._is_disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message["status"], message.get("headers", ()))
        elif not self.response_complete:
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
