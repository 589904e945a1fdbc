//! A store in which things happen when the test wants them to.

use async_trait::async_trait;
use bytes::Bytes;
use cache_layer::{
    CacheError, CacheStore, Cached, Invalidation, Key, Lease, MemoryConfig, MemoryStore, StoreStatus, Strategy,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The memory store, slower: each answer on the way of a read comes late, that of a fill when the gate opens.
pub struct Staged {
    pub inner: MemoryStore,
    pub delay: Duration,
    pub filled: Arc<Notify>,
    pub gate: Option<Arc<Notify>>,
}

impl Default for Staged {
    fn default() -> Self {
        Self {
            inner: MemoryStore::new(&MemoryConfig::default()),
            delay: Duration::ZERO,
            filled: Arc::default(),
            gate: None,
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
        tokio::time::sleep(self.delay).await;
        self.inner.get(key).await
    }

    async fn lease(&self, key: &Key) -> Result<Option<Lease>, CacheError> {
        tokio::time::sleep(self.delay).await;
        self.inner.lease(key).await
    }

    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        tokio::time::sleep(self.delay).await;
        let stored = self.inner.fill(lease, value, ttl).await;
        self.filled.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        stored
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
