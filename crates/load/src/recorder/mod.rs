//! The recorder: takes every answer, gives out a [`Window`] a second and a [`Pulse`] every 100 ms.
//!
//! Workers push answers into shards, so that they do not wait for each other; [`Recorder::drain`] folds what
//! came in since the last call into histograms, [`Recorder::pulse`] counts what came in since its own last call.
//! Memory is bounded by the answers of one window, not by those of the run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod accumulator;

use cacheproof_core::journal::{CachePath, Histogram, Outcome, Pulse, ResponseCell, SendLag, Window};
use cacheproof_core::measurements::ResponseKey;

use self::accumulator::ResponseAccumulator;

/// One answer, as a worker hands it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRecord {
    /// Phase that the request was meant for.
    pub phase: u16,
    /// Way it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// From the intended start to the last byte, nanoseconds.
    pub response: u64,
    /// From the actual send to the last byte, nanoseconds.
    pub service: u64,
    /// Whether it was older than the last write acknowledged before it was sent.
    pub stale: bool,
    /// Whether it was a read that had a floor to be held against: a write of the item was acknowledged before, and
    /// the answer carried a version.
    pub judged_fresh: bool,
    /// How late an idle worker sent it, nanoseconds; `None` where the worker was busy at the intended start.
    pub lag: Option<u64>,
}

/// Collects the answers of all workers.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Vec<ResponseRecord>>>,
    /// What was taken out of the shards.
    pending: Mutex<Pending>,
    limits: Vec<u64>,
    /// By request: whether the hit rate of pulses counts it. A request beyond the end counts.
    cacheable: Vec<bool>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Waits for the next window.
    answers: Vec<Vec<ResponseRecord>>,
    /// Waits for the next pulse.
    accumulator: ResponseAccumulator,
}

impl Recorder {
    /// `limits`: sorted nanoseconds above which response times are counted exactly. `shards`: about as many as
    /// there are threads that record.
    pub fn new(limits: Vec<u64>, shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Mutex::default()).collect();
        Self { shards, pending: Mutex::default(), limits, cacheable: Vec::new() }
    }

    /// Says of each request, by index, whether the hit rate counts it. Without this all of them count.
    #[must_use]
    pub fn with_cacheable(self, cacheable: Vec<bool>) -> Self {
        Self { cacheable, ..self }
    }

    /// Takes one answer. `worker` spreads the workers over the shards.
    pub fn record(&self, worker: usize, answer: ResponseRecord) {
        lock(&self.shards[worker % self.shards.len()]).push(answer);
    }

    /// Everything recorded since the last call. `seconds`: how long that was; `backlog`: arrivals waiting now.
    pub fn drain(&self, seconds: f64, backlog: u64) -> Window {
        let mut cells: BTreeMap<ResponseKey, ResponseCell> = BTreeMap::new();
        let mut lags = Histogram::new();
        let mut pending = lock(&self.pending);
        self.collect(&mut pending);
        let answers = std::mem::take(&mut pending.answers);
        drop(pending);
        for answer in answers.iter().flatten() {
            self.fold(&mut cells, answer);
            if let Some(lag) = answer.lag {
                lags.record(lag);
            }
        }
        let send_lag = lags.quantile(0.5).map(|p50| SendLag {
            p50,
            p99: lags.quantile(0.99).unwrap_or(p50),
            max: lags.max().unwrap_or(p50),
        });
        Window { seconds, backlog, send_lag, cells: cells.into_values().collect(), freshness: Vec::new() }
    }

    /// Counts of everything recorded since the last call; the answers stay for the next window. `seconds`: how
    /// long that was.
    pub fn pulse(&self, seconds: f64) -> Pulse {
        let mut pending = lock(&self.pending);
        self.collect(&mut pending);
        pending.accumulator.take(seconds)
    }

    /// Empties the shards, so that each answer is counted for one pulse and kept for one window.
    fn collect(&self, pending: &mut Pending) {
        for shard in &self.shards {
            let mut answers = lock(shard);
            let fresh = Vec::with_capacity(answers.len());
            let answers_now = std::mem::replace(&mut *answers, fresh);
            drop(answers);
            for answer in &answers_now {
                let cacheable = self.cacheable.get(usize::from(answer.request)).copied().unwrap_or(true);
                pending.accumulator.add(answer, cacheable);
            }
            if !answers_now.is_empty() {
                pending.answers.push(answers_now);
            }
        }
    }

    fn fold(&self, cells: &mut BTreeMap<ResponseKey, ResponseCell>, answer: &ResponseRecord) {
        let key = ResponseKey {
            phase: answer.phase.into(),
            path: answer.path,
            request: answer.request.into(),
            outcome: answer.outcome,
        };
        let cell = cells.entry(key).or_insert_with(|| ResponseCell {
            phase: key.phase,
            path: key.path,
            request: key.request,
            outcome: key.outcome,
            response: Histogram::new(),
            service: Histogram::new(),
            response_sum: 0,
            over: vec![0; self.limits.len()],
            stale: 0,
            judged_fresh: 0,
        });
        cell.response.record(answer.response);
        cell.service.record(answer.service);
        cell.response_sum += answer.response;
        cell.stale += u64::from(answer.stale);
        cell.judged_fresh += u64::from(answer.judged_fresh);
        for (limit, over) in self.limits.iter().zip(&mut cell.over) {
            *over += u64::from(answer.response > *limit);
        }
    }
}

/// A worker that panicked while pushing left a whole vector behind: its answers are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn answer(outcome: Outcome, response: u64) -> ResponseRecord {
        ResponseRecord {
            phase: 1,
            path: CachePath::Cached,
            request: 0,
            outcome,
            response,
            service: response / 2,
            stale: false,
            judged_fresh: false,
            lag: None,
        }
    }

    #[test]
    fn answers_above_a_limit_are_counted_exactly() {
        // 150.000001 ms and 149.999999 ms fall into one bucket of three digits; the counts tell them apart.
        let recorder = Recorder::new(vec![150 * MS], 4);
        recorder.record(0, answer(Outcome::Hit, 150 * MS + 1));
        recorder.record(1, answer(Outcome::Hit, 150 * MS));
        recorder.record(2, answer(Outcome::Hit, 150 * MS - 1));
        let window = recorder.drain(1.0, 0);
        assert_eq!(window.cells.len(), 1);
        assert_eq!(window.cells[0].over, [1]);
        assert_eq!(window.cells[0].response_sum, 450 * MS);
    }

    #[test]
    fn reads_that_could_be_judged_stale_are_counted_apart_from_those_that_could_not() {
        let recorder = Recorder::new(Vec::new(), 2);
        recorder.record(0, answer(Outcome::Hit, MS));
        recorder.record(0, ResponseRecord { judged_fresh: true, ..answer(Outcome::Hit, MS) });
        recorder.record(1, ResponseRecord { judged_fresh: true, stale: true, ..answer(Outcome::Hit, MS) });
        let cell = &recorder.drain(1.0, 0).cells[0];
        assert_eq!((cell.response.count(), cell.judged_fresh, cell.stale), (3, 2, 1));
    }

    #[test]
    fn a_drain_takes_each_answer_once_whatever_the_shard() {
        let recorder = Recorder::new(Vec::new(), 3);
        for worker in 0..10 {
            recorder.record(worker, answer(if worker < 4 { Outcome::Hit } else { Outcome::Miss }, MS));
        }
        let first: u64 = recorder.drain(1.0, 7).cells.iter().map(|cell| cell.response.count()).sum();
        assert_eq!(first, 10);
        assert!(recorder.drain(1.0, 0).cells.is_empty());
    }

    #[test]
    fn a_window_and_a_pulse_each_count_an_answer_once_whichever_comes_first() {
        let recorder = Recorder::new(Vec::new(), 2).with_cacheable(vec![true, false]);
        let pulsed = |recorder: &Recorder| -> u64 { recorder.pulse(0.1).cells.iter().map(|cell| cell.answered).sum() };
        let windowed = |recorder: &Recorder| -> u64 {
            recorder.drain(1.0, 0).cells.iter().map(|cell| cell.response.count()).sum()
        };
        recorder.record(0, answer(Outcome::Hit, MS));
        recorder.record(1, ResponseRecord { request: 1, ..answer(Outcome::Hit, MS) });
        assert_eq!(windowed(&recorder), 2, "a window before the pulse");
        recorder.record(1, answer(Outcome::Miss, MS));
        let pulse = recorder.pulse(0.1);
        assert_eq!((pulse.cells[0].answered, pulse.cells[0].hits), (3, 1), "the pulse has those of the window too");
        assert_eq!(pulsed(&recorder), 0);
        assert_eq!(windowed(&recorder), 1, "the window still has what the pulse counted");
    }

    #[test]
    fn only_idle_workers_tell_how_late_the_generator_was() {
        let recorder = Recorder::new(Vec::new(), 1);
        recorder.record(0, answer(Outcome::Hit, 900 * MS));
        assert_eq!(recorder.drain(1.0, 0).send_lag, None);
        recorder.record(0, ResponseRecord { lag: Some(3 * MS), ..answer(Outcome::Hit, MS) });
        let lag = recorder.drain(1.0, 0).send_lag.expect("one worker was idle");
        assert!(lag.max >= 2_990_000 && lag.max <= 3_010_000, "{lag:?}");
    }
}
