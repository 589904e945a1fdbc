//! The promise: **every value served as fresh reflects every commit older than Δ**, whatever happens to Redis.
//!
//! Three parts make it, and each covers what the one before cannot:
//!
//! 1. **Leases** ([`crate::Lease`]): no value read before an invalidation is stored after it, on one history of Redis.
//! 2. **The outbox**: triggers write each invalidation into a table, in the transaction of the change. A writer that dies after
//!    its commit, and a Redis that is away just then, lose none. The relay carries them over.
//! 3. **The watermark**: the relay says in Redis up to where invalidations are applied, for Δ at most. A reader trusts a
//!    connection only while that stands; otherwise it goes to the database. What Redis reflects is kept *inside* Redis, so
//!    that a failover to a replica that lags, or an old RDB, brings its own older position along, and all that came after is replayed
//!    before anything is trusted again. An unknown position empties the cache.
//!
//! It rests on a permission that must be *present*, never on a prohibition that must not be lost.
//!
//! # What it assumes
//!
//! - Replication and persistence of Redis keep the order of writes. They do; a connection leads to one server, as it does unless a
//!   proxy spreads commands.
//! - The clock of a Redis host does not jump back, and hosts that take over from each other agree: what they differ by is added to Δ.
//! - Loads read the primary, in a snapshot taken after the lease: a statement of its own is right.
//! - Every table that a cached value shows is watched, with a key or tag that covers the value.
//! - Who makes a master a replica by hand ends its clients (`CLIENT KILL TYPE normal`), as Sentinel does by itself.
//! - Only fills with a lease count. [`crate::CacheStore::set`] stores what it is given, so write-behind and the like need a namespace
//!   of their own.
//!
//! While a cache is not trusted, reads neither look at it nor fill it; only when a load fails, what is there is served marked as stale, where its
//! class allows that. What is stored then would do no harm, the lease sees to that; but who waits for another's load takes a fill for a
//! proof that nothing was committed meanwhile. And trust comes back within a poll or not at all.
//!
//! A cache of [two tiers](crate::store::two_tier#with-the-outbox) keeps the promise in each: the memory of a process is one more
//! [`Ground`]. In a cluster each master is one, with a watermark of its own: the keys of one that is lost are not trusted, all others are.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn doc(cache: cache_layer::Cache, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use cache_layer::promise::{Outbox, PostgresLog, Promise, PromiseConfig, Watched};
//! let outbox = Outbox::new().watch(Watched::table("posts").key("posts:{id}").tag("posts:list"));
//! let log = PostgresLog::open(&pool, &outbox).await?;
//! let promise = Promise::start(&cache, log, PromiseConfig::default());
//! # Ok(()) }
//! ```

mod config;
#[cfg(feature = "postgres")]
mod log;
#[cfg(feature = "postgres")]
mod outbox;
mod relay;
mod relays;
mod watch;
#[cfg(feature = "postgres")]
mod watched;

pub use config::PromiseConfig;
#[cfg(feature = "postgres")]
pub use log::PostgresLog;
#[cfg(feature = "postgres")]
pub use outbox::{Outbox, OutboxError};
pub use relay::{Begun, Ground, Log, LogError, Poll, Position, Replay, Session};
pub(crate) use watch::PromiseMetrics;
#[cfg(feature = "postgres")]
pub use watched::Watched;

use crate::cache::Cache;
use relays::Relays;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as flag;
use tokio::task::JoinSet;

/// From one batch of old rows to the next, while there are some: the database has other things to do as well.
const BETWEEN_TRIMS: Duration = Duration::from_millis(100);

/// The running relay: one for each server of a cache, and one for the memory in front of them. Servers that come and go, as the masters of a
/// cluster do, are noticed within a poll. It stops when this is dropped; then, Δ later at the most, reads go to the
/// database, unless another process runs one. Every instance should: none needs to lead.
#[derive(Debug)]
pub struct Promise {
    tasks: JoinSet<()>,
    stop: flag::Sender<bool>,
}

impl Promise {
    /// Starts carrying invalidations from the log to every server of the cache. Needs a tokio runtime. While a cache has nothing to carry
    /// to, the log is not read.
    #[must_use]
    pub fn start(cache: &Cache, log: impl Log, config: PromiseConfig) -> Self {
        let config = config.sound();
        let log = Arc::new(log);
        let (stop, stopped) = flag::channel(false);
        let (relays, any) = Relays::new(cache.clone(), Arc::clone(&log), config);
        let mut tasks = JoinSet::new();
        tasks.spawn(relays.run(stopped));
        tasks.spawn(trim(log, config.retention, any));
        Self { tasks, stop }
    }

    /// Stops, and returns when nothing of it runs any more. A round that was under way is broken off, which harms nothing.
    pub async fn close(mut self) {
        // The relays are tasks of one of these tasks: it ends them, where aborting it would only let go of them.
        self.stop.send_replace(true);
        self.tasks.join_next().await;
        self.tasks.shutdown().await;
    }
}

/// Deletes what is older than the retention, a little at a time, once there is somebody who reads it.
async fn trim(log: Arc<impl Log>, retention: Duration, mut any: flag::Receiver<bool>) {
    if any.wait_for(|any| *any).await.is_err() {
        return;
    }
    let every = (retention / 15).clamp(Duration::from_secs(1), Duration::from_secs(60));
    let mut wait = every;
    loop {
        // Jitter: instances that started together must not all come at once.
        tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>())).await;
        let trimmed = log.trim(retention).await;
        wait = pause_after(&trimmed, every);
        match trimmed {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "deleted old rows of the outbox"),
            Err(error) => tracing::debug!(%error, "could not delete old rows of the outbox"),
        }
    }
}

/// However fast rows are written, they are deleted as fast: where some went, there may be more.
fn pause_after(trimmed: &Result<u64, LogError>, every: Duration) -> Duration {
    if matches!(trimmed, Ok(rows) if *rows > 0) { BETWEEN_TRIMS.min(every) } else { every }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_is_trimmed_until_nothing_old_is_left() {
        let every = Duration::from_secs(60);
        assert_eq!(pause_after(&Ok(0), every), every);
        assert_eq!(pause_after(&Err(LogError::Database("away".into())), every), every);
        // 20,000 rows in a second and a half at the most: more than any database that has triggers on its tables writes.
        assert!(pause_after(&Ok(20_000), every) <= Duration::from_secs(1));
    }
}
