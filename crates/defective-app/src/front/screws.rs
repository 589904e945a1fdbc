//! What can be turned in the front cache: each defect that it shows is one of these.

use super::Manners;
use crate::ask::Asked;
use axum::http::StatusCode;
use std::time::Duration;

/// When a write removes what it makes invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removes {
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
pub(crate) enum Gate {
    /// One request for each key; the others get what it stored.
    OneForEachKey,
    /// One request at all.
    OneForAll,
    /// All.
    Open,
}

/// What can be turned.
#[derive(Clone)]
pub(crate) struct Screws {
    pub(crate) manners: Manners,
    /// What an answer is stored under.
    pub(crate) name: fn(&Asked) -> String,
    /// How long a value is kept in the process, too; `None`: not at all.
    pub(crate) local: Option<Duration>,
    /// How long the text of a post is kept apart from the rest, where no write reaches it; `None`: it is not.
    pub(crate) text_apart: Option<Duration>,
    /// What a write makes invalid.
    pub(crate) made_invalid: fn(&Asked) -> Vec<String>,
    /// `None`: without an end.
    pub(crate) ttl: Option<Duration>,
    pub(crate) removes: Removes,
    /// Whether a value is stored only if its key was not invalidated since before its load.
    pub(crate) leases: bool,
    /// How much longer than its statement a load takes.
    pub(crate) load_takes: Duration,
    /// When a load takes longer, the answer is 503.
    pub(crate) load_at_most: Duration,
    /// Which answers are stored.
    pub(crate) stores: fn(StatusCode) -> bool,
    /// A longer answer is not stored.
    pub(crate) largest: usize,
    pub(crate) gate: Gate,
    /// How often all of a read is tried again while its value cannot be stored.
    pub(crate) retries: u32,
    /// How long a request waits before it falls back.
    pub(crate) fallback_after: Duration,
    /// Locks on keys never end, and the holder of every so-maniest dies; the others wait half a second for it. 0: none does.
    pub(crate) dies_every: u64,
    /// What is logged at each failure of Redis, so many times.
    pub(crate) laments: usize,
    /// How hits are read: the value is loaded anew and stored in the background, without a lease.
    pub(crate) refreshes: bool,
    /// Whether the script is sent once, and known by its digest ever after.
    pub(crate) script_once: bool,
    /// Whether a write whose deletion failed is answered with 503.
    pub(crate) writes_need_redis: bool,
}

impl Default for Screws {
    fn default() -> Self {
        Self {
            manners: Manners::default(),
            name: Asked::key,
            local: None,
            text_apart: None,
            made_invalid: Asked::made_invalid,
            ttl: Some(Duration::from_secs(60)),
            removes: Removes::AfterCommit,
            leases: true,
            load_takes: Duration::ZERO,
            load_at_most: Duration::from_secs(5),
            stores: |status| status == StatusCode::OK,
            largest: usize::MAX,
            gate: Gate::OneForEachKey,
            retries: 0,
            fallback_after: Duration::ZERO,
            dies_every: 0,
            laments: 0,
            refreshes: false,
            script_once: false,
            writes_need_redis: false,
        }
    }
}
