//! The bulkhead before the database: so many loads at a time, so that a dead cache does not become a dead database.
//!
//! While the cache answers, few loads run and nobody waits. When it does not, every read becomes a load; the bulkhead lets as many
//! run as the database can bear, lets the next ones wait a little in the order they came, and refuses the rest at once.
//! A refused read fails fast with [`Full`] (or is served a stale value, where one may be served), which is better than
//! all reads being slow and then failing.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

/// How many loads may run and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadConfig {
    /// Loads that run at the same time. A little less than the database's connections is a good choice.
    pub at_most: usize,
    /// The longest wait for one of them to end.
    pub wait: Duration,
    /// Loads that wait at the same time; more are refused at once. Bounds memory, and the time that waiting is worth.
    pub waiting_at_most: usize,
}

impl BulkheadConfig {
    /// So many loads at a time; ten times as many may wait, for at most 100 ms.
    #[must_use]
    pub const fn new(at_most: usize) -> Self {
        Self { at_most, wait: Duration::from_millis(100), waiting_at_most: at_most.saturating_mul(10) }
    }
}

/// Where a bulkhead shows what it does.
#[derive(Clone, Debug, Default)]
pub struct BulkheadInstruments {
    /// Loads that run.
    pub running: Gauge,
    /// Loads that wait to run.
    pub waiting: Gauge,
    /// Loads that were refused.
    pub rejections: Counter,
}

/// A limit on concurrent loads. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    config: BulkheadConfig,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    instruments: BulkheadInstruments,
}

/// Leave to run one load; its place is free again when this is dropped, also by a cancelled request.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Pass {
    _running: OwnedSemaphorePermit,
    _count: Counted,
}

/// No load could be begun in time: too many run already. The database was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many loads from the database at once: {at_most} run, and none ended within {waited:?}")]
pub struct Full {
    /// Loads that may run at the same time.
    pub at_most: usize,
    /// How long was waited; zero when too many were waiting already.
    pub waited: Duration,
}

/// One more in a gauge for as long as it lives.
#[derive(Debug)]
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Bulkhead {
    /// An empty one. At least one load may always run.
    #[must_use]
    pub fn new(config: BulkheadConfig, instruments: BulkheadInstruments) -> Self {
        let places = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        let config = BulkheadConfig { at_most: config.at_most.max(1), ..config };
        let (running, waiting) = (places(config.at_most), places(config.waiting_at_most));
        Self { config, running, waiting, instruments }
    }

    /// Its limits.
    #[must_use]
    pub const fn config(&self) -> BulkheadConfig {
        self.config
    }

    /// Loads that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.config.at_most.saturating_sub(self.running.available_permits())
    }

    /// Waits, in the order of coming, until a load may run.
    ///
    /// # Errors
    /// [`Full`]: none ended in time, or too many wait already.
    pub async fn enter(&self) -> Result<Pass, Full> {
        match Arc::clone(&self.running).try_acquire_owned() {
            Ok(place) => return Ok(self.pass(place)),
            Err(TryAcquireError::NoPermits) => {}
            Err(TryAcquireError::Closed) => return Err(self.full(Duration::ZERO)),
        }
        let Ok(_seat) = self.waiting.try_acquire() else { return Err(self.full(Duration::ZERO)) };
        let _count = Counted::new(&self.instruments.waiting);
        match timeout(self.config.wait, Arc::clone(&self.running).acquire_owned()).await {
            Ok(Ok(place)) => Ok(self.pass(place)),
            Ok(Err(_)) | Err(_) => Err(self.full(self.config.wait)),
        }
    }

    /// The same without an end of the waiting, for those that cannot be refused.
    pub async fn wait(&self) -> Option<Pass> {
        let _count = Counted::new(&self.instruments.waiting);
        Arc::clone(&self.running).acquire_owned().await.ok().map(|place| self.pass(place))
    }

    fn pass(&self, place: OwnedSemaphorePermit) -> Pass {
        Pass { _running: place, _count: Counted::new(&self.instruments.running) }
    }

    fn full(&self, waited: Duration) -> Full {
        self.instruments.rejections.inc();
        Full { at_most: self.config.at_most, waited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn bulkhead(at_most: usize, wait: Duration, waiting_at_most: usize) -> Bulkhead {
        Bulkhead::new(BulkheadConfig { at_most, wait, waiting_at_most }, BulkheadInstruments::default())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn never_more_run_than_may() {
        let bulkhead = bulkhead(3, LONG, 1000);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let loads: Vec<_> = (0..100)
            .map(|_| {
                let (bulkhead, running, most) = (bulkhead.clone(), running.clone(), most.clone());
                tokio::spawn(async move {
                    let _pass = bulkhead.enter().await.expect("time enough");
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for load in loads {
            load.await.expect("no panic");
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(
            (bulkhead.running(), bulkhead.instruments.running.get(), bulkhead.instruments.waiting.get()),
            (0, 0, 0)
        );
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_and_waited_for_is_refused_at_once() {
        let bulkhead = bulkhead(1, LONG, 1);
        let pass = bulkhead.enter().await.expect("the first");
        let second = tokio::spawn({
            let bulkhead = bulkhead.clone();
            async move { bulkhead.enter().await.map(drop) }
        });
        while bulkhead.instruments.waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bulkhead.enter().await.expect_err("a third").waited, Duration::ZERO);
        assert_eq!(bulkhead.instruments.rejections.get(), 1);
        drop(pass);
        second.await.expect("no panic").expect("the place of the first");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let bulkhead = bulkhead(1, Duration::from_millis(5), 10);
        let _pass = bulkhead.enter().await.expect("the first");
        let full = bulkhead.enter().await.expect_err("a second");
        assert_eq!(full, Full { at_most: 1, waited: Duration::from_millis(5) });
        assert_eq!(bulkhead.instruments.waiting.get(), 0);
    }

    #[tokio::test]
    async fn a_cancelled_wait_gives_its_seat_back() {
        let bulkhead = bulkhead(1, LONG, 1);
        let pass = bulkhead.enter().await.expect("the first");
        for _ in 0..10 {
            tokio::time::timeout(Duration::from_millis(1), bulkhead.enter()).await.expect_err("it waits");
        }
        assert_eq!((bulkhead.instruments.waiting.get(), bulkhead.instruments.rejections.get()), (0, 0));
        drop(pass);
        bulkhead.enter().await.map(drop).expect("free again");
    }
}
