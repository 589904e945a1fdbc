use crate::health::hit_rate;
use crate::metrics::Reading;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DURATIONS: &str = "cache_operation_duration_seconds";

/// What a cache did since the process began. Times are in milliseconds; quantiles are estimated from the buckets of the
/// histogram, as Prometheus does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// How long that is.
    pub seconds: u64,
    /// All classes together.
    pub total: ClassStatistics,
    /// Each class of keys.
    pub classes: BTreeMap<String, ClassStatistics>,
    /// Each operation on the store: `get`, `lease`, `fill`, …
    pub operations: BTreeMap<String, OperationStatistics>,
    /// Loads from the database, where they are limited.
    pub loads: LoadStatistics,
}

/// What reads of one class came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClassStatistics {
    /// Reads answered by the cache.
    pub hits: u64,
    /// Reads that the cache did not have.
    pub misses: u64,
    /// Reads for which the cache gave no answer.
    pub fallbacks: u64,
    /// Hits ÷ (hits + misses); none before the first.
    pub hit_rate: Option<f64>,
    /// Values not stored because they were invalidated during their load.
    pub lease_rejections: u64,
    /// Operations on the store for keys of this class.
    pub latency: Option<Latency>,
}

/// How one operation went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OperationStatistics {
    /// How often it was done.
    pub count: u64,
    /// How long it took.
    pub latency: Option<Latency>,
    /// How often it ended how.
    pub outcomes: BTreeMap<String, u64>,
    /// How often it failed, by kind of error.
    pub errors: BTreeMap<String, u64>,
}

/// How long operations took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

/// Loads from the database behind the bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoadStatistics {
    /// Running now.
    pub running: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Refused so far.
    pub rejected: u64,
}

impl Statistics {
    pub(crate) fn of(reading: &Reading, age: Duration) -> Self {
        let names: BTreeSet<_> = ["cache_hits_total", "cache_misses_total", "cache_fallbacks_total"]
            .into_iter()
            .flat_map(|name| reading.by(name, "class", &[]).into_keys())
            .collect();
        let classes = names.into_iter().map(|class| {
            let of = ClassStatistics::of(reading, &[("class", &class)]);
            (class, of)
        });
        let operations = reading.by(&format!("{DURATIONS}_count"), "operation", &[]);
        Self {
            seconds: age.as_secs(),
            total: ClassStatistics::of(reading, &[]),
            classes: classes.collect(),
            operations: operations
                .into_iter()
                .map(|(operation, count)| {
                    let of = OperationStatistics::of(reading, &operation, count);
                    (operation, of)
                })
                .collect(),
            loads: LoadStatistics {
                running: reading.sum("cache_loads_running", &[]),
                waiting: reading.sum("cache_loads_waiting", &[]),
                rejected: reading.sum("cache_bulkhead_rejections_total", &[]),
            },
        }
    }
}

impl ClassStatistics {
    fn of(reading: &Reading, wanted: &[(&str, &str)]) -> Self {
        let sum = |name| reading.sum(name, wanted);
        let (hits, misses) = (sum("cache_hits_total"), sum("cache_misses_total"));
        Self {
            hits,
            misses,
            fallbacks: sum("cache_fallbacks_total"),
            hit_rate: hit_rate(hits, misses),
            lease_rejections: sum("cache_lease_rejections_total"),
            latency: Latency::of(reading, wanted),
        }
    }
}

impl OperationStatistics {
    fn of(reading: &Reading, operation: &str, count: u64) -> Self {
        let wanted = [("operation", operation)];
        Self {
            count,
            latency: Latency::of(reading, &wanted),
            outcomes: reading.by(&format!("{DURATIONS}_count"), "outcome", &wanted),
            errors: reading.by("cache_errors_total", "kind", &wanted),
        }
    }
}

impl Latency {
    fn of(reading: &Reading, wanted: &[(&str, &str)]) -> Option<Self> {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let quantile = |q| reading.quantile(DURATIONS, wanted, q).map(ms);
        Some(Self {
            mean_ms: reading.mean(DURATIONS, wanted).map(ms)?,
            p50_ms: quantile(0.5)?,
            p95_ms: quantile(0.95)?,
            p99_ms: quantile(0.99)?,
        })
    }
}
