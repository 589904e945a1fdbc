use crate::key::KeyClass;
use crate::store::{CacheError, StoreStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// What happened, for Prometheus.
///
/// | name | type | labels |
/// |---|---|---|
/// | `cache_hits_total` | counter | `class` |
/// | `cache_misses_total` | counter | `class` |
/// | `cache_fallbacks_total`: reads that went to the database because the cache gave no answer | counter | `class` |
/// | `cache_lease_rejections_total`: fills refused because of an invalidation during the load | counter | `class` |
/// | `cache_errors_total` | counter | `operation`, `kind` |
/// | `cache_operation_duration_seconds` | histogram | `operation`, `outcome` |
/// | `cache_breaker_state`: 0 closed, 1 open, 2 half-open | gauge | |
/// | `cache_connections` | gauge | |
/// | `cache_owed_invalidations` | gauge | |
#[derive(Clone, Debug)]
pub struct Metrics {
    hits: Family<Class, Counter>,
    misses: Family<Class, Counter>,
    fallbacks: Family<Class, Counter>,
    lease_rejections: Family<Class, Counter>,
    errors: Family<Failure, Counter>,
    durations: Family<Operation, Histogram, fn() -> Histogram>,
    breaker_state: Gauge,
    connections: Gauge,
    owed: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    operation: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
    outcome: &'static str,
}

/// From 20 µs to 160 ms: a hit takes some 100 µs, and nothing waits longer than 100 ms.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(20e-6, 2.0, 14))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            hits: Family::default(),
            misses: Family::default(),
            fallbacks: Family::default(),
            lease_rejections: Family::default(),
            errors: Family::default(),
            durations: Family::new_with_constructor(durations),
            breaker_state: Gauge::default(),
            connections: Gauge::default(),
            owed: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes them appear in a registry. The registry appends `_total` and `_seconds` itself.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cache_hits", "Reads answered by the cache", self.hits.clone());
        registry.register("cache_misses", "Reads that the cache did not have", self.misses.clone());
        registry.register("cache_fallbacks", "Reads for which the cache gave no answer", self.fallbacks.clone());
        let help = "Values not stored because their key was invalidated while they were loaded";
        registry.register("cache_lease_rejections", help, self.lease_rejections.clone());
        registry.register("cache_errors", "Cache operations that failed", self.errors.clone());
        let help = "Time of cache operations";
        registry.register_with_unit("cache_operation_duration", help, Unit::Seconds, self.durations.clone());
        registry.register("cache_breaker_state", "0 closed, 1 open, 2 half-open", self.breaker_state.clone());
        registry.register("cache_connections", "Connections to the cache that are up", self.connections.clone());
        registry.register("cache_owed_invalidations", "Invalidations to be made up for", self.owed.clone());
    }

    pub(crate) fn breaker_state(&self) -> Gauge {
        self.breaker_state.clone()
    }

    pub(crate) fn hit(&self, class: KeyClass) {
        self.hits.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn miss(&self, class: KeyClass) {
        self.misses.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn fallback(&self, class: KeyClass) {
        self.fallbacks.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn lease_rejected(&self, class: KeyClass) {
        self.lease_rejections.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn operation(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.durations.get_or_create(&Operation { operation, outcome }).observe(took.as_secs_f64());
    }

    pub(crate) fn error(&self, operation: &'static str, error: &CacheError) {
        self.errors.get_or_create(&Failure { operation, kind: error.kind() }).inc();
    }

    pub(crate) fn status(&self, status: &StoreStatus) {
        self.connections.set(i64::try_from(status.connections).unwrap_or(i64::MAX));
        self.owed.set(i64::try_from(status.owed_invalidations).unwrap_or(i64::MAX));
    }
}
