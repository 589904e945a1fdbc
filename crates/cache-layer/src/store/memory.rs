use super::{CacheError, CacheStore, Cached, Invalidation, Lease, StoreStatus};
use crate::config::Strategy;
use crate::glob;
use crate::key::{Group, Key};
use async_trait::async_trait;
use bytes::Bytes;
use moka::future::Cache as Moka;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How large the memory cache may grow.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Keys and values together, in bytes.
    pub max_bytes: u64,
    /// How long a loader may take before its lease ends.
    pub lease_ttl: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, lease_ttl: Duration::from_secs(10) }
    }
}

/// A cache in this process, with the same promise as the one in Redis. Other processes' writes do not reach it.
///
/// Leases and deletions of one key are serialised by moka's `and_compute_with`; a plain `get_with` beside `invalidate`
/// stores values that were invalidated during the load.
#[derive(Debug)]
pub struct MemoryStore {
    entries: Moka<String, Entry>,
    /// How often each group was invalidated. An entry of another count is no longer there.
    groups: RwLock<HashMap<&'static str, u64>>,
    lease_ttl: Duration,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Option<Value>,
    leases: Arc<[u128]>,
    /// The entry's life from now on, when it is put.
    ttl: Duration,
}

#[derive(Clone, Debug)]
struct Value {
    bytes: Bytes,
    until: Instant,
    group: Option<Group>,
    epoch: u64,
}

struct PerEntry;

impl moka::Expiry<String, Entry> for PerEntry {
    fn expire_after_create(&self, _key: &String, entry: &Entry, _at: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _key: &String,
        entry: &Entry,
        _at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl MemoryStore {
    /// An empty cache.
    #[must_use]
    pub fn new(config: &MemoryConfig) -> Self {
        let weight = |key: &String, entry: &Entry| {
            let value = entry.value.as_ref().map_or(0, |v| v.bytes.len());
            u32::try_from(key.len() + value + 96).unwrap_or(u32::MAX)
        };
        let entries = Moka::builder()
            .max_capacity(config.max_bytes)
            .weigher(weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(PerEntry)
            .build();
        Self { entries, groups: RwLock::default(), lease_ttl: config.lease_ttl }
    }

    fn epoch(&self, group: Option<Group>) -> u64 {
        let Some(group) = group else { return 0 };
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(group.name).copied().unwrap_or(0)
    }

    async fn remove(&self, key: &str) -> u64 {
        let gone = self.entries.entry_by_ref(key).and_compute_with(|_| async { Op::Remove }).await;
        u64::from(matches!(gone, CompResult::Removed(entry) if entry.value().value.is_some()))
    }

    async fn remove_where(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key).filter(|key| wanted(key)).collect();
        let mut removed = 0;
        for key in keys {
            removed += self.remove(&key).await;
        }
        removed
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
        let Some(value) = self.entries.get(key.name()).await.and_then(|entry| entry.value) else { return Ok(None) };
        let ttl = value.until.saturating_duration_since(Instant::now());
        if ttl.is_zero() || value.epoch != self.epoch(value.group) {
            return Ok(None);
        }
        Ok(Some(Cached { value: value.bytes, ttl }))
    }

    async fn lease(&self, key: &Key) -> Result<Option<Lease>, CacheError> {
        let token = rand::random();
        let lease = Lease { key: key.name().to_owned(), token, group: key.group(), epoch: self.epoch(key.group()) };
        let add = |entry: Option<moka::Entry<String, Entry>>| async move {
            let old = entry.map(moka::Entry::into_value);
            let leases = old.iter().flat_map(|e| e.leases.iter().copied()).chain([token]).collect();
            let value = old.and_then(|e| e.value);
            // A lease must not prolong the life of the value beside it.
            let ttl = value.as_ref().map_or(self.lease_ttl, |v| v.until.saturating_duration_since(Instant::now()));
            Op::Put(Entry { value, leases, ttl })
        };
        self.entries.entry_by_ref(key.name()).and_compute_with(add).await;
        Ok(Some(lease))
    }

    async fn fill(&self, lease: &Lease, bytes: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        if lease.epoch != self.epoch(lease.group) {
            return Ok(false);
        }
        let put = |entry: Option<moka::Entry<String, Entry>>| async move {
            let Some(entry) = entry.map(moka::Entry::into_value) else { return Op::Nop };
            if !entry.leases.contains(&lease.token) {
                return Op::Nop;
            }
            let leases = entry.leases.iter().copied().filter(|t| *t != lease.token).collect();
            let until = Instant::now() + ttl;
            let value = Value { bytes: bytes.clone(), until, group: lease.group, epoch: lease.epoch };
            Op::Put(Entry { value: Some(value), leases, ttl })
        };
        let result = self.entries.entry_by_ref(&lease.key).and_compute_with(put).await;
        // The value carries the group's count of before the load, so an invalidation in between keeps it from being read.
        let stored = matches!(result, CompResult::Inserted(_) | CompResult::ReplacedWith(_));
        Ok(stored && lease.epoch == self.epoch(lease.group))
    }

    async fn set(&self, key: &Key, bytes: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        let (group, epoch) = (key.group(), self.epoch(key.group()));
        let value = Value { bytes: bytes.clone(), until: Instant::now() + ttl, group, epoch };
        let entry = Entry { value: Some(value), leases: Arc::new([]), ttl };
        self.entries.entry_by_ref(key.name()).and_compute_with(|_| async { Op::Put(entry) }).await;
        Ok(())
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        for group in &what.groups {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            *groups.entry(group.name).or_default() += 1;
        }
        let mut removed = 0;
        for key in &what.keys {
            removed += self.remove(key).await;
        }
        for pattern in &what.patterns {
            removed += self.remove_where(|key| glob::matches(pattern, key)).await;
        }
        Ok(removed)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        Ok(self.remove_where(|_| true).await)
    }
}
