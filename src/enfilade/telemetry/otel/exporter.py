"""The exporter of spans over OTLP and HTTP."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


def span_exporter() -> OTLPSpanExporter:
    """Return the exporter, as the variables describe it."""
    return OTLPSpanExporter()
