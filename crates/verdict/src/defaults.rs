//! What is judged in every run, whether or not a rule asks: that no answer was wrong and no write lost, where the scenario
//! says how to see it.

use cacheproof_core::metrics::Metric;
use cacheproof_core::scenario::{Limit, Op, Quantity, Rule, Scenario, Term};

use super::measure::JudgeContext;
use super::rule::judge_rule;
use super::{CriterionResult, RuleResult, Ruling};

pub(super) const WRONG_ANSWERS: &str = "wrong_answers";
pub(super) const LOST_ITEMS: &str = "wrong_answers.lost";

/// Metrics that must be 0, with the criterion that stands in the report if one is not.
const DEFAULTS: [(&str, &str); 2] = [
    (WRONG_ANSWERS, "No answer is wrong (judged in every run; a rule on wrong_answers replaces this)"),
    ("lost_updates", "No acknowledged write is lost (judged in every run; a rule on lost_updates replaces this)"),
];

/// The criteria that no rule asks for and that were broken.
pub(super) fn broken_defaults(context: &JudgeContext<'_>) -> Vec<CriterionResult> {
    DEFAULTS.iter().filter_map(|(metric, says)| broken(context, metric, says)).collect()
}

fn broken(context: &JudgeContext<'_>, metric: &str, says: &str) -> Option<CriterionResult> {
    let phases = (0..context.scenario.phases.len()).filter(|phase| context.scenario.is_judged(*phase));
    let rules: Vec<RuleResult> = phases
        .filter(|phase| !is_asked_for(context.scenario, metric, *phase))
        .filter_map(|phase| broken_in(context, metric, phase))
        .collect();
    let criterion = CriterionResult { says: says.to_owned(), ruling: Ruling::Fail, rules, tests: Vec::new() };
    (!criterion.rules.is_empty()).then_some(criterion)
}

/// The broken rule of a phase. Nothing that could be wrong, or too little of it, is no reason to doubt a run that did not
/// ask.
fn broken_in(context: &JudgeContext<'_>, metric: &str, phase: usize) -> Option<RuleResult> {
    let zero = |metric: &str| {
        let term = Term { metric: Metric::find(metric).ok()?, path: None, request: None, phase: Some(phase) };
        let text = format!("{metric} in '{}' == 0", context.scenario.phases[phase].name);
        Some(judge_rule(context, &Rule { text, term, op: Op::Equal, limit: Limit::Value(Quantity::Count(0.0)) }))
    };
    let seen = |result: &RuleResult| result.observed.unwrap_or(0.0);
    let result = zero(metric)?;
    // An item that is gone may have expired, or have been lost with Redis: that is for a rule to say.
    let gone = if metric == WRONG_ANSWERS { zero(LOST_ITEMS).map_or(0.0, |lost| seen(&lost)) } else { 0.0 };
    (result.ruling == Ruling::Fail && seen(&result) > gone).then_some(result)
}

/// Whether a rule is about the whole metric in a phase, so that it says how much of it is allowed.
fn is_asked_for(scenario: &Scenario, metric: &str, phase: usize) -> bool {
    let mut terms = scenario.criteria.iter().flat_map(|criterion| &criterion.rules).map(|rule| &rule.term);
    terms.any(|term| {
        let is_whole = term.request.is_none() && term.path.is_none();
        is_whole && term.metric.definition().name == metric && term.phase.is_none_or(|named| named == phase)
    })
}
