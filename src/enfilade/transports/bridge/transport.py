"""`HTTPStreamableTransport`: Streamable HTTP for a session loop that the user brings.

One transport serves one session. The host finds the transport by the session's id and calls `handle_request`; the
loop reads and writes the two memory streams of `connect`. Between them is what our own endpoint uses: the same
checks, responses, streams and event log.

Easy to get wrong: the end. Whoever terminates the session, its clients must get an answer, and after `connect`
neither a task nor an open stream may be left.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar, overload

import msgspec
from msgspec import UNSET

try:
    import anyio
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('this needs anyio: pip install "enfilade[duplex]"', name="anyio") from error

from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.failures import masked
from enfilade.state.event_store import EventStore, EventStoreLog
from enfilade.state.memory import MemoryStore
from enfilade.state.store import LogLimits
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports.asgi import AsgiExchange, Receive, Scope, Send, UserHook, host_principal_key
from enfilade.transports.bridge.messages import InboundMessage, as_dict
from enfilade.transports.bridge.post import BridgePost, BridgeServices
from enfilade.transports.bridge.session import ServerStream, SingleSession
from enfilade.transports.bridge.session_loop import SessionLoop
from enfilade.transports.exchange import Headers, HttpExchange, HttpResponse
from enfilade.transports.http.endpoint import serve_method
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.limits import HttpOptions
from enfilade.transports.http.origin_checks import (
    HostOriginPolicy,
    check_each,
    check_host,
    check_origin,
    preflight,
)
from enfilade.transports.http.request_checks import BodyReader, header_check_for
from enfilade.transports.http.response import ResponseOptions, send_empty, send_json, with_retry_after
from enfilade.transports.http.resumption import GetEndpoint
from enfilade.transports.http.sessions import session_not_found
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error
from enfilade.wire.revisions import POLLING

#: Messages that wait in each of the two memory streams; the sender of one more waits.
QUEUE_LENGTH: Final = 100

_ALLOW: Final = b"GET, POST, DELETE"

M = TypeVar("M")


class HTTPStreamableTransport:
    """One session over Streamable HTTP, whose messages go to a loop of your own.

    Clients of session-based revisions (up to 2025-11-25) are served. Those of 2026-07-28 have no sessions: they
    are served by a transport without `mcp_session_id` for each of their requests. With an id, they are told to
    open one.

    Args:
        mcp_session_id: the id of the session, visible ASCII that nobody can guess; None if it has none.
        session: any object of the host; the attribute `session` returns it.
        is_json_response_enabled: answer with one JSON body; notifications of a request are dropped, and the
            client cannot be asked. Otherwise a response is a stream from the start.
        event_store: where events are stored, so that clients that were cut off can resume their streams.
        secret: signs event ids and encrypts stored events, at least 32 bytes each, newest first; with a constant
            one, streams can be resumed after a restart.
        allowed_hosts: values of `Host` to serve besides those of this machine: `api.example.com`, `*` for any.
        allowed_origins: values of `Origin` to serve besides the server's own.
        allow_localhost: serve the loopback names of this machine although they are not listed.
        options: limits and behaviour.
        principal: returns who is asking; the session belongs to the first.
        timings: fixed times.

    Attributes:
        session: the object that was passed.

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
        principal: UserHook = host_principal_key,
        timings: Timings = Timings(),
    ) -> None:
        self.session = session
        self._single_session = SingleSession(mcp_session_id)
        self._response_options: ResponseOptions = msgspec.structs.replace(
            options.responses,
            json_response=is_json_response_enabled,
            eager=not is_json_response_enabled,
            timings=timings,
        )
        self._timings = timings
        self._terminated = False
        self._principal = principal
        hosts, origins = check_each(allowed_hosts, check_host), check_each(allowed_origins, check_origin)
        self._check_headers = header_check_for(HostOriginPolicy(hosts, origins, localhost=allow_localhost))
        self._worker_channel = WorkerChannel(MemoryStore(LogLimits()), timings)
        seal = Seal([secret] if isinstance(secret, str | bytes) else secret)
        self._event_log: SealedEventLog | None = None
        if event_store is not None:
            self._event_log = SealedEventLog(
                EventStoreLog(event_store), seal, self._worker_channel, options.stream_age, timings
            )
        self._server_stream = ServerStream(self._single_session, self._event_log)
        self._services = BridgeServices(
            session=self._single_session,
            server_stream=self._server_stream,
            bodies=BodyReader(options.body_limit),
            response_options=self._response_options,
            event_log=self._event_log,
        )
        self._get_endpoint = GetEndpoint(self._worker_channel, self._event_log, self._response_options)
        self._loop: SessionLoop | None = None
        self._serving: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()

    @property
    def mcp_session_id(self) -> str | None:
        """The id of the session; None if it has none."""
        return self._single_session.id

    @property
    def is_initialized(self) -> bool:
        """Whether the loop has answered `initialize` with success; a host can drop any other session."""
        return self._single_session.is_initialized

    # -- the loop's side ---------------------------------------------------------------------------------------

    @property
    def is_terminated(self) -> bool:
        """Whether the session is over: its client, its host or its loop has ended it."""
        return self._terminated

    @overload
    def connect(
        self,
    ) -> AbstractAsyncContextManager[
        tuple[MemoryObjectReceiveStream[dict[str, Any]], MemoryObjectSendStream[object]]
    ]: ...

    @overload
    def connect(
        self, messages: Callable[[InboundMessage], M]
    ) -> AbstractAsyncContextManager[tuple[MemoryObjectReceiveStream[M], MemoryObjectSendStream[object]]]: ...

    def connect(
        self, messages: Callable[[InboundMessage], Any] = as_dict
    ) -> AbstractAsyncContextManager[tuple[MemoryObjectReceiveStream[Any], MemoryObjectSendStream[object]]]:
        """Connect the session loop for the duration of an `async with` block; only once.

        Args:
            messages: what the loop reads: `as_dict`, `as_text` (JSON), or `as_session_message` for the loops of
                the official SDK; or a function of the user.

        Returns:
            The (read, write) ends. The read end closes when the session is over. The write end takes dicts, JSON
            text, pydantic models, `RelatedMessage` and the SDK's `SessionMessage`.

        Raises:
            RuntimeError: it was connected before, or the session is over.
        """
        return self._connect(messages)

    @asynccontextmanager
    async def _connect(
        self, messages: Callable[[InboundMessage], Any]
    ) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Any], MemoryObjectSendStream[object]]]:
        if self._loop is not None or self._terminated:
            raise RuntimeError(
                "a transport is connected once, to one session loop; make another for another session"
            )
        inbox, read = anyio.create_memory_object_stream[Any](QUEUE_LENGTH)
        write, outbox = anyio.create_memory_object_stream[object](QUEUE_LENGTH)
        self._loop = loop = SessionLoop(inbox, messages, self._server_stream, self._timings)
        routing = asyncio.get_running_loop().create_task(self._route(loop, outbox))
        try:
            yield read, write
        finally:
            with anyio.CancelScope(shield=True):
                await self.terminate()
                await self._stop(loop)
                routing.cancel()
                with suppress(asyncio.CancelledError):
                    await routing
                for stream in (read, write, outbox):
                    stream.close()

    async def _route(self, loop: SessionLoop, outbox: MemoryObjectReceiveStream[object]) -> None:
        """Route what the loop writes, and terminate the session when it closes its end."""
        async for written in outbox:
            loop.route(written)
        await self.terminate()

    async def terminate(self) -> None:
        """End the session: the loop's stream closes, calls fail, streams end, further requests get HTTP 404."""
        if self._terminated:
            return
        self._terminated = True
        self._server_stream.end()
        if self._loop is not None:
            self._loop.end()
        if self._get_endpoint.readers is not None:
            self._get_endpoint.readers.stop()

    async def _stop(self, loop: SessionLoop) -> None:
        """Wait until the last requests have been answered, and stop all tasks."""
        deadline = asyncio.get_running_loop().time() + self._timings.bridge_farewell
        for timeout in self._serving:
            timeout.reschedule(deadline)
        while self._serving:
            self._idle.clear()
            await self._idle.wait()
        await loop.stop()
        await self._server_stream.stop()
        if self._event_log is not None:
            await self._event_log.flush(self._timings.bridge_farewell)
            await self._event_log.stop()
        await self._worker_channel.stop()

    # -- HTTP's side -------------------------------------------------------------------------------------------

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, as an ASGI application.

        Raises:
            RuntimeError: no loop is connected; the client has been answered.
        """
        exchange = AsgiExchange(scope["method"], scope["headers"], scope, receive, send)
        headers: Headers = []
        if self.mcp_session_id is not None:
            headers = [(http.SESSION_ID, self.mcp_session_id.encode())]
        if self._loop is None and not self._terminated:
            error = RpcError(INTERNAL_ERROR, "This session is not being served yet; try again")
            await send_json(exchange, 500, encode_error(None, error), headers)
            raise RuntimeError(
                "handle_request() was called before connect(): run the loop in `async with connect()`"
            )
        timeout = asyncio.timeout(None)  # `_stop` sets it
        try:
            async with timeout:
                self._serving.add(timeout)
                await self._serve(exchange, headers)
        except TimeoutError:
            if not timeout.expired():
                raise
        finally:
            self._serving.discard(timeout)
            self._idle.set()

    async def _serve(self, exchange: HttpExchange, headers: Headers) -> None:
        try:
            fields = http.read(exchange.headers)
            verdict = self._check_headers(fields)
            verdict.check()
            headers = [*headers, *verdict.headers]
            if exchange.method == "OPTIONS" and b"origin" in fields:
                await send_empty(exchange, 204, preflight(fields[b"origin"], fields))
                return
            self._single_session.check_owner(self._principal(exchange.scope))
            if self._terminated or self._loop is None:
                raise session_not_found()
            if exchange.method == "POST":
                post = BridgePost(self._services, self._loop, exchange, fields, verdict, headers)
                await post.serve()
                return
            version = verdict.version
            table = {"GET": partial(self._get, exchange, fields, version, headers)}
            if self.mcp_session_id is not None:
                table["DELETE"] = partial(self._delete, exchange, fields, version, headers)
            await serve_method(exchange, fields, version, table, headers, allow=_ALLOW)
        except RpcError as error:
            id = None if error.id is UNSET else error.id
            status = error.status or 400
            await send_json(exchange, status, encode_error(id, error), with_retry_after(status, headers))
        except Exception as error:  # a failure affects this request only
            failure = masked(error, "an HTTP request could not be served")
            status = failure.status or 500
            await send_json(exchange, status, encode_error(None, failure), with_retry_after(status, headers))

    async def _get(
        self, exchange: HttpExchange, fields: dict[bytes, bytes], version: str, headers: Headers
    ) -> None:
        session = self._single_session
        session.check(fields, version)
        retry = self._response_options.retry if session.revision in POLLING else None
        serve, ttl = self._server_stream.serve, 0.0  # no other worker has this session
        await self._get_endpoint.serve(session.key, serve, fields, headers, exchange, ttl=ttl, retry=retry)

    async def _delete(
        self, response: HttpResponse, fields: dict[bytes, bytes], version: str, headers: Headers
    ) -> None:
        self._single_session.check(fields, version)
        await self.terminate()
        await send_empty(response, 204, headers)
