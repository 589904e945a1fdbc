//! The commands, one file each, and the only room that prints.

mod doctor;
mod exit;
mod guard;

pub use exit::*;

use clap::{Parser, Subcommand};

/// Proves what a cache deployment does.
#[derive(Debug, Parser)]
#[command(name = "cacheproof", version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what this machine has and lacks for running cacheproof.
    Doctor,
    /// Cleans up when cacheproof dies; started by cacheproof itself.
    #[command(hide = true)]
    Guard {
        /// The run's token.
        token: String,
    },
}

/// Does what the arguments say. Called before any thread or signal handler exists.
///
/// # Errors
/// The message for the user and the exit code.
pub fn run(arguments: Arguments) -> CommandResult {
    match arguments.command {
        Command::Doctor => doctor::doctor(),
        Command::Guard { token } => guard::guard(&token),
    }
}
