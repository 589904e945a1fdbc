//! What can be told before anything is sent: rules that the run as planned can't decide.

use super::measure::{min_samples_for_percentile, phases_of};
use super::numbers;
use cacheproof_core::scenario::{LoadModel, Metric, Rule, Scenario};

/// One line for each; none where nothing is known to be in vain.
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

/// A percentile of fewer requests than it needs. In closed loop nobody knows before how many there will be.
fn too_few_planned_requests(scenario: &Scenario, rule: &Rule) -> Option<String> {
    let (Metric::ResponsePercentile(q) | Metric::ServicePercentile(q)) = rule.term.metric else { return None };
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return None };
    let planned = |phase: &usize| {
        let phase = &scenario.phases[*phase];
        phase.rate.unwrap_or(rate) * phase.lasts.as_secs_f64()
    };
    let planned = phases_of(scenario, &rule.term).iter().map(planned).sum::<f64>() as u64;
    let needs = min_samples_for_percentile(q);
    (planned < needs).then(|| {
        format!(
            "'{}' will not be decided: about {} requests are planned, {} are needed",
            rule.text,
            numbers::count(planned),
            numbers::count(needs)
        )
    })
}
