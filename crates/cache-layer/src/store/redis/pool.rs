//! A few connections to one server, each replaced in the background when it breaks or falls silent.
//!
//! redis-rs' own connection manager makes requests wait through its reconnects and never replaces a connection that went
//! silent; here a request takes a connection that is up, or learns at once that there is none.

use super::RedisConfig;
use crate::backoff::Backoff;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A connection in use is looked at this often, so that a dead one is replaced before the next request finds it.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    slots: Vec<Slot>,
    next: AtomicUsize,
    /// Rises each time a connection comes up.
    came_up: watch::Sender<u64>,
    client: Client,
    config: RedisConfig,
}

#[derive(Default)]
struct Slot {
    connection: RwLock<Option<Arc<Connection>>>,
    emptied: Notify,
}

/// One live connection. Which one an answer came from matters: its silence must be told from another's.
pub(super) struct Connection {
    slot: usize,
    inner: MultiplexedConnection,
    timeouts_in_a_row: AtomicU32,
}

impl Connection {
    pub(super) fn get(&self) -> MultiplexedConnection {
        self.inner.clone()
    }
}

impl Pool {
    /// Starts connecting in the background. Dropping the `JoinSet` ends that.
    pub(super) fn start(client: Client, config: &RedisConfig) -> (Arc<Self>, JoinSet<()>) {
        let slots = (0..config.connections.max(1)).map(|_| Slot::default()).collect();
        let (came_up, _) = watch::channel(0);
        let pool = Arc::new(Self { slots, next: AtomicUsize::new(0), came_up, client, config: config.clone() });
        let mut keepers = JoinSet::new();
        for slot in 0..pool.slots.len() {
            keepers.spawn(Arc::clone(&pool).keep(slot));
        }
        (pool, keepers)
    }

    /// A connection that is up, in turn; `None` at once when there is none.
    pub(super) fn pick(&self) -> Option<Arc<Connection>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.slots.len()).find_map(|i| self.slots[start.wrapping_add(i) % self.slots.len()].get())
    }

    pub(super) fn up(&self) -> usize {
        self.slots.iter().filter(|slot| slot.get().is_some()).count()
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.came_up.subscribe()
    }

    /// An answer came, be it a refusal.
    pub(super) fn answered(connection: &Connection) {
        connection.timeouts_in_a_row.store(0, Ordering::Relaxed);
    }

    /// No answer came in time. One may be a pause; from the second on the connection is taken for dead.
    pub(super) fn silent(&self, connection: &Connection) {
        if connection.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= self.config.timeouts_to_replace {
            self.replace(connection, "it does not answer");
        }
    }

    pub(super) fn replace(&self, connection: &Connection, why: &str) {
        let slot = &self.slots[connection.slot];
        let mut held = slot.connection.write().unwrap_or_else(PoisonError::into_inner);
        if held.as_deref().is_some_and(|now| std::ptr::eq(now, connection)) {
            *held = None;
            drop(held);
            slot.emptied.notify_one();
            if self.up() == 0 {
                tracing::warn!(server = %self.client.get_connection_info().addr(), why, "lost the last connection to the cache");
            }
        }
    }

    /// The life of one slot: connect, publish, watch, and again.
    async fn keep(self: Arc<Self>, slot: usize) {
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_at_most);
        let mut came_up = self.watch();
        loop {
            came_up.mark_unchanged();
            match self.connect(slot).await {
                Ok(connection) => {
                    backoff.reset();
                    self.publish(slot, connection);
                    self.watch_over(slot).await;
                }
                Err(error) => {
                    tracing::debug!(%error, slot, "no connection to the cache yet");
                    // When a neighbour got through, the server is back: no need to sleep on.
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                        _ = came_up.changed() => {}
                    }
                }
            }
        }
    }

    /// Connects and asks for a sign of life: a frozen server still accepts connections.
    async fn connect(&self, slot: usize) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(512);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let inner = timeout(self.config.connect_timeout, connecting).await.map_err(|_| silence())??;
        let connection = Connection { slot, inner, timeouts_in_a_row: AtomicU32::new(0) };
        self.ping(&connection).await?;
        Ok(connection)
    }

    async fn ping(&self, connection: &Connection) -> RedisResult<()> {
        let mut inner = connection.get();
        let ping = redis::cmd("PING");
        timeout(self.config.connect_timeout, ping.exec_async(&mut inner)).await.map_err(|_| silence())?
    }

    fn publish(&self, slot: usize, connection: Connection) {
        let first = self.up() == 0;
        *self.slots[slot].connection.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(connection));
        if first {
            tracing::info!(server = %self.client.get_connection_info().addr(), "connected to the cache");
        }
        self.came_up.send_modify(|n| *n += 1);
    }

    async fn watch_over(&self, slot: usize) {
        loop {
            let wait = HEARTBEAT.mul_f64(0.75 + rand::random::<f64>() / 2.0);
            tokio::select! {
                () = self.slots[slot].emptied.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let Some(connection) = self.slots[slot].get() else { return };
            if let Err(error) = self.ping(&connection).await {
                self.replace(&connection, &error.to_string());
                return;
            }
        }
    }
}

impl Slot {
    fn get(&self) -> Option<Arc<Connection>> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the connection is of no more use after this error.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly))
}

fn silence() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
