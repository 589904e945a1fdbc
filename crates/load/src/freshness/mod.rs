//! Freshness, judged from outside: the pure judge, and around it what looks again at stale items, sends probe reads
//! after writes, and compares answers at rest where none carries a version.
//!
//! cacheproof's own reads go through a client of their own, few at a time, so that they disturb no measured
//! connection; they are counted apart and stand in no percentile, no hit rate and not in goose's count.

mod cases;
mod history;
mod items;
mod judge;
mod look;
mod probes;
mod rest;
#[cfg(test)]
mod simulation;
mod sort;
mod tally;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reqwest::StatusCode;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::{Call, TrafficPlan};
use crate::response::{Reading, Token};
use cacheproof_core::observe::{Event, FreshCell, FreshKey, Outcome};
use cacheproof_core::scenario::{Scenario, WrongKind};
use cases::{Case, CaseKey, StaleItem};
use items::{Items, write_kind};
pub use judge::*;
use look::Looker;
use tally::Tally;

/// How many items behind its own a write tries that would race with another.
const DETOURS: u64 = 64;

/// How many of cacheproof's own reads may be in flight.
const OWN_READS: usize = 8;

/// The freshness of one run.
#[derive(Debug)]
pub struct Freshness {
    scenario: Arc<Scenario>,
    plan: Arc<TrafficPlan>,
    begun: Instant,
    /// Tells this run's tokens from those of earlier ones.
    run: u32,
    items: Items,
    judge: Judge,
    looker: Looker,
    tally: Tally,
    events: Mutex<Vec<Event>>,
    open: Mutex<HashMap<CaseKey, Case>>,
    cases: AtomicU64,
    shown: Mutex<HashMap<usize, usize>>,
    tasks: Mutex<JoinSet<()>>,
    over: AtomicBool,
    own_reads: Semaphore,
    sent: AtomicU64,
    probed: AtomicU64,
    creates: AtomicU64,
    /// A write ended: whoever waits for its item may go.
    freed: Notify,
}

/// A request that was answered or given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub(super) phase: usize,
    /// Which instance of the app it was sent to.
    pub(super) instance: usize,
    pub(super) call: &'a Call,
    pub(super) write: Option<Write>,
    pub(super) before: Before,
    /// `None`: no answer.
    pub(super) status: Option<StatusCode>,
    /// Nothing was sent at all.
    pub(super) unreachable: bool,
    pub(super) reading: &'a Reading,
    pub(super) sent: Instant,
    pub(super) done: Instant,
}

/// What freshness has to say about an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) stale: bool,
    pub(super) judged: bool,
    /// The answer is wrong although it reads well.
    pub(super) wrong: bool,
    /// What is wrong with it, in words.
    pub(super) trouble: Option<String>,
}

impl Freshness {
    /// For the app whose instances are at `base_urls`.
    pub(super) fn new(scenario: Arc<Scenario>, plan: Arc<TrafficPlan>, base_urls: Vec<String>) -> Self {
        let (items, judge) = Items::new(&scenario, &plan);
        Self {
            looker: Looker::new(Arc::clone(&scenario), base_urls),
            scenario,
            plan,
            begun: Instant::now(),
            run: rand::random(),
            items,
            judge,
            tally: Tally::default(),
            events: Mutex::default(),
            open: Mutex::default(),
            cases: AtomicU64::new(0),
            shown: Mutex::default(),
            tasks: Mutex::default(),
            over: AtomicBool::new(false),
            own_reads: Semaphore::new(OWN_READS),
            sent: AtomicU64::new(0),
            probed: AtomicU64::new(0),
            creates: AtomicU64::new(0),
            freed: Notify::new(),
        }
    }

    fn moment(&self, at: Instant) -> Moment {
        u64::try_from(at.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    fn key_of(&self, phase: usize, request: usize) -> FreshKey {
        FreshKey { phase, path: self.scenario.phases[phase].path, request }
    }

    /// The request of an arrival, ready to be sent. A write that would race with another of its item (where the
    /// harness numbers the versions) goes to the next item that is free; where all near it are taken, it waits.
    pub(super) async fn call(&self, phase: usize, index: u64) -> (Call, Option<Write>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut call = self.plan.call(phase, index);
        let method = self.scenario.traffic.requests[call.request].method;
        let Some(kind) = write_kind(method) else { return (call, None) };
        if self.items.key(&call).is_none() {
            if let Some(body) = &mut call.body {
                let number = 1 + self.creates.fetch_add(1, Ordering::Relaxed);
                *body = self.filled(body, Token { run: self.run, id: 0, number }, 1);
            }
            return (call, None);
        }
        let detours = self.plan.items(call.request).unwrap_or(1).min(DETOURS);
        loop {
            let freed = self.freed.notified();
            for shift in 0..detours {
                if shift > 0 {
                    call = self.plan.shifted(phase, index, shift);
                }
                let Some(key) = self.items.key(&call) else { continue };
                if let Some(write) = self.judge.begin_write(key, kind, self.moment(Instant::now())) {
                    if let Some(body) = &mut call.body {
                        let token = Token { run: self.run, id: key.id, number: write.number };
                        *body = self.filled(body, token, write.version.unwrap_or(write.number));
                    }
                    return (call, Some(write));
                }
            }
            freed.await;
        }
    }

    fn filled(&self, body: &str, token: Token, version: u64) -> String {
        body.replace("{token}", &token.to_string()).replace("{version}", &version.to_string())
    }

    /// What is known before the call leaves.
    pub(super) fn before(&self, call: &Call) -> Before {
        match self.items.key(call) {
            Some(key) => self.judge.begin_read(key),
            None => Before { sequence: self.judge.now(), ..Before::default() },
        }
    }

    /// Takes note of an answer and judges it.
    pub(super) fn end(self: &Arc<Self>, ended: &Ended<'_>) -> Judged {
        let Ended { phase, call, reading, .. } = *ended;
        let of = self.key_of(phase, call.request);
        if let Some(kind) = reading.wrong {
            self.tally.wrong(of, kind, false);
        }
        if write_kind(self.scenario.traffic.requests[call.request].method).is_some() {
            self.written(ended);
            return Judged::default();
        }
        if matches!(reading.outcome, Outcome::Wrong) || (reading.outcome == Outcome::Error && !reading.missing) {
            return Judged::default();
        }
        match self.items.listed(call.request) {
            Some(space) => self.judge_list(ended, of, space),
            None => self.judge_item(ended, of),
        }
    }

    fn written(self: &Arc<Self>, ended: &Ended<'_>) {
        let (reading, at) = (ended.reading, self.moment(ended.done));
        let end = match ended.status {
            // Accepted is not done yet: the app itself says so.
            Some(status) if status.is_success() && status != StatusCode::ACCEPTED => {
                WriteEnd::Acked { version: reading.version }
            }
            Some(status) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => WriteEnd::Refused,
            None if ended.unreachable => WriteEnd::Refused,
            _ => WriteEnd::Unknown,
        };
        let mut key = None;
        if let Some(write) = ended.write {
            self.judge.end_write(write, end, at);
            self.freed.notify_waiters();
            key = Some(write.key);
        } else if let (WriteEnd::Acked { version }, Some(space), Some(id)) =
            (end, self.items.made(ended.call.request), reading.created)
        {
            let made = Key { space, id };
            self.judge.created(made, version, at);
            key = Some(made);
        }
        if let (WriteEnd::Acked { .. }, Some(key)) = (end, key) {
            self.probe_after(ended.phase, key, ended.done);
        }
    }

    fn judge_item(self: &Arc<Self>, ended: &Ended<'_>, of: FreshKey) -> Judged {
        let Some(key) = self.items.key(ended.call) else { return Judged::default() };
        let verdict = self.verdict(key, ended.before, ended.reading, ended.sent, ended.done);
        self.tally.take(of, &verdict, false);
        self.judged(ended, of, key, &verdict, false)
    }

    /// Judges what a read of an item brought; not for answers that are wrong or errors.
    fn verdict(&self, key: Key, before: Before, reading: &Reading, sent: Instant, done: Instant) -> Verdict {
        let seen = if reading.missing { Seen::Missing } else { Seen::Item { version: reading.version } };
        let verdict = self.judge.end_read(key, &before, seen, self.moment(sent), self.moment(done));
        let foreign =
            |token: &Token| token.run == self.run && token.id != 0 && !self.judge.was_issued(key, token.number);
        match &reading.token {
            Some(token) if foreign(token) => Verdict::Wrong(WrongKind::NeverWritten),
            _ => verdict,
        }
    }

    fn judge_list(self: &Arc<Self>, ended: &Ended<'_>, of: FreshKey, space: usize) -> Judged {
        let mut judged = Judged::default();
        let (sent, done) = (self.moment(ended.sent), self.moment(ended.done));
        let (mut indeterminate, mut first) = (false, None);
        for (id, version) in &ended.reading.listed {
            let (key, seen) = (Key { space, id: *id }, Seen::Item { version: *version });
            match self.judge.judge_listed(key, ended.before.sequence, seen, sent, done) {
                Verdict::Fresh { .. } | Verdict::WentBack(_) => judged.judged = true,
                Verdict::Indeterminate => indeterminate = true,
                Verdict::Stale(staleness) => {
                    first.get_or_insert((key, staleness));
                }
                Verdict::NotJudged | Verdict::Wrong(_) => {}
            }
        }
        if let Some((key, staleness)) = first {
            // Many items with a time each make no point of a curve.
            let verdict = Verdict::Stale(Staleness { since_ack: None, ..staleness });
            self.tally.take(of, &verdict, false);
            return self.judged(ended, of, key, &verdict, true);
        }
        if indeterminate && !judged.judged {
            self.tally.take(of, &Verdict::Indeterminate, false);
        }
        judged
    }

    fn judged(self: &Arc<Self>, ended: &Ended<'_>, of: FreshKey, key: Key, verdict: &Verdict, list: bool) -> Judged {
        match verdict {
            Verdict::NotJudged | Verdict::Indeterminate => Judged::default(),
            Verdict::Fresh { .. } | Verdict::WentBack(_) => Judged { judged: true, ..Judged::default() },
            Verdict::Wrong(kind) => {
                let trouble = match kind {
                    WrongKind::Lost => "not found, though a write made it and nothing deleted it".to_owned(),
                    _ => format!("version {} was never written", ended.reading.version.unwrap_or_default()),
                };
                Judged { wrong: true, trouble: Some(trouble), ..Judged::default() }
            }
            Verdict::Stale(staleness) => {
                let item = self.items.path(key);
                let detail = words(staleness, list.then_some(item.as_str()));
                self.stale(StaleItem {
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
                Judged { stale: true, judged: true, wrong: false, trouble: Some(detail) }
            }
        }
    }

    /// The judgements since the last window.
    pub fn drain(&self) -> Vec<FreshCell> {
        self.tally.drain()
    }

    /// What is worth telling since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.events))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn tell(&self, event: Event) {
        lock(&self.events).push(event);
    }

    /// Runs one of cacheproof's own reads beside the load; it dies with the run.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        if !self.is_over() {
            tasks.spawn(task);
        }
    }
}

/// What was stale, in words.
fn words(staleness: &Staleness, item: Option<&str>) -> String {
    let of = item.map_or_else(String::new, |item| format!("{item}: "));
    match (staleness.gone, staleness.version) {
        (true, Some(version)) => format!("{of}version {version} of an item whose deletion was acknowledged"),
        (true, None) => format!("{of}an item whose deletion was acknowledged"),
        (false, Some(version)) => {
            format!("{of}version {version} after a write was acknowledged with version {}", staleness.floor)
        }
        (false, None) => format!("{of}a value from before version {}, which was acknowledged", staleness.floor),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
