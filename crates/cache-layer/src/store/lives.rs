//! How long moka's entries live: each until it says itself.
//!
//! Also when they were looked at. Moka reads the clock then, and tells whoever decides about lives: taken from there, a hit in memory costs
//! one look at the clock and not two, each of which is an eighth of it. How long an entry still lives, as moka says it in the same place,
//! may be the life of the entry before or after it, since both share it: each must be asked itself.

use ahash::RandomState;
use moka::sync::Cache as Moka;
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static LOOKED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What knows when its life ends.
pub(super) trait Living {
    fn until(&self) -> Instant;
}

/// To be given to moka when a cache is built.
pub(super) struct Lives;

impl<V: Living> moka::Expiry<String, V> for Lives {
    fn expire_after_create(&self, _key: &String, entry: &V, at: Instant) -> Option<Duration> {
        Some(entry.until().saturating_duration_since(at))
    }

    fn expire_after_update(&self, _key: &String, entry: &V, at: Instant, _left: Option<Duration>) -> Option<Duration> {
        Some(entry.until().saturating_duration_since(at))
    }

    fn expire_after_read(
        &self,
        _key: &String,
        _entry: &V,
        at: Instant,
        left: Option<Duration>,
        _modified: Instant,
    ) -> Option<Duration> {
        LOOKED_AT.set(Some(at));
        left
    }
}

/// What is there, and the moment at which moka looked: not before the call, and not after it.
pub(super) fn look<V>(entries: &Moka<String, V, RandomState>, key: &str) -> Option<(V, Instant)>
where
    V: Living + Clone + Send + Sync + 'static,
{
    // That of an earlier look would be too old.
    LOOKED_AT.set(None);
    let entry = entries.get(key)?;
    Some((entry, LOOKED_AT.take().unwrap_or_else(Instant::now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Until(Instant);

    impl Living for Until {
        fn until(&self) -> Instant {
            self.0
        }
    }

    #[test]
    fn moka_says_when_it_looked() {
        let entries = Moka::builder().expire_after(Lives).build_with_hasher(RandomState::new());
        let before = Instant::now();
        entries.insert("a".to_owned(), Until(before + Duration::from_secs(3600)));
        let began = Instant::now();
        assert!(entries.get("a").is_some());
        let told = LOOKED_AT.take().expect("the release of moka in use tells");
        assert!(began <= told && told <= Instant::now());
        LOOKED_AT.set(Some(before));
        let began = Instant::now();
        assert!(look(&entries, "a").expect("it is there").1 >= began, "not that of an earlier look");
    }
}
