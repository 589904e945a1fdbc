//! Probe reads: sent after writes, so that rarely read items are checked too, and at known times.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::FreshnessMonitor;
use super::investigations::StaleItem;
use super::judge::{ItemKey, ReadVerdict};
use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::Outcome;

/// When a written item is read, after the write was acknowledged; with a TTL also at half of it and after it.
const DELAYS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];

impl FreshnessMonitor {
    /// Sends probe reads after a write, up to the share of reads that the scenario allows.
    pub(super) fn schedule_probes(self: &Arc<Self>, phase: usize, key: ItemKey, acked: Instant) {
        if !self.scenario.has_versions() {
            return;
        }
        let Some(request) = self.items.reading_request(key.space) else { return };
        let mut delays = DELAYS.to_vec();
        if let Some(ttl) = self.scenario.freshness.ttl {
            delays.extend([ttl / 2, ttl + Duration::from_secs(1)]);
        }
        let allowed = self.sent.load(Ordering::Relaxed) as f64 * self.scenario.freshness.probes;
        let wanted = delays.len() as u64;
        let take = |probed: u64| ((probed + wanted) as f64 <= allowed).then_some(probed + wanted);
        if self.probed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return;
        }
        let this = Arc::clone(self);
        self.spawn(async move {
            for (delay, instance) in delays.into_iter().zip(0..) {
                tokio::time::sleep_until((acked + delay).into()).await;
                this.probe(phase, request, key, instance).await;
            }
        });
    }

    /// One probe read. `instance`: the instances take turns.
    async fn probe(self: &Arc<Self>, phase: usize, request: usize, key: ItemKey, instance: usize) {
        let Ok(_permit) = self.own_read_permits.acquire().await else { return };
        let instance = (usize::try_from(key.id).unwrap_or(0) + instance) % self.probe_client.instances();
        let call = self.plan.call_for_item(request, key.id);
        let of = self.key_of(phase, request);
        let before = self.judge.begin_read(key);
        let Some(found) = self.probe_client.fetch(&call, instance, of.path == CachePath::Uncached).await else {
            return;
        };
        let reading = &found.reading;
        if let Some(kind) = reading.wrong {
            return self.counters.record_wrong(of, kind, true);
        }
        if reading.outcome == Outcome::Error && !reading.missing {
            return;
        }
        let verdict = self.verdict(key, before, reading, found.sent, found.done);
        self.counters.record_verdict(of, &verdict, true);
        if let ReadVerdict::Stale(staleness) = verdict {
            let (detail, call, sent) = (self.describe(&staleness, None), &call, found.sent);
            let item =
                StaleItem { of, key, list: false, instance, call, probe: true, staleness, detail: &detail, sent };
            self.investigate_stale(item);
        }
    }
}
