"""ASGI: its types, and the request and response of an ASGI server as the endpoint sees them.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from enfilade.transports.exchange import DisconnectedError, Headers

if TYPE_CHECKING:
    import asyncio

    from enfilade.serving.observation.record import RequestRecord
    from enfilade.serving.principal import Principal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: A hook of a host: returns who is asking; None if nobody has said.
UserHook = Callable[[Scope], str | None]

#: Where an ASGI middleware of a host may put a `Principal`: a member of the scope's `state`.
PRINCIPAL_KEY: Final = "enfilade.principal"

#: Member of the scope with the client's certificate, as a trusted proxy has written it in its header.
CERTIFICATE_KEY: Final = "enfilade.client_certificate"


_JSON: Final = (b"content-type", b"application/json")


class AsgiExchange(msgspec.Struct, eq=False):
    """An `HttpExchange` over ASGI: one for each call of the application."""

    #: A server says only with the last part of a body that nothing follows.
    whole_body: ClassVar[None] = None

    method: str
    headers: Sequence[tuple[bytes, bytes]]
    scope: Scope
    _receive: Receive
    _send: Send
    principal: "Principal | None" = None
    fields: dict[bytes, bytes] | None = None
    verdict: Any = None
    record: "RequestRecord | None" = None

    @property
    def client(self) -> tuple[str, int | None] | None:
        client: tuple[str, int | None] | None = self.scope.get("client")
        return client

    @property
    def path(self) -> str:
        path: str = self.scope.get("path", "")
        return path

    @property
    def query(self) -> bytes:
        query: bytes = self.scope.get("query_string", b"")
        return query

    @property
    def version(self) -> str:
        version: str = self.scope["http_version"]
        return version

    def host_principal(self) -> "Principal | None":
        scope = self.scope
        if "user" not in scope and ("state" not in scope or not scope["state"]):  # nearly always
            return None
        return host_principal(scope)

    def forget_head(self) -> None:
        kept = ("client", "http_version")
        self.headers, self.fields, self.verdict = (), None, None
        self.scope = {name: self.scope[name] for name in kept if name in self.scope}

    async def read(self) -> tuple[bytes, bool]:
        message = await self._receive()
        chunk: bytes = message.get("body", b"")
        if not chunk and message["type"] == "http.disconnect":
            raise DisconnectedError
        if self.record is not None:
            self.record.bytes_in += len(chunk)
        return chunk, message.get("more_body", False)

    def expect_body(self, digest: bytes, refusal: Exception) -> None:
        from hashlib import sha256

        receive, body = self._receive, sha256()

        async def checking() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.request":
                body.update(message.get("body", b""))
                if not message.get("more_body", False) and body.digest() != digest:
                    raise refusal
            return message

        self._receive = checking

    async def disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def watch(self, gone: "asyncio.Future[None]") -> bool:
        return False

    def add_headers(self, headers: Headers) -> None:
        send = self._send

        async def adding(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                missing = [header for header in headers if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        self._send = adding

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        if self.record is not None:
            headers = self.record.note_response(status, len(body), headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def send_json(self, body: bytes, headers: Headers) -> None:
        headers = [_JSON, (b"content-length", b"%d" % len(body)), *headers]
        if self.record is not None:
            headers = self.record.note_response(200, len(body), headers)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        if self.record is not None:
            headers = self.record.note_response(status, 0, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write_now(self, chunk: bytes) -> bool:
        """Return False: a server may wait for anything."""
        return False

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        if self.record is not None:
            self.record.bytes_out += len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not is_last})


def authenticated_user(scope: Scope) -> str | None:
    """Return the user that the host's authentication has put into the scope, as Starlette's middleware does."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    try:
        identity = getattr(user, "identity", None)
    except NotImplementedError:  # of a user that has a name alone, as Starlette's own had
        identity = None
    return str(identity or user.display_name)


def host_principal(scope: Scope) -> "Principal | None":
    """Return who calls, as the host's authentication says: a `Principal` in the scope's state, or its user.

    Raises:
        TypeError: what is in the state is no `Principal`.
    """
    if "user" not in scope and ("state" not in scope or not scope["state"]):  # nearly always
        return None
    principal = stated_principal(scope)
    if principal is not None or not (user := authenticated_user(scope)):
        return principal
    from enfilade.serving.principal import Principal

    credentials = scope.get("auth")  # as Starlette's middleware puts it beside the user
    return Principal(user, scopes=frozenset(getattr(credentials, "scopes", ())))


def host_principal_key(scope: Scope) -> str | None:
    """Return the key of who calls, as the host's authentication says."""
    principal = host_principal(scope)
    return None if principal is None else principal.key


def stated_principal(scope: Scope) -> "Principal | None":
    """Return the `Principal` that an ASGI middleware of the host has put into the scope's state.

    Raises:
        TypeError: what is there is no `Principal`.
    """
    state = scope.get("state")
    principal = state.get(PRINCIPAL_KEY) if state else None
    if principal is None:
        return None
    from enfilade.serving.principal import Principal

    if not isinstance(principal, Principal):
        kind = type(principal).__name__
        raise TypeError(f"scope['state']['{PRINCIPAL_KEY}'] is a Principal of enfilade.auth, not {kind}")
    return principal


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
