mod environment;
mod settings;

pub use environment::{Environment, Profile};
pub use settings::Settings;

use crate::bulkhead::{Bulkhead, BulkheadConfig};
use crate::cache::{self, Cache};
use crate::metrics::Metrics;
use crate::store::{CacheStore, MemoryConfig, MemoryStore, NoopStore, RedisConfig, RedisStore, TwoTier, TwoTierConfig};
use crate::value::{Codec, ValueKeys};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Where cached values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// In Redis, shared by all processes.
    Redis,
    /// In this process.
    Memory,
    /// In this process, in front of Redis.
    TwoTier,
    /// Nowhere: every read goes to the database.
    None,
}

impl Strategy {
    /// `redis`, `memory`, `two-tier` or `none`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Memory => "memory",
            Self::TwoTier => "two-tier",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        [Self::Redis, Self::Memory, Self::TwoTier, Self::None]
            .into_iter()
            .find(|strategy| strategy.name() == text)
            .ok_or_else(|| ConfigError::Strategy(text.to_owned()))
    }
}

/// How far an invalidation may be relied on. Each step costs a little more and loses less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coherence {
    /// Delete after commit, set after load: what most caches do. A slow load stores an old value *after* the delete, and it stays
    /// for its whole TTL; so does whatever Redis brings back from a replica or a snapshot. For comparison.
    Delete,
    /// A value read before an invalidation is never stored after it. Lost: invalidations that never reach Redis (a writer that dies
    /// after its commit, other processes while Redis is away) and those that Redis forgets (failover, old snapshot).
    Lease,
    /// Leases, and an outbox in the database with a watermark in Redis: every value served as fresh reflects every commit older than Δ,
    /// through outage, flush, restart and failover; where that is not known, reads go to the database. Needs a running
    /// [`crate::promise::Promise`], in this process or another: without one nothing is ever served from Redis. Needs a namespace of
    /// its own, for where it is not known what Redis reflects, everything under it is deleted.
    Outbox,
}

/// Which cache, and its settings.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Which one.
    pub strategy: Strategy,
    /// For [`Strategy::Redis`] and [`Strategy::TwoTier`].
    pub redis: Option<RedisConfig>,
    /// For [`Strategy::Memory`].
    pub memory: MemoryConfig,
    /// For [`Strategy::TwoTier`].
    pub two_tier: TwoTierConfig,
    /// The longest one request waits for the cache, all its commands together.
    pub request_budget: Duration,
    /// How long a request waits while another process loads the same key ([`Cache::with_lease_wait`]).
    pub lease_wait: Duration,
    /// How many loads may go on in the background ([`Cache::with_background_loads`]).
    pub background_loads: usize,
    /// How long a failed load keeps stale values served without another try ([`Cache::with_retry_after`]).
    pub retry_after: Duration,
    /// How values are written.
    pub codec: Codec,
    /// The keys that values of sealed classes are encrypted with ([`Cache::with_value_keys`]).
    pub value_keys: ValueKeys,
    /// How many loads may run at the same time ([`Cache::with_loads_at_most`]); `None`: as many as requests miss.
    pub loads_at_most: Option<BulkheadConfig>,
}

impl CacheConfig {
    fn new(strategy: Strategy, redis: Option<RedisConfig>) -> Self {
        let settings = cache::Settings::default();
        Self {
            strategy,
            redis,
            memory: MemoryConfig::default(),
            two_tier: TwoTierConfig::default(),
            request_budget: settings.request_budget,
            lease_wait: settings.lease_wait,
            background_loads: settings.background_loads,
            retry_after: settings.retry_after,
            codec: settings.codec,
            value_keys: settings.value_keys,
            loads_at_most: None,
        }
    }

    /// Redis at a URL, everything else by default.
    #[must_use]
    pub fn redis(url: impl Into<String>) -> Self {
        Self::new(Strategy::Redis, Some(RedisConfig::new(url)))
    }

    /// In this process in front of Redis at a URL, everything else by default.
    #[must_use]
    pub fn two_tier(url: impl Into<String>) -> Self {
        Self::new(Strategy::TwoTier, Some(RedisConfig::new(url)))
    }

    /// In this process, 64 MiB.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(Strategy::Memory, None)
    }

    /// No cache.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Strategy::None, None)
    }

    /// Opens it. Redis need not be up. Needs a tokio runtime.
    ///
    /// # Errors
    /// Redis was chosen without a URL, or with one that cannot be understood.
    pub fn open(self, metrics: Metrics) -> Result<Cache, ConfigError> {
        let coherence = self.redis.as_ref().map_or(Coherence::Lease, |redis| redis.coherence);
        let store: Arc<dyn CacheStore> = match self.strategy {
            Strategy::Redis | Strategy::TwoTier => {
                let mut redis = self.redis.ok_or(ConfigError::NoRedisUrl)?;
                redis.request_budget = self.request_budget;
                redis.announce |= self.strategy == Strategy::TwoTier;
                let redis = RedisStore::open(redis, &metrics)?;
                if self.strategy == Strategy::Redis {
                    Arc::new(redis)
                } else {
                    Arc::new(TwoTier::over_redis(redis, &self.two_tier, &metrics))
                }
            }
            Strategy::Memory => Arc::new(MemoryStore::new(&self.memory)),
            Strategy::None => Arc::new(NoopStore),
        };
        let bulkhead = self.loads_at_most.map(|limit| Bulkhead::new(limit, metrics.bulkhead()));
        let settings = cache::Settings {
            bulkhead,
            request_budget: self.request_budget,
            lease_wait: self.lease_wait,
            background_loads: self.background_loads,
            retry_after: self.retry_after,
            codec: self.codec,
            value_keys: self.value_keys,
            coherence,
            ..cache::Settings::default()
        };
        Ok(Cache::with_settings(store, metrics, settings))
    }
}

/// A setting that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An unknown strategy.
    #[error("there is no cache strategy `{0}`: write redis, memory, two-tier or none")]
    Strategy(String),
    /// Redis without a URL.
    #[error("the cache strategy is redis but no Redis URL is given: set it, or choose memory or none")]
    NoRedisUrl,
    /// A URL that is none. It is not repeated, for it may hold a password.
    #[error(
        "the Redis URL cannot be understood: write redis://[user:password@]host:port[/database], \
         redis+sentinel://host:port,…/master or redis+cluster://host:port,…, with rediss for TLS"
    )]
    RedisUrl,
    /// A URL with a part that does not fit.
    #[error("the Redis URL cannot be used: {0}")]
    RedisUrlPart(&'static str),
    /// A name that is no setting.
    #[error("{what} is no setting: {hint}")]
    Unknown {
        /// Where it stands.
        what: String,
        /// The nearest that is one, or all of them.
        hint: String,
    },
    /// A value that does not fit.
    #[error("{setting} cannot be{}: write {write}", got.as_ref().map_or(" that".to_owned(), |got| format!(" `{got}`")))]
    Value {
        /// Where it stands.
        setting: String,
        /// It, unless it may be secret.
        got: Option<String>,
        /// What to write instead.
        write: &'static str,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Together(&'static str),
    /// An environment that there is not.
    #[error("there is no environment `{0}`: CACHE_ENV is dev, test or prod")]
    Environment(String),
    /// A file that cannot be read.
    #[error("the configuration cannot be read: {0}")]
    File(String),
    /// Certificates that cannot be used.
    #[error("TLS to Redis is not possible: {0}")]
    Tls(String),
    /// The outbox without a namespace.
    #[error(
        "the coherence is outbox but the namespace is empty: give the cache one, such as `prod:`, under which it may delete everything"
    )]
    NoNamespace,
}
