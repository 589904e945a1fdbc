//! The settings of the front cache. Most defects change one of them.

use super::RedisClientConfig;
use crate::data_request::DataRequest;
use axum::http::StatusCode;
use std::time::Duration;

/// When a write deletes the keys that it invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidationPolicy {
    /// After the commit, before the acknowledgement: correct.
    AfterCommit,
    /// Before the write is sent to the database.
    BeforeCommit,
    /// Never.
    Never,
    /// It flushes the whole cache.
    Everything,
}

/// Which loads exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadLock {
    /// Loads of the same key; the waiting requests get what the first one stored.
    PerKey,
    /// All loads.
    Global,
    /// None.
    Unlocked,
}

/// The settings. The default is correct.
#[derive(Clone)]
pub(crate) struct FrontCacheConfig {
    pub(crate) redis_client_config: RedisClientConfig,
    /// The key of an answer.
    pub(crate) name: fn(&DataRequest) -> String,
    /// TTL of the first tier in the process; `None`: there is none.
    pub(crate) local: Option<Duration>,
    /// TTL of the text of a post in a separate cache that no write invalidates; `None`: there is none.
    pub(crate) text_ttl: Option<Duration>,
    /// The keys that a write invalidates.
    pub(crate) invalidated_keys: fn(&DataRequest) -> Vec<String>,
    /// `None`: values never expire.
    pub(crate) ttl: Option<Duration>,
    pub(crate) invalidation: InvalidationPolicy,
    /// Whether a value is stored only if its key was not invalidated during the load.
    pub(crate) leases: bool,
    /// Added to the duration of every load.
    pub(crate) extra_load_time: Duration,
    /// If a load takes longer, the answer is 503.
    pub(crate) load_timeout: Duration,
    /// Which answers are stored.
    pub(crate) is_stored: fn(StatusCode) -> bool,
    /// Longer answers are not stored.
    pub(crate) max_body_bytes: usize,
    pub(crate) load_lock: LoadLock,
    /// How often a whole read is retried if its value cannot be stored.
    pub(crate) retries: u32,
    /// How long a request waits before it falls back.
    pub(crate) fallback_delay: Duration,
    /// n > 0: key locks never expire, and every n-th holder dies without storing; the others wait half a second. 0: off.
    pub(crate) lock_holder_dies_every: u64,
    /// Lines logged at each failure of Redis.
    pub(crate) log_lines_per_failure: usize,
    /// Whether a hit is reloaded and stored in the background, without a lease.
    pub(crate) refreshes_on_hit: bool,
    /// Whether the script is sent once and then called by its digest.
    pub(crate) script_once: bool,
    /// Whether a write whose deletion failed is answered with 503.
    pub(crate) writes_need_redis: bool,
}

impl Default for FrontCacheConfig {
    fn default() -> Self {
        Self {
            redis_client_config: RedisClientConfig::default(),
            name: DataRequest::key,
            local: None,
            text_ttl: None,
            invalidated_keys: DataRequest::invalidated_keys,
            ttl: Some(Duration::from_secs(60)),
            invalidation: InvalidationPolicy::AfterCommit,
            leases: true,
            extra_load_time: Duration::ZERO,
            load_timeout: Duration::from_secs(5),
            is_stored: |status| status == StatusCode::OK,
            max_body_bytes: usize::MAX,
            load_lock: LoadLock::PerKey,
            retries: 0,
            fallback_delay: Duration::ZERO,
            lock_holder_dies_every: 0,
            log_lines_per_failure: 0,
            refreshes_on_hit: false,
            script_once: false,
            writes_need_redis: false,
        }
    }
}
