//! What a pass needs besides a kept limit: that most of what the rule speaks about was judged, and that what never
//! happened had the opportunity to happen.

use cacheproof_core::metrics::{Coverage, Dimension, Measured, MeasuredOn, Metric};
use cacheproof_core::scenario::{EvidenceSpec, Op};

use super::{RuleResult, Ruling, Unit, numbers};

/// Makes a result inconclusive where what could not be judged may decide it.
pub(super) fn apply_coverage(
    spec: &EvidenceSpec,
    op: Op,
    limit: f64,
    metric: Metric,
    measured: &Measured,
    result: &mut RuleResult,
) {
    let Some(coverage) = measured.coverage.filter(|coverage| coverage.unknown() > 0) else { return };
    let is_decided = match result.ruling {
        Ruling::Pass => coverage.share() >= spec.coverage || is_lower_bound(op, metric, result.unit),
        Ruling::Fail => !could_still_hold(op, limit, &coverage, measured, result.unit),
        _ => return,
    };
    if is_decided {
        result.evidence += &format!("; {}", describe(&coverage));
    } else {
        mark_undecided(spec, &coverage, result);
    }
}

/// The same for a comparison of two metrics: either may be the one that is unknown.
pub(super) fn apply_coverage_to_both(spec: &EvidenceSpec, sides: [&Measured; 2], result: &mut RuleResult) {
    if result.ruling != Ruling::Pass {
        return;
    }
    let missing = sides.iter().filter_map(|side| side.coverage).find(|coverage| coverage.share() < spec.coverage);
    if let Some(coverage) = missing {
        mark_undecided(spec, &coverage, result);
    }
}

fn mark_undecided(spec: &EvidenceSpec, coverage: &Coverage, result: &mut RuleResult) {
    result.ruling = Ruling::Inconclusive;
    result.evidence += &format!("; {}: {} are needed", describe(coverage), numbers::share(spec.coverage));
}

/// `only 56 of 652 reads (8.6 %) said whether they were hits`
fn describe(coverage: &Coverage) -> String {
    let (judged, scope) = (numbers::count(coverage.judged), numbers::count(coverage.scope));
    format!("only {judged} of {scope} {} ({})", coverage.what, numbers::share(coverage.share()))
}

/// Whether the unknown can only add to what was counted, and the rule asks for at least so many.
fn is_lower_bound(op: Op, metric: Metric, unit: Unit) -> bool {
    unit == Unit::Count && metric.definition().only_grows && matches!(op, Op::More | Op::AtLeast)
}

/// Whether a broken limit would be kept if all that is unknown spoke for it.
fn could_still_hold(op: Op, limit: f64, coverage: &Coverage, measured: &Measured, unit: Unit) -> bool {
    let Some(events) = measured.events else { return false };
    let best = match op {
        Op::More | Op::AtLeast => events + coverage.unknown(),
        Op::Less | Op::AtMost => events,
        Op::Equal | Op::NotEqual => return false,
    };
    let best = if unit == Unit::Share { best as f64 / coverage.scope as f64 } else { best as f64 };
    op.holds(best, limit)
}

/// How many samples a rule needs that allows no event (or no other event) at all.
pub(super) fn min_opportunities(
    spec: &EvidenceSpec,
    op: Op,
    limit: f64,
    metric: Metric,
    measured: &Measured,
    unit: Unit,
) -> u64 {
    let definition = metric.definition();
    let counts_answers = definition.measured_on == MeasuredOn::Responses
        && definition.dimension != Dimension::Time
        && measured.events.is_some()
        && !measured.is_census;
    let allows_none = match (op, unit) {
        (Op::Equal | Op::AtMost, Unit::Share | Unit::Count) if limit == 0.0 => true,
        (Op::Less, Unit::Count) => limit <= 1.0,
        (Op::Equal | Op::AtLeast, Unit::Share) => limit >= 1.0,
        _ => false,
    };
    if counts_answers && allows_none { spec.opportunities } else { 0 }
}
