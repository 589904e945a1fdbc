use crate::config::Strategy;
use crate::flight::{Arrival, Boarding, Flight, Flights, Loaded};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::store::{CacheError, CacheStore, Cached, Invalidation, Lease, StoreStatus};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Cache-aside over any [`CacheStore`]. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn CacheStore>,
    metrics: Metrics,
    flights: Flights,
    request_budget: Duration,
    born: Instant,
    refusal_logged_at: AtomicU64,
}

/// How long a loaded value may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// As long as its key's class says.
    Class,
    /// This long.
    Fixed(Duration),
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The value; `None` when the loader found nothing (which is not cached).
    pub value: Option<Bytes>,
    /// Where it came from.
    pub status: Status,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The cache had it; it lives for `ttl` more.
    Hit {
        /// What is left of its life.
        ttl: Duration,
    },
    /// The cache did not have it.
    Miss {
        /// It does now, as far as this request knows.
        stored: bool,
        /// Another request's load was shared.
        collapsed: bool,
    },
    /// The cache gave no answer.
    Fallback,
    /// The cache was not asked, on purpose.
    Bypass,
}

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidated {
    /// Done; so many keys went.
    Done(u64),
    /// Not confirmed by the cache. It is owed: this process does not read the cache until it is made up for.
    Owed,
}

/// What one request may still wait for the cache.
struct Budget(Duration);

impl Budget {
    async fn wait<T>(&mut self, what: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
        if self.0.is_zero() {
            return Err(CacheError::Timeout);
        }
        let start = Instant::now();
        let result = timeout(self.0, what).await.unwrap_or(Err(CacheError::Timeout));
        self.0 = self.0.saturating_sub(start.elapsed());
        result
    }
}

impl Cache {
    /// A cache over a store of your own; [`crate::CacheConfig::open`] chooses one by configuration.
    #[must_use]
    pub fn new(store: Arc<dyn CacheStore>, metrics: Metrics) -> Self {
        let inner = Inner {
            store,
            metrics,
            flights: Flights::new(),
            request_budget: Duration::from_millis(100),
            born: Instant::now(),
            refusal_logged_at: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The longest one request waits for the cache, all its commands together; 100 ms unless told otherwise. To be said
    /// before the cache is cloned.
    #[must_use]
    pub fn with_request_budget(mut self, budget: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.request_budget = budget;
        }
        self
    }

    /// The store beneath.
    #[must_use]
    pub fn store(&self) -> &dyn CacheStore {
        &*self.inner.store
    }

    /// Which strategy it is.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.inner.store.strategy()
    }

    /// How it is at this moment. The gauges of [`Metrics`] are set from it: call this before they are rendered.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let status = self.inner.store.status();
        self.inner.metrics.status(&status);
        status
    }

    /// Waits until the cache can be used for the first time, at most so long. Whether it can.
    pub async fn ready(&self, at_most: Duration) -> bool {
        timeout(at_most, self.inner.store.ready()).await.is_ok()
    }

    /// The value of `key`: from the cache, or else from `load`, and then into the cache.
    ///
    /// `load` must read a snapshot of the database that was taken after the call began, on the primary: a statement of its own
    /// is right, an older `REPEATABLE READ` transaction or a lagging replica is not. It is called at most once; requests
    /// for one key in this process share a load where that cannot show one of them the past. `Ok(None)` means that there is
    /// no such thing.
    ///
    /// # Errors
    /// Those of `load`, and none else: whatever goes wrong with the cache, the value comes from `load`.
    pub async fn get_or_load<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Lookup, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let inner = &*self.inner;
        let begun = inner.flights.tick();
        let mut budget = Budget(inner.request_budget);
        let mut reachable = true;
        loop {
            if let Some(follower) = inner.flights.find(key.name()) {
                match inner.follow(key, follower.arrive(begun).await, &mut reachable) {
                    Next::Return(lookup) => return Ok(lookup),
                    Next::Again => {}
                    Next::Alone => return inner.alone(key, reachable, load).await,
                }
            }
            if reachable {
                match inner.get(key, &mut budget).await {
                    Ok(Some(cached)) => {
                        inner.metrics.hit(key.class());
                        return Ok(Lookup { value: Some(cached.value), status: Status::Hit { ttl: cached.ttl } });
                    }
                    // Without a cache nothing is shared: every read costs what it costs.
                    Ok(None) if inner.store.strategy() == Strategy::None => return inner.alone(key, true, load).await,
                    Ok(None) => {}
                    Err(_) => reachable = false,
                }
            }
            match inner.flights.board(key.name()) {
                Boarding::Lead(flight) => return inner.lead(key, ttl, flight, reachable, &mut budget, load).await,
                Boarding::Follow(follower) => match inner.follow(key, follower.arrive(begun).await, &mut reachable) {
                    Next::Return(lookup) => return Ok(lookup),
                    Next::Again => {}
                    Next::Alone => return inner.alone(key, reachable, load).await,
                },
            }
        }
    }

    /// The value from `load`; the cache is neither read nor filled.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn bypass<L, F, E>(&self, load: L) -> Result<Lookup, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        Ok(Lookup { value: load().await?, status: Status::Bypass })
    }

    /// Removes what a write made invalid. Call it after the commit and before the write is acknowledged, from a task that is not
    /// cancelled when the client goes away. Waits at most as long as one request may, and never fails.
    pub async fn invalidate(&self, what: &Invalidation) -> Invalidated {
        let result = self.inner.timed("delete", self.inner.store.delete(what), |_| "done").await;
        result.map_or(Invalidated::Owed, Invalidated::Done)
    }

    /// Removes everything the layer stored.
    ///
    /// # Errors
    /// The cache could not be cleared in time; that is owed now.
    pub async fn clear(&self) -> Result<u64, CacheError> {
        self.inner.timed("clear", self.inner.store.clear(), |_| "done").await
    }
}

enum Next {
    Return(Lookup),
    Again,
    Alone,
}

impl Inner {
    async fn get(&self, key: &Key, budget: &mut Budget) -> Result<Option<Cached>, CacheError> {
        let outcome = |found: &Option<Cached>| if found.is_some() { "hit" } else { "miss" };
        self.timed("get", budget.wait(self.store.get(key)), outcome).await
    }

    /// The first of its key: takes a lease, loads, fills.
    async fn lead<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        flight: Flight<'_>,
        mut reachable: bool,
        budget: &mut Budget,
        load: L,
    ) -> Result<Lookup, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let mut lease = None;
        if reachable {
            match self.timed("lease", budget.wait(self.store.lease(key)), |_| "granted").await {
                Ok(granted) => lease = granted,
                Err(_) => reachable = false,
            }
        }
        let began = self.flights.tick();
        let value = match load().await {
            Ok(value) => value,
            Err(error) => {
                flight.failed();
                return Err(error);
            }
        };
        flight.loaded(Loaded { began, value: value.clone(), fallback: !reachable });
        let stored = match (&lease, &value) {
            (Some(lease), Some(value)) => self.fill(key, lease, value, ttl, budget).await,
            _ => false,
        };
        flight.done(stored);
        Ok(Lookup { value, status: self.missed(key, !reachable, stored, false) })
    }

    async fn fill(&self, key: &Key, lease: &Lease, value: &Bytes, ttl: Ttl, budget: &mut Budget) -> bool {
        let ttl = match ttl {
            Ttl::Class => key.class().ttl,
            Ttl::Fixed(ttl) => ttl,
        };
        let outcome = |stored: &bool| if *stored { "stored" } else { "rejected" };
        let filled = self.timed("fill", budget.wait(self.store.fill(lease, value, ttl)), outcome).await;
        if filled == Ok(false) {
            self.metrics.lease_rejected(key.class());
        }
        filled == Ok(true)
    }

    fn follow(&self, key: &Key, arrival: Arrival, reachable: &mut bool) -> Next {
        match arrival {
            Arrival::Shared { loaded, stored } => {
                let status = self.missed(key, loaded.fallback, stored, true);
                Next::Return(Lookup { value: loaded.value, status })
            }
            Arrival::TooOld { fallback } => {
                // What the first one waited for in vain need not be waited for again.
                *reachable &= !fallback;
                Next::Again
            }
            Arrival::Failed => Next::Alone,
        }
    }

    async fn alone<L, F, E>(&self, key: &Key, reachable: bool, load: L) -> Result<Lookup, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let value = load().await?;
        Ok(Lookup { value, status: self.missed(key, !reachable, false, false) })
    }

    fn missed(&self, key: &Key, fallback: bool, stored: bool, collapsed: bool) -> Status {
        if fallback {
            self.metrics.fallback(key.class());
            return Status::Fallback;
        }
        self.metrics.miss(key.class());
        Status::Miss { stored, collapsed }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, CacheError>>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, CacheError> {
        let start = Instant::now();
        let result = work.await;
        let outcome = match &result {
            Ok(value) => outcome(value),
            Err(error) => {
                self.metrics.error(operation, error);
                if let CacheError::Server(text) = error {
                    self.log_refusal(operation, text);
                }
                error.kind()
            }
        };
        self.metrics.operation(operation, outcome, start.elapsed());
        result
    }

    /// Refusals (out of memory, wrong type) are worth a line, but one in ten seconds.
    fn log_refusal(&self, operation: &'static str, text: &str) {
        let now = self.born.elapsed().as_secs() + 10;
        let last = self.refusal_logged_at.load(Ordering::Relaxed);
        if now >= last + 10
            && self.refusal_logged_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(operation, error = text, "the cache server refused an operation");
        }
    }
}
