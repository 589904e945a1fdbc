//! `get_or_refresh`: loads that go on while something older is served.

use super::look::{Accept, First};
use super::observe::observed;
use super::{Boarding, Cache, Found, Held, Inner, LoadError, Lookup, Purpose, Reading, StaleReason, Ttl};
use crate::key::{Key, ServeStale};
use crate::store::Leased;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

/// Keys whose failed loads are remembered at the same time.
const PAUSES_AT_MOST: u64 = 10_000;

/// A stopped load only has to be dropped, and to give its lease back.
const STOPPING: Duration = Duration::from_millis(50);

/// The loads in the background: so many at most, and none after the end.
pub(super) struct Background {
    room: Arc<Semaphore>,
    size: u32,
    closing: AtomicBool,
    stop: watch::Sender<bool>,
    /// Keys whose load failed a moment ago.
    paused: Option<moka::sync::Cache<String, ()>>,
    /// Spares the look-up above while nothing fails.
    pauses: AtomicBool,
}

impl Background {
    pub(super) fn new(at_most: usize, retry_after: Duration) -> Self {
        let size = u32::try_from(at_most).unwrap_or(u32::MAX).min(100_000);
        let paused = (!retry_after.is_zero())
            .then(|| moka::sync::Cache::builder().max_capacity(PAUSES_AT_MOST).time_to_live(retry_after).build());
        Self {
            room: Arc::new(Semaphore::new(size as usize)),
            size,
            closing: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            paused,
            pauses: AtomicBool::new(false),
        }
    }

    /// Leave for one load, if there is room.
    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if self.closing.load(Ordering::Acquire) {
            return None;
        }
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// The load of this key failed: no other try for a moment, while something stale can be served.
    pub(super) fn pause(&self, key: &Key) {
        if let Some(paused) = &self.paused {
            paused.insert(key.name().to_owned(), ());
            self.pauses.store(true, Ordering::Release);
        }
    }

    pub(super) fn paused(&self, key: &Key) -> bool {
        self.pauses.load(Ordering::Acquire)
            && self.paused.as_ref().is_some_and(|paused| paused.contains_key(key.name()))
    }

    /// Lets the loads that go on end, and stops those that have not by then.
    pub(super) async fn close(&self, at_most: Duration) {
        self.closing.store(true, Ordering::Release);
        // With all the room taken, nobody is in it any more.
        if timeout(at_most, self.room.acquire_many(self.size)).await.is_err() {
            self.stop.send_replace(true);
            timeout(STOPPING, self.room.acquire_many(self.size)).await.ok();
        }
        self.room.close();
    }

    /// Runs a load until it ends or all are stopped.
    fn spawn(&self, permit: OwnedSemaphorePermit, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            drop(permit);
        });
    }
}

impl Cache {
    /// [`Cache::get_or_load`] with all that a class can ask for, also what needs loads in the background: stale-while-revalidate,
    /// refresh-ahead and early refreshes ([`crate::Refresh`]), and the soft timeout, after which a stale value is served while the load
    /// goes on.
    ///
    /// Loads in the background take a lease like any other, so that an invalidation during one voids it; there is one at a time for each
    /// key and at most [`Cache::with_background_loads`] of them; and [`Cache::close`] waits for them. `load` may be called later
    /// than this returns, or not at all.
    ///
    /// # Errors
    /// Those of `load`, and the hard timeout, when nothing may be served instead. Errors in the background are counted
    /// (`cache_loads_total{outcome="failed"}`), and logged at most once in ten seconds.
    pub async fn get_or_refresh<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Lookup, LoadError<E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Send + 'static,
    {
        Inner::get_or_refresh(&self.inner, key, ttl, &mut |_| true, load).await
    }
}

impl Inner {
    /// What is at hand and need not be loaded anew is served without the machinery of a read that may wait.
    pub(super) async fn get_or_refresh<L, F, E>(
        inner: &Arc<Self>,
        key: &Key,
        ttl: Ttl,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let first = match inner.begin(key, &mut *accept, false) {
            Ok(lookup) => return Ok(lookup),
            Err(first) => first,
        };
        observed(key, Box::pin(Self::read_or_refresh(inner, key, ttl, first, accept, load))).await
    }

    async fn read_or_refresh<L, F, E>(
        inner: &Arc<Self>,
        key: &Key,
        ttl: Ttl,
        first: First,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let class = key.class();
        let (mut reading, found) = match first {
            Some((found, since)) => (Reading::having(inner, &found, since), Ok(found)),
            None => {
                let mut reading = Reading::new(inner);
                let found = inner.look(key, &mut reading, accept).await;
                (reading, found)
            }
        };
        let mut unknown = false;
        match found {
            Ok(Found::Fresh { value, ttl: left, refresh }) => {
                if refresh {
                    Self::refresh(inner, key, ttl, &reading, load);
                }
                return Ok(inner.hit(key, value, left));
            }
            Ok(Found::Stale(stale)) if class.serve_stale == ServeStale::WhileRevalidating => {
                if inner.background.paused(key) {
                    return Ok(inner.stale(class, stale, StaleReason::LoadFailed));
                }
                Self::refresh(inner, key, ttl, &reading, load);
                return Ok(inner.stale(class, stale, StaleReason::Revalidating));
            }
            Ok(Found::Stale(_)) => {}
            Ok(Found::Nothing) => unknown = true,
            Err(_) => {
                unknown = true;
                reading.reachable = false;
            }
        }
        let softly = !unknown
            && !class.soft_timeout.is_zero()
            && class.serve_stale != ServeStale::Never
            && !inner.background.paused(key);
        if softly && let Some(permit) = inner.background.enter() {
            return Self::read_softly(inner, key, ttl, reading, permit, load).await;
        }
        inner.read(key, ttl, reading, accept, load).await
    }

    /// Loads in the background, unless somebody does already or there is no room.
    fn refresh<L, F, E>(inner: &Arc<Self>, key: &Key, ttl: Ttl, seen: &Reading, load: L)
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Send + 'static,
    {
        if inner.background.paused(key) {
            return;
        }
        let Boarding::Lead(flight) = inner.flights.board(key.name(), Purpose::Refresh, seen.looked_since) else {
            return;
        };
        let Some(permit) = inner.background.enter() else {
            inner.metrics.refresh_dropped(key.class());
            return;
        };
        let (this, key) = (Arc::clone(inner), key.clone());
        inner.background.spawn(permit, async move {
            let mut reading = Reading::new(&this);
            if flight.look_again
                && let Ok(Found::Fresh { refresh: false, .. }) = this.look(&key, &mut reading, &mut |_| true).await
            {
                // Another load ended while this was being decided.
                return;
            }
            reading.replaces = true;
            // Nobody is served it here: a failure is a failure.
            reading.stale = None;
            // Who cannot get the lease cannot store, and nobody waits for the value.
            let Ok(Leased::Granted(lease)) = this.lease(&key, &mut reading).await else { return };
            let held = Held::new(&this.store, vec![lease]);
            let result = this.load_and_fill(&key, ttl, &mut reading, flight, Some(held), &mut |_| true, load).await;
            if result.is_err() {
                this.background.pause(&key);
                this.log_failure(&key);
            }
        });
    }

    /// Loads in a task of its own, and serves the stale value when that takes too long.
    async fn read_softly<L, F, E>(
        inner: &Arc<Self>,
        key: &Key,
        ttl: Ttl,
        reading: Reading,
        permit: OwnedSemaphorePermit,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let soft = key.class().soft_timeout;
        let waiting = match inner.flights.board(key.name(), Purpose::Miss, reading.looked_since) {
            Boarding::Follow(_) => {
                // Somebody loads already: wait for that like any other, but no longer than the soft timeout.
                drop(permit);
                let stale = reading.stale.clone();
                let mut accept = |_: &Bytes| true;
                let read = inner.read(key, ttl, reading, &mut accept, load);
                return match (timeout(soft, read).await, stale) {
                    (Ok(result), _) => result,
                    (Err(_), Some(stale)) => Ok(inner.stale(key.class(), stale, StaleReason::LoadSlow)),
                    (Err(_), None) => Err(LoadError::TimedOut),
                };
            }
            Boarding::Lead(flight) => {
                let (answer, waiting) = oneshot::channel();
                let (this, key, stale) = (Arc::clone(inner), key.clone(), reading.stale.clone());
                inner.background.spawn(permit, async move {
                    let start = Instant::now();
                    // The waiting request serves the stale value itself.
                    let mut reading = Reading { stale: None, ..reading };
                    let result = this.lead(&key, ttl, &mut reading, flight, &mut |_| true, load).await;
                    if result.is_err() && start.elapsed() > soft {
                        this.log_failure(&key);
                    }
                    answer.send(result).ok();
                });
                (waiting, stale)
            }
        };
        let (waiting, stale) = waiting;
        let (why, error) = match timeout(soft, waiting).await {
            Ok(Ok(Ok(lookup))) => return Ok(lookup),
            Ok(Ok(Err(LoadError::TimedOut))) | Err(_) => (StaleReason::LoadSlow, LoadError::TimedOut),
            Ok(Ok(Err(error))) => (StaleReason::of(&error), error),
            // Stopped by a close, or panicked.
            Ok(Err(_)) => (StaleReason::LoadFailed, LoadError::TimedOut),
        };
        stale.map(|stale| inner.stale(key.class(), stale, why)).ok_or(error)
    }

    fn log_failure(&self, key: &Key) {
        if self.failures.now() {
            tracing::warn!(class = key.class().name, "a load in the background failed; what is cached is served on");
        }
    }
}
