"""W3C Trace Context: what a client says of the trace that its request belongs to.

It is only parsed here: a request has the id of its trace in the log whether anything traces it or not. A
malformed one counts as absent and fails no request (https://www.w3.org/TR/trace-context-1/#traceparent-header).
"""

import re
from typing import Final

import msgspec

#: version, trace id, parent id, flags. Later versions may have more behind them, version 00 may not.
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(msgspec.Struct, frozen=True):
    """A `traceparent`.

    Attributes:
        trace_id: 32 hexadecimal digits.
        parent_id: the span of the client, 16 hexadecimal digits.
        is_sampled: whether the client records its part.
        state: the `tracestate` as it came; empty without one.
    """

    trace_id: str
    parent_id: str
    is_sampled: bool
    state: str = ""


def parse_traceparent(value: object, state: object = "") -> TraceContext | None:
    """Return the trace context of a `traceparent` and a `tracestate`; None if the first is malformed."""
    if not isinstance(value, str) or len(value) > 512:
        return None
    match = _TRACEPARENT.fullmatch(value.strip())
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    text = state if isinstance(state, str) and state.isascii() and state.isprintable() else ""
    return TraceContext(trace_id, parent_id, int(flags, 16) & 1 == 1, text[:512])
