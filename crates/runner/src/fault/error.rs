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
    /// The ledger could not be written, so nothing was broken.
    #[error("can't write the undo ledger: {0}")]
    #[diagnostic(help(
        "nothing is broken before what takes it back is on the disk: free some space, or give another --reports directory"
    ))]
    Ledger(#[source] std::io::Error),
    /// The scenario names nobody to break, or nobody that may be broken.
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
    /// There is nobody to break at the moment.
    #[error("there is nothing to break: {0}")]
    #[diagnostic(help("look at what the other faults of this phase do to it"))]
    NoTarget(String),
    /// A server did not do what it was told.
    #[error("{victim} could not be told to {what}: {why}")]
    #[diagnostic(help("look at the message above"))]
    Refused {
        /// Which server.
        victim: String,
        /// What it was told.
        what: String,
        /// What it said.
        why: String,
    },
    /// It could not be injected, nor could be taken back what was done of it.
    #[error("{cause}; and what was done of it could not be taken back: {undo}")]
    #[diagnostic(help("`cacheproof recover` tries again"))]
    InjectAndUndoFailed {
        /// Why it could not be injected.
        cause: Box<FaultError>,
        /// Why it could not be taken back.
        undo: Box<FaultError>,
    },
    /// The user's own command failed.
    #[error("the command `{command}` {how}")]
    #[diagnostic(help("a command must end with exit status 0; run it by hand to see what it lacks"))]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        how: String,
    },
}
