//! What can go wrong with the guard and with Docker, in one message each, with what to do next.

/// Why a run could not be guarded, or cleared away.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SuperviseError {
    /// The guard could not be started.
    #[error("can't start cacheproof's guard process: {0}")]
    #[diagnostic(help("the guard cleans up after a crash; see `cacheproof doctor` for the temporary directory"))]
    Guard(String),

    /// The guard could not clear everything away.
    #[error("something of the run is left: {0}")]
    #[diagnostic(help("`cacheproof recover` undoes what is left broken"))]
    CleanupIncomplete(String),

    /// Docker does not answer.
    #[error("Docker does not answer: {0}")]
    #[diagnostic(help("start Docker, or set provider = \"local\" (or \"auto\") in the scenario's [stack]"))]
    NoDocker(String),

    /// Docker refused something.
    #[error("Docker can't {what}: {why}")]
    #[diagnostic(help("look at `docker ps -a`, or set provider = \"local\" in the scenario's [stack]"))]
    Docker {
        /// What was asked of it.
        what: String,
        /// What it said.
        why: String,
    },
}
