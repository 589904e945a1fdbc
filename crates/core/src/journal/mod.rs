//! The journal of a run: its [`Event`]s, one JSON line each, written by an [`EventSink`] and read back whole.
//!
//! Terminal, verdict and report all read these events and nothing else, so they cannot disagree.

mod event;
mod event_sink;
mod file;
mod freshness;
mod histogram;
mod kinds;
mod pulse;

pub use event::*;
pub use event_sink::*;
pub use file::*;
pub use freshness::*;
pub use histogram::*;
pub use kinds::*;
pub use pulse::{Pulse, PulseCell};
