//! The commands, one file each. Only this module prints.
//!
//! Each command returns a [`CommandResult`]; [`main`] prints the error and turns the result into the exit code. The exit
//! codes are the table [`Exit`].

mod attach;
pub mod check;
mod detected;
mod doctor;
mod exit;
mod guard;
pub mod init;
mod logging;
mod probe;
mod progress;
mod recover;
mod report;
mod run;
mod scenario_template;
#[cfg(feature = "reference-app")]
mod serve;
mod silence_stdout;
mod stop;
mod terminal;
mod verdict_text;
#[cfg(feature = "reference-app")]
mod warm;

use clap::{Parser, Subcommand};

use crate::secrets::mask_passwords;

pub use exit::*;

/// Proves what a cache deployment does: hit rate, latency, fallback and freshness, measured on real servers.
#[derive(Debug, Parser)]
#[command(name = "cacheproof", version, max_term_width = 100, after_help = Exit::help())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: start servers and app, send load, inject faults, judge the rules, write a report
    Run(run::RunArgs),
    /// Find mistakes in a scenario; nothing is started
    Check(check::CheckArgs),
    /// Write a scenario with comments for an HTTP app that is running
    Init(init::InitArgs),
    /// List what this machine has and what is missing
    Doctor,
    /// Make a run's report again from its journal (events.jsonl), even after a crash
    Report(report::ReportArgs),
    /// Undo and remove what a run left behind when cacheproof and its guard process were both killed
    Recover(recover::RecoverArgs),
    /// Write a run's result into a story (a Markdown file) and tick the checkboxes of proved criteria
    Attach(attach::AttachArgs),
    /// Start the reference app that scenarios test by default
    #[cfg(feature = "reference-app")]
    Serve(reference_app::ServeArgs),
    /// Fill the reference app's cache before the first requests
    #[cfg(feature = "reference-app")]
    Warm(reference_app::WarmArgs),
    /// Cleans up when cacheproof dies; started by cacheproof itself
    #[command(hide = true)]
    Guard {
        /// The run's token
        token: String,
        /// The run's undo ledger
        ledger: Option<std::path::PathBuf>,
    },
}

/// Runs the program. Errors are printed here and nowhere else.
pub fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap returns help and version as errors, too, and prints them to stdout.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Pass };
            // An argument that it repeats may hold a password. Only then its colors are lost.
            let text = error.render().to_string();
            if mask_passwords(&text) != text && error.use_stderr() {
                terminal::print_error(&text);
            } else if error.use_stderr() {
                let _closed = error.print();
            } else {
                terminal::note_output(error.print());
            }
            return end_with(exit).into();
        }
    };
    // No line breaks: a URL or a command that is broken in two can't be copied.
    let _set_once = miette::set_hook(Box::new(|error| {
        let options = miette::MietteHandlerOpts::new().wrap_lines(false).break_words(false);
        Box::new(if message_contains_causes(error) { options.without_cause_chain() } else { options }.build())
    }));
    logging::start();
    let result = match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        Command::Doctor => doctor::doctor(),
        Command::Report(arguments) => report::run(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::Attach(arguments) => attach::run(&arguments),
        #[cfg(feature = "reference-app")]
        Command::Serve(arguments) => serve::run(arguments),
        #[cfg(feature = "reference-app")]
        Command::Warm(arguments) => warm::run(arguments),
        Command::Guard { token, ledger } => guard::guard(&token, ledger.as_deref()),
    };
    match result {
        Ok(exit) => end_with(exit).into(),
        Err(failure) => {
            terminal::print_error(&format!("{:?}\n", failure.report));
            failure.exit.into()
        }
    }
}

/// The exit code of a command that has done its work: what nobody could read is no success.
fn end_with(exit: Exit) -> Exit {
    let Some(error) = terminal::output_failure() else { return exit };
    terminal::print_error(&format!("can't write to standard output, so some of it is missing: {error}\n"));
    if exit == Exit::Pass { Exit::Environment } else { exit }
}

/// Whether an error's message contains the messages of all its causes. Then they are not printed again.
fn message_contains_causes(error: &(dyn miette::Diagnostic + 'static)) -> bool {
    let message = error.to_string();
    std::iter::successors(error.source(), |cause| cause.source()).all(|cause| message.contains(&cause.to_string()))
}

/// The async runtime of a command.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(miette::miette!("can't start the async runtime: {error}")))
}
