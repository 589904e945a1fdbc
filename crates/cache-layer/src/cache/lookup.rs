use crate::bulkhead::Full;
use bytes::Bytes;
use std::time::Duration;

/// How long a loaded value may be served as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// As long as its key's class says.
    Class,
    /// This long.
    Fixed(Duration),
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup<V = Bytes> {
    /// The value; `None` when there is no such thing.
    pub value: Option<V>,
    /// Where it came from.
    pub status: Status,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The cache had it; it is fresh for `ttl` more.
    Hit {
        /// What is left of its life.
        ttl: Duration,
    },
    /// The cache had it, past its TTL or [not trusted](StaleReason::Untrusted). As far as the cache knew it was not invalidated when
    /// the request began, but it may be older than the last write.
    Stale {
        /// How long ago it was loaded.
        age: Duration,
        /// How long ago its TTL ended; zero when it has not.
        expired: Duration,
        /// Why it was served all the same.
        why: StaleReason,
    },
    /// The cache did not have it.
    Miss {
        /// It does now, as far as this request knows.
        stored: bool,
        /// Another request's load was shared, of this process or another.
        collapsed: bool,
    },
    /// The cache gave no answer.
    Fallback,
    /// The cache was not asked, on purpose.
    Bypass,
}

/// Why a value that is not fresh was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// It is loaded anew in the background.
    Revalidating,
    /// Its load failed, just now or a moment ago.
    LoadFailed,
    /// Its load takes too long.
    LoadSlow,
    /// Too many loads run already.
    Overloaded,
    /// Its load failed, and it is not known whether the cache reflects what was committed ([`crate::Coherence::Outbox`]).
    Untrusted,
}

impl StaleReason {
    pub(crate) const fn of<E>(error: &LoadError<E>) -> Self {
        match error {
            LoadError::TimedOut => Self::LoadSlow,
            LoadError::Overloaded(_) => Self::Overloaded,
            LoadError::Failed(_) | LoadError::Unencodable(_) => Self::LoadFailed,
        }
    }

    /// A short name for metrics and headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revalidating => "revalidating",
            Self::LoadFailed => "load_failed",
            Self::LoadSlow => "load_slow",
            Self::Overloaded => "overloaded",
            Self::Untrusted => "untrusted",
        }
    }
}

/// Why there is no value: nothing in the cache that may be served, and none from the loader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError<E> {
    /// The loader failed.
    #[error(transparent)]
    Failed(E),
    /// The load was given up after the hard timeout of its key's class.
    #[error("the load was given up: it took too long")]
    TimedOut,
    /// The loader was not called: too many run already ([`crate::Cache::with_loads_at_most`]).
    #[error(transparent)]
    Overloaded(Full),
    /// The loaded value has no JSON form.
    #[error("the loaded value cannot be encoded: {0}")]
    Unencodable(String),
}

impl<E> LoadError<E> {
    /// The same with another loader's error.
    pub fn map<O>(self, change: impl FnOnce(E) -> O) -> LoadError<O> {
        match self {
            Self::Failed(error) => LoadError::Failed(change(error)),
            Self::TimedOut => LoadError::TimedOut,
            Self::Overloaded(full) => LoadError::Overloaded(full),
            Self::Unencodable(why) => LoadError::Unencodable(why),
        }
    }
}

impl<V> Lookup<V> {
    /// The same with the value changed.
    pub fn map<W>(self, change: impl FnOnce(V) -> W) -> Lookup<W> {
        Lookup { value: self.value.map(change), status: self.status }
    }
}
