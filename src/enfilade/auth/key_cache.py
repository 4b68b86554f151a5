"""The keys of one authorization server, fetched when they are first needed and kept up to date.

When they are fetched:

- at the first token, and whenever the last success is longer ago than `stale`: the token waits;
- in the background, when the last success is longer ago than the JWKS may be cached. If it is twice as long ago,
  no token came meanwhile, and the next one waits, for its key may have been withdrawn;
- for a token whose key is not there, while the budget lasts: two fetches at once, then one each `pause`; for the
  same `kid` after one pause, then each second one. So invented ids cause few fetches, and a client that repeats a
  token of an old key leaves half of the budget for a key that is really new. Pauses are never longer: otherwise,
  somebody who guesses the id of the next key could keep it from being found when it is there;
- after a failure, not before a back-off of up to 15 seconds.

All tokens that wait share one fetch, and none waits longer than its limit. What a missing key means depends on
the last fetch: if it was a success, the key does not exist (401); if it failed, nobody knows (503, X-AUTH-3).
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable
from contextvars import Context
from typing import Final

from enfilade.auth.discovery import find_jwks_uri
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.http_client import FetchError, HttpClients, JsonResponse, get_json
from enfilade.auth.jwks import SigningKey, read_keys
from enfilade.auth.servers import AuthorizationServer

log = logging.getLogger("enfilade.auth")

#: Seconds for a fetch in all, with the search for metadata, and for whoever waits for it.
FETCH_TIME: Final = 10.0
#: Seconds for which a JWKS is used without a look at a newer one, and the bounds of what `max-age` may say.
DEFAULT_AGE, LEAST_AGE, MOST_AGE = 300.0, 60.0, 900.0
#: Seconds until the first try after a failure, and at most.
_FIRST_BACK_OFF, _MOST_BACK_OFF = 0.5, 15.0
_BURST: Final = 2
_MOST_PAUSES: Final = 2  # from one fetch for an id to the next
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


class KeyCache:
    """The keys of one authorization server.

    Args:
        server: whose keys.
        clients: the HTTP clients by which they are fetched.
        stale: seconds for which keys are used that could not be fetched anew.
        pause: seconds after which an unknown key is looked for again.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        server: AuthorizationServer,
        clients: HttpClients,
        *,
        stale: float,
        pause: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        self._server, self._clients = server, clients
        self._stale, self._clock = stale, clock
        self._keys: dict[str | None, tuple[SigningKey, ...]] = {}
        self._warned: set[bytes] = set()  # unusable keys, each of which is logged once
        self._jwks_uri = server.jwks_uri
        self._current_at = -math.inf  # when the last fetch began that was a success
        self._maximum_age = DEFAULT_AGE
        self._begun = self._current = 0  # fetches that were begun, and which of them was the last success
        self._failures = 0  # since then
        self._retry_at = -math.inf
        self._budget = _Budget(pause)
        self._fetch: asyncio.Task[None] | None = None

    async def candidates(self, kid: str | None, algorithm: str) -> tuple[SigningKey, ...]:
        """Return the keys that a token may be signed with: at least one.

        Args:
            kid: the key's id in the token's header; without one, the key must be the only one of its algorithm.
            algorithm: the token's algorithm.

        Raises:
            InvalidTokenError: there is no such key.
            ServerUnavailableError: the keys cannot be fetched at present.
        """
        begun_before = self._begun
        await self._have_keys()
        while not (keys := self._lookup(kid, algorithm)):
            if self._current > begun_before:
                raise InvalidTokenError("its key is none of the authorization server's")
            if not self._is_fetching() and not self._failures and not self._budget.take(kid, self._clock()):
                raise InvalidTokenError("its key is none of the authorization server's")
            await self._fetched()
        return keys

    @property
    def is_missing(self) -> bool:
        """Whether the last fetch failed, and there are no keys that may be used meanwhile."""
        return bool(self._failures) and self._clock() - self._current_at > self._stale

    def is_current(self, generation: int) -> bool:
        """Whether a verdict by keys of a generation holds still. Without I/O; a fetch that is due is begun."""
        age = self._clock() - self._current_at
        if generation != self.generation or age > self._stale:
            return False
        if age > self._maximum_age:
            self._fetch_in_background()
        return True

    async def aclose(self) -> None:
        """End a fetch that is under way in the running event loop; whoever waits for it is cancelled."""
        if self._is_fetching() and self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])

    async def _have_keys(self) -> None:
        age = self._clock() - self._current_at
        if age > self._stale:
            await self._fetched()
        elif age > 2 * self._maximum_age and not self._failures:
            try:
                await self._fetched()
            except ServerUnavailableError:
                log.debug("the keys of %s are used on", self._server.issuer)
        elif age > self._maximum_age:
            self._fetch_in_background()

    def _lookup(self, kid: str | None, algorithm: str) -> tuple[SigningKey, ...]:
        if kid is None:
            fitting = [key for keys in self._keys.values() for key in keys if algorithm in key.algorithms]
            return tuple(fitting) if len(fitting) == 1 else ()
        same_id = self._keys.get(kid, ())
        keys = tuple(key for key in same_id if algorithm in key.algorithms)
        if same_id and not keys:
            raise InvalidTokenError("its key is not for its algorithm")
        return keys

    def _is_fetching(self) -> bool:
        task = self._fetch
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def _fetched(self) -> None:
        """Wait for a fetch: the one that is under way, or a new one.

        Raises:
            ServerUnavailableError: it fails or lasts too long, or the last one failed a moment ago.
        """
        if not self._is_fetching():
            wait = self._retry_at - self._clock()
            if wait > 0:
                raise self._unavailable(wait)
            self._begin_fetch()
        assert self._fetch is not None
        try:
            # Shielded: whoever is cancelled leaves the fetch to the others.
            await asyncio.wait_for(asyncio.shield(self._fetch), FETCH_TIME)
        except TimeoutError:
            raise self._unavailable(1.0) from None
        if self._failures:
            raise self._unavailable(max(1.0, self._retry_at - self._clock()))

    def _fetch_in_background(self) -> None:
        if not self._is_fetching() and self._clock() >= self._retry_at:
            self._begin_fetch()

    def _begin_fetch(self) -> None:
        if self._current_at == -math.inf and not self._failures:
            self._budget.spend(self._clock())  # so that a start makes no third fetch possible
        self._begun += 1
        # Without the context of the request that happens to begin it.
        self._fetch = asyncio.get_running_loop().create_task(self._load(), context=Context())

    def _unavailable(self, retry_after: float) -> ServerUnavailableError:
        return ServerUnavailableError(f"the keys of {self._server.issuer}", retry_after)

    async def _load(self) -> None:
        """Fetch the keys. It raises nothing: waiters read `_failures`."""
        began, number = self._clock(), self._begun
        try:
            async with asyncio.timeout(FETCH_TIME):
                response, keys = await self._request()
        except (FetchError, TimeoutError) as error:
            self._failed(str(error) or f"no answer within {FETCH_TIME:g} seconds")
        except Exception as error:  # of a client that somebody brought along
            self._failed(f"the request failed ({type(error).__name__})")
        else:
            self._replace(keys)
            self._current, self._current_at = number, began
            self._failures, self._retry_at = 0, -math.inf
            self._maximum_age = _maximum_age(response)

    async def _request(self) -> tuple[JsonResponse, list[SigningKey]]:
        client, issuer = await self._clients.current(), self._server.issuer
        if self._jwks_uri is None:
            self._jwks_uri = await find_jwks_uri(client, issuer)
        try:
            response = await get_json(client, self._jwks_uri)
            keys = read_keys(response.value, f"the JWKS of {issuer}", self._warned)
            if not keys:
                raise FetchError("it has no usable key" if keys is not None else "it is no JWKS")
        except FetchError as error:
            reason = f"{self._jwks_uri}: {error}"
            self._jwks_uri = self._server.jwks_uri  # the metadata may name another one meanwhile
            raise FetchError(reason) from None
        return response, keys

    def _failed(self, reason: str) -> None:
        self._failures += 1
        back_off = min(_FIRST_BACK_OFF * 2.0 ** min(self._failures - 1, 10), _MOST_BACK_OFF)
        self._retry_at = self._clock() + back_off
        log.warning("the keys of %s cannot be fetched: %s", self._server.issuer, reason)

    def _replace(self, keys: list[SigningKey]) -> None:
        by_kid: dict[str | None, tuple[SigningKey, ...]] = {}
        for key in keys:
            by_kid[key.kid] = (*by_kid.get(key.kid, ()), key)
        identities = {(key.kid, key.algorithms, key.fields) for key in keys}
        before = [(key.kid, key.algorithms, key.fields) for same in self._keys.values() for key in same]
        if not identities.issuperset(before):
            self.generation += 1  # a key is gone or changed: verdicts by it are void
        self._keys = by_kid


def _maximum_age(response: JsonResponse) -> float:
    """Return for how many seconds a JWKS may be used without a look at a newer one."""
    match = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
    return min(max(float(match[1]), LEAST_AGE), MOST_AGE) if match else DEFAULT_AGE


class _Budget:
    """How often unknown ids of keys may cause a fetch."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._left, self._counted_at = float(_BURST), -math.inf
        self._missing: dict[str | None, tuple[float, float]] = {}
        """When an id may cause a fetch, and the seconds from the last one to that; the budget limits them."""

    def take(self, kid: str | None, now: float) -> bool:
        """Whether a fetch may be made for a key's id; then it is counted."""
        if self._pause == 0:
            return True
        not_before, wait = self._missing.get(kid, (now, self._pause / 2))
        if now < not_before or self._count(now) < 1:
            return False
        self._left -= 1
        # An id that was not asked for since, for as long again as its pause, begins anew.
        self._missing = {key: (until, of) for key, (until, of) in self._missing.items() if now < until + of}
        wait = min(2 * wait, _MOST_PAUSES * self._pause) if kid in self._missing else self._pause
        self._missing[kid] = (now + wait, wait)
        return True

    def spend(self, now: float) -> None:
        """Count a fetch that is made in any case."""
        self._left = max(self._count(now) - 1, 0.0)

    def _count(self, now: float) -> float:
        if self._pause > 0:
            self._left = min(_BURST, self._left + (now - self._counted_at) / self._pause)
        self._counted_at = now
        return self._left
