//! What leaves a full first tier first.

use moka::policy::EvictionPolicy;

/// What leaves the first tier of [`TwoTier`](super::TwoTier) first when it is full. [`MemoryStore`](super::MemoryStore) has no choice: it
/// keeps a lease for each key that is being loaded, so TinyLFU would take every key that is loaded once for one that is used often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// What was used least recently.
    #[default]
    Lru,
    /// What is used least often (TinyLFU). A new value comes in only when its key is asked for more often than the one that would
    /// leave. So keys that are read once, by a crawler or an export, evict nothing.
    TinyLfu,
}

impl Eviction {
    /// `lru` or `tiny-lfu`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::TinyLfu => "tiny-lfu",
        }
    }

    /// The one with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Lru, Self::TinyLfu].into_iter().find(|one| one.name() == name)
    }

    pub(in crate::store) fn policy(self) -> EvictionPolicy {
        match self {
            Self::Lru => EvictionPolicy::lru(),
            Self::TinyLfu => EvictionPolicy::tiny_lfu(),
        }
    }
}
