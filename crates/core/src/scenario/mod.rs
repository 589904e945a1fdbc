//! What the user writes: the scenario file, its types, its parser and its diagnostics.
//!
//! The only I/O here is reading the scenario file.
//! [`parse`] turns text into a [`Scenario`] in which everything is checked: names resolve, units are right, and every
//! rule is about something that the scenario does. docs/scenario.md is the reference.

mod body;
mod display;
mod evidence;
mod facts;
mod fault;
mod fault_text;
mod freshness;
mod grammar;
mod hit_words;
mod item;
mod load;
mod metric_name;
mod model;
mod overrides;
mod parse;
mod parse_evidence;
mod parse_fault;
mod parse_freshness;
mod parse_safety;
mod parse_servers;
mod parse_target;
mod parse_timeline;
mod parse_traffic;
mod problem;
mod reader;
mod requirements;
mod resolve;
mod rule;
mod safety;
mod schema;
mod secret_comments;
mod secrets;
mod servers;
mod slips;
mod target;
#[cfg(test)]
mod tests;
mod traffic;
mod value_span;
mod variables;

pub use crate::metrics::{Metric, Quantity, QuantityError};
pub use crate::secrets::mask_passwords;
pub use body::BodyKind;
pub use evidence::EvidenceSpec;
pub use fault::*;
pub use freshness::*;
pub use item::ItemAddress;
pub use load::{LoadedScenario, load};
pub use model::*;
pub use parse::parse;
pub use parse_traffic::placeholders;
pub use problem::{Problem, ScenarioErrors};
pub use rule::*;
pub use safety::*;
pub use secrets::strike_out_of_file;
pub use servers::*;
pub use target::*;
pub use traffic::*;
pub use variables::{VariableError, resolve_env};
