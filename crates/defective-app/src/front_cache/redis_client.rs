//! The front cache's Redis client: one connection, a timeout for each command, a circuit breaker, and the invalidations that
//! failed and must be repeated.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedisFailure {
    /// Redis did not answer, or the breaker is open.
    Down,
    /// Redis answered with an error.
    Refused,
}

/// The client's settings. The default is correct; a defect changes one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedisClientConfig {
    /// The longest wait for a connection, and for a command.
    pub(crate) command_timeout: Duration,
    /// Failures in a row that open the breaker; `None`: it never opens.
    pub(crate) breaker_threshold: Option<u32>,
    /// How long it stays open before it lets one call through.
    pub(crate) breaker_open_time: Duration,
    /// Whether a broken connection is replaced.
    pub(crate) reconnects: bool,
    /// Whether an invalidation that failed is repeated before anything is read.
    pub(crate) retries_invalidations: bool,
    /// Whether each call opens a new connection, which is never closed.
    pub(crate) leaks_connections: bool,
}

impl Default for RedisClientConfig {
    fn default() -> Self {
        Self {
            command_timeout: Duration::from_millis(50),
            breaker_threshold: Some(3),
            breaker_open_time: Duration::from_millis(200),
            reconnects: true,
            retries_invalidations: true,
            leaks_connections: false,
        }
    }
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// Open: one call is let through at this time.
    until: Option<Instant>,
}

pub(crate) struct RedisClient {
    client: Option<Client>,
    redis_client_config: RedisClientConfig,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    /// Whether there was a connection before.
    was_connected: Mutex<bool>,
    breaker: Mutex<Breaker>,
    pending_invalidations: tokio::sync::Mutex<BTreeSet<String>>,
    leaked: Mutex<Vec<MultiplexedConnection>>,
}

impl RedisClient {
    pub(crate) fn new(url: Option<&str>, redis_client_config: RedisClientConfig) -> Self {
        Self {
            client: url.and_then(|url| Client::open(url).ok()),
            redis_client_config,
            connection: tokio::sync::Mutex::default(),
            was_connected: Mutex::default(),
            breaker: Mutex::default(),
            pending_invalidations: tokio::sync::Mutex::default(),
            leaked: Mutex::default(),
        }
    }

    /// Runs commands in one round trip, after the pending invalidations.
    pub(crate) async fn call<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisFailure> {
        self.check_breaker()?;
        let answer = match self.flush_pending().await {
            Ok(()) => self.send(commands).await,
            Err(failed) => Err(failed),
        };
        self.record_result(answer.as_ref().err() != Some(&RedisFailure::Down));
        answer
    }

    /// Removes keys. If that may have failed, it is repeated later: see [`RedisClientConfig::retries_invalidations`].
    pub(crate) async fn remove(&self, names: &[String]) -> Result<(), RedisFailure> {
        let removed = match self.check_breaker() {
            Ok(()) => {
                let removed = self.send(redis::pipe().del(names).ignore()).await;
                self.record_result(removed != Err(RedisFailure::Down));
                removed
            }
            Err(failed) => Err(failed),
        };
        if removed.is_err() && self.redis_client_config.retries_invalidations {
            self.pending_invalidations.lock().await.extend(names.iter().cloned());
        }
        removed
    }

    /// Repeats the pending invalidations. Calls that wait for the lock read only afterwards.
    async fn flush_pending(&self) -> Result<(), RedisFailure> {
        let mut pending_invalidations = self.pending_invalidations.lock().await;
        if pending_invalidations.is_empty() {
            return Ok(());
        }
        let names: Vec<&String> = pending_invalidations.iter().collect();
        self.send::<()>(redis::pipe().del(names).ignore()).await?;
        pending_invalidations.clear();
        Ok(())
    }

    async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisFailure> {
        let mut connection = self.connected().await?;
        match timeout(self.redis_client_config.command_timeout, commands.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if !error.is_io_error() && !error.is_connection_dropped() => Err(RedisFailure::Refused),
            Ok(Err(_)) | Err(_) => {
                // A late answer must not be taken for that of the next command.
                *self.connection.lock().await = None;
                Err(RedisFailure::Down)
            }
        }
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisFailure> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        let was_connected =
            std::mem::replace(&mut *self.was_connected.lock().unwrap_or_else(PoisonError::into_inner), true);
        if was_connected && !self.redis_client_config.reconnects {
            return Err(RedisFailure::Down);
        }
        let client = self.client.as_ref().ok_or(RedisFailure::Down)?;
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.redis_client_config.command_timeout))
            .set_response_timeout(None);
        let made = timeout(
            self.redis_client_config.command_timeout,
            client.get_multiplexed_async_connection_with_config(&limits),
        )
        .await;
        let connection = made.map_err(|_| RedisFailure::Down)?.map_err(|_| RedisFailure::Down)?;
        if self.redis_client_config.leaks_connections {
            self.leaked.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
        } else {
            *held = Some(connection.clone());
        }
        Ok(connection)
    }

    /// Whether a call may go through. An open breaker lets one through after each `breaker_open_time`.
    fn check_breaker(&self) -> Result<(), RedisFailure> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.until {
            Some(until) if Instant::now() < until => Err(RedisFailure::Down),
            Some(_) => {
                breaker.until = Some(Instant::now() + self.redis_client_config.breaker_open_time);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn record_result(&self, answered: bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *breaker = Breaker::default();
            return;
        }
        breaker.failures += 1;
        if self.redis_client_config.breaker_threshold.is_some_and(|most| breaker.failures >= most) {
            breaker.until = Some(Instant::now() + self.redis_client_config.breaker_open_time);
        }
    }
}
