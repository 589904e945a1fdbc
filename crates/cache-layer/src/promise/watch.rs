//! What the relays and the readers saw, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What became of the promise, as a part of [`crate::Metrics`]. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct PromiseMetrics {
    age: Gauge<f64, AtomicU64>,
    lag_seconds: Gauge<f64, AtomicU64>,
    lag_rows: Gauge,
    untrusted_reads: Counter,
    replayed_rows: Counter,
    flushes: Counter,
    /// When each server's watermark was last renewed.
    renewed: Arc<Mutex<HashMap<String, Instant>>>,
}

impl PromiseMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Time since the watermark was renewed, of the server where that is longest ago";
        registry.register_with_unit("cache_watermark_age", help, Unit::Seconds, self.age.clone());
        let help = "How long the oldest invalidation that the relay found had waited";
        registry.register_with_unit("cache_outbox_lag", help, Unit::Seconds, self.lag_seconds.clone());
        registry.register("cache_outbox_lag_rows", "Rows that the relay found waiting", self.lag_rows.clone());
        let help = "Reads that went to the database because the cache could not be trusted";
        registry.register("cache_untrusted_reads", help, self.untrusted_reads.clone());
        let help = "Rows of the outbox that were applied to the cache";
        registry.register("cache_outbox_replayed_rows", help, self.replayed_rows.clone());
        let help = "How often the cache was emptied because it was not known what it reflects";
        registry.register("cache_outbox_flushes", help, self.flushes.clone());
    }

    /// Sets what grows by itself; to be called before rendering.
    pub(crate) fn refresh(&self) {
        let oldest = self.lock().values().map(Instant::elapsed).max();
        self.age.set(oldest.unwrap_or_default().as_secs_f64());
    }

    pub(crate) fn untrusted(&self, reads: usize) {
        self.untrusted_reads.inc_by(u64::try_from(reads).unwrap_or(u64::MAX));
    }

    /// From now on a watermark is expected of this server.
    pub(super) fn expect(&self, server: &str) {
        self.lock().insert(server.to_owned(), Instant::now());
    }

    pub(super) fn renewed(&self, server: &str) {
        self.expect(server);
    }

    pub(super) fn forget(&self, server: &str) {
        self.lock().remove(server);
    }

    pub(super) fn found(&self, rows: u64, lag: Duration) {
        self.lag_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.lag_seconds.set(lag.as_secs_f64());
    }

    pub(super) fn replayed(&self, rows: u64) {
        self.replayed_rows.inc_by(rows);
    }

    pub(super) fn flushed(&self) {
        self.flushes.inc();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
