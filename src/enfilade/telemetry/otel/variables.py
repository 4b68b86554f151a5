"""What the variables `OTEL_*` ask for, read without a package of OpenTelemetry.

A signal is asked for if its exporter or its endpoint is named, or the endpoint of all signals is.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ has the variables.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Signal = Literal["traces", "metrics"]

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_HTTP_PROTOBUF: Final = "http/protobuf"

#: What to do about missing packages.
MORE_PACKAGES: Final = 'pip install "enfilade[otel]"'


class Wanted(NamedTuple):
    """The exporters of each signal, as the variables name them; none for a signal that is off."""

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


def wanted(variables: Mapping[str, str], *, is_on: bool = False) -> Wanted:
    """Return the exporters that are asked for.

    Args:
        variables: the environment.
        is_on: telemetry is on whatever the variables say, so that a signal without variables has the exporter
            that is the default of the specification.
    """
    if is_disabled(variables):
        return Wanted()
    asks = is_on and not any(_asks_for(signal, variables) for signal in ("traces", "metrics"))
    return Wanted(*(_exporters(signal, variables, asks) for signal in ("traces", "metrics")))


def is_disabled(variables: Mapping[str, str]) -> bool:
    """Whether `OTEL_SDK_DISABLED` turns everything off."""
    return variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def protocol_of(signal: str, variables: Mapping[str, str]) -> str:
    """Return the protocol by which OTLP is spoken for a signal."""
    own = variables.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "").strip()
    return own or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or _HTTP_PROTOBUF


def _asks_for(signal: str, variables: Mapping[str, str]) -> bool:
    names = (f"OTEL_{signal.upper()}_EXPORTER", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", _ENDPOINT)
    return any(variables.get(name, "").strip() for name in names)


def _exporters(signal: str, variables: Mapping[str, str], asks: bool) -> tuple[str, ...]:
    if not asks and not _asks_for(signal, variables):
        return ()
    named = variables.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"
    names = [name.strip().lower() for name in named.split(",")]
    return tuple(dict.fromkeys(name for name in names if name and name != "none"))
