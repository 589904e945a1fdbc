//! How long moka's entries live: each until it says itself.
//!
//! Also how long they still live when they are looked at. Moka reads the clock then, and tells whoever decides about lives what it knows:
//! taken from there, a hit in memory costs one look at the clock and not two, each of which is an eighth of it.

use ahash::RandomState;
use moka::sync::Cache as Moka;
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static LEFT: Cell<Option<Duration>> = const { Cell::new(None) };
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
        _at: Instant,
        left: Option<Duration>,
        _modified: Instant,
    ) -> Option<Duration> {
        LEFT.set(left);
        left
    }
}

/// What is there, and how long it still lives.
pub(super) fn look<V>(entries: &Moka<String, V, RandomState>, key: &str) -> Option<(V, Duration)>
where
    V: Living + Clone + Send + Sync + 'static,
{
    // That of an earlier look is another's.
    LEFT.set(None);
    let entry = entries.get(key)?;
    let left = LEFT.take().unwrap_or_else(|| entry.until().saturating_duration_since(Instant::now()));
    Some((entry, left))
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
    fn moka_says_how_long_an_entry_still_lives() {
        let entries = Moka::builder().expire_after(Lives).build_with_hasher(RandomState::new());
        let until = Instant::now() + Duration::from_secs(3600);
        entries.insert("a".to_owned(), Until(until));
        let at_most = until - Instant::now();
        assert!(entries.get("a").is_some());
        let told = LEFT.take().expect("the release of moka in use tells");
        assert!(told <= at_most && until - Instant::now() <= told);
        LEFT.set(Some(Duration::from_secs(7200)));
        assert!(look(&entries, "a").expect("it is there").1 <= told, "not that of an earlier look");
    }
}
