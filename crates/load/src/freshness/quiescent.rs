//! For an app whose responses carry no version: cached and uncached responses are compared while nothing is written.
//!
//! This is much weaker than versions: what was stale only during the load is not seen.

use serde_json::Value;

use super::fetch::ProbeResponse;
use super::{FreshnessMonitor, ItemKey};
use cacheproof_core::journal::{AtQuiescence, Outcome};

/// How many items of each kind are compared: so many that, with none different, less than 1 % of all are with 95 % confidence.
const MAX_ITEMS_PER_KIND: usize = 300;

/// How many examples are kept.
const EXAMPLES: usize = 5;

impl FreshnessMonitor {
    /// Compares what was written, after a cached phase. Nothing may be in flight. `None`: there is nothing to compare.
    pub(crate) async fn compare_when_quiescent(&self, phase: usize) -> Option<AtQuiescence> {
        if !self.scenario.compares_after(phase) {
            return None;
        }
        tokio::time::sleep(self.scenario.freshness.settle).await;
        let mut sum = AtQuiescence { phase, ..AtQuiescence::default() };
        for space in 0..self.items.kinds() {
            let Some(request) = self.items.reading_request(space) else { continue };
            let written = self.judge.written(space);
            let all = written.len();
            let chosen = self.some_of(written, MAX_ITEMS_PER_KIND);
            sum.skipped += (all - chosen.len()) as u64;
            for id in chosen {
                for instance in 0..self.probe_client.instances() {
                    self.compare(&mut sum, request, ItemKey { space, id }, instance).await;
                }
            }
        }
        Some(sum)
    }

    async fn compare(&self, sum: &mut AtQuiescence, request: usize, key: ItemKey, instance: usize) {
        let call = self.plan.call_for_item(request, key.id);
        let fetch = async |past_cache| self.probe_client.fetch(&call, instance, past_cache).await;
        let (Some(cached), Some(uncached)) = (fetch(false).await, fetch(true).await) else {
            sum.unread += 1;
            return;
        };
        // Two equal errors are no equal items; "not found" is an answer.
        if [&cached, &uncached].iter().any(|one| one.reading.outcome == Outcome::Error && !one.reading.missing) {
            sum.unread += 1;
            return;
        }
        if uncached.reading.outcome.is_served_from_cache() == Some(true) {
            sum.not_bypassed += 1;
            return;
        }
        let fetch = async |past_cache| Some(self.comparable_parts(&fetch(past_cache).await?));
        let (cached, uncached) = (self.comparable_parts(&cached), self.comparable_parts(&uncached));
        if cached != uncached {
            // Read twice: a response that differs each time cannot be compared.
            let (Some(again), Some(cached_again)) = (fetch(true).await, fetch(false).await) else {
                sum.unread += 1;
                return;
            };
            if again != uncached {
                sum.incomparable += 1;
                return;
            }
            if cached_again != uncached {
                sum.differ += 1;
                if sum.examples.len() < EXAMPLES {
                    sum.examples.push(format!("GET {}", call.path));
                }
            }
        }
        sum.compared += 1;
    }

    /// What must be equal on both paths: the status, and the body without the field that labels hits and misses.
    fn comparable_parts(&self, found: &ProbeResponse) -> (u16, Result<Value, Vec<u8>>) {
        let body = serde_json::from_slice(&found.body).map_err(|_| found.body.to_vec()).map(|mut body: Value| {
            if let Some(field) = &self.scenario.target.hit.json {
                let (inside, name) = field.rsplit_once('.').map_or((None, field.as_str()), |(a, b)| (Some(a), b));
                let pointer = inside.map_or_else(String::new, |path| format!("/{}", path.replace('.', "/")));
                if let Some(object) = body.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                    object.remove(name);
                }
            }
            body
        });
        (found.status.as_u16(), body)
    }
}
