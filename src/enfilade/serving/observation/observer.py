"""Observers of requests, and what feeds them: `Observation`, one for each app.

Easy to get wrong: an observer that fails. It fails neither the request nor the other observers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter as _now
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

from enfilade.serving.channel import HttpHead, Peer
from enfilade.serving.failures import ends_more, log_safely
from enfilade.serving.observation.current import current_record
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError
from enfilade.wire.message import Message

if TYPE_CHECKING:
    from enfilade.serving.observation.audit import Audit

log = logging.getLogger("enfilade.serving")

MethodHandler = Callable[[Request], Awaitable[Message]]

_FAILED: Final = RpcError(INTERNAL_ERROR, "Internal error")


class RecordedExchange(HttpHead, Protocol):
    """An HTTP request and its response, which note in a record what they are."""

    record: RequestRecord | None


E = TypeVar("E", bound=RecordedExchange)


class Observer(Protocol):
    """What is called for each request; see the docstring of the package."""

    def begin(self, record: RequestRecord) -> None:
        """Take a request that is about to be handled."""
        ...

    def end(self, record: RequestRecord) -> None:
        """Take a request that has ended."""
        ...


@runtime_checkable
class ResumptionObserver(Protocol):
    """An observer that is called as well for each GET by which a client has resumed a stream."""

    def end_resumption(self, record: RequestRecord) -> None:
        """Take such a GET, which has ended."""
        ...


@runtime_checkable
class ClosedObserver(Protocol):
    """An observer that is told when its app is closed."""

    async def close(self) -> None:
        """Write what waits, within seconds."""
        ...


class EndObserver:
    """The base class of observers that need no `begin`, and so cost less."""

    def begin(self, record: RequestRecord) -> None:
        """Do nothing."""


class Observation:
    """Makes the records of an app's requests, and gives them to its observers.

    Args:
        observers: called in this order.
        audit: records who does what, and may refuse requests; None for no audit.
    """

    def __init__(self, observers: Sequence[Observer], audit: "Audit | None" = None) -> None:
        self.observers = tuple(observers)
        self.audit = audit
        self._begin = [observer.begin for observer in observers if not isinstance(observer, EndObserver)]
        self._end = [observer.end for observer in observers]
        self._close = self.end
        self._end_resumption = [
            observer.end_resumption for observer in observers if isinstance(observer, ResumptionObserver)
        ]

    # -- calls by transports -----------------------------------------------------------------------------------

    def open(self, transport: str, bytes_in: int = 0) -> RequestRecord:
        """Open the record of a request that has arrived without HTTP."""
        return RequestRecord(transport, _now(), self._close, bytes_in=bytes_in)

    def open_http(self, http: HttpHead) -> RequestRecord:
        """Open the record of an HTTP request that has arrived."""
        return RequestRecord("http", _now(), self._close, http)

    def recording(self, serve: Callable[[E], Awaitable[None]]) -> Callable[[E], Awaitable[None]]:
        """Return what serves an HTTP request as `serve` does, with a record of it.

        The record is opened when the request arrives, and closed when its response was sent.
        """

        async def serve_and_record(exchange: E) -> None:
            exchange.record = record = self.open_http(exchange)
            token = current_record.set(record)
            try:
                await serve(exchange)
            except asyncio.CancelledError:
                record.settle(None)
                raise
            finally:
                current_record.reset(token)
                self.end(record)

        return serve_and_record

    @contextmanager
    def element(self, size: int) -> Iterator[RequestRecord]:
        """Record a message of a batch, which has a task of its own, and the id of the request that brought it."""
        batch = current_record.get()
        record = self.open("http", size)
        if batch is not None:
            record.share(batch)
        current_record.set(record)
        try:
            yield record
        except asyncio.CancelledError:
            record.settle(None)
            raise
        finally:
            record.close()

    def enter(self, request: Request) -> None:
        """Make the record of a request the current one of its task."""
        record: Any = request.record
        current_record.set(record)

    def refuse(
        self, error: RpcError, method: str | None = None, params: Any = None, peer: Peer | None = None
    ) -> None:
        """Note in the current record that its request is refused, and what was read of it."""
        record = current_record.get()
        if record is not None:
            record.refuse(error, method, params, peer)

    def refuse_path(self, http: HttpHead, path: str, reason: str) -> None:
        """Record an HTTP request for a path at which nothing is served."""
        record = self.open_http(http)
        record.path, record.status = path, 404
        record.refuse(RpcError(INVALID_REQUEST, reason, status=404))
        record.close()

    def end(self, record: RequestRecord) -> None:
        """Give a record to the observers, once, if it is about a request that was served or refused."""
        if record.ended:
            return
        record.ended = _now()
        if record.request is not None or self._is_worth_a_line(record):
            for end in self._end:
                try:
                    end(record)
                except BaseException as error:
                    _log_failure(error)
        elif record.resumed is not None:
            self._call(self._end_resumption, record)
        record.request = record.result = record.http = None  # tasks may outlive the request

    @staticmethod
    def _is_worth_a_line(record: RequestRecord) -> bool:
        """Whether observers hear of a record without a request: it was refused, or has ended a session."""
        if record.http is not None and not record.path:
            record.path = record.http.path
        if record.error is None and record.status >= 400:
            record.error = RpcError(INVALID_REQUEST, f"HTTP {record.status}")
        return record.error is not None or record.http_method == "DELETE"

    def note_resumption(self, origin: str) -> None:
        """Note in the current record that it resumes the stream of a request, whose `traceparent` is given."""
        record = current_record.get()
        if record is not None:
            record.resumed = origin

    async def close(self) -> None:
        """Let the observers write what waits."""
        for observer in self.observers:
            if isinstance(observer, ClosedObserver):
                await observer.close()

    # -- calls by the dispatcher -------------------------------------------------------------------------------

    def begin(self, request: Request) -> RequestRecord:
        """Begin a client's request, and return its record."""
        record: Any = request.record or current_record.get()
        if record is None or record.is_dispatched:  # a transport of somebody else's, which opens none
            record = self.open("in_process")
        record.request, request.record, record.is_dispatched = request, record, True
        if self._begin:
            self._call(self._begin, record)
        return record  # type: ignore[no-any-return]

    async def run_chained(self, request: Request, call_next: MethodHandler) -> Message:
        """Run a request that a handler made, with a record of its own."""
        parent: Any = request.parent.record if request.parent is not None else None
        record = self.open("in_process" if parent is None else parent.transport)
        if parent is not None:
            record.parent = parent
            record.share(parent)
        request.record, record.request, record.is_dispatched = record, request, True
        token = current_record.set(record)
        try:
            self._call(self._begin, record)
            record.result = await call_next(request)
            return record.result  # type: ignore[no-any-return]
        except BaseException as error:
            if isinstance(error, RpcError):
                record.error = error
            elif isinstance(error, asyncio.CancelledError):  # a run of a durable task ends so when it waits
                record.is_cancelled = request.round is None or not request.round.has_ended
            else:
                record.error = _FAILED
            raise
        finally:
            current_record.reset(token)
            record.close()

    def _call(self, observers: Sequence[Callable[[RequestRecord], None]], record: RequestRecord) -> None:
        for observe in observers:
            try:
                observe(record)
            except BaseException as error:
                _log_failure(error)


def _log_failure(error: BaseException) -> None:
    """Log what an observer has raised, unless it ends more than the observer."""
    if ends_more(error):
        raise error
    log_safely(log, logging.ERROR, "an observer of requests failed", exc_info=error)
