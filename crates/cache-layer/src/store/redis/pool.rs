//! A few connections to one server, each replaced in the background when it breaks or falls silent.
//!
//! redis-rs' own connection manager makes requests wait through its reconnects and never replaces a connection that went
//! silent; here a request takes a connection that is up, or learns at once that there is none. Who connects, and when: [`keeper`].

pub(super) mod keeper;

use super::RedisConfig;
use super::servers::{Address, Line, Place};
use super::trust::{Trust, Window};
use crate::config::Coherence;
use crate::metrics::Metrics;
use crate::store::CacheError;
use keeper::Trouble;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub(super) struct Pool {
    slots: Vec<RwLock<Option<Arc<Connection>>>>,
    next: AtomicUsize,
    count: watch::Sender<Count>,
    /// Rises each time a connection to any server of the deployment comes up.
    came_up: watch::Sender<u64>,
    /// The server answers a probe: one of those who wait to connect need not wait longer.
    knock: Notify,
    place: Place,
    /// Where it was last found.
    address: RwLock<Address>,
    config: RedisConfig,
    metrics: Metrics,
    shown: Mutex<Shown>,
    /// With the outbox: connections are looked at for the watermark instead of pinged.
    pub(super) trust: Option<Trust>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    up: usize,
    ever: u64,
}

/// What the log said last: each change of state is one line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Up,
    Down(Option<Trouble>),
}

/// One live connection. Which one an answer came from matters: its silence must be told from another's.
pub(super) struct Connection {
    slot: usize,
    inner: MultiplexedConnection,
    address: Address,
    /// Too long without an answer; no request is given to it until a ping is answered.
    suspect: AtomicBool,
    timeouts_in_a_row: AtomicU32,
    in_flight: AtomicUsize,
    /// Somebody would like to know whether it is alive.
    doubted: Notify,
    /// It is of no more use.
    retired: Notify,
    window: Window,
}

/// A connection in use by one round trip.
pub(super) struct Held {
    connection: Arc<Connection>,
    answered: bool,
}

/// Why a connection is given up; the label of `cache_connections_replaced_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It broke.
    Broken,
    /// It did not answer.
    Silent,
    /// The server at its other end does not take writes (any more).
    ReadOnly,
    /// The server moved.
    Moved,
    /// The store is closed.
    Closed,
}

impl Why {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Silent => "silent",
            Self::ReadOnly => "read_only",
            Self::Moved => "moved",
            Self::Closed => "closed",
        }
    }
}

impl Connection {
    pub(super) fn get(&self) -> MultiplexedConnection {
        self.inner.clone()
    }

    /// Until when what this connection reads may be relied on, if at all.
    pub(super) fn trusted_until(&self, now: Instant) -> Option<Instant> {
        self.window.until(now)
    }

    fn answered(&self) {
        // Looked at before it is written: the line is shared by all who use the connection.
        if self.timeouts_in_a_row.load(Ordering::Relaxed) != 0 {
            self.timeouts_in_a_row.store(0, Ordering::Relaxed);
            self.suspect.store(false, Ordering::Relaxed);
        }
    }

    /// True when it was not yet known to be silent.
    fn fell_silent(&self) -> bool {
        self.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed);
        !self.suspect.swap(true, Ordering::Relaxed)
    }
}

impl Held {
    /// An answer came, be it a refusal.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.connection.answered();
    }
}

impl Deref for Held {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            // Also when the request was cancelled: then nobody else would find out that no answer came.
            self.connection.doubted.notify_one();
        }
    }
}

impl Pool {
    /// Starts connecting in the background. Dropping the `JoinSet` ends that.
    pub(super) fn start(
        place: Place,
        config: &RedisConfig,
        metrics: &Metrics,
        came_up: watch::Sender<u64>,
    ) -> (Arc<Self>, JoinSet<()>) {
        let pool = Arc::new(Self::new(config.connections.max(1), place, config, metrics, came_up));
        let mut keepers = JoinSet::new();
        for slot in 0..pool.slots.len() {
            keepers.spawn(Arc::clone(&pool).keep(slot));
        }
        keepers.spawn(Arc::clone(&pool).look_out());
        (pool, keepers)
    }

    /// Without connections, for ever.
    pub(super) fn empty(place: Place, config: &RedisConfig, metrics: &Metrics) -> Self {
        Self::new(0, place, config, metrics, watch::channel(0).0)
    }

    fn new(
        connections: usize,
        place: Place,
        config: &RedisConfig,
        metrics: &Metrics,
        came_up: watch::Sender<u64>,
    ) -> Self {
        Self {
            slots: (0..connections).map(|_| RwLock::default()).collect(),
            next: AtomicUsize::new(0),
            count: watch::channel(Count::default()).0,
            came_up,
            knock: Notify::new(),
            address: RwLock::new(place.first_guess()),
            place,
            config: config.clone(),
            metrics: metrics.clone(),
            shown: Mutex::new(Shown::Nothing),
            trust: (config.coherence == Coherence::Outbox).then(|| Trust::new(&config.namespace)),
        }
    }

    /// A connection that is up and answers, in turn; an error at once when there is none.
    pub(super) fn pick(&self) -> Result<Held, CacheError> {
        self.pick_where(|_| true)
    }

    /// The same of those that are fit.
    pub(super) fn pick_where(&self, fit: impl Fn(&Connection) -> bool) -> Result<Held, CacheError> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut why = "no connection is up";
        for i in 0..self.slots.len() {
            let Some(connection) = self.get(start.wrapping_add(i) % self.slots.len()) else { continue };
            if connection.suspect.load(Ordering::Relaxed) {
                continue;
            }
            if !fit(&connection) {
                why = UNFIT;
                continue;
            }
            if connection.in_flight.fetch_add(1, Ordering::Relaxed) < self.config.in_flight_at_most.max(1) {
                return Ok(Held { connection, answered: false });
            }
            connection.in_flight.fetch_sub(1, Ordering::Relaxed);
            why = TOO_MANY;
        }
        Err(CacheError::Unavailable(why))
    }

    /// Where the server is now.
    pub(super) async fn locate(&self) -> RedisResult<Address> {
        self.place.locate().await
    }

    /// A connection outside the pool, to where the server was located. When it breaks it stays broken.
    pub(super) async fn connect_to(&self, address: &Address) -> RedisResult<Line> {
        self.place.dialer().connect(address, None).await
    }

    /// A connection of its own, for subscriptions, and where it leads to.
    pub(super) async fn pubsub(&self) -> RedisResult<(redis::aio::PubSub, Address)> {
        let address = self.place.locate().await?;
        Ok((self.place.dialer().pubsub(&address).await?, address))
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.address.read().unwrap_or_else(PoisonError::into_inner).to_string()
    }

    pub(super) fn up(&self) -> usize {
        self.count.borrow().up
    }

    /// Whether a read may be answered: by some connection, where that has to be trusted.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        let trusted = |slot| self.get(slot).is_some_and(|connection| connection.trusted_until(now).is_some());
        self.trust.is_none() || (0..self.slots.len()).any(trusted)
    }

    pub(super) fn in_flight(&self) -> usize {
        let all = (0..self.slots.len()).filter_map(|slot| self.get(slot));
        all.map(|connection| connection.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Returns when a connection is up.
    pub(super) async fn is_up(&self) {
        // Cannot fail: the sender is in `self`.
        self.count.subscribe().wait_for(|count| count.up > 0).await.ok();
    }

    /// No answer came in time. That may be a pause of the server: no more requests for this connection, and pings will tell. Its
    /// neighbours are looked at, too, before a request finds out. True for the first one who saw it.
    pub(super) fn silent(&self, connection: &Connection) -> bool {
        let first = connection.fell_silent();
        if first {
            (0..self.slots.len()).filter_map(|slot| self.get(slot)).for_each(|other| other.doubted.notify_one());
        }
        first
    }

    /// Gives a connection up, unless that has been done. Its slot connects anew.
    pub(super) fn replace(&self, connection: &Connection, why: Why) {
        let mut held = self.slots[connection.slot].write().unwrap_or_else(PoisonError::into_inner);
        if !held.as_deref().is_some_and(|now| std::ptr::eq(now, connection)) {
            return;
        }
        *held = None;
        // Counted before the slot is free, so that the count is never below what is up.
        self.count.send_modify(|count| count.up -= 1);
        drop(held);
        connection.retired.notify_one();
        self.metrics.connection.replaced(why.name());
        self.show(Shown::Down(None), why.name());
    }

    /// Gives up the connections to anywhere but `address`: the server is there now.
    pub(super) fn moved_to(&self, address: &Address) {
        for connection in (0..self.slots.len()).filter_map(|slot| self.get(slot)) {
            if connection.address != *address {
                self.replace(&connection, Why::Moved);
            }
        }
        self.knock.notify_waiters();
    }

    /// What the connections read may not be relied on, until they have looked again.
    pub(super) fn distrust(&self) {
        for connection in (0..self.slots.len()).filter_map(|slot| self.get(slot)) {
            connection.window.close();
            connection.doubted.notify_one();
        }
    }

    /// Gives all connections up.
    pub(super) fn close(&self) {
        (0..self.slots.len()).filter_map(|slot| self.get(slot)).for_each(|held| self.replace(&held, Why::Closed));
    }

    fn publish(&self, slot: usize, line: &Line, address: Address, window: Window) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            slot,
            inner: line.inner.clone(),
            address: address.clone(),
            suspect: AtomicBool::new(false),
            timeouts_in_a_row: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
            doubted: Notify::new(),
            retired: Notify::new(),
            window,
        });
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = address;
        let mut free = self.slots[slot].write().unwrap_or_else(PoisonError::into_inner);
        *free = Some(Arc::clone(&connection));
        self.count.send_modify(|count| {
            count.up += 1;
            count.ever += 1;
        });
        drop(free);
        self.show(Shown::Up, "");
        self.came_up.send_modify(|n| *n += 1);
        connection
    }

    fn get(&self, slot: usize) -> Option<Arc<Connection>> {
        self.slots[slot].read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line for each change of state; nothing when it has changed back meanwhile.
    fn show(&self, now: Shown, why: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if (now == Shown::Up) != (self.up() > 0) {
            return;
        }
        let refused = |shown| matches!(shown, Shown::Down(Some(trouble)) if trouble == Trouble::Refused);
        let server = || self.address();
        match (*shown, now) {
            (Shown::Up, Shown::Up) | (_, Shown::Nothing) => return,
            (_, Shown::Up) => {
                tracing::info!(server = server(), "connected to the cache");
                self.metrics.connection.server_up();
            }
            (Shown::Up, Shown::Down(_)) => {
                tracing::warn!(server = server(), why, "lost the last connection to the cache");
                self.metrics.connection.server_down();
            }
            // That it cannot be reached follows from what was said already; that it turns us away does not.
            (before @ Shown::Down(_), now) if refused(before) == refused(now) => return,
            (_, Shown::Down(_)) => tracing::warn!(server = server(), why, "cannot connect to the cache; trying on"),
        }
        *shown = now;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if *self.shown.get_mut().unwrap_or_else(PoisonError::into_inner) == Shown::Up {
            self.metrics.connection.server_down();
        }
    }
}

/// Connections are up, but none of those that are wanted.
pub(super) const UNFIT: &str = "no connection is fit";

/// Said instead of queueing: no fault of the server's.
pub(super) const TOO_MANY: &str = "too many commands are under way";

/// Whether the connection is of no more use after this error.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly))
}
