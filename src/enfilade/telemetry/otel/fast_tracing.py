"""The same spans as `tracing.py` makes, for providers of ours, at a fraction of the cost.

Easy to get wrong: a program may add a processor to our provider, such as one that copies baggage into attributes.
It wants spans of the SDK from their start on, so all of them are from then on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import context as contexts, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from enfilade.serving.observation.record import RequestRecord
from enfilade.telemetry.otel.attributes import failure_attributes, failure_text, own_attributes
from enfilade.telemetry.otel.request_span import NOWHERE, RequestSpan, SpanSource
from enfilade.telemetry.otel.tracing import RequestTracing

_SERVER: Final = SpanKind.SERVER
_INTERNAL: Final = SpanKind.INTERNAL
#: The key of the current span in a context.
(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
_FAILED: Final = StatusCode.ERROR


class FastTracing(RequestTracing):
    """Makes the spans.

    Args:
        source: what they have in common.
        pipeline: the processor of the provider, which has the others.
        more: as for `RequestTracing`.
    """

    def __init__(self, source: SpanSource, pipeline: Any, *more: Any) -> None:
        super().__init__(*more)
        self._source = source
        self._pipeline = pipeline
        self._processors = source.processors

    def begin(self, record: RequestRecord) -> None:
        """Begin the span of a request, and make it the current one."""
        if self._pipeline._span_processors is not self._processors:
            super().begin(record)
            return
        before = contexts.get_current()
        if record.parent is not None:
            span = self._start(record, before, _INTERNAL, ())
        elif self._origins.begins_trace(record, before):
            span = RequestSpan(self._source, before, None, _SERVER, (), record.started_at)
            span.current = Context({_SPAN: span})
        else:
            context, links = self._find_origin(record)
            span = self._start(record, context, _SERVER, links)
        span.before = before
        record.span = span
        contexts.attach(span.current)

    def _start(
        self, record: RequestRecord, context: Context, kind: SpanKind, links: Sequence[Link]
    ) -> RequestSpan:
        """Start a span with the current one of a context as its parent."""
        parent = trace.get_current_span(context).get_span_context()
        span = RequestSpan(
            self._source, context, parent if parent.is_valid else None, kind, links, record.started_at
        )
        span.current = trace.set_span_in_context(span, context)
        return span

    def end(self, record: RequestRecord) -> None:
        """End the span of a request."""
        span = record.span
        if type(span) is not RequestSpan:
            super().end(record)
            return
        if contexts.get_current() is span.current:
            contexts.attach(span.before)
        span.before = span.current = NOWHERE  # which refers to the span
        is_sampled = span.flags & 1
        if not is_sampled and self._durations is None:
            return
        span.described = described = self._describe(record)
        failure = failure_attributes(record)
        if self._durations is not None:
            self._measure(record, described, failure)
        if not is_sampled:
            return
        attributes = span.attributes = own_attributes(record, described)
        if failure:
            if record.failure is not None:
                span.add_event("exception", {"exception.type": record.failure})
            attributes.update(failure)
            span.status = Status(_FAILED, failure_text(record))
        span.finish(span.start_time + int((record.ended - record.started) * 1e9))


def fast_tracing(provider: Any, version: str, variables: Mapping[str, str], *options: Any) -> FastTracing | None:
    """Return what makes the spans of a provider of ours; None if the SDK has to make them.

    Args:
        provider: the provider.
        version: of this package.
        variables: the environment: limits of attributes are kept by spans of the SDK alone.
        options: for `RequestTracing`.
    """
    pipeline = getattr(provider, "_active_span_processor", None)
    processors = getattr(pipeline, "_span_processors", None)
    has_limits = any(
        name.endswith(("_COUNT_LIMIT", "_LENGTH_LIMIT")) for name in variables if name[:5] == "OTEL_"
    )
    if has_limits or not isinstance(processors, tuple):
        return None
    return FastTracing(SpanSource(provider, processors, version), pipeline, *options)
