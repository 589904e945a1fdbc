//! The verdict on a whole run.

use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Criterion, Scenario};

use super::defaults::broken_defaults;
use super::measure::{JudgeContext, fault_result};
use super::rule::judge_rule;
use super::validity::check_validity;
use super::{CriterionResult, Finding, Ruling, Verdict, fault_outcomes};

/// Judges a run's measurements by the scenario's rules. Pure: the same journal always gives the same verdict.
///
/// A rule without samples fails. A percentile from fewer than 10 ÷ (1 − q) samples is inconclusive, unless the
/// exact count of samples above the limit proves the failure beyond chance; so is a share from fewer than
/// 3 ÷ min(limit, 1 − limit), and a mean or maximum from fewer than 20. Errors count as slower than any limit. A run
/// that is not valid (it has a blocking [`Finding`]) never passes. Wrong answers and lost updates fail a run also where no
/// rule asks for them.
pub fn judge(scenario: &Scenario, measurements: &Measurements) -> Verdict {
    let facts = scenario.metric_facts();
    let faults = fault_outcomes(scenario, measurements);
    let (validity, issues) = check_validity(scenario, &facts, measurements, &faults);
    let results: Vec<_> = faults.iter().map(fault_result).collect();
    let context = JudgeContext { scenario, facts: &facts, measurements, faults: &results, issues: &issues };
    let mut criteria: Vec<CriterionResult> =
        scenario.criteria.iter().map(|criterion| judge_criterion(&context, criterion)).collect();
    criteria.extend(broken_defaults(&context));
    let worst = criteria.iter().map(|criterion| criterion.ruling).max();
    let valid = !validity.iter().any(|finding| finding.blocking);
    let ruling = match worst {
        None => Ruling::Inconclusive,
        // It broke off before the faults, so that even a failed rule says little.
        _ if measurements.was_aborted() => Ruling::Inconclusive,
        Some(Ruling::Pass) if !valid => Ruling::Inconclusive,
        Some(worst) => worst,
    };
    Verdict { ruling, summary: summary(&criteria, &validity), criteria, validity, faults }
}

fn judge_criterion(context: &JudgeContext<'_>, criterion: &Criterion) -> CriterionResult {
    let rules: Vec<_> = criterion.rules.iter().map(|rule| judge_rule(context, rule)).collect();
    let ruling = match rules.iter().map(|rule| rule.ruling).max() {
        Some(worst) => worst,
        None if criterion.proved_by.is_some() => Ruling::Pass,
        None => Ruling::Inconclusive,
    };
    CriterionResult { says: criterion.says.clone(), ruling, rules, proved_by: criterion.proved_by.clone() }
}

fn summary(criteria: &[CriterionResult], validity: &[Finding]) -> String {
    let count = |ruling| criteria.iter().filter(|criterion| criterion.ruling == ruling).count();
    let (failed, open) = (count(Ruling::Fail), count(Ruling::Inconclusive));
    let all = criteria.len();
    let by_test =
        criteria.iter().filter(|criterion| criterion.rules.is_empty() && criterion.proved_by.is_some()).count();
    let mut text = match (failed, open) {
        _ if all == 0 => "The scenario has no criteria: measured, not judged".to_owned(),
        (0, 0) if all == 1 => "The only criterion was proved".to_owned(),
        (0, 0) => format!("All {all} criteria were proved"),
        (0, open) => format!("{open} of {all} criteria could not be decided"),
        (failed, 0) => format!("{failed} of {all} criteria failed"),
        (failed, open) => format!("{failed} of {all} criteria failed, {open} could not be decided"),
    };
    if failed == 0 && open == 0 && by_test > 0 {
        text += &format!(" ({by_test} by tests, not by this run)");
    }
    match validity.iter().filter(|finding| finding.blocking).count() {
        0 => text + ".",
        1 => text + "; one finding makes the run doubtful.",
        blocking => text + &format!("; {blocking} findings make the run doubtful."),
    }
}

impl CriterionResult {
    /// The evidence in words, one line a rule.
    pub fn evidence(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.rules.iter().map(|rule| rule.evidence.clone()).collect();
        match &self.proved_by {
            Some(test) if self.rules.is_empty() => lines.push(format!("proved by the test `{test}`, not by this run")),
            Some(test) => lines.push(format!("and proved by the test `{test}`")),
            None if self.rules.is_empty() => lines.push("no rule and no test".to_owned()),
            None => {}
        }
        lines
    }
}

impl Ruling {
    /// One word: `pass`, `fail` or `inconclusive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }

    /// A sign for it, readable without colour: ✔ ✘ ?
    pub fn sign(self) -> &'static str {
        match self {
            Self::Pass => "✔",
            Self::Inconclusive => "?",
            Self::Fail => "✘",
        }
    }
}
