"""The store for many hosts: a Redis (6.2 or newer) or Valkey server.

Keys are plain values with an expiry, a stream of events is a stream of Redis, and messages use pub/sub. The
commands of all callers share connections (`connection.py`). A Redis Cluster is not supported: there, the keys of
one stream may be on different nodes.

The easy thing to get wrong is a write that is sent again, because a connection broke before its reply came. So
the id of an entry in Redis is its position, which the server does not accept twice.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from enfilade.state.store import Bus, EventLog, Keys, LogLimits, StoreError, StreamSlice
from enfilade.timings import Timings

if TYPE_CHECKING:
    from enfilade.state.limits.claims import Limits
    from enfilade.state.outcomes.claims import Outcomes
    from enfilade.state.outcomes.decisions import Results
    from enfilade.state.redis.connection import Connections
    from enfilade.state.tasks.records import Tasks

_PAGE: Final = 512  # most entries read or written in one step, as the server does nothing else meanwhile
_PAGE_SIZE: Final = 256 * 1024  # bytes after which a page is full
_LONGEST_TTL: Final = 10**11  # seconds; Redis refuses a longer one
_REMEMBERED: Final = 6144  # streams whose last renewal is remembered, at most twice as many

# ARGV: expected value, new value, milliseconds (0: no expiry). A value has "=" in front of it, no value is "".
_SWAP: Final = b"""
local found, old, new = redis.call('GET', KEYS[1]), ARGV[1], ARGV[2]
found = found and '=' .. found or ''
if found ~= old then return found == new and 1 or 0 end
if new == '' then redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then redis.call('SET', KEYS[1], string.sub(new, 2))
else redis.call('SET', KEYS[1], string.sub(new, 2), 'PX', ARGV[3]) end
return 1
"""

# Several entries in one step that ends with the first failure: no entry is stored without those before it.
_APPEND: Final = b"""
for i = 2, #ARGV, 2 do
  local reply = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[1], ARGV[i], 'e', ARGV[i + 1])
  if not reply then return false end
  if type(reply) == 'table' and reply.err and not string.find(reply.err, 'equal or smaller', 1, true) then
    return reply
  end
end
return 1
"""

# The head and the first entry in one step. ARGV after the arguments: head, entry. Done again, it changes nothing.
_BEGIN: Final = b"""
local entries, position, expiry = unpack(cmsgpack.unpack(ARGV[1]))
local is_new = redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', expiry)
local reply = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', entries, position, 'e', ARGV[3])
if type(reply) == 'table' and reply.err and not string.find(reply.err, 'equal or smaller', 1, true) then
  return reply
end
redis.call('PEXPIRE', KEYS[2], expiry)
if not is_new then redis.call('PEXPIRE', KEYS[1], expiry) end
return 1
"""

# One entry for each of many streams. ARGV after the arguments: all entries, one behind the other.
# Only streams whose renewal is due are renewed: two more commands, a quarter of the work.
_APPEND_EACH: Final = b"""
local heads, logs, max, expiry, appended = unpack(cmsgpack.unpack(ARGV[1]))
local start, replies = 1, {}
for i, entry in ipairs(appended) do
  local stream, position, length, is_due = unpack(entry)
  local data = string.sub(ARGV[2], start, start + length - 1)
  start = start + length
  local reply = redis.pcall('XADD', logs .. stream, 'NOMKSTREAM', 'MAXLEN', '~', max, position, 'e', data)
  local is_error = type(reply) == 'table' and reply.err
  local done = reply and (not is_error or string.find(reply.err, 'equal or smaller', 1, true))
  if done and is_due then
    done = redis.call('PEXPIRE', logs .. stream, expiry) == 1
    done = done and redis.call('PEXPIRE', heads .. stream, expiry) == 1
  end
  replies[i] = done and 1 or 0
end
return replies
"""
_IS_STORED: Final = "equal or smaller"  # in the error of Redis for an entry whose position is not above the last

# In one step, so that `first` is consistent with the entries although others trim; in bytes that fit one reply.
_READ: Final = b"""
local head = redis.call('GET', KEYS[1])
if not head or redis.call('EXISTS', KEYS[2]) == 0 then return false end
local first = redis.call('XRANGE', KEYS[2], '1-0', '+', 'COUNT', 1)[1]
local from, found, size = ARGV[1], {}, 0
while #found < 2 * tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local page = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 32)
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    found[#found + 1], found[#found + 2] = entry[1], entry[2][2]
    size = size + #entry[2][2]
    if size >= tonumber(ARGV[3]) then break end
  end
  from = '(' .. found[#found - 1]
end
return {head, first and first[1] or '', found}
"""


class RedisKeys:
    """`Keys` as plain values."""

    def __init__(self, connections: "Connections", prefix: str) -> None:
        self._connections = connections
        self._prefix = f"{prefix}key:"

    async def get(self, key: str) -> bytes | None:
        [value] = await self._connections.commands.execute((b"GET", self._name(key)))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        name, end = self._name(key), _milliseconds(ttl)
        if end is None:
            await self._connections.commands.execute((b"SET", name, value))
        elif end > 0:
            await self._connections.commands.execute((b"SET", name, value, b"PX", b"%d" % end))
        else:
            await self.delete(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        end = _milliseconds(ttl)
        if end is not None and end <= 0:
            new = None
        expected, replacement = (b"" if value is None else b"=" + value for value in (old, new))
        command = (b"EVAL", _SWAP, b"1", self._name(key), expected, replacement, b"%d" % (end or 0))
        [reply] = await self._connections.commands.execute(command)
        return reply == 1

    async def delete(self, key: str) -> None:
        await self._connections.commands.execute((b"DEL", self._name(key)))

    def _name(self, key: str) -> bytes:
        return (self._prefix + key).encode()


class RedisLog:
    """`EventLog` as streams of Redis, each with a key for its head.

    Entries of a stream may be appended without waiting for those before. But if one of these fails, later ones
    may succeed, and appending the failed one again is then ignored: a caller that does not wait must give up the
    stream.

    Args:
        connections: to the server.
        prefix: of all keys.
        limits: age and entries count; the server limits its memory itself.
    """

    private = False

    def __init__(self, connections: "Connections", prefix: str, limits: LogLimits) -> None:
        from enfilade.state.redis.scripts import Script  # imports redis, which may not be installed

        self._connections = connections
        self._prefix = prefix
        self._begin = Script(_BEGIN)
        self._append_each = Script(_APPEND_EACH)
        self._max_entries = b"%d" % limits.entries
        # A sixteenth longer than the age, so that it is not renewed with each entry.
        self._grace = limits.age / 16
        self._expiry = b"%d" % max(1, _milliseconds(limits.age + self._grace) or 1)
        self._renewed: dict[str, float] = {}
        self._renewed_before: dict[str, float] = {}  # what `_renewed` was before it became too large

    async def open(self, stream: str, head: bytes) -> None:
        key, log = self._names(stream)
        # An entry below the first position, so that the stream exists, and its expiry can be detected. It is
        # removed at once, since a stream without entries takes no page: most streams of sessions wait for long.
        marker = (b"XADD", log, b"MAXLEN", b"0", b"0-1", b"", b"")
        set_head = (b"SET", key, head, b"NX", b"PX", self._expiry)
        self._check(await self._connections.commands.execute_unchecked(set_head, marker, *self._renewal(stream)))
        self._note_renewal(stream)

    async def begin(self, stream: str, head: bytes, entry: tuple[int, bytes]) -> None:
        arguments = (int(self._max_entries), f"{entry[0]}-0", int(self._expiry))
        await self._begin.run(self._connections, self._names(stream), arguments, head, entry[1])
        self._note_renewal(stream)

    async def append_each(self, entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        names = f"{self._prefix}head:", f"{self._prefix}log:"
        limit = time.monotonic() - self._grace
        appended = [
            (stream, f"{position}-0", len(data), self._last_renewal(stream) <= limit)
            for stream, position, data in entries
        ]
        arguments = (*names, int(self._max_entries), int(self._expiry), appended)
        data = b"".join([entry[2] for entry in entries])
        replies = await self._append_each.run(self._connections, (), arguments, data)
        assert isinstance(replies, list)
        for (stream, _, _, is_due), reply in zip(appended, replies, strict=True):
            if is_due and reply == 1:
                self._note_renewal(stream)
        return [reply == 1 for reply in replies]

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        for start in range(0, len(entries), _PAGE):
            await self._append(stream, entries[start : start + _PAGE])

    async def _append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        log = self._names(stream)[1]
        if len(entries) == 1:
            [(position, entry)] = entries
            trim = (b"NOMKSTREAM", b"MAXLEN", b"~", self._max_entries)
            add: tuple[bytes, ...] = (b"XADD", log, *trim, b"%d-0" % position, b"e", entry)
        else:
            ids_and_entries = [arg for position, entry in entries for arg in (b"%d-0" % position, entry)]
            add = (b"EVAL", _APPEND, b"1", log, self._max_entries, *ids_and_entries)
        is_due = time.monotonic() - self._last_renewal(stream) >= self._grace
        replies = await self._connections.commands.execute_unchecked(
            add, *(self._renewal(stream) if is_due else ())
        )
        self._check(replies)
        if replies[0] is None or 0 in replies[1:]:
            raise StoreError("the stream was never opened, was dropped or has expired")
        if is_due:
            self._note_renewal(stream)

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        start = b"(%d-0" % after if after > 0 else b"1-0"
        limits = (b"%d" % _PAGE, b"%d" % _PAGE_SIZE)
        [reply] = await self._connections.reads.execute(
            (b"EVAL", _READ, b"2", *self._names(stream), start, *limits)
        )
        match reply:
            case [bytes(head), bytes(first), list(flat)]:
                values = [value for value in flat if isinstance(value, bytes)]
                entries = [
                    (_position(name), entry) for name, entry in zip(values[::2], values[1::2], strict=True)
                ]
                return StreamSlice(head, entries, _position(first) if first else None)
        return None

    async def last(self, stream: str) -> int:
        log = self._names(stream)[1]
        [reply] = await self._connections.reads.execute((b"XREVRANGE", log, b"+", b"1-0", b"COUNT", b"1"))
        match reply:
            case [[bytes(name), *_]]:
                return _position(name)
        return 0

    async def touch(self, stream: str) -> None:
        await self._connections.commands.execute(*self._renewal(stream))

    async def drop(self, stream: str) -> None:
        self._renewed.pop(stream, None)
        self._renewed_before.pop(stream, None)
        await self._connections.commands.execute((b"UNLINK", *self._names(stream)))

    def _names(self, stream: str) -> tuple[bytes, bytes]:
        return f"{self._prefix}head:{stream}".encode(), f"{self._prefix}log:{stream}".encode()

    def _renewal(self, stream: str) -> list[tuple[bytes, ...]]:
        return [(b"PEXPIRE", name, self._expiry) for name in self._names(stream)]

    def _last_renewal(self, stream: str) -> float:
        return self._renewed.get(stream) or self._renewed_before.get(stream, -math.inf)

    def _note_renewal(self, stream: str) -> None:
        if len(self._renewed) >= _REMEMBERED:  # to forget costs two short commands for each stream in use
            self._renewed_before, self._renewed = self._renewed, {}
        self._renewed[stream] = time.monotonic()

    def _check(self, replies: Sequence[object]) -> None:
        for reply in replies:
            if isinstance(reply, Exception) and _IS_STORED not in str(reply):
                raise self._connections.availability.explain(reply)


class RedisStore:
    """`Store` on a Redis or Valkey server.

    Args:
        url: see `server.Address`.
        limits: limits of the event log.
        timings: of the connections.

    Raises:
        ValueError: the client is not installed, or the URL cannot be read.
    """

    shared = True

    def __init__(self, url: str, limits: LogLimits, timings: Timings = Timings()) -> None:
        try:
            from enfilade.state.redis.server import ServerAddress
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "redis":
                raise
            scheme = url.partition("://")[0]
            raise ValueError(f'store={scheme}://... needs: pip install "enfilade[redis]"') from None
        from enfilade.state.redis.bus import RedisBus
        from enfilade.state.redis.connection import Connections

        address = ServerAddress(url, timings)
        self._connections = Connections(address, timings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bus = RedisBus(address, self._connections, timings)
        self.keys: Keys = RedisKeys(self._connections, address.prefix)
        self.log: EventLog = RedisLog(self._connections, address.prefix, limits)
        self.bus: Bus = self._bus
        self._prefix = address.prefix
        self._call_limits: Limits | None = None
        self._call_outcomes: Outcomes | None = None
        self._whole_results: Results | None = None
        self._durable_tasks: Tasks | None = None

    @property
    def limits(self) -> "Limits":
        """What decides about limits of calls, made when it is first used."""
        if self._call_limits is None:
            from enfilade.state.limits.redis_limits import RedisLimits

            self._call_limits = RedisLimits(self._connections, self._prefix)
        return self._call_limits

    @property
    def outcomes(self) -> "Outcomes":
        """What decides about outcomes that calls share, made when it is first used."""
        if self._call_outcomes is None:
            from enfilade.state.outcomes.redis_outcomes import RedisOutcomes

            self._call_outcomes = RedisOutcomes(self._connections, self._prefix)
        return self._call_outcomes

    @property
    def results(self) -> "Results":
        """What keeps whole results within their room, made when it is first used."""
        if self._whole_results is None:
            from enfilade.state.outcomes.redis_outcomes import RedisResults

            self._whole_results = RedisResults(self._connections, self._prefix)
        return self._whole_results

    @property
    def tasks(self) -> "Tasks":
        """Records of tasks, made when they are first used."""
        if self._durable_tasks is None:
            from enfilade.state.tasks.redis_tasks import RedisTasks

            self._durable_tasks = RedisTasks(self._connections, self._prefix)
        return self._durable_tasks

    @property
    def unavailable(self) -> bool:
        return self._connections.availability.is_lost

    async def start(self) -> None:
        """Start listening to messages; other connections are opened when they are needed.

        In another event loop than before, the store starts anew; pending calls of the other loop get no outcome.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            self._abandon()
        self._loop = loop
        self._connections.open()
        await self._bus.start()

    async def close(self) -> None:
        """Give pending calls a moment to end, and close all connections."""
        if self._loop is not asyncio.get_running_loop():
            self._abandon()
        else:
            self._loop = None
            await self._bus.close()
            await self._connections.close()

    def _abandon(self) -> None:
        self._loop = None
        self._bus.abandon()
        self._connections.abandon()


def _milliseconds(ttl: float | None) -> int | None:
    return None if ttl is None else math.ceil(min(ttl, _LONGEST_TTL) * 1000)


def _position(name: bytes) -> int:
    return int(name.partition(b"-")[0])
