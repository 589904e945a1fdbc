//! Exit codes: the one table. README's table is this one; a test holds them together.

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every criterion was proved, or the command did what it was asked.
    Pass = 0,
    /// A rule failed.
    RulesFailed = 1,
    /// Bad arguments or scenario; nothing was started.
    Usage = 2,
    /// Servers or app did not come up, or died unasked; or the report could not be written.
    Environment = 3,
    /// Nothing was proved either way: too few samples, a saturated generator, not steady before the first fault, given up.
    Inconclusive = 4,
    /// Stopped by the user, after undo and clean-up.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that could not do what it was asked: one message for the user, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What to tell the user, with what to do about it.
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

/// What a command gives back to `main`.
pub type CommandResult = Result<Exit, Failure>;
