"""Starts telemetry when an app starts: which providers are used, and the observer of requests that feeds them."""

import os
from collections.abc import Mapping

from enfilade.serving.observation.observer import Observer
from enfilade.telemetry.otel.attributes import Describer, Find
from enfilade.telemetry.otel.parents import Origins
from enfilade.telemetry.otel.providers import own_providers, program_providers
from enfilade.telemetry.otel.tracing import RequestDurations, RequestTracing
from enfilade.telemetry.otel.variables import is_disabled, wanted


def observers_by_opentelemetry(
    name: str,
    version: str,
    tool: Find,
    prompt: Find,
    library: str,
    *,
    is_on: bool,
    variables: Mapping[str, str] = os.environ,
) -> list[Observer]:
    """Return what makes telemetry of requests; nothing if there is nothing to make.

    Args:
        name: of the app, which is that of the service unless the variables say another.
        version: of the app.
        tool: finds a tool by its name.
        prompt: finds a prompt by its name.
        library: version of this package.
        is_on: whether providers are made if the program has set none.
        variables: the environment.

    Raises:
        ImportError: a package is missing.
    """
    if is_disabled(variables):
        return []
    telemetry = program_providers(library)
    if telemetry is None and is_on:
        telemetry = own_providers(name, version, wanted(variables, is_on=True), library, variables)
    if telemetry is None:
        return []
    describer = Describer(tool, prompt)
    if telemetry.tracers is None:
        is_measured = telemetry.durations is not None
        return [RequestDurations(describer, telemetry.durations, telemetry)] if is_measured else []
    tracer = telemetry.tracers.get_tracer("enfilade", library)
    options = tracer, describer, Origins(variables), telemetry.durations, telemetry
    if telemetry.is_ours:
        from enfilade.telemetry.otel.fast_tracing import fast_tracing

        if (tracing := fast_tracing(telemetry.tracers, library, variables, *options)) is not None:
            return [tracing]
    return [RequestTracing(*options)]
