//! The table of exit codes. A test compares it with the table in the README.

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every criterion was proved, or the command succeeded.
    Pass = 0,
    /// A rule failed.
    RulesFailed = 1,
    /// Bad arguments or scenario; nothing was started.
    Usage = 2,
    /// Servers or app did not start, or died unexpectedly; or the report could not be written.
    Environment = 3,
    /// Neither proved nor disproved: too few samples, a saturated load generator, a system that was not steady before the
    /// first fault, a run aborted by `[safety]`.
    Inconclusive = 4,
    /// Stopped by the user, after undo and clean-up.
    Interrupted = 130,
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
