"""Outcomes that are shared by many hosts: each decision is one script, and one round trip.

The scripts do what `decisions.py` does. Times are those of the server, in microseconds.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from enfilade.state.limits.decisions import CLOCK_TICK
from enfilade.state.outcomes.claims import (
    VERSION_AGE,
    Begun,
    Bound,
    Claim,
    Decision,
    Differs,
    Finish,
    Finished,
    Full,
    Kept,
    Running,
)
from enfilade.state.outcomes.decisions import MOST_RESULTS, QUEUE_GRACE, STEPS, StoredResult
from enfilade.state.redis.scripts import Script
from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.state.redis.connection import Connections

# KEYS[1] is the entry; a queue for each of `args.bounds` follows, and the others are versions. An entry has the
# members of `_Entry`: ticket, arguments, versions, alive_until, ends, outcome, waiting, is_again.
_SHARED: Final = b"""
local args = cmsgpack.unpack(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function entry_at(key)
  local stored = redis.call('GET', key)
  return stored and cmsgpack.unpack(stored)
end
local function put(key, value, microseconds)
  local ttl = math.max(1, math.ceil(microseconds / 1000))
  redis.call('SET', key, cmsgpack.pack(value), 'PX', string.format('%.0f', ttl))
end
local function versions()
  local list = {}
  for index = #args.bounds + 2, #KEYS do list[#list + 1] = redis.call('GET', KEYS[index]) or '' end
  return list
end
local function same(one, other)
  if #one ~= #other then return false end
  for index, version in ipairs(one) do if version ~= other[index] then return false end end
  return true
end
local function ends_of_queue(queue)
  return unpack(entry_at(queue) or {0, 0})
end
local function place_key(queue, number) return queue .. ':' .. string.format('%.0f', number) end
local function without_oldest(queue, first, last, surplus)
  for _ = 1, args.steps do
    if first >= last then break end
    local place = entry_at(place_key(queue, first))
    if place then
      if place[3] > now then
        if surplus <= 0 then break end
        local entry = entry_at(place[1])
        if entry and entry[1] == place[2] then redis.call('DEL', place[1]) end
      end
      redis.call('DEL', place_key(queue, first))
    end
    first, surplus = first + 1, surplus - 1
  end
  return first
end
"""

_CLAIM: Final = Script(
    _SHARED
    + b"""
local current, entry, is_again = versions(), entry_at(KEYS[1]), 0
local is_late = entry and entry[6] and args.kept_for and entry[5] > now + args.kept_for + args.clock_tick
if entry and same(entry[3], current) and not is_late then
  if entry[2] ~= args.arguments then return {'differs'} end
  if entry[6] then return {'kept', entry[6]} end
  if entry[1] ~= args.ticket then
    if entry[4] > now then
      local worker, latest, is_known = string.match(args.ticket, '^[^.]*'), now + args.lease, false
      for _, waiting in ipairs(entry[7]) do is_known = is_known or waiting == worker end
      if is_known and entry[4] <= latest + args.clock_tick then return {'running'} end
      if not is_known then entry[7][#entry[7] + 1] = worker end
      entry[4] = math.min(entry[4], latest)
      put(KEYS[1], entry, entry[5] - now)
      return {'running'}
    end
    is_again = 1
  else
    is_again = entry[8]
  end
end
for index, bound in ipairs(args.bounds) do
  local queue, count, evicts = KEYS[index + 1], bound[1], bound[2]
  local first, last = ends_of_queue(queue)
  if not evicts and last - first >= count then
    local kept = without_oldest(queue, first, last, 0)
    if kept ~= first then
      local newest = entry_at(place_key(queue, last - 1))
      put(queue, {kept, last}, (newest and math.max(0, newest[3] - now) or 0) + args.grace)
    end
    if last - kept >= count then return {'full', index} end
  end
end
local waiting = entry and not entry[6] and entry[7] or {}
local age = math.max(args.age, args.lease)
put(KEYS[1], {args.ticket, args.arguments, current, now + args.lease, now + age, false, waiting, is_again}, age)
return {'begun', is_again}
"""
)

_FINISH: Final = Script(
    _SHARED
    + b"""
local entry = entry_at(KEYS[1])
if not entry or entry[1] ~= args.ticket then return {0, {}} end
if entry[6] then return {1, {}} end
local waiting = entry[7]
if not same(entry[3], versions()) then
  redis.call('DEL', KEYS[1])
  return {0, waiting}
end
entry[5], entry[6], entry[7] = now + args.ttl, ARGV[2], {}
put(KEYS[1], entry, args.ttl)
for index, bound in ipairs(args.bounds) do
  local queue, count, evicts = KEYS[index + 1], bound[1], bound[2]
  local first, last = ends_of_queue(queue)
  put(place_key(queue, last), {KEYS[1], args.ticket, now + args.ttl}, args.ttl + args.grace)
  last = last + 1
  first = without_oldest(queue, first, last, evicts and last - first - count or 0)
  put(queue, {first, last}, args.ttl + args.grace)
end
return {1, waiting}
"""
)

_RELEASE: Final = Script(
    _SHARED
    + b"""
local entry = entry_at(KEYS[1])
if not entry or entry[1] ~= args.ticket or entry[6] then return {} end
redis.call('DEL', KEYS[1])
return entry[7]
"""
)

_RENEW: Final = Script(
    _SHARED
    + b"""
for index, key in ipairs(KEYS) do
  local entry = entry_at(key)
  if entry and entry[1] == args.tickets[index] and not entry[6] then
    entry[4] = now + args.lease
    entry[5] = math.max(entry[5], entry[4])
    put(key, entry, entry[5] - now)
  end
end
return 1
"""
)

_MICROSECONDS: Final = 1_000_000


class RedisOutcomes:
    """`Outcomes` in a Redis or Valkey server.

    Args:
        connections: to the server.
        prefix: of all keys.
    """

    is_local = False

    def __init__(self, connections: "Connections", prefix: str) -> None:
        self._connections = connections
        self._prefix = f"{prefix}key:"

    async def claim(self, claim: Claim) -> Decision:
        arguments = {
            "ticket": claim.ticket,
            "arguments": claim.arguments,
            "lease": claim.lease * _MICROSECONDS,
            "age": claim.age * _MICROSECONDS,
            "kept_for": False if claim.kept_for is None else claim.kept_for * _MICROSECONDS,
            "clock_tick": CLOCK_TICK * _MICROSECONDS,
            **_bounds(claim.bound, claim.own),
        }
        names = self._names(claim.key, *_queues(claim.bound, claim.own), *claim.versions)
        reply = await _CLAIM.run(self._connections, names, arguments)
        match reply:
            case [b"kept", bytes(outcome)]:
                return Kept(outcome)
            case [b"begun", int(is_again)]:
                return Begun(bool(is_again))
            case [b"running"]:
                return Running()
            case [b"differs"]:
                return Differs()
            case [b"full", int(index)]:
                return Full(index > 1)
        raise StoreError(f"the store decided about a claim by {reply!r}")

    async def finish(self, finish: Finish) -> Finished:
        arguments = {
            "ticket": finish.ticket,
            "ttl": finish.ttl * _MICROSECONDS,
            **_bounds(finish.bound, finish.own),
        }
        names = self._names(finish.key, *_queues(finish.bound, finish.own), *finish.versions)
        reply = await _FINISH.run(self._connections, names, arguments, finish.outcome)
        match reply:
            case [int(is_kept), list(waiting)]:
                return Finished(bool(is_kept), _texts(waiting))
        raise StoreError(f"the store kept an outcome by {reply!r}")

    async def release(self, key: str, ticket: str) -> list[str]:
        reply = await _RELEASE.run(self._connections, self._names(key), {"ticket": ticket})
        return _texts(reply) if isinstance(reply, list) else []

    async def renew(self, tickets: Mapping[str, str], lease: float) -> None:
        arguments = {"tickets": list(tickets.values()), "lease": lease * _MICROSECONDS}
        await _RENEW.run(self._connections, self._names(*tickets), arguments)

    async def change_version(self, key: str, version: bytes) -> None:
        [name] = self._names(key)
        await self._connections.commands.execute((b"SET", name, version, b"EX", b"%d" % VERSION_AGE))

    def _names(self, *keys: str) -> list[bytes]:
        return [(self._prefix + key).encode() for key in keys]


def _queues(bound: Bound, own: Bound | None) -> tuple[str, ...]:
    return (bound.key,) if own is None else (bound.key, own.key)


def _bounds(*bounds: Bound | None) -> dict[str, object]:
    return {
        "bounds": [(bound.count, bound.evicts) for bound in bounds if bound is not None],
        "steps": STEPS,
        "grace": QUEUE_GRACE * _MICROSECONDS,
    }


def _texts(values: Sequence[object]) -> list[str]:
    return [value.decode() for value in values if isinstance(value, bytes)]


# -- whole results ---------------------------------------------------------------------------------------------

# KEYS: the result, the record of its caller, and that of all. Times are in seconds, by the clock of the server.
# An item is its key, its size, its end and the minute in which it was put; the record of all has pairs of a
# minute and its bytes, and is a list, as a table with numbers for keys could be taken for one.
_PUT: Final = Script(
    b"""
local args, clock = cmsgpack.unpack(ARGV[1]), redis.call('TIME')
local now = tonumber(clock[1]) + clock[2] / 1000000
local function record(key)
  local stored = redis.call('GET', key)
  return stored and cmsgpack.unpack(stored) or {}
end
local function put(key, value, seconds)
  redis.call('SET', key, value, 'PX', string.format('%.0f', math.ceil(seconds * 1000)))
end
local items, own, minutes, every, sizes = {}, 0, {}, 0, {}
for _, item in ipairs(record(KEYS[2])) do
  if item[1] == KEYS[1] then return 1 end
  if now < item[3] and item[3] <= now + args.ttl then items[#items + 1], own = item, own + item[2] end
end
local age = args.ttl + 60
for _, pair in ipairs(record(KEYS[3])) do
  if now - age < pair[1] * 60 and pair[1] * 60 <= now then
    minutes[#minutes + 1], sizes[pair[1]], every = pair[1], pair[2], every + pair[2]
  end
end
local function fits() return own + args.counted <= args.own_size and every + args.counted <= args.size end
if args.counted > args.own_size or every - own + args.counted > args.size then return 0 end
while #items > 0 and (not fits() or #items >= args.most) do
  local oldest = table.remove(items, 1)
  redis.call('DEL', oldest[1])
  own = own - oldest[2]
  if sizes[oldest[4]] then
    sizes[oldest[4]], every = sizes[oldest[4]] - oldest[2], every - oldest[2]
  end
end
local minute = math.floor(now / 60)
put(KEYS[1], ARGV[2], args.ttl)
items[#items + 1] = {KEYS[1], args.counted, now + args.ttl, minute}
if not sizes[minute] then minutes[#minutes + 1], sizes[minute] = minute, 0 end
sizes[minute] = sizes[minute] + args.counted
local pairs_of = {}
for index, minute in ipairs(minutes) do pairs_of[index] = {minute, sizes[minute]} end
put(KEYS[2], cmsgpack.pack(items), args.ttl)
put(KEYS[3], cmsgpack.pack(pairs_of), age)
return 1
"""
)


class RedisResults:
    """`Results` in a Redis or Valkey server.

    Args:
        connections: to the server.
        prefix: of all keys.
    """

    def __init__(self, connections: "Connections", prefix: str) -> None:
        self._connections = connections
        self._prefix = f"{prefix}key:"

    async def put(self, result: StoredResult) -> bool:
        arguments = {
            "ttl": result.ttl,
            "counted": result.counted,
            "own_size": result.own_size,
            "size": result.size,
            "most": MOST_RESULTS,
        }
        names = [(self._prefix + key).encode() for key in (result.key, result.owner, result.room)]
        reply = await _PUT.run(self._connections, names, arguments, result.value)
        if not isinstance(reply, int):
            raise StoreError(f"the store kept a result by {reply!r}")
        return bool(reply)
