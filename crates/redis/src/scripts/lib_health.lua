-- library: subscriptions' health: adding what a settle's attempts count for (format: layout.rs)
--
-- It is written before the leases end under which the attempts were reported. So a script
-- that fails in its middle has not counted them, and its repeat does; or it has, all of
-- them, and then the stamp in a row keeps the repeat from it. (Where another call of the
-- same subscription came in between, the repeat counts them again.)
local HEAD, NONE = '>' .. string.rep('I8', 4) .. string.rep('I4', 30), string.rep('\0', 164)
local marked, marked_ids = {}, {}

-- Notes a mark of a queue; its note stands at `place`.
local function count_mark(id, mark, place)
  local sum = marked[id]
  if not sum then
    sum = { counts = {}, good = {}, bad = {} }
    marked[id], marked_ids[#marked_ids + 1] = sum, id
  end
  sum.counts[mark] = (sum.counts[mark] or 0) + 1
  -- The receiver took those of kind 0 and 2.
  local places = (mark - 1) % 20 < 10 and sum.good or sum.bad
  places[#places + 1] = place
end

-- The newest `kept` of the notes in `text` and of those that stand at `places` in `notes`.
local function newest(text, notes, places, kept)
  local parts, at = {}, 1
  while at <= #text do
    local behind = at + 1 + byte(text, at)
    parts[#parts + 1] = sub(text, at, behind - 1)
    at = behind
  end
  for i = math.max(#places - kept, 0) + 1, #places do
    parts[#parts + 1] = sub(notes, places[i], places[i] + byte(notes, places[i]))
  end
  return table.concat(parts, '', math.max(#parts - kept, 0) + 1)
end

-- Adds what was noted. `terms`: how many notes are kept, then for each of the two rows how
-- long its stretches are in ms and how many that are over are kept, 4 each.
local function write_health(stamp, now, terms, notes)
  if #marked_ids == 0 then return end
  local key, fields, found, kept = P .. 'health', {}, {}, unpack_('>I4', terms)
  for _, id in ipairs(marked_ids) do
    fields[#fields + 1] = 'h' .. id
    if #marked[id].bad > 0 then fields[#fields + 1] = 'e' .. id end
  end
  for i, row in ipairs(hmget(key, fields)) do found[fields[i]] = row end
  local changes, gone, ended, over = {}, {}, {}, {}
  local function change(field, value) changes[#changes + 1], changes[#changes + 2] = field, value end
  for _, id in ipairs(marked_ids) do
    local sum, raw = marked[id], found['h' .. id] or NONE
    if #raw < 164 then
      -- What cannot be read begins anew, and all that belongs to it.
      raw, found['e' .. id] = NONE, nil
      for _, kind in ipairs({ 'e', '0', '1' }) do gone[#gone + 1] = kind .. id end
    end
    if sub(raw, 1, 12) ~= stamp then
      local n = { unpack_(HEAD, raw, 13) }
      n[#n] = nil
      for row = 0, 1 do
        local at, number = 5 + 15 * row, math.floor(now / unpack_('>I4', terms, 5 + 8 * row))
        if n[at] ~= number then
          if raw ~= NONE then
            ended[#ended + 1], over[#over + 1] = row .. id, sub(raw, 45 + 60 * row, 104 + 60 * row)
          end
          n[at] = number
          for slot = at + 1, at + 14 do n[slot] = 0 end
        end
      end
      for mark, count in pairs(sum.counts) do
        local kind, class = math.floor((mark - 1) / 10), (mark - 1) % 10
        for _, slot in ipairs({ 1 + kind, 6 + kind, 10 + class, 21 + kind, 25 + class }) do n[slot] = n[slot] + count end
      end
      change('h' .. id, stamp .. pack(HEAD, unpack(n)) .. newest(sub(raw, 165), notes, sum.good, kept))
      if #sum.bad > 0 then change('e' .. id, newest(found['e' .. id] or '', notes, sum.bad, kept)) end
    end
  end
  for i, row in ipairs(hmget(key, ended)) do
    local most = unpack_('>I4', terms, 9 + 8 * byte(ended[i]) - 8 * 48)
    change(ended[i], sub((row or '') .. over[i], -60 * most))
  end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
  if #changes > 0 then call('HSET', key, unpack(changes)) end
end
