//! Why a fault could not be injected or undone.

use crate::app::TargetError;
use cacheproof_stack::StackError;

/// Why a fault could not be injected or undone.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FaultError {
    /// On a server.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stack(#[from] StackError),
    /// On the app.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    /// The ledger could not be written, so nothing was injected.
    #[error("can't write the undo ledger: {0}")]
    #[diagnostic(help(
        "no fault is injected before its undo is on disk: free some space, or use another --reports directory"
    ))]
    Ledger(#[source] std::io::Error),
    /// The victim does not exist in this run, or may not be broken.
    #[error("{what} is not allowed: {why}")]
    #[diagnostic(help("{help}"))]
    NotAllowed {
        /// The fault.
        what: String,
        /// Why not.
        why: String,
        /// What to write in the scenario.
        help: String,
    },
    /// There is no victim at the moment.
    #[error("there is nothing to break: {0}")]
    #[diagnostic(help("check what the other faults of this phase do to it"))]
    NoTarget(String),
    /// A server rejected a command or did not answer.
    #[error("{victim}: {what} failed: {why}")]
    #[diagnostic(help("the message above says why the server refused"))]
    Refused {
        /// Which server.
        victim: String,
        /// What was tried: a command, `connecting`…
        what: String,
        /// Its error.
        why: String,
    },
    /// It could not be injected, and the part that was done could not be undone.
    #[error("{cause}; and it could not be undone: {undo}")]
    #[diagnostic(help("`cacheproof recover` tries again"))]
    InjectAndUndoFailed {
        /// Why it could not be injected.
        cause: Box<FaultError>,
        /// Why it could not be undone.
        undo: Box<FaultError>,
    },
    /// The user's own command failed.
    #[error("the command `{command}` {how}")]
    #[diagnostic(help("a command must end with exit status 0; run it by hand to see what is wrong"))]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        how: String,
    },
}
