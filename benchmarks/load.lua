-- wrk sends the requests of a file, each with an id of its own; a thread sends one of them again and again.
--
--     wrk ... -s load.lua URL -- FILE ID [SESSION_MARK]
--
-- Requests are separated by a byte 30, and ID stands in them wherever an id belongs. With a SESSION_MARK the file has
-- two requests: one that opens a session, and one that goes to the session that the answer names.
-- All this runs on the core of the load, so a request is cut into pieces once.
-- The easy thing to get wrong is whose requests come on a connection: a client has connections of its own, so those of
-- one session must not go round all of them. wrk does not say which connection a request is for, but each of its
-- threads has its own.

local threads = 0
local template, marked, opened, id = nil, nil, {}, 0

-- Runs once for each thread, before any of them starts.
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function pieces_of(text, mark)
  local pieces, from = {}, 1
  while true do
    local first, last = text:find(mark, from, true)
    pieces[#pieces + 1] = text:sub(from, (first or 0) - 1)
    if not first then return pieces end
    from = last + 1
  end
end

local function next_call()
  id = id + 1
  return table.concat(template, id)
end

local function next_of_handshake()
  local session = table.remove(opened)
  if session then return table.concat(marked, session) end
  return next_call()
end

local function note_session(status, headers)
  if status ~= 200 then return end -- some servers name the session in every answer
  for name, value in pairs(headers) do
    if name:lower() == "mcp-session-id" then opened[#opened + 1] = value end
  end
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local requests = file:read("*a")
  file:close()
  id = tonumber(args[2])
  local templates = {}
  for request in requests:gmatch("[^\30]+") do
    if args[3] and request:find(args[3], 1, true) then
      marked = pieces_of(request, args[3])
    else
      templates[#templates + 1] = pieces_of(request, args[2])
    end
  end
  template = templates[number % #templates + 1]
  request = marked and next_of_handshake or next_call
  response = marked and note_session or nil
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'FOUND {"requests":%d,"seconds":%.6f,"bytes":%d,"p50":%.3f,"p99":%.3f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
