//! Rules that a stall of the machine may have decided. What was slow then is not the app's failure, and an uncached phase that
//! was slow then is no measure for the cache.

use cacheproof_core::measurements::{DetailedCounts, Measurements, ResponseKey, TimeSlice};
use cacheproof_core::metrics::{Dimension, MeasuredOn};
use cacheproof_core::scenario::{Limit, Op, Rule, Scenario, Term};

use super::chance::percentile_by_count;
use super::machine::{Stall, stalls};
use super::measure::{JudgeContext, scope_of};
use super::validity::{Findings, ValidityIssues, judged, name};
use super::{RuleResult, Ruling, numbers};

/// Share of a phase's readings that must be in question, so that the median of a third of them may be wrong.
const MIN_SHARE_OF_READINGS: f64 = 1.0 / 6.0;

/// Tells of the stalls, and keeps them for the rules.
pub(super) fn check_stalls(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    issues.stalls = stalls(measurements);
    for phase in judged(scenario) {
        let Some(span) = measurements.phases.get(&phase) else { continue };
        let to = span.to.unwrap_or(measurements.last_at);
        let of_phase = issues.stalls.iter().filter(|stall| stall.overlaps(span.from, to));
        let Some(longest) = of_phase.map(|stall| stall.lag).reduce(f64::max) else { continue };
        findings.informational(format!(
            "The machine stalled in '{}': a thread of cacheproof that only sleeps was woken up to {} late, and not because \
             something else used the CPUs. {} of {} answers came in the seconds of the stalls and the ones after them. A rule on \
             times or growth that they may have decided is inconclusive.",
            name(scenario, phase),
            numbers::time(longest),
            numbers::count(answers_in(measurements, &issues.stalls, |key| key.phase == phase)),
            numbers::count(measurements.count(|key| key.phase == phase))
        ));
    }
}

/// Answers and errors that came during stalls.
fn answers_in(measurements: &Measurements, stalls: &[Stall], wanted: impl Fn(&ResponseKey) -> bool) -> u64 {
    stalled_slices(measurements, stalls)
        .flat_map(|slice| slice.counts.by_key())
        .filter(|(key, _)| wanted(key))
        .map(|(_, count)| count)
        .sum()
}

fn stalled_slices<'all>(
    measurements: &'all Measurements,
    stalls: &'all [Stall],
) -> impl Iterator<Item = &'all TimeSlice<DetailedCounts>> {
    let is_stalled = |from: f64, to: f64| stalls.iter().any(|stall| stall.overlaps(from, to));
    measurements.coarse_slices.iter().filter(move |slice| is_stalled(slice.from, slice.to))
}

/// What a term is measured on, as far as it lies in stalls.
struct InStalls {
    /// The first phase of it with a stall.
    phase: usize,
    /// Answers and errors of the term.
    answers: u64,
    /// All its answers and errors.
    of: u64,
    /// Seconds of its phases.
    seconds: f64,
    /// All seconds of its phases.
    of_seconds: f64,
    /// Nanoseconds that its answers in stalls took together, at most.
    sum: f64,
}

fn in_stalls(context: &JudgeContext<'_>, term: &Term) -> Option<InStalls> {
    let (measurements, stalls) = (context.measurements, &context.issues.stalls);
    let scope = scope_of(context, term);
    let (phases, selects) = (&scope.phases, |key: &ResponseKey| scope.selects(key));
    let seconds_in = |phase: &usize| {
        let Some(span) = measurements.phases.get(phase) else { return 0.0 };
        let to = span.to.unwrap_or(measurements.last_at);
        let inside = |slice: f64, end: f64| (end.min(to) - slice.max(span.from)).max(0.0);
        stalled_slices(measurements, stalls).map(|slice| inside(slice.from, slice.to)).sum::<f64>()
    };
    let seconds: Vec<(usize, f64)> = phases.iter().map(|phase| (*phase, seconds_in(phase))).collect();
    let phase = seconds.iter().find(|(_, seconds)| *seconds > 0.0)?.0;
    // The slowest hundredth of each slice stands for all: a mean without them can only be higher than without the true sum.
    let sum = stalled_slices(measurements, stalls).map(|slice| {
        let slowest = slice.counts.response().map(|(_, response)| response.p99).max().unwrap_or(0);
        let count: u64 = slice.counts.by_key().filter(|(key, _)| selects(key)).map(|(_, count)| count).sum();
        count as f64 * slowest as f64
    });
    Some(InStalls {
        phase,
        answers: answers_in(measurements, stalls, selects),
        of: measurements.count(selects),
        seconds: seconds.iter().map(|(_, seconds)| seconds).sum(),
        of_seconds: phases.iter().map(|phase| measurements.phase_seconds(*phase)).sum(),
        sum: sum.sum(),
    })
}

/// The phase whose stalls may have decided a rule, if any.
pub(super) fn deciding_stall(context: &JudgeContext<'_>, rule: &Rule, result: &RuleResult) -> Option<usize> {
    let definition = rule.term.metric.definition();
    if context.issues.stalls.is_empty() || result.ruling == Ruling::Inconclusive {
        return None;
    }
    if definition.is_growth {
        let found = in_stalls(context, &rule.term)?;
        let is_large = found.seconds / found.of_seconds >= MIN_SHARE_OF_READINGS;
        return (result.ruling == Ruling::Fail && is_large).then_some(found.phase);
    }
    if !definition.is_timing {
        return None;
    }
    // A stall makes times longer and rates lower.
    let is_rate = definition.dimension == Dimension::Rate;
    let is_upper = match rule.op {
        Op::Less | Op::AtMost => true,
        Op::More | Op::AtLeast => false,
        Op::Equal | Op::NotEqual => return in_stalls(context, &rule.term).map(|found| found.phase),
    };
    // Whether a stall on the left speaks for the rule.
    let left_helps = is_upper == is_rate;
    let is_pass = result.ruling == Ruling::Pass;
    if let Limit::Of { term: other, factor } = &rule.limit {
        let is_left = left_helps == is_pass;
        let side = if is_left { &rule.term } else { other };
        let found = in_stalls(context, side)?;
        let is_decided = match (side.metric.percentile(), result.observed, result.limit) {
            (Some(q), ..) => found.answers as f64 / found.of.max(1) as f64 <= (1.0 - q) / 2.0,
            (None, Some(left), Some(right)) if !is_rate && definition.measured_on == MeasuredOn::Responses => {
                let (left, right) = if is_left {
                    (mean_without(left, &found), right)
                } else {
                    (left, mean_without(right / factor, &found) * factor)
                };
                Ruling::of(rule.op.holds(left, right)) == result.ruling
            }
            _ => false,
        };
        return (!is_decided).then_some(found.phase);
    }
    if left_helps != is_pass {
        return None;
    }
    let found = in_stalls(context, &rule.term)?;
    (!holds_without(rule, result, &found)).then_some(found.phase)
}

/// Whether the ruling would be the same if everything in the stalls had been fast.
fn holds_without(rule: &Rule, result: &RuleResult, found: &InStalls) -> bool {
    let definition = rule.term.metric.definition();
    if let Some(over) = result.over {
        let q = rule.term.metric.percentile().unwrap_or(1.0);
        let ruling = percentile_by_count(rule.op, q, result.samples, over.saturating_sub(found.answers));
        return ruling == Some(result.ruling);
    }
    // What never came did not for that; without a value, errors decided.
    let (Some(observed), Some(limit)) = (result.observed, result.limit) else { return true };
    let without = match definition.dimension {
        // What came late may have come so much earlier.
        _ if definition.measured_on == MeasuredOn::Faults => observed - found.seconds,
        Dimension::Rate => observed * found.of_seconds / (found.of_seconds - found.seconds).max(f64::MIN_POSITIVE),
        _ => mean_without(observed, found),
    };
    Ruling::of(rule.op.holds(without, limit)) == result.ruling
}

/// A mean without the answers in stalls, in seconds.
fn mean_without(mean: f64, found: &InStalls) -> f64 {
    let rest = found.of.saturating_sub(found.answers).max(1) as f64;
    ((mean * found.of as f64 - found.sum / 1e9) / rest).max(0.0)
}
