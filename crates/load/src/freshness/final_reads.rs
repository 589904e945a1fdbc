//! At the end of a run, written items are read past the cache: each must show its last acknowledged write. A write that
//! the app acknowledged and did not store shows in no other way where the cache answers as if it had been stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::judge::{ItemKey, ReadOutcome, ReadVerdict};
use super::{FreshnessMonitor, MAX_OWN_READS_IN_FLIGHT, lock};
use cacheproof_core::journal::{AnswerCounts, Event, FreshnessKey, Outcome};
use cacheproof_core::numbers;

/// How many items of each kind are read: so many that, with none lost, less than 1 % of all are with 95 % confidence.
const MAX_ITEMS_PER_KIND: usize = 300;

/// How long all of it may take. What a write-behind cache has not stored by then counts as lost.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The time between two reads of an item that does not show its last write.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// How many lost writes are named.
const EXAMPLES: usize = 3;

/// What a final read shows.
enum FinalRead {
    /// The last acknowledged write, or a later one.
    Shown,
    /// An older value.
    Older(OlderValue),
    /// Nothing: there is no answer, or it cannot be compared.
    Unknown,
}

/// A value from before the last acknowledged write.
struct OlderValue {
    /// What was found, in words.
    what: String,
    /// Whether the answer said that it was not from the cache. If it said nothing, the bypass may not work.
    is_from_source: bool,
}

/// An item that is read at the end.
struct ItemToRead {
    key: ItemKey,
    /// The request that wrote it last.
    of: FreshnessKey,
    /// What the last read that showed anything found.
    older: Option<OlderValue>,
}

impl FreshnessMonitor {
    /// Reads written items past the cache. No write may be in flight.
    pub async fn read_at_end(self: &Arc<Self>) {
        if self.scenario.target.bypass.is_none() {
            return;
        }
        let deadline = Instant::now() + MAX_TIME;
        let mut counts: BTreeMap<FreshnessKey, AnswerCounts> = BTreeMap::new();
        let mut left = self.items_to_read();
        let mut unread = 0;
        let mut is_first = true;
        while !left.is_empty() && (is_first || Instant::now() + BETWEEN_READS < deadline) {
            if !is_first {
                tokio::time::sleep(BETWEEN_READS).await;
            }
            let reads = futures_util::stream::iter(std::mem::take(&mut left))
                .map(|item| async move {
                    let found = tokio::time::timeout_at(deadline.into(), self.read_finally(&item)).await;
                    (item, found.unwrap_or(FinalRead::Unknown))
                })
                .buffer_unordered(MAX_OWN_READS_IN_FLIGHT);
            for (item, found) in reads.collect::<Vec<_>>().await {
                match found {
                    FinalRead::Shown => counts.entry(item.of).or_default().final_reads += 1,
                    FinalRead::Older(older) => left.push(ItemToRead { older: Some(older), ..item }),
                    // What an earlier read has shown stays true.
                    FinalRead::Unknown if item.older.is_some() => left.push(item),
                    FinalRead::Unknown => {
                        unread += 1;
                        counts.entry(item.of).or_default().unread_at_end += 1;
                    }
                }
            }
            is_first = false;
        }
        let mut examples = Vec::new();
        for ItemToRead { of, older, .. } in left {
            let Some(older) = older else { continue };
            let counts = counts.entry(of).or_default();
            if older.is_from_source {
                counts.final_reads += 1;
                counts.lost_at_end += 1;
            } else {
                counts.behind_at_end += 1;
            }
            examples.push(older.what);
        }
        let read: u64 = counts.values().map(|counts| counts.final_reads + counts.behind_at_end).sum();
        counts.iter().for_each(|(of, counts)| self.counters.record_answer(*of, counts));
        if !examples.is_empty() {
            self.note(format!(
                "{} of {} written items that were read past the cache at the end did not show their last acknowledged write: \
                 {}.",
                numbers::count(examples.len() as u64),
                numbers::count(read),
                examples.iter().take(EXAMPLES).map(String::as_str).collect::<Vec<_>>().join("; ")
            ));
        }
        if unread > 0 {
            self.note(format!(
                "{} of {} written items could not be compared when they were read past the cache at the end: they were not found, \
                 or not answered in time; or the answer was an error, or from the cache; or it, or the answer to the write, did not \
                 say which write it shows.",
                numbers::count(unread),
                numbers::count(unread + read)
            ));
        }
    }

    fn note(&self, text: String) {
        self.push_event(Event::Note { text });
    }

    /// Written items of each kind.
    fn items_to_read(&self) -> Vec<ItemToRead> {
        let last_writes = lock(&self.last_writes);
        let mut items = Vec::new();
        for space in (0..self.items.kinds()).filter(|space| self.items.reading_request(*space).is_some()) {
            let written = self.some_of(self.judge.written(space), MAX_ITEMS_PER_KIND);
            let keys = written.into_iter().map(|id| ItemKey { space, id });
            items.extend(keys.filter_map(|key| Some(ItemToRead { key, of: *last_writes.get(&key)?, older: None })));
        }
        items
    }

    async fn read_finally(&self, item: &ItemToRead) -> FinalRead {
        let key = item.key;
        let Some(request) = self.items.reading_request(key.space) else { return FinalRead::Unknown };
        let call = self.plan.call_for_item(request, key.id);
        let instance = rand::random_range(0..self.probe_client.instances());
        let before = self.judge.begin_read(key);
        let number = self.tokens_tell(key.space).then(|| self.judge.last_number(key)).flatten();
        let Some(found) = self.probe_client.fetch(&call, instance, true).await else { return FinalRead::Unknown };
        let reading = &found.reading;
        let is_item = !matches!(reading.outcome, Outcome::Error | Outcome::Wrong) && !reading.missing;
        if reading.missing {
            let (sent, done) = (self.run_nanos(found.sent), self.run_nanos(found.done));
            // An item whose deletion was the last write is to be gone.
            return match self.judge.end_read(key, &before, ReadOutcome::Missing, sent, done) {
                ReadVerdict::Fresh { .. } => FinalRead::Shown,
                _ => FinalRead::Unknown,
            };
        }
        let served_from_cache = reading.outcome.is_served_from_cache();
        // An item that is gone may have expired, or another may have deleted it.
        if !is_item || served_from_cache == Some(true) {
            return FinalRead::Unknown;
        }
        let older =
            |what: String| FinalRead::Older(OlderValue { what, is_from_source: served_from_cache == Some(false) });
        if let Some(number) = number {
            return match reading.token.as_ref().filter(|token| token.run == self.run) {
                Some(token) if token.id == key.id && token.number >= number => FinalRead::Shown,
                // A create did not know the item's id yet. It was its first write.
                Some(token) if token.id == 0 && number == 1 => FinalRead::Shown,
                Some(token) if token.id == key.id => older(format!(
                    "GET {} had the value of write {}, and write {number} was the last",
                    call.path, token.number
                )),
                _ => older(format!("GET {} had a value from before write {number}, which was the last", call.path)),
            };
        }
        let result = ReadOutcome::Item { version: reading.version.number() };
        match self.judge.end_read(key, &before, result, self.run_nanos(found.sent), self.run_nanos(found.done)) {
            ReadVerdict::Fresh { .. } => FinalRead::Shown,
            ReadVerdict::Stale(staleness) => older(format!("GET {}: {}", call.path, self.describe(&staleness, None))),
            // Its number is beyond those of the data, so nothing but its creation wrote it, and that it is there shows it.
            ReadVerdict::NotJudged if self.items.made(item.of.request).is_some() => FinalRead::Shown,
            ReadVerdict::NotJudged => self.against_version_before(item, &call.path, reading.version.number(), older),
            _ => FinalRead::Unknown,
        }
    }

    /// A write whose answer carried no version must have changed that of the item all the same.
    fn against_version_before(
        &self,
        item: &ItemToRead,
        path: &str,
        version: Option<u64>,
        older: impl Fn(String) -> FinalRead,
    ) -> FinalRead {
        // Two writes may come in the same unit of a coarse time, and a write may send what is there already.
        let is_time = self.versions_are_times.load(Ordering::Relaxed);
        let varies = self.scenario.traffic.requests[item.of.request].varies();
        let (Some(version), Some(before)) = (version, self.judge.seen_before_last_write(item.key)) else {
            return FinalRead::Unknown;
        };
        if version > before {
            return FinalRead::Shown;
        }
        if is_time || !varies {
            return FinalRead::Unknown;
        }
        older(format!("GET {path} had version {version}, as before its last write, whose answer carried no version"))
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
