"""ASGI: its types, and the request and response of an ASGI server as the endpoint sees them.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from enfilade.transports.exchange import DisconnectedError, Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: A hook of a host: returns who is asking; None if nobody has said.
Principal = Callable[[Scope], str | None]


class AsgiExchange(msgspec.Struct, eq=False):
    """An `HttpExchange` over ASGI: one for each call of the application.

    Attributes:
        method: of the request.
        headers: of the request.
        scope: of the call.
    """

    method: str
    headers: Sequence[tuple[bytes, bytes]]
    scope: Scope
    _receive: Receive
    _send: Send

    @property
    def client(self) -> tuple[str, int | None] | None:
        client: tuple[str, int | None] | None = self.scope.get("client")
        return client

    @property
    def version(self) -> str:
        version: str = self.scope["http_version"]
        return version

    def forget_head(self) -> None:
        self.headers, self.scope = (), {"client": self.scope.get("client")}

    async def read(self) -> tuple[bytes, bool]:
        message = await self._receive()
        chunk: bytes = message.get("body", b"")
        if not chunk and message["type"] == "http.disconnect":
            raise DisconnectedError
        return chunk, message.get("more_body", False)

    async def disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not is_last})


def authenticated_user(scope: Scope) -> str | None:
    """Return the user that the host's authentication has put into the scope, as Starlette's middleware does."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(getattr(user, "identity", None) or user.display_name)


def inner_path(scope: Scope) -> str:
    """Return a request's path without that under which a host has mounted the app.

    ASGI wants the whole `root_path` at the beginning of `path`. Behind a proxy that strips a prefix, frameworks
    put the prefix into `root_path` alone (`FastAPI(root_path="/api/v1")`). Then `path` begins with the path of
    the mount, which is the end of `root_path`.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    while prefix:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return path[len(prefix) :]
        start = prefix.find("/", 1)
        prefix = "" if start < 0 else prefix[start:]
    return path
