"""`mcp.server.operation.duration`: how long requests of clients take.

A measurement by the SDK takes a tenth of the time of a call. So with providers of ours durations are added up
here, in one step, and put into what the SDK exports (`DurationExporter`). With providers of the program, and for
readers that are asked for metrics, the SDK measures.
"""

import threading
import time
from bisect import bisect_left
from dataclasses import replace
from typing import Any, Final, Protocol

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)

from enfilade.telemetry.otel.attributes import Attributes, Described

#: The name of the meter of this package.
SCOPE: Final = "enfilade"
NAME: Final = "mcp.server.operation.duration"
DESCRIPTION: Final = "Duration of requests of clients, from their arrival until their outcome was sent"
#: Upper bounds in seconds, as the conventions have them.
BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
#: Combinations of attributes of a worker; further ones are counted together.
_MOST_SERIES: Final = 2000
_OVERFLOW: Final = Described("", {"otel.metric.overflow": True})


class Durations(Protocol):
    """Takes the duration of each request."""

    def add(self, described: Described, failure: Attributes, seconds: float) -> None:
        """Add one.

        Args:
            described: the request.
            failure: further attributes, of one that has failed.
            seconds: its duration.
        """
        ...


class SdkDurations:
    """Measures by the SDK, or whatever else the program has set."""

    def __init__(self, meter: Any) -> None:
        self._histogram = meter.create_histogram(
            NAME, unit="s", description=DESCRIPTION, explicit_bucket_boundaries_advisory=list(BOUNDS)
        )

    def add(self, described: Described, failure: Attributes, seconds: float) -> None:
        self._histogram.record(seconds, {**described.attributes, **failure} if failure else described.attributes)


class _Series:
    """The durations of requests with the same attributes."""

    __slots__ = ("attributes", "counts", "largest", "smallest", "sum")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0
        self.smallest = float("inf")
        self.largest = 0.0


class OwnDurations:
    """Adds durations up until they are exported; the event loop adds, a thread of the SDK exports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Any, _Series] = {}
        self._since = time.time_ns()

    def add(self, described: Described, failure: Attributes, seconds: float) -> None:
        key = (described, *failure.values()) if failure else described
        with self._lock:
            series = self._series.get(key)
            if series is None:
                if len(self._series) >= _MOST_SERIES:
                    key, described, failure = _OVERFLOW, _OVERFLOW, {}
                series = self._series.setdefault(key, _Series({**described.attributes, **failure}))
            series.counts[bisect_left(BOUNDS, seconds)] += 1
            series.sum += seconds
            series.smallest = min(series.smallest, seconds)
            series.largest = max(series.largest, seconds)

    def points(self, *, is_delta: bool) -> list[HistogramDataPoint]:
        """Return what was added up: since the start, or since the last call."""
        now = time.time_ns()
        with self._lock:
            points = [
                HistogramDataPoint(
                    attributes=series.attributes,
                    start_time_unix_nano=self._since,
                    time_unix_nano=now,
                    count=sum(series.counts),
                    sum=series.sum,
                    bucket_counts=list(series.counts),
                    explicit_bounds=BOUNDS,
                    min=series.smallest,
                    max=series.largest,
                )
                for series in self._series.values()
            ]
            if is_delta:
                self._series, self._since = {}, now
        return points


class DurationExporter(MetricExporter):
    """Exports the durations beside what the SDK has measured.

    Args:
        inner: the exporter.
        durations: those of this process.
        is_delta: whether each export has only what is new.
    """

    def __init__(self, inner: Any, durations: OwnDurations, *, is_delta: bool) -> None:
        super().__init__(inner._preferred_temporality, inner._preferred_aggregation)
        self._inner = inner
        self._durations = durations
        self._temporality = AggregationTemporality.DELTA if is_delta else AggregationTemporality.CUMULATIVE

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        points = self._durations.points(is_delta=self._temporality is AggregationTemporality.DELTA)
        if points:
            histogram = Histogram(data_points=points, aggregation_temporality=self._temporality)
            metric = Metric(name=NAME, description=DESCRIPTION, unit="s", data=histogram)
            metrics_data = _with_metric(metrics_data, metric)
        result: MetricExportResult = self._inner.export(metrics_data, timeout_millis=timeout_millis, **more)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return bool(self._inner.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        self._inner.shutdown(timeout_millis=timeout_millis, **more)


def _with_metric(data: MetricsData, metric: Metric) -> MetricsData:
    """Return data with another metric among those of this package, which are always there.

    It must not have a resource and a scope of its own: encoders keep one of two that are equal.
    """
    resources = []
    for resource in data.resource_metrics:
        scopes = [
            replace(scope, metrics=[*scope.metrics, metric]) if scope.scope.name == SCOPE else scope
            for scope in resource.scope_metrics
        ]
        resources.append(replace(resource, scope_metrics=scopes))
    return MetricsData(resource_metrics=resources)
