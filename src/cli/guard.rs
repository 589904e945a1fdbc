//! `cacheproof guard TOKEN`, hidden: the child process that cleans up after a crash. It speaks a small protocol
//! on stdin and stdout with the cacheproof that started it; see [`crate::stack`].

use super::{CommandResult, Exit, Failure};
use crate::supervise::run_guard_process;

/// Stands guard until stdin ends.
pub fn guard(token: &str) -> CommandResult {
    // The token becomes a directory's name.
    if token.is_empty() || !token.chars().all(|letter| letter.is_ascii_hexdigit()) {
        return Err(Failure::usage(miette::miette!("the guard is started by cacheproof itself, not by hand")));
    }
    match run_guard_process(token, std::io::stdin(), std::io::stdout()) {
        Ok(true) => Ok(Exit::Pass),
        Ok(false) => Err(Failure::environment(miette::miette!("something of the run {token} is left behind"))),
        Err(error) => Err(Failure::environment(miette::miette!("can't stand guard: {error}"))),
    }
}
