//! The life of a connection: made, watched, given up, made again.
//!
//! Each slot has a keeper that connects and, after a failure, waits at random up to a limit that doubles. So that ten seconds of
//! waiting do not outlast the outage, one look-out for each server probes it a few times a second while no connection is up. When it
//! answers, one keeper may try at once; when that one is through, the others follow within some milliseconds of each other.

use super::{Connection, Pool, Shown, Why};
use crate::backoff::Backoff;
use crate::store::redis::servers::{Address, Line, silence};
use crate::store::redis::trust::Window;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A connection in use is looked at this often, so that a dead one is replaced before the next request finds it.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A connection that lived shorter than this does not count as a success: otherwise a server that ends each connection at once
/// would be asked without pause.
const SETTLED: Duration = Duration::from_secs(1);

/// Once a neighbour got through, each further connection of a pool follows within this time for each of them.
const STAGGER: Duration = Duration::from_millis(2);

/// Why there is no connection; the label `outcome` of `cache_connects_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::redis) enum Trouble {
    Unreachable,
    Silent,
    /// It loads its data.
    Loading,
    /// It is no master, or no sentinel knows one.
    NoMaster,
    /// It does not let us in.
    Refused,
}

impl Trouble {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            _ if error.is_timeout() => Self::Silent,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown,
            ) => Self::Loading,
            ErrorKind::MasterNameNotFoundBySentinel => Self::NoMaster,
            _ if error.is_io_error() => Self::Unreachable,
            _ => Self::Refused,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "timeout",
            Self::Loading => "loading",
            Self::NoMaster => "no_master",
            Self::Refused => "refused",
        }
    }
}

impl Pool {
    /// The life of one slot: connect, publish, watch, and again.
    pub(super) async fn keep(self: Arc<Self>, slot: usize) {
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_at_most);
        let mut neighbours = self.count.subscribe();
        loop {
            let before = neighbours.borrow_and_update().ever;
            let reached = match self.connect().await {
                Ok((line, address, window)) => {
                    self.metrics.connection.connected("ok");
                    let (born, connection) = (Instant::now(), self.publish(slot, &line, address, window));
                    self.watch_over(&connection, line).await;
                    if born.elapsed() >= SETTLED {
                        backoff.reset();
                        continue;
                    }
                    true
                }
                Err(error) => {
                    self.failed(&error);
                    false
                }
            };
            tokio::select! {
                () = sleep(backoff.next_wait()) => {}
                () = self.knock.notified() => {}
                // That a neighbour got through is no news to who got through as well and was thrown out: those would wake each
                // other without end.
                _ = async { neighbours.wait_for(|count| count.ever > before && count.up > 0).await.is_ok() }, if !reached => {
                    let stagger = STAGGER * u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                    sleep(stagger.mul_f64(rand::random())).await;
                }
            }
        }
    }

    async fn connect(&self) -> RedisResult<(Line, Address, Window)> {
        let address = self.place.locate().await?;
        let line = self.place.dialer().connect(&address, None).await?;
        // A sign of life, and, where it may have changed, of its role.
        let mut inner = line.inner.clone();
        let check = self.place.check(&mut inner);
        timeout(self.config.connect_timeout, check).await.map_err(|_| silence())??;
        // Not trusted until it is known to be.
        let window = Window::new(Instant::now());
        if self.trust.is_some() {
            self.sign_of_life(&mut inner, &window, self.config.connect_timeout).await?;
        }
        Ok((line, address, window))
    }

    fn failed(&self, error: &RedisError) {
        let trouble = Trouble::of(error);
        self.metrics.connection.connected(trouble.name());
        tracing::debug!(%error, "no connection to the cache yet");
        self.show(Shown::Down(Some(trouble)), &error.to_string());
    }

    /// Returns when the connection is given up; dropping `line` then ends whatever still waits on it.
    async fn watch_over(&self, connection: &Connection, mut line: Line) {
        // The regular ping has as long as connecting may take. One that somebody asked for, as long as a command.
        let mut limit = self.config.connect_timeout;
        loop {
            if limit == self.config.connect_timeout {
                let wait = match &self.trust {
                    Some(trust) => trust.next_look(&connection.window, Instant::now()).min(HEARTBEAT),
                    None => HEARTBEAT.mul_f64(0.75 + rand::random::<f64>() / 2.0),
                };
                tokio::select! {
                    () = connection.retired.notified() => return,
                    _ = line.driver.join_next() => return self.replace(connection, Why::Broken),
                    () = connection.doubted.notified() => limit = self.config.command_timeout,
                    () = sleep(wait) => {}
                }
            }
            tokio::select! {
                () = connection.retired.notified() => return,
                alive = self.is_alive(connection, limit) => match alive {
                    Ok(()) => limit = self.config.connect_timeout,
                    Err(why) => return self.replace(connection, why),
                },
                () = connection.doubted.notified(), if limit != self.config.command_timeout => {
                    limit = self.config.command_timeout;
                }
            }
        }
    }

    /// Pings until there is an answer, or as many timeouts in a row as are enough.
    async fn is_alive(&self, connection: &Connection, mut limit: Duration) -> Result<(), Why> {
        loop {
            let mut inner = connection.get();
            match self.sign_of_life(&mut inner, &connection.window, limit).await {
                Err(error) if !error.is_timeout() && super::is_fatal(&error) => return Err(Why::Broken),
                // A refusal is an answer, too.
                Err(error) if !error.is_timeout() => {
                    connection.answered();
                    return Ok(());
                }
                Ok(()) => {
                    connection.answered();
                    return Ok(());
                }
                Err(_silence) => {
                    self.silent(connection);
                    if connection.timeouts_in_a_row.load(Ordering::Relaxed) >= self.config.timeouts_to_replace {
                        return Err(Why::Silent);
                    }
                    limit = self.config.command_timeout;
                }
            }
        }
    }

    /// A ping; and, with the outbox, whether what this connection reads may be relied on.
    async fn sign_of_life(
        &self,
        inner: &mut MultiplexedConnection,
        window: &Window,
        limit: Duration,
    ) -> RedisResult<()> {
        let Some(trust) = &self.trust else {
            return timeout(limit, redis::cmd("PING").exec_async(inner)).await.map_err(|_| silence())?;
        };
        let asked = Instant::now();
        let (name, mut look) = (trust.watermark(), redis::cmd("PTTL"));
        let look = look.arg(&name).query_async(inner);
        let left: i64 = timeout(limit, look).await.map_err(|_| silence())??;
        trust.while_named(&name, || window.look(trust, asked, left));
        Ok(())
    }

    /// While no connection is up: looks whether the server answers, and lets one keeper try when it does.
    pub(super) async fn look_out(self: Arc<Self>) {
        if self.config.probe_every.is_zero() {
            return;
        }
        let mut count = self.count.subscribe();
        loop {
            if count.wait_for(|count| count.up == 0).await.is_err() {
                return;
            }
            sleep(self.config.probe_every.mul_f64(1.0 - rand::random::<f64>() / 3.0)).await;
            if self.up() > 0 || self.is_refused() {
                continue;
            }
            if let Ok(address) = self.place.locate().await
                && self.place.dialer().answers(&address).await
            {
                self.knock.notify_one();
            }
        }
    }

    fn is_refused(&self) -> bool {
        // Trying more often would not help.
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) == Shown::Down(Some(Trouble::Refused))
    }
}
