"""Exporters that take spans of requests (`request_span.py`) beside those of the SDK.

Encoding a span by the SDK takes more than half of the time of a call, so plain spans are encoded here: what
requests of a kind have in common once, by protobuf, and the rest as bytes. Fields of a message may come in any
order, and messages one after the other are one message, so what both have encoded is just joined.

Easy to get wrong: the client of the exporter is no public name of the SDK. Where it is not what it was, and where
the exporter has metrics of its own, everything goes the way of the SDK.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind

from enfilade.telemetry.otel.request_span import RequestSpan

# Fields of `Span` in trace.proto: number << 3 | wire type, and the length of bytes.
_TIMES: Final = Struct("<cQcQ").pack  # fixed64
_START, _END = b"\x39", b"\x41"
_TRACE_ID, _SPAN_ID, _PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_FLAGS: Final = {  # fixed32: whether the parent is remote, and that this is known
    is_remote: b"\x85\x01" + Struct("<I").pack(0x300 if is_remote else 0x100) for is_remote in (False, True)
}
_REQUEST_ID: Final = b"\x0a\x12jsonrpc.request.id\x12"
_KINDS: Final = {
    SpanKind.INTERNAL: ProtoSpan.SpanKind.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: ProtoSpan.SpanKind.SPAN_KIND_SERVER,
}
_SPANS_OF_SCOPE: Final = b"\x12"
_SCOPES_OF_RESOURCE: Final = b"\x12"
_RESOURCES: Final = b"\x0a"


class SpansByOtlp(SpanExporter):
    """Exports spans over OTLP and HTTP.

    Args:
        inner: the exporter of the SDK.
        is_fast: whether plain spans are encoded here.
    """

    def __init__(self, inner: OTLPSpanExporter, *, is_fast: bool = True) -> None:
        self._inner = inner
        client = getattr(inner, "_client", None)
        self._send: Any = getattr(client, "export", None) if is_fast else None

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        if self._send is None:
            return self._inner.export(as_readable(spans))
        return SpanExportResult.SUCCESS if self._send(encoded(spans)).success else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class ReadableSpans(SpanExporter):
    """Exports spans by an exporter that takes those of the SDK."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return self._inner.export(as_readable(spans))

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def span_exporter() -> SpanExporter:
    """Return the exporter over OTLP and HTTP, as the variables describe it."""
    measures = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true"
    return SpansByOtlp(OTLPSpanExporter(), is_fast=not measures)


def as_readable(spans: Sequence[Any]) -> list[ReadableSpan]:
    """Return spans as the SDK has them."""
    return [span.readable() if type(span) is RequestSpan else span for span in spans]


# -- encoding --------------------------------------------------------------------------------------------------


def encoded(spans: Sequence[Any]) -> bytes:
    """Return spans as an `ExportTraceServiceRequest`."""
    plain = [span for span in spans if type(span) is RequestSpan and span.is_plain]
    others = [span for span in spans if type(span) is not RequestSpan or not span.is_plain]
    parts = [encode_spans(as_readable(others)).SerializeToString()] if others else []
    if plain:
        source = plain[0].source  # of which there is one in a process
        resource, scope = _heads(source.resource, source.scope)
        encoded_spans = b"".join([_field(_SPANS_OF_SCOPE, _encode(span)) for span in plain])
        parts.append(_field(_RESOURCES, resource + _field(_SCOPES_OF_RESOURCE, scope + encoded_spans)))
    return b"".join(parts)


def _encode(span: RequestSpan) -> bytes:
    parent, described = span.parent, span.described
    head = described.encoded.get(span.kind)
    if head is None:
        head = described.encoded[span.kind] = _head(span)
    return b"".join(
        [
            head,
            *(_TRACE_ID, span.trace_number.to_bytes(16), _SPAN_ID, span.span_number.to_bytes(8)),
            *((b"", b"") if parent is None else (_PARENT, parent.span_id.to_bytes(8))),
            _TIMES(_START, span.start_time, _END, span.end_time),
            *[_attribute(name, value) for name, value in span.attributes.items()],
            _FLAGS[parent is not None and parent.is_remote],
        ]
    )


def _field(tag: bytes, content: bytes) -> bytes:
    """Return a field with its length, which is a varint."""
    size = len(content)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"%b%b%b" % (tag, bytes(length), content)


@lru_cache(maxsize=4)
def _heads(resource: Any, scope: Any) -> tuple[bytes, bytes]:
    """Return the fields of a resource and of a scope that are not spans."""
    empty = ReadableSpan("", context=SpanContext(1, 1, False), resource=resource, instrumentation_scope=scope)
    (of_resource,) = encode_spans([empty]).resource_spans
    (of_scope,) = of_resource.scope_spans
    del of_resource.scope_spans[:], of_scope.spans[:]
    return of_resource.SerializeToString(), of_scope.SerializeToString()


def _head(span: RequestSpan) -> bytes:
    """Return what all spans of a kind have in common."""
    described = span.described
    attributes = b"".join([_attribute(name, value) for name, value in described.attributes.items()])
    named = ProtoSpan(name=described.name, kind=_KINDS[span.kind])
    return bytes(named.SerializeToString()) + attributes


def _attribute(name: str, value: Any) -> bytes:
    if name == "jsonrpc.request.id" and len(value) < 80 and value.isascii():
        # Each request has another: two lengths, of the pair and of its value, which fit into a byte each.
        size = len(value)
        return b"\x4a%c%b%c\x0a%c%b" % (size + 24, _REQUEST_ID, size + 2, size, value.encode())
    return _remembered_attribute(name, value)


@lru_cache(maxsize=8192, typed=True)
def _remembered_attribute(name: str, value: Any) -> bytes:
    content = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    encoded_span: bytes = ProtoSpan(attributes=[KeyValue(key=name, value=content)]).SerializeToString()
    return encoded_span
