use super::lives::{Lives, Living, look};
use super::{CacheError, CacheStore, Cached, Invalidation, Lease, Leased, Peeked, StoreStatus, bounded};
use crate::config::Strategy;
use crate::glob;
use crate::key::Key;
use crate::store;
use ahash::RandomState;
use async_trait::async_trait;
use bytes::Bytes;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tags whose generations are remembered. The entries of a forgotten one are misses.
const TAGS_AT_MOST: u64 = 100_000;

/// Leases on one key at a time. A key whose loaders keep dying must not grow without end.
const LEASES_AT_MOST: usize = 16;

/// How large the memory cache may grow.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Keys and values together, in bytes.
    pub max_bytes: u64,
    /// How long a loader may take at least before its lease ends and its value is not stored: beside a value that lives longer, the lease does too.
    pub lease_ttl: Duration,
    /// How long others wait for the holder of a lease before one of them may load as well. Its lease stays good.
    pub lease_hold: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, lease_ttl: Duration::from_secs(10), lease_hold: Duration::from_secs(3) }
    }
}

/// A cache in this process, with the same promise as the one in Redis. Other processes' writes do not reach it.
///
/// Leases and deletions of one key are serialised by moka's `and_compute_with`; a plain `get_with` beside `invalidate`
/// stores values that were invalidated during the load.
#[derive(Debug)]
pub struct MemoryStore {
    entries: Moka<String, Entry, RandomState>,
    /// The generation of each tag. An entry of another generation is no longer there.
    tags: Moka<String, u128>,
    lease_ttl: Duration,
    lease_hold: Duration,
}

/// Cloned on every hit: what is large, or seldom there, is shared.
#[derive(Clone, Debug)]
struct Entry {
    kept: Option<Kept>,
    loading: Option<Arc<Loading>>,
    /// Its end: that of what is kept, or of a lease that outlives it.
    until: Instant,
}

#[derive(Clone, Debug)]
struct Kept {
    what: What,
    until: Instant,
}

#[derive(Clone, Debug)]
enum What {
    Value(Bytes, Tags),
    Count(i64),
}

/// The generations that a value's tags had before it was loaded; `None`: it bears none.
#[derive(Clone, Debug)]
struct Tags(Option<Arc<[(String, u128)]>>);

#[derive(Clone, Debug, Default)]
struct Loading {
    leases: Vec<u128>,
    /// Others wait for somebody who is loading it until then.
    held_until: Option<Instant>,
}

impl Tags {
    fn of(tags: Vec<(String, u128)>) -> Self {
        Self((!tags.is_empty()).then(|| tags.into()))
    }

    fn list(&self) -> &[(String, u128)] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Kept {
    fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

impl Entry {
    /// An entry with this in it; the leases of the one before are void.
    fn of(what: What, ttl: Duration) -> Self {
        Self::kept(Kept { what, until: Instant::now() + bounded(ttl) })
    }

    fn alive(&self, now: Instant) -> Option<&Kept> {
        self.kept.as_ref().filter(|kept| !kept.left(now).is_zero())
    }

    fn is_leased(&self, token: u128) -> bool {
        self.loading.as_ref().is_some_and(|loading| loading.leases.contains(&token))
    }

    fn kept(kept: Kept) -> Self {
        Self { until: kept.until, kept: Some(kept), loading: None }
    }

    /// With what is being loaded, and a life as long as that of the value and of the leases: one close to the value's end outlives it.
    fn loading(kept: Option<Kept>, loading: Loading, leased_until: Instant) -> Self {
        let until = kept.as_ref().map_or(leased_until, |kept| kept.until.max(leased_until));
        Self { kept, loading: Some(Arc::new(loading)), until }
    }

    /// What is kept and still alive, and what is being loaded.
    fn parts(self, now: Instant) -> (Option<Kept>, Loading) {
        let kept = self.kept.filter(|kept| !kept.left(now).is_zero());
        (kept, self.loading.map(Arc::unwrap_or_clone).unwrap_or_default())
    }
}

impl Living for Entry {
    fn until(&self) -> Instant {
        self.until
    }
}

/// Whether something was put.
fn put(result: &CompResult<String, Entry>) -> bool {
    matches!(result, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
}

impl MemoryStore {
    /// An empty cache.
    #[must_use]
    pub fn new(config: &MemoryConfig) -> Self {
        let weight = |key: &String, entry: &Entry| {
            let value = match entry.kept.as_ref().map(|kept| &kept.what) {
                Some(What::Value(bytes, tags)) => {
                    bytes.len() + tags.list().iter().map(|(tag, _)| tag.len() + 40).sum::<usize>()
                }
                Some(What::Count(_)) | None => 0,
            };
            let leases = entry.loading.as_ref().map_or(0, |loading| loading.leases.len());
            u32::try_from(key.len() + value + leases * 16 + 160).unwrap_or(u32::MAX)
        };
        let entries = Moka::builder()
            .max_capacity(config.max_bytes)
            .weigher(weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lives)
            .build_with_hasher(RandomState::new());
        let lease_ttl = bounded(config.lease_ttl);
        let lease_hold = config.lease_hold.min(lease_ttl);
        Self { entries, tags: Moka::new(TAGS_AT_MOST), lease_ttl, lease_hold }
    }

    fn generations(&self, key: &Key) -> Vec<(String, u128)> {
        let generation = |name: &str| self.tags.get_with_by_ref(name, rand::random);
        key.tags().iter().map(|tag| (tag.name().to_owned(), generation(tag.name()))).collect()
    }

    fn current(&self, tags: &[(String, u128)]) -> bool {
        tags.iter().all(|(name, generation)| self.tags.get(name) == Some(*generation))
    }

    /// What happens to one key happens one after the other.
    fn change(&self, key: &str, how: impl FnOnce(Option<Entry>) -> Op<Entry>) -> CompResult<String, Entry> {
        self.entries.entry_by_ref(key).and_compute_with(|entry| how(entry.map(moka::Entry::into_value)))
    }

    fn look(&self, key: &Key) -> Option<Cached> {
        let (entry, now) = look(&self.entries, key.name())?;
        let kept = entry.kept?;
        let ttl = kept.left(now);
        let What::Value(value, tags) = kept.what else { return None };
        let tags = tags.list();
        (!ttl.is_zero() && tags.len() == key.tags().len() && self.current(tags)).then_some(Cached { value, ttl })
    }

    fn take_lease(&self, key: &Key) -> Leased {
        let token = rand::random();
        let mut wait = Duration::ZERO;
        let result = self.change(key.name(), |entry| {
            let now = Instant::now();
            let (kept, mut loading) = entry.map(|entry| entry.parts(now)).unwrap_or_default();
            wait = loading.held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            if wait.is_zero() && loading.leases.len() >= LEASES_AT_MOST {
                wait = self.lease_hold.max(Duration::from_millis(1));
            }
            if !wait.is_zero() {
                return Op::Nop;
            }
            loading.held_until = Some(now + self.lease_hold);
            loading.leases.push(token);
            Op::Put(Entry::loading(kept, loading, now + self.lease_ttl))
        });
        if !put(&result) {
            return Leased::Held(wait);
        }
        // After the lease: a tag that changes from here on voids it.
        Leased::Granted(Lease { key: key.name().to_owned(), token, tags: self.generations(key), epoch: 0, seen: None })
    }

    fn store(&self, lease: &Lease, bytes: &Bytes, ttl: Duration) -> bool {
        let result = self.change(&lease.key, |entry| match entry {
            Some(entry) if entry.is_leased(lease.token) => {
                Op::Put(Entry::of(What::Value(bytes.clone(), Tags::of(lease.tags.clone())), ttl))
            }
            _ => Op::Nop,
        });
        // A value whose tag changed during its load is stored in vain.
        put(&result) && self.current(&lease.tags)
    }

    fn value(&self, key: &Key, bytes: &Bytes, ttl: Duration) -> Entry {
        Entry::of(What::Value(bytes.clone(), Tags::of(self.generations(key))), ttl)
    }

    fn remove(&self, key: &str) -> u64 {
        let gone = self.change(key, |_| Op::Remove);
        u64::from(matches!(gone, CompResult::Removed(entry) if entry.value().alive(Instant::now()).is_some()))
    }

    fn remove_where(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key).filter(|key| wanted(key)).collect();
        keys.iter().map(|key| self.remove(key)).sum()
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    fn strategy(&self) -> Strategy {
        Strategy::Memory
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::ALWAYS
    }

    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        Ok(self.look(key))
    }

    fn at_hand(&self, key: &Key) -> Option<Cached> {
        self.look(key)
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        keys.iter().map(|key| Ok(self.look(key))).collect()
    }

    async fn lease(&self, key: &Key) -> Result<Leased, CacheError> {
        Ok(self.take_lease(key))
    }

    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        keys.iter().map(|key| Ok(self.take_lease(key))).collect()
    }

    async fn fill(&self, lease: &Lease, bytes: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        Ok(self.store(lease, bytes, ttl))
    }

    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>> {
        fills.iter().map(|(lease, bytes, ttl)| Ok(self.store(lease, bytes, *ttl))).collect()
    }

    async fn release(&self, lease: Lease) {
        self.change(&lease.key, |entry| {
            let Some(entry) = entry.filter(|entry| entry.is_leased(lease.token)) else { return Op::Nop };
            let until = entry.until;
            let (kept, Loading { mut leases, .. }) = entry.parts(Instant::now());
            leases.retain(|token| *token != lease.token);
            match kept {
                None if leases.is_empty() => Op::Remove,
                Some(kept) if leases.is_empty() => Op::Put(Entry::kept(kept)),
                kept => Op::Put(Entry::loading(kept, Loading { leases, held_until: None }, until)),
            }
        });
    }

    async fn set(&self, key: &Key, bytes: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        let entry = self.value(key, bytes, ttl);
        self.change(key.name(), |_| Op::Put(entry));
        Ok(())
    }

    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>> {
        for (key, bytes, ttl) in values {
            let entry = self.value(key, bytes, *ttl);
            self.change(key.name(), |_| Op::Put(entry));
        }
        values.iter().map(|_| Ok(())).collect()
    }

    async fn set_if_absent(&self, key: &Key, bytes: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let new = self.value(key, bytes, ttl);
        let result = self.change(key.name(), |entry| {
            let there = entry.is_some_and(|entry| match entry.alive(Instant::now()).map(|kept| &kept.what) {
                Some(What::Value(_, tags)) => self.current(tags.list()),
                Some(What::Count(_)) => true,
                None => false,
            });
            if there { Op::Nop } else { Op::Put(new) }
        });
        Ok(put(&result))
    }

    async fn add(&self, key: &Key, by: i64, ttl: Duration) -> Result<i64, CacheError> {
        let mut count = Err(CacheError::Server("the key holds a value, not a counter".into()));
        self.change(key.name(), |entry| {
            let now = Instant::now();
            let (before, ttl) = match entry.as_ref().and_then(|entry| entry.alive(now)) {
                Some(Kept { what: What::Value(..), .. }) => return Op::Nop,
                Some(kept @ Kept { what: What::Count(n), .. }) => (*n, kept.left(now)),
                None => (0, ttl),
            };
            count =
                before.checked_add(by).ok_or_else(|| CacheError::Server("the counter would leave its range".into()));
            match count {
                Ok(count) => Op::Put(Entry::of(What::Count(count), ttl)),
                Err(_) => Op::Nop,
            }
        });
        count
    }

    async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError> {
        let now = Instant::now();
        Ok(self.entries.get(key.name()).and_then(|entry| entry.alive(now).map(|kept| kept.left(now))))
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError> {
        let result = self.change(key.name(), |entry| {
            let now = Instant::now();
            let Some(mut entry) = entry.filter(|entry| entry.alive(now).is_some()) else { return Op::Nop };
            entry.until = now + bounded(ttl);
            if let Some(kept) = &mut entry.kept {
                kept.until = entry.until;
            }
            Op::Put(entry)
        });
        Ok(put(&result))
    }

    async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        let now = Instant::now();
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let peeked = |kept: &Kept| {
            let (value, tags) = match &kept.what {
                What::Value(bytes, tags) => (store::Kept::Bytes(bytes.clone()), tags.list().len()),
                What::Count(count) => (store::Kept::Count(*count), 0),
            };
            Peeked { value, ttl: kept.left(now), tags }
        };
        Ok(entry.alive(now).map(peeked))
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        for tag in &what.tags {
            self.tags.insert(tag.name().to_owned(), rand::random());
        }
        let keys: u64 = what.keys.iter().map(|key| self.remove(key)).sum();
        let matching: u64 =
            what.patterns.iter().map(|pattern| self.remove_where(|key| glob::matches(pattern, key))).sum();
        Ok(keys + matching)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        Ok(self.remove_where(|_| true))
    }

    async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        let now = Instant::now();
        let alive = self.entries.iter().filter(|(_, entry)| entry.alive(now).is_some()).map(|(key, _)| (*key).clone());
        Ok(alive.filter(|key| glob::matches(pattern, key)).take(at_most).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::POSTS;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn after_its_leases_an_entry_is_as_if_it_had_never_been_leased() {
        let config = MemoryConfig { lease_ttl: Duration::MAX, lease_hold: Duration::ZERO, ..MemoryConfig::default() };
        let (store, key) = (MemoryStore::new(&config), POSTS.item(1));
        store.set(&key, &Bytes::from_static(b"v"), LONG).await.expect("memory does not fail");
        let entry = || store.entries.get(key.name()).expect("it is there");
        let before = entry().until;
        let leases = [(); 2].map(|()| store.take_lease(&key).granted().expect("nobody is waited for"));
        assert!(entry().until > before, "a lease outlives the value");
        let [first, second] = leases;
        let leased = entry().until;
        store.release(first).await;
        assert_eq!(entry().until, leased, "the other one lives no longer for that");
        store.release(second).await;
        assert!(entry().loading.is_none() && entry().until == before);
    }

    #[tokio::test]
    async fn a_key_whose_loaders_keep_dying_does_not_grow_without_end_whatever_the_hold() {
        let config = MemoryConfig { lease_hold: Duration::ZERO, ..MemoryConfig::default() };
        let (store, key) = (MemoryStore::new(&config), POSTS.item(1));
        let granted = (0..100).filter(|_| store.take_lease(&key).granted().is_some()).count();
        assert_eq!(granted, LEASES_AT_MOST);
    }
}
