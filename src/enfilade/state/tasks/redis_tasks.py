"""Tasks that are shared by many hosts: each operation is one script, and one round trip.

A record is a hash of its value and of `record`, the other members; so a lease is renewed without the value, which
may be large. Five kinds of sorted sets lead to records: by the time at which they are due, by the time at which
they end, by the time at which these were set, and by position, for all owners and for each. Times are those of
the server, in microseconds.

Easy to get wrong: a hash that has expired, as its entries in the sorted sets remain. What ends has an entry that
says what the others are, and each operation that writes removes some of those. Others are removed when they are
met: of records that the server has evicted, or another program has deleted.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from enfilade.state.redis.scripts import Script
from enfilade.state.store import StoreError
from enfilade.state.tasks.records import (
    CLOCK_SLACK,
    LONGEST,
    MOST_TAKEN,
    Created,
    Due,
    Full,
    NewTask,
    TaskRecord,
    check_cursor,
    creation_of,
)

if TYPE_CHECKING:
    from enfilade.state.redis.connection import Connections, Reply

_MICROSECONDS: Final = 1_000_000

#: Records that an operation removes at most as they are no longer kept, and that begin anew at most after the
#: clock was set back, so that it takes a bounded time.
_STEPS: Final = 32
_LATE_STEPS: Final = 1000

#: Milliseconds for which the server knows what it took, if it is asked again as the reply was lost.
_TAKEN_AGE: Final = 30_000

#: Bytes of values after which a script that reads a page ends.
_PAGE_SIZE: Final = 256 * 1024

# A record is {owner, version, position, since, due, ends, is_written}; `due` and `ends` are false for never, and
# `is_written` is true if its version is from a write. `live` returns the record with an id, and cleans up if
# there is none. What ends has the entry {id, owner, position} in the set `ends`.
_SHARED: Final = b"""
local args = cmsgpack.unpack(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local due_set, ends_set, since_set = args.prefix .. 'due', args.prefix .. 'ends', args.prefix .. 'since'
local all_set = args.prefix .. 'all'
local function text(number) return string.format('%.0f', number) end
local function key_of(id) return args.prefix .. 'record:' .. id end
local function set_of(owner) return args.prefix .. 'owner:' .. owner end
local function record_of(id)
  local stored = redis.call('HGET', key_of(id), 'record')
  return stored and cmsgpack.unpack(stored)
end
local function end_entry(id, record) return cmsgpack.pack({id, record[1], record[3]}) end
local function remove(id, owner, position)
  redis.call('UNLINK', key_of(id))
  redis.call('ZREM', due_set, id)
  redis.call('ZREM', since_set, id)
  redis.call('ZREM', ends_set, cmsgpack.pack({id, owner, position}))
  redis.call('ZREM', all_set, position)
  redis.call('ZREM', set_of(owner), position)
end
local function remove_expired(steps)
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', ends_set, '-inf', text(now), 'LIMIT', '0', text(steps))) do
    remove(unpack(cmsgpack.unpack(entry)))
  end
end
local function live(id)
  local record = record_of(id)
  if not record then
    redis.call('ZREM', due_set, id)
    redis.call('ZREM', since_set, id)
    return false
  end
  if record[6] and record[6] <= now then
    remove(id, record[1], record[3])
    return false
  end
  return record
end
local function put(id, record)
  redis.call('HSET', key_of(id), 'record', cmsgpack.pack(record))
  redis.call('ZADD', since_set, text(record[4]), id)
  if record[5] then redis.call('ZADD', due_set, text(record[5]), id) else redis.call('ZREM', due_set, id) end
end
local function put_end(id, record)
  if record[6] then
    redis.call('ZADD', ends_set, text(record[6]), end_entry(id, record))
    redis.call('PEXPIRE', key_of(id), text(math.max(1, math.ceil((record[6] - now) / 1000))))
  else
    redis.call('ZREM', ends_set, end_entry(id, record))
    redis.call('PERSIST', key_of(id))
  end
end
local function reply_of(id, record)
  local value = redis.call('HGET', key_of(id), 'value')
  return {id, record[1], value, record[2], record[3], record[5] and record[5] - now}, #value
end
"""

_CREATE: Final = Script(
    _SHARED
    + b"""
if live(args.id) then return 1 end
remove_expired(args.steps)
local own_set = set_of(args.owner)
local function own_full() return redis.call('ZCARD', own_set) >= args.own_limit end
local function full() return redis.call('ZCARD', all_set) >= args.limit end
if own_full() or full() then remove_expired(redis.call('ZCARD', ends_set)) end
if own_full() then return -1 end
if full() then return 0 end
local position = string.format('%016.0f', now) .. args.id
redis.call('HSET', key_of(args.id), 'value', ARGV[2])
put(args.id, {args.owner, 1, position, now, now + args.due, false, false})
redis.call('ZADD', all_set, '0', position)
redis.call('ZADD', own_set, '0', position)
return 1
"""
)

_READ: Final = Script(
    _SHARED
    + b"""
local record = live(args.id)
return record and (reply_of(args.id, record))
"""
)

_WRITE: Final = Script(
    _SHARED
    + b"""
remove_expired(args.steps)
local record = live(args.id)
if not record then return 0 end
if record[2] ~= args.version then
  local is_same = record[7] and record[2] == args.version + 1
  return is_same and redis.call('HGET', key_of(args.id), 'value') == ARGV[2] and 1 or 0
end
record[2], record[4], record[7] = record[2] + 1, now, true
record[5], record[6] = args.due and now + args.due or false, args.ttl and now + args.ttl or false
redis.call('HSET', key_of(args.id), 'value', ARGV[2])
put(args.id, record)
put_end(args.id, record)
return 1
"""
)

# The server remembers what it took under the ticket of the caller: {id, version} of each.
_TAKE_DUE: Final = Script(
    _SHARED
    + b"""
local memo, tasks = args.prefix .. 'taken:' .. args.ticket, {}
local taken = redis.call('GET', memo)
local late = {}
if taken then
  for _, pair in ipairs(cmsgpack.unpack(taken)) do
    local record = live(pair[1])
    if record and record[2] == pair[2] then tasks[#tasks + 1] = reply_of(pair[1], record) end
  end
else
  remove_expired(args.steps)
  late = redis.call('ZRANGEBYSCORE', since_set, text(now + args.slack), '+inf', 'LIMIT', '0', args.late_steps)
  for _, id in ipairs(late) do
    local record = live(id)
    if record then
      local by = record[4] - now
      record[4] = now
      record[5], record[6] = record[5] and record[5] - by, record[6] and record[6] - by
      put(id, record)
      put_end(id, record)
    end
  end
  local size, pairs_taken = 0, {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_set, '-inf', text(now), 'LIMIT', '0', args.most)) do
    local record = live(id)
    if record then
      record[2], record[4], record[5], record[7] = record[2] + 1, now, now + args.lease, false
      put(id, record)
      local reply, length = reply_of(id, record)
      tasks[#tasks + 1], pairs_taken[#pairs_taken + 1] = reply, {id, record[2]}
      size = size + length
      if size >= args.size then break end
    end
  end
  if #tasks > 0 then redis.call('SET', memo, cmsgpack.pack(pairs_taken), 'PX', args.age) end
end
local first = redis.call('ZRANGEBYSCORE', due_set, '-inf', '+inf', 'WITHSCORES', 'LIMIT', '0', '1')[2]
if #late == args.late_steps then first = '0' end
return {tasks, first and math.max(0, tonumber(first) - now) or false}
"""
)

_RENEW: Final = Script(
    _SHARED
    + b"""
remove_expired(args.steps)
local lost = {}
for index, id in ipairs(args.ids) do
  local record = live(id)
  if record and record[2] == args.versions[index] and record[5] then
    record[4], record[5] = now, now + args.lease
    put(id, record)
  else
    lost[#lost + 1] = id
  end
end
return lost
"""
)

# Returns the records, and the last position if there may be more.
_PAGE: Final = Script(
    _SHARED
    + b"""
local set = args.owner and set_of(args.owner) or all_set
local after = args.after == '' and '-' or '(' .. args.after
local positions = redis.call('ZRANGEBYLEX', set, after, '+', 'LIMIT', '0', args.most)
local records, size, last = {}, 0, ''
for index, position in ipairs(positions) do
  local id = string.sub(position, 17)
  local record = live(id)
  if record then
    local reply, length = reply_of(id, record)
    records[#records + 1], size = reply, size + length
  else
    redis.call('ZREM', set, position)
    redis.call('ZREM', all_set, position)
  end
  if size >= args.size or index == args.most then
    last = position
    break
  end
end
return {records, last}
"""
)

_DELETE: Final = Script(
    _SHARED
    + b"""
remove_expired(args.steps)
local record = record_of(args.id)
if record then remove(args.id, record[1], record[3]) end
return 1
"""
)


class RedisTasks:
    """`Tasks` in a Redis or Valkey server.

    Args:
        connections: to the server.
        prefix: of all keys.
    """

    is_local = False

    def __init__(self, connections: "Connections", prefix: str) -> None:
        self._connections = connections
        self._prefix = f"{prefix}tasks:"

    def of(self, server: str) -> "RedisTasks":
        digest = hashlib.sha256(server.encode("utf-8", "replace")).hexdigest()[:16]
        return RedisTasks(self._connections, f"{self._prefix}{digest}:")

    async def create(self, task: NewTask) -> Created | Full:
        reply = await self._run(
            _CREATE,
            task.value,
            id=task.id,
            owner=task.owner,
            due=_microseconds(task.due),
            own_limit=task.own_limit,
            limit=task.limit,
        )
        return Created() if reply == 1 else Full(is_own=reply == -1)

    async def read(self, id: str) -> TaskRecord | None:
        reply = await self._run(_READ, id=id, is_read=True)
        return None if reply is None else _as_record(reply)

    async def write(self, id: str, version: int, value: bytes, *, due: float | None, ttl: float | None) -> bool:
        reply = await self._run(
            _WRITE, value, id=id, version=version, due=_microseconds(due), ttl=_microseconds(ttl)
        )
        return reply == 1

    async def take_due(self, lease: float, most: int) -> Due:
        reply = await self._run(
            _TAKE_DUE,
            lease=_microseconds(lease),
            most=most,
            ticket=os.urandom(8).hex(),
            size=MOST_TAKEN,
            slack=_microseconds(CLOCK_SLACK),
            late_steps=_LATE_STEPS,
            age=_TAKEN_AGE,
        )
        match reply:
            case [list(tasks), int() | None as next_due]:
                return Due(
                    [_as_record(task) for task in tasks], None if next_due is None else next_due / _MICROSECONDS
                )
        raise StoreError(f"the store took tasks by {reply!r}")

    async def renew(self, versions: Mapping[str, int], lease: float) -> list[str]:
        reply = await self._run(
            _RENEW, ids=list(versions), versions=list(versions.values()), lease=_microseconds(lease)
        )
        return [id.decode() for id in reply if isinstance(id, bytes)] if isinstance(reply, list) else []

    async def page(self, owner: str | None, after: str | None, most: int) -> list[TaskRecord]:
        records: list[TaskRecord] = []
        last = "" if after is None else check_cursor(after)
        while len(records) < most:
            reply = await self._run(
                _PAGE, is_read=True, owner=owner, after=last, most=most - len(records), size=_PAGE_SIZE
            )
            match reply:
                case [list(page), bytes(position)]:
                    records += [_as_record(record) for record in page]
                    last = position.decode()
                case _:
                    raise StoreError(f"the store read a page by {reply!r}")
            if not last:
                break
        return records

    async def delete(self, id: str) -> None:
        await self._run(_DELETE, id=id)

    async def _run(self, script: Script, *value: bytes, is_read: bool = False, **arguments: object) -> "Reply":
        arguments |= {"prefix": self._prefix, "steps": _STEPS}
        return await script.run(self._connections, (), arguments, *value, is_read=is_read)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(min(seconds, LONGEST) * _MICROSECONDS)


def _as_record(reply: "Reply") -> TaskRecord:
    match reply:
        case [bytes(id), bytes(owner), bytes(value), int(version), bytes(position), int() | None as due]:
            created = creation_of(position.decode())
            seconds = None if due is None else due / _MICROSECONDS
            return TaskRecord(id.decode(), owner.decode(), value, version, created, seconds)
    raise StoreError(f"the store has a record of another form: {reply!r}")
