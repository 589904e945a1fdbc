//! What is known before anything is sent: rules that the run as planned cannot decide.

use cacheproof_core::metrics::MinSamples;
use cacheproof_core::scenario::{LoadModel, Rule, Scenario};

use super::measure::phases_of;
use super::numbers;

/// One line for each rule that cannot be decided.
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
        .filter_map(|rule| too_few_planned_requests(scenario, rule))
        .collect()
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
