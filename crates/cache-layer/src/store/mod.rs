//! What a cache must do, and the strategies that do it.

mod memory;
mod noop;
mod redis;

pub use self::redis::{RedisConfig, RedisStore};
pub use memory::{MemoryConfig, MemoryStore};
pub use noop::NoopStore;

use crate::breaker::BreakerState;
use crate::config::Strategy;
use crate::key::{Group, Key};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A cache: one interface, several strategies.
///
/// Any call may fail with [`CacheError`]; the caller then goes to the database. No call waits for a reconnect.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// Which strategy this is.
    fn strategy(&self) -> Strategy;

    /// How it is at this moment.
    fn status(&self) -> StoreStatus;

    /// The value and how long it still lives, or `None`.
    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError>;

    /// Takes a lease on a key that was missed, *before* its value is loaded. `None` when this strategy stores nothing.
    async fn lease(&self, key: &Key) -> Result<Option<Lease>, CacheError>;

    /// Stores a value that was loaded after `lease` was taken. `false`: the key was invalidated since (or the lease
    /// got lost), and nothing is stored.
    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError>;

    /// Stores a value whatever happened before, and voids the leases on its key. A value that was read from a database may be
    /// outdated by the time it gets here: for those, take a lease and fill.
    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError>;

    /// Deletes, voids leases, and says how many keys went. On an error the deletion is owed: this store answers
    /// [`CacheError::Unavailable`] to reads until it was made up for.
    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError>;

    /// Deletes every key of the layer, in batches that do not block the server.
    async fn clear(&self) -> Result<u64, CacheError>;

    /// Returns when the store can be used for the first time; at once for those that always can.
    async fn ready(&self) {}

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

/// Leave to store one value under one key, handed out on a miss.
#[derive(Debug)]
pub struct Lease {
    /// The key as the store names it.
    pub(crate) key: String,
    /// 128 random bits: it must be present in the store for a fill.
    pub(crate) token: u128,
    pub(crate) group: Option<Group>,
    /// The store's own count (of lost invalidations, or of a group's invalidations) when the lease was taken.
    pub(crate) epoch: u64,
}

/// What a committed write makes invalid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidation {
    pub(crate) keys: Vec<String>,
    pub(crate) groups: Vec<Group>,
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

    /// All keys of a group more, such as all lists of a service. Costs as much as the group has keys in the cache.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
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
    /// Whether a read would be tried now.
    pub usable: bool,
    /// Where the breaker stands; always closed for strategies without one.
    pub breaker: BreakerState,
    /// Connections that are up; 0 for strategies without any.
    pub connections: usize,
    /// Invalidations that are still owed.
    pub owed_invalidations: usize,
}

impl StoreStatus {
    pub(crate) const ALWAYS: Self =
        Self { usable: true, breaker: BreakerState::Closed, connections: 0, owed_invalidations: 0 };
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
            Self::Server(_) => "server",
        }
    }
}
