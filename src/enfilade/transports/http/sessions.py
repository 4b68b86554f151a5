"""Sessions: opened by `initialize`, found again by their id, and ended by the client or by idle time.

The id is a sealed token (`session_token.py`), so any worker can serve a session that has the secret. The store is
asked only for what changed since the handshake (ended, log level, last use, watched resources). Its record is
cached for a while, so that a call costs no look-up; a worker that changes it tells the others.

A session ends when it has not been used for `ttl` seconds (R-314). To know that without a write per request, the
time of use is written only when the last known one is `ttl / 2` seconds old, and a session lives for `1.5 * ttl`
seconds after the last known one: so it lives for at least `ttl` and at most `1.5 * ttl` seconds without use. The
handshake is the first known use and stands in the token, so a session that is used for less than `ttl / 2` writes
nothing at all. Sessions with a long call or an open stream are kept alive by `SessionUse` in `endpoint.py`.

Unknown, forged, expired, ended and foreign sessions all get the same "not found", so that strangers learn nothing
(R-315, R-317).
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from enfilade.counters import count
from enfilade.serving.channel import Peer
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.subscriptions import Watched, unwatch, watch
from enfilade.state.store import ENDED, StoreError
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports.http.session_token import open_token, seal_token
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.notifications import LoggingLevel

#: Bytes of a token for which there is room in memory on the average; those of common clients have about 300.
_USUAL_TOKEN: Final = 512

#: A use is written down when the last one that was is older than this part of the idle time, and a session lives
#: for the idle time and this part of it after the last use that was.
_RENEWED_AFTER: Final = 0.5

#: Sessions that are cached although nothing but their handshake was seen yet.
_NEWCOMERS: Final = 64

#: Sessions that are remembered to have ended, and put back into a store that has lost them; and how many at once.
_ENDED: Final = 4096
_AT_ONCE: Final = 64

#: How often a change is tried that conflicts with others.
_ATTEMPTS: Final = 50


class SessionRecord(msgspec.Struct, omit_defaults=True):
    """What the store knows of a session, beyond its token.

    Attributes:
        used: seconds since the epoch at which it was used; later uses are not written down one by one.
    """

    ended: bool = False
    used: float = 0.0
    log_level: LoggingLevel | None = None
    watched: Watched = {}

    def without_resources(self) -> "SessionRecord":
        """Return what is kept of it in memory: the watched resources may take half a megabyte."""
        return SessionRecord(ended=self.ended, used=self.used, log_level=self.log_level)


class Session:
    """A session as this worker knows it; the requests of a session share it.

    Attributes:
        idle_time: seconds without use after which it may end.
        opened: seconds since the epoch at which it was opened.
        used: seconds since the epoch of the last use that this worker knows of; those of the next
            `idle_time / 2` seconds need not be known.
        record: what the store said of it, without its resources; None if that cannot be relied on.
        fresh_until: by the monotonic clock, when the store has to be asked again.
        changes: how often it was said to have changed, so that no older record is kept in mind.
        last_call: by the monotonic clock, when it was last looked for.
    """

    __slots__ = (
        "_sessions",
        "changes",
        "fresh_until",
        "idle_time",
        "last_call",
        "opened",
        "peer",
        "record",
        "used",
    )

    def __init__(self, peer: Peer, opened: float, idle_time: float, sessions: "Sessions") -> None:
        self.peer = peer
        self.opened = self.used = opened
        self.idle_time = idle_time
        self.record: SessionRecord | None = None
        self.fresh_until = 0.0
        self.changes = 0
        self.last_call = 0.0
        self._sessions = sessions

    @property
    def expires(self) -> float:
        """Seconds since the epoch at which it ends by itself, unless it is used."""
        return self.used + self.longest_idle

    @property
    def longest_idle(self) -> float:
        """Seconds without a known use after which it has ended."""
        return self.idle_time * (1 + _RENEWED_AFTER)

    async def keep_alive(self) -> bool:
        """Note that it is in use, and return whether it lives: it does unless it was ended.

        Raises:
            StoreError: the store does not say whether it was ended.
        """
        return await self._sessions.keep_alive(self)

    @property
    def log_level(self) -> LoggingLevel | None:
        """Lowest level of log messages the client wants; None if it never said."""
        return None if self.record is None else self.record.log_level

    async def set_log_level(self, level: LoggingLevel) -> None:
        def change(record: SessionRecord) -> None:
            record.log_level = level

        await self._sessions.change(self, change)

    async def watch(self, uri: str) -> None:
        await self._sessions.change(self, lambda record: watch(record.watched, uri))

    async def unwatch(self, uri: str) -> None:
        await self._sessions.change(self, lambda record: unwatch(record.watched, uri))

    async def end(self) -> None:
        """Make every later request of this session "not found"."""

        def change(record: SessionRecord) -> None:
            record.ended = True
            record.watched.clear()

        await self._sessions.change(self, change)


class Sessions:
    """Opens sessions and finds them again.

    Args:
        worker_channel: has the store for what changes during a session, and the workers that share it.
        ttl: seconds without use after which a session may end.
        cache_size: how many sessions are cached, to save the work of unsealing and looking up.
        learn: looks for secrets that the seal does not have, until the function that it gets returns true.

    Attributes:
        streaming: the resources watched by each session whose stream is open in this worker. What is
            there is replaced and never changed, since other threads look into it.
        on_missed_change: called with a resource, in the one spelling, that is watched since a time in which
            changes may have been missed.
        changed_recently: whether a resource, in the one spelling, has changed while this worker may not have
            known yet that a client watches it.
    """

    def __init__(
        self,
        seal: Seal,
        worker_channel: WorkerChannel,
        ttl: float,
        cache_size: int = 4096,
        learn: Callable[[Callable[[], bool]], Awaitable[None]] | None = None,
        timings: Timings = Timings(),
    ) -> None:
        self._freshness = timings.session_freshness if worker_channel.shared else timings.session_freshness_alone
        self._seal = seal
        self._learn = learn
        self._worker_channel = worker_channel
        self._ttl = ttl
        self._cache_size = cache_size
        self._cached: OrderedDict[bytes | None, Session] = OrderedDict()
        self._newcomers: OrderedDict[bytes | None, Session] = OrderedDict()
        self._cached_bytes = 0  # of tokens, which is what the size of a session follows from
        self._by_id: dict[str | None, Session] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        self.on_missed_change: Callable[[str], None] = lambda uri: None
        self.changed_recently: Callable[[str], bool] = lambda uri: False
        self._reloads: dict[str, bool | None] = {}  # by session: whether to read again, and for a gap (True)
        self.streaming: dict[str | None, Watched] = {}
        worker_channel.on("session", self._on_change_elsewhere)
        worker_channel.on_missed(self._on_gap)

    def create(
        self, params: InitializeRequestParams, revision: str, principal: str | None
    ) -> tuple[Session, str]:
        """Return a new session, and the token that is its id for the client (R-310, R-311).

        It is cached for a moment, since the client nearly always comes back at once.

        Raises:
            RpcError: INVALID_PARAMS if the client says more about itself than a header can carry.
        """
        now = time.time()
        peer, token = seal_token(
            self._seal,
            os.urandom(16),
            params,
            revision=revision,
            principal=principal,
            opened=now,
            idle_time=self._ttl,
        )
        session = Session(peer, now, self._ttl, self)
        count("sessions_opened", "http")
        self._mark_fresh(session, SessionRecord(), now)
        self._cache(self._newcomers, _NEWCOMERS, token.encode(), session)
        return session, token

    def cached(self, token: bytes | None, principal: str | None) -> Session | None:
        """Return the live session of a token, if it is cached and fresh; nearly always it is."""
        session = self._cached.get(token)
        now = time.monotonic()
        if session is None or session.fresh_until <= now or session.peer.principal != principal:
            return None
        session.last_call = now  # to keep them in order as well would cost each call more
        return session

    async def find(self, token: bytes, principal: str | None) -> Session | None:
        """Return the live session of a token, or None for anything that is not one of this principal's."""
        session = self._cached.get(token)
        if session is None:
            session = self._newcomers.pop(token, None) or self._open(token)
            if session is None and self._learn is not None:
                await self._learn(lambda: self._open(token) is not None)
                session = self._open(token)
            if session is None:
                return None
            self._cache(self._cached, self._cache_size, token, session)
        if session.peer.principal != principal:  # having its id proves nothing
            return None
        session.last_call = time.monotonic()
        if session.fresh_until <= time.monotonic() and not await self._refresh(session):
            return None
        return session

    async def named_by(self, fields: Mapping[bytes, bytes], principal: str | None) -> Session:
        """Return the session that the headers of a request name.

        Raises:
            RpcError: HTTP 400 without an id (R-313, E-16), 404 for anything that is no live session (R-315, E-17)
                of this principal (R-317, E-39).
        """
        token = fields.get(http.SESSION_ID)
        if token is None:
            raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
        session = await self.find(token.strip(), principal)
        if session is None:
            raise session_not_found()
        return session

    def _cache(
        self, cache: OrderedDict[bytes | None, Session], limit: int, token: bytes, session: Session
    ) -> None:
        """Cache a session, and evict those that were not used for the longest time if there are too many."""
        if cache is self._cached and token not in cache:
            self._cached_bytes += len(token)
        cache[token] = self._by_id[session.peer.session_id] = session
        session.last_call = time.monotonic()
        if len(cache) > limit:
            self._evict(cache, len(cache) - limit + limit // 8)  # some more, so that it is rare
        while cache is self._cached and self._cached_bytes > limit * _USUAL_TOKEN and len(cache) > 1:
            self._evict(cache, 1 + len(cache) // 8)

    def _evict(self, cache: OrderedDict[bytes | None, Session], count: int) -> None:
        """Evict the sessions that were not used for the longest time."""
        oldest = sorted(cache.items(), key=lambda entry: entry[1].last_call)[:count]
        for token, session in oldest:
            del cache[token]
            if cache is self._cached:
                self._cached_bytes -= len(token or b"")
            if self._by_id.get(session.peer.session_id) is session:
                del self._by_id[session.peer.session_id]

    async def keep_alive(self, session: Session) -> bool:
        """Note that a session is in use, as `Session.keep_alive` does."""
        return session.fresh_until > time.monotonic() or await self._refresh(session, in_use=True)

    async def _refresh(self, session: Session, *, in_use: bool = False) -> bool:
        """Ask the store, and return whether the session lives; note its use, if that is due.

        While the store does not answer, its last record counts, and a session that is used does not end.

        Args:
            in_use: whether it has been in use until now, so that it cannot have ended by itself.
        """
        if session.peer.session_id in self._ended:
            return False
        for _ in range(_ATTEMPTS):
            now, changes = time.time(), session.changes
            try:
                record = await self.record(session.peer.session_id)
                session.used = max(session.used, record.used)
                if record.ended or not (in_use or now < session.expires):
                    if record.ended:
                        self.note_ended(str(session.peer.session_id))
                    session.record = record.without_resources()
                    return False  # and asked again next time, since nobody should come back
                if _is_due(session, record, now):
                    record = await self._note_use(session, now)
            except StoreError:
                if session.record is None:
                    raise
                if not (in_use or now < session.expires):
                    return False
                session.used = now
                return True
            if changes == session.changes and not record.ended:
                self._mark_fresh(session, record, now)
                return True
        raise StoreError("a session is being changed by too many requests at once")

    async def _note_use(self, session: Session, now: float) -> SessionRecord:
        """Write that a session is used, unless another worker just has, and return the record after that.

        Raises:
            StoreError: it could not be written.
        """
        key, keys = _key(session.peer.session_id), self._worker_channel.store.keys
        for _ in range(_ATTEMPTS):
            stored = await keys.get(key)
            record = _read(stored)
            if record.ended or not _is_due(session, record, now):
                return record
            record.used = now
            if await keys.swap(key, stored, msgspec.json.encode(record), session.longest_idle):
                return record
        raise StoreError("a session is being changed by too many requests at once")

    def _mark_fresh(self, session: Session, record: SessionRecord, now: float) -> None:
        """Rely on a record for a while, but only until the next use must be written."""
        session.record = record.without_resources()
        written = max(session.opened, record.used)
        session.used = max(session.used, written)
        remaining = written + session.idle_time * _RENEWED_AFTER - now
        session.fresh_until = time.monotonic() + min(self._freshness, remaining)

    async def record(self, session_id: str | None) -> SessionRecord:
        """Return what has changed in a session since its handshake, as the store has it now.

        Raises:
            StoreError: the store does not say.
        """
        return _read(await self._worker_channel.store.keys.get(_key(session_id)))

    async def change(self, session: Session, edit: Callable[[SessionRecord], None]) -> None:
        """Change what is remembered of a session, for as long as it may live.

        Requests of one session run side by side, so what is changed is what the store has now, not what it had
        when the request came in. As something is written anyway, the use is noted with it.

        Raises:
            StoreError: it could not be changed.
        """
        session_id, keys = session.peer.session_id, self._worker_channel.store.keys
        for _ in range(_ATTEMPTS):
            stored = await keys.get(_key(session_id))
            record = _read(stored)
            edit(record)
            record.used = time.time()
            value = ENDED if record.ended else msgspec.json.encode(record)
            if await keys.swap(_key(session_id), stored, value, session.longest_idle):
                break
        else:
            raise StoreError("a session is being changed by too many requests at once")
        self._invalidate(session_id)
        if session_id in self.streaming:
            self.streaming[session_id] = record.watched
            if session_id in self._reloads:  # what is being read may be older
                self._reload_watched(session_id)
        await self._worker_channel.send_and_wait("session", session_id)

    # -- ended sessions ----------------------------------------------------------------------------------------

    def note_ended(self, session_id: str) -> None:
        """Remember that a session was ended, also if the store should forget it."""
        self._ended[session_id] = time.time() + self._ttl * (1 + _RENEWED_AFTER)
        self._ended.move_to_end(session_id)
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    async def restore_ended(self) -> int:
        """Put the ended sessions that are known here back into a store which has lost them; returns their number.

        Raises:
            StoreError: the store does not take them.
        """
        now = time.time()
        ended = [(session_id, ends - now) for session_id, ends in self._ended.items() if ends > now]
        for start in range(0, len(ended), _AT_ONCE):
            await asyncio.gather(*(self._end_again(*entry) for entry in ended[start : start + _AT_ONCE]))
        return len(ended)

    async def _end_again(self, session_id: str, ttl: float) -> None:
        keys = self._worker_channel.store.keys
        for _ in range(_ATTEMPTS):
            stored = await keys.get(_key(session_id))
            if _read(stored).ended or await keys.swap(_key(session_id), stored, ENDED, ttl):
                return

    # -- changes at other workers --------------------------------------------------------------------------------

    def _invalidate(self, session_id: str | None) -> None:
        session = self._by_id.get(session_id)
        if session is not None:
            session.changes += 1
            session.fresh_until, session.record = 0.0, None

    def _on_change_elsewhere(self, session_id: str) -> None:
        self._invalidate(session_id)
        if session_id in self.streaming:
            self._reload_watched(session_id)

    def _on_gap(self) -> None:
        """Invalidate all sessions: messages of other workers may have been lost."""
        for session in self._by_id.values():
            session.changes += 1
            session.fresh_until = 0.0
        for session_id in self.streaming:
            if session_id is not None:
                self._invalidate(session_id)
                self._reload_watched(session_id, after_gap=True)

    def _reload_watched(self, session_id: str, *, after_gap: bool = False) -> None:
        """Read again what a session watches; no reading begins before the one before has ended."""
        is_reading = session_id in self._reloads
        self._reloads[session_id] = after_gap or self._reloads.get(session_id) is True
        if not is_reading:
            self._worker_channel.spawn(self._read_watched(session_id))

    async def _read_watched(self, session_id: str) -> None:
        try:
            while (after_gap := self._reloads[session_id]) is not None:
                self._reloads[session_id] = None
                self._note_watched(session_id, await self.record(session_id), after_gap=after_gap)
        except StoreError:
            return
        finally:
            del self._reloads[session_id]

    def _note_watched(self, session_id: str, record: SessionRecord, *, after_gap: bool) -> None:
        """Note what a session watches; its client hears of what changed before this worker knew of the watch."""
        if session_id in self.streaming:
            previous = self.streaming[session_id]
            self.streaming[session_id] = record.watched
            # After a gap, a change of those that were watched before was announced when the gap was noticed.
            for uri in record.watched.keys() - previous.keys():
                if after_gap or self.changed_recently(uri):
                    self.on_missed_change(uri)

    def _open(self, token: bytes) -> Session | None:
        opened = open_token(self._seal, token)
        return None if opened is None else Session(opened.peer, opened.opened, opened.idle_time, self)


def _read(stored: bytes | None) -> SessionRecord:
    return SessionRecord() if stored is None else msgspec.json.decode(stored, type=SessionRecord)


def _is_due(session: Session, record: SessionRecord, now: float) -> bool:
    """Whether the use of a session is to be written down."""
    return now - max(session.opened, record.used) >= session.idle_time * _RENEWED_AFTER


def _key(session_id: str | None) -> str:
    return f"session:{session_id}"


def session_not_found() -> RpcError:
    """Return the one refusal of what is no live session, also of its requests in flight (R-315, R-317)."""
    return RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
