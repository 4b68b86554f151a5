"""A span for each request: an observer of requests.

The span begins with the arrival of the request and ends when its outcome was sent. Its handler, and whatever that
calls in threads and tasks, sees it as the current span. A request that was refused before it had a handler gets
its span afterwards.

Easy to get wrong: the context. `end` may run in another context than `begin`, where a token of `attach` is not
valid. So the context from before is attached again, and only where the span is the current one.
"""

from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import context as contexts, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from enfilade.serving.observation.observer import EndObserver
from enfilade.serving.observation.record import RequestRecord
from enfilade.telemetry.otel.attributes import (
    Attributes,
    Described,
    Describer,
    failure_attributes,
    failure_text,
    own_attributes,
)
from enfilade.telemetry.otel.parents import Origins, span_context_of

if TYPE_CHECKING:  # they need the SDK
    from enfilade.telemetry.otel.durations import Durations
    from enfilade.telemetry.otel.providers import Telemetry

#: Seconds that the end of a server waits for the collector.
FLUSH_LIMIT: Final = 2.0

_SERVER: Final = SpanKind.SERVER
_INTERNAL: Final = SpanKind.INTERNAL


class StartsSpans(Protocol):
    """What of a tracer is used here."""

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: int | None = None,
    ) -> Span:
        """Start a span, which is not the current one by that."""
        ...


class OpenSpan:
    """The span of a request, as its record has it.

    Attributes:
        span: the span.
        described: what it has in common with others of its kind.
        start_time: when it began, in nanoseconds since the epoch.
        context: in which it is the current one.
        before: the context from before it.
    """

    __slots__ = ("before", "context", "described", "span", "start_time")

    def __init__(
        self, span: Span, described: Described, start_time: int, context: Context, before: Context
    ) -> None:
        self.span = span
        self.start_time = start_time
        self.described = described
        self.context = context
        self.before = before

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        return format(self.span.get_span_context().trace_id, "032x")

    @property
    def traceparent(self) -> str:
        """What names it to others."""
        own = self.span.get_span_context()
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags & 1:02x}"


class _Measuring:
    """What measures the duration of each request of a client.

    Args:
        describer: says what requests are called.
        durations: takes the durations; None to measure nothing.
        telemetry: is flushed when the app is closed.
    """

    def __init__(
        self, describer: Describer, durations: "Durations | None" = None, telemetry: "Telemetry | None" = None
    ) -> None:
        self._describe = describer.describe
        self._durations = durations
        self._telemetry = telemetry

    def _measure(self, record: RequestRecord, described: Described, failure: Attributes) -> None:
        if self._durations is not None and record.parent is None and record.method is not None:
            self._durations.add(described, failure, record.ended - record.started)

    async def close(self) -> None:
        """Export what waits."""
        if self._telemetry is not None:
            await self._telemetry.flush(FLUSH_LIMIT)


class RequestDurations(_Measuring, EndObserver):
    """Measures durations, where there are no spans."""

    def end(self, record: RequestRecord) -> None:
        """Add the duration of a request."""
        self._measure(record, self._describe(record), failure_attributes(record))


class RequestTracing(_Measuring):
    """Makes the spans.

    Args:
        tracer: starts them.
        describer: says what they are called.
        origins: says where they belong.
        durations: takes the durations; None to measure nothing.
        telemetry: is flushed when the app is closed.
    """

    def __init__(
        self,
        tracer: StartsSpans,
        describer: Describer,
        origins: Origins | None = None,
        durations: "Durations | None" = None,
        telemetry: "Telemetry | None" = None,
    ) -> None:
        super().__init__(describer, durations, telemetry)
        self._tracer = tracer
        self._origins = origins or Origins()
        self._find_origin = self._origins.find

    def begin(self, record: RequestRecord) -> None:
        """Begin the span of a request, and make it the current one."""
        described = self._describe(record)
        before = contexts.get_current()
        parent = record.parent
        if parent is None:
            context, links = self._find_origin(record)
            kind = _SERVER
        else:  # a call of a handler; its own span may have children of its own, which are current then
            context, links, kind = before, (), _INTERNAL
        attributes = described.attributes | own_attributes(record, described)
        started = record.started_at
        span = self._tracer.start_span(described.name, context, kind, attributes, links, started)
        current = trace.set_span_in_context(span, context)
        record.span = OpenSpan(span, described, started, current, before)
        contexts.attach(current)

    def end(self, record: RequestRecord) -> None:
        """End the span of a request."""
        opened: Any = record.span
        if opened is None:
            opened = self._start_late(record)
        elif contexts.get_current() is opened.context:
            contexts.attach(opened.before)
        span, failure = opened.span, failure_attributes(record)
        self._measure(record, opened.described, failure)
        if failure and span.is_recording():
            span.set_attributes(failure)
            span.set_status(Status(StatusCode.ERROR, failure_text(record)))
            if record.failure is not None:
                span.add_event("exception", {"exception.type": record.failure})
        span.end(opened.start_time + int((record.ended - record.started) * 1e9))

    def _start_late(self, record: RequestRecord) -> OpenSpan:
        """Start the span of a request that was refused before it had a handler."""
        described = self._describe(record)
        context, links = self._find_origin(record)
        attributes = described.attributes | own_attributes(record, described)
        started = record.started_at
        span = self._tracer.start_span(described.name, context, _SERVER, attributes, links, started)
        record.span = opened = OpenSpan(span, described, started, context, context)
        return opened

    def end_resumption(self, record: RequestRecord) -> None:
        """Record the GET that has resumed a stream, linked with the request that the stream answers."""
        origin = span_context_of(record.resumed or "")
        links = () if origin is None else (Link(origin, {"enfilade.link": "resumed"}),)
        described = self._describe(record)
        context, _ = self._find_origin(record)
        attributes = described.attributes | own_attributes(record, described) | {"mcp.resumption": True}
        started = record.started_at
        span = self._tracer.start_span(described.name, context, _SERVER, attributes, links, started)
        span.end(started + int((record.ended - record.started) * 1e9))
