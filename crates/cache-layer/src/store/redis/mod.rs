mod owed;
mod pool;
mod scripts;

use super::{CacheError, CacheStore, Cached, Invalidation, Lease, StoreStatus};
use crate::backoff::Backoff;
use crate::breaker::{Breaker, BreakerConfig, BreakerState};
use crate::config::{ConfigError, Strategy};
use crate::glob;
use crate::key::{Group, Key, SERVICES};
use crate::metrics::Metrics;
use async_trait::async_trait;
use bytes::Bytes;
use owed::Owed;
use pool::Pool;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, ErrorKind, IntoConnectionInfo, RedisResult, ServerErrorKind};
use scripts::Scripts;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Keys handled by one `SCAN` or `UNLINK`: some 100 µs of the server's time.
const BATCH: usize = 500;

/// How to reach Redis, and how long to wait for what.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[[user]:password@]host:port[/db]`. May hold a password: not shown by `Debug`.
    pub url: String,
    /// Put in front of every key, `prod:` for instance.
    pub namespace: String,
    /// Connections, each multiplexed.
    pub connections: usize,
    /// The longest wait for a new connection, and for its first answer.
    pub connect_timeout: Duration,
    /// The longest wait for one command.
    pub command_timeout: Duration,
    /// The longest wait for all commands of one deletion.
    pub request_budget: Duration,
    /// Timeouts in a row after which a connection is replaced.
    pub timeouts_to_replace: u32,
    /// Reconnecting: the limit of the first random wait.
    pub backoff: Duration,
    /// Reconnecting: the limit of the longest random wait.
    pub backoff_at_most: Duration,
    /// How long a loader may take before its lease ends and its value is not stored.
    pub lease_ttl: Duration,
    /// Lost invalidations to remember one by one; above, everything is cleared.
    pub owed_at_most: usize,
    /// When to stop asking.
    pub breaker: BreakerConfig,
}

impl RedisConfig {
    /// The defaults, for the server at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: String::new(),
            connections: 3,
            connect_timeout: Duration::from_millis(200),
            command_timeout: Duration::from_millis(50),
            request_budget: Duration::from_millis(100),
            timeouts_to_replace: 2,
            backoff: Duration::from_millis(50),
            backoff_at_most: Duration::from_millis(500),
            lease_ttl: Duration::from_secs(10),
            owed_at_most: 10_000,
            breaker: BreakerConfig::default(),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The cache in Redis 7.0 or later.
///
/// A hit is one `HMGET`. A miss takes a lease (one transaction), and fills with one small script. See [`crate`] for
/// what is promised.
pub struct RedisStore {
    inner: Arc<Inner>,
    _background: JoinSet<()>,
}

struct Inner {
    config: RedisConfig,
    pool: Arc<Pool>,
    breaker: Breaker,
    scripts: Scripts,
    owed: Owed,
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
    /// The URL cannot be understood.
    pub fn open(config: RedisConfig, metrics: &Metrics) -> Result<Self, ConfigError> {
        // The error of a bad URL may repeat it, password included; so it is dropped.
        let info = config.url.as_str().into_connection_info().map_err(|_| ConfigError::RedisUrl)?;
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(Duration::from_secs(2));
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(|_| ConfigError::RedisUrl)?;
        let (pool, mut background) = Pool::start(client, &config);
        let breaker = Breaker::new(config.breaker.clone(), metrics.breaker_state(), Instant::now());
        let owed = Owed::new(config.owed_at_most);
        let inner = Arc::new(Inner { config, pool, breaker, scripts: Scripts::new(), owed });
        background.spawn(Arc::clone(&inner).pay_what_is_owed());
        Ok(Self { inner, _background: background })
    }
}

/// Whether a call asks the breaker, as requests do, or is itself the attempt to get well.
#[derive(Clone, Copy)]
enum Via {
    Breaker,
    Direct,
}

impl Inner {
    /// One command, in time, on a connection that is up. The breaker and the connection learn how it went.
    async fn call<T, F, R>(&self, via: Via, command: F) -> Result<T, CacheError>
    where
        F: FnOnce(MultiplexedConnection) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let permit = match via {
            Via::Breaker => {
                Some(self.breaker.permit(Instant::now()).ok_or(CacheError::Unavailable("the breaker is open"))?)
            }
            Via::Direct => None,
        };
        let (well, result) = self.call_now(command).await;
        if let Some(permit) = permit {
            permit.record(well, Instant::now());
        }
        result
    }

    async fn call_now<T, F, R>(&self, command: F) -> (bool, Result<T, CacheError>)
    where
        F: FnOnce(MultiplexedConnection) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let Some(connection) = self.pool.pick() else {
            return (false, Err(CacheError::Unavailable("no connection is up")));
        };
        match timeout(self.config.command_timeout, command(connection.get())).await {
            Ok(Ok(value)) => {
                Pool::answered(&connection);
                (true, Ok(value))
            }
            Ok(Err(error)) if pool::is_fatal(&error) => {
                self.pool.replace(&connection, &error.to_string());
                (false, Err(CacheError::Connection(error.to_string())))
            }
            Ok(Err(error)) => {
                Pool::answered(&connection);
                let loading = matches!(error.kind(), ErrorKind::Server(ServerErrorKind::BusyLoading));
                (!loading, Err(CacheError::Server(error.to_string())))
            }
            Err(_elapsed) => {
                self.pool.silent(&connection);
                (false, Err(CacheError::Timeout))
            }
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.config.namespace)
    }

    fn refuse_while_owing(&self) -> Result<(), CacheError> {
        if self.owed.any() {
            return Err(CacheError::Unavailable("a lost invalidation is being made up for"));
        }
        Ok(())
    }

    async fn delete(&self, what: &Invalidation, via: Via) -> Result<u64, CacheError> {
        let mut gone = 0;
        for keys in what.keys.chunks(BATCH) {
            gone += self.unlink(keys.iter().map(|key| self.name(key)).collect(), via).await?;
        }
        for group in &what.groups {
            gone += self.delete_group(*group, via).await?;
        }
        for pattern in &what.patterns {
            gone += self.delete_pattern(pattern, via).await?;
        }
        Ok(gone)
    }

    async fn unlink(&self, names: Vec<String>, via: Via) -> Result<u64, CacheError> {
        self.call(via, |mut c| async move { redis::cmd("UNLINK").arg(names).query_async(&mut c).await }).await
    }

    async fn delete_group(&self, group: Group, via: Via) -> Result<u64, CacheError> {
        let set = self.name(group.name);
        let call = self.scripts.drop_group(&set);
        let (sealed, gone): (u8, u64) = self.call(via, |mut c| async move { call.invoke_async(&mut c).await }).await?;
        if sealed == 1 {
            return Ok(gone);
        }
        let mark = scripts::new_mark();
        let begin = scripts::begin_pass(&set, &mark);
        self.call(via, |mut c| async move { begin.exec_async(&mut c).await }).await?;
        let found = self.delete_pattern(&format!("{}:*", glob::escaped(group.name)), via).await?;
        let seal = self.scripts.seal_group(&set, &mark);
        let _sealed: u8 = self.call(via, |mut c| async move { seal.invoke_async(&mut c).await }).await?;
        Ok(gone + found)
    }

    /// Every key that is there from beginning to end is met: `SCAN` guarantees that much.
    async fn delete_pattern(&self, pattern: &str, via: Via) -> Result<u64, CacheError> {
        let pattern = format!("{}{pattern}", glob::escaped(&self.config.namespace));
        let (mut cursor, mut gone) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(BATCH);
            let (next, names): (u64, Vec<String>) =
                self.call(via, |mut c| async move { scan.query_async(&mut c).await }).await?;
            if !names.is_empty() {
                gone += self.unlink(names, via).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(gone);
            }
        }
    }

    async fn clear(&self, via: Via) -> Result<u64, CacheError> {
        if !self.config.namespace.is_empty() {
            return self.delete_pattern("*", via).await;
        }
        let mut gone = 0;
        for service in SERVICES {
            gone += self.delete_pattern(&format!("{}:*", service.name()), via).await?;
        }
        Ok(gone)
    }

    /// Makes up for lost invalidations as soon as the server can be reached, and only then lets reads through.
    async fn pay_what_is_owed(self: Arc<Self>) {
        let mut came_up = self.pool.watch();
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_at_most);
        loop {
            if !self.owed.any() {
                tokio::select! {
                    () = self.owed.added.notified() => {}
                    _ = came_up.changed() => self.breaker.try_now(),
                }
                continue;
            }
            came_up.mark_unchanged();
            let debts = self.owed.take();
            let paid = if debts.everything {
                self.clear(Via::Direct).await
            } else {
                self.delete(&debts.to_invalidation(), Via::Direct).await
            };
            match paid {
                Ok(_) => {
                    backoff.reset();
                    if self.owed.paid() {
                        tracing::info!("lost invalidations are made up for; reading from the cache again");
                        self.breaker.try_now();
                    }
                }
                Err(_) => {
                    self.owed.unpaid(debts);
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                        _ = came_up.changed() => {}
                    }
                }
            }
        }
    }
}

/// Owes an invalidation unless told that it was done: also when the request that wanted it is cancelled.
struct Pledge<'a> {
    owed: &'a Owed,
    what: Option<&'a Invalidation>,
}

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.what {
            self.owed.add(what);
        }
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    fn strategy(&self) -> Strategy {
        Strategy::Redis
    }

    fn status(&self) -> StoreStatus {
        let (breaker, connections) = (self.inner.breaker.state(), self.inner.pool.up());
        let usable = breaker != BreakerState::Open && connections > 0 && !self.inner.owed.any();
        StoreStatus { usable, breaker, connections, owed_invalidations: self.inner.owed.len() }
    }

    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        self.inner.refuse_while_owing()?;
        let mut command = redis::cmd("HMGET");
        command.arg(self.inner.name(key.name())).arg("v").arg("e");
        let (value, end): (Option<Vec<u8>>, Option<u64>) =
            self.inner.call(Via::Breaker, |mut c| async move { command.query_async(&mut c).await }).await?;
        Ok(value.map(|value| Cached { value: value.into(), ttl: end.map_or(Duration::ZERO, scripts::left) }))
    }

    async fn lease(&self, key: &Key) -> Result<Option<Lease>, CacheError> {
        let epoch = self.inner.owed.epoch();
        self.inner.refuse_while_owing()?;
        let lease = Lease { key: self.inner.name(key.name()), token: rand::random(), group: key.group(), epoch };
        let set = key.group().map(|group| self.inner.name(group.name));
        let pipe = scripts::lease(&lease.key, set.as_deref(), lease.token, self.inner.config.lease_ttl);
        self.inner.call(Via::Breaker, |mut c| async move { pipe.exec_async(&mut c).await }).await?;
        Ok(Some(lease))
    }

    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let call = self.inner.scripts.fill(&lease.key, lease.token, value, ttl);
        let stored: u8 = self.inner.call(Via::Breaker, |mut c| async move { call.invoke_async(&mut c).await }).await?;
        // An invalidation that got lost since could not void the lease in Redis. Its replay will remove the value.
        Ok(stored == 1 && self.inner.owed.epoch() == lease.epoch)
    }

    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        let set = key.group().map(|group| self.inner.name(group.name));
        let pipe = scripts::set(&self.inner.name(key.name()), set.as_deref(), value, ttl);
        self.inner.call(Via::Breaker, |mut c| async move { pipe.exec_async(&mut c).await }).await
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        let mut pledge = Pledge { owed: &self.inner.owed, what: Some(what) };
        let deleting = self.inner.delete(what, Via::Breaker);
        let gone = timeout(self.inner.config.request_budget, deleting).await.map_err(|_| CacheError::Timeout)??;
        pledge.what = None;
        Ok(gone)
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        let cleared = self.inner.clear(Via::Breaker).await;
        if cleared.is_err() {
            self.inner.owed.add_everything();
        }
        cleared
    }

    async fn ready(&self) {
        let mut came_up = self.inner.pool.watch();
        while self.inner.pool.up() == 0 {
            if came_up.changed().await.is_err() {
                return;
            }
        }
    }
}
