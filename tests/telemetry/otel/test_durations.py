"""Durations that are added up here and put into the exports of the SDK."""

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from enfilade import counters
from enfilade.telemetry.otel.attributes import Described
from enfilade.telemetry.otel.durations import BOUNDS, NAME, DurationExporter, OwnDurations, SdkDurations
from enfilade.telemetry.otel.instruments import COUNTS, LEVELS, TIMES, add_instruments
from enfilade.telemetry.prometheus.definitions import BY_SOURCE

CALL = Described("tools/call add", {"mcp.method.name": "tools/call", "gen_ai.tool.name": "add"})
FAILURE = {"error.type": "tool_error"}
SECONDS = (0.001, 0.01, 0.015, 400.0)


class Remembering(MetricExporter):
    """Remembers what is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.exports: list[Any] = []

    def export(self, metrics_data: Any, timeout_millis: float = 0.0, **more: Any) -> MetricExportResult:
        self.exports.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0.0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0.0, **more: Any) -> None:
        return


def points(data: Any, name: str) -> list[Any]:
    """Return the points of a metric in an export."""
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def what(point: Any) -> tuple[Any, ...]:
    counts = list(point.bucket_counts)
    return dict(point.attributes), point.count, round(point.sum, 6), counts, point.min, point.max


@pytest.mark.parametrize("is_delta", [False, True])
def test_sums_are_those_of_the_sdk(is_delta: bool) -> None:
    inner, durations = Remembering(), OwnDurations()
    exporter = DurationExporter(inner, durations, is_delta=is_delta)
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=1e9), reader],
        shutdown_on_exit=False,
    )
    meter = provider.get_meter("enfilade")
    meter.create_counter("other").add(1)
    theirs = SdkDurations(meter)
    for failure in ({}, FAILURE):
        for seconds in SECONDS:
            durations.add(CALL, failure, seconds)
            theirs.add(CALL, failure, seconds)
    provider.force_flush()
    provider.force_flush()
    encoded = encode_metrics(inner.exports[0])  # which joins what is about the same
    names = [metric.name for metric in encoded.resource_metrics[0].scope_metrics[0].metrics]
    assert sorted(names) == [NAME, NAME, "other"]
    first, second = (
        [point for point in points(data, NAME) if list(point.explicit_bounds) == list(BOUNDS)]
        for data in inner.exports
    )
    # Both go through one exporter, so its first export has each twice.
    assert sorted(map(str, map(what, first[:2]))) == sorted(map(str, map(what, first[2:])))
    assert len(first) == 4
    assert len(points(inner.exports[0], "other")) == 1
    assert len(second) == (2 if is_delta else 4)


def test_series_have_a_bound() -> None:
    durations = OwnDurations()
    for number in range(3000):
        durations.add(Described(str(number), {"n": number}), {}, 0.1)
    made = durations.points(is_delta=False)
    assert len(made) == 2001
    assert next(point.count for point in made if "otel.metric.overflow" in point.attributes) == 1000


def test_everything_that_is_counted_has_an_instrument() -> None:
    known = {**COUNTS, **LEVELS, **TIMES}
    assert set(BY_SOURCE) - set(known) == set()
    assert len({counted.name for counted in known.values()}) == len(known)


def test_counters_are_read_when_metrics_are_exported() -> None:
    reader = InMemoryMetricReader()
    add_instruments(MeterProvider(metric_readers=[reader], shutdown_on_exit=False).get_meter("enfilade"))
    counters.count("store_errors", "a.test", 3)
    counters.time_of("session_duration", "stdio", 2.5)
    data = reader.get_metrics_data()
    errors = [
        it for it in points(data, "enfilade.store.errors") if it.attributes["enfilade.operation"] == "a.test"
    ]
    assert [point.value for point in errors] == [3]
    (session,) = points(data, "mcp.server.session.duration")
    assert (dict(session.attributes), session.count, session.sum) == ({"network.transport": "pipe"}, 1, 2.5)
