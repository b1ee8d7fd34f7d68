#!lua flags=no-writes
-- Reads leases, with what their retried deliveries remember.
-- KEYS[1]  the partition's state; all others are derived from it
-- ARGV     leases
-- Returns  for each lease: record, what is open, what each retried run remembers; empty if it is over
local reply = {}
local records, opens = hmget(P .. 'lease', ARGV), hmget(P .. 'open', ARGV)
for i, record in ipairs(records) do
  reply[i] = {}
  if record then
    reply[i] = { record, opens[i] or '' }
    for _, run in ipairs(runs_of(record)) do
      if run.recorded then
        local name = run.name .. sub(record, run.at, run.at)
        reply[i][#reply[i] + 1] = sub(call('HGET', P .. 'rec', name) or '', 2)
      end
    end
  end
end
return reply
