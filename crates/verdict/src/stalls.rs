//! Seconds in which the machine stood still: suspended, throttled, or its processors given to others by the hypervisor.
//! What was slow then is not the app's failure, and an uncached phase that was slow then is no measure for the cache.

use std::collections::BTreeMap;

use cacheproof_core::measurements::Measurements;
use cacheproof_core::metrics::{Dimension, MeasuredOn};
use cacheproof_core::scenario::{Limit, Op, Rule, Scenario};

use super::chance::percentile_by_count;
use super::validity::{Findings, ValidityIssues, judged, name};
use super::{RuleResult, Ruling, numbers};

/// A thread that sleeps is woken so many seconds late when the machine stands still.
const MIN_LAG: f64 = 0.1;

/// Share of the processors' time that the hypervisor took, from which it is to blame.
const MIN_STOLEN_SHARE: f64 = 0.1;

/// Share of the processors' time below which they had time for a thread that was late: so the machine was suspended, or
/// all of it throttled. Above it, something used them, which may be the app.
const MAX_IDLE_SHARE: f64 = 0.5;

/// So many seconds are longer than any thread waits because others use the processors.
const MAX_WAIT_FOR_OTHERS: f64 = 1.0;

/// Seconds after a stall in which what had to wait is answered.
const AFTERMATH: f64 = 1.0;

/// Share of a phase's readings that must be in question, so that the median of a third of them may be wrong.
const MIN_SHARE_OF_READINGS: f64 = 1.0 / 6.0;

/// What of a phase falls into the stalls of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stalled {
    /// Seconds, those right after a stall included.
    pub seconds: f64,
    /// Answers and errors in them.
    pub responses: u64,
    /// How long a thread waited at most.
    pub longest: f64,
}

/// Finds the stalls and tells of them.
pub(super) fn check_stalls(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let stalls = stalls(measurements);
    for phase in judged(scenario) {
        let Some(stalled) = stalled(measurements, &stalls, phase) else { continue };
        findings.informational(format!(
            "The machine stood still in '{}', for {} at most: a thread of cacheproof that only sleeps was woken so late, while \
             the processors were idle or the hypervisor had given them to others. {} of {} answers came then or within a second \
             after it. A rule on times or growth that they may have decided is inconclusive.",
            name(scenario, phase),
            numbers::time(stalled.longest),
            numbers::count(stalled.responses),
            numbers::count(measurements.count(|key| key.phase == phase))
        ));
        issues.stalled.insert(phase, stalled);
    }
}

/// When the machine stood still, and how long a thread waited.
fn stalls(measurements: &Measurements) -> Vec<(f64, f64, f64)> {
    let cores = measurements.start.as_ref().map_or(0, |start| start.host.cores) as f64;
    let readings: Vec<_> =
        measurements.samples.iter().filter_map(|(at, sample)| Some((*at, sample.machine?))).collect();
    let of_pair = |pair: &[(f64, cacheproof_core::journal::MachineSample)]| {
        let ((from, before), (to, after)) = (pair[0], pair[1]);
        let capacity = (to - from) * cores;
        let share = |used: f64| used / capacity;
        let is_to_blame = after.lag >= MAX_WAIT_FOR_OTHERS
            || share(after.stolen - before.stolen) >= MIN_STOLEN_SHARE
            || share(after.busy - before.busy) <= MAX_IDLE_SHARE;
        // What was late when it was read had begun to be so before the sample that it is told in.
        (capacity > 0.0 && after.lag >= MIN_LAG && is_to_blame).then(|| (from.min(to - after.lag), to, after.lag))
    };
    readings.windows(2).filter_map(of_pair).collect()
}

fn stalled(measurements: &Measurements, stalls: &[(f64, f64, f64)], phase: usize) -> Option<Stalled> {
    let span = measurements.phases.get(&phase)?;
    let ended = span.to.unwrap_or(measurements.last_at);
    let is_hit = |from: f64, to: f64| stalls.iter().any(|(begun, over, _)| *begun < to && from < over + AFTERMATH);
    let mut sum = Stalled::default();
    for slice in measurements.coarse_slices.iter().filter(|slice| is_hit(slice.from, slice.to)) {
        sum.seconds += (slice.to.min(ended) - slice.from.max(span.from)).max(0.0);
        let of_phase = slice.counts.by_key().filter(|(key, _)| key.phase == phase);
        sum.responses += of_phase.map(|(_, count)| count).sum::<u64>();
    }
    let of_phase = stalls.iter().filter(|(begun, over, _)| *begun < ended && span.from < over + AFTERMATH);
    sum.longest = of_phase.map(|(_, _, lag)| *lag).fold(0.0, f64::max);
    (sum.responses > 0).then_some(sum)
}

/// The phase whose stalls may have decided a rule, if any.
pub(super) fn deciding_stall(
    measurements: &Measurements,
    stalled: &BTreeMap<usize, Stalled>,
    rule: &Rule,
    phases: impl Iterator<Item = usize>,
    result: &RuleResult,
) -> Option<usize> {
    let found: Vec<(usize, Stalled)> = phases.filter_map(|phase| Some((phase, *stalled.get(&phase)?))).collect();
    let (first, _) = *found.first()?;
    let definition = rule.term.metric.definition();
    let share_of_time = |(phase, stalled): &(usize, Stalled)| stalled.seconds / measurements.phase_seconds(*phase);
    let is_growth = definition.dimension == Dimension::Growth || definition.name.ends_with("_growth");
    if is_growth {
        let is_large = found.iter().any(|one| share_of_time(one) >= MIN_SHARE_OF_READINGS);
        return (result.ruling == Ruling::Fail && is_large).then_some(first);
    }
    if !definition.is_timing || result.ruling == Ruling::Inconclusive {
        return None;
    }
    let q = rule.term.metric.percentile();
    if let Limit::Of { .. } = rule.limit {
        // Either side may be the one that was slowed down.
        let share_of_answers = |(phase, stalled): &(usize, Stalled)| {
            stalled.responses as f64 / measurements.count(|key| key.phase == *phase).max(1) as f64
        };
        let enough = q.map_or(0.0, |q| (1.0 - q) / 2.0);
        return found.iter().find(|one| share_of_answers(one) > enough).map(|(phase, _)| *phase);
    }
    let responses: u64 = found.iter().map(|(_, stalled)| stalled.responses).sum();
    let seconds: f64 = found.iter().map(|(_, stalled)| stalled.seconds).sum();
    let is_decided = if let Some(over) = result.over {
        // As if everything then had been fast.
        let without = over.saturating_sub(responses);
        let ruling = percentile_by_count(rule.op, q.unwrap_or(1.0), result.samples, without);
        ruling.is_none_or(|ruling| ruling == result.ruling)
    } else if result.ruling == Ruling::Pass {
        // Stalls only make things slower.
        matches!(rule.op, Op::Less | Op::AtMost) || definition.dimension == Dimension::Rate
    } else if definition.measured_on == MeasuredOn::Faults {
        // What never came back did not for that; what came late may have come so much earlier.
        let is_late = |observed: f64| result.limit.is_some_and(|limit| observed - seconds > limit);
        result.observed.is_none_or(is_late)
    } else if definition.dimension == Dimension::Rate {
        let all: f64 = found.iter().map(|(phase, _)| measurements.phase_seconds(*phase)).sum();
        let at_best = result.observed.unwrap_or(0.0) * all / (all - seconds).max(f64::MIN_POSITIVE);
        result.limit.is_some_and(|limit| at_best < limit)
    } else {
        false
    };
    (!is_decided).then_some(first)
}
