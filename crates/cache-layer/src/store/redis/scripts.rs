//! What is done inside Redis.
//!
//! One hash a key. Its fields begin with `!`, the layer's mark, by which a clear without a namespace tells its own keys from others':
//!
//! | field | what |
//! |---|---|
//! | `!v` | the value |
//! | `!e` | when the value or counter ends, Unix ms by the clock of Redis |
//! | `!t` | the generations of the value's tags, 16 bytes each, in the order of the key's tags; not there without tags |
//! | `!n` | a counter, instead of a value |
//! | `!u` | until when others wait for somebody who is loading, Unix ms by the clock of Redis; 0: nobody is |
//! | `!c` | leases granted since the last fill |
//! | `!l{token}` | one for each lease |
//!
//! Deleting the key takes its leases with it; so do filling and setting. One string a tag, `!tag:{name}`: its generation, 16 random bytes. A
//! tag that Redis lost has no generation, and entries that have it are no longer there: a permission that must be present.
//!
//! A key outlives its value only where a lease was taken close to the value's end; then `!u` is there, and readers look at `!e`.
//!
//! Granting, filling and releasing look nothing up as `keyspace_hits` counts it (`HSETNX`, `HINCRBY`, `HDEL`, `PEXPIRE`, `UNLINK` are
//! writes); the scripts that do look up say what they found. No script touches a key beside its own, so all of this works in a cluster.

use super::answers::Bits;
use super::servers::Command;
use crate::key::Tag;
use crate::store::bounded;
use redis::{Cmd, cmd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a tag's generation lives: from when it was made, for no use prolongs it. When it goes, the entries that have the tag are misses.
const TAG_TTL: Duration = Duration::from_secs(24 * 3600);

/// `now`: Unix ms by the clock of Redis.
macro_rules! with_now {
    ($script:literal) => {
        concat!("local t = redis.call('TIME')\nlocal now = t[1] * 1000 + math.floor(t[2] / 1000)", $script)
    };
}

/// ARGV: lease field, how long others wait (ms), how long the lease is good (ms), how many there may be. Answers 0 when granted, else
/// for how long another holds it (ms). The key lives at least as long as the lease, so that no crashed loader leaves one for ever.
const LEASE: &str = with_now!(
    r"
local till = now + ARGV[2]
if redis.call('HSETNX', KEYS[1], '!u', till) == 0 then
  local left = redis.call('HINCRBY', KEYS[1], '!u', 0) - now
  if left > 0 then return left end
end
if redis.call('HINCRBY', KEYS[1], '!c', 1) > tonumber(ARGV[4]) then
  redis.call('HINCRBY', KEYS[1], '!c', -1)
  return tonumber(ARGV[2])
end
redis.call('HSET', KEYS[1], '!u', till, ARGV[1], 1)
if redis.call('PEXPIRE', KEYS[1], ARGV[3], 'NX') == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3], 'GT') end
return 0"
);

/// ARGV: lease field, value, TTL in ms, generations.
const FILL: &str = with_now!(
    r"
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '!v', ARGV[2], '!e', now + ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], '!t', ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1"
);

/// ARGV: lease field.
const RELEASE: &str = r"
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], '!u', 0)
redis.call('HINCRBY', KEYS[1], '!c', -1)
return 1";

/// ARGV: value, TTL in ms, generations.
const SET: &str = with_now!(
    r"
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '!v', ARGV[1], '!e', now + ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], '!t', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1"
);

/// ARGV: value, TTL in ms, generations. Answers 1 when stored, plus 2 when it found the key.
const SET_IF_ABSENT: &str = with_now!(
    r"
local h = redis.call('HMGET', KEYS[1], '!e', '!n', '!t', '!u')
local found = (h[1] or h[4]) and 2 or 0
if h[1] and tonumber(h[1]) > now and (h[2] or (h[3] or '') == ARGV[3]) then return found end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '!v', ARGV[1], '!e', now + ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], '!t', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return found + 1"
);

/// ARGV: by, TTL in ms. Answers the count before, and 1 when it found the key; -1 instead of the latter when it holds a value. Not the count
/// after: Lua's numbers are exact up to 2^53 only.
const ADD: &str = with_now!(
    r"
local h = redis.call('HMGET', KEYS[1], '!e', '!n', '!u')
if h[1] and tonumber(h[1]) > now then
  if not h[2] then return {'0', -1} end
else
  h[2] = '0'
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], '!n', 0, '!e', now + ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('HINCRBY', KEYS[1], '!n', ARGV[1])
return {h[2], (h[1] or h[3]) and 1 or 0}"
);

/// ARGV: TTL in ms. Answers 1 when done, plus 2 when it found the key.
const EXPIRE: &str = with_now!(
    r"
local h = redis.call('HMGET', KEYS[1], '!e', '!u')
local found = (h[1] or h[2]) and 2 or 0
if not h[1] or tonumber(h[1]) <= now then return found end
redis.call('HSET', KEYS[1], '!e', now + ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return found + 1"
);

/// Deletes a key if it is the layer's.
const UNLINK_OWN: &str = r"
local h = redis.pcall('HMGET', KEYS[1], '!e', '!u')
if h.err or not (h[1] or h[2]) then return 0 end
return redis.call('UNLINK', KEYS[1])";

/// Leases on one key at a time. A key whose loaders keep crashing must not grow without end.
const LEASES_AT_MOST: u32 = 16;

/// The scripts with their names as Redis knows them.
pub(super) struct Scripts {
    lease: Script,
    fill: Script,
    release: Script,
    set: Script,
    set_if_absent: Script,
    add: Script,
    expire: Script,
    unlink_own: Script,
}

struct Script {
    source: &'static str,
    sha: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, sha: redis::Script::new(source).get_hash().to_owned() }
    }

    fn command(&self, key: &str, args: impl Fn(&mut Cmd)) -> Command {
        let with = |name: &str, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(1).arg(key);
            args(&mut command);
            command
        };
        let mut command = Command::new(key, with("EVALSHA", &self.sha));
        command.with_source = Some(with("EVAL", self.source));
        command
    }
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            lease: Script::new(LEASE),
            fill: Script::new(FILL),
            release: Script::new(RELEASE),
            set: Script::new(SET),
            set_if_absent: Script::new(SET_IF_ABSENT),
            add: Script::new(ADD),
            expire: Script::new(EXPIRE),
            unlink_own: Script::new(UNLINK_OWN),
        }
    }

    pub(super) fn lease(&self, key: &str, token: u128, hold: Duration, good_for: Duration) -> Command {
        self.lease.command(key, |c| {
            c.arg(&lease_field(token)[..]).arg(millis(hold)).arg(millis(good_for)).arg(LEASES_AT_MOST);
        })
    }

    pub(super) fn fill(&self, key: &str, token: u128, value: &[u8], ttl: Duration, generations: &[u8]) -> Command {
        self.fill.command(key, |c| {
            c.arg(&lease_field(token)[..]).arg(value).arg(millis(bounded(ttl))).arg(generations);
        })
    }

    pub(super) fn release(&self, key: &str, token: u128) -> Command {
        self.release.command(key, |c| _ = c.arg(&lease_field(token)[..]))
    }

    pub(super) fn set(&self, key: &str, value: &[u8], ttl: Duration, generations: &[u8], if_absent: bool) -> Command {
        let script = if if_absent { &self.set_if_absent } else { &self.set };
        script.command(key, |c| _ = c.arg(value).arg(millis(bounded(ttl))).arg(generations))
    }

    pub(super) fn add(&self, key: &str, by: i64, ttl: Duration) -> Command {
        self.add.command(key, |c| _ = c.arg(by).arg(millis(bounded(ttl))))
    }

    pub(super) fn expire(&self, key: &str, ttl: Duration) -> Command {
        self.expire.command(key, |c| _ = c.arg(millis(bounded(ttl))))
    }

    pub(super) fn unlink_own(&self, key: &str) -> Command {
        self.unlink_own.command(key, |_| ())
    }
}

/// The value, its end, whether somebody is loading it; and the generations of its tags, where it has some.
pub(super) fn get(key: String, tagged: bool) -> Command {
    let mut command = Cmd::with_capacity(6, key.len() + 16);
    command.arg("HMGET").arg(&key).arg("!v").arg("!e").arg("!u");
    if tagged {
        command.arg("!t");
    }
    Command::new(key, command)
}

/// The end of a value or counter, and whether somebody is loading it.
pub(super) fn end(key: String) -> Command {
    let mut command = cmd("HMGET");
    command.arg(&key).arg("!e").arg("!u");
    Command::new(key, command)
}

/// The generation of a tag, or nothing.
pub(super) fn generation(name: &str) -> Command {
    let mut command = cmd("GET");
    command.arg(name);
    Command::new(name, command)
}

/// The generation of a tag; a new one if it has none: then the answer is nothing and `fresh` is its generation.
pub(super) fn generation_or(name: &str, fresh: u128) -> Command {
    let mut command = cmd("SET");
    command.arg(name).arg(&fresh.to_be_bytes()[..]).arg("NX").arg("GET").arg("PX").arg(millis(TAG_TTL));
    Command::new(name, command)
}

/// A new generation for a tag: what has the old one is no longer there.
pub(super) fn new_generation(name: &str) -> Command {
    let mut command = cmd("SET");
    command.arg(name).arg(&rand::random::<u128>().to_be_bytes()[..]).arg("PX").arg(millis(TAG_TTL));
    Command::new(name, command)
}

/// Deletes a key, without blocking the server.
pub(super) fn unlink(key: String) -> Command {
    let mut command = cmd("UNLINK");
    command.arg(&key);
    Command::new(key, command)
}

/// What the names of tags begin with.
pub(super) const TAG: &str = "!tag:";

/// Where the generation of a tag stands.
pub(super) fn tag_name(namespace: &str, tag: &Tag) -> String {
    [namespace, TAG, tag.name()].concat()
}

/// A generation as Redis has it.
pub(super) fn parse_generation(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

/// Generations as they are kept with a value.
pub(super) fn joined(generations: impl Iterator<Item = u128>) -> Vec<u8> {
    generations.flat_map(u128::to_be_bytes).collect()
}

/// Milliseconds left until `end`, by this machine's clock. Redis ends values by its own; this is for showing, for the rare value
/// whose key a lease keeps past its end, and for how long a first tier keeps the value: not longer than its own TTL, however wrong this clock.
pub(super) fn left(end: u64) -> Duration {
    Duration::from_millis(end.saturating_sub(now_ms()))
}

/// The answer of a script that says what it did, and whether it found its key.
pub(super) const fn bits(answer: u8) -> Bits {
    Bits { done: answer & 1 == 1, found: answer & 2 == 2 }
}

fn lease_field(token: u128) -> Vec<u8> {
    [&b"!l"[..], &token.to_be_bytes()].concat()
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
