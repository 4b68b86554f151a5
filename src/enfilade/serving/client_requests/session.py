"""Questions to a client while its call waits: session-based revisions.

A question is a request on the stream of the call that caused it, and its answer is a message of its own
(SEP-2260), which may arrive at another worker. Easy to get wrong: who may answer. An answer counts only in the
session that was asked, and only while the asking handler waits for it.
"""

import asyncio
import secrets
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from enfilade.counters import watch
from enfilade.serving.channel import AskTimeoutError, CannotAskError, ClientRefusedError, NoAsker, Outlet
from enfilade.serving.client_requests.request_state import AnsweredQuestion
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.request import Request
from enfilade.state.store import StoreError
from enfilade.state.tokens import Seal
from enfilade.wire.client_requests import ElicitRequestURLParams
from enfilade.wire.jsonrpc import Envelope, decode, encode_notification, encode_request
from enfilade.wire.message import Message, NotificationParams
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.projection import InexpressibleError, encode

if TYPE_CHECKING:
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question

_PURPOSE: Final = b"question"

#: Seconds to wait by default: a user needs longer than a model or the client itself.
TIMEOUTS: Final = {"elicitation/create": 300.0, "sampling/createMessage": 120.0, "roots/list": 120.0}


class SessionAsker(NoAsker):
    """Asks by requests on the stream of the call, and waits for their answers; one for each transport.

    Args:
        worker_channel: the workers at which an answer may arrive; None if it can arrive at this one only.
        seal: signs the ids of questions, so that other workers store answers to our questions only.
        limit: questions that one principal, or one session where there is none, may have unanswered.
    """

    def __init__(
        self, worker_channel: WorkerChannel | None = None, seal: Seal | None = None, *, limit: int = 64
    ) -> None:
        self._limit = limit
        self._unanswered: Counter[tuple[str | None, str | None]] = Counter()  # questions by client
        self._waiters: dict[tuple[str | None, str | int], asyncio.Future[Envelope]] = {}
        watch("pending_questions", self.__len__)
        self._worker_channel = worker_channel if worker_channel is not None and worker_channel.shared else None
        self._seal = seal
        if self._worker_channel is not None:
            self._worker_channel.on("answer", lambda key: self._spawn_fetch((key[0], key[1])))

    def __len__(self) -> int:
        return len(self._waiters)

    def answer(self, scope: str | None, envelope: Envelope) -> bool:
        """Give a client's response to the handler that asked at this worker (R-334).

        Returns:
            Whether there is one. Answers that are late or that belong to no question are ignored.
        """
        waiter = self._waiters.get((scope, envelope.id)) if envelope.id is not UNSET else None
        if waiter is None:
            return False
        if not waiter.done():
            waiter.set_result(envelope)
        return True

    async def forward(self, scope: str, envelope: Envelope) -> None:
        """Store a response for the worker that asked, if its id names one.

        Raises:
            StoreError: it could not be stored; the client may try again.
        """
        worker = self._asking_worker(scope, envelope.id)
        if self._worker_channel is None or worker is None or worker == self._worker_channel.worker:
            return
        body = msgspec.json.encode(envelope)
        retention = self._worker_channel.timings.answer_retention
        await self._worker_channel.store.keys.put(_answer_key(scope, str(envelope.id)), body, retention)
        self._worker_channel.send("answer", [scope, envelope.id], worker)

    def _new_id(self, scope: str | None) -> str:
        if self._worker_channel is None or self._seal is None:
            return f"ask-{secrets.token_hex(8)}"
        id = f"ask-{self._worker_channel.worker}-{secrets.token_hex(8)}"
        return f"{id}-{self._seal.sign(f'{scope} {id}'.encode(), _PURPOSE).hex()}"

    def _asking_worker(self, scope: str, id: object) -> str | None:
        """Return the worker that asked a question with this id in this session, or None."""
        if not isinstance(id, str) or self._seal is None:
            return None
        question, _, mark = id.rpartition("-")
        try:
            signature = bytes.fromhex(mark)
        except ValueError:
            return None
        if not self._seal.verify(f"{scope} {question}".encode("utf-8", "replace"), signature, _PURPOSE):
            return None
        return question.split("-")[1]

    def _spawn_fetch(self, key: tuple[str | None, str]) -> None:
        if self._worker_channel is not None and key in self._waiters:
            self._worker_channel.spawn(self._fetch(key))

    async def _fetch(self, key: tuple[str | None, str]) -> None:
        """Read the answer from the store if another worker has put it there."""
        if self._worker_channel is None:
            return
        keys, name = self._worker_channel.store.keys, _answer_key(str(key[0]), key[1])
        try:
            payload = await keys.get(name)
            if payload is not None:
                envelope = decode(payload)
                if isinstance(envelope, Envelope):
                    self.answer(key[0], envelope)
                await keys.delete(name)
        except StoreError:
            return  # it is read again after `poll_interval`

    async def _wait_for_answer(
        self, waiter: "asyncio.Future[Envelope]", key: tuple[str | None, str], timeout: float
    ) -> bool:
        """Wait for an answer, at whichever worker it arrives; return whether there is one."""
        loop, channel = asyncio.get_running_loop(), self._worker_channel
        end = loop.time() + timeout
        while True:
            remaining = end - loop.time()
            pause = remaining if channel is None else min(remaining, 2 * channel.timings.poll_interval)
            answered, _ = await asyncio.wait((waiter,), timeout=max(0.0, pause))
            if answered:
                return True
            if self._worker_channel is not None:
                await self._fetch(key)
            if remaining <= pause:
                return waiter.done()

    async def ask(
        self, request: Request, question: "Question[Any]", key: str | None, timeout: float | None
    ) -> Raw:
        """Send a question on the stream of the client's own request, and wait for its answer.

        Args:
            request: the handler's request.
            key: not used: a request has an id.
            timeout: seconds to wait, `TIMEOUTS` by default; then the question is cancelled (R-36A).

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError: as for `_ask`.
        """
        params = question.request.params
        seconds = TIMEOUTS[question.method] if timeout is None else timeout
        return await self._ask(
            request.root, question.method, NotificationParams() if params is UNSET else params, seconds
        )

    async def ask_returned(self, request: Request, returned: "InputRequired") -> None:
        """Ask one question after the other, and store the answers for the next run of the handler."""
        from enfilade.primitives.values.json_encoding import json_bytes

        memo = self.memo_of(request)
        answers: dict[str, AnsweredQuestion] = {}
        for key, question in returned.questions.items():
            raw = await self.ask(request, question, key, None)
            question.read(raw)
            answers[key] = AnsweredQuestion(question.method, "", bytes(raw))
        memo.answers, memo.state = answers, json_bytes(returned.state, "The state of InputRequired")

    async def _ask(self, request: Request, method: str, params: Message, timeout: float) -> Raw:
        """Send a request on the stream of the client's own request, and wait for the response.

        Raises:
            CannotAskError: the call's answer cannot carry a question, the client's revision has none like it, or
                the client has too many questions to answer already.
            AskTimeoutError: no answer came in time.
            ClientRefusedError: the answer is an error.
        """
        if not request.can_ask:
            raise CannotAskError("This call is over, so its client cannot be asked anything more")
        peer = request.peer
        client = (peer.principal, None) if peer.principal is not None else (None, peer.session_id)
        if self._unanswered[client] >= self._limit:
            raise CannotAskError(
                f"This client has {self._limit} unanswered question{'' if self._limit == 1 else 's'}, "
                "so it cannot be asked anything more now"
            )
        id = self._new_id(request.peer.session_id)
        question = encode_request(id, method, _encoded_params(params, request.peer.revision))
        outlet = request.channel.outlet
        key = (request.peer.session_id, id)
        waiter = self._waiters[key] = asyncio.get_running_loop().create_future()
        self._unanswered[client] += 1
        if request.record is not None:
            request.record.questions += 1
        try:
            if not outlet.send(question):  # there is no way back in JSON mode, so this fails at once
                raise CannotAskError("This client takes plain JSON answers, so it cannot be asked anything")
            if not await self._wait_for_answer(waiter, key, timeout):
                raise AskTimeoutError(f"The client did not answer within {timeout:g} seconds")
        except (asyncio.CancelledError, AskTimeoutError):
            if not request.is_finished:
                _withdraw(outlet, id, request)
            raise
        finally:
            del self._waiters[key]
            self._unanswered[client] -= 1
            if not self._unanswered[client]:
                del self._unanswered[client]
        envelope = waiter.result()
        if isinstance(envelope.result, Raw):
            return envelope.result
        raise ClientRefusedError(_refusal_text(envelope.error))


def _answer_key(scope: str, id: str) -> str:
    return f"answer:{scope}:{id}"


def _encoded_params(params: Message, revision: str) -> bytes:
    """Return the params of a question in the client's revision."""
    if isinstance(params, ElicitRequestURLParams) and params.elicitation_id is UNSET:
        params = replace(params, elicitation_id=uuid.uuid4().hex)
    try:
        return encode(params, revision)
    except InexpressibleError as error:
        raise CannotAskError(f"This client cannot be asked that: {error}") from None


def _withdraw(outlet: Outlet, id: str, request: Request) -> None:
    """Cancel a question at the client: the only cancellation that is sent, and never a stateless one (R-280)."""
    params = CancelledNotificationParams(request_id=id, reason="no longer needed")
    outlet.send(encode_notification("notifications/cancelled", encode(params, request.peer.revision)))


def _refusal_text(error: Any) -> str:
    try:
        message = msgspec.json.decode(error)["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        message = ""
    return f"The client refused: {message}" if isinstance(message, str) and message else "The client refused"
