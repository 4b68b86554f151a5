"""One HTTP request and its response, as the endpoint and the bridge see them, whoever speaks HTTP.

`asgi.py` has the implementation for ASGI servers. Another one needs no more than what is here: the endpoint reads
the head, the body in chunks and the disconnect, and writes a response in one piece or in chunks.
"""

from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

    from enfilade.serving.observation.record import RequestRecord
    from enfilade.serving.principal import Principal

#: Names are in lower case.
Headers = list[tuple[bytes, bytes]]


class DisconnectedError(Exception):
    """The client has gone before the end of its body."""


class HttpRequest(Protocol):
    """One HTTP request: its head, its body, and whether its client is still there."""

    @property
    def method(self) -> str:
        """The HTTP method, in upper case."""
        ...

    @property
    def path(self) -> str:
        """The path, decoded; empty once the head is forgotten."""
        ...

    @property
    def query(self) -> bytes:
        """What follows the question mark, as it came; empty once the head is forgotten."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came: one may be there more than once."""
        ...

    @property
    def client(self) -> tuple[str, int | None] | None:
        """Address and port of the client; None if they are not known."""
        ...

    @property
    def version(self) -> str:
        """The version of HTTP, such as `1.1` or `2`."""
        ...

    @property
    def scope(self) -> MutableMapping[str, Any]:
        """What the host knows of the request, such as its user; only hooks of hosts read it."""
        ...

    @property
    def principal(self) -> "Principal | None":
        """Who sends it, once that is known."""
        ...

    @principal.setter
    def principal(self, principal: "Principal") -> None: ...

    def host_principal(self) -> "Principal | None":
        """Return who sends it, as the authentication of a host says; None if there is none.

        Raises:
            TypeError: the host has put something else where a `Principal` belongs.
        """
        ...

    #: The headers by their names, once they were read; None before.
    fields: dict[bytes, bytes] | None

    #: What the endpoint makes of the headers (a `HeaderVerdict`), once it has checked them; None before.
    verdict: Any

    def forget_head(self) -> None:
        """Free all of the head but `client`: a stream that is open for long does not need it."""
        ...

    @property
    def whole_body(self) -> Callable[[int], bytes | None] | None:
        """What returns the body in place of `read` if all of it is here; None if that is never known.

        It takes the most bytes that it may return; a body that has more, or is not complete, is left for `read`.
        """
        ...

    async def read(self) -> tuple[bytes, bool]:
        """Return the next chunk of the body, and whether more follows.

        Raises:
            DisconnectedError: the client has gone before the end.
        """
        ...

    def expect_body(self, digest: bytes, refusal: Exception) -> None:
        """Let `read` raise an exception at the end of a body that has another digest (SHA-256)."""
        ...

    async def disconnected(self) -> None:
        """Return once the client has gone; the body must have been read.

        Raises:
            Exception: the server has another way to say so, or a host's middleware refuses to wait for it.
        """
        ...

    def watch(self, gone: "asyncio.Future[None]") -> bool:
        """Let a future be done once the client has gone; False if nothing but `disconnected` tells that."""
        ...


class HttpResponse(Protocol):
    """One HTTP response. A method returns once the connection has room for more (back-pressure).

    Each of them may raise what its server raises for a client that has gone.
    """

    def add_headers(self, headers: Headers) -> None:
        """Add headers to the response, except those that it will have by itself."""
        ...

    def send(self, status: int, headers: Headers, body: bytes) -> Coroutine[Any, Any, None]:
        """Send a complete response; `headers` has its length."""
        ...

    def send_json(self, body: bytes, headers: Headers) -> Coroutine[Any, Any, None] | None:
        """Send a complete response of JSON with status 200.

        Args:
            headers: besides those for the type and the length of the body.

        Returns:
            What sends it; None if it was sent at once.
        """
        ...

    def start(self, status: int, headers: Headers) -> Coroutine[Any, Any, None]:
        """Send the head of a response whose body follows in chunks."""
        ...

    def write_now(self, chunk: bytes) -> bool:
        """Send a chunk of the body without waiting, and not the last; False if that cannot be done now."""
        ...

    def write(self, chunk: bytes, *, is_last: bool) -> Coroutine[Any, Any, None]:
        """Send a chunk of the body; the last one, which may be empty, ends the response."""
        ...


class HttpExchange(HttpRequest, HttpResponse, Protocol):
    """A request with its response."""

    #: Gets the status of the response and the sizes of both bodies, and adds its id to the headers of the
    #: response; None if nobody records the request.
    record: "RequestRecord | None"
