//! `cacheproof report`: renders a run's report again from its journal, even after a crash; and several runs on one page.

use std::path::{Path, PathBuf};

use super::{CommandResult, Exit, Failure, terminal, verdict_text};
use crate::report::{self, HTML_FILE, JudgedRun, ReportError};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The directories of the runs
    #[arg(value_name = "DIR", default_value = "reports/latest")]
    directories: Vec<PathBuf>,
    /// Also write one HTML page with all these runs: their verdicts, and for each fault its rules and what happened
    #[arg(long = "together", value_name = "FILE")]
    combined_page: Option<PathBuf>,
}

/// Renders the reports and prints the verdicts. Succeeds whatever the verdicts are.
pub fn run(arguments: &ReportArgs) -> CommandResult {
    let mut runs = Vec::new();
    for directory in &arguments.directories {
        let judged = render_run(directory)?;
        terminal::print(&verdict_text::verdict_lines(&judged, directory));
        runs.push((directory.as_path(), judged));
    }
    if let Some(page) = &arguments.combined_page {
        let runs: Vec<(String, JudgedRun)> =
            runs.into_iter().map(|(directory, judged)| (link(page, directory), judged)).collect();
        let written = std::fs::write(page, report::combined_page(&runs));
        written.map_err(|source| failure(ReportError::Write { path: page.clone(), source }))?;
        terminal::print(&format!("\n  Combined page: {}\n", page.display()));
    }
    Ok(Exit::Pass)
}

/// The link from the page to a run's report.
fn link(page: &Path, directory: &Path) -> String {
    let parent = page.parent().unwrap_or(Path::new(""));
    // `directory` may be a symbolic link (reports/latest): the page names the run itself.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let parent = real(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let report = real(directory).join(HTML_FILE);
    let link = report.strip_prefix(&parent).unwrap_or(&report).display().to_string();
    // These have a meaning in a URL.
    link.replace('%', "%25").replace('#', "%23").replace('?', "%3F")
}

/// Judges a run from its journal and writes its report.
pub fn render_run(directory: &Path) -> Result<JudgedRun, Failure> {
    report::render_run(directory).map_err(failure)
}

/// A directory without a run is a usage error; everything else is an environment error.
pub fn failure(error: ReportError) -> Failure {
    match &error {
        ReportError::Journal(_) | ReportError::Scenario(_) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}
