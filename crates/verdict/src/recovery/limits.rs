//! The steady limits of a service: what its own phases before the first fault looked like at worst, with some slack.

use std::fmt;

use serde::Serialize;

use cacheproof_core::journal::{CachePath, SliceCounts};
use cacheproof_core::measurements::{Measurements, TimeSlice, join_to_length};
use cacheproof_core::scenario::{Limit, LoadModel, Op, Phase, Quantity, Scenario};

use crate::machine::stalls;

/// How many times the 99th percentile of the P95 of the steady slices the P95 of a slice may be.
const P95_TOLERANCE_FACTOR: f64 = 2.0;
/// Response times below this, in nanoseconds, are always inside the limits: such small differences are noise.
const NOISE_FLOOR_NANOS: u64 = 5_000_000;
/// Share of the steady number of requests that must come in.
const MIN_RESPONSE_SHARE: f64 = 0.25;
/// Fewest expected requests for which a lack of them means anything: with Poisson arrivals, a stretch in which 7 are
/// expected is empty one time in a thousand.
pub(super) const MIN_EXPECTED_REQUESTS: f64 = 7.0;
/// Responses that a slice should have: a P95 of fewer means nothing.
const RESPONSES_PER_SLICE: f64 = 20.0;
/// Longest slice, seconds.
const MAX_SLICE_SECONDS: f64 = 1.0;
/// How long the service must be inside its limits to count as recovered, seconds; at least three slices.
const MIN_STEADY_SECONDS: f64 = 1.0;

/// What a slice of time of an undisturbed service looks like at worst.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteadyLimits {
    /// The phases they come from, by name.
    pub phases: Vec<String>,
    /// Length of a slice, seconds: 0.1, or longer so that 20 responses are expected in it, at most 1.
    #[serde(rename = "step")]
    pub slice_seconds: f64,
    /// How many slices in a row must be inside.
    pub in_a_row: usize,
    /// Largest share of failed requests.
    pub errors: f64,
    /// Largest share of wrong and of stale answers together.
    pub incorrect: f64,
    /// Largest P95 of a slice, seconds.
    pub p95: f64,
    /// Fewest requests that must come in a second; 0 where the load is too thin to tell.
    pub requests: f64,
    /// Usual number of requests a second, of the phases they come from.
    pub usual: f64,
    /// Requests a second that are to be expected at least.
    #[serde(skip)]
    pub expected: f64,
    /// Cacheable reads a second of those phases that were hits or misses.
    #[serde(skip)]
    pub reads: f64,
    /// Hit rate of those phases; `None` where no answer was a hit or a miss.
    pub hit_rate: Option<f64>,
}

/// The limit that a slice was outside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitViolation {
    /// Requests failed.
    Errors,
    /// Answers were wrong or stale.
    Incorrect,
    /// P95 was too high.
    Slow,
    /// Hardly anything was answered.
    Silent,
}

impl fmt::Display for LimitViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Incorrect => "wrong or stale answers",
            Self::Slow => "slow answers",
            Self::Silent => "no answers",
        })
    }
}

impl SteadyLimits {
    /// The limit that a slice is outside of, if any. `expected`: how many requests should have come in; where they are
    /// few, missing ones are no violation.
    pub(super) fn violation(&self, counts: &SliceCounts, expected: f64) -> Option<LimitViolation> {
        let requests = counts.requests();
        if expected >= MIN_EXPECTED_REQUESTS && (requests as f64) < expected * MIN_RESPONSE_SHARE {
            return Some(LimitViolation::Silent);
        }
        // Shares of few requests are coarse: compared as counts, a fraction of one request is not enough.
        let more = |events: u64, share: f64| events as f64 > share * requests as f64 * (1.0 + 1e-9);
        if more(counts.errors, self.errors) {
            Some(LimitViolation::Errors)
        } else if more(counts.wrong + counts.stale, self.incorrect) {
            Some(LimitViolation::Incorrect)
        } else if counts.p95 as f64 / 1e9 > self.p95 {
            Some(LimitViolation::Slow)
        } else {
            None
        }
    }
}

/// The limits of a path; `None` where no judged phase of it ran before the first fault. A rule of `safety.steady` on
/// `p95` or on the share of `errors` replaces what was measured.
///
/// A service is not outside its limits because its cache is empty: its P95 may be that of the uncached path, where that
/// was measured.
pub(super) fn steady(
    scenario: &Scenario,
    measurements: &Measurements,
    path: CachePath,
    cached: &[TimeSlice],
    uncached: &[TimeSlice],
) -> Option<SteadyLimits> {
    let phases = baseline_phases(scenario, measurements, path);
    let own = within(measurements, &phases, if path == CachePath::Cached { cached } else { uncached });
    let seconds: f64 = own.iter().map(TimeSlice::seconds).sum();
    let usual = requests(&own) as f64 / seconds;
    if seconds <= 0.0 || usual <= 0.0 {
        return None;
    }
    let slice_seconds = (RESPONSES_PER_SLICE / usual).clamp(0.1, MAX_SLICE_SECONDS);
    let slices = join_to_length(&own, slice_seconds);
    let share = |part: fn(&SliceCounts) -> u64| {
        slices
            .iter()
            .map(|slice| &slice.counts)
            .filter(|counts| counts.requests() > 0)
            .map(|counts| part(counts) as f64 / counts.requests() as f64)
            .fold(0.0, f64::max)
    };
    let other = within(measurements, &baseline_phases(scenario, measurements, CachePath::Uncached), uncached);
    let without_cache = if path == CachePath::Cached { join_to_length(&other, slice_seconds) } else { Vec::new() };
    let p95 = p95_limit(&slices).max(p95_limit(&without_cache)).max(NOISE_FLOOR_NANOS) as f64 / 1e9;
    let configured_limit = |metric: &str| configured_limit(scenario, path, metric);
    // A closed loop sends less where answers take longer.
    let least = match scenario.traffic.load_model {
        LoadModel::Closed { .. } if !without_cache.is_empty() => {
            let seconds: f64 = other.iter().map(TimeSlice::seconds).sum();
            usual.min(requests(&other) as f64 / seconds)
        }
        _ => usual,
    };
    let mut total = SliceCounts::default();
    own.iter().for_each(|slice| total.add(&slice.counts));
    Some(SteadyLimits {
        phases: phases.iter().filter_map(|phase| Some(scenario.phases.get(*phase)?.name.clone())).collect(),
        slice_seconds,
        in_a_row: ((MIN_STEADY_SECONDS / slice_seconds - 1e-9).ceil() as usize).max(3),
        errors: configured_limit("errors").unwrap_or_else(|| share(|counts| counts.errors)),
        incorrect: share(|counts| counts.wrong + counts.stale),
        p95: configured_limit("p95").unwrap_or(p95),
        requests: if least * slice_seconds >= MIN_EXPECTED_REQUESTS { least * MIN_RESPONSE_SHARE } else { 0.0 },
        usual,
        expected: least,
        reads: total.reads() as f64 / seconds,
        hit_rate: total.hit_rate(),
    })
}

/// The limit for a metric on a path in the scenario's own steady state.
fn configured_limit(scenario: &Scenario, path: CachePath, metric: &str) -> Option<f64> {
    let rules = scenario.safety.steady.iter().flatten();
    rules
        .filter(|rule| rule.term.metric.to_string() == metric && rule.term.request.is_none())
        .filter(|rule| matches!(rule.op, Op::Less | Op::AtMost) && rule.term.path.is_none_or(|only| only == path))
        .filter_map(|rule| match rule.limit {
            Limit::Value(Quantity::Time(time)) => Some(time.as_secs_f64()),
            Limit::Value(Quantity::Share(share)) => Some(share),
            _ => None,
        })
        .reduce(f64::min)
}

/// The judged phases of a path before the first fault.
fn baseline_phases(scenario: &Scenario, measurements: &Measurements, path: CachePath) -> Vec<usize> {
    let first_fault = scenario.phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(usize::MAX);
    let quiet = |(index, phase): &(usize, &Phase)| {
        *index < first_fault && phase.path == path && !phase.warm_up && measurements.phases.contains_key(index)
    };
    scenario.phases.iter().enumerate().filter(quiet).map(|(index, _)| index).collect()
}

/// The slices that lie in these phases.
fn within(measurements: &Measurements, phases: &[usize], slices: &[TimeSlice]) -> Vec<TimeSlice> {
    let spans: Vec<(f64, f64)> = phases
        .iter()
        .filter_map(|phase| measurements.phases.get(phase))
        .map(|span| (span.from, span.to.unwrap_or(measurements.last_at)))
        .collect();
    // What the machine made slow is not what is normal.
    let stalls = stalls(measurements);
    let is_stalled = |slice: &TimeSlice| stalls.iter().any(|stall| stall.overlaps(slice.from, slice.to));
    let inside = |slice: &&TimeSlice| spans.iter().any(|(from, to)| slice.from >= from - 0.01 && slice.to <= to + 0.01);
    slices.iter().filter(inside).filter(|slice| !is_stalled(slice)).copied().collect()
}

fn requests(slices: &[TimeSlice]) -> u64 {
    slices.iter().map(|slice| slice.counts.requests()).sum()
}

/// The P95 that slices may have, nanoseconds: twice the 99th percentile of their P95, and at least the largest.
fn p95_limit(slices: &[TimeSlice]) -> u64 {
    let mut p95: Vec<u64> = slices.iter().map(|slice| slice.counts.p95).collect();
    p95.sort_unstable();
    let Some(largest) = p95.last().copied() else { return 0 };
    let rank = ((0.99 * p95.len() as f64).ceil() as usize).clamp(1, p95.len()) - 1;
    ((p95[rank] as f64 * P95_TOLERANCE_FACTOR) as u64).max(largest)
}
