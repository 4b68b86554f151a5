"""`requestState`: the record of a stateless call, sealed, for the client to carry from round to round.

In the stateless revision a call that asks something ends, and its retry runs the handler again from the top. The
record answers the questions that were asked before. The client keeps it (R-2D0), so an attacker may change it
(R-293): it is sealed, and bound to the server, the principal, the method, the arguments and a time of expiry
(R-294).

Easy to get wrong: the error for a refused state. There is one text for every cause, so that it reveals nothing
(R-296).
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.state.tokens import Seal
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message

_PURPOSE: Final = b"request state of "
LIFETIME: Final = 600.0


class AnsweredQuestion(msgspec.Struct, array_like=True):
    """A question with its answer.

    Attributes:
        method: its kind.
        excerpt: the beginning of its text.
        result: the answer's JSON.
        in_handler: whether it was asked in the task of the call itself, and not in one that the handler started.
        is_reached: whether a run has come to the question since it was answered.
    """

    method: str
    excerpt: str
    result: bytes
    in_handler: bool = False
    is_reached: bool = False


class PendingQuestion(msgspec.Struct, array_like=True):
    """A question that was sent.

    Attributes:
        identity: of the question; for one that a handler returned, the path of that handler.
        method: its kind.
        excerpt: the beginning of its text.
        key: for one that a handler returned, the handler's own key.
        form: for one that a handler returned, the schema of its form as JSON.
        in_handler: as for the answer.
    """

    identity: bytes
    method: str
    excerpt: str
    key: str | None = None
    form: bytes | None = None
    in_handler: bool = False


class HandlerMemo(msgspec.Struct, array_like=True):
    """What one handler of a call remembers: the one that the client called, or one that it called in turn.

    Attributes:
        once: results of side effects, by the author's key, as JSON.
        answers: for a handler that returns its questions: the answers for its present run, by the author's key.
        state: likewise: the state for its present run, as JSON.
        question_digests: of the questions that it returned last, by key; None if it returned none.
        new_answers: the answers to those that have come so far.
        next_state: the state that it returned with them.
        begun: side effects, by key, that have begun and are not known to have ended.
    """

    once: dict[str, bytes] = {}
    answers: dict[str, AnsweredQuestion] = {}
    state: bytes = b"null"
    question_digests: dict[str, bytes] | None = None
    new_answers: dict[str, AnsweredQuestion] = {}
    next_state: bytes = b"null"
    begun: list[str] = []

    def advance(self) -> None:
        """Prepare the next run, if every question that was returned has its answer."""
        if self.question_digests is not None and self.question_digests.keys() <= self.new_answers.keys():
            self.answers = {key: self.new_answers[key] for key in self.question_digests}
            self.state = self.next_state
            self.question_digests, self.new_answers, self.next_state = None, {}, b"null"


class CallRecord(msgspec.Struct, array_like=True):
    """The questions and answers of one call over its rounds.

    Attributes:
        answers: by the question's identity.
        pending: by the key under which the client sees the question.
        memos: by the handler's path from the client's request; that of its own handler is empty.
        stalled: the last rounds in a row that brought answers and reached no answer for the first time.
        traceparent: names the span of the last round; empty if nobody traces it.
        sleeps: of a durable task: when each sleep ends, in seconds since the epoch, by its identity.
    """

    answers: dict[bytes, AnsweredQuestion] = {}
    pending: dict[str, PendingQuestion] = {}
    memos: dict[bytes, HandlerMemo] = {}
    stalled: int = 0
    traceparent: str = ""
    sleeps: dict[bytes, float] = {}


class _BoundRecord(msgspec.Struct, array_like=True):
    """A record with the request that it belongs to."""

    expires: int
    principal: str | None
    method: str
    target: bytes
    record: CallRecord


class RequestStateCodec:
    """Seals records and opens them.

    Args:
        seal: the server's keys, shared by all workers.
        audience: the server's name; another server with the same keys does not open its states.
        lifetime: seconds for which a state is good.

    Attributes:
        render: returns a result as JSON for a revision; the dispatcher's own.
    """

    render: Callable[[Message, str], bytes]

    def __init__(self, seal: Seal, audience: str, lifetime: float = LIFETIME) -> None:
        self._seal = seal
        self._purpose = _PURPOSE + audience.encode("utf-8", "replace")
        self._lifetime = lifetime

    def close(self, record: CallRecord, method: str, params: Message, principal: str | None) -> str:
        """Return the `requestState` that holds a record."""
        bound = _BoundRecord(
            expires=int(time.time() + self._lifetime),
            principal=principal,
            method=method,
            target=target_of(params),
            record=record,
        )
        return self._seal.seal(msgspec.msgpack.encode(bound), self._purpose)

    def open(self, state: str, method: str, params: Message, principal: str | None) -> CallRecord:
        """Return the record in a `requestState`.

        Raises:
            RpcError: INVALID_PARAMS, with the same text for every cause.
        """
        content = self._seal.open(state, self._purpose)
        if content is not None:
            try:
                bound = msgspec.msgpack.decode(content, type=_BoundRecord)
            except msgspec.DecodeError:  # sealed by another version of this package
                raise _refused() from None
            if (
                bound.expires > time.time()
                and bound.principal == principal
                and bound.method == method
                and bound.target == target_of(params)
            ):
                return bound.record
        raise _refused()


def _refused() -> RpcError:
    data = {"reason": "invalid_request_state"}
    return RpcError(INVALID_PARAMS, "Invalid or expired requestState", data, status=400)


def target_of(params: Any) -> bytes:
    """Return a digest of what is called with which arguments, in any order: the retry repeats it (R-291)."""
    names = [getattr(params, member, None) for member in ("name", "uri")]
    arguments = getattr(params, "arguments", UNSET)
    if isinstance(arguments, Raw):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # no handler can read them
            arguments = bytes(arguments).hex()
    return digest_of([*names, {} if arguments is UNSET else arguments])


def digest_of(value: Any) -> bytes:
    """Return a digest of 16 bytes, the same for objects whatever the order of their members."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()[:16]
