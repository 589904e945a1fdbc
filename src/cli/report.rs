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
    if let Some(page) = &arguments.combined_page {
        // Before the work; and once more after it.
        check_replaceable(page)?;
    }
    let mut runs = Vec::new();
    for directory in &arguments.directories {
        let judged = report::judge_run(directory).map_err(failure)?;
        let written = judged.write(directory);
        // Also when the disk is full: the verdict is known.
        terminal::print(&verdict_text::verdict_lines(&judged, directory));
        written.map_err(failure)?;
        runs.push((directory.as_path(), judged));
    }
    if let Some(page) = &arguments.combined_page {
        check_replaceable(page)?;
        let runs: Vec<(String, JudgedRun)> =
            runs.into_iter().map(|(directory, judged)| (link(page, directory), judged)).collect();
        let file = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directory = page.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        report::write(directory, &[(file, report::combined_page(&runs).into_bytes())]).map_err(failure)?;
        terminal::print(&format!("\n  Combined page: {}\n", page.display()));
    }
    Ok(Exit::Pass)
}

/// Refuses to replace a file that is no page of several runs: a slip in the command line must not cost the user a file.
fn check_replaceable(page: &Path) -> Result<(), Failure> {
    let is_ours = match page.symlink_metadata() {
        Ok(found) => found.is_file() && std::fs::read(page).is_ok_and(|text| report::is_combined_page(&text)),
        Err(_) => page.file_name().is_some(),
    };
    if is_ours {
        return Ok(());
    }
    Err(Failure::usage(miette::miette!(
        help = "name another file: --together FILE",
        "{} is not a page that `cacheproof report --together` has written, so it is not replaced",
        page.display()
    )))
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

/// A directory without a run is a usage error; everything else is an environment error.
pub fn failure(error: ReportError) -> Failure {
    match &error {
        ReportError::Journal(_) | ReportError::Scenario(_) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}
