//! `cacheproof report`: a run's report rendered again from its journal, also after a crash.

use std::path::{Path, PathBuf};

use super::{CommandResult, Exit, Failure, verdict_text};
use crate::report::{self, Judged, ReportError};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The run's directory
    #[arg(value_name = "DIR", default_value = "reports/latest")]
    directory: PathBuf,
}

/// Renders and prints. Ends well whatever the verdict is: it did what it was asked.
pub fn run(arguments: &ReportArgs) -> CommandResult {
    let judged = render_run(&arguments.directory)?;
    print!("{}", verdict_text::verdict_lines(&judged, &arguments.directory));
    Ok(Exit::Pass)
}

/// Judges a run by its journal and writes its report.
pub fn render_run(directory: &Path) -> Result<Judged, Failure> {
    report::render_run(directory).map_err(failure)
}

/// A directory that holds no run is a wrong argument; the rest is the environment's.
pub fn failure(error: ReportError) -> Failure {
    match &error {
        ReportError::Journal(_) | ReportError::Scenario(_) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}
