//! The table of exit codes. `cacheproof --help` shows it, and a test compares it with the table in the README.

use std::fmt::Write as _;

/// How a command ends. See [`Exit::meaning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Pass = 0,
    /// A rule failed.
    RulesFailed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The environment failed.
    Environment = 3,
    /// Neither proved nor disproved.
    Inconclusive = 4,
    /// Stopped by the user.
    Interrupted = 130,
}

impl Exit {
    /// All exit codes.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::RulesFailed, Self::Usage, Self::Environment, Self::Inconclusive, Self::Interrupted];

    /// What the exit code of `cacheproof run` means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Pass => {
                "pass: every rule held, no test named in `proved_by` failed, and there was no wrong answer or lost update that \
                 no rule covers; a test without a result counts neither for nor against the run"
            }
            Self::RulesFailed => {
                "a rule failed, a test named in `proved_by` did, or there was a wrong answer or lost update that no rule covers"
            }
            Self::Usage => "bad arguments or scenario; nothing was started",
            Self::Environment => {
                "the environment failed: servers or app did not start, or died unexpectedly, or the verdict or the report could not be \
                 written"
            }
            Self::Inconclusive => {
                "inconclusive, for example: too few samples, a saturated load generator, a fault without an observed effect, a \
                 system that was not steady before the first fault or after the last, a run aborted by `[safety]`, only claimed \
                 criteria (their tests, named in `proved_by`, have no result)"
            }
            Self::Interrupted => "interrupted, after undo and clean-up",
        }
    }

    /// The table for `--help`.
    pub(super) fn help() -> String {
        let mut text = String::from("Exit codes:");
        for exit in Self::ALL {
            let first = format!("  {:<5}", exit as u8);
            let options = textwrap::Options::new(100).initial_indent(&first).subsequent_indent("       ");
            let _infallible = write!(text, "\n{}", textwrap::fill(exit.meaning(), options));
        }
        text
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed: the message for the user, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, and what to do about it.
    pub report: miette::Report,
}

impl Failure {
    /// Bad arguments or scenario.
    pub fn usage(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Usage, report: report.into() }
    }

    /// The environment failed.
    pub fn environment(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Environment, report: report.into() }
    }
}

/// The result of a command.
pub type CommandResult = Result<Exit, Failure>;
