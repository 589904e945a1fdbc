//! Faults: what a scenario breaks on purpose, and how it is taken back.
//!
//! A fault's life: it is checked against what may be broken, what takes it back is written to the ledger (synced)
//! and told to the guard, it is injected, seen to have worked by a probe, held, undone, seen to be undone, and its
//! entry in the ledger is closed. Undo runs on every way out of a phase; what cacheproof's own death leaves open
//! is the guard's, and what both leave open is `cacheproof recover`'s.
//!
//! [`Engine::live`] lives one fault of a phase through, round by round. Each kind of fault is an [`act::Act`] in a
//! file of its own: it knows how to inject, how to see, how to undo.

mod act;
mod clients;
mod command;
mod engine;
mod error;
mod failover;
mod flush;
mod holds;
mod line;
mod link;
mod memory;
mod partition;
mod peers;
mod prepare;
mod process;
mod restart;
mod says;

pub use act::Sight;
pub use engine::{Engine, Gate, Ground, Step, Times};
pub use error::FaultError;
