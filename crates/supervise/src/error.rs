//! Errors of the guard, each with what to do next.

/// Why a run has no guard, or was not cleaned up.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum GuardError {
    /// The guard process could not be started.
    #[error("can't start cacheproof's guard process: {0}")]
    #[diagnostic(help("the guard cleans up after a crash; see `cacheproof doctor` for the temporary directory"))]
    NotStarted(String),

    /// The guard could not remove or undo everything.
    #[error("the clean-up after the run is incomplete: {0}")]
    #[diagnostic(help("`cacheproof recover` undoes what is still broken"))]
    CleanupIncomplete(String),
}
