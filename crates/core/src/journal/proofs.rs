//! What is known of the tests that criteria name in `proved_by`: read from JUnit files before the run.

use serde::{Deserialize, Serialize};

/// The result of a test, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Whether the test proves anything.
    pub state: TestState,
    /// The test as its runner names it, with its class, package or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The JUnit file, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When the test ran: UTC, RFC 3339, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is to be said of it: why it failed or was skipped, what changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether a test proves anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestState {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It was skipped, wholly or in part.
    Skipped,
    /// The result is older than what was tested.
    Outdated,
    /// Several tests could be the one that is meant.
    Ambiguous,
    /// The file has other tests.
    Missing,
    /// The file has no test at all.
    Empty,
    /// There is no file.
    #[default]
    NotRun,
}
