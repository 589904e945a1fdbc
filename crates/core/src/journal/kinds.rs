//! What events are sorted by: which way a request took, how a stale answer ended, how an answer was wrong.

use serde::{Deserialize, Serialize};

/// Which way a request takes through the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePath {
    /// As the app's users go: through the cache.
    Cached,
    /// Past the cache, by `target.bypass`.
    Uncached,
}

impl CachePath {
    /// `cached` or `uncached`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Uncached => "uncached",
        }
    }
}

/// What became of a stale answer when it was looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleKind {
    /// Gone within the time that the scenario allows (`freshness.settle`).
    Transient,
    /// Still there after it: an invalidation was lost, or an old value was stored behind it.
    Stuck,
    /// Still there a second after the longest time that the app keeps an answer (`freshness.ttl`): the entry has no TTL.
    BeyondTtl,
    /// The answer past the cache is as old: not the cache's doing.
    SourceRegressed,
    /// The run ended before it could be told, or too many others were being looked at.
    #[serde(rename = "unsorted")]
    Unclassified,
}

impl StaleKind {
    /// Every kind, in the order in which reports list them.
    pub const ALL: [Self; 5] =
        [Self::Transient, Self::Stuck, Self::BeyondTtl, Self::SourceRegressed, Self::Unclassified];

    /// In words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Stuck => "stuck",
            Self::BeyondTtl => "beyond its TTL",
            Self::SourceRegressed => "the source regressed",
            Self::Unclassified => "unsorted",
        }
    }
}

/// How an answer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongKind {
    /// Another item's.
    OtherItem,
    /// Another user's.
    OtherUser,
    /// A value that nobody wrote.
    NeverWritten,
    /// Put together from two values.
    Torn,
    /// "Not found" for an item that is there.
    Lost,
}

impl WrongKind {
    /// Every kind, in the order in which reports list them.
    pub const ALL: [Self; 5] = [Self::OtherItem, Self::OtherUser, Self::NeverWritten, Self::Torn, Self::Lost];

    /// In words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherItem => "another item's",
            Self::OtherUser => "another user's",
            Self::NeverWritten => "never written",
            Self::Torn => "torn",
            Self::Lost => "lost",
        }
    }
}
