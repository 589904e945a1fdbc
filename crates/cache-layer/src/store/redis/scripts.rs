//! What is done inside Redis.
//!
//! One hash a key: `v` the value, `e` when it ends (Unix ms), and one field `l:{token}` for each lease. Deleting the key takes
//! its leases with it. None of the commands on the way of a miss counts as a look-up in `keyspace_hits`: `HSET`,
//! `HDEL`, `PEXPIRE`, `ZADD`, `ZPOPMIN`, `ZREM` and `UNLINK` look keys up for writing (`SPOP` with a count does not: measured).
//!
//! One sorted set a group, all scores 0, named like the group: the names of its keys, entered with the lease. Deleting a group empties its set and unlinks what
//! was in it. A set that Redis lost (evicted, flushed) would leave keys behind; so a cheap deletion needs a *seal* in the set, and
//! where it is missing every key of the server is looked at once, and the set is sealed anew.

use redis::{Pipeline, Script, pipe};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a group's set outlives its last miss. When it goes, the next deletion looks at every key once.
const GROUP_TTL: Duration = Duration::from_secs(3600);
/// What marks members of a group's set that are not names of keys.
const SEAL: &str = "!sealed";

/// KEYS[1] key, ARGV: token field, value, end in Unix ms, TTL in ms.
const FILL: &str = r"
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'e', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1";

/// KEYS[1] the group's set, ARGV: seal, TTL of the set in ms. Answers whether it was sealed, and how many keys went.
const DROP_GROUP: &str = r"
local sealed = redis.call('ZREM', KEYS[1], ARGV[1])
local gone, keep = 0, {}
repeat
  local members = redis.call('ZPOPMIN', KEYS[1], 1000)
  local names = {}
  for i = 1, #members, 2 do
    local member = members[i]
    if string.sub(member, 1, 1) == '!' then keep[#keep + 1] = member else names[#names + 1] = member end
  end
  if #names > 0 then gone = gone + redis.call('UNLINK', unpack(names)) end
until #members == 0
if sealed == 1 then keep[#keep + 1] = ARGV[1] end
for _, member in ipairs(keep) do redis.call('ZADD', KEYS[1], 0, member) end
if #keep > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {sealed, gone}";

/// KEYS[1] the group's set, ARGV: mark of a finished pass, seal, TTL of the set in ms.
const SEAL_GROUP: &str = r"
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[1], 0, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

pub(super) struct Scripts {
    pub(super) fill: Script,
    pub(super) drop_group: Script,
    pub(super) seal_group: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { fill: Script::new(FILL), drop_group: Script::new(DROP_GROUP), seal_group: Script::new(SEAL_GROUP) }
    }

    pub(super) fn fill(&self, key: &str, token: u128, value: &[u8], ttl: Duration) -> redis::ScriptInvocation<'_> {
        let mut call = self.fill.key(key);
        call.arg(lease_field(token)).arg(value).arg(ends_at(ttl)).arg(millis(ttl));
        call
    }

    pub(super) fn drop_group(&self, set: &str) -> redis::ScriptInvocation<'_> {
        let mut call = self.drop_group.key(set);
        call.arg(SEAL).arg(millis(GROUP_TTL));
        call
    }

    pub(super) fn seal_group(&self, set: &str, mark: &str) -> redis::ScriptInvocation<'_> {
        let mut call = self.seal_group.key(set);
        call.arg(mark).arg(SEAL).arg(millis(GROUP_TTL));
        call
    }
}

/// Enters the key in its group and takes a lease on it, all or nothing. A key without a TTL gets one; the
/// TTL of a value that is there stays.
pub(super) fn lease(key: &str, set: Option<&str>, token: u128, ttl: Duration) -> Pipeline {
    let mut pipe = pipe();
    pipe.atomic();
    enter(&mut pipe, key, set);
    pipe.cmd("HSET").arg(key).arg(lease_field(token)).arg(1).ignore();
    pipe.cmd("PEXPIRE").arg(key).arg(millis(ttl)).arg("NX").ignore();
    pipe
}

/// Replaces whatever is under the key, leases included.
pub(super) fn set(key: &str, set: Option<&str>, value: &[u8], ttl: Duration) -> Pipeline {
    let mut pipe = pipe();
    pipe.atomic();
    enter(&mut pipe, key, set);
    pipe.cmd("UNLINK").arg(key).ignore();
    pipe.cmd("HSET").arg(key).arg("v").arg(value).arg("e").arg(ends_at(ttl)).ignore();
    pipe.cmd("PEXPIRE").arg(key).arg(millis(ttl)).ignore();
    pipe
}

/// Marks the beginning of a pass over all keys. Should the set be lost meanwhile, so is the mark.
pub(super) fn begin_pass(set: &str, mark: &str) -> Pipeline {
    let mut pipe = pipe();
    pipe.atomic();
    pipe.cmd("ZADD").arg(set).arg(0).arg(mark).ignore();
    pipe.cmd("PEXPIRE").arg(set).arg(millis(GROUP_TTL)).ignore();
    pipe
}

pub(super) fn new_mark() -> String {
    format!("!pass:{:032x}", rand::random::<u128>())
}

/// Milliseconds left until `end`, by this machine's clock. Only for showing: Redis ends values by its own.
pub(super) fn left(end: u64) -> Duration {
    Duration::from_millis(end.saturating_sub(now_ms()))
}

fn enter(pipe: &mut Pipeline, key: &str, set: Option<&str>) {
    if let Some(set) = set {
        pipe.cmd("ZADD").arg(set).arg(0).arg(key).ignore();
        pipe.cmd("PEXPIRE").arg(set).arg(millis(GROUP_TTL)).ignore();
    }
}

fn lease_field(token: u128) -> String {
    format!("l:{token:032x}")
}

fn ends_at(ttl: Duration) -> u64 {
    now_ms() + millis(ttl)
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
