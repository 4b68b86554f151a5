"""How the client of a call is asked to send its user to a page, in each way that there is (R-540 to R-547).

- A client that waits while its call goes on gets a question, and the call goes on by itself after the callback.
  Its `accept` means that the page was opened, and releases nothing (A4, R-544).
- A client whose calls end with their questions gets the question as the result, and the same once more for each
  retry that comes before the callback (A5).
- A client that cannot be asked gets the link as a text (A7), or as an error if the app says so (A6).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from enfilade.auth.tool_auth.pending import PendingAuthorizations
from enfilade.primitives.questions.question import Elicited, Question, url_elicitation
from enfilade.serving.callers.tool_auth import AuthError
from enfilade.serving.channel import CannotAskError, ClientRefusedError, MissingCapabilityError
from enfilade.serving.client_requests import ask as asking
from enfilade.serving.request import Request
from enfilade.timings import Timings
from enfilade.wire.client_requests import ElicitRequest, ElicitRequestURLParams
from enfilade.wire.jsonrpc import RpcError, encode_notification
from enfilade.wire.revisions import ONLY_1125

#: Error code of 2025-11-25: the client has to send its user to pages first (R-546).
URL_ELICITATION_REQUIRED: Final = -32042
#: What a user has said who does not want to.
DECLINED: Final = "the user has declined"
#: The member of `_meta` by which programs find the link.
META: Final = "enfilade/authorization"


class Consent(msgspec.Struct, frozen=True):
    """What a user is asked for.

    Attributes:
        id: of the pending authorization.
        url: its link.
        message: what for, for the user.
        provider: the id of the provider.
        title: its name for people.
        scopes: what is asked for.
    """

    id: str
    url: str
    message: str
    provider: str
    title: str
    scopes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of the question on the wire, and of what a call remembers of it."""
        return f"authorization-{self.provider}"

    def question(self, elicitation_id: str | None = None) -> Question[Elicited[None]]:
        """Return the question to the client."""
        question = url_elicitation(self.message, self.url)
        if elicitation_id is None:
            return question
        params = ElicitRequestURLParams(message=self.message, url=self.url, elicitation_id=elicitation_id)
        return replace(question, request=ElicitRequest(params=params))

    def as_text(self) -> AuthError:
        """Return the error with the link, for clients that cannot be asked (A7)."""
        text = (
            f"{self.message} Show the user this link: {self.url} - and then call again. "
            "The link is for this user alone and works once, within 10 minutes."
        )
        detail = {"provider": self.provider, "url": self.url, "scopes": list(self.scopes)}
        return AuthError(text, meta={META: detail})

    def as_protocol_error(self) -> RpcError:
        """Return the error with the link for clients of 2025-11-25 (A6)."""
        page = {
            "mode": "url",
            "elicitationId": uuid.uuid4().hex,
            "url": self.url,
            "message": self.message,
        }
        return RpcError(URL_ELICITATION_REQUIRED, self.message, {"elicitations": [page]})

    def refusal(self, reason: str) -> AuthError:
        """Return the error of a consent that did not come to a token."""
        return AuthError(f"There is no token of {self.title}: {reason}. Call again to ask for consent anew.")


class ConsentAsker:
    """Asks clients for the consent of their users.

    Args:
        pending: the authorizations.
        timeout: seconds that a call waits for the callback.
        prompt: `ask`, or `error` for an error where the revision has one.
        on_end: is called when a call does not wait any longer.
        timings: how long calls wait that end with their questions.
    """

    def __init__(
        self,
        pending: PendingAuthorizations,
        timeout: float,
        prompt: str,
        on_end: Callable[[], object],
        timings: Timings,
    ) -> None:
        self._timings = timings
        self._on_end = on_end
        self._waiting = 0
        self._pending = pending
        self._timeout = timeout
        self._prompt = prompt

    async def earlier(self, request: Request, key: str) -> tuple[Consent | None, bool]:
        """Return what an earlier run of the call has asked for and still waits for, and whether it was given.

        Args:
            key: as `Consent.key`.

        Returns:
            None and False if nothing was asked.

        Raises:
            AuthError: the user has declined, or there is no token for another reason (A10).
        """
        asker = request.channel.asker
        if not asker.ends_runs:
            return None, False
        memo = asker.memo_of(request)
        slot = _slot(key)
        stored = memo.once.get(slot)
        if stored is None:
            return None, False
        consent = msgspec.json.decode(stored, type=Consent)
        question = consent.question()
        answer = asker.take_answer(request, question, consent.key)
        if answer is not None and question.read(answer).action != "accept":
            await self._pending.end(consent.id, DECLINED)
        row = await self._pending.read(consent.id)
        outcome = None if row is None else self._pending.outcome_of(row.value)
        if row is not None and outcome is None and answer is not None:
            with asker.side_effect(request):  # so that the round does not end for another question meanwhile
                outcome = await self._pending.wait(consent.id, self._timings.consent_round)
        if row is not None and outcome is None:
            return consent, False
        del memo.once[slot]
        if outcome:
            raise consent.refusal(outcome)
        return None, row is not None

    async def ask(self, request: Request, consent: Consent, is_granted: Callable[[], Awaitable[bool]]) -> None:
        """Ask for consent, and return once it is given.

        Args:
            is_granted: whether the user has consented by another link.

        Raises:
            AuthError: it is not given, or the text has the link for the user.
            RpcError: the error has the link.
            asyncio.CancelledError: the round ends here.
        """
        question = consent.question()
        try:
            asking.check(question.request, request.peer)
        except MissingCapabilityError:
            raise consent.as_text() from None
        asker = request.channel.asker
        if not asker.ends_runs and self._prompt == "error" and request.peer.revision in ONLY_1125:
            raise consent.as_protocol_error()
        if not asker.ends_runs:
            await self._ask_and_wait(request, consent, is_granted)
            return
        asker.memo_of(request).once[_slot(consent.key)] = msgspec.json.encode(consent)
        try:
            await asking.ask(request, question, key=consent.key, timeout=None)
        except CannotAskError:
            raise consent.as_text() from None

    async def _ask_and_wait(
        self, request: Request, consent: Consent, is_granted: Callable[[], Awaitable[bool]]
    ) -> None:
        """Ask a client that answers while the call goes on, and wait for the callback (A4)."""
        has_ids = request.peer.revision in ONLY_1125
        elicitation_id = uuid.uuid4().hex if has_ids else None
        question = consent.question(elicitation_id)
        self._waiting += 1
        asked = asyncio.create_task(asking.ask(request, question, key=consent.key, timeout=self._timeout))
        ended = asyncio.create_task(self._pending.wait(consent.id, self._timeout, is_granted))
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and asked.result().action != "accept":
                await self._pending.end(consent.id, DECLINED)
                raise consent.refusal(DECLINED)
            outcome = await ended
        except (CannotAskError, ClientRefusedError):
            raise consent.as_text() from None
        finally:
            await _cancelled(asked, ended)
            self._waiting -= 1
            if not self._waiting:
                self._on_end()
        if outcome is None:
            raise consent.refusal(f"nobody has given consent within {self._timeout:g} seconds")
        if outcome:
            raise consent.refusal(outcome)
        if elicitation_id is not None:
            params = msgspec.json.encode({"elicitationId": elicitation_id})
            request.push(encode_notification("notifications/elicitation/complete", params))


def _slot(key: str) -> str:
    """Return where a call remembers its question: no key of `ctx.once` that an author would choose."""
    return f"\0{key}"


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks that still run, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
