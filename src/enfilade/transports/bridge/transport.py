"""`HTTPStreamableTransport`: Streamable HTTP for those who bring a session loop of their own.

One transport serves one session. Its host finds the transport by the session's id and calls `handle_request`; the
loop reads and writes the two memory streams of `connect`. Between the two is what our own endpoint uses: the same
checks, answers, streams and event_log.

The easy thing to get wrong is the end: whoever terminates the session, its callers must get an answer, and after
`connect` there must be nothing left, neither a task nor an open stream.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, TypeVar, overload

import msgspec
from msgspec import UNSET

try:
    import anyio
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('this needs anyio: pip install "enfilade[duplex]"', name="anyio") from error

from enfilade.serving.cluster import Relay
from enfilade.serving.failures import masked
from enfilade.state.event_store import EventStore, EventStoreLog
from enfilade.state.memory import MemoryStore
from enfilade.state.store import LogLimits
from enfilade.state.tokens import Seal
from enfilade.transports.asgi_types import Headers, Receive, Scope, Send
from enfilade.transports.bridge.messages import Arrival, as_dict
from enfilade.transports.bridge.post import DuplexPost
from enfilade.transports.bridge.server_stream import OwnStream
from enfilade.transports.bridge.session import SoleSession, session_over
from enfilade.transports.bridge.session_loop import SessionLoop
from enfilade.transports.http.endpoint import Principal, authenticated_user
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.origin_checks import Guard, check_each, check_host, check_origin, preflight
from enfilade.transports.http.request_checks import BodyReader, header_check_for
from enfilade.transports.http.response import ResponseOptions, send_empty, send_json, with_retry_after
from enfilade.transports.http.services import HttpOptions
from enfilade.transports.http.standalone_stream import GetHandler
from enfilade.transports.request_parsing import version_of
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError, encode_error
from enfilade.wire.revisions import POLLING, STATELESS

#: Messages that wait for the loop, and for us; whoever sends one more waits.
CAPACITY: Final = 100

#: Seconds that requests have to get their answers when the session is over, and events to get into their store.
FAREWELL: Final = 1.0

_POST_ONLY: Final[Headers] = [(b"allow", b"POST")]
_OFFERED: Final[Headers] = [(b"allow", b"GET, POST, DELETE")]

M = TypeVar("M")


class HTTPStreamableTransport:
    """One session over Streamable HTTP, whose messages go to a loop of your own.

    Clients of the session era are served. Those of 2026-07-28 have no sessions, so they are served without one
    only: by a transport with no `mcp_session_id` for each of their requests. With an id, they learn to open one.

    Args:
        mcp_session_id: the id of the session, visible ASCII that nobody can guess; None if it has none.
        session: whatever belongs to it for its host; it is kept as the attribute `session`.
        is_json_response_enabled: answer with one JSON body; what is said on the way is dropped, and the client
            cannot be asked anything. Otherwise an answer is a stream from the start.
        event_store: where events are kept, so that clients that were cut off can resume their streams.
        secret: signs event ids and seals what is kept, at least 32 bytes each, newest first; give one that stays,
            for streams to be known after a restart.
        allowed_hosts: values of `Host` to serve besides those of this machine: `api.example.com`, `*` for any.
        allowed_origins: values of `Origin` to serve besides the server's own.
        allow_localhost: serve the loopback names of this machine although they are not listed.
        options: limits and behaviour.
        principal: says who is asking; the session belongs to the first.

    Attributes:
        session: as given.

    Raises:
        ValueError: an id with other characters, a secret that is too short, or a host or an origin that is none.
    """

    def __init__(
        self,
        mcp_session_id: str | None,
        session: object = None,
        is_json_response_enabled: bool = False,
        event_store: EventStore | None = None,
        *,
        secret: str | bytes | Sequence[str | bytes] = (),
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        allow_localhost: bool = True,
        options: HttpOptions = HttpOptions(),  # noqa: B008 - it is frozen
        principal: Principal = authenticated_user,
    ) -> None:
        self.sole = SoleSession(mcp_session_id)
        self.session = session
        self.bodies = BodyReader(options.body_limit)
        self.response_options: ResponseOptions = msgspec.structs.replace(
            options.responses, json_response=is_json_response_enabled, eager=not is_json_response_enabled
        )
        self._terminated = False
        self._principal = principal
        hosts, origins = check_each(allowed_hosts, check_host), check_each(allowed_origins, check_origin)
        self._judged = header_check_for(Guard(hosts, origins, localhost=allow_localhost))
        self._relay = Relay(MemoryStore(LogLimits()))
        seal = Seal([secret] if isinstance(secret, str | bytes) else secret)
        self.event_log: SealedEventLog | None = None
        if event_store is not None:
            self.event_log = SealedEventLog(EventStoreLog(event_store), seal, self._relay, options.stream_age)
        self.own = OwnStream(self.sole, self.event_log)
        self._get_handler = GetHandler(self._relay, self.event_log, self.response_options)
        self._loop: SessionLoop | None = None
        self._serving: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()

    @property
    def mcp_session_id(self) -> str | None:
        """The id of the session; None if it has none."""
        return self.sole.id

    @property
    def is_initialized(self) -> bool:
        """Whether the loop has answered `initialize` with success; any other session is not worth keeping."""
        return self.sole.agreed

    # -- the loop's side ---------------------------------------------------------------------------------------

    @property
    def is_terminated(self) -> bool:
        """Whether the session is over: its client or its host has ended it, or its loop has."""
        return self._terminated

    @property
    def loop(self) -> SessionLoop:
        """The loop that serves the session."""
        assert self._loop is not None
        return self._loop

    @overload
    def connect(
        self,
    ) -> AbstractAsyncContextManager[
        tuple[MemoryObjectReceiveStream[dict[str, Any]], MemoryObjectSendStream[object]]
    ]: ...

    @overload
    def connect(
        self, messages: Callable[[Arrival], M]
    ) -> AbstractAsyncContextManager[tuple[MemoryObjectReceiveStream[M], MemoryObjectSendStream[object]]]: ...

    def connect(
        self, messages: Callable[[Arrival], Any] = as_dict
    ) -> AbstractAsyncContextManager[tuple[MemoryObjectReceiveStream[Any], MemoryObjectSendStream[object]]]:
        """Connect the session loop, for the length of an `async with` block, once.

        Args:
            messages: what the loop reads: `as_dict`, `as_text` (JSON), or `as_session_message` for the loops of
                the official SDK; or a function of your own.

        Returns:
            The (read, write) ends. The read end closes when the session is over. The write end takes dicts, JSON
            text, pydantic models, `RelatedMessage` and the SDK's `SessionMessage`.

        Raises:
            RuntimeError: it was connected before, or the session is over.
        """
        return self._connect(messages)

    @asynccontextmanager
    async def _connect(
        self, messages: Callable[[Arrival], Any]
    ) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Any], MemoryObjectSendStream[object]]]:
        if self._loop is not None or self._terminated:
            raise RuntimeError(
                "a transport is connected once, to one session loop; make another for another session"
            )
        inbox, read = anyio.create_memory_object_stream[Any](CAPACITY)
        write, outbox = anyio.create_memory_object_stream[object](CAPACITY)
        self._loop = SessionLoop(inbox, messages, self.own)
        routing = asyncio.get_running_loop().create_task(self._route(outbox))
        try:
            yield read, write
        finally:
            with anyio.CancelScope(shield=True):
                await self.terminate()
                await self._stop()
                routing.cancel()
                with suppress(asyncio.CancelledError):
                    await routing
                for each in (read, write, outbox):
                    each.close()

    async def _route(self, outbox: MemoryObjectReceiveStream[object]) -> None:
        """Pass on what the loop writes, until it closes its end: then there is nobody left to answer."""
        async for written in outbox:
            self.loop.hear(written)
        await self.terminate()

    async def terminate(self) -> None:
        """End the session: the loop reads no more, callers get an error, streams end, all else is HTTP 404."""
        if self._terminated:
            return
        self._terminated = True
        self.own.end()
        if self._loop is not None:
            self.loop.end()
        if self._get_handler.readers is not None:
            self._get_handler.readers.stop()

    async def _stop(self) -> None:
        """Wait until the last requests have been answered, and leave nothing running."""
        until = asyncio.get_running_loop().time() + FAREWELL
        for limit in self._serving:
            limit.reschedule(until)
        while self._serving:
            self._idle.clear()
            await self._idle.wait()
        await self.loop.stop()
        await self.own.stop()
        if self.event_log is not None:
            await self.event_log.flush(FAREWELL)
            await self.event_log.stop()
        await self._relay.stop()

    # -- HTTP's side -------------------------------------------------------------------------------------------

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, as an ASGI application.

        Raises:
            RuntimeError: nothing is connected; the client has been answered all the same.
        """
        headers: Headers = []
        if self.mcp_session_id is not None:
            headers = [(http.SESSION_ID, self.mcp_session_id.encode())]
        if self._loop is None and not self._terminated:
            error = RpcError(INTERNAL_ERROR, "This session is not being served yet; try again")
            await send_json(send, 500, encode_error(None, error), headers)
            raise RuntimeError(
                "handle_request() was called before connect(): run the loop in `async with connect()`"
            )
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._serving.add(limit)
                await self._serve(scope, headers, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._serving.discard(limit)
            self._idle.set()

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            fields = http.read(scope["headers"])
            verdict = self._judged(fields)
            verdict.check()
            headers = [*headers, *verdict.headers]
            if scope["method"] == "OPTIONS" and b"origin" in fields:
                await send_empty(send, 204, preflight(fields[b"origin"], fields))
                return
            self.sole.check_owner(self._principal(scope))
            if self._terminated:
                raise session_over()
            if scope["method"] == "POST":
                await DuplexPost(self, scope, fields, verdict, headers, receive, send).serve()
            else:
                await self._other(scope["method"], fields, headers, receive, send)
        except RpcError as error:
            id = None if error.id is UNSET else error.id
            status = error.status or 400
            await send_json(send, status, encode_error(id, error), with_retry_after(status, headers))
        except Exception as error:  # one request that fails is one request
            failure = masked(error, "an HTTP request could not be served")
            status = failure.status or 500
            await send_json(send, status, encode_error(None, failure), with_retry_after(status, headers))

    async def _other(
        self, method: str, fields: dict[bytes, bytes], headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Answer what is not a POST."""
        version = version_of(fields)
        if version in STATELESS:
            error = RpcError(INVALID_REQUEST, f"{method} is not part of revision {version}")
            await send_json(send, 405, encode_error(None, error), [*headers, *_POST_ONLY])
        elif method == "GET":
            self.sole.check(fields)
            retry = self.response_options.retry if self.sole.revision in POLLING else None
            tell, ttl = self.own.tell, 0.0  # nobody but us has this session, so nobody asks how long
            await self._get_handler.serve(
                self.sole.key, tell, fields, headers, receive, send, ttl=ttl, retry=retry
            )
        elif method == "DELETE" and self.mcp_session_id is not None:
            self.sole.check(fields)
            await self.terminate()
            await send_empty(send, 204, headers)
        else:
            error = RpcError(INVALID_REQUEST, f"{method} is not offered here; messages are POSTed")
            await send_json(send, 405, encode_error(None, error), [*headers, *_OFFERED])
