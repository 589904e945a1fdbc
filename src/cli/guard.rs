//! `cacheproof guard TOKEN [LEDGER]`, hidden: the child process that cleans up after a crash of cacheproof. The two talk over
//! stdin and stdout; see [`crate::supervise`].

use std::path::Path;

use super::{CommandResult, Exit, Failure};
use crate::supervise::run_guard_process;

/// Runs the guard process until stdin is closed.
pub fn guard(token: &str, ledger: Option<&Path>) -> CommandResult {
    // The token is used as the name of a directory.
    if token.is_empty() || !token.chars().all(|letter| letter.is_ascii_hexdigit()) {
        return Err(Failure::usage(miette::miette!("`cacheproof guard` is for internal use: cacheproof starts it")));
    }
    match run_guard_process(token, ledger, std::io::stdin(), std::io::stdout()) {
        Ok(true) => Ok(Exit::Pass),
        Ok(false) => Err(Failure::environment(miette::miette!("the clean-up of the run {token} is not complete"))),
        Err(error) => Err(Failure::environment(miette::miette!("the guard process failed: {error}"))),
    }
}
