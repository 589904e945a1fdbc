//! A write goes into the cache and is acknowledged; the database has it a moment later, together with others.
//!
//! **Promises**: writers wait for the cache only. The queue is bounded: when it is full, a write waits or is refused, as chosen
//! ([`WhenFull`]). Several writes of one key that are still queued become one, the last. While the database is away, batches are tried
//! again with growing random pauses, and nothing is dropped. At the end, [`WriteBehind::close`] writes what is queued within its time,
//! and says what it could not. One entry that the database refuses holds up all others, unless the sink tells refusals from outages
//! ([`Sink::is_refusal`]).
//!
//! **Gives up**: a process that dies (SIGKILL, power) loses what it has queued: at most
//! [`capacity`](WriteBehindConfig::capacity) keys plus the batch on its way; with the database up, what was written in about the last
//! [`pause`](WriteBehindConfig::pause) and one batch's time. A value leaves the cache when the database has it, and comes back with the
//! next read: only so does the cache end with what the database ended with. Order is kept for each key and not between keys. Readers see
//! values that are not in the database yet; should the cache lose one before it gets there, they see the one before until it does. Of two
//! processes that write one key, the database keeps whose batch comes last, unless the sink compares [`Entry::version`]. A batch whose
//! outcome is unknown is written again: the sink must bear that, as an upsert does.
//!
//! So it is for counters, last-seen times, drafts and positions: not for money. Its keys are its own (`behind:…`): an invalidation meant for
//! values that are read from the database must not meet them, and [`Coherence::Outbox`], whose promise is that the
//! cache is never ahead of the database, is refused.

mod queue;
mod worker;

use crate::cache::{Cache, LoadError, Ttl};
use crate::config::Coherence;
use crate::key::{Key, KeyClass, sanitised};
use async_trait::async_trait;
use queue::Queue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use worker::Worker;

/// Where the values go in the end.
#[async_trait]
pub trait Sink<T: Send + Sync + 'static>: Send + Sync + 'static {
    /// Why a batch was not written.
    type Error: fmt::Display + Send;

    /// Writes a batch, all or nothing (one transaction), each id at most once. May be given the same entries again when it fails, or is
    /// dropped because it takes too long: then it must not matter whether the first try was committed after all.
    async fn write(&self, batch: &[Entry<T>]) -> Result<(), Self::Error>;

    /// Whether an error says that the database does not want what it was given (a constraint, a value that does not fit), and would not
    /// in an hour either. Then the batch is halved until what is refused stands alone, so that it does not keep all others from being
    /// written. When in doubt `false`, as it is unless told otherwise: then the batch is tried for ever, and nothing is dropped.
    fn is_refusal(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// One entry was refused by itself, three times in a row: it is given up after this, also in the cache, and will never be in the database.
    /// Counted as `refused` in `cache_write_behind_batches_total`, and logged unless told otherwise.
    async fn refused(&self, entry: &Entry<T>, error: Self::Error) {
        let error = error.to_string();
        tracing::error!(id = entry.id, error, "write-behind: the database refuses an entry: it is given up");
    }
}

/// A value on its way to the database.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// As given to [`WriteBehind::put`].
    pub id: String,
    /// The newest value as of this batch.
    pub value: Arc<T>,
    /// Grows with every write of this process, and begins with the time (Unix µs). `… where row.version < excluded.version` keeps a late
    /// first try from overwriting a newer value; between processes it is as good as their clocks.
    pub version: u64,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), value: Arc::clone(&self.value), version: self.version }
    }
}

/// What a write does when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits for room (backpressure).
    Wait,
    /// It is refused.
    Refuse,
}

/// How much is queued, and how it is written.
#[derive(Clone, Debug)]
pub struct WriteBehindConfig {
    /// Keys that may wait for the database.
    pub capacity: usize,
    /// What a write does when so many wait.
    pub when_full: WhenFull,
    /// Entries in one batch, at most.
    pub batch: usize,
    /// How long the first write of a batch waits for others.
    pub pause: Duration,
    /// When a try takes longer, it is given up and repeated.
    pub write_timeout: Duration,
    /// The limit of the first random pause after a failure; it doubles each time.
    pub backoff: Duration,
    /// The limit of the longest.
    pub backoff_at_most: Duration,
}

impl Default for WriteBehindConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            when_full: WhenFull::Wait,
            batch: 200,
            pause: Duration::from_millis(50),
            write_timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(50),
            backoff_at_most: Duration::from_secs(10),
        }
    }
}

/// Why a write was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteBehindError {
    /// The queue is full, and writes do not wait.
    #[error("the write-behind queue is full: the database does not keep up")]
    Full,
    /// [`WriteBehind::close`] was called.
    #[error("write-behind is closed")]
    Closed,
    /// The value has no JSON form.
    #[error("the value cannot be encoded: {0}")]
    Unencodable(String),
    /// The cache promises never to be ahead of the database.
    #[error(
        "write-behind puts values into the cache before the database has them, which the coherence outbox rules out: choose lease"
    )]
    NotWithOutbox,
}

/// What was still queued when the time of a close was over: it is not in the database.
#[derive(Debug)]
pub struct Unwritten<T> {
    /// The newest value of each id, in order.
    pub entries: Vec<Entry<T>>,
}

/// A write-behind cache of values of one type. Share it in an `Arc`.
///
/// To be ended by [`WriteBehind::close`]: when it is merely dropped, what is queued is lost.
pub struct WriteBehind<T> {
    cache: Cache,
    class: KeyClass,
    queue: Arc<Queue<T>>,
    worker: JoinHandle<()>,
}

impl<T> fmt::Debug for WriteBehind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind").field("class", &self.class.name).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> WriteBehind<T> {
    /// Begins to write what is put. Needs a tokio runtime.
    ///
    /// # Errors
    /// The cache has [`Coherence::Outbox`].
    pub fn start(
        cache: Cache,
        class: KeyClass,
        sink: impl Sink<T>,
        config: WriteBehindConfig,
    ) -> Result<Self, WriteBehindError> {
        if cache.coherence() == Coherence::Outbox {
            return Err(WriteBehindError::NotWithOutbox);
        }
        let queue = Arc::new(Queue::new(config.capacity.max(1), config.when_full));
        let worker = Worker { cache: cache.clone(), class, queue: Arc::clone(&queue), sink: Arc::new(sink), config };
        Ok(Self { cache, class, queue, worker: tokio::spawn(worker.run()) })
    }

    /// Puts a value: into the queue, then into the cache. Once this returns, this process reads it back, and others do if the
    /// cache could be reached.
    ///
    /// # Errors
    /// It was not taken; nothing has changed.
    pub async fn put(&self, id: &str, value: T) -> Result<(), WriteBehindError> {
        let json = serde_json::to_vec(&value).map_err(|error| WriteBehindError::Unencodable(error.to_string()))?;
        let version = self.queue.push(id, Arc::new(value)).await?;
        self.cache.inner.metrics.write_behind_pending(self.class, self.queue.len());
        let key = key(self.class, id);
        // In this order, a value in the cache is always in the queue as well, or in the database. Writers of one id take turns
        // in the cache, so that it ends with the value the queue ends with.
        let turn = self.queue.turn(id).await;
        if self.queue.waits(id, version) {
            let set = self.cache.set(&key, json.into(), Ttl::Class).await;
            // If that failed, it may still have the value before: that must not come back with it. And if the database has the value by
            // now, the invalidation that followed may have come before this.
            if set.is_err() || !self.queue.waits(id, version) {
                self.cache.delete(&key).await;
            }
        }
        drop(turn);
        Ok(())
    }

    /// The newest value of an id: of those queued here, or else of the cache, or else of the database, by `load` as for
    /// [`Cache::get_or_load`].
    ///
    /// # Errors
    /// Those of [`crate::Typed::get_or_load`].
    pub async fn get_or_load<L, F, E>(&self, id: &str, load: L) -> Result<Option<Arc<T>>, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<T>, E>>,
    {
        if let Some(value) = self.queue.newest(id) {
            return Ok(Some(value));
        }
        let lookup = self.cache.typed::<T>().get_or_load(&key(self.class, id), Ttl::Class, load).await?;
        Ok(lookup.value.map(Arc::new))
    }

    /// How many ids wait for the database, the batch on its way included.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Waits until all that was put before this call is in the database, or newer values in its place.
    pub async fn flush(&self) {
        self.queue.flushed().await;
    }

    /// Takes no more writes, writes what is queued within `at_most`, and ends.
    ///
    /// # Errors
    /// What could not be written in time. A batch that was on its way is among it, though the database may have it.
    pub async fn close(&self, at_most: Duration) -> Result<(), Unwritten<T>> {
        self.queue.close();
        tokio::time::timeout(at_most, self.flush()).await.ok();
        self.worker.abort();
        let entries = self.queue.take_all();
        self.cache.inner.metrics.write_behind_pending(self.class, 0);
        if entries.is_empty() { Ok(()) } else { Err(Unwritten { entries }) }
    }
}

impl<T> Drop for WriteBehind<T> {
    fn drop(&mut self) {
        self.worker.abort();
        let lost = self.queue.take_all().len();
        if lost > 0 {
            tracing::error!(class = self.class.name, lost, "a write-behind queue was dropped without being closed");
        }
    }
}

fn key(class: KeyClass, id: &str) -> Key {
    Key::new(class, format!("behind:{}:{}", class.name, sanitised(id)))
}
