//! What a cache must do, and the strategies that do it.

mod eviction;
mod lives;
mod memory;
mod news;
mod noop;
mod redis;
pub mod two_tier;

pub use self::redis::{Address, Credentials, RedisConfig, RedisStore, SentinelTls, TlsConfig, Topology};
pub use eviction::Eviction;
pub use memory::{MemoryConfig, MemoryStore};
pub use noop::NoopStore;
pub use two_tier::{Feed, TwoTier, TwoTierConfig};

use crate::breaker::BreakerState;
use crate::config::Strategy;
use crate::key::{Key, KeyClass, Tag};
use crate::promise::Ground;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A cache: one interface, several strategies. Values are bytes; what they mean is the façade's business ([`crate::Cache`]).
///
/// Any call may fail with [`CacheError`]; the caller then goes to the database. No call waits for a reconnect. Calls on many keys
/// cost one round trip for each server that holds some of them, and fail key by key; fills of tagged values in a cluster cost two.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// Which strategy this is.
    fn strategy(&self) -> Strategy;

    /// How it is at this moment.
    fn status(&self) -> StoreStatus;

    /// The value and how long it still lives, or `None`.
    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError>;

    /// What [`CacheStore::get`] would answer, if this process has it at hand: nothing is asked or waited for. `None` says nothing:
    /// get it. Counts as `get` does, when there is something.
    fn at_hand(&self, key: &Key) -> Option<Cached> {
        let _ = key;
        None
    }

    /// No [`CacheStore::get`] takes longer than this to answer, be it with an error: nobody else need time it. `None`: it may.
    fn answers_within(&self) -> Option<Duration> {
        None
    }

    /// [`CacheStore::get`] for many keys; the answers are in the order of the keys.
    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>>;

    /// What [`CacheStore::get`] would answer if it did not refuse with [`CacheError::Untrusted`]: values of which it is not known whether they
    /// reflect what was committed, to be served marked as stale when nothing better can be had. Nothing where nothing is refused for that.
    async fn get_untrusted(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        vec![Ok(None); keys.len()]
    }

    /// Takes the lease on a key that was missed, *before* its value is loaded.
    async fn lease(&self, key: &Key) -> Result<Leased, CacheError>;

    /// [`CacheStore::lease`] for many keys.
    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>>;

    /// Stores a value that was loaded after `lease` was taken, for `ttl`. `false`: the key was invalidated since (or the lease
    /// got lost), and nothing is stored.
    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError>;

    /// [`CacheStore::fill`] for many leases.
    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>>;

    /// Gives a lease back unused, when its load failed: the next one may load at once. Best effort.
    async fn release(&self, lease: Lease);

    /// Stores a value whatever happened before, and voids the leases on its key. A value that was read from a database may be
    /// outdated by the time it gets here: for those, take a lease and fill.
    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError>;

    /// [`CacheStore::set`] for many keys.
    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>>;

    /// Stores a value if the key has none, and no counter. Whether it did.
    async fn set_if_absent(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<bool, CacheError>;

    /// Adds to a counter, made with this lifetime if it is not there (adding does not prolong it); negative to subtract. The new count. A
    /// key holds a counter or a value: adding to a value is refused with [`CacheError::Server`], and so is leaving the range of `i64`.
    async fn add(&self, key: &Key, by: i64, ttl: Duration) -> Result<i64, CacheError>;

    /// How long the value (or counter) of a key still lives; `None` when there is none. Tags are not
    /// looked at: a value that only a tag made invalid still counts.
    async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError>;

    /// Gives a value or counter that is there a new lifetime. Whether it was there.
    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError>;

    /// Deletes, voids leases, and says how many keys went (entries that a tag made invalid are not counted; a lease without a value may be).
    /// On an error the
    /// deletion is owed: this store answers [`CacheError::Unavailable`] to reads until it was made up for.
    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError>;

    /// Whether a deletion that was done is with every replica of the server, so that no failover brings back what it deleted; it
    /// is carried out once more for that. False where it is not known, nor who the replicas are; see [`crate::Cache::confirm`]. True where
    /// nothing is kept outside this process.
    async fn confirm(&self, what: &Invalidation) -> bool {
        let _ = what;
        true
    }

    /// Whether a key has a value or counter.
    async fn exists(&self, key: &Key) -> Result<bool, CacheError> {
        Ok(self.ttl(key).await?.is_some())
    }

    /// Deletes every key of the layer and no other, in batches that do not block the server. Voids every lease that was granted before.
    async fn clear(&self) -> Result<u64, CacheError>;

    /// Names (without namespace) that match a pattern as Redis has them (`posts:*`), at most so many; never blocks the server. A name
    /// that is there from beginning to end is met; one may be met whose value has just ended.
    async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError>;

    /// What is kept under a name (without namespace), whatever its tags say: for people who look, not for requests.
    async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        const NOBODY: KeyClass = KeyClass::new("manage", Duration::ZERO);
        let found = self.get(&Key::new(NOBODY, name)).await?;
        Ok(found.map(|cached| Peeked { value: Kept::Bytes(cached.value), ttl: cached.ttl, tags: 0 }))
    }

    /// What the servers say of themselves, asked now; empty for strategies without any.
    async fn servers(&self) -> Vec<ServerInfo> {
        Vec::new()
    }

    /// The servers outside this process whose data a [`crate::promise::Promise`] has to keep up with. It tells the store for how
    /// long (Δ) a watermark may be relied on.
    fn grounds(&self, delta: Duration) -> Vec<Arc<dyn Ground>> {
        let _ = delta;
        Vec::new()
    }

    /// Something is no longer good: told by whoever follows the writes of all processes, after it is deleted in the cache that they
    /// share. For a store that keeps values in this process in front of that cache; nothing to others.
    fn feed(&self, what: &Invalidation) {
        let _ = what;
    }

    /// Whether [`CacheStore::feed`] is told of every write, from now on. Whoever says `true` says `false` in time. It must follow the
    /// writes from a position of its own: what another follower has dealt with in the shared cache is news here all the same.
    fn feed_alive(&self, alive: bool) {
        let _ = alive;
    }

    /// Returns when the store can be used for the first time; at once for those that always can.
    async fn ready(&self) {}

    /// The time of a round trip to each server (`host:port`), asked now and whatever their breakers say; empty for strategies without
    /// any.
    async fn ping(&self) -> Vec<(String, Result<Duration, CacheError>)> {
        Vec::new()
    }

    /// Ends background work and connections; what is owed is tried once more, within `at_most`.
    async fn close(&self, at_most: Duration) {
        let _ = at_most;
    }

    /// Deletes the keys that match a pattern as Redis has them (`posts:*`), in batches that do not block the server.
    async fn delete_matching(&self, pattern: &str) -> Result<u64, CacheError> {
        self.delete(&Invalidation::new().pattern(pattern)).await
    }
}

/// A value out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The bytes as stored.
    pub value: Bytes,
    /// How long it still lives.
    pub ttl: Duration,
}

/// What is kept under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// The value or the count.
    pub value: Kept,
    /// How long it still lives.
    pub ttl: Duration,
    /// By how many tags it may be invalidated. One of them may have been already: then reads do not see it any more.
    pub tags: usize,
}

/// The two kinds of things a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A value, as stored.
    Bytes(Bytes),
    /// A counter.
    Count(i64),
}

/// What became of asking for a lease.
#[derive(Debug)]
pub enum Leased {
    /// Load and fill.
    Granted(Lease),
    /// Somebody else is loading, for at most so long; look again soon, or load without filling.
    Held(Duration),
    /// This strategy stores nothing.
    Never,
}

impl Leased {
    /// The lease, if it was granted.
    #[must_use]
    pub fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held(_) | Self::Never => None,
        }
    }
}

/// Leave to store one value under one key, handed out on a miss.
#[derive(Debug)]
pub struct Lease {
    /// The key as the store names it.
    pub(crate) key: String,
    /// 128 random bits: it must be present in the store for a fill.
    pub(crate) token: u128,
    /// The key's tags as the store names them, each with its generation when the lease was taken.
    pub(crate) tags: Vec<(String, u128)>,
    /// The store's own count of lost invalidations when the lease was taken.
    pub(crate) epoch: u64,
    /// For a first tier: the key's name without namespace, and what the tier knew when the lease was taken.
    pub(crate) seen: Option<(String, two_tier::Seen)>,
}

/// What one server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// `host:port`.
    pub address: String,
    /// How long it took to answer.
    pub answered_in: Duration,
    /// `7.0.15` for instance.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Bytes its data take.
    pub used_memory: u64,
    /// Bytes its data may take; 0: no limit.
    pub max_memory: u64,
    /// `allkeys-lru` for instance.
    pub policy: String,
    /// Keys in all its databases.
    pub keys: u64,
    /// Keys evicted since it started, for want of memory.
    pub evicted: u64,
    /// Clients connected.
    pub clients: u64,
    /// Look-ups that found a key, since it started.
    pub keyspace_hits: u64,
    /// Look-ups that found none.
    pub keyspace_misses: u64,
}

/// What a committed write makes invalid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidation {
    pub(crate) keys: Vec<String>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) patterns: Vec<String>,
}

impl Invalidation {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One key more.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Self {
        self.keys.push(key.name().to_owned());
        self
    }

    /// A key by its name more, without namespace.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.keys.push(name.into());
        self
    }

    /// All keys with a tag more, such as all lists of a service. Costs one small write, however many they are.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// All keys that match a pattern more. Costs a pass over all keys of the server: not for every write.
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }
}

/// How a store is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether a read would be tried now, and be answered.
    pub usable: bool,
    /// Whether what the servers hold may be relied on, all of them; true where nothing has to be known for that. Where it is not,
    /// reads of their keys go to the database ([`crate::Coherence::Outbox`]).
    pub trusted: bool,
    /// Where the breaker stands; always closed for strategies without one.
    pub breaker: BreakerState,
    /// Connections that are up; 0 for strategies without any.
    pub connections: usize,
    /// Invalidations that are still owed.
    pub owed_invalidations: usize,
}

impl StoreStatus {
    pub(crate) const ALWAYS: Self =
        Self { usable: true, trusted: true, breaker: BreakerState::Closed, connections: 0, owed_invalidations: 0 };
}

/// The longest life of a value: sums with it overflow nowhere.
const TTL_AT_MOST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn bounded(ttl: Duration) -> Duration {
    ttl.min(TTL_AT_MOST)
}

/// Why the cache gave no answer. The caller goes to the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Not even tried; known in microseconds.
    #[error("the cache is not available: {0}")]
    Unavailable(&'static str),
    /// No answer in time. Whether the command was carried out is not known.
    #[error("the cache did not answer in time")]
    Timeout,
    /// The connection broke. Whether the command was carried out is not known.
    #[error("the connection to the cache broke: {0}")]
    Connection(String),
    /// The server answers, but it is not known whether its data reflect what was committed.
    #[error("the cache cannot be trusted at the moment")]
    Untrusted,
    /// The server refused the command.
    #[error("the cache server refused: {0}")]
    Server(String),
}

impl CacheError {
    /// A short name for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Timeout => "timeout",
            Self::Connection(_) => "connection",
            Self::Untrusted => "untrusted",
            Self::Server(_) => "server",
        }
    }
}
