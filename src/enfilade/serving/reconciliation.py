"""Reconciliation: what workers share through a store is made whole again after the store has lost it.

A store can come back empty: a file was deleted, Redis was flushed or restarted without its data. Every worker
that lives still knows its secret and the sessions that were ended, so it puts both back. That is looked after at
the start, at each renewal of the worker's lease, after each gap on the bus, and when a probe asks whether this
worker is ready; never for a plain call.

The easy thing to get wrong is the worker that starts while the store is empty and makes a secret of its own.
Sessions sealed with it are good, too: so secrets are merged (`Seal.agree`), and a worker that meets a token of a
secret which it does not know looks into the store before it says "not found". One that has just made a secret
looks for a while: the others may not have come back to the store yet.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from enfilade.serving.cluster import Relay
from enfilade.state.store import StoreError
from enfilade.state.tokens import Agreement, Seal

log = logging.getLogger("enfilade.serving")

#: The key of the mark that is made whenever a store is found without one. A store with another mark than before
#: has been emptied in between, even if other workers have put things back already.
_MARK: Final = "mark"

#: Seconds between two looks for secrets because of tokens that cannot be opened: strangers can send those.
_LOOK_EVERY: Final = 1.0

#: Seconds for which a worker that has made a secret expects others to put theirs back, and between looks then.
_EXPECT: Final = 2.0
_LOOK_OFTEN: Final = 0.1

#: Seconds after each failed try to agree: a file that was replaced fails once for each connection to the old one.
_PAUSES: Final = (0.02, 0.05, 0.1, 0.2)


class Reconciler:
    """Keeps one worker and its store agreed.

    Args:
        seal: has the secrets of this worker.
        relay: leads to the store, and to the other workers.

    Attributes:
        restore: puts back what else this worker knows, and returns how many entries there were.
    """

    def __init__(self, seal: Seal, relay: Relay) -> None:
        self.restore: Callable[[], Awaitable[int]] | None = None
        self._seal = seal
        self._relay = relay
        self._mark: bytes | None = None
        self._made = False
        self._owes = False
        self._due = False  # asked for again, perhaps while a check is under way
        self._checking = False
        self._next_look = 0.0
        self._failed_look: StoreError | None = None
        self._look_lock = asyncio.Lock()
        self._expects_until = 0.0
        if relay.shared:
            relay.on("secret", lambda _: self._check_soon())
            relay.on_gap(self._check_soon)
            relay.on_renewal(self._check_soon)

    async def start(self) -> None:
        """Have a secret, the store's or a new one; to be called after the store is started and before the relay.

        Raises:
            StoreError: there is no secret yet, and the store does not say.
        """
        self._look_lock = asyncio.Lock()  # of this event loop
        if self._relay.shared:
            self._made = (await self._seal.agree(self._relay.store.keys)).created

    async def join(self) -> None:
        """Let the others put their secrets back first, if this worker has made one; called when the relay hears.

        Raises:
            StoreError: the store does not say.
        """
        if self._relay.shared:
            if self._made:
                self._expects_until = time.monotonic() + _EXPECT
                await self._relay.tell_and_wait("secret", None)
            await self.check()

    async def check(self) -> None:
        """Return once this worker and the store agree.

        Raises:
            StoreError: the store does not say, or does not take what it lacks.
        """
        if not self._relay.shared:
            return
        emptied = await self._was_emptied()
        ended = 0
        if self._owes and self.restore is not None:
            ended = await self.restore()  # before others can open the tokens of sessions that were ended
        self._owes = False
        agreement = await self._seal.agree(self._relay.store.keys)
        if agreement.created or agreement.restored:
            self._relay.tell("secret", None)
        _report(emptied, agreement, ended)

    async def learn(self, opens: Callable[[], bool]) -> None:
        """Look for secrets that this worker does not know, unless that was done just now.

        Args:
            opens: whether what could not be opened can be by now.

        Raises:
            StoreError: the store does not say, or did not say just now.
        """
        while not self._seal.is_configured and self._relay.shared:
            expects = time.monotonic() < self._expects_until
            async with self._look_lock:  # whoever comes while a look is under way waits for what it finds
                if not opens():
                    await self._look(_LOOK_OFTEN if expects else _LOOK_EVERY)
            if opens() or not expects:
                return
            await asyncio.sleep(_LOOK_OFTEN)

    async def _look(self, pause: float) -> None:
        now = time.monotonic()
        if now < self._next_look:
            if self._failed_look is not None:
                raise StoreError(*self._failed_look.args)
            return
        self._next_look, self._failed_look = now + pause, None
        try:
            agreement = await self._seal.agree(self._relay.store.keys)
        except StoreError as error:
            self._failed_look = error
            raise
        if agreement.restored:
            self._relay.tell("secret", None)
        _report(False, agreement, 0)

    async def _was_emptied(self) -> bool:
        """Whether the store has lost what it had since this was asked last."""
        keys = self._relay.store.keys
        mark = await keys.get(_MARK)
        if mark is None:
            mark = secrets.token_hex(8).encode()
            if not await keys.swap(_MARK, None, mark, None):
                mark = await keys.get(_MARK)
        emptied = self._mark is not None and mark != self._mark
        self._mark = mark or self._mark
        self._owes = self._owes or emptied
        return emptied

    def _check_soon(self) -> None:
        self._due = True
        if not self._checking:
            self._checking = True
            self._relay.soon(self._check_quietly())

    async def _check_quietly(self) -> None:
        try:
            while self._due:
                self._due = False
                await self._check_repeatedly()
        finally:
            self._checking = False

    async def _check_repeatedly(self) -> None:
        for pause in _PAUSES:
            try:
                await self.check()
                return
            except StoreError as error:  # after the last, it is tried again at the next renewal
                log.debug("the store could not be compared with what this worker knows: %s", error)
            await asyncio.sleep(pause)


def _report(emptied: bool, agreement: Agreement, ended: int) -> None:
    if emptied:
        log.warning(
            "the store was emptied: this worker has put back its secret and what it knew of ended sessions (%d); "
            "streams, log levels and subscriptions that only the store had are lost",
            ended,
        )
    elif agreement.restored:
        log.warning("the secret of this worker was not in the store, and has been put there")
    if agreement.learned:
        log.warning(
            "another worker made a secret of its own while the store was empty; tokens of both are accepted now"
        )
