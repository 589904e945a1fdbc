//! Stale items looked at again, each a case of its own, a bounded number at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::history::Still;
use super::judge::{Key, Moment, Past, Seen, Staleness, WriteEnd, WriteKind};
use super::sort::{Next, next, so_far};
use super::{Freshness, lock};
use crate::Call;
use crate::response::Reading;
use cacheproof_core::observe::{Event, FreshKey, Look, Outcome, PastEvent, StaleCount, StaleRead, StaleSorted};
use cacheproof_core::scenario::{Path, StaleKind};

/// How many items are looked into at a time. Stale reads of others stay unsorted.
const MOST_OPEN: usize = 64;

/// How many examples a phase keeps.
const EXAMPLES: usize = 20;

/// How long the end of a run waits for second looks at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked into together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CaseKey {
    key: Key,
    path: Path,
    instance: usize,
    /// The request, where it is a list that shows the item.
    list: Option<usize>,
}

/// One stale item.
#[derive(Debug)]
pub(super) struct Case {
    id: u64,
    call: Call,
    first: Instant,
    /// The lowest version that would have been right; `None`: the item had been deleted.
    floor: Option<u64>,
    /// Of which life of the item that is.
    life: u64,
    reads: BTreeMap<FreshKey, u64>,
    looks: Vec<Look>,
}

/// A stale read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaleItem<'a> {
    pub(super) of: FreshKey,
    pub(super) key: Key,
    pub(super) list: bool,
    pub(super) instance: usize,
    pub(super) call: &'a Call,
    pub(super) probe: bool,
    pub(super) staleness: Staleness,
    pub(super) detail: &'a str,
    pub(super) sent: Instant,
}

impl Freshness {
    /// Takes a stale read: it belongs to the case of its item, or opens one.
    pub(super) fn stale(self: &Arc<Self>, item: StaleItem<'_>) {
        let list = item.list.then_some(item.call.request);
        let case_key = CaseKey { key: item.key, path: item.of.path, instance: item.instance, list };
        let mut open = lock(&self.open);
        if let Some(case) = open.get_mut(&case_key) {
            *case.reads.entry(item.of).or_default() += 1;
            return;
        }
        if open.len() >= MOST_OPEN || self.is_over() {
            return;
        }
        let id = 1 + self.cases.fetch_add(1, Ordering::Relaxed);
        let case = Case {
            id,
            call: item.call.clone(),
            first: item.sent,
            floor: (!item.staleness.gone).then_some(item.staleness.floor),
            life: item.staleness.life,
            reads: [(item.of, 1)].into(),
            looks: Vec::new(),
        };
        open.insert(case_key, case);
        drop(open);
        self.show(id, &item);
        let this = Arc::clone(self);
        self.spawn(async move { this.look_into(case_key).await });
    }

    /// Keeps an example with the history around it.
    fn show(&self, id: u64, item: &StaleItem<'_>) {
        {
            let mut shown = lock(&self.shown);
            let count = shown.entry(item.of.phase).or_default();
            if *count >= EXAMPLES {
                return;
            }
            *count += 1;
        }
        let staleness = &item.staleness;
        let seconds = |nanoseconds: Moment| nanoseconds as f64 / 1e9;
        self.tell(Event::StaleRead(StaleRead {
            id,
            of: item.of,
            call: format!("GET {}", item.call.path),
            item: self.items.path(item.key),
            probe: item.probe,
            detail: item.detail.to_owned(),
            version: staleness.version,
            floor: staleness.floor,
            gone: staleness.gone,
            age_at_least: seconds(staleness.at_least),
            age_at_most: seconds(staleness.at_most),
            since_ack: staleness.since_ack.map(seconds),
            history: history(&self.judge.past(item.key), self.moment(item.sent)),
        }));
    }

    async fn look_into(self: Arc<Self>, case_key: CaseKey) {
        let can_pass = self.scenario.target.bypass.is_some() && case_key.path == Path::Cached;
        loop {
            let Some((call, first, step)) = lock(&self.open)
                .get(&case_key)
                .map(|case| (case.call.clone(), case.first, next(&self.scenario.freshness, can_pass, &case.looks)))
            else {
                return;
            };
            let (after, past_cache) = match step {
                Next::Done(kind) => return self.close(case_key, kind),
                Next::Look { after, past_cache } => (after, past_cache),
            };
            tokio::time::sleep_until((first + after).into()).await;
            let Ok(_permit) = self.own_reads.acquire().await else { return };
            // Where the load itself goes past the cache, so does the look.
            let found = self.looker.look(&call, case_key.instance, past_cache || case_key.path == Path::Uncached).await;
            let mut open = lock(&self.open);
            let Some(case) = open.get_mut(&case_key) else { return };
            let (version, still) = match &found {
                Some(found) => self.still(case_key, case, &found.reading),
                None => (None, Still::Unknown),
            };
            if still == Still::AnotherLife {
                // Held against the life before, a right answer would be called stale, and the source with it.
                let kind = so_far(&case.looks);
                drop(open);
                return self.close(case_key, kind);
            }
            let stale = (still != Still::Unknown).then_some(still == Still::Stale);
            let after = first.elapsed().as_secs_f64();
            case.looks.push(Look { after, past_cache, version, stale });
        }
    }

    /// The version that an answer shows of the case's item, and what that says.
    fn still(&self, case_key: CaseKey, case: &Case, reading: &Reading) -> (Option<u64>, Still) {
        let seen = match case_key.list {
            _ if reading.missing => Seen::Missing,
            _ if matches!(reading.outcome, Outcome::Error | Outcome::Wrong) => return (None, Still::Unknown),
            None => Seen::Item { version: reading.version },
            Some(_) => match reading.listed.iter().find(|(id, _)| *id == case_key.key.id) {
                Some((_, version)) => Seen::Item { version: *version },
                None => Seen::Missing,
            },
        };
        let version = if let Seen::Item { version } = seen { version } else { None };
        (version, self.judge.still(case_key.key, case.life, case.floor, seen))
    }

    fn close(&self, case_key: CaseKey, kind: StaleKind) {
        let Some(case) = lock(&self.open).remove(&case_key) else { return };
        // Looked at past the cache from the start: what stays stale there is stale at the source.
        let kind = match (case_key.path, kind) {
            (Path::Uncached, StaleKind::Stuck | StaleKind::BeyondTtl) => StaleKind::SourceRegressed,
            (_, kind) => kind,
        };
        let reads = case.reads.into_iter().map(|(of, count)| StaleCount { of, count }).collect();
        self.tell(Event::StaleSorted(StaleSorted { id: case.id, kind, looks: case.looks, reads }));
    }

    /// No more looks. `wait`: cases that were not looked at again yet get the time for it, at most five seconds.
    pub async fn finish(&self, wait: bool) {
        let deadline = Instant::now() + PATIENCE.min(self.scenario.freshness.settle + Duration::from_secs(1));
        let waiting = || lock(&self.open).values().any(|case| case.looks.is_empty());
        while wait && waiting() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.over.store(true, Ordering::SeqCst);
        lock(&self.tasks).abort_all();
        let open: Vec<(CaseKey, StaleKind)> =
            lock(&self.open).iter().map(|(case_key, case)| (*case_key, so_far(&case.looks))).collect();
        for (case_key, kind) in open {
            self.close(case_key, kind);
        }
    }
}

/// An item's past, with times relative to the stale read's start.
fn history(past: &Past, sent: Moment) -> Vec<PastEvent> {
    let relative = |at: Moment| (at as f64 - sent as f64) / 1e9;
    let writes = past.writes.iter().map(|write| PastEvent {
        from: relative(write.began),
        to: write.ended.map(|(at, _)| relative(at)),
        what: if write.kind == WriteKind::Delete { "delete" } else { "write" }.to_owned(),
        version: write.version,
        how: match write.ended {
            None => "in flight",
            Some((_, WriteEnd::Acked { .. })) => "acknowledged",
            Some((_, WriteEnd::Refused)) => "refused",
            Some((_, WriteEnd::Unknown)) => "outcome unknown",
        }
        .to_owned(),
    });
    let reads = past.reads.iter().map(|read| {
        let (version, how) = match read.seen {
            Seen::Item { version } => (version, "answered"),
            Seen::Missing => (None, "not found"),
        };
        let (from, to) = (relative(read.sent), Some(relative(read.done)));
        PastEvent { from, to, what: "read".to_owned(), version, how: how.to_owned() }
    });
    let mut events: Vec<PastEvent> = writes.chain(reads).collect();
    events.sort_by(|a, b| a.from.total_cmp(&b.from));
    events
}
