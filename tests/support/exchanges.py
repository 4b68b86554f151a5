"""What belongs together on the wire: which request a message answers, and which revision it must be legal in.

Whoever sees both directions of a conversation (test clients in `harness.py`, the recorder in `recording_app.py`)
asks here what every message that left the server is judged by. Easy to get wrong: JSON-RPC ids keep their type,
so `1` and `"1"` are two requests, and in Python `1 == True`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from enfilade.wire.revisions import ALL, ASSUMED_WITHOUT_HEADER, LATEST_HANDSHAKE, LATEST_STATELESS, STATELESS

PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

Message = dict[str, Any]


def typed_id(id: Any) -> tuple[type, Any]:
    """Return an id as a key that keeps its JSON type."""
    return type(id), id


def parsed(body: bytes) -> Any:
    """Return a body as JSON, or None if it is none."""
    try:
        return json.loads(body, parse_int=_int)
    except (ValueError, RecursionError):
        return None


def _int(digits: str) -> int | None:
    """Return a number, unless it has more digits than Python reads."""
    return int(digits) if len(digits) < 4000 else None


def claimed_revision(message: Any) -> str | None:
    """Return the protocol version in a request's own metadata."""
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    claim = meta.get(PROTOCOL_VERSION) if isinstance(meta, dict) else None
    return claim if isinstance(claim, str) else None


def subscription_of(message: Any) -> Any:
    """Return the id of the listen that a message of the server belongs to, or None."""
    params = message.get("params", message.get("result"))
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta.get(SUBSCRIPTION_ID) if isinstance(meta, dict) else None


@dataclass
class SentRequests:
    """What the server was asked in one HTTP request, or so far over one pipe.

    Attributes:
        revision: what the answers must be legal in; None where only the answer to `initialize` tells.
        methods: method by typed id.
    """

    revision: str | None
    methods: dict[tuple[type, Any], str] = field(default_factory=dict)

    def note(self, message: Any) -> None:
        """Remember what a message asks for."""
        for each in message if isinstance(message, list) else [message]:
            if isinstance(each, dict) and "id" in each and isinstance(each.get("method"), str):
                id = each["id"]
                if isinstance(id, int | str):
                    self.methods[typed_id(id)] = each["method"]

    def check(self, message: Message) -> None:
        """Check a message of the server.

        Raises:
            AssertionError: it is not legal in the revision of the exchange.
        """
        answers = "id" in message and "method" not in message
        method = self.methods.get(typed_id(message["id"])) if answers else None
        revision = self.revision
        if method == "initialize" and "result" in message:
            revision = message["result"]["protocolVersion"]
        from support.schemas.validator import check_outgoing  # a second, which server processes need not spend

        check_outgoing(revision or LATEST_HANDSHAKE, message, method)


class PipeExchange:
    """What the server was asked over one pipe, where a session and stateless requests may interleave.

    A message without an id does not say what it belongs to, unless it is of a listen; once there is a session, it
    is taken to be of that.
    """

    def __init__(self) -> None:
        self.session = SentRequests(None)
        self._stateless: str | None = None
        self._by_id: dict[tuple[type, Any], SentRequests] = {}

    def note_request(self, message: Any) -> None:
        """Note what the client asks for."""
        claim = claimed_revision(message)
        fresh = SentRequests(None)
        if claim is not None:
            self._stateless = fresh.revision = claim if claim in STATELESS else LATEST_STATELESS
        fresh.note(message)
        asked = self.session if claim is None else fresh
        asked.methods.update(fresh.methods)
        self._by_id.update(dict.fromkeys(fresh.methods, asked))

    def request_of(self, message: Message) -> SentRequests:
        """Return what a message of the server is an answer to, and note what it says of the session."""
        asked = self.session
        listen = subscription_of(message)
        if "method" in message and listen is not None:
            asked = self._by_id.get(typed_id(listen), self.session)
        elif "method" in message and self.session.revision is None and self._stateless:
            asked = SentRequests(self._stateless)
        elif "method" not in message:
            asked = self._by_id.get(typed_id(message.get("id")), self.session)
        result = message.get("result")
        if asked is self.session and isinstance(result, dict) and "protocolVersion" in result:
            self.session.revision = result["protocolVersion"]
        return asked


def requests_over_http(body: bytes, fields: Mapping[str, str], sessions: Mapping[str, str]) -> SentRequests:
    """Return what an HTTP request asks for.

    Args:
        body: the request's body.
        fields: its headers by lower-case name.
        sessions: revision by session id, as far as sessions have been seen to open.
    """
    message = parsed(body)
    asked = SentRequests(_revision(message, fields, sessions))
    asked.note(message)
    return asked


def _revision(message: Any, fields: Mapping[str, str], sessions: Mapping[str, str]) -> str:
    claim = claimed_revision(message)
    if claim is not None:
        return claim if claim in STATELESS else LATEST_STATELESS
    version = fields.get("mcp-protocol-version", "").strip()
    if version in STATELESS:
        return version
    session = sessions.get(fields.get("mcp-session-id", "").strip())
    if session is not None:
        return session
    return version if version in ALL else ASSUMED_WITHOUT_HEADER


def messages_of(content_type: str, body: bytes) -> list[Message]:
    """Return the JSON-RPC messages of an HTTP response's body.

    Raises:
        ValueError: it is neither JSON nor a stream of JSON events.
    """
    if not body:
        return []
    if content_type.startswith("text/event-stream"):
        return [json.loads(data) for data in event_data(body.decode().split("\n"))]
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ValueError(f"no message, but {content_type or 'something'}: {body[:300]!r}") from error
    return found if isinstance(found, list) else [found]


def member_of(response: Message | None, name: str) -> dict[str, Any]:
    """Return the `result` or the `error` of a response, which has to have it."""
    assert response is not None, "no response came"
    assert name in response, response
    member: dict[str, Any] = response[name]
    return member


class HttpReply:
    """A whole HTTP response, and the messages in its body."""

    status: int
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        raise NotImplementedError

    @property
    def messages(self) -> list[Message]:
        return messages_of(self.header("content-type") or "", self.body)

    @property
    def response(self) -> Message:
        """The one JSON-RPC response."""
        (response,) = [message for message in self.messages if "method" not in message]
        return response

    @property
    def result(self) -> dict[str, Any]:
        return member_of(self.response, "result")

    @property
    def error(self) -> dict[str, Any]:
        return member_of(self.response, "error")


def event_data(lines: Iterable[str]) -> Iterable[str]:
    """Yield the data of each server-sent event, as an EventSource reads it; comments and events without data are
    skipped."""
    data: list[str] = []
    for line in lines:
        name, _, value = line.rstrip("\r").partition(":")
        if not line.rstrip("\r"):
            if any(data):
                yield "\n".join(data)
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
