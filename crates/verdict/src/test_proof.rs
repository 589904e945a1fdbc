//! Criteria that a test proves: by its result, not by its name.

use cacheproof_core::journal::{TestResult, TestState};

use super::measure::JudgeContext;
use super::{NamedTest, Ruling};

/// A test with its result in the journal. One that the journal does not have was not run.
pub(super) fn named_test(context: &JudgeContext<'_>, name: &str) -> NamedTest {
    let start = context.measurements.start.as_ref();
    let result = start.and_then(|start| start.proofs.get(name)).cloned().unwrap_or_default();
    NamedTest { name: name.to_owned(), result }
}

/// What several tests say together: all must have passed. `None` without any.
pub(super) fn ruling_of_tests(tests: &[NamedTest]) -> Option<Ruling> {
    let severity = |ruling: &Ruling| match ruling {
        Ruling::Fail => 2,
        Ruling::Claimed => 1,
        _ => 0,
    };
    tests.iter().map(NamedTest::ruling).max_by_key(severity)
}

impl NamedTest {
    /// What its result says: pass, fail or claimed.
    pub fn ruling(&self) -> Ruling {
        match self.result.state {
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

    /// Its result in words.
    pub fn evidence(&self) -> String {
        test_in_words(&self.name, &self.result)
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
