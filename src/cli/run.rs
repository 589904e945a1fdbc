//! `cacheproof run`: runs a scenario, writes its report, prints the verdict.

use std::path::{Path, PathBuf};

use miette::IntoDiagnostic as _;

use super::silence_stdout::SilencedStdout;
use super::{CommandResult, Exit, Failure, check, progress, runtime, stop, terminal};
use crate::journal::{
    Event, EventSink, JOURNAL_FILE, JournalEntry, JournalError, JournalReader, JournalWriter, RunStatus,
};
use crate::proofs::read_proofs;
use crate::report;
use crate::run::{RunOutcome, RunPlan, execute};
use crate::scenario;
use crate::supervise::{LEDGER_FILE, read_ledger};
use crate::verdict::Ruling;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The scenario file
    scenario: PathBuf,
    /// Replace or add one value, e.g. --set traffic.rate=800/s; can be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// A JUnit file with the results of the tests that criteria name in proved_by; can be repeated
    #[arg(long = "proofs", value_name = "FILE")]
    proofs: Vec<PathBuf>,
    /// The directory for reports; the run gets a directory of its own in it
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
}

/// Runs the scenario.
pub fn run(arguments: RunArgs) -> CommandResult {
    // Before anything else: goose would install its own SIGINT handler.
    let stop = stop::on_signal();
    let mut loaded = scenario::load(&arguments.scenario, &arguments.sets).map_err(Failure::usage)?;
    let proofs = read_proofs(&loaded, &arguments.proofs, Path::new("")).map_err(Failure::usage)?;
    check::check_reference_app(&loaded.scenario)?;
    terminal::hide(&loaded.mask);
    scenario::resolve_env(&mut loaded.scenario, &loaded.mask, |name| std::env::var(name).ok())
        .map_err(Failure::usage)?;
    // Once more, now that the values of variables are known: they may be repeated in it.
    loaded.text = scenario::strike_out_of_file(&loaded.name, &loaded.text, &loaded.mask).map_err(Failure::usage)?;
    let now = jiff::Timestamp::now();
    let stem = arguments.scenario.file_stem().map_or("scenario".into(), |stem| stem.to_string_lossy());
    let (run_id, directory) = make_directory(&arguments.reports, &now, &stem)?;
    let plan = RunPlan {
        scenario: loaded.scenario,
        scenario_name: loaded.name,
        scenario_text: loaded.text,
        mask: loaded.mask,
        cacheproof: std::env::current_exe().into_diagnostic().map_err(Failure::environment)?,
        command: command(&arguments),
        run_id,
        directory: directory.clone(),
        started_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        proofs,
    };
    let silence_stdout = SilencedStdout::stdout();
    let result = runtime()?.block_on(async {
        let journal = JournalWriter::create(&directory).into_diagnostic().map_err(Failure::environment)?;
        let journal = journal.with_mask(plan.mask.clone());
        let (sender, entries) = tokio::sync::mpsc::unbounded_channel();
        let event_sink = EventSink::new(
            journal,
            Some(Box::new(move |entry| {
                let _closed = sender.send(entry);
            })),
        );
        let progress = tokio::spawn(progress::show(plan.scenario.clone(), entries));
        let result = execute(&plan, &event_sink, stop, &|text| terminal::print_error(&format!("{text}\n"))).await;
        event_sink.close();
        let _no_result = progress.await;
        result.map_err(Failure::environment)
    });
    drop(silence_stdout);
    match result {
        Err(failure) => {
            remove_if_nothing_was_measured(&directory);
            Err(failure)
        }
        Ok(outcome) => conclude(&arguments.reports, &directory, outcome),
    }
}

/// Writes the report, prints the verdict and picks the exit code.
fn conclude(reports: &Path, directory: &Path, outcome: RunOutcome) -> CommandResult {
    let judged = report::judge_run(directory).map_err(super::report::failure)?;
    let written = judged.write(directory);
    point_latest_at(reports, directory);
    terminal::print(&super::verdict_text::verdict_lines(&judged, directory));
    // A verdict that nobody can look up later is no clean one.
    written.map_err(super::report::failure)?;
    match outcome.how {
        RunStatus::Interrupted => Ok(Exit::Interrupted),
        RunStatus::EnvironmentFailed => {
            let why = outcome.why.unwrap_or_default();
            Err(Failure::environment(miette::miette!("the run stopped early: {why}")))
        }
        RunStatus::NotSteady | RunStatus::Aborted => {
            terminal::print_error(&format!("{}\n", outcome.why.unwrap_or_default()));
            Ok(Exit::Inconclusive)
        }
        RunStatus::Completed => Ok(match judged.verdict.ruling {
            Ruling::Pass => Exit::Pass,
            Ruling::Fail => Exit::RulesFailed,
            Ruling::Inconclusive | Ruling::Claimed => Exit::Inconclusive,
        }),
    }
}

fn make_directory(reports: &Path, now: &jiff::Timestamp, stem: &str) -> Result<(String, PathBuf), Failure> {
    let base = format!("{}-{stem}", now.strftime("%Y%m%dT%H%M%SZ"));
    let failed = |error: std::io::Error| {
        Failure::environment(miette::miette!(
            help = "name a writable directory: --reports DIR",
            "can't write reports to {}: {error}",
            reports.display()
        ))
    };
    std::fs::create_dir_all(reports).map_err(failed)?;
    for attempt in 1..100 {
        let id = if attempt == 1 { base.clone() } else { format!("{base}-{attempt}") };
        let directory = reports.join(&id);
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok((id, directory)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(std::io::ErrorKind::AlreadyExists.into()))
}

/// Removes the directory of a run that measured nothing.
fn remove_if_nothing_was_measured(directory: &Path) {
    // `recover` needs the ledger of a fault that could not be undone.
    let ledger = directory.join(LEDGER_FILE);
    let ledger_is_open = ledger.exists() && !read_ledger(&ledger).is_ok_and(|state| state.over);
    let began = |entry: Result<JournalEntry, JournalError>| {
        // What can't be read may be a measurement.
        entry.map_or(true, |entry| matches!(entry.event, Event::PhaseStarted { .. }))
    };
    let measured = JournalReader::open(directory).is_ok_and(|mut entries| entries.any(began));
    if !measured && !ledger_is_open {
        let _still_there = std::fs::remove_file(directory.join(JOURNAL_FILE));
        let _never_there = std::fs::remove_file(ledger);
        let _still_there = std::fs::remove_dir(directory);
    }
}

/// Updates the link `reports/latest`, if the file system has symbolic links.
fn point_latest_at(reports: &Path, directory: &Path) {
    let Some(name) = directory.file_name() else { return };
    let latest = reports.join("latest");
    if latest.is_symlink() || !latest.exists() {
        let _gone = std::fs::remove_file(&latest);
        if let Err(error) = std::os::unix::fs::symlink(name, &latest) {
            tracing::debug!("no link {}: {error}", latest.display());
        }
    }
}

/// The shell command that repeats this run.
fn command(arguments: &RunArgs) -> String {
    let mut command = format!("cacheproof run {}", quoted(&arguments.scenario.to_string_lossy()));
    for set in &arguments.sets {
        command.push_str(&format!(" --set {}", quoted(set)));
    }
    for file in &arguments.proofs {
        command.push_str(&format!(" --proofs {}", quoted(&file.to_string_lossy())));
    }
    if arguments.reports != Path::new("reports") {
        command.push_str(&format!(" --reports {}", quoted(&arguments.reports.to_string_lossy())));
    }
    command
}

/// A word for a shell, in single quotes where it needs them.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_with_quotes_and_spaces_is_quoted_for_the_shell() {
        assert_eq!(quoted("traffic.rate=800/s"), "traffic.rate=800/s");
        assert_eq!(quoted(r#"phase."redis down".lasts=5s"#), r#"'phase."redis down".lasts=5s'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
