//! At the end of a run, written items are read past the cache: each must show its last acknowledged write. A write that
//! the app acknowledged and did not store shows in no other way where the cache answers as if it had been stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::judge::{ItemKey, ReadOutcome, ReadVerdict};
use super::{FreshnessMonitor, MAX_OWN_READS_IN_FLIGHT, lock};
use crate::response::WriteToken;
use cacheproof_core::journal::{AnswerCounts, Event, FreshnessKey, Outcome};
use cacheproof_core::numbers;

/// How many items of each kind are read: so many that, with none lost, less than 1 % of all are with 95 % confidence.
const MAX_ITEMS_PER_KIND: usize = 300;

/// How long all of it may take. What a write-behind cache has not stored by then counts as lost.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The time between two reads of an item that does not show its last write.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// How often such an item is read.
const MAX_READS: usize = 4;

/// How many lost writes are named.
const EXAMPLES: usize = 3;

/// What a final read shows.
enum FinalRead {
    /// The last acknowledged write, or a later one.
    Shown,
    /// An older value: in words, what was found.
    Older(String),
    /// Nothing: there is no answer, or it cannot be compared.
    Unknown,
}

impl FreshnessMonitor {
    /// Reads written items past the cache. No write may be in flight.
    pub async fn read_at_end(self: &Arc<Self>) {
        if self.scenario.target.bypass.is_none() {
            return;
        }
        let deadline = Instant::now() + MAX_TIME;
        let mut counts: BTreeMap<FreshnessKey, AnswerCounts> = BTreeMap::new();
        let mut behind = self.items_to_read();
        let mut lost = Vec::new();
        for read in 0..MAX_READS {
            if behind.is_empty() || (read > 0 && Instant::now() + BETWEEN_READS > deadline) {
                break;
            }
            if read > 0 {
                tokio::time::sleep(BETWEEN_READS).await;
            }
            let reads = futures_util::stream::iter(std::mem::take(&mut behind))
                .map(|(key, of)| async move {
                    let found = tokio::time::timeout_at(deadline.into(), self.read_finally(key)).await;
                    (key, of, found.unwrap_or(FinalRead::Unknown))
                })
                .buffer_unordered(MAX_OWN_READS_IN_FLIGHT);
            lost.clear();
            for (key, of, found) in reads.collect::<Vec<_>>().await {
                match found {
                    FinalRead::Shown => counts.entry(of).or_default().final_reads += 1,
                    FinalRead::Older(what) => {
                        lost.push((of, what));
                        behind.push((key, of));
                    }
                    FinalRead::Unknown => {}
                }
            }
        }
        for (of, _) in &lost {
            let counts = counts.entry(*of).or_default();
            counts.final_reads += 1;
            counts.lost_at_end += 1;
        }
        let read: u64 = counts.values().map(|counts| counts.final_reads).sum();
        counts.iter().for_each(|(of, counts)| self.counters.record_answer(*of, counts));
        if !lost.is_empty() {
            let examples: Vec<&str> = lost.iter().map(|(_, what)| what.as_str()).take(EXAMPLES).collect();
            let text = format!(
                "{} of {} written items that were read past the cache at the end did not show their last acknowledged write: \
                 {}.",
                numbers::count(lost.len() as u64),
                numbers::count(read),
                examples.join("; ")
            );
            self.push_event(Event::Note { text });
        }
    }

    /// Written items of each kind, with the request that wrote each of them last.
    fn items_to_read(&self) -> Vec<(ItemKey, FreshnessKey)> {
        let last_writes = lock(&self.last_writes);
        let mut items = Vec::new();
        for space in (0..self.items.kinds()).filter(|space| self.items.reading_request(*space).is_some()) {
            let written = self.judge.written(space);
            let step = written.len().div_ceil(MAX_ITEMS_PER_KIND).max(1);
            let keys = written.into_iter().step_by(step).map(|id| ItemKey { space, id });
            items.extend(keys.filter_map(|key| Some((key, *last_writes.get(&key)?))));
        }
        items
    }

    async fn read_finally(&self, key: ItemKey) -> FinalRead {
        let Some(request) = self.items.reading_request(key.space) else { return FinalRead::Unknown };
        let call = self.plan.call_for_item(request, key.id);
        let instance = usize::try_from(key.id).unwrap_or(0) % self.probe_client.instances();
        let before = self.judge.begin_read(key);
        let number = self.tokens_tell(key.space).then(|| self.judge.last_number(key)).flatten();
        let Some(found) = self.probe_client.fetch(&call, instance, true).await else { return FinalRead::Unknown };
        let reading = &found.reading;
        let is_item = !matches!(reading.outcome, Outcome::Error | Outcome::Wrong) && !reading.missing;
        // An item that is gone may have expired, or another may have deleted it.
        if !is_item || reading.outcome.is_served_from_cache() == Some(true) {
            return FinalRead::Unknown;
        }
        if let Some(number) = number {
            let is_own = |token: &&WriteToken| token.run == self.run && token.id == key.id;
            return match reading.token.as_ref().filter(is_own) {
                Some(token) if token.number >= number => FinalRead::Shown,
                found => {
                    let found = found
                        .map_or_else(|| "of no write of this run".into(), |token| format!("of write {}", token.number));
                    FinalRead::Older(format!("GET {} had a value {found}, write {number} was the last", call.path))
                }
            };
        }
        let result = ReadOutcome::Item { version: reading.version.number() };
        match self.judge.end_read(key, &before, result, self.run_nanos(found.sent), self.run_nanos(found.done)) {
            ReadVerdict::Fresh { .. } => FinalRead::Shown,
            ReadVerdict::Stale(staleness) => {
                FinalRead::Older(format!("GET {}: {}", call.path, self.describe(&staleness, None)))
            }
            _ => FinalRead::Unknown,
        }
    }

    /// Whether the token in an answer tells which write it shows: each write of these items has one, and nothing else has
    /// a version.
    fn tokens_tell(&self, space: usize) -> bool {
        let has_token = |body: &Option<String>| body.as_ref().is_some_and(|body| body.contains("{token}"));
        let requests = &self.scenario.traffic.requests;
        let mut writes = requests
            .iter()
            .enumerate()
            .filter(|(index, request)| !request.method.is_read() && self.items.written_by(*index) == Some(space));
        !self.scenario.has_versions()
            && !self.scenario.target.tokens.is_empty()
            && writes.all(|(_, request)| has_token(&request.body))
    }
}
