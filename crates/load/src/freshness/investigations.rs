//! Investigations of stale items: each item is rechecked until its kind is known, a bounded number of items at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::classify::{NextAction, kind_so_far, next};
use super::history::RecheckResult;
use super::judge::{ItemKey, ReadOutcome, RecentHistory, RunNanos, Staleness, WriteKind, WriteOutcome};
use super::{FreshnessMonitor, lock};
use crate::Call;
use crate::response::ClassifiedResponse;
use cacheproof_core::journal::{CachePath, StaleKind};
use cacheproof_core::journal::{
    Event, FreshnessKey, HistoryEntry, Outcome, Recheck, StaleClassification, StaleCount, StaleRead,
};

/// How many items are investigated at a time. Stale reads of others stay unclassified.
const MAX_OPEN_INVESTIGATIONS: usize = 64;

/// How many examples a phase keeps.
const EXAMPLES: usize = 20;

/// How long the end of a run waits for first rechecks at most.
const RECHECK_WAIT: Duration = Duration::from_secs(5);

/// What one investigation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct InvestigationKey {
    key: ItemKey,
    path: CachePath,
    instance: usize,
    /// The request, where it is a list that shows the item.
    list: Option<usize>,
}

/// One stale item.
#[derive(Debug)]
pub(super) struct StaleInvestigation {
    id: u64,
    call: Call,
    first: Instant,
    /// The lowest version that would have been fresh; `None`: the item had been deleted.
    floor: Option<u64>,
    /// The generation of the item that this is about.
    generation: u64,
    reads: BTreeMap<FreshnessKey, u64>,
    rechecks: Vec<Recheck>,
}

/// A stale read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaleItem<'a> {
    pub(super) of: FreshnessKey,
    pub(super) key: ItemKey,
    pub(super) list: bool,
    pub(super) instance: usize,
    pub(super) call: &'a Call,
    pub(super) probe: bool,
    pub(super) staleness: Staleness,
    pub(super) detail: &'a str,
    pub(super) sent: Instant,
}

impl FreshnessMonitor {
    /// Adds a stale read to the investigation of its item, or opens one.
    pub(super) fn investigate_stale(self: &Arc<Self>, item: StaleItem<'_>) {
        let list = item.list.then_some(item.call.request);
        let investigation_key = InvestigationKey { key: item.key, path: item.of.path, instance: item.instance, list };
        let mut open = lock(&self.open);
        if let Some(investigation) = open.get_mut(&investigation_key) {
            *investigation.reads.entry(item.of).or_default() += 1;
            return;
        }
        if open.len() >= MAX_OPEN_INVESTIGATIONS || self.is_over() {
            return;
        }
        let id = 1 + self.investigations.fetch_add(1, Ordering::Relaxed);
        let investigation = StaleInvestigation {
            id,
            call: item.call.clone(),
            first: item.sent,
            floor: (!item.staleness.gone).then_some(item.staleness.floor),
            generation: item.staleness.generation,
            reads: [(item.of, 1)].into(),
            rechecks: Vec::new(),
        };
        open.insert(investigation_key, investigation);
        drop(open);
        self.emit_example(id, &item);
        let this = Arc::clone(self);
        self.spawn(async move { this.investigate(investigation_key).await });
    }

    /// Emits an example with the history of the item.
    fn emit_example(&self, id: u64, item: &StaleItem<'_>) {
        {
            let mut example_counts = lock(&self.example_counts);
            let count = example_counts.entry(item.of.phase).or_default();
            if *count >= EXAMPLES {
                return;
            }
            *count += 1;
        }
        let staleness = &item.staleness;
        let seconds = |nanoseconds: RunNanos| nanoseconds as f64 / 1e9;
        self.push_event(Event::StaleRead(StaleRead {
            id,
            of: item.of,
            call: format!("GET {}", item.call.path),
            item: self.items.path(&self.scenario, &self.plan, item.key),
            probe: item.probe,
            detail: item.detail.to_owned(),
            version: staleness.version,
            versions_are_times: self.versions_are_times.load(Ordering::Relaxed),
            floor: staleness.floor,
            gone: staleness.gone,
            age_at_least: seconds(staleness.at_least),
            age_at_most: seconds(staleness.at_most),
            since_ack: staleness.since_ack.map(seconds),
            history: history(&self.judge.recent_history(item.key), self.run_nanos(item.sent)),
        }));
    }

    async fn investigate(self: Arc<Self>, investigation_key: InvestigationKey) {
        let can_bypass = self.scenario.target.bypass.is_some() && investigation_key.path == CachePath::Cached;
        loop {
            let Some((call, first, action)) = lock(&self.open).get(&investigation_key).map(|investigation| {
                (
                    investigation.call.clone(),
                    investigation.first,
                    next(&self.scenario.freshness, can_bypass, &investigation.rechecks),
                )
            }) else {
                return;
            };
            let (after, past_cache) = match action {
                NextAction::Done(kind) => return self.close(investigation_key, kind),
                NextAction::Recheck { after, past_cache } => (after, past_cache),
            };
            tokio::time::sleep_until((first + after).into()).await;
            let Ok(_permit) = self.own_read_permits.acquire().await else { return };
            // What was stale on the uncached path is rechecked there.
            let found = self
                .probe_client
                .fetch(&call, investigation_key.instance, past_cache || investigation_key.path == CachePath::Uncached)
                .await;
            let mut open = lock(&self.open);
            let Some(investigation) = open.get_mut(&investigation_key) else { return };
            let (version, recheck) = match &found {
                Some(found) => self.recheck(investigation_key, investigation, &found.reading),
                None => (None, RecheckResult::Unknown),
            };
            if recheck == RecheckResult::OtherGeneration {
                // Compared with the generation before, a fresh response would be called stale, and the source with it.
                let kind = kind_so_far(&investigation.rechecks);
                drop(open);
                return self.close(investigation_key, kind);
            }
            let stale = (recheck != RecheckResult::Unknown).then_some(recheck == RecheckResult::Stale);
            let after = first.elapsed().as_secs_f64();
            investigation.rechecks.push(Recheck { after, past_cache, version, stale });
        }
    }

    /// The version of the item in a response, and what that shows.
    fn recheck(
        &self,
        investigation_key: InvestigationKey,
        investigation: &StaleInvestigation,
        reading: &ClassifiedResponse,
    ) -> (Option<u64>, RecheckResult) {
        let result = match investigation_key.list {
            _ if reading.missing => ReadOutcome::Missing,
            _ if matches!(reading.outcome, Outcome::Error | Outcome::Wrong) => return (None, RecheckResult::Unknown),
            None => ReadOutcome::Item { version: reading.version.number() },
            Some(_) => {
                let own = self.items.own_key(&self.plan, investigation_key.key);
                match reading.listed.iter().find(|(id, _)| Some(*id) == own) {
                    Some((_, version)) => ReadOutcome::Item { version: *version },
                    None => ReadOutcome::Missing,
                }
            }
        };
        let version = if let ReadOutcome::Item { version } = result { version } else { None };
        (version, self.judge.recheck(investigation_key.key, investigation.generation, investigation.floor, result))
    }

    fn close(&self, investigation_key: InvestigationKey, kind: StaleKind) {
        let Some(investigation) = lock(&self.open).remove(&investigation_key) else { return };
        // Read without the cache from the start: what stays stale there is stale at the source.
        let kind = match (investigation_key.path, kind) {
            (CachePath::Uncached, StaleKind::Stuck | StaleKind::BeyondTtl) => StaleKind::SourceRegressed,
            (_, kind) => kind,
        };
        let reads = investigation.reads.into_iter().map(|(of, count)| StaleCount { of, count }).collect();
        self.push_event(Event::StaleClassification(StaleClassification {
            id: investigation.id,
            kind,
            rechecks: investigation.rechecks,
            reads,
        }));
    }

    /// Ends all rechecks. `wait`: items that were not rechecked yet get the time for it, at most five seconds.
    pub async fn finish(&self, wait: bool) {
        let deadline = Instant::now() + RECHECK_WAIT.min(self.scenario.freshness.settle + Duration::from_secs(1));
        let waiting = || lock(&self.open).values().any(|investigation| investigation.rechecks.is_empty());
        while wait && waiting() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.over.store(true, Ordering::SeqCst);
        lock(&self.tasks).abort_all();
        let open: Vec<(InvestigationKey, StaleKind)> = lock(&self.open)
            .iter()
            .map(|(investigation_key, investigation)| (*investigation_key, kind_so_far(&investigation.rechecks)))
            .collect();
        for (investigation_key, kind) in open {
            self.close(investigation_key, kind);
        }
    }
}

/// The history of an item, with times relative to the start of the stale read.
fn history(recent_history: &RecentHistory, sent: RunNanos) -> Vec<HistoryEntry> {
    let relative = |at: RunNanos| (at as f64 - sent as f64) / 1e9;
    let writes = recent_history.writes.iter().map(|write| HistoryEntry {
        from: relative(write.began),
        to: write.ended.map(|(at, _)| relative(at)),
        what: if write.kind == WriteKind::Delete { "delete" } else { "write" }.to_owned(),
        version: write.version,
        how: match write.ended {
            None => "in flight",
            Some((_, WriteOutcome::Acked { .. })) => "acknowledged",
            Some((_, WriteOutcome::Refused)) => "refused",
            Some((_, WriteOutcome::Unknown)) => "outcome unknown",
        }
        .to_owned(),
    });
    let reads = recent_history.reads.iter().map(|read| {
        let (version, how) = match read.result {
            ReadOutcome::Item { version } => (version, "answered"),
            ReadOutcome::Missing => (None, "not found"),
        };
        let (from, to) = (relative(read.sent), Some(relative(read.done)));
        HistoryEntry { from, to, what: "read".to_owned(), version, how: how.to_owned() }
    });
    let mut events: Vec<HistoryEntry> = writes.chain(reads).collect();
    events.sort_by(|a, b| a.from.total_cmp(&b.from));
    events
}
