mod answers;
mod config;
mod confirm;
mod erase;
mod ground;
mod info;
mod listener;
mod masters;
mod owed;
mod peek;
mod pool;
mod reads;
mod replicas;
mod scripts;
mod servers;
mod sweep;
mod trust;

use super::{CacheError, CacheStore, Cached, Invalidation, Lease, Leased, Peeked, ServerInfo, StoreStatus};
use crate::config::{Coherence, ConfigError, Strategy};
use crate::key::Key;
use crate::metrics::{Lookups, Metrics};
use crate::promise::{Ground, PromiseMetrics};
use async_trait::async_trait;
use bytes::Bytes;
pub use config::{Credentials, RedisConfig, SentinelTls, TlsConfig};
use confirm::Confirming;
use erase::{BATCH, Pledge};
use ground::RedisGround;
pub(in crate::store) use listener::Listener;
use owed::Owed;
use scripts::Scripts;
pub use servers::{Address, Topology};
use servers::{Servers, Via};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Between two attempts to pay what is owed before the end.
const PAUSE: Duration = Duration::from_millis(50);

/// The cache in Redis 7.0 or later.
///
/// A hit is one `HMGET`, with one `GET` for each tag in the same round trip. A miss takes a lease, and fills with one small script. See
/// [`crate`] for what is promised.
pub struct RedisStore {
    inner: Arc<Inner>,
    background: Mutex<JoinSet<()>>,
}

struct Inner {
    config: RedisConfig,
    servers: Servers,
    scripts: Scripts,
    owed: Owed,
    metrics: PromiseMetrics,
    lookups: Lookups,
    confirming: Confirming,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Starts connecting and returns at once; while the server cannot be reached, calls fail at once. Needs a tokio runtime.
    ///
    /// # Errors
    /// The URL cannot be understood; or the coherence is outbox and there is no namespace.
    pub fn open(config: RedisConfig, metrics: &Metrics) -> Result<Self, ConfigError> {
        if config.coherence == Coherence::Outbox && config.namespace.is_empty() {
            return Err(ConfigError::NoNamespace);
        }
        let (servers, mut background) = Servers::start(&config, metrics)?;
        let owed = Owed::new(config.owed_at_most);
        let (lookups, metrics) = (metrics.lookups(), metrics.promise().clone());
        let confirming = Confirming::new(config.replicas_remembered);
        let inner = Arc::new(Inner { config, servers, scripts: Scripts::new(), owed, metrics, lookups, confirming });
        background.spawn(Arc::clone(&inner).pay_what_is_owed());
        background.spawn(Arc::clone(&inner).watch_replicas());
        Ok(Self { inner, background: Mutex::new(background) })
    }

    pub(super) fn coherence(&self) -> Coherence {
        self.inner.config.coherence
    }

    /// Hears what other processes delete.
    pub(super) fn listener(&self) -> Listener {
        Listener { inner: Arc::clone(&self.inner) }
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    fn strategy(&self) -> Strategy {
        Strategy::Redis
    }

    fn status(&self) -> StoreStatus {
        let (breaker, connections) = (self.inner.servers.breaker(), self.inner.servers.connections());
        let (some, trusted) = self.inner.servers.trusted(Instant::now());
        let usable = self.inner.servers.usable() && some && !self.inner.owed.any();
        StoreStatus { usable, trusted, breaker, connections, owed_invalidations: self.inner.owed.len() }
    }

    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        self.inner.get(key).await
    }

    /// One round trip, redirections included.
    fn answers_within(&self) -> Option<Duration> {
        Some(self.inner.config.command_timeout)
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        self.inner.get_many(keys).await
    }

    async fn get_untrusted(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        self.inner.get_untrusted(keys).await
    }

    async fn lease(&self, key: &Key) -> Result<Leased, CacheError> {
        let mut answers = self.inner.leases(std::slice::from_ref(key)).await;
        answers.pop().unwrap_or(Ok(Leased::Never))
    }

    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        self.inner.leases(keys).await
    }

    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let mut answers = self.inner.fills(std::iter::once((lease, value, ttl))).await;
        answers.pop().unwrap_or(Ok(false))
    }

    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>> {
        self.inner.fills(fills.iter().map(|(lease, value, ttl)| (lease, value, *ttl))).await
    }

    async fn release(&self, lease: Lease) {
        self.inner.release(&lease).await;
    }

    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        let mut answers = self.inner.put(vec![self.inner.to_put(key, value, ttl)], false).await;
        answers.pop().unwrap_or(Ok(false)).map(|_| ())
    }

    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>> {
        let puts = values.iter().map(|(key, value, ttl)| self.inner.to_put(key, value, *ttl));
        let answers = self.inner.put(puts.collect(), false).await;
        answers.into_iter().map(|answer| answer.map(|_| ())).collect()
    }

    async fn set_if_absent(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let mut answers = self.inner.put(vec![self.inner.to_put(key, value, ttl)], true).await;
        answers.pop().unwrap_or(Ok(false))
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

    async fn confirm(&self, what: &Invalidation) -> bool {
        self.inner.confirm(what).await
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        let pledge = Pledge::new(&self.inner.owed, Some(what));
        let deleting = self.inner.delete(what, Via::Breaker);
        let gone = if what.patterns.is_empty() {
            timeout(self.inner.config.request_budget, deleting).await.map_err(|_| CacheError::Timeout)??
        } else {
            // A pass over all names takes as long as there are names; each of its commands is in time, or it ends.
            deleting.await?
        };
        pledge.done();
        Ok(gone)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        let pledge = Pledge::new(&self.inner.owed, None);
        let gone = self.inner.clear(Via::Breaker).await?;
        pledge.done();
        Ok(gone)
    }

    async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        self.inner.scan(pattern, at_most).await
    }

    fn grounds(&self, delta: Duration) -> Vec<Arc<dyn Ground>> {
        if self.inner.config.coherence != Coherence::Outbox {
            return Vec::new();
        }
        let ground = |server: Arc<servers::Server>| -> Arc<dyn Ground> {
            server.trust_at_most(delta);
            let patience = self.inner.config.command_timeout.max(Duration::from_millis(500));
            Arc::new(RedisGround { server, namespace: self.inner.config.namespace.clone(), patience })
        };
        self.inner.servers.all().into_iter().map(ground).collect()
    }

    async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        self.inner.peek(name).await
    }

    async fn servers(&self) -> Vec<ServerInfo> {
        let mut all = Vec::new();
        for server in self.inner.servers.all() {
            all.extend(info::ask(&server).await);
        }
        all
    }

    async fn ready(&self) {
        self.inner.servers.ready().await;
    }

    async fn ping(&self) -> Vec<(String, Result<Duration, CacheError>)> {
        self.inner.servers.ping().await
    }

    async fn close(&self, at_most: Duration) {
        let start = Instant::now();
        let mut background = std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        let pay = async {
            // Waited for: a payment that is cut off gives its debts back when its task is gone, and not before.
            background.shutdown().await;
            while self.inner.owed.any() && !self.inner.pay_once().await {
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(at_most, pay).await.ok();
        self.inner.confirming.close();
        self.inner.servers.close(at_most.saturating_sub(start.elapsed())).await;
    }
}
