//! What outlives a run of cacheproof: the guard process that cleans up when cacheproof dies, the ledger of what must be
//! undone, and `cacheproof recover`, which reads it.

mod addresses;
pub mod docker;
mod error;
mod guard;
mod guard_process;
mod ledger;
mod process;
mod recover;
mod undo;
mod undo_record;

pub use addresses::Addresses;
pub use error::SuperviseError;
pub use guard::{COMMAND_VARIABLE, Guard, GuardHandle, RUN_LABEL, RUN_VARIABLE};
pub use guard_process::run_guard_process;
pub use ledger::{
    LEDGER_FILE, Ledger, LedgerEntry, LedgerLine, LedgerLock, LedgerRun, LedgerState, OpenFault, lock_ledger,
    read_ledger,
};
pub use process::{Process, has_proc, is_process_alive, kill_by_environment, signal_group};
pub use recover::{RecoveryReport, find_open_ledgers, recover};
pub use undo::{undo_container, undo_process};
pub use undo_record::Undo;
