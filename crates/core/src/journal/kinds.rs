//! Classifications in the journal: the path of a request, kinds of stale and of wrong responses.

use serde::{Deserialize, Serialize};

/// The path that a request takes through the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePath {
    /// Through the cache, like the requests of the app's users.
    Cached,
    /// Without the cache, by `target.bypass`.
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

/// The kind of a stale response, by what later reads of the same item returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleKind {
    /// Gone within the time that the scenario allows (`freshness.settle`).
    Transient,
    /// Still stale after that time: an invalidation was lost, or an old value was stored after it.
    Stuck,
    /// Still stale a second after the longest time that the app caches an answer (`freshness.ttl`): the entry has no
    /// TTL.
    BeyondTtl,
    /// The response without the cache is as old: the cache is not the cause.
    SourceRegressed,
    /// Not known: the run ended before, or too many others were being rechecked.
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

/// How a response was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongKind {
    /// Another item's.
    OtherItem,
    /// Another user's.
    OtherUser,
    /// A value that nobody wrote.
    NeverWritten,
    /// Parts of two values.
    Torn,
    /// "Not found" for an item that exists.
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
