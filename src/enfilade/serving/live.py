"""Questions to a client that waits for its call to end: the session era.

A question is a request on the stream of the call that caused it, and its answer a message of its own (SEP-2260).
The easy thing to get wrong is who may answer: an answer counts only in the session that was asked, and only while
somebody waits for it.
"""

import asyncio
import secrets
import uuid
from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from enfilade.serving.exchange import Outlet, Request
from enfilade.serving.unanswered import AskTimeoutError, CannotAskError, ClientRefusedError
from enfilade.wire.cancellation import CancelledNotificationParams
from enfilade.wire.elicitation import ElicitRequestURLParams
from enfilade.wire.jsonrpc import Envelope, encode_notification, encode_request
from enfilade.wire.message import Message
from enfilade.wire.visible import InexpressibleError, encode


class Questions:
    """Live questions of one doorway, waiting for their answers."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str | None, str | int], asyncio.Future[Envelope]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def answer(self, scope: str | None, envelope: Envelope) -> None:
        """Hand a client's response to whoever asked; late and unknown ones are ignored (R-334)."""
        if envelope.id is not UNSET:
            waiting = self._waiting.get((scope, envelope.id))
            if waiting is not None and not waiting.done():
                waiting.set_result(envelope)

    async def ask(self, request: Request, method: str, params: Message, timeout: float) -> Raw:
        """Send a question on the request's own stream and wait for its answer.

        Args:
            request: the client's own request.
            timeout: seconds to wait; the client is told when they are over (R-36A).

        Raises:
            CannotAskError: the call's answer cannot carry a question, or the client's revision has none like it.
            AskTimeoutError: no answer came.
            ClientRefusedError: the answer is an error.
        """
        if request.finished or request.cancelled:
            raise CannotAskError("This call is over, so its client cannot be asked anything more")
        id = f"ask-{secrets.token_hex(8)}"
        question = encode_request(id, method, _said(params, request.peer.revision))
        outlet = request.outlet
        key = (request.peer.session_id, id)
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if not outlet.send(question):
                raise CannotAskError("This client takes plain JSON answers, so it cannot be asked anything")
            done, _ = await asyncio.wait((waiting,), timeout=timeout)
            if not done:
                raise AskTimeoutError(f"The client did not answer within {timeout:g} seconds")
        except (asyncio.CancelledError, AskTimeoutError):
            if not request.finished:
                _withdraw(outlet, id, request)
            raise
        finally:
            del self._waiting[key]
        envelope = waiting.result()
        if isinstance(envelope.result, Raw):
            return envelope.result
        raise ClientRefusedError(_reason(envelope.error))


def _said(params: Message, revision: str) -> bytes:
    """Return the question as the client's revision has it."""
    if isinstance(params, ElicitRequestURLParams) and params.elicitation_id is UNSET:
        params = replace(params, elicitation_id=uuid.uuid4().hex)
    try:
        return encode(params, revision)
    except InexpressibleError as error:
        raise CannotAskError(f"This client cannot be asked that: {error}") from None


def _withdraw(outlet: Outlet, id: str, request: Request) -> None:
    """Tell the client that a question needs no answer any more."""
    params = CancelledNotificationParams(request_id=id, reason="no longer needed")
    outlet.send(encode_notification("notifications/cancelled", encode(params, request.peer.revision)))


def _reason(error: Any) -> str:
    try:
        message = msgspec.json.decode(error)["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        message = ""
    return f"The client refused: {message}" if isinstance(message, str) and message else "The client refused"
