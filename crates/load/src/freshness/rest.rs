//! For an app whose answers carry no version: cached and uncached answers compared while nothing is written.
//!
//! This is much weaker than versions: what was stale only while the load ran has gone by then, and nobody saw it.

use serde_json::Value;

use super::look::Found;
use super::{Freshness, Key};
use cacheproof_core::observe::AtRest;

/// How many items of each kind are compared.
const MOST: usize = 100;

/// How many examples are kept.
const EXAMPLES: usize = 5;

impl Freshness {
    /// Compares what was written, after a cached phase. Nothing may be in flight. `None`: there is nothing to compare.
    pub(crate) async fn compare_at_rest(&self, phase: usize) -> Option<AtRest> {
        if !self.scenario.compares_after(phase) {
            return None;
        }
        tokio::time::sleep(self.scenario.freshness.settle).await;
        let mut sum = AtRest { phase, ..AtRest::default() };
        for space in 0..self.items.kinds() {
            let Some(request) = self.items.reader(space) else { continue };
            let written = self.judge.written(space);
            let step = written.len().div_ceil(MOST).max(1);
            for id in written.into_iter().step_by(step) {
                for instance in 0..self.looker.instances() {
                    self.compare(&mut sum, request, Key { space, id }, instance).await;
                }
            }
        }
        Some(sum)
    }

    async fn compare(&self, sum: &mut AtRest, request: usize, key: Key, instance: usize) {
        let call = self.plan.of_item(request, key.id);
        let look = async |past_cache| {
            let found = self.looker.look(&call, instance, past_cache).await?;
            Some(self.essence(&found))
        };
        let (Some(cached), Some(uncached)) = (look(false).await, look(true).await) else { return };
        if cached != uncached {
            // Looked at twice: an answer that is another each time can be held against nothing.
            let (Some(again), Some(cached_again)) = (look(true).await, look(false).await) else { return };
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

    /// What must be the same on both paths: the status, and the body without what tells hits from misses.
    fn essence(&self, found: &Found) -> (u16, Result<Value, Vec<u8>>) {
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
