"""The providers of traces and metrics: those that the program has set, or else ours, by the variables `OTEL_*`.

Ours are made once in a process, when its first app starts, so each worker has its own: they have threads, which
a fork would not copy. They become the global ones, so that spans which handlers and libraries make are exported
too.

Easy to get wrong: the end of the process. `atexit` of the SDK may wait half a minute for a collector that does
not answer, so it is left out. `Telemetry.flush` waits for as long as it is told, in a thread of its own.
"""

import asyncio
import logging
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from enfilade.telemetry.otel.variables import Wanted, protocol_of

if TYPE_CHECKING:  # needs the SDK
    from enfilade.telemetry.otel.durations import Durations

log = logging.getLogger("enfilade.telemetry")

_BY_PROTOCOL: Final = {
    "http/protobuf": "otlp_proto_http",
    "grpc": "otlp_proto_grpc",
    "http/json": "otlp_json_http",
}


class Telemetry:
    """The providers in use.

    Args:
        tracers: makes tracers; None if there are no traces.
        meters: makes meters; None if there are no metrics.
        is_ours: whether they were made here, so that they are flushed here as well.
        version: of this package.
        durations: takes the durations of requests, where that is not left to the SDK.
    """

    def __init__(
        self,
        tracers: TracerProvider | None,
        meters: MeterProvider | None,
        version: str,
        *,
        is_ours: bool = False,
        durations: "Durations | None" = None,
    ) -> None:
        self.tracers = tracers
        self.meters = meters
        self.is_ours = is_ours
        self.durations = durations
        if meters is not None:
            from enfilade.telemetry.otel.durations import SdkDurations
            from enfilade.telemetry.otel.instruments import add_instruments

            meter = meters.get_meter("enfilade", version)
            add_instruments(meter)
            self.durations = durations or SdkDurations(meter)

    async def flush(self, seconds: float) -> None:
        """Export what waits, and return after so many seconds at the latest."""
        if not self.is_ours:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not done.done():
                done.set_result(None)

        def export() -> None:
            for provider in (self.tracers, self.meters):
                if provider is not None:
                    with suppress(Exception):  # the SDK logs what goes wrong
                        provider.force_flush(int(seconds * 1000))  # type: ignore[union-attr, unused-ignore]
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle)

        threading.Thread(target=export, name="enfilade-telemetry", daemon=True).start()
        await asyncio.wait((done,), timeout=seconds)
        if not done.done():
            log.warning("telemetry that the collector did not take within %g s is lost", seconds)


_in_use: Telemetry | None = None


def program_providers(version: str) -> Telemetry | None:
    """Return the providers that the program has set, or ours from an earlier call; None if there are none.

    Args:
        version: of this package.
    """
    global _in_use  # noqa: PLW0603 - OpenTelemetry has one global provider for each process, which is set once
    if _in_use is None:
        tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
        if isinstance(tracers, trace.ProxyTracerProvider):
            return None
        is_set = type(meters).__name__ != "_ProxyMeterProvider"
        _in_use = Telemetry(tracers, meters if is_set else None, version)
    return _in_use


def own_providers(
    name: str, release: str, exporters: Wanted, version: str, variables: Mapping[str, str] = os.environ
) -> Telemetry:
    """Make the providers that the variables describe, and set them.

    Args:
        name: of the service, unless the variables say another.
        release: version of the service, unless the variables say another.
        exporters: their names for each signal.
        version: of this package.
        variables: the environment; the SDK reads most of it by itself.

    Raises:
        ImportError: a package of OpenTelemetry is missing.
    """
    global _in_use  # noqa: PLW0603 - as above
    resource = _resource(name, release)
    meters = durations = None
    if exporters.metrics:
        meters, durations = _meter_provider(resource, exporters.metrics, variables)
        metrics.set_meter_provider(meters)
    tracers = _tracer_provider(resource, exporters.traces, variables) if exporters.traces else None
    if tracers is not None:
        trace.set_tracer_provider(tracers)
    _in_use = Telemetry(tracers, meters, version, is_ours=True, durations=durations)
    return _in_use


def _resource(name: str, release: str) -> Any:
    """Return what the telemetry is about: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` outrank the app."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours = {"service.name": name, "service.version": release, "service.instance.id": str(uuid.uuid4())}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _tracer_provider(resource: Any, names: Iterable[str], variables: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = SdkTracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        exporter = _exporter("traces", name, variables, _console_spans)
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _meter_provider(
    resource: Any, names: Iterable[str], variables: Mapping[str, str]
) -> "tuple[MeterProvider, Durations | None]":
    """Return a provider, and what takes durations where the SDK does not."""
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    from enfilade.telemetry.otel.durations import DurationExporter, OwnDurations

    exporters = [
        exporter
        for name in names
        if (exporter := _exporter("metrics", name, variables, _console_metrics)) is not None
    ]
    preference = variables.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower()
    durations = None
    if len(exporters) == 1 and not isinstance(exporters[0], MetricReader):
        durations = OwnDurations()
        is_delta = preference in ("delta", "lowmemory")
        exporters = [DurationExporter(exporters[0], durations, is_delta=is_delta)]
    readers = [
        exporter if isinstance(exporter, MetricReader) else PeriodicExportingMetricReader(exporter)
        for exporter in exporters
    ]
    return SdkMeterProvider(resource=resource, metric_readers=readers, shutdown_on_exit=False), durations


def _exporter(signal: str, name: str, variables: Mapping[str, str], console: Callable[[], Any]) -> Any:
    """Return an exporter by its name in the variables; None, with a warning, if there is none of this name."""
    if name == "console":
        return console()
    protocol = protocol_of(signal, variables)
    entry = _BY_PROTOCOL.get(protocol, protocol) if name == "otlp" else name
    if entry == "otlp_proto_http" and signal == "traces":
        from enfilade.telemetry.otel.exporter import span_exporter

        return span_exporter()
    found = next(iter(entry_points(group=f"opentelemetry_{signal}_exporter", name=entry)), None)
    if found is None:
        log.warning(
            "%s are not exported by %s: no installed package has the exporter %r; see OTEL_%s_EXPORTER and "
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            signal,
            name,
            entry,
            signal.upper(),
        )
        return None
    exporter = found.load()()
    return _readable(exporter) if signal == "traces" else exporter


# Over stdio, stdout belongs to the protocol; over HTTP, stderr is where the log is.


def _console_spans() -> Any:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    exporter = ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + os.linesep)
    return _readable(exporter)


def _readable(exporter: Any) -> Any:
    """Return an exporter that takes spans of requests as well."""
    from enfilade.telemetry.otel.exporter import ReadableSpans

    return ReadableSpans(exporter)


def _console_metrics() -> Any:
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter(
        out=sys.stderr, formatter=lambda metrics_data: metrics_data.to_json(indent=None) + os.linesep
    )
