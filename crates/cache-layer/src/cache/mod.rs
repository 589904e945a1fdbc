//! Cache-aside over any store, with everything that a key's class says about the life of its values.

mod background;
mod clock;
mod flight;
mod held;
mod lead;
mod limits;
mod look;
mod lookup;
mod manage;
mod observe;
mod operations;
mod read;
mod rescue;
mod seldom;
mod typed;

pub use clock::{Clock, SystemClock};
pub use lookup::{LoadError, Lookup, StaleReason, Status, Ttl};
pub use manage::Warmed;
pub use operations::Invalidated;
pub use typed::{SetError, Typed};

pub(crate) use clock::millis;
pub(crate) use flight::{Boarding, Flight, Flights, Loaded, Purpose, Source};
pub(crate) use held::{Held, asked};
pub(crate) use limits::{Budget, Deadline};
pub(crate) use look::{Found, Stale};
pub(crate) use read::{Reading, admitted, is_admitted};

use crate::bulkhead::{Bulkhead, BulkheadConfig};
use crate::config::{Coherence, Strategy};
use crate::metrics::Metrics;
use crate::store::{CacheStore, StoreStatus};
use crate::value::{Codec, ValueKeys};
use background::Background;
use bytes::Bytes;
use seldom::Seldom;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// The class, in the metrics, of operations that are not about keys of one class.
const ALL: &str = "all";

/// Cache-aside over any [`CacheStore`]. Cheap to clone.
///
/// Which method for what: [`Cache::get_or_load`] for a loader that borrows, and nothing in the background; [`Cache::get_or_refresh`] for
/// classes that serve stale values or refresh early; [`Cache::get_many_or_load`] for many keys; [`Cache::typed`] for values as JSON. See
/// [`crate::patterns`].
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn CacheStore>,
    pub(crate) metrics: Metrics,
    pub(crate) flights: Arc<Flights>,
    pub(crate) settings: Settings,
    background: Background,
    /// Rises with each invalidation that is owed, and with the first one after those: the relay need not wait for its next poll.
    invalidations: watch::Sender<u64>,
    owed_last: AtomicBool,
    refusals: Seldom,
    garbage: Seldom,
    unsealed: Seldom,
    failures: Seldom,
    born: Instant,
}

/// How the façade behaves, whatever the store.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) request_budget: Duration,
    pub(crate) lease_wait: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) background_loads: usize,
    pub(crate) codec: Codec,
    pub(crate) value_keys: ValueKeys,
    pub(crate) bulkhead: Option<Bulkhead>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) coherence: Coherence,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_budget: Duration::from_millis(100),
            lease_wait: Duration::from_millis(100),
            retry_after: Duration::from_secs(1),
            background_loads: 64,
            codec: Codec::default(),
            value_keys: ValueKeys::default(),
            bulkhead: None,
            clock: Arc::new(SystemClock),
            coherence: Coherence::Lease,
        }
    }
}

impl Cache {
    /// A cache over a store of your own; [`crate::CacheConfig::open`] chooses one by configuration.
    #[must_use]
    pub fn new(store: Arc<dyn CacheStore>, metrics: Metrics) -> Self {
        Self::with_settings(store, metrics, Settings::default())
    }

    pub(crate) fn with_settings(store: Arc<dyn CacheStore>, metrics: Metrics, settings: Settings) -> Self {
        let inner = Inner {
            store,
            metrics,
            flights: Arc::new(Flights::new()),
            background: Background::new(settings.background_loads, settings.retry_after),
            settings,
            invalidations: watch::Sender::new(0),
            owed_last: AtomicBool::new(false),
            refusals: Seldom::new(),
            garbage: Seldom::new(),
            unsealed: Seldom::new(),
            failures: Seldom::new(),
            born: Instant::now(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The longest one request waits for the cache, all its commands together; 100 ms unless told otherwise. Like all `with_…`, to be
    /// said before the cache is used or cloned.
    #[must_use]
    pub fn with_request_budget(self, budget: Duration) -> Self {
        self.with(|settings| settings.request_budget = budget)
    }

    /// How long a request that misses waits while another *process* loads the same key, before it loads for itself, without storing
    /// what it loaded; 100 ms unless told otherwise. Nearer the time of a load, fewer loads are done twice.
    #[must_use]
    pub fn with_lease_wait(self, wait: Duration) -> Self {
        self.with(|settings| settings.lease_wait = wait)
    }

    /// How many loads may go on in the background at the same time; 64 unless told otherwise. Above, values are served as stale or
    /// fresh as they are, and loaded anew by a later request.
    #[must_use]
    pub fn with_background_loads(self, at_most: usize) -> Self {
        self.with(|settings| settings.background_loads = at_most)
    }

    /// After a failed load, stale values of the key are served for so long without another try; 1 s unless told otherwise.
    #[must_use]
    pub fn with_retry_after(self, pause: Duration) -> Self {
        self.with(|settings| settings.retry_after = pause)
    }

    /// How values are written; by default they are compressed above 2 KiB.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        self.with(|settings| settings.codec = codec)
    }

    /// The keys that values of [sealed](crate::KeyClass::sealed) classes are encrypted with; without any, they are not kept.
    #[must_use]
    pub fn with_value_keys(self, keys: ValueKeys) -> Self {
        self.with(|settings| settings.value_keys = keys)
    }

    /// How many loads may run at the same time; without it, as many as requests miss. Above, requests wait a little for their turn
    /// and are then answered with a stale value, where their class allows it, or with [`LoadError::Overloaded`]: so that a
    /// dead cache does not become a dead database.
    #[must_use]
    pub fn with_loads_at_most(self, limit: BulkheadConfig) -> Self {
        let bulkhead = Bulkhead::new(limit, self.inner.metrics.bulkhead());
        self.with(|settings| settings.bulkhead = Some(bulkhead))
    }

    /// Another clock than this machine's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    pub(crate) fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.inner.settings.clone();
        change(&mut settings);
        Self::with_settings(Arc::clone(&self.inner.store), self.inner.metrics.clone(), settings)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn invalidated(&self) -> watch::Receiver<u64> {
        self.inner.invalidations.subscribe()
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

    /// How far its invalidations may be relied on.
    #[must_use]
    pub fn coherence(&self) -> Coherence {
        self.inner.settings.coherence
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

    /// The value from `load`; the cache is neither read nor filled. The error is that of [`Cache::get_or_load`], so that one can stand
    /// for the other; there is no timeout.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn bypass<L, F, E>(&self, load: L) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let value = load().await.map_err(LoadError::Failed)?;
        Ok(Lookup { value, status: Status::Bypass })
    }

    /// Ends background work, then the store: loads in the background may end within `at_most` and are stopped then. The cache can still
    /// be asked afterwards; every answer comes from the loader.
    pub async fn close(&self, at_most: Duration) {
        let start = Instant::now();
        self.inner.background.close(at_most).await;
        self.inner.store.close(at_most.saturating_sub(start.elapsed())).await;
    }
}

impl Inner {
    pub(crate) fn now_ms(&self) -> u64 {
        self.settings.clock.now_ms()
    }
}
