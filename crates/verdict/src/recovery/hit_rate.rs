//! When the hit rate had recovered, compared with what a cold cache allows.

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::RedisSample;
use cacheproof_core::measurements::{JoinedSlices, Measurements, TimeSlice, join_until};
use cacheproof_core::scenario::{FaultAction, FaultSpec, LoadModel, Scenario, Victim};

use super::super::numbers;
use super::limits::MIN_EXPECTED_REQUESTS;
use super::{FaultOutcome, Recovery, RefillCurve, between};

/// Share of the steady hit rate that counts as recovered.
const RECOVERED_SHARE: f64 = 0.95;
/// Reads that a slice should have: a share of 200 varies by two or three points.
const READS_PER_SLICE: u64 = 200;
/// Longest slice, seconds, where there are enough reads.
const MAX_SLICE_SECONDS: f64 = 2.0;
/// Fewest reads for a hit rate: a slice lasts until it has so many.
const MIN_READS_PER_SLICE: u64 = 20;
/// A hit rate is above its true value by this many standard deviations once in a thousand times.
const CHANCE_SIGMAS: f64 = 3.0;
/// Slices in a row that must reach the target.
const CONSECUTIVE_SLICES: usize = 2;

/// Longest time that a server may take to answer a probe whose line comes later, seconds.
const MAX_AGE: f64 = 60.0;

/// How the hit rate recovered after a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct HitRateRecovery {
    /// When it had recovered.
    pub back: Recovery,
    /// The steady hit rate, of the judged phases before the first fault.
    pub steady: f64,
    /// The hit rate that counts as recovered: 95 % of the steady one.
    pub target: f64,
    /// Its lowest since the injection, over slices of some 200 reads. `None`: no read was a hit or a miss.
    pub lowest: Option<f64>,
    /// Whether the fault left the cache empty.
    pub emptied: bool,
    /// The refill curve of the reads; `None` where the cache was not emptied, or it is not known which keys are read.
    pub refill: Option<RefillCurve>,
    /// When a cold cache could have recovered at the earliest, seconds, by the refill curve and what chance adds to a hit
    /// rate of so many reads.
    pub bound: Option<f64>,
    /// When a cache that begins to fill at the fault's end has recovered on average, seconds.
    pub expected: Option<f64>,
    /// Values were kept elsewhere: the hit rate was higher than an emptied cache allows, or can be that at once.
    pub is_kept_elsewhere: bool,
}

pub(super) fn measure_hit_rate_recovery(
    scenario: &Scenario,
    measurements: &Measurements,
    slices: &[TimeSlice],
    outcome: &mut FaultOutcome,
) {
    if outcome.path != CachePath::Cached {
        return;
    }
    let Some(steady) = outcome.limits.as_ref().and_then(|limits| limits.hit_rate).filter(|rate| *rate > 0.0) else {
        return;
    };
    let Some(base) = outcome.over else { return };
    let target = steady * RECOVERED_SHARE;
    let spec = scenario.phases.get(outcome.window.phase).and_then(|phase| phase.faults.get(outcome.window.fault));
    let emptied = was_emptied(scenario, measurements, spec, outcome);
    let from_empty = if emptied { RefillCurve::of(scenario, rate_at(scenario, outcome)) } else { None };
    let refill = from_empty.clone().map(|curve| curve.with_requests(requests_since_injection(slices, outcome, base)));
    let timeouts = SliceTimeouts::of(scenario, outcome);
    let JoinedSlices { complete: after, rest } = hit_rate_slices(slices, base, outcome.watched_to, timeouts);
    let good = |slice: &TimeSlice| hit_rate(slice).is_some_and(|rate| rate >= target);
    let back = match after.windows(CONSECUTIVE_SLICES).position(|run| run.iter().all(good)) {
        // From the first slice on: it was never seen to be lower.
        Some(0) => Recovery::After(0.0),
        Some(index) => Recovery::After(after[index].middle().max(base) - base),
        // Every hit rate reached the target, but there are too few of them, and none shows that it was lower.
        None if after.iter().all(good) => Recovery::Undecided(format!(
            "{} reads were hits or misses in the {} watched: too few to tell a hit rate {CONSECUTIVE_SLICES} times in a row",
            numbers::count(after.iter().chain(&rest).map(|slice| slice.counts.reads()).sum()),
            numbers::moment(outcome.watched_to - base)
        )),
        None => Recovery::NotWithin(outcome.watched_to - base),
    };
    let all = hit_rate_slices(slices, outcome.window.from, outcome.watched_to, timeouts);
    let lowest = all.complete.iter().filter_map(hit_rate).reduce(f64::min);
    let reads = after.iter().take(CONSECUTIVE_SLICES).map(|slice| slice.counts.reads()).sum::<u64>();
    let bound = refill.as_ref().and_then(|refill| refill.time_to(target - chance(target, reads)));
    let is_above = |slice: &TimeSlice| {
        let possible = refill.as_ref().map(|refill| refill.hit_rate(slice.to - base));
        let (rate, possible) = hit_rate(slice).zip(possible)?;
        Some(rate > possible + chance(possible, slice.counts.reads()))
    };
    let is_kept_elsewhere = bound == Some(0.0) || after.iter().any(|slice| is_above(slice) == Some(true));
    let (refill, bound) = if is_kept_elsewhere { (None, None) } else { (refill, bound) };
    let expected = from_empty.filter(|_| refill.is_some()).and_then(|curve| curve.time_to(target));
    outcome.hit_rate =
        Some(HitRateRecovery { back, steady, target, lowest, emptied, refill, bound, expected, is_kept_elsewhere });
}

/// By how much the hit rate of so many reads can be above its true value by chance.
fn chance(hit_rate: f64, reads: u64) -> f64 {
    CHANCE_SIGMAS * (hit_rate * (1.0 - hit_rate) / reads.max(1) as f64).sqrt()
}

/// How many requests had come since the fault was injected, by the time since its end.
fn requests_since_injection(slices: &[TimeSlice], outcome: &FaultOutcome, base: f64) -> Vec<(f64, f64)> {
    let since = slices.iter().filter(|slice| slice.to > outcome.window.from && slice.to <= outcome.watched_to);
    let mut sum = 0.0;
    let counted = since.map(|slice| {
        sum += slice.counts.requests() as f64;
        (slice.to - base, sum)
    });
    [(outcome.window.from - base, 0.0)].into_iter().chain(counted).collect()
}

/// How long a slice waits for reads, seconds.
#[derive(Clone, Copy)]
struct SliceTimeouts {
    /// Longest time without any read.
    silence: f64,
    /// Longest slice: twice the time in which 20 reads are expected.
    slice: f64,
}

impl SliceTimeouts {
    /// By the reads that are expected after the fault.
    fn of(scenario: &Scenario, outcome: &FaultOutcome) -> Self {
        let Some(limits) = &outcome.limits else {
            return Self { silence: MAX_SLICE_SECONDS, slice: MAX_SLICE_SECONDS };
        };
        let lowest = match scenario.traffic.load_model {
            LoadModel::Open { rate, .. } => {
                let phases = scenario.phases.iter().skip(outcome.window.phase).filter(|one| one.path == outcome.path);
                phases.map(|phase| phase.rate.unwrap_or(rate)).fold(limits.usual, f64::min)
            }
            LoadModel::Closed { .. } => limits.usual,
        };
        let reads = (limits.reads * lowest / limits.usual).max(1e-9);
        Self {
            silence: (MIN_EXPECTED_REQUESTS / reads).max(MAX_SLICE_SECONDS),
            slice: (2.0 * MIN_READS_PER_SLICE as f64 / reads).max(MAX_SLICE_SECONDS),
        }
    }
}

/// The hit rate of a complete slice; `None` where it has too few reads.
fn hit_rate(slice: &TimeSlice) -> Option<f64> {
    slice.counts.hit_rate().filter(|_| slice.counts.reads() >= MIN_READS_PER_SLICE)
}

/// Slices of some 200 reads each, from the first slice that ends after `from`. Where there are few reads, a slice lasts
/// until it has 20; where expected reads do not come, it ends with fewer.
fn hit_rate_slices(slices: &[TimeSlice], from: f64, to: f64, timeouts: SliceTimeouts) -> JoinedSlices {
    let near = between(slices, from, to + 1e-6);
    let inside = near.iter().filter(|slice| slice.to > from + 1e-9 && slice.to <= to + 1e-9);
    // Of an empty slice, the part before `from` is left out.
    let clipped = |slice: &TimeSlice| {
        if slice.counts.requests() == 0 { TimeSlice::empty(slice.from.max(from), slice.to) } else { *slice }
    };
    let mut inside: Vec<TimeSlice> = inside.map(clipped).collect();
    // No slice is written where nothing comes in.
    let last = inside.last().map_or(from, |slice| slice.to);
    if to - last >= MAX_SLICE_SECONDS {
        inside.push(TimeSlice::empty(last, to));
    }
    let mut last_read = f64::NEG_INFINITY;
    let joined = join_until(&inside, |joined, slice| {
        if slice.counts.reads() > 0 {
            last_read = slice.to;
        }
        let (reads, length) = (joined.counts.reads(), joined.seconds());
        let has_rate = reads >= READS_PER_SLICE || (reads >= MIN_READS_PER_SLICE && length >= MAX_SLICE_SECONDS);
        let without_reads = joined.to - last_read.max(joined.from);
        has_rate || without_reads >= timeouts.silence || length >= timeouts.slice
    });
    let clipped = |slice: TimeSlice| TimeSlice { from: slice.from.max(from), ..slice };
    JoinedSlices {
        complete: joined.complete.into_iter().flat_map(|slice| without_wait(&inside, slice, from)).collect(),
        rest: joined.rest.map(clipped),
    }
}

/// A slice of which the reads came late is cut in two: the time without reads is no part of a hit rate that was
/// measured after it. Neither part begins before `from`.
fn without_wait(slices: &[TimeSlice], joined: TimeSlice, from: f64) -> impl Iterator<Item = TimeSlice> {
    let begin = joined.from.max(from);
    let slices = between(slices, joined.from, joined.to);
    let is_read = |slice: &&TimeSlice| slice.from >= joined.from && slice.counts.reads() > 0;
    let is_long = hit_rate(&joined).is_some() && joined.seconds() > MAX_SLICE_SECONDS * 1.1;
    let first_read =
        is_long.then(|| slices.iter().find(is_read)).flatten().map_or(begin, |slice| slice.from.max(begin));
    let waited = first_read - begin >= MAX_SLICE_SECONDS / 2.0;
    let wait = waited.then(|| TimeSlice::empty(begin, first_read));
    let start = if waited { first_read } else { begin };
    wait.into_iter().chain([TimeSlice { from: start, ..joined }])
}

/// Requests sent per second after the fault.
fn rate_at(scenario: &Scenario, outcome: &FaultOutcome) -> f64 {
    let usual = outcome.limits.as_ref().map_or(0.0, |limits| limits.usual);
    match scenario.traffic.load_model {
        LoadModel::Open { rate, .. } => {
            scenario.phases.get(outcome.window.phase).and_then(|phase| phase.rate).unwrap_or(rate)
        }
        LoadModel::Closed { .. } => usual,
    }
}

/// Whether this fault can empty the cache. What other faults at the same time do does not count.
fn can_empty(spec: &FaultSpec) -> bool {
    spec.action.can_empty() && matches!(spec.victim, Victim::Redis | Victim::Custom)
}

/// Whether the cache had lost most of its keys: by the number of keys in Redis before and after, or else by the kind of
/// the fault.
fn was_emptied(
    scenario: &Scenario,
    measurements: &Measurements,
    spec: Option<&FaultSpec>,
    outcome: &FaultOutcome,
) -> bool {
    let Some(spec) = spec.filter(|spec| can_empty(spec)) else { return false };
    let (injected, base) = (outcome.window.from, outcome.over.unwrap_or(outcome.window.from));
    let redis = |(at, sample): &(f64, cacheproof_core::journal::Sample)| {
        let redis: &RedisSample = sample.redis.as_ref()?;
        Some((*at - redis.age, redis.keys?))
    };
    let lines_until = |moment: f64| measurements.samples.partition_point(|(at, _)| *at <= moment);
    let until = (base + 2.5).min(outcome.watched_to.max(base + 1.0));
    let earlier = measurements.samples[..lines_until(injected + MAX_AGE)].iter().rev().filter_map(redis);
    let before = earlier.into_iter().find(|(at, _)| *at <= injected);
    let (first, last) = (lines_until(injected), lines_until(until + MAX_AGE));
    let later = measurements.samples.get(first..last).unwrap_or_default().iter().filter_map(redis);
    let fewest = later.filter(|(at, _)| *at > injected && *at <= until).map(|(_, keys)| keys).min();
    // So few keys may have been filled again before the next sample.
    let usual = outcome.limits.as_ref().map_or(0.0, |limits| limits.usual);
    if let (Some((_, before)), Some(fewest)) = (before, fewest)
        && before as f64 > usual
    {
        return fewest * 2 < before;
    }
    let loses_data = scenario.stack.redis.as_ref().is_some_and(|redis| !redis.appendonly);
    match spec.action {
        FaultAction::Flush | FaultAction::Restart { keep_data: false } => true,
        FaultAction::Kill => loses_data,
        FaultAction::Stop
        | FaultAction::Pause
        | FaultAction::Restart { keep_data: true }
        | FaultAction::FillMemory
        | FaultAction::FillClients
        | FaultAction::Link(_)
        | FaultAction::Partition
        | FaultAction::Failover { .. }
        | FaultAction::Command { .. } => false,
    }
}
