"""A collector: an HTTP server that takes OTLP, decodes it and remembers it.

with OtlpReceiver() as receiver, ServerProcess(command, env=receiver.variables) as server:
    span = receiver.span(lambda span: span.name == "tools/call add")
"""

import gzip
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.waiting import eventually

Attributes = dict[str, Any]


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that are killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Span(NamedTuple):
    """A span as it was exported; ids as hexadecimal digits, no parent as an empty text."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Attributes
    links: list[tuple[str, str]]
    events: list[tuple[str, Attributes]]
    status: int
    status_text: str
    milliseconds: float
    resource: Attributes
    scope: str

    @property
    def error(self) -> object:
        """The kind of its failure; None without one."""
        return self.attributes.get("error.type")


class Point(NamedTuple):
    """A point of a metric: what it is about, and its values."""

    metric: str
    unit: str
    attributes: Attributes
    resource: Attributes
    point: Any


def attributes_of(pairs: Any) -> Attributes:
    """Return the attributes of a message as a dict."""
    values = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        values[pair.key] = getattr(pair.value, kind) if kind else None
    return values


def spans_in(body: bytes) -> list[Span]:
    """Return the spans of the body of an export."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name,
            span.kind,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            attributes_of(span.attributes),
            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            [(event.name, attributes_of(event.attributes)) for event in span.events],
            span.status.code,
            span.status.message,
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
            attributes_of(resource.resource.attributes),
            scope.scope.name,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def points_in(body: bytes) -> list[Point]:
    """Return the points of the body of an export."""
    request = ExportMetricsServiceRequest.FromString(body)
    return [
        Point(
            metric.name,
            metric.unit,
            attributes_of(point.attributes),
            attributes_of(resource.resource.attributes),
            point,
        )
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


class OtlpReceiver:
    """The collector, in threads of this process, for the length of a `with` block.

    Args:
        most: spans and points that are kept, the newest; None for all.
    """

    def __init__(self, most: int | None = None) -> None:
        self.spans: list[Span] = []
        self.points: list[Point] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    receiver.spans += spans_in(body)
                elif self.path == "/v1/metrics":
                    receiver.points += points_in(body)
                if most is not None:
                    del receiver.spans[:-most], receiver.points[:-most]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                return

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a server that exports here, without waiting long."""
        waits = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **waits}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def span(self, is_it: Callable[[Span], object]) -> Span:
        """Wait for a span, and return it."""

        def look() -> Span | None:
            return next((span for span in list(self.spans) if is_it(span)), None)

        found = eventually(look, "the span did not come")
        assert found is not None
        return found

    def point(self, metric: str, is_it: Callable[[Point], object] = bool) -> Point:
        """Wait for a point of a metric, and return it."""

        def look() -> Point | None:
            return next((point for point in list(self.points) if point.metric == metric and is_it(point)), None)

        found = eventually(look, f"{metric} did not come")
        assert found is not None
        return found

    def span_of(self, request_id: str, name: str) -> Span:
        """Wait for the span of a JSON-RPC request, and return it."""
        return self.span(
            lambda span: span.attributes.get("jsonrpc.request.id") == request_id and span.name == name
        )
