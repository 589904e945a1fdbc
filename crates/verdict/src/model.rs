//! What a verdict says.

use cacheproof_core::journal::TestResult;
use cacheproof_core::numbers::Unit;
use serde::Serialize;

use super::FaultOutcome;

/// Pass, fail or inconclusive; of a criterion also that a test claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// A test is said to prove it, and there is no result of that test: neither for the run nor against it.
    Claimed,
    /// It was proved.
    Pass,
    /// Too few samples, a saturated load generator, or a run that broke off: nothing was proved either way.
    Inconclusive,
    /// It was broken.
    Fail,
}

impl Ruling {
    /// Of a limit that is kept or broken.
    pub(super) fn of(is_kept: bool) -> Self {
        if is_kept { Self::Pass } else { Self::Fail }
    }
}

/// The judgement of a whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Fail if any criterion fails; else inconclusive if any is, if none was proved, or if the run is not valid; else pass.
    pub ruling: Ruling,
    /// For the first screen: a sentence, and one on what was seen where no rule looks.
    pub summary: String,
    /// The story's criteria, in its order.
    pub criteria: Vec<CriterionResult>,
    /// What makes the run valid or not.
    pub validity: Vec<Finding>,
    /// What each fault did, in the order in which they were injected.
    #[serde(skip)]
    pub faults: Vec<FaultOutcome>,
}

/// One criterion, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CriterionResult {
    /// The story's own words.
    pub says: String,
    /// The worst of its rules and its tests. Without a result of each test it is [`Ruling::Claimed`] at best.
    pub ruling: Ruling,
    /// Its rules, judged.
    pub rules: Vec<RuleResult>,
    /// The tests that prove it where no measurement can.
    pub tests: Vec<NamedTest>,
}

/// A test that a criterion names, and its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedTest {
    /// As in `proved_by`.
    pub name: String,
    /// What is known of it.
    #[serde(flatten)]
    pub result: TestResult,
}

/// One rule, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleResult {
    /// As the user wrote it.
    pub text: String,
    /// The ruling.
    pub ruling: Ruling,
    /// What was measured: seconds, bytes, a share of 1, a count or a rate, see `unit`.
    pub observed: Option<f64>,
    /// What it was compared with, in the same unit; for a comparison, the other term times the factor.
    pub limit: Option<f64>,
    /// Unit of both.
    pub unit: Unit,
    /// Number of samples that `observed` comes from.
    pub samples: u64,
    /// For a limit on time: how many samples were above it, counted exactly, errors among them.
    pub over: Option<u64>,
    /// The evidence in words, with its numbers: `P95 4.2 ms (n = 5 981, 0 above 150 ms)`.
    pub evidence: String,
}

/// Something that makes the run valid or not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Whether it prevents a pass.
    #[serde(rename = "grave")]
    pub blocking: bool,
    /// A sentence with its numbers.
    pub text: String,
}
