//! For an app whose responses carry no version: cached and uncached responses are compared while nothing is written.
//!
//! This is much weaker than versions: what was stale only during the load is not seen.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fetch::ProbeResponse;
use super::{FreshnessMonitor, ItemKey, lock};
use crate::body_hash::whole_hash;
use cacheproof_core::journal::{AtQuiescence, Outcome};

/// How many items of each kind are compared: so many that, with none different, less than 1 % of all are with 95 % confidence.
const MAX_ITEMS_PER_KIND: usize = 300;

/// How many examples are kept.
const EXAMPLES: usize = 5;

/// How many items that were not written are read to find the fields that are no data, and among how many they are chosen.
const UNTOUCHED_ITEMS: usize = 3;
const MAX_CANDIDATES: usize = 1_000;

/// The paths of the values that differ, as JSON pointers. Where the shape differs, the whole is not a label.
fn differing_fields(one: &Value, other: &Value, at: String, found: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                match others.get(&name) {
                    Some(other) => differing_fields(value, other, format!("{at}/{name}"), found),
                    None => continue,
                }
            }
        }
        (Value::Array(_), Value::Array(_)) => {}
        _ if one != other && !at.is_empty() => {
            found.insert(at);
        }
        _ => {}
    }
}

impl FreshnessMonitor {
    /// Compares what was written, after a cached phase: the answers to each request that reads such items. Nothing may be in
    /// flight. Empty: there is nothing to compare.
    pub(crate) async fn compare_when_quiescent(&self, phase: usize) -> Vec<AtQuiescence> {
        if !self.scenario.compares_after(phase) {
            return Vec::new();
        }
        tokio::time::sleep(self.scenario.freshness.settle).await;
        let mut all = Vec::new();
        for (request, space) in self.items.reading_requests() {
            let mut sum = AtQuiescence { phase, request: Some(request), ..AtQuiescence::default() };
            let written = self.judge.written(space);
            let count = written.len();
            let labels = self.labels_in(request, &written).await;
            let chosen = self.some_of(written, MAX_ITEMS_PER_KIND);
            sum.skipped += (count - chosen.len()) as u64;
            for id in chosen {
                for instance in 0..self.probe_client.instances() {
                    self.compare(&mut sum, request, ItemKey { space, id }, instance, &labels).await;
                }
            }
            all.push(sum);
        }
        all
    }

    /// Fields that differ between the two paths although the item was never written: they say where the answer came from, or
    /// when it was made.
    async fn labels_in(&self, request: usize, written: &[u64]) -> BTreeSet<String> {
        let all = self.plan.items(request).unwrap_or(0);
        let untouched = (1..=all).filter(|id| written.binary_search(id).is_err()).take(MAX_CANDIDATES).collect();
        let mut labels: Option<BTreeSet<String>> = None;
        for id in self.some_of(untouched, UNTOUCHED_ITEMS) {
            let call = self.plan.call_for_item(request, id);
            // The first read fills the cache.
            let mut bodies = Vec::new();
            for past_cache in [false, false, true] {
                let Some(found) = self.probe_client.fetch(&call, 0, past_cache).await else { break };
                bodies.extend(self.comparable_parts(&found, &BTreeSet::new()).1.ok());
            }
            let [_, cached, uncached] = bodies.as_slice() else { continue };
            let mut differing = BTreeSet::new();
            differing_fields(cached, uncached, String::new(), &mut differing);
            labels = Some(match labels {
                Some(before) => before.intersection(&differing).cloned().collect(),
                None => differing,
            });
        }
        labels.unwrap_or_default()
    }

    async fn compare(
        &self,
        sum: &mut AtQuiescence,
        request: usize,
        key: ItemKey,
        instance: usize,
        labels: &BTreeSet<String>,
    ) {
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
        let was_before = self.body_before_writes(request, key) == Some(whole_hash(&uncached.body));
        let fetch = async |past_cache| Some(self.comparable_parts(&fetch(past_cache).await?, labels));
        let (cached, uncached) = (self.comparable_parts(&cached, labels), self.comparable_parts(&uncached, labels));
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
        } else if was_before {
            sum.unchanged += 1;
            return;
        }
        sum.compared += 1;
    }

    /// The hash of the answer to a request before its item was written, if its writes were acknowledged.
    fn body_before_writes(&self, request: usize, key: ItemKey) -> Option<u64> {
        lock(&self.last_writes).get(&key)?;
        lock(&self.bodies_before_writes).get(&(request, key.id)).copied()
    }

    /// What must be equal on both paths: the status, and the body without the fields that label hits and misses.
    fn comparable_parts(&self, found: &ProbeResponse, labels: &BTreeSet<String>) -> (u16, Result<Value, Vec<u8>>) {
        let body = serde_json::from_slice(&found.body).map_err(|_| found.body.to_vec()).map(|mut body: Value| {
            if let Some(field) = &self.scenario.target.hit.json {
                let (inside, name) = field.rsplit_once('.').map_or((None, field.as_str()), |(a, b)| (Some(a), b));
                let pointer = inside.map_or_else(String::new, |path| format!("/{}", path.replace('.', "/")));
                if let Some(object) = body.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                    object.remove(name);
                }
            }
            for label in labels {
                if let Some(value) = body.pointer_mut(label) {
                    *value = Value::Null;
                }
            }
            body
        });
        (found.status.as_u16(), body)
    }
}
