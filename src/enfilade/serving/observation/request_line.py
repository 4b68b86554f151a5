"""The line of a request: one for people, one for machines, from the same record.

`enfilade dev` shows the parts of the line for people in colours; the log has them one after the other.
"""

import os
import time
from typing import Final, Literal

import msgspec

from enfilade.serving.observation.record import RequestRecord, session_digest
from enfilade.wire.revisions import kind_of

#: The logger of these lines.
LOGGER: Final = "enfilade.requests"

#: How an outcome is shown: by its colour at a terminal.
OutcomeKind = Literal["ok", "asks", "warning", "failure"]

_WARNINGS: Final = frozenset({"tool_error", "cancelled"})
_SOURCES: Final = {"cache": ", from the cache", "idempotency": ", as the first call"}
_WORDS: Final = {"tool_error": "tool error", "deadline": "took too long"}


class RequestLine(msgspec.Struct, frozen=True):
    """The line for machines: the keys of its JSON are these, in this order; null where nothing is known.

    Attributes:
        time: when the request had ended: RFC 3339, UTC.
        worker: id of the process.
        target: the name of a tool or prompt, or the URI of a resource.
        ms: duration in milliseconds.
        outcome: `ok`, `tool_error`, the code of a JSON-RPC error, `refused`, `cancelled` or `deadline`.
        client: name and version, as the client says.
        principal: the key of who called.
        session: a digest that stands for the session.
        bytes_in: as `record.py` says, and so are the next two.
    """

    time: str
    level: str
    logger: str
    worker: int
    method: str | None
    target: str | None
    ms: float
    outcome: str
    revision: str | None
    transport: str
    client: str | None
    principal: str | None
    session: str | None
    request_id: str
    trace_id: str | None
    bytes_in: int
    bytes_out: int
    questions: int


_encode = msgspec.json.Encoder().encode
_second = -1
_second_text = ""


def timestamp(seconds: float) -> str:
    """Return a time since the epoch as RFC 3339 in UTC, with milliseconds."""
    global _second, _second_text  # noqa: PLW0603 - the text of a second is used for all lines in it
    whole = int(seconds)
    if whole != _second:
        _second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = whole
    return f"{_second_text}.{int((seconds - whole) * 1000):03d}Z"


def line_of(record: RequestRecord, level: str = "info") -> RequestLine:
    """Return the line of a record that is closed."""
    method, target = record.method, record.target
    if method is None and record.http_method:
        method, target = record.http_method, record.path
    request = record.request
    peer = None if request is None else request.peer
    session_id = None if peer is None else peer.session_id
    return RequestLine(  # by position, which takes half the time
        timestamp(time.time()),
        level,
        LOGGER,
        os.getpid(),
        method,
        target,
        round((record.ended - record.started) * 1000, 3),
        record.outcome,
        None if peer is None else peer.revision,
        record.transport,
        None if peer is None or peer.client_info is None else record.client,
        record.principal,
        None if session_id is None else session_digest(session_id),
        record.request_id,
        record.trace_id,
        record.bytes_in,
        record.bytes_out,
        record.questions,
    )


def json_line(line: RequestLine) -> bytes:
    """Return a line as JSON, with the newline."""
    return _encode(line) + b"\n"


# -- for people ------------------------------------------------------------------------------------------------


def text_line(record: RequestRecord) -> str:
    """Return the line for people, without time and level."""
    parts = [subject(record), duration(record.milliseconds), outcome_words(record), caller(record)]
    parts.append(f"[{record.request_id}]")
    return "  ".join(part for part in parts if part)


def subject(record: RequestRecord) -> str:
    """Return the method and its target; HTTP method and path of a request that was refused before it was read."""
    method, target = record.method, record.target
    if method is None:
        return f"{record.http_method} {record.path}".strip() or "a message"
    return f"{method} {target}" if target else method


def duration(milliseconds: float) -> str:
    """Return a duration in words."""
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:,.1f} s"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"


def outcome_words(record: RequestRecord) -> str:
    """Return the outcome in a few words."""
    return _words(record) + _SOURCES.get(record.answered_from or "", "")


def _words(record: RequestRecord) -> str:
    outcome = record.outcome
    if outcome == "ok":
        if record.method is None and record.http_method == "DELETE":
            return "session ended"
        return "asks the client" if record.asks else outcome
    if outcome == "refused":
        return f"refused {record.status}" if record.status >= 400 else outcome
    return _WORDS.get(outcome) or (f"error {outcome}" if outcome.startswith("-") else outcome)


def outcome_kind(record: RequestRecord) -> OutcomeKind:
    """Return the kind of an outcome."""
    outcome = record.outcome
    if outcome == "ok":
        return "asks" if record.asks else "ok"
    return "warning" if outcome in _WARNINGS else "failure"


def caller(record: RequestRecord) -> str:
    """Return how the client speaks, the revision, the name and version of the client, and who calls."""
    revision, principal = record.revision, record.subject
    if revision is None:
        return "" if principal is None else f"for {principal}"
    words = f"{kind_of(revision)} {revision}"
    if record.client is not None:
        words += " " + " ".join(record.client.rsplit("/", 1))
    return words if principal is None else f"{words} for {principal}"
