//! What the user writes: the scenario file, its types, its parser and its diagnostics.
//!
//! This room does no other I/O than reading the file it is given. [`parse`] turns text into a [`Scenario`]
//! in which everything is already checked: names resolve, units are right, every rule speaks of something
//! the scenario does.

mod model;
mod quantity;
mod rule;

pub use model::*;
pub use quantity::*;
pub use rule::*;
