//! Criteria that a test proves: by its result, not by its name.

use cacheproof_core::journal::{TestResult, TestState};

use super::measure::JudgeContext;
use super::{CriterionResult, Ruling};

/// The result of a test in the journal. One that the journal does not have was not run.
pub(super) fn test_result(context: &JudgeContext<'_>, test: &str) -> TestResult {
    let start = context.measurements.start.as_ref();
    start.and_then(|start| start.proofs.get(test)).cloned().unwrap_or_default()
}

pub(super) fn ruling_of_test(result: &TestResult) -> Ruling {
    match result.state {
        TestState::Passed => Ruling::Pass,
        TestState::Failed => Ruling::Fail,
        TestState::Skipped
        | TestState::Outdated
        | TestState::Ambiguous
        | TestState::Missing
        | TestState::Empty
        | TestState::NotRun => Ruling::Claimed,
    }
}

impl CriterionResult {
    /// What its test says, in words; `None` where it names no test.
    pub fn test_evidence(&self) -> Option<String> {
        let unknown = TestResult::default();
        Some(test_in_words(self.proved_by.as_deref()?, self.test.as_ref().unwrap_or(&unknown)))
    }
}

/// The result of a test in words. `name` is the criterion's `proved_by`.
pub fn test_in_words(name: &str, result: &TestResult) -> String {
    let (file, detail) = (result.file.as_deref().unwrap_or("?"), result.detail.as_deref());
    let at = result.at.as_ref().map_or_else(String::new, |at| format!(" of {at}"));
    let and = |before: &str| detail.map_or_else(String::new, |detail| format!("{before}{detail}"));
    let test = result.test.as_ref().map_or_else(String::new, |test| format!(" as `{test}`"));
    let why = match result.state {
        TestState::Passed => return format!("proved by test `{name}`: passed{test} in {file}{at}{}", and("; ")),
        TestState::Failed => return format!("test `{name}` failed{test} in {file}{at}{}", and(": ")),
        TestState::Skipped => format!(": skipped in {file}{at}{}", and(": ")),
        TestState::Outdated => format!(": its result in {file}{at} is older than {}", detail.unwrap_or("the tree")),
        TestState::Ambiguous => format!(": {file} has several tests that could be meant{}", and(": ")),
        TestState::Missing => format!(": {file} has no result of it{}", and("; ")),
        TestState::Empty => format!(": {file} has no test case"),
        TestState::NotRun => and(": "),
    };
    format!("claimed by test `{name}` (not run here{why})")
}
