mod connections;
mod guards;
mod handles;
mod hot;
mod reading;
mod servers;
mod tiers;
mod warming;

pub(crate) use reading::Reading;
pub(crate) use tiers::{Lookups, TierMetrics};

use crate::breaker::Instruments;
use crate::bulkhead::BulkheadInstruments;
use crate::key::KeyClass;
use crate::promise::PromiseMetrics;
use crate::store::{CacheError, ServerInfo, StoreStatus};
use connections::ConnectionMetrics;
use guards::Guards;
use handles::Handles;
use hot::HotCounter;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use servers::ServerGauges;
use std::time::Duration;
use warming::Warming;

/// What happened, for Prometheus.
///
/// | name | type | labels |
/// |---|---|---|
/// | `cache_hits_total` | counter | `class` |
/// | `cache_misses_total` | counter | `class` |
/// | `cache_fallbacks_total`: reads that went to the database because the cache gave no answer | counter | `class` |
/// | `cache_stale_served_total`: reads answered with a value past its TTL, marked as such | counter | `class`, `why` |
/// | `cache_garbled_total`: cached values that could not be understood (they are misses) | counter | `class` |
/// | `cache_loads_total`: calls of loaders (`loaded`, `failed`, `timed_out`, `cancelled`) | counter | `class`, `outcome` |
/// | `cache_load_duration_seconds` | histogram | `class` |
/// | `cache_refreshes_dropped_total`: loads in the background that found no room | counter | `class` |
/// | `cache_write_behind_pending`: values not yet in the database | gauge | `class` |
/// | `cache_write_behind_batches_total`: batches given to the database (`written`, `failed`), and entries that it refused (`refused`) | counter | `class`, `outcome` |
/// | `cache_invalidations_total`: `done`, or `owed` because Redis did not confirm it | counter | `outcome` |
/// | `cache_lease_rejections_total`: fills refused because of an invalidation during the load | counter | `class` |
/// | `cache_errors_total` | counter | `operation`, `kind` |
/// | `cache_operation_duration_seconds`: of the store's operations; a read answered from this process's memory is none | histogram | `class` (`all`: not of one), `operation`, `outcome` |
/// | `cache_breaker_state`: 0 closed, 1 open, 2 half-open | gauge | |
/// | `cache_breaker_opens_total`, `cache_breaker_refusals_total` | counter | |
/// | `cache_loads_running`, `cache_loads_waiting`: loads from the database, behind the bulkhead | gauge | |
/// | `cache_bulkhead_rejections_total` | counter | |
/// | `cache_warmed_keys_total` | counter | `plan`, `outcome` |
/// | `cache_redis_up`, `cache_redis_keys`, `cache_redis_clients` | gauge | `server` |
/// | `cache_redis_memory_used_bytes`, `cache_redis_memory_max_bytes` | gauge | `server` |
/// | `cache_redis_evicted_keys_total` | counter | `server` |
/// | `cache_connections` | gauge | |
/// | `cache_connects_total`: `ok`, or why not: `unreachable`, `timeout`, `loading`, `no_master`, `refused` | counter | `outcome` |
/// | `cache_connections_replaced_total`: `broken`, `silent`, `read_only`, `moved`, `closed` | counter | `why` |
/// | `cache_servers_up`: servers with a connection that is up | gauge | |
/// | `cache_owed_invalidations` | gauge | |
/// | `cache_store_lookups_total`: keys and tags looked up in Redis, which counts them as `keyspace_hits` and `_misses` | counter | `outcome`: `found`, `absent` |
/// | `cache_local_lookups_total`: in the first of two tiers | counter | `outcome` |
/// | `cache_local_entries`, `cache_local_alive` (0: its news are lost, it is not used) | gauge | |
/// | `cache_watermark_age_seconds`: since the relay of this process last renewed it | gauge | |
/// | `cache_outbox_lag_seconds`, `cache_outbox_lag_rows`: what the last poll found waiting | gauge | |
/// | `cache_untrusted_reads_total`: reads that went to the database for want of a watermark | counter | |
/// | `cache_outbox_replayed_rows_total` | counter | |
/// | `cache_outbox_flushes_total`: times the cache was emptied, not knowing what it reflects | counter | |
///
/// What servers say of themselves is as of the last look of [`crate::Sampler`]: a scrape never waits for a server.
#[derive(Clone, Debug)]
pub struct Metrics {
    hits: Family<Class, HotCounter>,
    misses: Family<Class, Counter>,
    fallbacks: Family<Class, Counter>,
    invalidations: Family<Outcome, Counter>,
    lease_rejections: Family<Class, Counter>,
    stale_served: Family<Reason, Counter>,
    garbled: Family<Class, Counter>,
    loads: Family<Load, Counter>,
    load_durations: Family<Class, Histogram, fn() -> Histogram>,
    refreshes_dropped: Family<Class, Counter>,
    write_behind_pending: Family<Class, Gauge>,
    write_behind_batches: Family<Load, Counter>,
    errors: Family<Failure, Counter>,
    durations: Family<Operation, Histogram, fn() -> Histogram>,
    connections: Gauge,
    owed: Gauge,
    pub(crate) connection: ConnectionMetrics,
    promise: PromiseMetrics,
    lookups: Lookups,
    tiers: TierMetrics,
    hit_handles: Handles<1, HotCounter>,
    duration_handles: Handles<3, Histogram>,
    guards: Guards,
    servers: ServerGauges,
    warming: Warming,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    class: &'static str,
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Load {
    class: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    operation: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    class: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

/// From 20 µs to 160 ms: a hit takes some 100 µs, and nothing waits longer than 100 ms.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(20e-6, 2.0, 14))
}

/// From 0.5 ms to 16 s: what databases take.
fn load_durations() -> Histogram {
    Histogram::new(exponential_buckets(0.5e-3, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            hits: Family::default(),
            misses: Family::default(),
            fallbacks: Family::default(),
            invalidations: Family::default(),
            lease_rejections: Family::default(),
            stale_served: Family::default(),
            garbled: Family::default(),
            loads: Family::default(),
            load_durations: Family::new_with_constructor(load_durations),
            refreshes_dropped: Family::default(),
            write_behind_pending: Family::default(),
            write_behind_batches: Family::default(),
            errors: Family::default(),
            durations: Family::new_with_constructor(durations),
            connections: Gauge::default(),
            owed: Gauge::default(),
            connection: ConnectionMetrics::default(),
            promise: PromiseMetrics::default(),
            lookups: Lookups::default(),
            tiers: TierMetrics::default(),
            hit_handles: Handles::default(),
            duration_handles: Handles::default(),
            guards: Guards::default(),
            servers: ServerGauges::default(),
            warming: Warming::default(),
        }
    }
}

impl Metrics {
    /// Makes them appear in a registry. The registry appends `_total` and `_seconds` itself.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cache_hits", "Reads answered by the cache", self.hits.clone());
        registry.register("cache_misses", "Reads that the cache did not have", self.misses.clone());
        registry.register("cache_fallbacks", "Reads for which the cache gave no answer", self.fallbacks.clone());
        registry.register("cache_invalidations", "Invalidations after writes", self.invalidations.clone());
        let help = "Values not stored because their key was invalidated while they were loaded";
        registry.register("cache_lease_rejections", help, self.lease_rejections.clone());
        let help = "Reads answered with a value past its TTL, marked as such";
        registry.register("cache_stale_served", help, self.stale_served.clone());
        registry.register("cache_garbled", "Cached values that could not be understood", self.garbled.clone());
        registry.register("cache_loads", "Calls of loaders", self.loads.clone());
        let help = "Time of loads";
        registry.register_with_unit("cache_load_duration", help, Unit::Seconds, self.load_durations.clone());
        let help = "Loads in the background that found no room";
        registry.register("cache_refreshes_dropped", help, self.refreshes_dropped.clone());
        let help = "Values written to the cache and not yet to the database";
        registry.register("cache_write_behind_pending", help, self.write_behind_pending.clone());
        let help = "Batches given to the database";
        registry.register("cache_write_behind_batches", help, self.write_behind_batches.clone());
        registry.register("cache_errors", "Cache operations that failed", self.errors.clone());
        let help = "Time of cache operations";
        registry.register_with_unit("cache_operation_duration", help, Unit::Seconds, self.durations.clone());
        registry.register("cache_connections", "Connections to the cache that are up", self.connections.clone());
        registry.register("cache_owed_invalidations", "Invalidations to be made up for", self.owed.clone());
        self.connection.register(registry);
        self.promise.register(registry);
        self.lookups.register(registry);
        self.tiers.register(registry);
        self.guards.register(registry);
        self.servers.register(registry);
        self.warming.register(registry);
    }

    pub(crate) fn lookups(&self) -> Lookups {
        self.lookups.clone()
    }

    pub(crate) fn tiers(&self) -> TierMetrics {
        self.tiers.clone()
    }

    pub(crate) fn promise(&self) -> &PromiseMetrics {
        &self.promise
    }

    /// For each breaker: they share them.
    pub(crate) fn breaker_state(&self) -> Instruments {
        self.guards.breaker.clone()
    }

    pub(crate) fn bulkhead(&self) -> BulkheadInstruments {
        self.guards.bulkhead.clone()
    }

    pub(crate) fn servers(&self, answered: &[ServerInfo]) {
        self.servers.show(answered);
    }

    pub(crate) fn warmed(&self, plan: &'static str, outcome: &'static str) {
        self.warming.key(plan, outcome);
    }

    #[inline]
    pub(crate) fn hit(&self, class: &'static str) {
        let find = || self.hits.get_or_create(&Class { class }).clone();
        self.hit_handles.with([class], find, HotCounter::inc);
    }

    pub(crate) fn miss(&self, class: KeyClass) {
        self.misses.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn fallback(&self, class: KeyClass) {
        self.fallbacks.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn invalidation(&self, outcome: &'static str) {
        self.invalidations.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn lease_rejected(&self, class: KeyClass) {
        self.lease_rejections.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn stale_served(&self, class: KeyClass, why: &'static str) {
        self.stale_served.get_or_create(&Reason { class: class.name, why }).inc();
    }

    pub(crate) fn garbled(&self, class: KeyClass) {
        self.garbled.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn load(&self, class: KeyClass, outcome: &'static str, took: Duration) {
        self.loads.get_or_create(&Load { class: class.name, outcome }).inc();
        self.load_durations.get_or_create(&Class { class: class.name }).observe(took.as_secs_f64());
    }

    pub(crate) fn refresh_dropped(&self, class: KeyClass) {
        self.refreshes_dropped.get_or_create(&Class { class: class.name }).inc();
    }

    pub(crate) fn write_behind_pending(&self, class: KeyClass, pending: usize) {
        let pending = i64::try_from(pending).unwrap_or(i64::MAX);
        self.write_behind_pending.get_or_create(&Class { class: class.name }).set(pending);
    }

    pub(crate) fn write_behind_batch(&self, class: KeyClass, outcome: &'static str) {
        self.write_behind_batches.get_or_create(&Load { class: class.name, outcome }).inc();
    }

    pub(crate) fn operation(
        &self,
        class: &'static str,
        operation: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        let find = || self.durations.get_or_create(&Operation { class, operation, outcome }).clone();
        let labels = [class, operation, outcome];
        self.duration_handles.with(labels, find, |durations| durations.observe(took.as_secs_f64()));
    }

    pub(crate) fn error(&self, operation: &'static str, error: &CacheError) {
        self.errors.get_or_create(&Failure { operation, kind: error.kind() }).inc();
    }

    pub(crate) fn status(&self, status: &StoreStatus) {
        self.connections.set(i64::try_from(status.connections).unwrap_or(i64::MAX));
        self.owed.set(i64::try_from(status.owed_invalidations).unwrap_or(i64::MAX));
        self.promise.refresh();
        self.guards.status(status);
    }
}
