"""All metrics of a server, as data; the table of the documentation is checked against it.

Easy to get wrong: labels. Each combination of their values is a series of its own, for as long as the process
lives. So values come from what the server has, and never from a text of a client.
"""

from functools import cache
from typing import Final, Literal, NamedTuple

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

#: Upper bounds of durations of requests, in seconds.
DURATIONS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
#: The same of what should take no time: the store, and the event loop.
SHORT_DURATIONS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
#: The same of sessions.
LONG_DURATIONS: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 86_400)


class Definition(NamedTuple):
    """One metric.

    Attributes:
        name: as a scrape has it; without the suffixes of the series of a histogram.
        kind: its type.
        help: one line that says what it is.
        labels: the names of its labels.
        source: the name under which `enfilade.counters` has it; empty for one that is made here.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    source: str = ""
    buckets: tuple[float, ...] = ()


OPERATIONS: Final = Definition(
    "mcp_server_operation_duration_seconds",
    "histogram",
    "Duration of requests of clients, from their arrival until their outcome was sent",
    ("method", "target", "outcome", "transport"),
    buckets=DURATIONS,
)
CHAINED: Final = Definition(
    "enfilade_chained_call_duration_seconds",
    "histogram",
    "Duration of requests that tools made of each other",
    ("method", "target", "outcome"),
    buckets=DURATIONS,
)
LAG: Final = Definition(
    "enfilade_event_loop_lag_seconds",
    "histogram",
    "How late the event loop ran a timer; one observation every quarter of a second",
    buckets=SHORT_DURATIONS,
)
INFO: Final = Definition(
    "enfilade_info",
    "gauge",
    "The number of processes that serve; the labels say what runs",
    ("server", "server_version", "version", "python"),
)

WORKERS: Final = Definition("enfilade_workers", "gauge", "Workers that serve")
DEATHS: Final = Definition(
    "enfilade_worker_deaths_total",
    "counter",
    "Workers that died, or were killed because they hung; others took their place",
)
#: What `enfilade.counters` has.
_COUNTED: Final = (
    Definition(
        "mcp_server_requests_refused_total",
        "counter",
        "Requests that were not served, by the setting that is the reason, or by what is wrong with them",
        ("reason",),
        "requests_refused",
    ),
    Definition(
        "mcp_server_sessions_opened_total",
        "counter",
        "Sessions that were opened",
        ("transport",),
        "sessions_opened",
    ),
    Definition(
        "mcp_server_sessions_ended_total",
        "counter",
        "Sessions that their clients ended, or whose connection did; others expire, which nobody sees",
        ("transport",),
        "sessions_ended",
    ),
    Definition(
        "mcp_server_session_duration_seconds",
        "histogram",
        "Duration of the sessions that were ended",
        ("transport",),
        "session_duration",
        LONG_DURATIONS,
    ),
    Definition(
        "mcp_server_requests_in_flight",
        "gauge",
        "Requests that wait for something: one that is answered at once is never among them",
        source="requests_in_flight",
    ),
    Definition("mcp_server_open_streams", "gauge", "Event streams that clients have open", source="open_streams"),
    Definition(
        "mcp_server_streams_resumed_total",
        "counter",
        "Streams with which a client went on after it was disconnected",
        source="streams_resumed",
    ),
    Definition(
        "mcp_server_notifications_dropped_total",
        "counter",
        "Notifications for which a slow client had no room, or that nobody took",
        source="notifications_dropped",
    ),
    Definition(
        "mcp_server_pending_questions",
        "gauge",
        "Questions to clients in sessions that are not answered yet",
        source="pending_questions",
    ),
    Definition(
        "enfilade_limit_refusals_total",
        "counter",
        "Calls that a limit of calls refused, by limit",
        ("limit",),
        "limit_refusals",
    ),
    Definition(
        "enfilade_limit_waits_total",
        "counter",
        "Calls that had to wait for a limit of calls",
        source="limit_waits",
    ),
    Definition(
        "enfilade_limit_waiting_calls",
        "gauge",
        "Calls that wait for a limit of calls, or for the store to decide about one",
        source="limit_waiting",
    ),
    Definition(
        "enfilade_tool_threads",
        "gauge",
        "Threads for plain def tools, busy and idle",
        source="tool_threads",
    ),
    Definition(
        "enfilade_tool_threads_busy",
        "gauge",
        "Threads that run a plain def tool; there are tool_threads at most in each worker",
        source="tool_threads_busy",
    ),
    Definition(
        "enfilade_tool_calls_queued",
        "gauge",
        "Calls of plain def tools that wait for a thread",
        source="tool_calls_queued",
    ),
    Definition(
        "enfilade_tool_thread_wait_seconds",
        "histogram",
        "How long calls of plain def tools waited for a thread; of calls that began while all threads were busy",
        (),
        "tool_thread_wait",
        SHORT_DURATIONS,
    ),
    Definition(
        "enfilade_store_operation_duration_seconds",
        "histogram",
        "Duration of operations of the store",
        ("operation",),
        "store_operation",
        SHORT_DURATIONS,
    ),
    Definition(
        "enfilade_store_errors_total",
        "counter",
        "Operations of the store that failed",
        ("operation",),
        "store_errors",
    ),
    Definition(
        "enfilade_log_lines_dropped_total",
        "counter",
        "Log lines that were not written: beyond log_limit, or since stderr was not read",
        ("reason",),
        "log_lines_dropped",
    ),
    Definition(
        "enfilade_audit_entries_dropped_total",
        "counter",
        "Audit entries that were not written, as that failed or too many waited",
        source="audit_entries_dropped",
    ),
    Definition(
        "enfilade_calls_answered_total",
        "counter",
        "Calls of tools that got the outcome of another call, from the cache or by their idempotency key",
        ("source",),
        "calls_answered",
    ),
)

DEFINITIONS: Final = (OPERATIONS, CHAINED, *_COUNTED, LAG, WORKERS, DEATHS, INFO)
BY_SOURCE: Final = {definition.source: definition for definition in DEFINITIONS if definition.source}


def metric_of(definition: Definition) -> Counter | Gauge | Histogram:
    """Return the metric of a definition, made at the first call."""
    return _made(definition)


def histogram(definition: Definition) -> Histogram:
    """Return the metric of a definition that is a histogram."""
    metric = _made(definition)
    assert isinstance(metric, Histogram)
    return metric


def counter(definition: Definition) -> Counter:
    """Return the metric of a definition that is a counter."""
    metric = _made(definition)
    assert isinstance(metric, Counter)
    return metric


def gauge(definition: Definition) -> Gauge:
    """Return the metric of a definition that is a gauge."""
    metric = _made(definition)
    assert isinstance(metric, Gauge)
    return metric


@cache
def _made(definition: Definition) -> Counter | Gauge | Histogram:
    name, labels = definition.name, definition.labels
    if definition.kind == "histogram":
        return Histogram(name, definition.help, labels, buckets=definition.buckets, registry=REGISTRY)
    if definition.kind == "counter":
        return Counter(name.removesuffix("_total"), definition.help, labels, registry=REGISTRY)
    return Gauge(name, definition.help, labels, registry=REGISTRY, multiprocess_mode="livesum")
