//! What the user writes: the scenario file, its types, its parser and its diagnostics.
//!
//! This room does no other I/O than reading the file it is given (and, for [`check_proofs`], the tests that it
//! names). [`parse`] turns text into a [`Scenario`] in which everything is already checked: names resolve,
//! units are right, every rule speaks of something the scenario does. docs/scenario.md is the reference.

mod display;
mod fault;
mod fault_text;
mod freshness;
mod grammar;
mod load;
mod model;
mod overrides;
mod parse;
mod parse_fault;
mod parse_freshness;
mod parse_safety;
mod parse_servers;
mod parse_target;
mod parse_timeline;
mod parse_traffic;
mod problem;
mod proofs;
mod quantity;
mod reader;
mod resolve;
mod rule;
mod safety;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;

pub use fault::*;
pub use freshness::*;
pub use load::{LoadedScenario, load};
pub use model::*;
pub use parse::parse;
pub use parse_traffic::placeholders;
pub use problem::{Problem, ScenarioErrors};
pub use proofs::check_proofs;
pub use quantity::*;
pub use rule::*;
pub use safety::*;
pub use secrets::{MissingVariables, mask_passwords, resolve_env};
