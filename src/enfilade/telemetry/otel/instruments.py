"""Instruments for what `enfilade.counters` counts; they are read when metrics are exported.

Easy to get wrong: a listener for durations stays for as long as the process lives. There is one for a provider.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from enfilade import counters

SESSION_DURATION: Final = "mcp.server.session.duration"
_SHORT: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LONG: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TRANSPORTS: Final = {"http": "tcp", "stdio": "pipe"}


class Counted(NamedTuple):
    """An instrument.

    Attributes:
        name: as metrics have it.
        unit: what is counted.
        description: one line that says what it is.
        label: the attribute that has the label of the counter; empty without labels.
    """

    name: str
    unit: str
    description: str
    label: str = ""


#: By the name of the counter.
COUNTS: Final = {
    "requests_refused": Counted(
        "enfilade.requests.refused", "{request}", "Requests that a setting has refused", "enfilade.reason"
    ),
    "sessions_opened": Counted(
        "enfilade.sessions.opened", "{session}", "Sessions that were opened", "enfilade.transport"
    ),
    "sessions_ended": Counted(
        "enfilade.sessions.ended", "{session}", "Sessions that their clients ended", "enfilade.transport"
    ),
    "streams_resumed": Counted("enfilade.streams.resumed", "{stream}", "Streams that clients resumed"),
    "notifications_dropped": Counted(
        "enfilade.notifications.dropped", "{notification}", "Notifications for which a client had no room"
    ),
    "limit_refusals": Counted(
        "enfilade.limits.refusals", "{call}", "Calls that a limit of calls refused", "enfilade.limit"
    ),
    "limit_waits": Counted("enfilade.limits.waits", "{call}", "Calls that waited for a limit of calls"),
    "calls_answered": Counted(
        "enfilade.calls.answered", "{call}", "Calls that got the outcome of another call", "enfilade.source"
    ),
    "store_errors": Counted(
        "enfilade.store.errors", "{operation}", "Operations of the store that failed", "enfilade.operation"
    ),
    "log_lines_dropped": Counted(
        "enfilade.log.lines_dropped", "{line}", "Lines of the log that were not written", "enfilade.reason"
    ),
    "audit_entries_dropped": Counted(
        "enfilade.audit.entries_dropped", "{entry}", "Entries of the audit that were not written"
    ),
}
#: Numbers that go up and down, likewise.
LEVELS: Final = {
    "requests_in_flight": Counted("enfilade.requests.in_flight", "{request}", "Requests that wait for something"),
    "open_streams": Counted("enfilade.streams.open", "{stream}", "Event streams that are open"),
    "pending_questions": Counted("enfilade.questions.pending", "{question}", "Questions without an answer"),
    "limit_waiting": Counted("enfilade.limits.waiting", "{call}", "Calls that wait for a limit of calls"),
    "tool_threads": Counted("enfilade.tool_threads", "{thread}", "Threads for plain def tools, busy and idle"),
    "tool_threads_busy": Counted("enfilade.tool_threads.busy", "{thread}", "Threads that run a plain def tool"),
    "tool_calls_queued": Counted(
        "enfilade.tool_threads.queued", "{call}", "Calls of plain def tools that wait for a thread"
    ),
}
#: Durations, likewise.
TIMES: Final = {
    "session_duration": Counted(
        SESSION_DURATION, "s", "Duration of sessions that were ended", "network.transport"
    ),
    "store_operation": Counted(
        "enfilade.store.operation.duration", "s", "Duration of operations of the store", "enfilade.operation"
    ),
    "tool_thread_wait": Counted(
        "enfilade.tool_threads.wait", "s", "How long calls of plain def tools waited while all threads were busy"
    ),
}


def add_instruments(meter: Meter) -> None:
    """Let a meter read everything that is counted."""
    for name, counted in COUNTS.items():
        meter.create_observable_counter(
            counted.name, [_read_count(name, counted)], unit=counted.unit, description=counted.description
        )
    for name, counted in LEVELS.items():
        meter.create_observable_up_down_counter(
            counted.name, [_read_level(name)], unit=counted.unit, description=counted.description
        )
    histograms: dict[str, Any] = {
        name: meter.create_histogram(
            timed.name,
            unit=timed.unit,
            description=timed.description,
            explicit_bucket_boundaries_advisory=list(_LONG if name == "session_duration" else _SHORT),
        )
        for name, timed in TIMES.items()
    }

    def measure(name: str, label: str, seconds: float) -> None:
        if (histogram := histograms.get(name)) is not None:
            value = _TRANSPORTS.get(label, label) if name == "session_duration" else label
            histogram.record(seconds, {TIMES[name].label: value} if label else None)

    counters.listen(measure)


def _read_count(name: str, counted: Counted) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(options: CallbackOptions) -> Iterable[Observation]:
        for (other, label), number in counters.counts().items():
            if other == name:
                yield Observation(number, {counted.label: label} if counted.label and label else None)

    return read


def _read_level(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(options: CallbackOptions) -> Iterable[Observation]:
        return (Observation(counters.watched().get(name, 0)),)

    return read
