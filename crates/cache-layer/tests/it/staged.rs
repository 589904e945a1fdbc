//! A store in which things happen when the test wants them to.

use async_trait::async_trait;
use bytes::Bytes;
use cache_layer::{
    Cache, CacheError, CacheStore, Cached, Invalidation, Key, Lease, Leased, MemoryConfig, MemoryStore, Metrics,
    StoreStatus, Strategy,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// The memory store, slower: each answer on the way of a read comes late, that of a fill when the gate opens. Several can share one
/// memory, as processes share a server.
pub struct Staged {
    pub inner: Arc<MemoryStore>,
    pub delay: Duration,
    pub filled: Arc<Notify>,
    pub gate: Option<Arc<Notify>>,
    /// How often each operation was asked for: one for each round trip.
    pub calls: Arc<Calls>,
    /// Answers nothing but errors.
    pub down: Arc<AtomicBool>,
    /// A lease of one key is asked for when this opens.
    pub leases: Option<Arc<Notify>>,
    /// The answers of leases come when this opens.
    pub granted: Option<Arc<Notify>>,
    /// From this fill on, none is vouched for, as after a lost invalidation.
    pub rejects_from: Arc<AtomicU32>,
    /// One permit for each value that may be set.
    pub sets: Option<Arc<Semaphore>>,
}

#[derive(Default)]
pub struct Calls {
    pub get: AtomicU32,
    pub lease: AtomicU32,
    /// Leases answered by the memory beneath, whoever still waits for that.
    pub leased: AtomicU32,
    pub fill: AtomicU32,
    pub release: AtomicU32,
}

impl Calls {
    /// Look-ups, leases, fills, leases given back.
    pub fn counts(&self) -> [u32; 4] {
        [&self.get, &self.lease, &self.fill, &self.release].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Staged {
    /// A cache over it that no slow machine makes impatient: each answer is waited for, and most tests are not about how long.
    pub fn patient(self) -> Cache {
        Cache::new(Arc::new(self), Metrics::default()).with_request_budget(Duration::from_secs(60))
    }

    async fn answer_leases(&self) {
        self.calls.leased.fetch_add(1, Ordering::SeqCst);
        if let Some(granted) = &self.granted {
            granted.notified().await;
        }
    }

    fn called(&self, count: &AtomicU32) -> Result<(), CacheError> {
        count.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) { Err(CacheError::Unavailable("down")) } else { Ok(()) }
    }

    fn called_for<T>(&self, count: &AtomicU32, keys: usize) -> Result<(), Vec<Result<T, CacheError>>> {
        self.called(count).map_err(|error| (0..keys).map(|_| Err(error.clone())).collect())
    }
}

impl Default for Staged {
    fn default() -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(&MemoryConfig::default())),
            delay: Duration::ZERO,
            filled: Arc::default(),
            gate: None,
            calls: Arc::default(),
            down: Arc::default(),
            leases: None,
            granted: None,
            rejects_from: Arc::new(AtomicU32::new(u32::MAX)),
            sets: None,
        }
    }
}

#[async_trait]
impl CacheStore for Staged {
    fn strategy(&self) -> Strategy {
        Strategy::Redis
    }

    fn status(&self) -> StoreStatus {
        self.inner.status()
    }

    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        self.called(&self.calls.get)?;
        tokio::time::sleep(self.delay).await;
        self.inner.get(key).await
    }

    async fn lease(&self, key: &Key) -> Result<Leased, CacheError> {
        self.called(&self.calls.lease)?;
        tokio::time::sleep(self.delay).await;
        if let Some(gate) = &self.leases {
            gate.notified().await;
        }
        let leased = self.inner.lease(key).await;
        self.answer_leases().await;
        leased
    }

    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        self.called(&self.calls.fill)?;
        tokio::time::sleep(self.delay).await;
        let rejected = self.calls.fill.load(Ordering::SeqCst) >= self.rejects_from.load(Ordering::SeqCst);
        let stored = self.inner.fill(lease, value, ttl).await.map(|stored| stored && !rejected);
        self.filled.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        stored
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        match self.called_for(&self.calls.get, keys.len()) {
            Ok(()) => self.inner.get_many(keys).await,
            Err(errors) => errors,
        }
    }

    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        match self.called_for(&self.calls.lease, keys.len()) {
            Ok(()) => {
                let leased = self.inner.lease_many(keys).await;
                self.answer_leases().await;
                leased
            }
            Err(errors) => errors,
        }
    }

    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>> {
        match self.called_for(&self.calls.fill, fills.len()) {
            Ok(()) => self.inner.fill_many(fills).await,
            Err(errors) => errors,
        }
    }

    async fn release(&self, lease: Lease) {
        self.called(&self.calls.release).ok();
        self.inner.release(lease).await;
    }

    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>> {
        if let Some(sets) = &self.sets {
            sets.acquire().await.expect("never closed").forget();
        }
        self.inner.set_many(values).await
    }

    async fn set_if_absent(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        self.inner.set_if_absent(key, value, ttl).await
    }

    async fn add(&self, key: &Key, by: i64, ttl: Duration) -> Result<i64, CacheError> {
        self.inner.add(key, by, ttl).await
    }

    async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError> {
        self.inner.ttl(key).await
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError> {
        self.inner.expire(key, ttl).await
    }

    async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        self.inner.scan(pattern, at_most).await
    }

    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        self.inner.set(key, value, ttl).await
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        self.inner.delete(what).await
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        self.inner.clear().await
    }
}

/// A clock that stands still until it is moved. It begins at the machine's time, since stores end values by theirs.
#[derive(Debug)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn now() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(cache_layer::Clock::now_ms(&cache_layer::SystemClock))))
    }

    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).expect("small"), Ordering::SeqCst);
    }
}

impl cache_layer::Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
