"""Limits of many hosts, in Redis or Valkey: each decision is a script, by the clock of the server.

The script does what `decisions.py` does, and reads like it. Easy to get wrong: a script that is sent again, as
the connection broke before its reply came. A ticket gets its slots once all the same, but its shares of rates
twice, so fewer calls are admitted then, and never more.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from enfilade.state.limits.claims import (
    SLOTS_AGE,
    Claim,
    Decision,
    Granted,
    Queued,
    Refused,
    SharedRate,
    Slots,
    lease_key,
)
from enfilade.state.limits.decisions import CLOCK_TICK
from enfilade.state.redis.scripts import Script
from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.state.redis.connection import Connections, Reply

# Times are in microseconds. A number leaves a script as text, since Redis cuts its fraction off.
_SHARED: Final = b"""
local args = cmsgpack.unpack(ARGV[1])
local function worker_of(ticket) return string.match(ticket, '^[^.]*') end
local function is_alive(ticket)
  local worker = worker_of(ticket)
  return worker == worker_of(args.ticket) or redis.call('EXISTS', args.leases .. worker) == 1
end
local function index_of(list, ticket)
  for index, entry in ipairs(list) do if entry == ticket then return index end end
end
local function without(list, ticket)
  local rest = {}
  for _, entry in ipairs(list) do if entry ~= ticket then rest[#rest + 1] = entry end end
  return rest
end
local function living(list)
  local rest, alive = {}, {}
  for _, entry in ipairs(list) do
    local worker = worker_of(entry)
    if alive[worker] == nil then alive[worker] = is_alive(entry) end
    if alive[worker] then rest[#rest + 1] = entry end
  end
  return rest
end
local function record_at(key)
  local stored = redis.call('GET', key)
  return stored and cmsgpack.unpack(stored)
end
local function put(key, record) redis.call('SET', key, cmsgpack.pack(record), 'PX', args.age) end
local function slots_of(key)
  local state = record_at(key) or {{}, '', ''}
  return {key = key, holders = state[1], first = state[2], last = state[3]}
end
local function put_slots(state)
  if #state.holders == 0 and state.first == '' then redis.call('DEL', state.key)
  else put(state.key, {state.holders, state.first, state.last}) end
end
local function place_key(state, ticket) return state.key .. ':' .. ticket end
local function place_of(state, ticket) return record_at(place_key(state, ticket)) end
local function link(state, ticket, side, other)
  local place = place_of(state, ticket)
  if place then
    place[side] = other
    put(place_key(state, ticket), place)
  end
  return place
end
local function join(state, ticket)
  if state.first ~= '' and place_of(state, ticket) then return end
  put(place_key(state, ticket), {state.last, ''})
  if state.last == '' or not link(state, state.last, 2, ticket) then state.first = ticket end
  state.last = ticket
end
local function leave(state, ticket)
  local place = place_of(state, ticket)
  if not place then
    if ticket == state.first then state.first, state.last = '', '' end
    return
  end
  redis.call('DEL', place_key(state, ticket))
  if place[1] ~= '' then link(state, place[1], 2, place[2]) end
  if place[2] ~= '' then link(state, place[2], 1, place[1]) end
  if ticket == state.first then state.first = place[2] end
  if ticket == state.last then state.last = place[1] end
end
"""

_ADMIT: Final = Script(
    _SHARED
    + b"""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ticket, slots, rates = args.ticket, #args.slots, #args.rates
if args.lease > 0 then redis.call('SET', args.leases .. worker_of(ticket), '', 'PX', args.lease) end
local function has_room(state, limit)
  if index_of(state.holders, ticket) then return true end
  if #state.holders < limit and state.first == '' then return true end
  state.holders = living(state.holders)
  local free, waiting, first, last = limit - #state.holders, state.first, state.first, state.last
  while waiting ~= '' and waiting ~= ticket do
    local place = place_of(state, waiting) or {'', ''}
    if not is_alive(waiting) then leave(state, waiting)
    else
      free = free - 1
      if free <= 0 then break end
    end
    waiting = place[2]
  end
  if state.first ~= first or state.last ~= last then put_slots(state) end
  return free > 0
end
local kept = {}
local function take(last)
  for index = 1, last do
    local state = kept[index]
    if not index_of(state.holders, ticket) then
      state.holders[#state.holders + 1] = ticket
      leave(state, ticket)
      put_slots(state)
    end
  end
end
for index = 1, slots do
  local state = slots_of(KEYS[index])
  kept[index] = state
  if not has_room(state, args.slots[index][1]) then
    if not (args.may_queue and args.slots[index][2]) then return {'refused', index - 1, '0'} end
    join(state, ticket)
    put_slots(state)
    take(index - 1)
    return {'queued', index - 1, '0'}
  end
end
local delay, refused, longest, full_at = 0, 0, 0, {}
for index = 1, rates do
  local interval, period, waits, longest_wait = unpack(args.rates[index])
  local stored = tonumber(redis.call('GET', KEYS[slots + index]) or '0')
  full_at[index] = math.max(now, stored) + interval
  if stored > now + period + longest_wait + args.clock_tick then full_at[index] = now + period end
  local wait = full_at[index] - period - now
  if wait > args.clock_tick then
    delay = math.max(delay, wait)
    if wait > (waits and args.longest_delay or 0) and wait > longest then refused, longest = index, wait end
  end
end
if refused > 0 then return {'refused', slots + refused - 1, string.format('%.0f', longest)} end
for index = 1, rates do
  local ttl = math.ceil((full_at[index] - now) / 1000) + 1000
  redis.call('SET', KEYS[slots + index], string.format('%.3f', full_at[index]), 'PX', string.format('%.0f', ttl))
end
take(slots)
return {'granted', 0, string.format('%.0f', delay)}
"""
)

_RELEASE: Final = Script(
    _SHARED
    + b"""
local granted = {}
for index, limit in ipairs(args.slots) do
  local state = slots_of(KEYS[index])
  state.holders = without(state.holders, args.ticket)
  leave(state, args.ticket)
  while state.first ~= '' and #state.holders < limit do
    local first = state.first
    leave(state, first)
    if is_alive(first) then
      state.holders[#state.holders + 1] = first
      granted[#granted + 1] = first
    end
  end
  put_slots(state)
end
return granted
"""
)

_MICROSECONDS: Final = 1_000_000


class RedisLimits:
    """`Limits` in a Redis or Valkey server.

    Args:
        connections: to the server.
        prefix: of all keys.
    """

    is_local = False

    def __init__(self, connections: "Connections", prefix: str) -> None:
        self._connections = connections
        self._prefix = f"{prefix}key:"

    async def admit(self, claim: Claim) -> Decision:
        arguments: dict[str, object] = {
            "ticket": claim.ticket,
            "slots": [(slots.limit, slots.waits) for slots in claim.slots],
            "rates": [_rate(rate) for rate in claim.rates],
            "may_queue": claim.may_queue,
            "longest_delay": claim.longest_delay * _MICROSECONDS,
            "clock_tick": CLOCK_TICK * _MICROSECONDS,
            "lease": int(claim.lease * 1000),
        }
        keys = [*(slots.key for slots in claim.slots), *(rate.key for rate in claim.rates)]
        reply = await self._run(_ADMIT, keys, arguments)
        match reply:
            case [b"granted", int(), bytes(delay)]:
                return Granted(int(delay) / _MICROSECONDS)
            case [b"queued", int(index), bytes()]:
                return Queued(index)
            case [b"refused", int(index), bytes(delay)]:
                return Refused(index, int(delay) / _MICROSECONDS)
        raise StoreError(f"the store decided about a claim by {reply!r}")

    async def release(self, ticket: str, slots: Sequence[Slots]) -> list[str]:
        arguments: dict[str, object] = {"ticket": ticket, "slots": [each.limit for each in slots]}
        reply = await self._run(_RELEASE, [each.key for each in slots], arguments)
        return [entry.decode() for entry in reply if isinstance(entry, bytes)] if isinstance(reply, list) else []

    async def renew(self, worker: str, lease: float) -> None:
        name = (self._prefix + lease_key(worker)).encode()
        if lease > 0:
            await self._connections.commands.execute((b"SET", name, b"", b"PX", b"%d" % (lease * 1000)))
        else:
            await self._connections.commands.execute((b"DEL", name))

    async def _run(self, script: Script, keys: Sequence[str], arguments: dict[str, object]) -> "Reply":
        arguments |= {"leases": self._prefix + lease_key(""), "age": int(SLOTS_AGE * 1000)}
        return await script.run(self._connections, [(self._prefix + key).encode() for key in keys], arguments)


def _rate(rate: SharedRate) -> tuple[float, float, bool, float]:
    interval, period, longest_wait = (
        seconds * _MICROSECONDS for seconds in (rate.interval, rate.period, rate.longest_wait)
    )
    return interval, period, rate.waits, longest_wait
