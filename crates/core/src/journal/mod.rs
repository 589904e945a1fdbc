//! The journal of a run: its [`Event`]s, one JSON line each, written by an [`EventSink`] and read back by a
//! [`JournalReader`], which checks each line.
//!
//! Terminal, verdict and report all read these events and nothing else, so they cannot disagree.

mod buckets;
mod check;
mod event;
mod event_sink;
mod faults;
mod file;
mod freshness;
mod histogram;
mod kinds;
mod proofs;
mod reader;
mod responses;
mod run;
mod servers;
mod slices;

pub use check::Outline;
pub use event::*;
pub use event_sink::*;
pub use faults::*;
pub use file::*;
pub use freshness::*;
pub use histogram::*;
pub use kinds::*;
pub use proofs::*;
pub use reader::*;
pub use responses::*;
pub use run::*;
pub use servers::*;
pub use slices::*;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
