//! What is known before anything is sent: rules that the run as planned cannot decide, or that may hold in vain.

use cacheproof_core::metrics::{MinSamples, Requirement};
use cacheproof_core::scenario::{LoadModel, Op, Rule, Scenario, TargetKind};

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

/// A percentile of fewer requests than it needs. In a closed loop their number is not known in advance.
fn too_few_planned_requests(scenario: &Scenario, rule: &Rule) -> Option<String> {
    let metric = rule.term.metric;
    if metric.definition().min_samples != MinSamples::TenBeyond {
        return None;
    }
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return None };
    let planned = |phase: &usize| {
        let phase = &scenario.phases[*phase];
        phase.rate.unwrap_or(rate) * phase.lasts.as_secs_f64()
    };
    let planned = phases_of(scenario, &rule.term).iter().map(planned).sum::<f64>() as u64;
    let needs = metric.min_samples();
    (planned < needs).then(|| {
        format!(
            "'{}' will not be decided: about {} requests are planned, {} are needed",
            rule.text,
            numbers::count(planned),
            numbers::count(needs)
        )
    })
}
