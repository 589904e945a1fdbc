use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::store::{CacheStore, MemoryConfig, MemoryStore, NoopStore, RedisConfig, RedisStore};
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
    /// Nowhere: every read goes to the database.
    None,
}

impl Strategy {
    /// `redis`, `memory` or `none`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Memory => "memory",
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
        [Self::Redis, Self::Memory, Self::None]
            .into_iter()
            .find(|strategy| strategy.name() == text)
            .ok_or_else(|| ConfigError::Strategy(text.to_owned()))
    }
}

/// Which cache, and its settings.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Which one.
    pub strategy: Strategy,
    /// For [`Strategy::Redis`].
    pub redis: Option<RedisConfig>,
    /// For [`Strategy::Memory`].
    pub memory: MemoryConfig,
    /// The longest one request waits for the cache, all its commands together.
    pub request_budget: Duration,
}

impl CacheConfig {
    fn new(strategy: Strategy, redis: Option<RedisConfig>) -> Self {
        Self { strategy, redis, memory: MemoryConfig::default(), request_budget: Duration::from_millis(100) }
    }

    /// Redis at a URL, everything else by default.
    #[must_use]
    pub fn redis(url: impl Into<String>) -> Self {
        Self::new(Strategy::Redis, Some(RedisConfig::new(url)))
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
        let store: Arc<dyn CacheStore> = match self.strategy {
            Strategy::Redis => {
                let mut redis = self.redis.ok_or(ConfigError::NoRedisUrl)?;
                redis.request_budget = self.request_budget;
                Arc::new(RedisStore::open(redis, &metrics)?)
            }
            Strategy::Memory => Arc::new(MemoryStore::new(&self.memory)),
            Strategy::None => Arc::new(NoopStore),
        };
        Ok(Cache::new(store, metrics).with_request_budget(self.request_budget))
    }
}

/// A setting that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An unknown strategy.
    #[error("there is no cache strategy `{0}`: write redis, memory or none")]
    Strategy(String),
    /// Redis without a URL.
    #[error("the cache strategy is redis but no Redis URL is given: set it, or choose memory or none")]
    NoRedisUrl,
    /// A URL that is none. It is not repeated, for it may hold a password.
    #[error("the Redis URL cannot be understood: write redis://[user:password@]host:port[/database]")]
    RedisUrl,
}
