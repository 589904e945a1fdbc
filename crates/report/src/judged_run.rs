//! From a run's directory to its verdict and files.

use std::path::Path;

use cacheproof_core::journal::{JournalReader, Outline};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{self, Scenario};
use cacheproof_verdict::{Verdict, judge};

use super::view::{self, ReportInput};
use super::{ReportError, render, write};

/// A run, judged by its journal alone.
#[derive(Clone, Debug)]
pub struct JudgedRun {
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// What was measured.
    pub measurements: Measurements,
    /// The verdict.
    pub verdict: Verdict,
}

impl JudgedRun {
    /// Each fault in a line for the terminal, with its hints.
    pub fn fault_lines(&self) -> Vec<(String, Vec<String>)> {
        view::fault_lines(self.input())
    }

    /// Stale reads in two lines for the terminal: how many of which kind, and the first example.
    pub fn stale_lines(&self) -> Vec<String> {
        view::stale_lines(self.input())
    }

    /// Writes every file of its report into its directory.
    ///
    /// # Errors
    /// A file can't be rendered or written.
    pub fn write(&self, directory: &Path) -> Result<(), ReportError> {
        write(directory, &render(&self.scenario, &self.measurements, &self.verdict)?)
    }

    pub(super) fn input(&self) -> ReportInput<'_> {
        ReportInput { scenario: &self.scenario, measurements: &self.measurements, verdict: &self.verdict }
    }
}

/// Reads the journal in a run's directory and judges it. A journal that a crash cut off is judged as far as it
/// goes, and its verdict says so.
pub fn judge_run(directory: &Path) -> Result<JudgedRun, ReportError> {
    let mut journal = JournalReader::open(directory)?;
    let start = journal.start();
    let scenario = scenario::parse(&start.scenario_name, &start.scenario)
        .map_err(|errors| ReportError::Scenario(errors.to_string()))?;
    journal.set_outline(Outline {
        faults: scenario.phases.iter().map(|phase| phase.faults.len()).collect(),
        requests: scenario.traffic.requests.len(),
    });
    let measurements = Measurements::read(journal)?;
    let verdict = judge(&scenario, &measurements);
    Ok(JudgedRun { scenario, measurements, verdict })
}

/// Judges a run and writes every file of its report into its directory.
///
/// # Errors
/// It can't be judged, or its report can't be written: [`judge_run`] and [`JudgedRun::write`].
pub fn render_run(directory: &Path) -> Result<JudgedRun, ReportError> {
    let judged = judge_run(directory)?;
    judged.write(directory)?;
    Ok(judged)
}
