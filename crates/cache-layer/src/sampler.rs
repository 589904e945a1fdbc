use crate::cache::Cache;
use crate::health::hit_rate;
use crate::metrics::Reading;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Looks at the servers every few seconds, so that a scrape of the metrics never waits for one, and writes a line about what
/// the cache did every now and then: one at level INFO for all reads, however many. Ends when dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Sampler {
    task: JoinHandle<()>,
}

impl Sampler {
    /// Looks `every` so often, and writes a line every `summary`; zero: never. Needs a tokio runtime.
    pub fn start(cache: &Cache, every: Duration, summary: Duration) -> Self {
        Self { task: tokio::spawn(sample(cache.clone(), every.max(Duration::from_millis(10)), summary)) }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn sample(cache: Cache, every: Duration, summary: Duration) {
    // Instances that were started together do not ask together.
    let first = Instant::now() + every.mul_f64(rand::random::<f64>());
    let mut ticks = interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = Instant::now();
    let mut before = Counts::default();
    loop {
        ticks.tick().await;
        // Sets the gauges that are not counted up and down by events.
        let status = cache.status();
        let servers = cache.look_at_servers().await;
        if summary.is_zero() || written.elapsed() < summary {
            continue;
        }
        written = Instant::now();
        let now = Counts::of(&cache.reading());
        let since = now.since(&before);
        // An idle cache has nothing to say.
        if since != Counts::default() {
            tracing::info!(
                hits = since.hits,
                misses = since.misses,
                fallbacks = since.fallbacks,
                errors = since.errors,
                hit_rate = hit_rate(since.hits, since.misses).map(|rate| (rate * 1000.0).round() / 1000.0),
                breaker = status.breaker.name(),
                servers = servers.len(),
                "cache"
            );
        }
        before = now;
    }
}

/// Counts so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    hits: u64,
    misses: u64,
    fallbacks: u64,
    errors: u64,
}

impl Counts {
    fn of(reading: &Reading) -> Self {
        let sum = |name| reading.sum(name, &[]);
        Self {
            hits: sum("cache_hits_total"),
            misses: sum("cache_misses_total"),
            fallbacks: sum("cache_fallbacks_total"),
            errors: sum("cache_errors_total"),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            fallbacks: self.fallbacks - before.fallbacks,
            errors: self.errors - before.errors,
        }
    }
}
