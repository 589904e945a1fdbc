//! The events of a run. One enum feeds the journal, the terminal and (through the journal) verdict and report, so that
//! they cannot disagree.

use serde::{Deserialize, Serialize};

use super::{
    AtQuiescence, CoarseSlice, Example, FaultEvent, FineSlice, ProxyCost, RunEnded, RunStarted, Sample, StackReady,
    StaleClassification, StaleRead, StatementCounts, TargetReady,
};

/// Version of the journal's format. Raised when an older reader would misread a newer journal: one of version 1 takes a test that
/// failed (`proofs` of the first line, new in 2) for a proof.
pub const JOURNAL_VERSION: u32 = 2;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Seconds since the run began, on the monotonic clock.
    pub at: f64,
    /// What happened.
    pub event: Event,
}

/// What can happen in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Always the first line.
    RunStarted(RunStarted),
    /// The servers are up.
    StackReady(StackReady),
    /// What the proxy in front of Redis costs, measured before the load.
    ProxyCost(ProxyCost),
    /// The app answers.
    TargetReady(TargetReady),
    /// A phase of the timeline begins.
    PhaseStarted {
        /// Index into the scenario's phases.
        phase: usize,
    },
    /// A phase ends. Requests that were meant for it may still be answered later.
    PhaseEnded {
        /// Index into the scenario's phases.
        phase: usize,
        /// Why it ended now: its time was up, the hit rate was level, the run was stopped.
        reason: String,
    },
    /// The responses of one second.
    #[serde(rename = "window")]
    CoarseSlice(CoarseSlice),
    /// The responses of 100 ms, counts only.
    #[serde(rename = "pulse")]
    FineSlice(FineSlice),
    /// The state of servers and processes, once a second and at every phase boundary.
    Sample(Sample),
    /// What the database executed, once after the load.
    Statements(StatementCounts),
    /// A fault reaches its next stage.
    Fault(FaultEvent),
    /// One of the first few responses of each kind of error.
    Example(Example),
    /// A stale response, with the history of its item.
    StaleRead(StaleRead),
    /// The kind of the stale responses of one item, found by reading it again.
    #[serde(rename = "stale_sorted")]
    StaleClassification(StaleClassification),
    /// Cached and uncached responses compared while nothing was written.
    #[serde(rename = "at_rest")]
    AtQuiescence(AtQuiescence),
    /// Something the user should know; shown in the report's validity box.
    Note {
        /// A whole sentence, with what to do where something can be done.
        text: String,
    },
    /// The last line of a journal that was closed. If it is missing, cacheproof itself was killed or crashed.
    RunEnded(RunEnded),
}
