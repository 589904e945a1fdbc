//! Responses: their outcomes, and their times in histograms.

use serde::{Deserialize, Serialize};

use super::{CachePath, Histogram};

/// The outcome of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered from the cache.
    Hit,
    /// The cache did not have it.
    Miss,
    /// The app served an expired answer and said so.
    StaleServed,
    /// Answered without the cache because the request asked for that.
    Bypass,
    /// Answered without the cache because it could not be reached.
    Fallback,
    /// Answered, without a label about the cache: a write, or an app without cache headers.
    #[default]
    Plain,
    /// Not answered, or answered with a status other than success, or with a body that cannot be read.
    Error,
    /// Answered, but not with what was asked for.
    Wrong,
}

impl Outcome {
    /// Every outcome, in the order in which reports list them.
    pub const ALL: [Self; 8] =
        [Self::Hit, Self::Miss, Self::StaleServed, Self::Bypass, Self::Fallback, Self::Plain, Self::Error, Self::Wrong];

    /// Whether the hit rate counts an answer to a cacheable read as served from the cache. `None`: it does not count it,
    /// because the answer does not say, or because there was none. What went past the cache was not served from it, and
    /// a wrong answer is no hit.
    pub fn is_served_from_cache(self) -> Option<bool> {
        match self {
            Self::Hit | Self::StaleServed => Some(true),
            Self::Miss | Self::Bypass | Self::Fallback | Self::Wrong => Some(false),
            Self::Plain | Self::Error => None,
        }
    }

    /// In words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::StaleServed => "stale served",
            Self::Bypass => "bypass",
            Self::Fallback => "fallback",
            Self::Plain => "plain",
            Self::Error => "error",
            Self::Wrong => "wrong",
        }
    }
}

/// Responses of one phase, path, request and outcome in one [`CoarseSlice`](super::CoarseSlice).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseCell {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Path it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
    /// Its outcome.
    pub outcome: Outcome,
    /// Response times, from the intended start, nanoseconds.
    pub response: Histogram,
    /// Service times, from the actual send, nanoseconds.
    pub service: Histogram,
    /// Exact sum of the response times, nanoseconds.
    pub response_sum: u64,
    /// For each of [`RunStarted::limits`](super::RunStarted::limits), how many response times were above it.
    pub over: Vec<u64>,
    /// How many were older than the last write acknowledged before the request was sent.
    pub stale: u64,
    /// Reads whose freshness could be checked: a write of the item was acknowledged before, and the response carried
    /// a version. Only these can be stale.
    #[serde(default)]
    pub judged_fresh: u64,
}

/// One response, as an example of its kind of error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// `error`, `wrong` or `stale`.
    pub kind: String,
    /// The request line, e.g. `GET /posts/17`.
    pub request: String,
    /// What was wrong with the response, in words; bodies are shortened.
    pub detail: String,
}
