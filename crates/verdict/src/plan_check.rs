//! What is known before anything is sent: rules that the run as planned cannot decide, or that may hold in vain.

use cacheproof_core::metrics::{MeasuredOn, MinSamples, Requirement};
use cacheproof_core::scenario::{Limit, LoadModel, Op, Quantity, Request, Rule, Scenario, TargetKind};

use super::measure::phases_of;
use super::numbers;

/// One line for each rule that cannot be decided, or that may hold in vain.
pub fn undecidable_rules(scenario: &Scenario) -> Vec<String> {
    if scenario.criteria.is_empty() {
        return vec![
            "there is no [[criterion]]: nothing is judged, and a run ends as inconclusive, exit code 4".to_owned(),
        ];
    }
    scenario
        .criteria
        .iter()
        .flat_map(|criterion| &criterion.rules)
        .filter_map(|rule| {
            too_few_planned_requests(scenario, rule).or_else(|| fallbacks_that_may_never_show(scenario, rule))
        })
        .collect()
}

/// An upper limit on fallbacks, for an app that may have no way to say that it fell back.
fn fallbacks_that_may_never_show(scenario: &Scenario, rule: &Rule) -> Option<String> {
    let target = &scenario.target;
    let counts_fallbacks = rule.term.metric.definition().requires.contains(&Requirement::Cache);
    let is_upper_limit = matches!(rule.op, Op::Less | Op::AtMost | Op::Equal);
    let may_be_silent = target.kind == TargetKind::Http && target.hit.fallback.is_empty();
    (counts_fallbacks && is_upper_limit && may_be_silent).then(|| {
        format!(
            "'{}' holds in vain if the app does not say that it fell back: with Cache-Status: …; fwd=bypass; \
             detail=fallback, or with a value that [target.hit] lists in fallback = [\"…\"]",
            rule.text
        )
    })
}

/// Fewer requests than the rule needs: a percentile, or a claim that something never happens. In a closed loop their
/// number is not known in advance.
fn too_few_planned_requests(scenario: &Scenario, rule: &Rule) -> Option<String> {
    let metric = rule.term.metric;
    let is_percentile = metric.definition().min_samples == MinSamples::TenBeyond;
    let needs = if is_percentile { metric.min_samples() } else { opportunities_needed(scenario, rule)? };
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return None };
    let planned = |phase: &usize| {
        let phase = &scenario.phases[*phase];
        phase.rate.unwrap_or(rate) * phase.lasts.as_secs_f64()
    };
    let planned = phases_of(scenario, &rule.term).iter().map(planned).sum::<f64>();
    let planned = (planned * share_of_requests(scenario, rule)) as u64;
    (planned < needs).then(|| {
        format!(
            "'{}' will not be decided: about {} requests are planned, {} are needed",
            rule.text,
            numbers::count(planned),
            numbers::count(needs)
        )
    })
}

/// How many samples a rule needs that says of answers that something never happens; `None` where it says no such thing.
fn opportunities_needed(scenario: &Scenario, rule: &Rule) -> Option<u64> {
    let definition = rule.term.metric.definition();
    // Without versions stale answers are looked for among all written items, once.
    let is_census = definition.requires.contains(&Requirement::VersionOrBypass) && !scenario.has_versions();
    let Limit::Value(limit) = rule.limit else { return None };
    let says_never = match (rule.op, limit) {
        (Op::Equal | Op::AtMost, Quantity::Count(0.0) | Quantity::Share(0.0)) => true,
        (Op::Less, Quantity::Count(limit)) => limit <= 1.0,
        _ => false,
    };
    let counts_answers = definition.measured_on == MeasuredOn::Responses;
    (says_never && counts_answers && !is_census).then_some(scenario.evidence.opportunities)
}

/// The share of the planned requests that the metric can be seen on, by their weights.
fn share_of_requests(scenario: &Scenario, rule: &Rule) -> f64 {
    let requires = rule.term.metric.definition().requires;
    let counts = |(index, request): (usize, &Request)| {
        rule.term.request.is_none_or(|wanted| wanted == index)
            && (request.cacheable || !requires.contains(&Requirement::CacheableRequest))
            && (request.method.is_read() || !requires.contains(&Requirement::WrittenItem))
    };
    let requests = &scenario.traffic.requests;
    let all: f64 = requests.iter().map(|request| request.weight).sum();
    let counted: f64 = requests.iter().enumerate().filter(|one| counts(*one)).map(|(_, request)| request.weight).sum();
    if all > 0.0 { counted / all } else { 1.0 }
}
