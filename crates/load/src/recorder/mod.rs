//! The recorder: takes every response, and returns a [`CoarseSlice`] every second and a [`FineSlice`] every 100 ms.
//!
//! Workers push responses into shards, so that they do not wait for each other. [`Recorder::take_coarse_slice`] folds
//! what came in since its last call into histograms; [`Recorder::take_fine_slice`] counts what came in since its own
//! last call. Memory is bounded by the responses of one coarse slice, not by those of the run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod accumulator;

use cacheproof_core::journal::{
    CachePath, CoarseSlice, FineSlice, Histogram, NotSent, NotSentReason, Outcome, ResponseCell, SendLag,
};
use cacheproof_core::measurements::ResponseKey;

use self::accumulator::ResponseAccumulator;

/// One response, as a worker records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRecord {
    /// Phase that the request was meant for.
    pub phase: u16,
    /// Path it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: u16,
    /// Its outcome.
    pub outcome: Outcome,
    /// From the intended start to the last byte, nanoseconds.
    pub response: u64,
    /// From the actual send to the last byte, nanoseconds.
    pub service: u64,
    /// Whether it was older than the last write acknowledged before the request was sent.
    pub stale: bool,
    /// Whether its freshness could be checked: a write of the item was acknowledged before, and the response carried a
    /// version.
    pub judged_fresh: bool,
    /// How late an idle worker sent it, nanoseconds; `None` where the worker was busy at the intended start.
    pub lag: Option<u64>,
}

/// Collects the responses of all workers.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Vec<ResponseRecord>>>,
    /// Responses taken out of the shards.
    pending: Mutex<Pending>,
    /// What was never sent since the last coarse slice, by phase and reason.
    not_sent: Mutex<BTreeMap<(usize, NotSentReason), u64>>,
    /// Reads sent once more since the last coarse slice, by phase.
    reconnects: Mutex<BTreeMap<usize, u64>>,
    limits: Vec<u64>,
    /// By request: whether the hit rate of fine slices counts it. A request beyond the end counts.
    cacheable: Vec<bool>,
}

#[derive(Debug, Default)]
struct Pending {
    /// For the next coarse slice.
    responses: Vec<Vec<ResponseRecord>>,
    /// For the next fine slice.
    accumulator: ResponseAccumulator,
}

impl Recorder {
    /// `limits`: sorted nanoseconds above which response times are counted exactly. `shards`: about as many as
    /// there are threads that record.
    pub fn new(limits: Vec<u64>, shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Mutex::default()).collect();
        Self {
            shards,
            pending: Mutex::default(),
            not_sent: Mutex::default(),
            reconnects: Mutex::default(),
            limits,
            cacheable: Vec::new(),
        }
    }

    /// Sets for each request, by index, whether the hit rate counts it. Without this all of them count.
    #[must_use]
    pub fn with_cacheable(self, cacheable: Vec<bool>) -> Self {
        Self { cacheable, ..self }
    }

    /// Records one response. `worker` spreads the workers over the shards.
    pub fn record(&self, worker: usize, response: ResponseRecord) {
        lock(&self.shards[worker % self.shards.len()]).push(response);
    }

    /// Records a request that cacheproof never sent.
    pub fn record_not_sent(&self, phase: usize, reason: NotSentReason) {
        *lock(&self.not_sent).entry((phase, reason)).or_default() += 1;
    }

    /// Records how often a read was sent once more.
    pub fn record_reconnects(&self, phase: usize, count: u64) {
        *lock(&self.reconnects).entry(phase).or_default() += count;
    }

    /// Everything recorded since the last call. `seconds`: how long that was; `backlog`: arrivals waiting now.
    pub fn take_coarse_slice(&self, seconds: f64, backlog: u64) -> CoarseSlice {
        let mut cells: BTreeMap<ResponseKey, ResponseCell> = BTreeMap::new();
        let mut lags = Histogram::new();
        let mut pending = lock(&self.pending);
        self.collect(&mut pending);
        let responses = std::mem::take(&mut pending.responses);
        drop(pending);
        for response in responses.iter().flatten() {
            self.fold(&mut cells, response);
            if let Some(lag) = response.lag {
                lags.record(lag);
            }
        }
        let send_lag = lags.quantile(0.5).map(|p50| SendLag {
            p50,
            p99: lags.quantile(0.99).unwrap_or(p50),
            max: lags.max().unwrap_or(p50),
        });
        let not_sent = std::mem::take(&mut *lock(&self.not_sent));
        let not_sent = not_sent.into_iter().map(|((phase, reason), count)| NotSent { phase, reason, count });
        CoarseSlice {
            seconds,
            backlog,
            send_lag,
            cells: cells.into_values().collect(),
            freshness: Vec::new(),
            not_sent: not_sent.collect(),
            reconnects: std::mem::take(&mut *lock(&self.reconnects)).into_iter().collect(),
        }
    }

    /// Counts of everything recorded since the last call; the responses stay for the next coarse slice. `seconds`: how
    /// long that was.
    pub fn take_fine_slice(&self, seconds: f64) -> FineSlice {
        let mut pending = lock(&self.pending);
        self.collect(&mut pending);
        pending.accumulator.take(seconds)
    }

    /// Empties the shards, so that each response is counted for one fine slice and kept for one coarse slice.
    fn collect(&self, pending: &mut Pending) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let empty = Vec::with_capacity(shard.len());
            let responses = std::mem::replace(&mut *shard, empty);
            drop(shard);
            for response in &responses {
                let cacheable = self.cacheable.get(usize::from(response.request)).copied().unwrap_or(true);
                pending.accumulator.add(response, cacheable);
            }
            if !responses.is_empty() {
                pending.responses.push(responses);
            }
        }
    }

    fn fold(&self, cells: &mut BTreeMap<ResponseKey, ResponseCell>, response: &ResponseRecord) {
        let key = ResponseKey {
            phase: response.phase.into(),
            path: response.path,
            request: response.request.into(),
            outcome: response.outcome,
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
        cell.response.record(response.response);
        cell.service.record(response.service);
        cell.response_sum += response.response;
        cell.stale += u64::from(response.stale);
        cell.judged_fresh += u64::from(response.judged_fresh);
        for (limit, over) in self.limits.iter().zip(&mut cell.over) {
            *over += u64::from(response.response > *limit);
        }
    }
}

/// A worker that panicked while pushing left the vector intact, so its responses are still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn record(outcome: Outcome, response: u64) -> ResponseRecord {
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
    fn responses_above_a_limit_are_counted_exactly() {
        // 150.000001 ms and 149.999999 ms fall into one bucket of three digits; the counts tell them apart.
        let recorder = Recorder::new(vec![150 * MS], 4);
        recorder.record(0, record(Outcome::Hit, 150 * MS + 1));
        recorder.record(1, record(Outcome::Hit, 150 * MS));
        recorder.record(2, record(Outcome::Hit, 150 * MS - 1));
        let slice = recorder.take_coarse_slice(1.0, 0);
        assert_eq!(slice.cells.len(), 1);
        assert_eq!(slice.cells[0].over, [1]);
        assert_eq!(slice.cells[0].response_sum, 450 * MS);
    }

    #[test]
    fn reads_whose_freshness_could_be_checked_are_counted_separately() {
        let recorder = Recorder::new(Vec::new(), 2);
        recorder.record(0, record(Outcome::Hit, MS));
        recorder.record(0, ResponseRecord { judged_fresh: true, ..record(Outcome::Hit, MS) });
        recorder.record(1, ResponseRecord { judged_fresh: true, stale: true, ..record(Outcome::Hit, MS) });
        let cell = &recorder.take_coarse_slice(1.0, 0).cells[0];
        assert_eq!((cell.response.count(), cell.judged_fresh, cell.stale), (3, 2, 1));
    }

    #[test]
    fn a_coarse_slice_takes_each_response_once_from_any_shard() {
        let recorder = Recorder::new(Vec::new(), 3);
        for worker in 0..10 {
            recorder.record(worker, record(if worker < 4 { Outcome::Hit } else { Outcome::Miss }, MS));
        }
        let first: u64 = recorder.take_coarse_slice(1.0, 7).cells.iter().map(|cell| cell.response.count()).sum();
        assert_eq!(first, 10);
        assert!(recorder.take_coarse_slice(1.0, 0).cells.is_empty());
    }

    #[test]
    fn a_coarse_and_a_fine_slice_each_count_a_response_once_in_any_order() {
        let recorder = Recorder::new(Vec::new(), 2).with_cacheable(vec![true, false]);
        let fine = |recorder: &Recorder| -> u64 {
            recorder.take_fine_slice(0.1).cells.iter().map(|cell| cell.counts.answered).sum()
        };
        let coarse = |recorder: &Recorder| -> u64 {
            recorder.take_coarse_slice(1.0, 0).cells.iter().map(|cell| cell.response.count()).sum()
        };
        recorder.record(0, record(Outcome::Hit, MS));
        recorder.record(1, ResponseRecord { request: 1, ..record(Outcome::Hit, MS) });
        assert_eq!(coarse(&recorder), 2, "a coarse slice before the fine one");
        recorder.record(1, record(Outcome::Miss, MS));
        let slice = recorder.take_fine_slice(0.1);
        assert_eq!(
            (slice.cells[0].counts.answered, slice.cells[0].counts.hits),
            (3, 1),
            "the fine slice has those of the coarse one too"
        );
        assert_eq!(fine(&recorder), 0);
        assert_eq!(coarse(&recorder), 1, "the coarse slice still has what the fine one counted");
    }

    #[test]
    fn the_lag_of_the_load_generator_is_that_of_idle_workers() {
        let recorder = Recorder::new(Vec::new(), 1);
        recorder.record(0, record(Outcome::Hit, 900 * MS));
        assert_eq!(recorder.take_coarse_slice(1.0, 0).send_lag, None);
        recorder.record(0, ResponseRecord { lag: Some(3 * MS), ..record(Outcome::Hit, MS) });
        let lag = recorder.take_coarse_slice(1.0, 0).send_lag.expect("one worker was idle");
        assert!(lag.max >= 2_990_000 && lag.max <= 3_010_000, "{lag:?}");
    }
}
