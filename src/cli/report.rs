//! `cacheproof report`: a run's report rendered again from its journal, also after a crash; several runs on one page.

use std::path::{Path, PathBuf};

use super::{CommandResult, Exit, Failure, verdict_text};
use crate::report::{self, HTML_FILE, JudgedRun, ReportError};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The runs' directories
    #[arg(value_name = "DIR", default_value = "reports/latest")]
    directories: Vec<PathBuf>,
    /// Puts all these runs on one page as well: their verdicts, and every fault with what was promised and what happened
    #[arg(long, value_name = "FILE")]
    combined_page: Option<PathBuf>,
}

/// Renders and prints. Ends well whatever the verdict is: it did what it was asked.
pub fn run(arguments: &ReportArgs) -> CommandResult {
    let mut runs = Vec::new();
    for directory in &arguments.directories {
        let judged = render_run(directory)?;
        print!("{}", verdict_text::verdict_lines(&judged, directory));
        runs.push((directory.as_path(), judged));
    }
    if let Some(page) = &arguments.combined_page {
        let runs: Vec<(String, JudgedRun)> =
            runs.into_iter().map(|(directory, judged)| (link(page, directory), judged)).collect();
        let written = std::fs::write(page, report::combined_page(&runs));
        written.map_err(|source| failure(ReportError::Write { path: page.clone(), source }))?;
        println!("\n  Together: {}", page.display());
    }
    Ok(Exit::Pass)
}

/// Where a run's report lies as seen from the page.
fn link(page: &Path, directory: &Path) -> String {
    let beside = page.parent().unwrap_or(Path::new(""));
    // A link may lead to the run's directory (reports/latest): the page is to name the run itself.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = real(if beside.as_os_str().is_empty() { Path::new(".") } else { beside });
    let report = real(directory).join(HTML_FILE);
    let link = report.strip_prefix(&beside).unwrap_or(&report).display().to_string();
    // What would begin or end a part of a URL.
    link.replace('%', "%25").replace('#', "%23").replace('?', "%3F")
}

/// Judges a run by its journal and writes its report.
pub fn render_run(directory: &Path) -> Result<JudgedRun, Failure> {
    report::render_run(directory).map_err(failure)
}

/// A directory that holds no run is a wrong argument; the rest is the environment's.
pub fn failure(error: ReportError) -> Failure {
    match &error {
        ReportError::Journal(_) | ReportError::Scenario(_) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}
