//! The commands, one file each, and the only room that prints.

pub mod check;
mod exit;
pub mod init;
mod probe;
mod starter;

pub use exit::*;
