//! The scripts that run in the server: what must be one step, and tells what was there before.
//!
//! Beside the data there are two sorted sets. The index has every key, in order, because `SCAN` may tell a key twice and
//! walks through everybody's. The ends have the keys that end, by when, because Redis takes keys out silently and the index
//! would keep them. Neither is believed: what is listed is looked at in the same step.
//!
//! Every script's first keys are the index and the ends, its first argument is the channel on which changes are told.

use redis::Script;

/// All scripts, with their digests worked out once.
pub(super) struct Scripts {
    /// Keys: the keys to write. Arguments: milliseconds to live or nothing, then a value for each key. Answers the length
    /// of each replaced value, -1 for none.
    pub(super) set: Script,
    /// Keys: the keys to remove. Answers as `set`.
    pub(super) delete: Script,
    /// Key: the number. Argument: what to add. Answers the length of the replaced text and the sum, or what is wrong.
    pub(super) increment: Script,
    /// Key. Arguments: whether something is expected, what, and what to write. Answers whether it was written, and if not
    /// what is there.
    pub(super) swap: Script,
    /// Arguments: bounds of the range and how many to look at. Answers the last key that was looked at, how many were, and
    /// those that are there.
    pub(super) list: Script,
    /// Arguments as `list`. Answers the last key, how many were looked at, how many are there, and their bytes.
    pub(super) usage: Script,
    /// Argument: how many. Takes out what is over, and answers how many there were.
    pub(super) sweep: Script,
}

/// `length(key)`: bytes of the value, -1 if there is none.
const LENGTH: &str = r"
local function length(key)
  local bytes = redis.call('STRLEN', key)
  if bytes == 0 and redis.call('EXISTS', key) == 0 then return -1 end
  return bytes
end
";

const SET: &str = r"
local ttl, ends, old = ARGV[2], nil, {}
if ttl ~= '' then
  local now = redis.call('TIME')
  ends = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ttl)
end
for at = 3, #KEYS do
  local key = KEYS[at]
  local before = length(key)
  if before < 0 then redis.call('ZADD', KEYS[1], 0, key) end
  if ends then
    redis.call('SET', key, ARGV[at], 'PX', ttl)
    redis.call('ZADD', KEYS[2], ends, key)
  else
    redis.call('SET', key, ARGV[at])
  end
  redis.call('PUBLISH', ARGV[1], '+' .. key)
  old[at - 2] = before
end
return old
";

const DELETE: &str = r"
local old = {}
for at = 3, #KEYS do
  local key = KEYS[at]
  local before = length(key)
  if before >= 0 then
    redis.call('DEL', key)
    redis.call('PUBLISH', ARGV[1], '-' .. key)
  end
  redis.call('ZREM', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  old[at - 2] = before
end
return old
";

const INCREMENT: &str = r"
local key = KEYS[3]
local before = length(key)
local sum = redis.pcall('INCRBY', key, ARGV[2])
if type(sum) == 'table' and sum.err then
  if string.find(sum.err, 'overflow') then return {'overflow'} end
  if string.find(sum.err, 'not an integer') then return {'no number'} end
  return sum
end
if before < 0 then redis.call('ZADD', KEYS[1], 0, key) end
redis.call('PUBLISH', ARGV[1], '+' .. key)
-- As text: a number of this language has 53 bits.
return {'sum', before, redis.call('GET', key)}
";

const SWAP: &str = r"
local key = KEYS[3]
local current = redis.call('GET', key)
if ARGV[2] == '1' then
  if not current then return {0} end
  if current ~= ARGV[3] then return {0, current} end
elseif current then
  return {0, current}
end
redis.call('SET', key, ARGV[4], 'KEEPTTL')
if not current then redis.call('ZADD', KEYS[1], 0, key) end
redis.call('PUBLISH', ARGV[1], '+' .. key)
return {1}
";

const LIST: &str = r"
local keys = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local there = {}
for at, key in ipairs(keys) do
  if redis.call('EXISTS', key) == 1 then
    there[#there + 1] = key
  else
    redis.call('ZREM', KEYS[1], key)
  end
end
return {keys[#keys] or '', #keys, there}
";

const USAGE: &str = r"
local keys = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local count, bytes = 0, 0
for at, key in ipairs(keys) do
  -- What others have put there may be no string.
  local value = redis.pcall('STRLEN', key)
  if type(value) == 'number' and (value > 0 or redis.call('EXISTS', key) == 1) then
    count = count + 1
    bytes = bytes + #key + value
    -- The colon that we put before some keys is not theirs.
    if string.sub(key, 1, 1) == ':' then bytes = bytes - 1 end
  end
end
return {keys[#keys] or '', #keys, count, string.format('%.0f', bytes)}
";

const SWEEP: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local keys = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
for at, key in ipairs(keys) do
  local left = redis.call('PTTL', key)
  if left == -2 then
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('PUBLISH', ARGV[1], '-' .. key)
  elseif left == -1 then
    -- It was written again, to stay.
    redis.call('ZREM', KEYS[2], key)
  else
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + left + 1), key)
  end
end
return #keys
";

impl Scripts {
    pub(super) fn new() -> Self {
        let with_length = |code: &str| Script::new(&[LENGTH, code].concat());
        Self {
            set: with_length(SET),
            delete: with_length(DELETE),
            increment: with_length(INCREMENT),
            swap: Script::new(SWAP),
            list: Script::new(LIST),
            usage: Script::new(USAGE),
            sweep: Script::new(SWEEP),
        }
    }
}
