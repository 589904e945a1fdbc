//! Faults: what a scenario breaks on purpose, and how it is taken back.
//!
//! A fault's life: it is checked against what may be broken, what takes it back is written to the ledger (synced)
//! and told to the guard, it is injected, seen to have worked by a probe, held, undone, seen to be undone, and its
//! entry in the ledger is closed. Undo runs on every way out of a phase; what cacheproof's own death leaves open
//! is the guard's, and what both leave open is `cacheproof recover`'s.
//!
//! [`FaultEngine::live`] lives one fault of a phase through, round by round. Each kind of fault is an [`injector::FaultInjector`] in a
//! file of its own: it knows how to inject, how to see, how to undo.

mod active_faults;
mod admin_client;
mod command;
mod connection_owner;
mod engine;
mod error;
mod failover;
mod fill_clients;
mod fill_memory;
mod flush;
mod injector;
mod link;
mod partition;
mod prepare;
mod probe_connection;
mod process;
mod restart;

pub use engine::{FaultContext, FaultEngine, FaultTransition, InjectionGate, PhaseWindow};
pub use error::FaultError;
pub use injector::Observation;
