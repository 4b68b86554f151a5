"""What a call has asked, been told and done so far, sealed, so that the client can carry it between rounds.

In the stateless era a call that asks something ends, and its retry runs the handler again from the top. The
record answers the questions that were asked before. It travels as `requestState`, which is the client's to keep
and therefore an attacker's to change (R-293): it is sealed, and bound to the server, to who asked, for what, with
which arguments and until when (R-294).

The easy thing to get wrong is to say why a state was refused: there is one message for every cause (R-296).
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


class Answered(msgspec.Struct, array_like=True):
    """A question that has its answer.

    Attributes:
        method: its kind.
        words: the beginning of its words.
        result: the answer's JSON.
        in_handler: whether it was asked in the task of the call itself, and not in one that the handler started.
        asked: whether a run has come to the question since it was answered.
    """

    method: str
    words: str
    result: bytes
    in_handler: bool = False
    asked: bool = False


class Pending(msgspec.Struct, array_like=True):
    """A question that went out.

    Attributes:
        identity: which question it is; or for one that a handler returned, the memo of that handler.
        method: its kind.
        words: the beginning of its words.
        key: for one that a handler returned, the handler's own key.
        form: for one that a handler returned, the schema of its form as JSON.
        in_handler: as for the answer.
    """

    identity: bytes
    method: str
    words: str
    key: str | None = None
    form: bytes | None = None
    in_handler: bool = False


class HandlerMemo(msgspec.Struct, array_like=True):
    """What one handler of a call noted: the tool that the client called, or one that it called in turn.

    Attributes:
        once: results of side effects, by the author's key, as JSON.
        answers: what a handler that returns its questions finds in this run, by the author's key.
        state: likewise, as JSON.
        wanted: digests of the questions that it returned last, by key; None if it returned none.
        given: the answers to those that have come so far.
        next_state: what it returned with them.
    """

    once: dict[str, bytes] = {}
    answers: dict[str, Answered] = {}
    state: bytes = b"null"
    wanted: dict[str, bytes] | None = None
    given: dict[str, Answered] = {}
    next_state: bytes = b"null"

    def turn(self) -> None:
        """Go on to the next run, if every question that was returned has its answer."""
        if self.wanted is not None and self.wanted.keys() <= self.given.keys():
            self.answers = {key: self.given[key] for key in self.wanted}
            self.state = self.next_state
            self.wanted, self.given, self.next_state = None, {}, b"null"


class CallRecord(msgspec.Struct, array_like=True):
    """The memory of one call over its rounds.

    Attributes:
        answers: by the question's identity.
        pending: by the key under which the client sees the question.
        memos: by the handler's path from the client's request; that of its own handler is empty.
        stalled: the rounds in a row that brought answers and came to no answer that was new to them.
    """

    answers: dict[bytes, Answered] = {}
    pending: dict[str, Pending] = {}
    memos: dict[bytes, HandlerMemo] = {}
    stalled: int = 0


class _Bound(msgspec.Struct, array_like=True):
    """A record with what it is bound to."""

    expires: int
    principal: str | None
    method: str
    target: bytes
    record: CallRecord


class RequestStateCodec:
    """Seals state_codec and opens them again.

    Args:
        seal: the server's keys, shared by all workers.
        audience: the server's name: another one with the same keys does not open them.
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
        bound = _Bound(
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
            RpcError: INVALID_PARAMS, with the same words whatever is wrong with it.
        """
        content = self._seal.open(state, self._purpose)
        if content is not None:
            try:
                bound = msgspec.msgpack.decode(content, type=_Bound)
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
    """Return a digest of what is called and with which arguments, whatever their order or spacing."""
    what = [getattr(params, member, None) for member in ("name", "uri")]
    arguments = getattr(params, "arguments", UNSET)
    if isinstance(arguments, Raw):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # no handler will ever read them
            arguments = bytes(arguments).hex()
    return digest_of([*what, {} if arguments is UNSET else arguments])


def digest_of(value: Any) -> bytes:
    """Return 16 bytes that stand for a value, the same for objects whatever the order of their members."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()[:16]
