//! What outlives a run of cacheproof: the guard process that cleans up when cacheproof dies, the ledger of what must be
//! undone, and `cacheproof recover`, which reads it.

mod addresses;
pub mod docker;
mod error;
mod guard;
mod guard_duty;
mod ledger;
mod process;
mod recover;
mod take_back;
mod undo;

pub use addresses::Addresses;
pub use error::SuperviseError;
pub use guard::{COMMAND_VARIABLE, Guard, RUN_LABEL, RUN_VARIABLE, Watch};
pub use guard_duty::stand_guard;
pub use ledger::{
    Hold, LEDGER_FILE, Ledger, LedgerEntry, LedgerLine, LeftLedger, LeftRun, OpenFault, hold_ledger, read_ledger,
};
pub use process::{Process, has_proc, kill_marked, process_lives, signal_group};
pub use recover::{Recovered, ledgers, recover};
pub use take_back::Undo;
pub use undo::{undo_container, undo_process};
