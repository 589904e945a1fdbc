//! What can be turned in the front cache: each defect that it shows is one of these.

use super::RedisClientConfig;
use crate::data_request::DataRequest;
use axum::http::StatusCode;
use std::time::Duration;

/// When a write removes what it makes invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidationPolicy {
    /// After the commit, before the acknowledgement: right.
    AfterCommit,
    /// Before the write is sent to the database.
    BeforeCommit,
    /// Not at all.
    Never,
    /// The whole cache, each time.
    Everything,
}

/// Who may load at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadLock {
    /// One request for each key; the others get what it stored.
    PerKey,
    /// One request at all.
    Global,
    /// All.
    Unlocked,
}

/// What can be turned.
#[derive(Clone)]
pub(crate) struct FrontCacheConfig {
    pub(crate) redis_client_config: RedisClientConfig,
    /// What an answer is stored under.
    pub(crate) name: fn(&DataRequest) -> String,
    /// How long a value is kept in the process, too; `None`: not at all.
    pub(crate) local: Option<Duration>,
    /// How long the text of a post is kept apart from the rest, where no write reaches it; `None`: it is not.
    pub(crate) text_ttl: Option<Duration>,
    /// What a write makes invalid.
    pub(crate) invalidated_keys: fn(&DataRequest) -> Vec<String>,
    /// `None`: without an end.
    pub(crate) ttl: Option<Duration>,
    pub(crate) invalidation: InvalidationPolicy,
    /// Whether a value is stored only if its key was not invalidated since before its load.
    pub(crate) leases: bool,
    /// How much longer than its statement a load takes.
    pub(crate) extra_load_time: Duration,
    /// When a load takes longer, the answer is 503.
    pub(crate) load_timeout: Duration,
    /// Which answers are stored.
    pub(crate) is_stored: fn(StatusCode) -> bool,
    /// A longer answer is not stored.
    pub(crate) max_body_bytes: usize,
    pub(crate) load_lock: LoadLock,
    /// How often all of a read is tried again while its value cannot be stored.
    pub(crate) retries: u32,
    /// How long a request waits before it falls back.
    pub(crate) fallback_delay: Duration,
    /// Locks on keys never end, and the holder of every so-maniest dies; the others wait half a second for it. 0: none does.
    pub(crate) lock_holder_dies_every: u64,
    /// What is logged at each failure of Redis, so many times.
    pub(crate) log_lines_per_failure: usize,
    /// How hits are read: the value is loaded anew and stored in the background, without a lease.
    pub(crate) refreshes_on_hit: bool,
    /// Whether the script is sent once, and known by its digest ever after.
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
