//! What must still work when cacheproof itself has crashed: undoing faults and removing what a run started.
//!
//! - [`Guard`] starts the guard process, a child that waits for cacheproof's end and then cleans up after the run.
//!   [`run_guard_process`] is what that child runs.
//! - [`Ledger`] writes the undo ledger, `faults.ndjson` in the run's directory. Each fault is in it before it is injected.
//! - [`recover()`] reads a ledger that was left open and undoes what is in it, for `cacheproof recover`.
//! - [`Undo`] says how one fault is undone; [`Process`] and [`docker`] are how processes and containers are found and ended.
//!
//! Start reading at [`Guard`], then `guard_process.rs`.

mod addresses;
pub mod docker;
mod error;
mod guard;
mod guard_message;
mod guard_process;
mod ledger;
mod machine;
mod markers;
mod process;
mod recover;
mod run_identity;
mod tail;
mod undo;

pub use addresses::Addresses;
pub use docker::DockerError;
pub use error::GuardError;
pub use guard::{Guard, GuardHandle};
pub use guard_process::run_guard_process;
pub use ledger::{
    LEDGER_FILE, Ledger, LedgerEntry, LedgerError, LedgerLine, LedgerLock, LedgerRun, LedgerState, OpenFault,
    UnreadableLine, lock_ledger, read_ledger, strike_out_of_ledger,
};
pub use machine::Machine;
pub use markers::{COMMAND_VARIABLE, RUN_LABEL, RUN_VARIABLE};
pub use process::{
    Process, Relatives, all_processes, has_environment, has_proc, is_process_alive, kill_by_environment,
    max_open_files, most_open_files, raise_open_files, signal_group, with_descendants_and_groups,
};
pub use recover::{RecoveryReport, find_open_ledgers, recover};
pub use run_identity::RunIdentity;
pub use tail::read_tail;
pub use undo::{Undo, shell_command};
