//! The run itself: how it started, on which machine, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TestResult;

/// What was run, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`JOURNAL_VERSION`](super::JOURNAL_VERSION).
    pub journal: u32,
    /// cacheproof's own version.
    pub cacheproof: String,
    /// UTC, RFC 3339, whole seconds.
    pub started_at: String,
    /// Name of the run's directory.
    pub run_id: String,
    /// The scenario file's name as given.
    pub scenario_name: String,
    /// The scenario as run: `--set` applied, secrets struck out where that leaves it readable, so not once more.
    #[serde(serialize_with = "crate::secrets::as_verbatim")]
    pub scenario: String,
    /// Command that repeats the run.
    pub command: String,
    /// Limits in nanoseconds that [`ResponseCell::over`](super::ResponseCell::over) counts against.
    pub limits: Vec<u64>,
    /// The machine.
    pub host: Host,
    /// Commit of the working directory, `-dirty` appended where it has changes; empty outside git.
    pub git: String,
    /// For each `proved_by` the result of that test. None in journals of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proofs: BTreeMap<String, TestResult>,
}

/// The machine of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// CPU model.
    pub cpu: String,
    /// Logical cores that cacheproof may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Kernel name and release.
    pub kernel: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEnded {
    /// Whether the whole timeline was run.
    pub how: RunStatus,
    /// Why not, in a sentence.
    pub why: Option<String>,
    /// goose's own count of requests, a cross-check of ours.
    pub goose_requests: Option<u64>,
    /// Arrivals that were due but never sent because the run ended.
    pub unsent: u64,
    /// Whether the system was steady again after the last fault. `None`: it had no fault, or too little time after it; or
    /// an older journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_after: Option<SteadyAfter>,
    /// What the answers said of where they came from. `None`: the scenario does not say what no word means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelCounts>,
}

/// What answers to cacheable reads said of where they came from, if the scenario says what no word means (`absent`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCounts {
    /// Answers that said it.
    pub told: u64,
    /// Answers that said nothing.
    pub assumed: u64,
}

/// The steady state, checked again at the end of a run with faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteadyAfter {
    /// The time over which it was checked, up to the end, seconds.
    pub seconds: f64,
    /// The requests in that time.
    pub requests: u64,
    /// What does not hold again, with its value.
    pub broken: Option<String>,
}

/// Whether the whole timeline was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Yes.
    Completed,
    /// The user stopped it.
    Interrupted,
    /// A server or the app did not come up, or died although no fault was injected.
    EnvironmentFailed,
    /// The system was outside its steady state before the first fault, so no fault was injected.
    NotSteady,
    /// A condition of the scenario's `[safety]` was met, and everything was undone.
    Aborted,
}
