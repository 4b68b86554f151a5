"""Traces and metrics by OpenTelemetry, with its semantic conventions for MCP.

    OTEL_* ─▶ variables ─▶ providers ─▶ tracing: a span for each request ─▶ exporter ─▶ OTLP over HTTP
                                    └▶ durations: histograms of requests and sessions

Everything here but `variables.py` needs `enfilade[otel]`, and is imported only where telemetry is on.

Easy to get wrong: whose providers they are. A program that has set its own before the app starts, or was started
by `opentelemetry-instrument`, has the spans in its own traces, and nothing is configured here.
"""
