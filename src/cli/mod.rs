//! The commands, one file each, and the only room that prints.

mod exit;

pub use exit::*;
