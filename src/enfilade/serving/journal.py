"""What a call has asked and been told so far, sealed, so that the client can carry it between rounds.

In the stateless era a call that asks something ends, and its retry runs the handler again from the top. The
journal answers the questions that were asked before, in order. It travels as `requestState`, which is the
client's to keep and therefore an attacker's to change (R-293): it is sealed, and bound to who asked, for what,
with which arguments and until when (R-294).

The easy thing to get wrong is to say why a state was refused: there is one message for every cause (R-296).
"""

import hashlib
import time
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.state.seal import Seal
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message

_PURPOSE: Final = b"request state"
LIFETIME: Final = 600.0


class Answered(msgspec.Struct, array_like=True):
    """A question that has its answer: what was asked (a digest), of which kind, and the answer's JSON."""

    digest: bytes
    method: str
    result: bytes


class Pending(msgspec.Struct, array_like=True):
    """A question that went out: its place in the order of questions, and what was asked."""

    index: int
    digest: bytes
    method: str


class Journal(msgspec.Struct, array_like=True):
    """The memory of one call over its rounds.

    Attributes:
        answers: by the question's place in the order of questions.
        pending: by the key under which the client sees the question.
        once: results of side effects, by the author's key, as JSON.
        state: what an author who asks explicitly wants back.
    """

    answers: dict[int, Answered] = {}
    pending: dict[str, Pending] = {}
    once: dict[str, bytes] = {}
    state: Any = None


class _Bound(msgspec.Struct, array_like=True):
    """A journal with what it is bound to."""

    expires: int
    principal: str | None
    method: str
    target: bytes
    journal: Journal


class Journals:
    """Seals journals and opens them again.

    Args:
        seal: the server's keys, shared by all workers.
        lifetime: seconds for which a state is good.
    """

    def __init__(self, seal: Seal, lifetime: float = LIFETIME) -> None:
        self._seal = seal
        self._lifetime = lifetime

    def close(self, journal: Journal, method: str, params: Message, principal: str | None) -> str:
        """Return the `requestState` that holds a journal."""
        bound = _Bound(
            expires=int(time.time() + self._lifetime),
            principal=principal,
            method=method,
            target=_target(params),
            journal=journal,
        )
        return self._seal.seal(msgspec.msgpack.encode(bound), _PURPOSE)

    def open(self, state: str, method: str, params: Message, principal: str | None) -> Journal:
        """Return the journal in a `requestState`.

        Raises:
            RpcError: INVALID_PARAMS, with the same words whatever is wrong with it.
        """
        content = self._seal.open(state, _PURPOSE)
        if content is not None:
            try:
                bound = msgspec.msgpack.decode(content, type=_Bound)
            except msgspec.DecodeError:  # sealed by another version of this package
                raise _refused() from None
            if (
                bound.expires > time.time()
                and bound.principal == principal
                and bound.method == method
                and bound.target == _target(params)
            ):
                return bound.journal
        raise _refused()


def _refused() -> RpcError:
    data = {"reason": "invalid_request_state"}
    return RpcError(INVALID_PARAMS, "Invalid or expired requestState", data, status=400)


def _target(params: Any) -> bytes:
    """Return a digest of what is called and with which arguments, whatever their order or spacing."""
    name = getattr(params, "name", UNSET)
    uri = getattr(params, "uri", UNSET)
    arguments = getattr(params, "arguments", UNSET)
    plain = msgspec.json.decode(arguments) if isinstance(arguments, Raw) else arguments
    what = [None if part is UNSET else part for part in (name, uri, plain)]
    return hashlib.sha256(msgspec.json.encode(what, order="deterministic")).digest()
