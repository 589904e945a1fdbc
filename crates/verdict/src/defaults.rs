//! What is judged in every run, whether or not a rule asks: that no answer was wrong and no write lost, where the scenario
//! says how to see it.

use cacheproof_core::metrics::Metric;
use cacheproof_core::scenario::{Limit, Op, Quantity, Rule, Scenario, Term};

use super::measure::JudgeContext;
use super::rule::judge_rule;
use super::{CriterionResult, Ruling};

/// Metrics that must be 0, with the criterion that stands in the report if one is not.
const DEFAULTS: [(&str, &str); 2] = [
    ("wrong_answers", "No answer is wrong (judged in every run; a rule on wrong_answers replaces this)"),
    ("lost_updates", "No acknowledged write is lost (judged in every run; a rule on lost_updates replaces this)"),
];

/// The criteria that no rule asks for and that were broken.
pub(super) fn broken_defaults(context: &JudgeContext<'_>) -> Vec<CriterionResult> {
    DEFAULTS.iter().filter_map(|(metric, says)| broken(context, metric, says)).collect()
}

fn broken(context: &JudgeContext<'_>, metric: &str, says: &str) -> Option<CriterionResult> {
    if is_asked_for(context.scenario, metric) {
        return None;
    }
    let term = Term { metric: Metric::find(metric).ok()?, path: None, request: None, phase: None };
    let limit = Limit::Value(Quantity::Count(0.0));
    let rule = Rule { text: format!("{metric} == 0"), term, op: Op::Equal, limit };
    let result = judge_rule(context, &rule);
    // Nothing that could be wrong, or too little of it, is no reason to doubt a run that did not ask.
    let was_seen = result.observed.is_some_and(|seen| seen > 0.0);
    (result.ruling == Ruling::Fail && was_seen).then(|| CriterionResult {
        says: says.to_owned(),
        ruling: Ruling::Fail,
        rules: vec![result],
        proved_by: None,
    })
}

/// Whether a rule is about the metric, or about a part of it.
fn is_asked_for(scenario: &Scenario, metric: &str) -> bool {
    let rules = scenario.criteria.iter().flat_map(|criterion| &criterion.rules);
    let mut names = rules.map(|rule| rule.term.metric.definition().name);
    names.any(|name| name == metric || name.strip_prefix(metric).is_some_and(|part| part.starts_with('.')))
}
