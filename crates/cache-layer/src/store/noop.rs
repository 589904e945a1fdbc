use super::{CacheError, CacheStore, Cached, Invalidation, Lease, StoreStatus};
use crate::config::Strategy;
use crate::key::Key;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// Stores nothing: every read is a miss, every load goes to the database.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopStore;

#[async_trait]
impl CacheStore for NoopStore {
    fn strategy(&self) -> Strategy {
        Strategy::None
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::ALWAYS
    }

    async fn get(&self, _key: &Key) -> Result<Option<Cached>, CacheError> {
        Ok(None)
    }

    async fn lease(&self, _key: &Key) -> Result<Option<Lease>, CacheError> {
        Ok(None)
    }

    async fn fill(&self, _lease: &Lease, _value: &Bytes, _ttl: Duration) -> Result<bool, CacheError> {
        Ok(false)
    }

    async fn set(&self, _key: &Key, _value: &Bytes, _ttl: Duration) -> Result<(), CacheError> {
        Ok(())
    }

    async fn delete(&self, _what: &Invalidation) -> Result<u64, CacheError> {
        Ok(0)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        Ok(0)
    }
}
