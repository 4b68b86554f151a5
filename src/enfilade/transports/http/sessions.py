"""Sessions that cost nothing: the id is a sealed token that says everything about its session.

Whoever holds the secret can serve the session: a restarted server, another worker. The store is asked only for
what changed since the handshake (ended, log level, last use), and what it said is remembered for a while, so that
a call costs no look-up; a worker that changes something tells the others.

A session ends when it has not been used for `ttl` seconds. To know that without a write per request, the time of
use is written down only when the last known one is `ttl / 2` seconds old, and a session lives for `1.5 * ttl`
seconds after the last known one: so it lives for at least `ttl` and at most `1.5 * ttl` seconds without use. The
handshake is the first known use and stands in the token, so a session that is used for less than `ttl / 2` writes
nothing at all. What is in use for longer than one request takes, a call or a stream, is looked after by
`session_use.py`.

The easy thing to get wrong is to answer strangers too exactly: unknown, forged, expired, ended and foreign
sessions are one and the same "not found" (R-315, R-317).
"""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.serving.changes import Watched, unwatch, watch
from enfilade.serving.cluster import Relay
from enfilade.serving.peer import Peer
from enfilade.state.store import ENDED, StoreError
from enfilade.state.tokens import Seal
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.lifecycle import ClientCapabilities, Implementation, InitializeRequestParams
from enfilade.wire.logging import LoggingLevel

_PURPOSE: Final = b"session"
_LONGEST_TOKEN: Final = 3072
_LONGEST_TEXT: Final = 256

#: Bytes of a token for which there is room in memory on the average; those of common clients have about 300.
_USUAL_TOKEN: Final = 512

#: Seconds for which a worker relies on what a store said of a session, unless it is told otherwise: one that
#: others write to as well, and one of its own.
FRESH: Final = 5.0
_FRESH_ALONE: Final = 60.0

#: A use is written down when the last one that was is older than this part of the idle time, and a session lives
#: for the idle time and this part of it after the last use that was.
_RENEWED_AFTER: Final = 0.5

#: Sessions that are kept in mind although nothing but their handshake was seen yet.
_NEWCOMERS: Final = 64

#: Sessions that are known to have ended, and are put back into a store that has lost them; and at once.
_ENDED: Final = 4096
_AT_ONCE: Final = 64

#: How often a change or a look is tried that others get in the way of.
_ATTEMPTS: Final = 50


class _Ticket(msgspec.Struct, array_like=True):
    """What a token holds."""

    session_id: bytes
    revision: str
    opened: float
    idle_time: float
    principal: str | None
    name: str
    version: str
    title: str | None
    capabilities: bytes


class Record(msgspec.Struct, omit_defaults=True):
    """What the store knows of a session, beyond its token.

    Attributes:
        used: seconds since the epoch at which it was used; later uses are not written down one by one.
    """

    ended: bool = False
    used: float = 0.0
    log_level: LoggingLevel | None = None
    watched: Watched = {}

    def without_resources(self) -> "Record":
        """Return what is kept of it in memory: the watched resources may take half a megabyte."""
        return Record(ended=self.ended, used=self.used, log_level=self.log_level)


class Session:
    """A session as this worker knows it; the requests of a session share it.

    Attributes:
        peer: the client, as it introduced itself.
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
        self.record: Record | None = None
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

    async def keep(self) -> bool:
        """Take in that it is in use, and return whether it lives: it does unless it was ended.

        Raises:
            StoreError: the store does not say whether it was ended.
        """
        return await self._sessions.keep(self)

    @property
    def log_level(self) -> LoggingLevel | None:
        """Lowest level of log messages the client wants; None if it never said."""
        return None if self.record is None else self.record.log_level

    async def set_log_level(self, level: LoggingLevel) -> None:
        def change(record: Record) -> None:
            record.log_level = level

        await self._sessions.change(self, change)

    async def watch(self, uri: str) -> None:
        await self._sessions.change(self, lambda record: watch(record.watched, uri))

    async def unwatch(self, uri: str) -> None:
        await self._sessions.change(self, lambda record: unwatch(record.watched, uri))

    async def end(self) -> None:
        """Make every later request of this session "not found"."""

        def change(record: Record) -> None:
            record.ended = True
            record.watched.clear()

        await self._sessions.change(self, change)


class Sessions:
    """Opens sessions and finds them again.

    Args:
        seal: makes and reads the tokens.
        relay: leads to the store that keeps what changes during a session, and to the workers that share it.
        ttl: seconds without use after which a session may end.
        remembered: how many sessions are kept in mind, to save the work of unsealing and looking up.
        learn: looks for secrets that the seal does not have, until what it is given returns true.

    Attributes:
        streaming: the resources watched by each session whose stream is open in this worker. What is
            there is replaced and never changed, since other threads look into it.
        missed: called with a resource, in the one spelling, that is watched since a time in which changes may
            have been missed.
    """

    def __init__(
        self,
        seal: Seal,
        relay: Relay,
        ttl: float,
        remembered: int = 4096,
        learn: Callable[[Callable[[], bool]], Awaitable[None]] | None = None,
    ) -> None:
        self._seal = seal
        self._learn = learn
        self._relay = relay
        self._ttl = ttl
        self._remembered = remembered
        self._known: OrderedDict[bytes | None, Session] = OrderedDict()
        self._new: OrderedDict[bytes | None, Session] = OrderedDict()
        self._known_bytes = 0  # of tokens, which is what the size of a session follows from
        self._by_id: dict[str | None, Session] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        self.missed: Callable[[str], None] = lambda uri: None
        self.streaming: dict[str | None, Watched] = {}
        relay.on("session", self._changed_elsewhere)
        relay.on_gap(self._heard_nothing)

    def create(
        self, params: InitializeRequestParams, revision: str, principal: str | None
    ) -> tuple[Session, str]:
        """Return a new session, and the token that is its id for the client (R-310, R-311).

        It is kept in mind for a moment, since the client nearly always comes back at once.

        Raises:
            RpcError: INVALID_PARAMS if the client says more about itself than a header can carry.
        """
        session_id, now = os.urandom(16), time.time()
        info, capabilities = params.client_info, params.capabilities
        ticket = _Ticket(
            session_id=session_id,
            revision=revision,
            opened=now,
            idle_time=self._ttl,
            principal=principal,
            name=info.name[:_LONGEST_TEXT],
            version=info.version[:_LONGEST_TEXT],
            title=None if info.title is UNSET else info.title[:_LONGEST_TEXT],
            capabilities=msgspec.json.encode(capabilities),
        )
        token = self._seal.seal(msgspec.msgpack.encode(ticket), _PURPOSE)
        if len(token) > _LONGEST_TOKEN:  # extension settings may be long; the names of extensions are not
            capabilities = _shortened(capabilities)
            ticket.capabilities = msgspec.json.encode(capabilities)
            token = self._seal.seal(msgspec.msgpack.encode(ticket), _PURPOSE)
        if len(token) > _LONGEST_TOKEN:
            raise RpcError(INVALID_PARAMS, "Invalid params: capabilities are too long for a session")
        session = Session(_peer(ticket, capabilities), now, self._ttl, self)
        self._rely_on(session, Record(), now)
        self._remember(self._new, _NEWCOMERS, token.encode(), session)
        return session, token

    def known(self, token: bytes | None, principal: str | None) -> Session | None:
        """Return the live session of a token, if that is known without asking anybody; nearly always it is."""
        session = self._known.get(token)
        now = time.monotonic()
        if session is None or session.fresh_until <= now or session.peer.principal != principal:
            return None
        session.last_call = now  # to keep them in order as well would cost each call more
        return session

    async def find(self, token: bytes, principal: str | None) -> Session | None:
        """Return the live session of a token, or None for anything that is not one of this principal's."""
        session = self._known.get(token)
        if session is None:
            session = self._new.pop(token, None) or self._open(token)
            if session is None and self._learn is not None:
                await self._learn(lambda: self._open(token) is not None)
                session = self._open(token)
            if session is None:
                return None
            self._remember(self._known, self._remembered, token, session)
        if session.peer.principal != principal:
            return None
        session.last_call = time.monotonic()
        if session.fresh_until <= time.monotonic() and not await self._refresh(session):
            return None
        return session

    def _remember(
        self, among: OrderedDict[bytes | None, Session], limit: int, token: bytes, session: Session
    ) -> None:
        """Keep a session, and forget those that were not used for the longest time if there are too many."""
        if among is self._known and token not in among:
            self._known_bytes += len(token)
        among[token] = self._by_id[session.peer.session_id] = session
        session.last_call = time.monotonic()
        if len(among) > limit:
            self._forget_unused(among, len(among) - limit + limit // 8)  # some more, so that it is rare
        while among is self._known and self._known_bytes > limit * _USUAL_TOKEN and len(among) > 1:
            self._forget_unused(among, 1 + len(among) // 8)

    def _forget_unused(self, among: OrderedDict[bytes | None, Session], count: int) -> None:
        """Forget the sessions that were not used for the longest time."""
        oldest = sorted(among.items(), key=lambda entry: entry[1].last_call)[:count]
        for token, session in oldest:
            del among[token]
            if among is self._known:
                self._known_bytes -= len(token or b"")
            if self._by_id.get(session.peer.session_id) is session:
                del self._by_id[session.peer.session_id]

    async def keep(self, session: Session) -> bool:
        """Take in that a session is in use, as `Session.keep` does."""
        return session.fresh_until > time.monotonic() or await self._refresh(session, in_use=True)

    async def _refresh(self, session: Session, *, in_use: bool = False) -> bool:
        """Ask the store, and return whether the session lives; note its use, if that is due.

        While the store does not answer, what it said last counts, and a session that is used does not end.

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
                self._rely_on(session, record, now)
                return True
        raise StoreError("a session is being changed by too many requests at once")

    async def _note_use(self, session: Session, now: float) -> Record:
        """Write down that a session is used, unless another worker just has, and return what is kept then.

        Raises:
            StoreError: it could not be written.
        """
        key, keys = _key(session.peer.session_id), self._relay.store.keys
        for _ in range(_ATTEMPTS):
            kept = await keys.get(key)
            record = _read(kept)
            if record.ended or not _is_due(session, record, now):
                return record
            record.used = now
            if await keys.swap(key, kept, msgspec.json.encode(record), session.longest_idle):
                return record
        raise StoreError("a session is being changed by too many requests at once")

    def _rely_on(self, session: Session, record: Record, now: float) -> None:
        """Ask nobody for a while, but no longer than until the next use is to be written down."""
        session.record = record.without_resources()
        written = max(session.opened, record.used)
        session.used = max(session.used, written)
        fresh = FRESH if self._relay.shared else _FRESH_ALONE
        left = written + session.idle_time * _RENEWED_AFTER - now
        session.fresh_until = time.monotonic() + min(fresh, left)

    async def record(self, session_id: str | None) -> Record:
        """Return what has changed in a session since its handshake, as the store has it now.

        Raises:
            StoreError: the store does not say.
        """
        return _read(await self._relay.store.keys.get(_key(session_id)))

    async def change(self, session: Session, edit: Callable[[Record], None]) -> None:
        """Change what is remembered of a session, for as long as it may live.

        Requests of one session run side by side, so what is changed is what the store has now, not what it had
        when the request came in. As something is written anyway, the use is noted with it.

        Raises:
            StoreError: it could not be changed.
        """
        session_id, keys = session.peer.session_id, self._relay.store.keys
        for _ in range(_ATTEMPTS):
            kept = await keys.get(_key(session_id))
            record = _read(kept)
            edit(record)
            record.used = time.time()
            value = ENDED if record.ended else msgspec.json.encode(record)
            if await keys.swap(_key(session_id), kept, value, session.longest_idle):
                break
        else:
            raise StoreError("a session is being changed by too many requests at once")
        self._forget(session_id)
        if session_id in self.streaming:
            self.streaming[session_id] = record.watched
        await self._relay.tell_and_wait("session", session_id)

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
        known = [(session_id, ends - now) for session_id, ends in self._ended.items() if ends > now]
        for start in range(0, len(known), _AT_ONCE):
            await asyncio.gather(*(self._end_again(*each) for each in known[start : start + _AT_ONCE]))
        return len(known)

    async def _end_again(self, session_id: str, left: float) -> None:
        keys = self._relay.store.keys
        for _ in range(_ATTEMPTS):
            kept = await keys.get(_key(session_id))
            if _read(kept).ended or await keys.swap(_key(session_id), kept, ENDED, left):
                return

    # -- what other workers say --------------------------------------------------------------------------------

    def _forget(self, session_id: str | None) -> None:
        session = self._by_id.get(session_id)
        if session is not None:
            session.changes += 1
            session.fresh_until, session.record = 0.0, None

    def _changed_elsewhere(self, session_id: str) -> None:
        self._forget(session_id)
        if session_id in self.streaming:
            self._relay.soon(self._watch_anew(session_id))

    def _heard_nothing(self) -> None:
        """Rely on nothing: other workers may have said what never arrived."""
        for session in self._by_id.values():
            session.changes += 1
            session.fresh_until = 0.0
        for session_id in self.streaming:
            if session_id is not None:
                self._forget(session_id)
                self._relay.soon(self._watch_anew(session_id, after_gap=True))

    async def _watch_anew(self, session_id: str, *, after_gap: bool = False) -> None:
        try:
            record = await self.record(session_id)
        except StoreError:
            return
        if session_id in self.streaming:
            before = self.streaming[session_id]
            self.streaming[session_id] = record.watched
            if after_gap:  # of the others a change was announced when the gap was noticed
                for uri in record.watched.keys() - before.keys():
                    self.missed(uri)

    def _open(self, token: bytes) -> Session | None:
        if len(token) > _LONGEST_TOKEN:
            return None
        content = self._seal.open(token, _PURPOSE)
        if content is None:
            return None
        try:
            ticket = msgspec.msgpack.decode(content, type=_Ticket)
            capabilities = msgspec.json.decode(ticket.capabilities, type=ClientCapabilities)
            return Session(_peer(ticket, capabilities), ticket.opened, ticket.idle_time, self)
        except msgspec.DecodeError:  # sealed by another version of this package
            return None


def _read(kept: bytes | None) -> Record:
    return Record() if kept is None else msgspec.json.decode(kept, type=Record)


def _is_due(session: Session, record: Record, now: float) -> bool:
    """Whether the use of a session is to be written down."""
    return now - max(session.opened, record.used) >= session.idle_time * _RENEWED_AFTER


def _key(session_id: str | None) -> str:
    return f"session:{session_id}"


def _peer(ticket: _Ticket, capabilities: ClientCapabilities) -> Peer:
    title: str | UnsetType = UNSET if ticket.title is None else ticket.title
    return Peer(
        revision=ticket.revision,
        client_info=Implementation(name=ticket.name, version=ticket.version, title=title),
        capabilities=capabilities,
        principal=ticket.principal,
        session_id=ticket.session_id.hex(),
    )


def _shortened(capabilities: ClientCapabilities) -> ClientCapabilities:
    """Return the capabilities without experiments and without the settings of extensions."""
    extensions = capabilities.extensions
    return msgspec.structs.replace(
        capabilities,
        experimental=UNSET,
        extensions=UNSET if extensions is UNSET else {name: {} for name in extensions},
    )
