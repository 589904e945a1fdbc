//! Faults: what a scenario breaks on purpose, and how it is undone.
//!
//! The steps of a fault: its victim is found and checked against what the scenario allows; its undo is written to the undo
//! ledger, synced, and sent to the guard process; it is injected; a probe confirms the effect; it stays active; it is
//! undone and its ledger entry closed; a probe confirms the recovery. A phase undoes its faults however it ends. If
//! cacheproof is killed, the guard process undoes them; if both are killed, `cacheproof recover` does.
//!
//! `schedule` runs these steps for one fault of a phase, in every round of it. [`FaultEngine`] gives it the victim (found by `prepare`),
//! the ledger and the guard process.
//! Each kind of fault is an `injector::FaultInjector` in a file of its own.

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
mod schedule;
#[cfg(test)]
pub(crate) mod scripted;

pub use engine::{FaultContext, FaultEngine};
pub use error::FaultError;
pub(crate) use schedule::{FaultEnvironment, run_fault};
pub use schedule::{FaultTransition, InjectionGate, PhaseWindow};
