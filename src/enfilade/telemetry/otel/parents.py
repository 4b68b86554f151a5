"""Where the span of a request belongs: its parent, and the spans that it is linked with.

`_meta` of the request is what its client says of its own span, so it outranks all else (SEP-414). A span that is
current when the request arrives, as that of an instrumented host, is linked then; without `_meta` it is the
parent. Then come the headers of the HTTP request. A retry of a stateless request is linked with the round before.
"""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import UNSET
from opentelemetry import context as contexts, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags, TraceState

from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.trace_context import TraceContext, parse_traceparent

_DEFAULT_PROPAGATORS: Final = frozenset({"tracecontext", "baggage"})


class Origin(NamedTuple):
    """Where a span belongs.

    Attributes:
        context: has its parent, if there is one, and the baggage.
        links: to other spans.
    """

    context: Context
    links: tuple[Link, ...] = ()


class Origins:
    """Finds where the spans of requests belong.

    Args:
        variables: the environment: `OTEL_PROPAGATORS` may name other formats than those of W3C.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        names = {name.strip() for name in variables.get("OTEL_PROPAGATORS", "").split(",") if name.strip()}
        self._is_w3c = not names or names == _DEFAULT_PROPAGATORS

    def find(self, record: RequestRecord) -> Origin:
        """Return where the span of a client's request belongs."""
        here = contexts.get_current()
        from_meta, from_headers = self._remote_w3c(record, here) if self._is_w3c else _remote_any(record, here)
        ambient = trace.get_current_span(here).get_span_context()
        links = [] if (before := _round_before(record)) is None else [Link(before, {"enfilade.link": "round"})]
        if from_meta is not None:
            if ambient.is_valid:
                links.append(Link(ambient))
            context = from_meta
        elif ambient.is_valid:
            context = here
        else:
            context = here if from_headers is None else from_headers
        return Origin(context, tuple(links))

    def begins_trace(self, record: RequestRecord, here: Context) -> bool:
        """Whether a request has neither parent nor links nor baggage."""
        request = record.request
        if here or request is None or record.has_trace_headers:
            return False
        meta = request.parsed_meta or request.meta
        is_bare = meta.traceparent is UNSET and meta.baggage is UNSET
        return is_bare and request.asking is None and self._is_w3c

    def _remote_w3c(self, record: RequestRecord, here: Context) -> tuple[Context | None, Context | None]:
        """Return the contexts that `_meta` and the headers say, of which there is one at most."""
        request, baggage = record.request, record.baggage
        meta = None if request is None else request.parsed_meta or request.meta
        remote = record.trace
        if meta is not None and meta.baggage is not UNSET:
            baggage = meta.baggage
        if remote is None and baggage is None:
            return None, None
        context = here if remote is None else trace.set_span_in_context(_remote_span(remote), here)
        if isinstance(baggage, str):
            context = W3CBaggagePropagator().extract({"baggage": baggage}, context)
        is_of_meta = meta is not None and isinstance(meta.traceparent, str) and remote is not None
        if is_of_meta and parse_traceparent(meta.traceparent) is not None:  # type: ignore[union-attr]
            return context, None
        return None, context


def _remote_any(record: RequestRecord, here: Context) -> tuple[Context | None, Context | None]:
    """Read the trace by the propagators that the program or the variables have set."""
    request = record.request
    members = {} if request is None else request.raw_meta
    meta = {name: value for name, value in members.items() if isinstance(value, str)}
    headers = (
        {}
        if record.http is None
        else {name.decode("latin-1"): value.decode("latin-1") for name, value in record.http.headers}
    )
    found = [propagate.extract(carrier, here) for carrier in (meta, headers)]
    from_meta, from_headers = (None if context == here else context for context in found)
    return from_meta, from_headers


def _remote_span(remote: TraceContext) -> NonRecordingSpan:
    state = TraceState.from_header([remote.state]) if remote.state else None
    flags = TraceFlags(TraceFlags.SAMPLED if remote.is_sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(int(remote.trace_id, 16), int(remote.parent_id, 16), True, flags, state))


def _round_before(record: RequestRecord) -> SpanContext | None:
    """Return the span of the round before, if a request is the retry of one that asked something."""
    request = record.request
    if request is None or request.round is None:
        return None
    return span_context_of(request.round.traceparent)


def span_context_of(traceparent: str) -> SpanContext | None:
    """Return the span that a `traceparent` of ours names."""
    remote = parse_traceparent(traceparent)
    return None if remote is None else _remote_span(remote).get_span_context()
