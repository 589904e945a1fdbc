//! One rule, judged.

use std::collections::BTreeSet;

use cacheproof_core::journal::Outcome;
use cacheproof_core::measurements::ResponseKey;
use cacheproof_core::metrics::{
    Dimension, ErrorTreatment, Measured, MeasuredOn, Metric, NotWithin, Requirement, no_queries,
};
use cacheproof_core::scenario::{Limit, Op, Quantity, Rule, Scenario, Victim};

use super::chance::{is_significant, min_samples_for_share, percentile_by_count, share_is_broken};
use super::coverage::{apply_coverage, apply_coverage_to_both, min_opportunities};
use super::evidence::{errors_of, evidence, named, no_value};
use super::measure::{JudgeContext, measure, phases_of, wants_share};
use super::stalls::deciding_stall;
use super::validity::ValidityIssues;
use super::{RuleResult, Ruling, Unit, numbers};

/// Of the opportunities that a rule needs, at least one in so many must be a sample: an answer in which the event would
/// have shown.
const LEAST_JUDGED: u64 = 3;

/// Judges a rule, then weakens the ruling by what is doubtful about its phases.
pub(super) fn judge_rule(context: &JudgeContext<'_>, rule: &Rule) -> RuleResult {
    // Errors never help a rule, on neither side.
    let (errors, errors_of_other) = match rule.op {
        Op::More | Op::AtLeast => (ErrorTreatment::Exclude, ErrorTreatment::CountAsSlowest),
        Op::Less | Op::AtMost | Op::Equal | Op::NotEqual => (ErrorTreatment::CountAsSlowest, ErrorTreatment::Exclude),
    };
    let measured = measure(context, rule, &rule.term, errors);
    let mut phases: BTreeSet<usize> = phases_of(context.scenario, &rule.term).into_iter().collect();
    let mut result = match &rule.limit {
        Limit::Value(limit) => against_value(context, rule, &measured, *limit),
        Limit::Of { factor, term } => {
            let mut other = measure(context, rule, term, errors_of_other);
            let other_phases = phases_of(context.scenario, term);
            if term.metric.definition().measured_on == MeasuredOn::DatabaseQueries && other.value == Some(0.0) {
                other.value = None;
                other.missing_reason = Some(no_queries(context.facts, &other_phases));
            }
            phases.extend(other_phases);
            against_term(context, rule, &measured, (&other, term.metric), *factor)
        }
    };
    apply_validity_issues(context, rule, &phases, &mut result);
    result
}

/// A result in the unit of the rule, without a ruling yet.
fn unjudged(rule: &Rule, measured: &Measured, limit: Option<f64>, samples: u64) -> RuleResult {
    RuleResult {
        text: rule.text.clone(),
        ruling: Ruling::Fail,
        observed: measured.value,
        limit,
        unit: rule.term.metric.definition().dimension.unit(wants_share(rule)),
        samples,
        over: None,
        evidence: String::new(),
    }
}

fn against_value(context: &JudgeContext<'_>, rule: &Rule, measured: &Measured, limit: Quantity) -> RuleResult {
    let metric = rule.term.metric;
    let limit = limit.number();
    let mut result = unjudged(rule, measured, Some(limit), measured.samples);
    let nanoseconds = (limit * 1e9).round();
    if result.unit == Unit::Seconds && nanoseconds >= 0.0 && measured.samples > 0 {
        let limits = context.measurements.start.as_ref().map_or(&[][..], |start| &start.limits);
        result.over = measured.above(limits, nanoseconds as u64);
    }
    if let Some(missing) = &measured.not_within {
        not_within(&mut result, rule, measured, missing, limit);
        return result;
    }
    let Some(value) = measured.value else {
        result.evidence = no_value(metric, result.unit, measured);
        if mark_undecidable(&mut result, measured) {
            return result;
        }
        if measured.beyond_any_limit && !errors_are_significant(metric, measured) {
            too_few(&mut result, metric.min_samples());
        }
        return result;
    };
    // Only a percentile or the maximum (the percentile of 1) counts exactly what is above the limit.
    let q = metric.percentile().unwrap_or(1.0);
    result.ruling = result
        .over
        .and_then(|over| percentile_by_count(rule.op, q, measured.samples, over))
        .unwrap_or_else(|| Ruling::of(rule.op.holds(value, limit)));
    result.evidence = evidence(rule, measured, value, limit, &result);

    let is_share = result.unit == Unit::Share;
    let for_share = if is_share { min_samples_for_share(metric.definition().dimension, limit) } else { 0 };
    let needs = metric.min_samples().max(for_share);
    if measured.samples < needs {
        let n = measured.samples;
        let is_proved = match result.over {
            // One is enough for a maximum.
            Some(over) if q == 1.0 => over > 0 && matches!(rule.op, Op::Less | Op::AtMost),
            Some(over) => n >= 20 && is_significant(over, n, q),
            None if is_share => share_is_broken(rule.op, measured.events.unwrap_or(0), n, limit),
            None => false,
        };
        if result.ruling != Ruling::Fail || !is_proved {
            too_few(&mut result, needs);
        }
    }
    let spec = &context.scenario.evidence;
    let opportunities = min_opportunities(spec, rule.op, limit, metric, measured, result.unit);
    if result.ruling == Ruling::Pass {
        if measured.opportunities.unwrap_or(measured.samples) < opportunities {
            too_few(&mut result, opportunities);
        } else if measured.samples < opportunities / LEAST_JUDGED {
            too_few(&mut result, opportunities / LEAST_JUDGED);
        }
    }
    apply_coverage(spec, rule.op, limit, metric, measured, &mut result);
    mark_between_bounds(&mut result, rule, measured, limit);
    mark_uncertain(&mut result, measured);
    result
}

/// A limit between the least and the most that the value can be is neither kept nor broken.
fn mark_between_bounds(result: &mut RuleResult, rule: &Rule, measured: &Measured, limit: f64) {
    let (Some(least), Some(most)) = (measured.value, measured.at_most) else { return };
    if rule.op.holds(least, limit) != rule.op.holds(most, limit) && result.ruling != Ruling::Inconclusive {
        result.ruling = Ruling::Inconclusive;
        result.evidence += &format!("; it may have been {}", numbers::quantity(most, result.unit));
    }
}

/// Nothing was measured because there was too little to measure it on: that breaks no rule.
fn mark_undecidable(result: &mut RuleResult, measured: &Measured) -> bool {
    let Some(why) = measured.uncertainty.as_ref().filter(|_| measured.missing_reason.is_none()) else { return false };
    result.ruling = Ruling::Inconclusive;
    result.evidence.clone_from(why);
    true
}

/// A limit that looks kept and may not be is inconclusive.
fn mark_uncertain(result: &mut RuleResult, measured: &Measured) {
    if let Some(why) = measured.uncertainty.as_ref().filter(|_| result.ruling == Ruling::Pass) {
        result.ruling = Ruling::Inconclusive;
        result.evidence += &format!("; {why}");
    }
}

/// Something was waited for and did not come: whether the limit is broken depends on how long was waited.
fn not_within(result: &mut RuleResult, rule: &Rule, measured: &Measured, missing: &NotWithin, limit: f64) {
    let is_over = measured.value.is_some_and(|value| value > limit);
    let is_long_enough = missing.watched >= limit || is_over;
    result.observed = None;
    result.ruling = match rule.op {
        Op::Less | Op::AtMost | Op::Equal if is_long_enough => Ruling::Fail,
        Op::More | Op::AtLeast | Op::NotEqual if is_long_enough => Ruling::Pass,
        _ => Ruling::Inconclusive,
    };
    let which = measured.which.as_ref().map_or_else(String::new, |which| format!(" ({which})"));
    let tail = match result.ruling {
        Ruling::Inconclusive => format!(": too short to tell, {} are allowed", numbers::time(limit)),
        Ruling::Fail if missing.watched.is_finite() => format!(", limit {}", numbers::time(limit)),
        _ => String::new(),
    };
    result.evidence = format!("{}{tail}{which}", missing.what);
}

fn too_few(result: &mut RuleResult, needs: u64) {
    result.ruling = Ruling::Inconclusive;
    result.evidence += &format!(": too few to tell, {} are needed", numbers::count(needs));
}

/// Whether so many errors are more than chance allows beyond a percentile.
fn errors_are_significant(metric: Metric, measured: &Measured) -> bool {
    let (errors, n) = (measured.errors, measured.samples);
    metric.percentile().is_none_or(|q| n >= metric.min_samples() || (n >= 20 && is_significant(errors, n, q)))
}

fn against_term(
    context: &JudgeContext<'_>,
    rule: &Rule,
    measured: &Measured,
    other: (&Measured, Metric),
    factor: f64,
) -> RuleResult {
    let metric = rule.term.metric;
    let (other, other_metric) = other;
    let limit = other.value.map(|other| other * factor);
    let mut result = unjudged(rule, measured, limit, measured.samples.min(other.samples));
    let unit = result.unit;
    if let (Some(missing), Some(base)) = (&measured.not_within, other.value.filter(|_| other.not_within.is_none())) {
        not_within(&mut result, rule, measured, missing, base * factor);
        return result;
    }
    if other.not_within.is_some() {
        result.ruling = Ruling::Inconclusive;
        result.limit = None;
        result.evidence = "the recovery that it is compared with was not complete when the watch ended".to_owned();
        return result;
    }
    let (Some(value), Some(base)) = (measured.value, other.value) else {
        let other_is_open = other.value.is_none() && other.uncertainty.is_some() && measured.not_within.is_some();
        let (missing, of, side) = if measured.value.is_none() && !other_is_open {
            (measured, metric, "measured")
        } else {
            (other, other_metric, "compared with")
        };
        result.evidence = format!("{} for what is {side}", no_value(metric, unit, missing));
        if mark_undecidable(&mut result, missing) {
            return result;
        }
        if missing.beyond_any_limit && !errors_are_significant(of, missing) {
            too_few(&mut result, of.min_samples());
        }
        return result;
    };
    let numbers_of_both = format!("{} → {}", numbers::quantity(base, unit), numbers::quantity(value, unit));
    let both = named(metric, &numbers_of_both, unit);
    if base == 0.0 && factor != 0.0 && rule.op != Op::Less && rule.op != Op::AtMost {
        result.ruling = Ruling::Inconclusive;
        result.evidence = format!("{both}: there is no value to multiply");
        return result;
    }
    result.ruling = Ruling::of(rule.op.holds(value, base * factor));
    // A rule against 40 % is answered in per cent, one against 2.5 times in times.
    let (ratio, limit) = if factor < 1.0 {
        (numbers::share(value / base), numbers::share(factor))
    } else {
        (format!("{} times", numbers::plain(value / base)), format!("{} times", numbers::plain(factor)))
    };
    result.evidence = if base == 0.0 { both } else { format!("{both}: {ratio} (limit {limit})") };
    let errors = measured.errors + other.errors;
    if errors > 0 {
        result.evidence += &format!(", {} counted as slower than any", errors_of(errors, 0));
    }
    let for_share = result.limit.filter(|_| unit == Unit::Share).map_or(0, |limit| {
        let never = min_opportunities(&context.scenario.evidence, rule.op, limit, metric, measured, unit);
        min_samples_for_share(metric.definition().dimension, limit).max(never)
    });
    let needs = metric.min_samples().max(other_metric.min_samples()).max(for_share);
    if result.samples < needs {
        result.ruling = Ruling::Inconclusive;
        let (n, needs) = (numbers::count(result.samples), numbers::count(needs));
        result.evidence += &format!("; n = {n}: too few to tell, {needs} are needed");
    }
    apply_coverage_to_both(&context.scenario.evidence, [measured, other], &mut result);
    mark_failed_base(context, rule, &mut result);
    mark_between_bounds(&mut result, rule, measured, base * factor);
    mark_uncertain(&mut result, measured);
    mark_uncertain(&mut result, other);
    result
}

/// Requests that failed take part in no throughput and in no work of the database. On the side that is compared with, they would
/// help the rule.
fn mark_failed_base(context: &JudgeContext<'_>, rule: &Rule, result: &mut RuleResult) {
    let Limit::Of { term, .. } = &rule.limit else { return };
    let definition = term.metric.definition();
    let counts_successes = definition.name == "throughput" || definition.measured_on == MeasuredOn::DatabaseQueries;
    if result.ruling != Ruling::Pass || !counts_successes {
        return;
    }
    let phases = phases_of(context.scenario, term);
    let is_of = |key: &ResponseKey| {
        phases.contains(&key.phase)
            && term.path.is_none_or(|path| path == key.path)
            && term.request.is_none_or(|request| request == key.request)
    };
    let all = context.measurements.count(is_of);
    let failed = context.measurements.count(|key| is_of(key) && key.outcome == Outcome::Error);
    if failed as f64 > all as f64 * (1.0 - context.scenario.evidence.coverage) {
        result.ruling = Ruling::Inconclusive;
        result.evidence += &format!(
            "; {} of {} requests failed on the side that it is compared with",
            numbers::count(failed),
            numbers::count(all)
        );
    }
}

fn apply_validity_issues(context: &JudgeContext<'_>, rule: &Rule, phases: &BTreeSet<usize>, result: &mut RuleResult) {
    let issues = context.issues;
    let name = |phase: &usize| context.scenario.phases.get(*phase).map_or("?", |phase| phase.name.as_str());
    let why = if let Some(phase) = phases.intersection(&issues.incomplete).next() {
        let was_seen = result.observed.is_some() || result.over.is_some_and(|over| over > 0);
        if result.ruling == Ruling::Fail && was_seen && stays_broken(rule) {
            return;
        }
        format!("the run ended before '{}' was over", name(phase))
    } else if let Some(phase) = phases.intersection(&issues.client_failures).next() {
        // What an answer holds is the app's, whatever was not sent.
        if result.ruling == Ruling::Fail && result.observed.is_some() && is_about_content(rule) {
            return;
        }
        format!("cacheproof could not send all requests in '{}'", name(phase))
    } else if let Some(phase) = phases.intersection(&issues.unsendable).next()
        && matches!(rule.term.metric.definition().name, "errors" | "availability" | "requests")
    {
        format!("the load generator could not send all requests in '{}'", name(phase))
    } else if let Some(phase) = phases.intersection(&issues.saturated).next()
        && rule.term.metric.definition().is_timing
    {
        format!("the load generator was saturated in '{}'", name(phase))
    } else if let Some(phase) = deciding_stall(context, rule, result) {
        format!("the machine stalled in '{}'", name(&phase))
    } else if let Some(phase) = phases.intersection(&issues.not_bypassed).next().filter(|_| needs_bypass(rule)) {
        format!("the phase '{}' was not uncached", name(phase))
    } else if result.ruling != Ruling::Pass {
        return;
    } else if let Some(phase) = phases.intersection(&issues.ineffective_faults).next() {
        format!("the fault in '{}' had no observed effect", name(phase))
    } else if let Some(phase) = phases.intersection(&issues.no_items).next() {
        format!("the answers in '{}' were not the items that were asked for", name(phase))
    } else if phases.intersection(&issues.unchanged_writes).next().is_some() {
        "acknowledged writes changed nothing".to_owned()
    } else if let Some(phase) = phases.intersection(&issues.not_bypassed).next() {
        format!("the phase '{}' was not uncached", name(phase))
    } else if let Some(phase) =
        phases.intersection(&issues.redis_unused).find(|phase| needs_redis(context.scenario, rule, **phase))
    {
        format!("the app did not use Redis in '{}'", name(phase))
    } else if let Some(server) = unconnected_server(issues, rule) {
        format!("the app never had a connection to {server}")
    } else if issues.count_mismatch {
        "the count of requests is in doubt".to_owned()
    } else {
        return;
    };
    result.ruling = Ruling::Inconclusive;
    result.evidence += &format!("; {why}");
}

/// Whether a rule shows nothing, kept or broken, where requests did not go past the cache: a comparison with an uncached phase.
fn needs_bypass(rule: &Rule) -> bool {
    matches!(rule.limit, Limit::Of { .. })
}

/// Whether a rule shows nothing of a phase in which the app does not use the Redis of the scenario. What single answers
/// contain, whether they came, and how soon, is true of the app whatever it keeps them in, unless Redis was broken there.
pub(super) fn needs_redis(scenario: &Scenario, rule: &Rule, phase: usize) -> bool {
    let faults = scenario.phases.get(phase).map_or(&[][..], |phase| &phase.faults);
    // What a command of the user breaks is not known.
    let may_break_redis = faults.iter().any(|fault| !matches!(fault.victim, Victim::Postgres | Victim::App(_)));
    may_break_redis || needs_bypass(rule) || rule.term.metric.definition().is_about_cache()
}

/// The server that a rule is about and that the app never connected to.
fn unconnected_server(issues: &ValidityIssues, rule: &Rule) -> Option<&'static str> {
    let terms = std::iter::once(&rule.term).chain(match &rule.limit {
        Limit::Of { term, .. } => Some(term),
        Limit::Value(_) => None,
    });
    let definitions: Vec<_> = terms.map(|term| term.metric.definition()).collect();
    let is_about = |server: &'static str| match server {
        "Redis" => definitions.iter().any(|one| one.requires.contains(&Requirement::Redis)),
        _ => definitions.iter().any(|one| one.requires.contains(&Requirement::Postgres)),
    };
    issues.unconnected.iter().copied().find(|server| is_about(server))
}

/// Whether a broken limit shows in the content of single answers.
fn is_about_content(rule: &Rule) -> bool {
    let name = rule.term.metric.definition().name;
    stays_broken(rule) && (name.starts_with("wrong_answers") || name == "lost_updates")
}

/// Whether a broken limit stays broken, however the phase would have gone on.
fn stays_broken(rule: &Rule) -> bool {
    let definition = rule.term.metric.definition();
    let Limit::Value(limit) = rule.limit else { return false };
    // A share of the requests may shrink again.
    let is_share_of_requests = definition.dimension == Dimension::CountOrShare && matches!(limit, Quantity::Share(_));
    let sets_upper_limit = match rule.op {
        Op::Less | Op::AtMost => true,
        Op::Equal => limit == Quantity::Count(0.0),
        _ => false,
    };
    sets_upper_limit && definition.only_grows && !is_share_of_requests
}
