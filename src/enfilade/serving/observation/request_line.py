"""The line of a request: one for people, one for machines, from the same record.

`enfilade dev` shows the parts of the line for people in colours; the log has them one after the other.

A line is written for every request, so it is put together from texts that are kept: what is about the caller is
the same in all requests of a session, and what is about a tool in all of its calls.

Easy to get wrong: how much is kept. Names come from clients, so there are at most `_MOST_KEPT` texts of a kind,
and none of a long name.
"""

import os
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, Literal, TypeVar

import msgspec

from enfilade.serving.observation.record import RequestRecord
from enfilade.wire.revisions import kind_of
from enfilade.wire.tools import CallToolRequestParams

Text = TypeVar("Text", bytes, str)

#: The logger of these lines.
LOGGER: Final = "enfilade.requests"

#: How an outcome is shown: by its colour at a terminal.
OutcomeKind = Literal["ok", "asks", "warning", "failure"]

_WARNINGS: Final = frozenset({"tool_error", "cancelled"})
_SOURCES: Final = {"cache": ", from the cache", "idempotency": ", as the first call"}
_WORDS: Final = {"tool_error": "tool error", "deadline": "took too long"}

_MOST_KEPT: Final = 1024
_LONGEST_KEPT: Final = 1024  # characters


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
        reason: why it did not end well; the only key that is left out where nothing is known.
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
    reason: str | None = None


_encode = msgspec.json.Encoder().encode
_second = -1
_second_text = ""


def timestamp(seconds: float) -> str:
    """Return a time since the epoch as RFC 3339 in UTC, with milliseconds."""
    whole = int(seconds)
    text = _second_text if whole == _second else _begin_second(whole)
    return f"{text}.{int((seconds - whole) * 1000):03d}Z"


def _begin_second(second: int) -> str:
    """Return the text of a second, and keep it for all lines in it."""
    global _second, _second_text  # noqa: PLW0603 - one is kept for the process
    _second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    _second = second
    return _second_text


# -- for machines ----------------------------------------------------------------------------------------------


def line_of(record: RequestRecord, level: str = "info") -> RequestLine:
    """Return the line of a record that is closed."""
    method, target = _method_and_target(record)
    return RequestLine(
        timestamp(time.time()),
        level,
        LOGGER,
        os.getpid(),
        method,
        target,
        round((record.ended - record.started) * 1000, 3),
        record.outcome,
        record.revision,
        record.transport,
        record.client,
        record.principal,
        record.session,
        record.request_id,
        record.trace_id,
        record.bytes_in,
        record.bytes_out,
        record.questions,
        record.reason,
    )


def json_line(record: RequestRecord, level: str = "info") -> bytes:
    """Return the line of a closed record as JSON, with the newline: what `line_of` returns, for less."""
    trace_id = record.trace_id
    now = time.time()
    whole = int(now)
    line = _JSON % (
        (_second_text if whole == _second else _begin_second(whole)).encode(),
        int((now - whole) * 1000),
        _origins.get(level) or _origin(level),
        _targets_json.get(key := _target_key(record)) or _targets_json.add(key, record),
        (record.ended - record.started) * 1000,
        record.outcome.encode(),
        _callers_json.get(key := _caller_key(record)) or _callers_json.add(key, record),
        _encode(record.request_id),
        b"null" if trace_id is None else b'"%b"' % trace_id.encode(),
        record.bytes_in,
        record.bytes_out,
        record.questions,
    )
    if record.error is None and record.tool_failure is None:
        return line
    return b'%b,"reason":%b}\n' % (line[:-2], _encode(record.reason))


#: The keys of `RequestLine`; those about the caller, and those about the target, are texts that are kept.
_JSON: Final = (
    b'{"time":"%b.%03dZ",%b,%b,"ms":%.3f,"outcome":"%b",%b,'
    b'"request_id":%b,"trace_id":%b,"bytes_in":%d,"bytes_out":%d,"questions":%d}\n'
)


#: By level, the keys that say where a line is from; emptied in a forked child, whose process id is another.
_origins: Final[dict[str, bytes]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_origins.clear)


def _origin(level: str) -> bytes:
    """Return the keys that say where a line is from."""
    origin = {"level": level, "logger": LOGGER, "worker": os.getpid()}
    _origins[level] = text = _encode(origin)[1:-1]
    return text


def _method_and_target(record: RequestRecord) -> tuple[str | None, str | None]:
    """Return what a request is about; of one that was refused before it was read, HTTP method and path."""
    method = record.method
    if method is None and record.http_method:
        return record.http_method, record.path
    return method, record.target


def _target_json(record: RequestRecord) -> bytes:
    method, target = _method_and_target(record)
    return _encode({"method": method, "target": target})[1:-1]


def _caller_json(record: RequestRecord) -> bytes:
    parts = {
        "revision": record.revision,
        "transport": record.transport,
        "client": record.client,
        "principal": record.principal,
        "session": record.session,
    }
    return _encode(parts)[1:-1]


# -- texts that are kept ---------------------------------------------------------------------------------------


class _KeptTexts(Generic[Text]):
    """Texts about records, by the parts of a record that they are made of."""

    def __init__(self, make: Callable[[RequestRecord], Text]) -> None:
        self._make: Callable[[RequestRecord], Text] = make
        self._texts: dict[Hashable, Text] = {}
        #: Returns the text of a key, or None.
        self.get: Callable[[Hashable], Text | None] = self._texts.get

    def text(self, key: Hashable, record: RequestRecord) -> Text:
        """Return the text about a record."""
        text = self._texts.get(key)
        return self.add(key, record) if text is None else text

    def add(self, key: Hashable, record: RequestRecord) -> Text:
        """Return the text about a record, and keep it unless the key is None."""
        text = self._make(record)
        if key is not None:
            if len(self._texts) >= _MOST_KEPT:
                self._texts.clear()
            self._texts[key] = text
        return text


def _target_key(record: RequestRecord) -> Hashable:
    """Return what the texts about the method and the target of a record are made of; None for one to forget."""
    request = record.request
    if request is None or not record.is_dispatched:
        return None
    params = request.params
    if type(params) is CallToolRequestParams:  # which no other method has
        return params.name if len(params.name) <= _LONGEST_KEPT else None
    target = record.target
    return (request.method, target) if target is None or len(target) <= _LONGEST_KEPT else None


def _caller_key(record: RequestRecord) -> Hashable:
    """Return what the texts about the caller of a record are made of; None for one to forget."""
    request = record.request
    if request is None:
        return None
    peer = request.peer
    if peer.session_id is not None:  # which has one client, one revision, one principal and one transport
        return peer.session_id
    info, principal = peer.client_info, peer.principal
    if principal is None and record.http is not None and record.http.principal is not None:
        return None
    name, version = (None, None) if info is None else (info.name, info.version)
    length = len(principal or "") + len(name or "") + len(version or "")
    return (record.transport, peer.revision, principal, name, version) if length <= _LONGEST_KEPT else None


_targets_json = _KeptTexts(_target_json)
_callers_json = _KeptTexts(_caller_json)


# -- for people ------------------------------------------------------------------------------------------------


def text_line(record: RequestRecord) -> str:
    """Return the line for people, without time and level."""
    about = _subjects.text(_target_key(record), record)
    by = _callers.text(_caller_key(record), record)
    words = f"{about}  {duration(record.milliseconds)}  {outcome_words(record)}"
    if record.tool_failure is not None:
        words += f" ({record.tool_failure})"
    ids = record.request_id if record.trace_id is None else f"{record.request_id} trace {record.trace_id}"
    return f"{words}  {by}  [{ids}]" if by else f"{words}  [{ids}]"


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


_subjects = _KeptTexts(subject)
_callers = _KeptTexts(caller)
