//! The verdict on a whole run.

use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Criterion, Scenario};

use super::defaults::broken_defaults;
use super::measure::{JudgeContext, fault_result};
use super::outside::seen_outside;
use super::rule::judge_rule;
use super::summary::summary;
use super::test_proof::{named_test, ruling_of_tests};
use super::validity::check_validity;
use super::{CriterionResult, NamedTest, Ruling, Verdict, fault_outcomes};

/// Judges a run's measurements by the scenario's rules. Pure: the same journal always gives the same verdict.
///
/// A rule without samples fails. A percentile from fewer than 10 ÷ (1 − q) samples is inconclusive, unless the
/// exact count of samples above the limit proves the failure beyond chance; so is a share from fewer than
/// 3 ÷ min(limit, 1 − limit), and a mean or maximum from fewer than 20. Errors count as slower than any limit. A run
/// that is not valid (it has a blocking [`Finding`](super::Finding)) never passes. A test proves its criterion by its result; without one the
/// criterion counts neither for the run nor against it. Wrong answers and lost updates fail a run also where no
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
        // Each criterion waits for a test: nothing was proved.
        Some(Ruling::Claimed) => Ruling::Inconclusive,
        Some(worst) => worst,
    };
    let summary = [Some(summary(&criteria, &validity)), seen_outside(&context)];
    let summary = summary.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Verdict { ruling, summary, criteria, validity, faults }
}

fn judge_criterion(context: &JudgeContext<'_>, criterion: &Criterion) -> CriterionResult {
    let rules: Vec<_> = criterion.rules.iter().map(|rule| judge_rule(context, rule)).collect();
    let tests: Vec<NamedTest> = criterion.proved_by.iter().map(|name| named_test(context, name)).collect();
    let by_rules = rules.iter().map(|rule| rule.ruling).max();
    let ruling = match (by_rules, ruling_of_tests(&tests)) {
        (None, None) => Ruling::Inconclusive,
        (Some(ruling), None) | (None | Some(Ruling::Pass), Some(ruling)) => ruling,
        (Some(by_rules), Some(by_test)) => by_rules.max(by_test),
    };
    CriterionResult { says: criterion.says.clone(), ruling, rules, tests }
}

impl CriterionResult {
    /// The evidence in words, one line a rule, and one a test.
    pub fn evidence(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.rules.iter().map(|rule| rule.evidence.clone()).collect();
        lines.extend(self.tests.iter().map(NamedTest::evidence));
        if lines.is_empty() {
            lines.push("no rule and no test".to_owned());
        }
        lines
    }
}

impl Ruling {
    /// One word: `pass`, `fail`, `inconclusive` or `claimed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }

    /// A sign for it, readable without colour: ✔ ✘ ? –
    pub fn sign(self) -> &'static str {
        match self {
            Self::Claimed => "–",
            Self::Pass => "✔",
            Self::Inconclusive => "?",
            Self::Fail => "✘",
        }
    }
}
