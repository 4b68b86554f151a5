"""The span of a request at a fraction of the cost of one of the SDK, also when it is exported.

It is used with providers of ours alone, whose processors and exporters understand it (`exporter.py`). Attributes
are made when the request has ended; what a handler adds is kept beside them. Whoever needs a span of the SDK gets
one from `readable`.
"""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from enfilade.telemetry.otel.attributes import Described

_UNSET: Final = Status(StatusCode.UNSET)
_FLAGS: Final = tuple(TraceFlags(bits) for bits in range(256))
_SAMPLED: Final = TraceFlags.SAMPLED
_RANDOM: Final = 2  # the random-trace-id flag of W3C Trace Context, level 2
_NEW: Final = _SAMPLED | _RANDOM  # the flags of a span that begins a trace
_NO_STATE: Final = TraceState()
#: The context of a span that is not the current one.
NOWHERE: Final = Context()
_NOT_YET: Final = Described("", {})


class SpanSource:
    """What all spans of a process have in common.

    Args:
        provider: of this package.
        processors: those that it was made with.
        version: of this package.
    """

    def __init__(self, provider: TracerProvider, processors: tuple[Any, ...], version: str) -> None:
        self.resource: Final[Resource] = provider.resource
        self.scope: Final = InstrumentationScope("enfilade", version, None, None)
        self.limits: Final = SpanLimits()
        self.generate_trace_id: Final = provider.id_generator.generate_trace_id
        self.generate_span_id: Final = provider.id_generator.generate_span_id
        self.processors: Final = processors
        self._sampler: Sampler | None = None if provider.sampler is DEFAULT_ON else provider.sampler

    def flags_of(self, context: Context, parent: SpanContext | None, trace_id: int, kind: SpanKind) -> int:
        """Return the flags of a new span, which say whether it is recorded."""
        sampler = self._sampler
        if sampler is None:
            return _NEW if parent is None else parent.trace_flags & _NEW
        decision = sampler.should_sample(context, trace_id, "", kind).decision
        flags = _SAMPLED if decision is Decision.RECORD_AND_SAMPLE else 0
        return flags | (_RANDOM if parent is None else parent.trace_flags & _RANDOM)


class _Additions:
    """What a handler has added to its span."""

    def __init__(self, limits: SpanLimits) -> None:
        self.attributes = BoundedAttributes(
            limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
        )
        self.events: list[Event] = []
        self.name: str | None = None
        self.status = _UNSET


class RequestSpan(Span):
    """The span.

    Args:
        source: what it has in common with others.
        context: has the parent.
        parent: the span that it is in; None for the first of a trace.
        kind: server or internal.
        links: to other spans.
        start_time: nanoseconds since the epoch.

    Attributes:
        trace_number, span_number: its ids.
        described: what it has in common with others of its kind; known when it has ended.
        attributes: the others, likewise.
        before: the context from before it.
        current: the context in which it is the current span.
    """

    described: Described = _NOT_YET
    attributes: Mapping[str, Any] = _NOT_YET.attributes
    end_time = 0
    status = _UNSET
    additions: _Additions | None = None
    before = current = NOWHERE

    #: All that a processor asks for: whether it is sampled. `get_span_context` has its ids.
    context: Final = SpanContext(1, 1, False, _FLAGS[_SAMPLED])

    def __init__(
        self,
        source: SpanSource,
        context: Context,
        parent: SpanContext | None,
        kind: SpanKind,
        links: Sequence[Link],
        start_time: int,
    ) -> None:
        self.source = source
        self.parent = parent
        self.kind = kind
        self.links = links
        self.start_time = start_time
        self.trace_number = source.generate_trace_id() if parent is None else parent.trace_id
        self.span_number = source.generate_span_id()
        self.flags = source.flags_of(context, parent, self.trace_number, kind)

    # -- as its record has it ----------------------------------------------------------------------------------

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        return f"{self.trace_number:032x}"

    @property
    def traceparent(self) -> str:
        """What names it to others."""
        return f"00-{self.trace_number:032x}-{self.span_number:016x}-{self.flags & 1:02x}"

    # -- as processors have it ---------------------------------------------------------------------------------

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but what all spans of requests have."""
        return (
            self.additions is None
            and not self.links
            and self.status is _UNSET
            and (self.parent is None or not self.parent.trace_state)
        )

    def readable(self) -> ReadableSpan:
        """Return it as a span of the SDK."""
        added = self.additions
        events: Sequence[Event] = ()
        attributes = {**self.described.attributes, **self.attributes}
        name, status = self.described.name, self.status
        if added is not None:
            attributes |= added.attributes
            events, name = added.events, added.name or name
            status = status if added.status is _UNSET else added.status
        return ReadableSpan(
            name=name,
            context=self.get_span_context(),
            parent=self.parent,
            resource=self.source.resource,
            attributes=attributes,
            events=events,
            links=self.links,
            kind=self.kind,
            status=status,
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self.source.scope,
        )

    # -- as handlers have it -----------------------------------------------------------------------------------

    def get_span_context(self) -> SpanContext:
        state = _NO_STATE if self.parent is None else self.parent.trace_state
        return SpanContext(self.trace_number, self.span_number, False, _FLAGS[self.flags], state)

    def is_recording(self) -> bool:
        return bool(self.flags & _SAMPLED) and not self.end_time

    def _added(self) -> _Additions | None:
        if not self.is_recording():
            return None
        if self.additions is None:
            self.additions = _Additions(self.source.limits)
        return self.additions

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if (added := self._added()) is not None:
            for name, value in attributes.items():
                added.attributes[name] = value

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        added = self._added()
        if added is not None and len(added.events) < (self.source.limits.max_events or 0):
            added.events.append(Event(name, self._bounded(attributes), timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        if self.is_recording() and len(self.links) < (self.source.limits.max_links or 0):
            self.links = (*self.links, Link(context, self._bounded(attributes)))

    def _bounded(self, attributes: Any) -> BoundedAttributes:
        limits = self.source.limits
        return BoundedAttributes(
            limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length
        )

    def update_name(self, name: str) -> None:
        if (added := self._added()) is not None:
            added.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        added = self._added()
        if added is None or added.status.status_code is StatusCode.OK:
            return
        wanted = status if isinstance(status, Status) else Status(status, description)
        if wanted.status_code is not StatusCode.UNSET:
            added.status = wanted

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        kind = type(exception)
        described = {
            "exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**described, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: it ends with its request."""

    def finish(self, end_time: int) -> None:
        """End it, and give it to the processors; its name and attributes are set."""
        self.end_time = end_time
        for processor in self.source.processors:
            processor.on_end(self)
