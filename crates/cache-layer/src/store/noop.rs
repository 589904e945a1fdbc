use super::{CacheError, CacheStore, Cached, Invalidation, Lease, Leased, StoreStatus};
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

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        keys.iter().map(|_| Ok(None)).collect()
    }

    async fn lease(&self, _key: &Key) -> Result<Leased, CacheError> {
        Ok(Leased::Never)
    }

    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        keys.iter().map(|_| Ok(Leased::Never)).collect()
    }

    async fn fill(&self, _lease: &Lease, _value: &Bytes, _ttl: Duration) -> Result<bool, CacheError> {
        Ok(false)
    }

    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>> {
        fills.iter().map(|_| Ok(false)).collect()
    }

    async fn release(&self, _lease: Lease) {}

    async fn set(&self, _key: &Key, _value: &Bytes, _ttl: Duration) -> Result<(), CacheError> {
        Ok(())
    }

    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>> {
        values.iter().map(|_| Ok(())).collect()
    }

    async fn set_if_absent(&self, _key: &Key, _value: &Bytes, _ttl: Duration) -> Result<bool, CacheError> {
        Ok(false)
    }

    /// Refused: a count that is not kept would be a wrong one.
    async fn add(&self, _key: &Key, _by: i64, _ttl: Duration) -> Result<i64, CacheError> {
        Err(CacheError::Unavailable("the strategy none keeps no counters"))
    }

    async fn ttl(&self, _key: &Key) -> Result<Option<Duration>, CacheError> {
        Ok(None)
    }

    async fn expire(&self, _key: &Key, _ttl: Duration) -> Result<bool, CacheError> {
        Ok(false)
    }

    async fn delete(&self, _what: &Invalidation) -> Result<u64, CacheError> {
        Ok(0)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        Ok(0)
    }

    async fn scan(&self, _pattern: &str, _at_most: usize) -> Result<Vec<String>, CacheError> {
        Ok(Vec::new())
    }
}
