//! What is normal for a service: the limits that its own quiet phases set, with some slack.

use std::fmt;

use serde::Serialize;

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::{Beat, Measurements};
use cacheproof_core::scenario::{Limit, LoadModel, Op, Phase, Quantity, Scenario};

/// How many times the 99th percentile of the steady steps' P95 a step's P95 may be.
const P95_TOLERANCE_FACTOR: f64 = 2.0;
/// Response times below this, in nanoseconds, are inside whatever the limits: that little is the machine's noise.
const NOISE_FLOOR_NANOS: u64 = 5_000_000;
/// Share of the steady number of answers that must come in.
const MIN_RESPONSE_SHARE: f64 = 0.25;
/// So many requests must be expected before too few of them, or none, say anything: Poisson arrivals leave a stretch of
/// 7 expected empty one time in a thousand.
pub(super) const MIN_EXPECTED_REQUESTS: f64 = 7.0;
/// Answers that a step should have: of fewer, a P95 says nothing.
const RESPONSES_PER_STEP: f64 = 20.0;
/// Longest step, seconds.
const MAX_STEP_SECONDS: f64 = 1.0;
/// For how long the service must be inside its limits to be back, seconds; at least three steps.
const MIN_STEADY_SECONDS: f64 = 1.0;

/// What a step of an undisturbed service looks like at worst.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteadyLimits {
    /// The phases they come from, by name.
    pub phases: Vec<String>,
    /// Length of a step, seconds: 0.1, or as long as 20 answers take, at most 1.
    pub step: f64,
    /// How many steps in a row must be inside.
    pub in_a_row: usize,
    /// Largest share of failed requests.
    pub errors: f64,
    /// Largest share of wrong and of stale answers together.
    pub incorrect: f64,
    /// Largest P95 of a step, seconds.
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

/// In what a step was outside its limits.
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
    /// In what a step is outside, where it is. `expected`: how many requests should have come in; of few, nothing is
    /// said about those that are missing.
    pub(super) fn violation(&self, step: &Beat, expected: f64) -> Option<LimitViolation> {
        let requests = step.requests();
        if expected >= MIN_EXPECTED_REQUESTS && (requests as f64) < expected * MIN_RESPONSE_SHARE {
            return Some(LimitViolation::Silent);
        }
        // Shares of few are coarse: compared as counts, one more than a fraction is needed.
        let more = |events: u64, share: f64| events as f64 > share * requests as f64 * (1.0 + 1e-9);
        if more(step.errors, self.errors) {
            Some(LimitViolation::Errors)
        } else if more(step.wrong + step.stale, self.incorrect) {
            Some(LimitViolation::Incorrect)
        } else if step.p95 as f64 / 1e9 > self.p95 {
            Some(LimitViolation::Slow)
        } else {
            None
        }
    }
}

/// The limits of a path; `None` where no judged phase of it ran before the first fault. What `safety.steady` says of
/// `p95` and of the share of `errors` takes the place of what was measured.
///
/// An empty cache is no fault of the service: its P95 may be that of the uncached path, where that was measured.
pub(super) fn steady(
    scenario: &Scenario,
    seen: &Measurements,
    path: CachePath,
    cached: &[Beat],
    uncached: &[Beat],
) -> Option<SteadyLimits> {
    let phases = baseline_phases(scenario, seen, path);
    let own = within(seen, &phases, if path == CachePath::Cached { cached } else { uncached });
    let seconds: f64 = own.iter().map(Beat::seconds).sum();
    let usual = own.iter().map(Beat::requests).sum::<u64>() as f64 / seconds;
    if seconds <= 0.0 || usual <= 0.0 {
        return None;
    }
    let step = (RESPONSES_PER_STEP / usual).clamp(0.1, MAX_STEP_SECONDS);
    let steps = steps(&own, step);
    let share = |part: fn(&Beat) -> u64| {
        steps
            .iter()
            .filter(|step| step.requests() > 0)
            .map(|step| part(step) as f64 / step.requests() as f64)
            .fold(0.0, f64::max)
    };
    let other = within(seen, &baseline_phases(scenario, seen, CachePath::Uncached), uncached);
    let past_the_cache = if path == CachePath::Cached { self::steps(&other, step) } else { Vec::new() };
    let p95 = slowest(&steps).max(slowest(&past_the_cache)).max(NOISE_FLOOR_NANOS) as f64 / 1e9;
    let configured_limit = |metric: &str| configured_limit(scenario, path, metric);
    // A closed loop sends less where answers take longer.
    let least = match scenario.traffic.load_model {
        LoadModel::Closed { .. } if !past_the_cache.is_empty() => {
            let seconds: f64 = other.iter().map(Beat::seconds).sum();
            usual.min(other.iter().map(Beat::requests).sum::<u64>() as f64 / seconds)
        }
        _ => usual,
    };
    let (hits, misses) = own.iter().fold((0, 0), |sum, beat| (sum.0 + beat.hits, sum.1 + beat.misses));
    Some(SteadyLimits {
        phases: phases.iter().filter_map(|phase| Some(scenario.phases.get(*phase)?.name.clone())).collect(),
        step,
        in_a_row: ((MIN_STEADY_SECONDS / step - 1e-9).ceil() as usize).max(3),
        errors: configured_limit("errors").unwrap_or_else(|| share(|step| step.errors)),
        incorrect: share(|step| step.wrong + step.stale),
        p95: configured_limit("p95").unwrap_or(p95),
        requests: if least * step >= MIN_EXPECTED_REQUESTS { least * MIN_RESPONSE_SHARE } else { 0.0 },
        usual,
        expected: least,
        reads: (hits + misses) as f64 / seconds,
        hit_rate: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
    })
}

/// The limit that the scenario's own steady state sets a metric on a path.
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

/// The judged phases of a path before anything was broken.
fn baseline_phases(scenario: &Scenario, seen: &Measurements, path: CachePath) -> Vec<usize> {
    let first_fault = scenario.phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(usize::MAX);
    let quiet = |(index, phase): &(usize, &Phase)| {
        *index < first_fault && phase.path == path && !phase.warm_up && seen.phases.contains_key(index)
    };
    scenario.phases.iter().enumerate().filter(quiet).map(|(index, _)| index).collect()
}

/// The beats that lie in these phases.
fn within(seen: &Measurements, phases: &[usize], beats: &[Beat]) -> Vec<Beat> {
    let spans: Vec<(f64, f64)> = phases
        .iter()
        .filter_map(|phase| seen.phases.get(phase))
        .map(|span| (span.from, span.to.unwrap_or(seen.last_at)))
        .collect();
    let inside = |beat: &&Beat| spans.iter().any(|(from, to)| beat.from >= from - 0.01 && beat.to <= to + 0.01);
    beats.iter().filter(inside).copied().collect()
}

/// Beats put together to steps of at least so many seconds.
pub(super) fn steps(beats: &[Beat], seconds: f64) -> Vec<Beat> {
    let mut steps: Vec<Beat> = Vec::new();
    for beat in beats {
        match steps.last_mut() {
            // Beats are some 0.1 s long: one that is a hundredth short is long enough.
            Some(step) if step.seconds() < seconds * 0.95 && (beat.from - step.to).abs() < 0.02 => step.join(beat),
            _ => steps.push(*beat),
        }
    }
    // What remains at the end is a fragment.
    if steps.len() > 1 && steps.last().is_some_and(|step| step.seconds() < seconds * 0.5) {
        steps.pop();
    }
    steps
}

/// The P95 that steps may have, nanoseconds: twice the 99th percentile of theirs, and at least their largest.
fn slowest(steps: &[Beat]) -> u64 {
    let mut p95: Vec<u64> = steps.iter().map(|step| step.p95).collect();
    p95.sort_unstable();
    let Some(largest) = p95.last().copied() else { return 0 };
    let rank = ((0.99 * p95.len() as f64).ceil() as usize).clamp(1, p95.len()) - 1;
    ((p95[rank] as f64 * P95_TOLERANCE_FACTOR) as u64).max(largest)
}
