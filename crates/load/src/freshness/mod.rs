//! Freshness, measured from outside: the judge, rechecks of stale items, probe reads after writes, and a comparison at
//! quiescence where responses carry no version.
//!
//! cacheproof's own reads use a separate client, few at a time, so that they do not disturb measured connections. They
//! are counted separately, and are not part of percentiles, hit rates or goose's count.

mod ack_log;
mod classify;
mod counters;
mod fetch;
mod final_reads;
mod history;
mod investigations;
mod items;
mod judge;
mod probes;
mod quiescent;
#[cfg(test)]
mod simulation;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use reqwest::StatusCode;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::{Call, TrafficPlan};
use crate::response::{ClassifiedResponse, VersionReading, WriteToken};
use cacheproof_core::journal::WrongKind;
use cacheproof_core::journal::{AnswerCounts, Event, FreshnessCell, FreshnessKey, Outcome};
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;
use counters::FreshnessCounters;
use fetch::ProbeClient;
use investigations::{InvestigationKey, StaleInvestigation, StaleItem};
use items::{ItemKinds, write_kind};
pub use judge::*;

/// How many following items a write tries where it would race with another write.
const MAX_ITEM_SHIFTS: u64 = 64;

/// How many answers from before a write are remembered.
const MAX_REMEMBERED: usize = 200_000;

/// How many of cacheproof's own reads may be in flight.
const MAX_OWN_READS_IN_FLIGHT: usize = 8;

/// The freshness of one run.
#[derive(Debug)]
pub struct FreshnessMonitor {
    scenario: Arc<Scenario>,
    plan: Arc<TrafficPlan>,
    begun: Instant,
    /// Distinguishes the tokens of this run from those of earlier ones.
    run: u32,
    items: ItemKinds,
    judge: Judge,
    probe_client: ProbeClient,
    counters: FreshnessCounters,
    events: Mutex<Vec<Event>>,
    open: Mutex<HashMap<InvestigationKey, StaleInvestigation>>,
    investigations: AtomicU64,
    example_counts: Mutex<HashMap<usize, usize>>,
    tasks: Mutex<JoinSet<()>>,
    over: AtomicBool,
    own_read_permits: Semaphore,
    sent: AtomicU64,
    probed: AtomicU64,
    creates: AtomicU64,
    /// A write ended: writes that wait for its item may be sent.
    item_released: Notify,
    /// For each request, the item and the hash of the body of its last answer.
    last_bodies: Mutex<HashMap<usize, (u64, u64)>>,
    /// For each request and item the hash of an answer from before the item was written, where answers carry no version.
    bodies_before_writes: Mutex<HashMap<(usize, u64), u64>>,
    /// Whether an answer carried a time as its version.
    versions_are_times: AtomicBool,
    /// The request that wrote an item last, of those that were acknowledged.
    last_writes: Mutex<HashMap<ItemKey, FreshnessKey>>,
}

/// A request that was answered or has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishedRequest<'a> {
    pub(super) phase: usize,
    /// Which instance of the app it was sent to.
    pub(super) instance: usize,
    pub(super) call: &'a Call,
    pub(super) write: Option<WriteTicket>,
    pub(super) before: ReadSnapshot,
    /// `None`: no response.
    pub(super) status: Option<StatusCode>,
    /// A hash of its body, where the bodies of two items should differ.
    pub(super) body: Option<u64>,
    /// A hash of its body, if it is compared with later ones.
    pub(super) whole_body: Option<u64>,
    /// Nothing was sent.
    pub(super) unreachable: bool,
    pub(super) reading: &'a ClassifiedResponse,
    pub(super) sent: Instant,
    pub(super) done: Instant,
}

/// The freshness of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FreshnessJudgement {
    pub(super) stale: bool,
    pub(super) judged: bool,
    /// The response is wrong although it is well-formed.
    pub(super) wrong: bool,
    /// What is wrong with it, in words.
    pub(super) trouble: Option<String>,
}

impl FreshnessMonitor {
    /// For the app whose instances are at `base_urls`.
    pub(super) fn new(scenario: Arc<Scenario>, plan: Arc<TrafficPlan>, base_urls: Vec<String>) -> Self {
        let (items, judge) = ItemKinds::new(&scenario, &plan);
        Self {
            probe_client: ProbeClient::new(Arc::clone(&scenario), base_urls),
            scenario,
            plan,
            begun: Instant::now(),
            run: rand::random(),
            items,
            judge,
            counters: FreshnessCounters::default(),
            events: Mutex::default(),
            open: Mutex::default(),
            investigations: AtomicU64::new(0),
            example_counts: Mutex::default(),
            tasks: Mutex::default(),
            over: AtomicBool::new(false),
            own_read_permits: Semaphore::new(MAX_OWN_READS_IN_FLIGHT),
            sent: AtomicU64::new(0),
            probed: AtomicU64::new(0),
            creates: AtomicU64::new(0),
            item_released: Notify::new(),
            last_bodies: Mutex::default(),
            bodies_before_writes: Mutex::default(),
            versions_are_times: AtomicBool::new(false),
            last_writes: Mutex::default(),
        }
    }

    fn run_nanos(&self, at: Instant) -> RunNanos {
        u64::try_from(at.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    fn key_of(&self, phase: usize, request: usize) -> FreshnessKey {
        FreshnessKey { phase, path: self.scenario.phases[phase].path, request }
    }

    /// The request of an arrival, ready to be sent. A write that would race with another of its item (where the harness
    /// assigns the versions) goes to the next free item; where there is none nearby, it waits.
    pub(super) async fn call(&self, phase: usize, index: u64) -> (Call, Option<WriteTicket>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut call = self.plan.call(phase, index);
        let method = self.scenario.traffic.requests[call.request].method;
        let Some(kind) = write_kind(method) else { return (call, None) };
        if self.items.key(&call).is_none() {
            if let Some(body) = &mut call.body {
                let number = 1 + self.creates.fetch_add(1, Ordering::Relaxed);
                *body = self.filled(body, WriteToken { run: self.run, id: 0, number }, 1);
            }
            return (call, None);
        }
        let max_shifts = self.plan.items(call.request).unwrap_or(1).min(MAX_ITEM_SHIFTS);
        loop {
            let item_released = self.item_released.notified();
            for shift in 0..max_shifts {
                if shift > 0 {
                    call = self.plan.shifted(phase, index, shift);
                }
                let Some(key) = self.items.key(&call) else { continue };
                if let Some(write) = self.judge.begin_write(key, kind, self.run_nanos(Instant::now())) {
                    if let Some(body) = &mut call.body {
                        let token = WriteToken { run: self.run, id: key.id, number: write.number };
                        *body = self.filled(body, token, write.version.unwrap_or(write.number));
                    }
                    return (call, Some(write));
                }
            }
            item_released.await;
        }
    }

    fn filled(&self, body: &str, token: WriteToken, version: u64) -> String {
        body.replace("{token}", &token.to_string()).replace("{version}", &version.to_string())
    }

    /// What is known before the call is sent.
    pub(super) fn snapshot_before(&self, call: &Call) -> ReadSnapshot {
        match self.items.key(call) {
            Some(key) => self.judge.begin_read(key),
            None => ReadSnapshot { sequence: self.judge.now(), ..ReadSnapshot::default() },
        }
    }

    /// Adds a response to the history and judges it.
    pub(super) fn record_response(self: &Arc<Self>, ended: &FinishedRequest<'_>) -> FreshnessJudgement {
        let FinishedRequest { phase, call, reading, .. } = *ended;
        if matches!(reading.version, VersionReading::Time(_)) {
            self.versions_are_times.store(true, Ordering::Relaxed);
        }
        let of = self.key_of(phase, call.request);
        if let Some(kind) = reading.wrong {
            self.counters.record_wrong(of, kind, false);
        }
        if write_kind(self.scenario.traffic.requests[call.request].method).is_some() {
            self.finish_write(ended);
            return FreshnessJudgement::default();
        }
        if !matches!(reading.outcome, Outcome::Wrong | Outcome::Error) {
            let counts = match call.expected.item {
                Some(item) => self.answer_counts(ended, item),
                None => counts_without_item(ended),
            };
            self.counters.record_answer(of, &counts);
            self.remember_unwritten(ended);
        }
        if matches!(reading.outcome, Outcome::Wrong) || (reading.outcome == Outcome::Error && !reading.missing) {
            return FreshnessJudgement::default();
        }
        match self.items.listed(call.request) {
            Some(space) => self.judge_list(ended, of, space),
            None => self.judge_item(ended, of),
        }
    }

    /// Remembers what an item's answer was before its first write.
    fn remember_unwritten(&self, ended: &FinishedRequest<'_>) {
        let (Some(key), Some(body)) = (self.items.key(ended.call), ended.whole_body) else { return };
        if self.judge.is_written(key) {
            return;
        }
        let mut bodies = lock(&self.bodies_before_writes);
        if bodies.len() < MAX_REMEMBERED {
            bodies.entry((ended.call.request, key.id)).or_insert(body);
        }
    }

    /// What an answer to a read of one item was good for.
    fn answer_counts(&self, ended: &FinishedRequest<'_>, item: u64) -> AnswerCounts {
        let FinishedRequest { call, reading, body, .. } = *ended;
        let status = ended.status.unwrap_or_default();
        if !status.is_success() {
            // A redirect or 304 that `expect` allows is what was wanted.
            let is_refused = status.is_client_error() || status.is_server_error();
            return AnswerCounts { absent: u64::from(is_refused), ..AnswerCounts::default() };
        }
        let is_unversioned = self.scenario.has_versions() && reading.version.number().is_none();
        // Where the harness assigns the versions, an answer without one is from before the first write: it is judged.
        let assigns = self.items.key(call).is_some_and(|key| self.judge.assigns_versions(key.space));
        let body = body.filter(|_| reading.version.number().is_none());
        let before = body.and_then(|body| lock(&self.last_bodies).insert(call.request, (item, body)));
        let of_another = before.filter(|(other, _)| *other != item);
        AnswerCounts {
            items: 1,
            substitutes: u64::from(reading.is_substitute),
            unversioned: u64::from(is_unversioned),
            unversioned_written: u64::from(is_unversioned && !assigns && ended.before.acked > 0),
            compared: u64::from(of_another.is_some()),
            same: u64::from(of_another.is_some_and(|(_, other)| Some(other) == body)),
            ..AnswerCounts::default()
        }
    }

    /// What an acknowledged write was good for.
    fn update_counts(&self, request: usize, update: VersionUpdate, is_time: bool) -> AnswerCounts {
        // A write that sends what is there already may leave the version as it is; two writes may come in the same unit
        // of a coarse time.
        let varies = self.scenario.traffic.requests[request].varies();
        match update {
            VersionUpdate::Same if !varies || is_time => AnswerCounts { unchanged: 1, ..AnswerCounts::default() },
            update => {
                let is_lost = update != VersionUpdate::New;
                AnswerCounts { updates: 1, lost_updates: u64::from(is_lost), ..AnswerCounts::default() }
            }
        }
    }

    fn finish_write(self: &Arc<Self>, ended: &FinishedRequest<'_>) {
        let (reading, at) = (ended.reading, self.run_nanos(ended.done));
        let end = match ended.status {
            // 202 Accepted: the write is not done yet.
            Some(status) if status.is_success() && status != StatusCode::ACCEPTED => {
                WriteOutcome::Acked { version: reading.version.number() }
            }
            Some(status) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => WriteOutcome::Refused,
            None if ended.unreachable => WriteOutcome::Refused,
            _ => WriteOutcome::Unknown,
        };
        let mut key = None;
        if let Some(write) = ended.write {
            if let Some(update) = self.judge.end_write(write, end, at) {
                let is_time = matches!(reading.version, VersionReading::Time(_));
                let counts = self.update_counts(ended.call.request, update, is_time);
                self.counters.record_answer(self.key_of(ended.phase, ended.call.request), &counts);
            }
            self.item_released.notify_waiters();
            key = Some(write.key);
        } else if let (WriteOutcome::Acked { version }, Some(space), Some(id)) =
            (end, self.items.made(ended.call.request), reading.created)
            && let Some(made) = self.items.key_beside(&self.plan, ended.call, space, id)
        {
            self.judge.created(made, version, at);
            key = Some(made);
        }
        if let (WriteOutcome::Acked { .. }, Some(key)) = (end, key) {
            lock(&self.last_writes).insert(key, self.key_of(ended.phase, ended.call.request));
            self.schedule_probes(ended.phase, key, ended.done);
        }
    }

    fn judge_item(self: &Arc<Self>, ended: &FinishedRequest<'_>, of: FreshnessKey) -> FreshnessJudgement {
        let Some(key) = self.items.key(ended.call) else { return FreshnessJudgement::default() };
        let verdict = self.verdict(key, ended.before, ended.reading, ended.sent, ended.done);
        self.counters.record_verdict(of, &verdict, false);
        self.judgement_of(ended, of, key, &verdict, false)
    }

    /// Judges a read of an item; not for responses that are wrong or errors.
    fn verdict(
        &self,
        key: ItemKey,
        before: ReadSnapshot,
        reading: &ClassifiedResponse,
        sent: Instant,
        done: Instant,
    ) -> ReadVerdict {
        let result = if reading.missing {
            ReadOutcome::Missing
        } else {
            ReadOutcome::Item { version: reading.version.number() }
        };
        let verdict = self.judge.end_read(key, &before, result, self.run_nanos(sent), self.run_nanos(done));
        let foreign =
            |token: &WriteToken| token.run == self.run && token.id != 0 && !self.judge.was_issued(key, token.number);
        match &reading.token {
            Some(token) if foreign(token) => ReadVerdict::Wrong(WrongKind::NeverWritten),
            _ => verdict,
        }
    }

    fn judge_list(self: &Arc<Self>, ended: &FinishedRequest<'_>, of: FreshnessKey, space: usize) -> FreshnessJudgement {
        let mut judged = FreshnessJudgement::default();
        let (sent, done) = (self.run_nanos(ended.sent), self.run_nanos(ended.done));
        let (mut indeterminate, mut first) = (false, None);
        let shows_versions =
            self.scenario.traffic.requests[ended.call.request].list.as_ref().is_some_and(|list| list.version.is_some());
        let lacks_version = |id: u64| {
            let key = self.items.key_beside(&self.plan, ended.call, space, id);
            key.is_some_and(|key| self.judge.has_floor_at(key, ended.before.sequence))
        };
        if shows_versions && ended.reading.listed.iter().any(|(id, version)| version.is_none() && lacks_version(*id)) {
            self.counters.record_answer(
                of,
                &AnswerCounts { items: 1, unversioned: 1, unversioned_written: 1, ..AnswerCounts::default() },
            );
        }
        for (id, version) in &ended.reading.listed {
            let Some(key) = self.items.key_beside(&self.plan, ended.call, space, *id) else { continue };
            let result = ReadOutcome::Item { version: *version };
            match self.judge.judge_listed(key, ended.before.sequence, result, sent, done) {
                ReadVerdict::Fresh { .. } | ReadVerdict::NonMonotonic(_) => judged.judged = true,
                ReadVerdict::Indeterminate => indeterminate = true,
                ReadVerdict::Stale(staleness) => {
                    first.get_or_insert((key, staleness));
                }
                ReadVerdict::NotJudged | ReadVerdict::Wrong(_) => {}
            }
        }
        if let Some((key, staleness)) = first {
            // A list has many items with different times, so it is no point of the curve.
            let verdict = ReadVerdict::Stale(Staleness { since_ack: None, ..staleness });
            self.counters.record_verdict(of, &verdict, false);
            return self.judgement_of(ended, of, key, &verdict, true);
        }
        if indeterminate && !judged.judged {
            self.counters.record_verdict(of, &ReadVerdict::Indeterminate, false);
        }
        judged
    }

    fn judgement_of(
        self: &Arc<Self>,
        ended: &FinishedRequest<'_>,
        of: FreshnessKey,
        key: ItemKey,
        verdict: &ReadVerdict,
        list: bool,
    ) -> FreshnessJudgement {
        match verdict {
            ReadVerdict::NotJudged | ReadVerdict::Indeterminate => FreshnessJudgement::default(),
            ReadVerdict::Fresh { .. } | ReadVerdict::NonMonotonic(_) => {
                FreshnessJudgement { judged: true, ..FreshnessJudgement::default() }
            }
            ReadVerdict::Wrong(kind) => {
                let trouble = match kind {
                    WrongKind::Lost => "not found, though a write made it and nothing deleted it".to_owned(),
                    _ => {
                        let version = ended.reading.version.number().unwrap_or_default();
                        format!("version {} was never written", self.version_text(version))
                    }
                };
                FreshnessJudgement { wrong: true, trouble: Some(trouble), ..FreshnessJudgement::default() }
            }
            ReadVerdict::Stale(staleness) => {
                let item = self.items.path(&self.scenario, &self.plan, key);
                let detail = self.describe(staleness, list.then_some(item.as_str()));
                self.investigate_stale(StaleItem {
                    of,
                    key,
                    list,
                    instance: ended.instance,
                    call: ended.call,
                    probe: false,
                    staleness: *staleness,
                    detail: &detail,
                    sent: ended.sent,
                });
                FreshnessJudgement { stale: true, judged: true, wrong: false, trouble: Some(detail) }
            }
        }
    }

    /// What was stale, in words.
    fn describe(&self, staleness: &Staleness, item: Option<&str>) -> String {
        let of = item.map_or_else(String::new, |item| format!("{item}: "));
        let floor = self.version_text(staleness.floor);
        match (staleness.gone, staleness.version.map(|version| self.version_text(version))) {
            (true, Some(version)) => format!("{of}version {version} of an item whose deletion was acknowledged"),
            (true, None) => format!("{of}an item whose deletion was acknowledged"),
            (false, Some(version)) => {
                format!("{of}version {version} after a write was acknowledged with version {floor}")
            }
            (false, None) => format!("{of}a value from before version {floor}, which was acknowledged"),
        }
    }

    fn version_text(&self, version: u64) -> String {
        numbers::version(version, self.versions_are_times.load(Ordering::Relaxed))
    }

    /// The freshness checks since the last slice.
    pub fn drain(&self) -> Vec<FreshnessCell> {
        self.counters.drain()
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.events))
    }

    /// At most so many of these, chosen at random: by the seed, so the same ones in each run.
    fn some_of(&self, mut ids: Vec<u64>, most: usize) -> Vec<u64> {
        let mut random = ChaCha8Rng::seed_from_u64(self.scenario.seed);
        let (chosen, _) = ids.partial_shuffle(&mut random, most);
        chosen.to_vec()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn push_event(&self, event: Event) {
        lock(&self.events).push(event);
    }

    /// Runs one of cacheproof's own reads beside the load; it is aborted at the end of the run.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        if !self.is_over() {
            tasks.spawn(task);
        }
    }
}

/// What an answer to a read that names no item was good for.
fn counts_without_item(ended: &FinishedRequest<'_>) -> AnswerCounts {
    let status = ended.status.unwrap_or_default();
    if status.is_success() {
        let substitutes = u64::from(ended.reading.is_substitute);
        return AnswerCounts { others: 1, substitutes, ..AnswerCounts::default() };
    }
    let is_refused = status.is_client_error() || status.is_server_error();
    AnswerCounts { absent: u64::from(is_refused), ..AnswerCounts::default() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
