//! Leading a load: the lease, the loader, the fill.

use super::look::Accept;
use super::{Flight, Found, Held, Inner, LoadError, Loaded, Lookup, Reading, Source, Ttl, asked};
use crate::key::{Key, ServeStale};
use crate::store::{CacheError, Leased};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep_until;

/// A lease that was granted later than this after the key was looked up: another process may have loaded it in between, so look again
/// before loading. Loads that are faster than this are cheap to do twice. (Of this process, the flights know.)
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// While another process loads: the first pause between two looks, and the longest. Each is drawn between half and all of it.
const PAUSE: Duration = Duration::from_millis(4);
const PAUSE_AT_MOST: Duration = Duration::from_millis(32);

/// What came of asking for a lease.
enum Obtained {
    Lease(Held),
    /// Load, but do not fill.
    NoLease,
    /// Another process was faster.
    Elsewhere {
        began: u64,
        value: Option<Bytes>,
    },
}

impl Inner {
    /// The first of its key: takes a lease, loads, fills.
    pub(super) async fn lead<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        reading: &mut Reading,
        flight: Flight,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let held = match self.obtain(key, reading, flight.look_again, accept).await {
            Obtained::Lease(held) => Some(held),
            Obtained::NoLease => None,
            Obtained::Elsewhere { began, value } => {
                flight.loaded(Loaded { began, value: value.clone(), source: Source::Elsewhere });
                // It was seen in the cache, which says nothing of the time since: only those may share it who came before.
                flight.done(false);
                return Ok(Lookup { value, status: self.missed(key, Source::Elsewhere, true, true) });
            }
        };
        self.load_and_fill(key, ttl, reading, flight, held, accept, load).await
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a read, with all that came before it")]
    pub(super) async fn load_and_fill<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        reading: &mut Reading,
        flight: Flight,
        held: Option<Held>,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let source = reading.source();
        // What waits for its turn has not begun to load: who comes meanwhile may share it.
        let began = AtomicU64::new(0);
        let load = || {
            began.store(self.flights.tick(), Ordering::Relaxed);
            load()
        };
        let (value, took) = match self.load(key.class(), reading.deadline(key.class()), load).await {
            Ok(loaded) => loaded,
            Err(error) => {
                if key.class().serve_stale != ServeStale::Never {
                    self.background.pause(key);
                }
                flight.failed(matches!(error, LoadError::TimedOut));
                if let Some(held) = held {
                    reading.budget.wait_all(held.release()).await;
                }
                return self.despite(key, reading, accept, error).await;
            }
        };
        let began = began.into_inner();
        flight.loaded(Loaded { began, value: value.clone(), source });
        let stored = match held {
            Some(held) => self.fill(key, ttl, reading, held, value.clone(), took).await,
            None => false,
        };
        flight.done(stored);
        Ok(Lookup { value, status: self.missed(key, source, stored, false) })
    }

    /// Takes the lease, or waits for who has it.
    async fn obtain(&self, key: &Key, reading: &mut Reading, mut look_again: bool, accept: Accept<'_>) -> Obtained {
        if !reading.reachable {
            return Obtained::NoLease;
        }
        let patience = tokio::time::Instant::now() + self.settings.lease_wait;
        let patience = reading.deadline(key.class()).or(patience);
        let mut pause = PAUSE;
        loop {
            match self.lease(key, reading).await {
                Ok(Leased::Granted(lease)) => {
                    let held = Held::new(&self.store, vec![lease]);
                    look_again |= reading.looked_at.is_none_or(|at| at.elapsed() > LOOK_AGAIN_AFTER);
                    if !look_again {
                        return Obtained::Lease(held);
                    }
                    let began = self.flights.tick();
                    match self.look(key, reading, accept).await {
                        Ok(Found::Fresh { value, .. }) => {
                            reading.budget.wait_all(held.release()).await;
                            return Obtained::Elsewhere { began, value };
                        }
                        Ok(Found::Stale(_) | Found::Nothing) | Err(_) => return Obtained::Lease(held),
                    }
                }
                Ok(Leased::Never) => return Obtained::NoLease,
                Ok(Leased::Held(left)) => {
                    look_again = true;
                    let now = tokio::time::Instant::now();
                    if now >= patience {
                        return Obtained::NoLease;
                    }
                    let wait = pause.mul_f64(0.5 + 0.5 * rand::random::<f64>()).min(left + PAUSE);
                    sleep_until(patience.min(now + wait)).await;
                    pause = (pause * 2).min(PAUSE_AT_MOST);
                }
                Err(_) => {
                    reading.reachable = false;
                    return Obtained::NoLease;
                }
            }
            let began = self.flights.tick();
            match self.look(key, reading, accept).await {
                Ok(Found::Fresh { value, .. }) => return Obtained::Elsewhere { began, value },
                Ok(Found::Stale(_) | Found::Nothing) => {}
                Err(_) => {
                    reading.reachable = false;
                    return Obtained::NoLease;
                }
            }
        }
    }

    pub(super) async fn lease(&self, key: &Key, reading: &mut Reading) -> Result<Leased, CacheError> {
        let outcome = |leased: &Leased| match leased {
            Leased::Granted(_) => "granted",
            Leased::Held(_) => "held",
            Leased::Never => "never",
        };
        let (store, wanted) = (Arc::clone(&self.store), key.clone());
        let asking = asked(&self.store, async move { store.lease(&wanted).await });
        self.timed(key.class().name, "lease", reading.budget.wait(asking), outcome).await
    }

    pub(super) async fn fill(
        &self,
        key: &Key,
        ttl: Ttl,
        reading: &mut Reading,
        held: Held,
        value: Option<Bytes>,
        took: Duration,
    ) -> bool {
        let gone = value.is_none();
        let packed = match self.pack(key, ttl, value, took) {
            Some(packed) => packed,
            None if reading.replaces => self.nothing(key),
            None => {
                reading.budget.wait_all(held.release()).await;
                return false;
            }
        };
        let [lease] = held.items() else { return false };
        let outcome = |stored: &bool| if *stored { "stored" } else { "rejected" };
        let filling = self.store.fill(lease, &packed.bytes, packed.kept_for);
        let filled = self.timed(key.class().name, "fill", reading.budget.wait(filling), outcome).await;
        held.filled(std::slice::from_ref(&filled));
        if filled == Ok(false) {
            self.metrics.lease_rejected(key.class());
        }
        filled == Ok(true) && !(gone && key.class().absent_for.is_zero())
    }
}
