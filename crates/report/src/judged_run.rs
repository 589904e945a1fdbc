//! From a run's directory to its verdict and files.

use std::path::Path;

use cacheproof_core::journal::{JOURNAL_FILE, read_journal};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{self, Scenario};
use cacheproof_verdict::{Verdict, judge};

use super::{ReportError, render, write};

/// A run, judged by its journal alone.
#[derive(Clone, Debug)]
pub struct JudgedRun {
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// What was seen.
    pub seen: Measurements,
    /// The verdict.
    pub verdict: Verdict,
}

/// Reads the journal in a run's directory and judges it. A journal that a crash cut off is judged as far as it
/// goes, and its verdict says so.
pub fn judge_run(directory: &Path) -> Result<JudgedRun, ReportError> {
    let seen = Measurements::of(&read_journal(directory)?);
    let Some(start) = &seen.start else {
        return Err(cacheproof_core::journal::JournalError::NoStart { path: directory.join(JOURNAL_FILE) }.into());
    };
    let scenario = scenario::parse(&start.scenario_name, &start.scenario)
        .map_err(|errors| ReportError::Scenario(errors.to_string()))?;
    let verdict = judge(&scenario, &seen);
    Ok(JudgedRun { scenario, seen, verdict })
}

/// Judges a run and writes every file of its report into its directory.
pub fn render_run(directory: &Path) -> Result<JudgedRun, ReportError> {
    let judged = judge_run(directory)?;
    write(directory, &render(&judged.scenario, &judged.seen, &judged.verdict)?)?;
    Ok(judged)
}
