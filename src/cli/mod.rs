//! The commands, one file each, and the only room that prints.

mod attach;
pub mod check;
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
mod verdict_text;
#[cfg(feature = "reference-app")]
mod warm;

use clap::{Parser, Subcommand};

pub use exit::*;

/// Proves what a cache deployment does: hit rate, latency, fallback and freshness, measured on real servers.
#[derive(Debug, Parser)]
#[command(name = "cacheproof", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: bring servers and app up, drive them, break them, judge, write a report
    Run(run::RunArgs),
    /// Validate a scenario without starting anything
    Check(check::CheckArgs),
    /// Write a commented scenario for a running HTTP app
    Init(init::InitArgs),
    /// Say what this machine has and lacks
    Doctor,
    /// Render a run's report again from its journal, also after a crash
    Report(report::ReportArgs),
    /// Undo what runs left broken when cacheproof and its guard both died
    Recover(recover::RecoverArgs),
    /// Write a run's result into a Markdown story and tick the boxes of what was proved
    Attach(attach::AttachArgs),
    /// Start the reference app that scenarios test by default
    #[cfg(feature = "reference-app")]
    Serve(reference_app::ServeArgs),
    /// Put what will be read into the reference app's cache
    #[cfg(feature = "reference-app")]
    Warm(reference_app::WarmArgs),
    /// Cleans up when cacheproof dies; started by cacheproof itself
    #[command(hide = true)]
    Guard {
        /// The run's token
        token: String,
    },
}

/// Runs the program. Errors are printed here and nowhere else.
pub fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows where to print each.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Pass };
            let _closed_pipe = error.print();
            return exit.into();
        }
    };
    // Whole lines: a URL or a command that is broken in two can't be copied.
    let _set_once = miette::set_hook(Box::new(|error| {
        let options = miette::MietteHandlerOpts::new().wrap_lines(false).break_words(false);
        Box::new(if says_its_causes(error) { options.without_cause_chain() } else { options }.build())
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
        Command::Guard { token } => guard::guard(&token),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{:?}", failure.report);
            failure.exit.into()
        }
    }
}

/// Whether an error's message holds those of its causes, which then need no lines of their own.
fn says_its_causes(error: &(dyn miette::Diagnostic + 'static)) -> bool {
    let message = error.to_string();
    std::iter::successors(error.source(), |cause| cause.source()).all(|cause| message.contains(&cause.to_string()))
}

/// A runtime for a command that waits for the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(miette::miette!("can't start the async runtime: {error}")))
}
