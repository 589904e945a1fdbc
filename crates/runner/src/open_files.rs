//! How many files a run may have open, and whether that is enough for its connections.

use cacheproof_core::scenario::{LoadModel, Scenario};
use cacheproof_supervise::raise_open_files;

/// Files of cacheproof itself: journal, logs, pipes, connections to the servers, its own reads.
const OWN_FILES: u64 = 64;

/// Files for each connection of the load: itself, and two sockets in a proxy for each of two servers that the app may ask.
const FILES_FOR_A_CONNECTION: u64 = 5;

/// The run may open too few files.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(
    "cacheproof may have only {limit} files open, and this run needs {needed}: {connections} for the connections of its load, and \
     {OWN_FILES} of its own"
)]
#[diagnostic(help("raise the limit: `ulimit -n 4096`; or lower traffic.connections (or users)"))]
pub struct TooFewFiles {
    limit: u64,
    needed: u64,
    connections: u64,
}

/// Raises this process's limit on open files as far as the run may need it and the system allows.
///
/// # Errors
/// Even the connections of the load do not fit. That the app's connections fit as well cannot be known before the run.
pub(super) fn allow_open_files(scenario: &Scenario) -> Result<(), TooFewFiles> {
    let connections = match scenario.traffic.load_model {
        LoadModel::Open { connections, .. } => connections,
        LoadModel::Closed { users } => users,
    };
    let connections = connections as u64;
    check(connections, raise_open_files(OWN_FILES * 4 + FILES_FOR_A_CONNECTION * connections))
}

fn check(connections: u64, limit: Option<u64>) -> Result<(), TooFewFiles> {
    let needed = connections + OWN_FILES;
    match limit {
        Some(limit) if limit < needed => Err(TooFewFiles { limit, needed, connections }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_connections_do_not_fit_is_refused_with_the_numbers() {
        assert!(check(64, Some(128)).is_ok());
        assert!(check(64, None).is_ok());
        let error = check(64, Some(127)).unwrap_err().to_string();
        assert!(error.contains("only 127 files open") && error.contains("needs 128"), "{error}");
    }
}
