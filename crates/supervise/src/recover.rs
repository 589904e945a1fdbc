//! `cacheproof recover`: finds ledgers that were left open, undoes what is in them, and closes them. Safe to repeat.

use std::path::{Path, PathBuf};

use crate::addresses::Addresses;
use crate::guard_process::clean_up_run;
use crate::ledger::{self, LEDGER_FILE, LedgerEntry, LedgerState, read_ledger};

/// What [`recover()`] did about one ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// What could not be done, a sentence each.
    pub failed: Vec<String>,
}

/// The open ledgers in a directory of reports or of one run, with what they hold. A ledger that can't be read is listed with
/// its error, so that it does not hide the others.
///
/// # Errors
/// When the directory can't be read.
pub fn find_open_ledgers(directory: &Path) -> std::io::Result<Vec<(PathBuf, std::io::Result<LedgerState>)>> {
    let mut paths = vec![directory.join(LEDGER_FILE)];
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // `latest` is a link to one of the others.
        if !path.is_symlink() {
            paths.push(path.join(LEDGER_FILE));
        }
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths.into_iter().filter(|path| path.is_file()) {
        let left = read_ledger(&path);
        if !left.as_ref().is_ok_and(|left| left.over) {
            found.push((path, left));
        }
    }
    Ok(found)
}

/// Undoes the open faults of a ledger, the last one first, removes what is left of its run, and closes it. Only for a run whose
/// cacheproof has ended. Blocks.
pub fn recover(path: &Path, left: &LedgerState) -> RecoveryReport {
    let mut recovered = RecoveryReport::default();
    // Before the undo: a command that injects a fault must not run on while the fault is undone.
    if let Some(run) = &left.run {
        let directory = &run.directory;
        let existed = directory.exists();
        if !is_run_directory(&run.token, directory) {
            recovered
                .failed
                .push(format!("{} is not the directory of a run, so it was not deleted", directory.display()));
        } else if let Err(why) = clean_up_run(run) {
            recovered.failed.push(why);
        } else if existed {
            recovered.done.push(format!("removed what was left of the run in {}", directory.display()));
        }
    }
    for fault in left.open.iter().rev() {
        // The ledger does not hold the addresses, because their URLs hold passwords.
        match fault.undo.perform(&Addresses::default()) {
            Ok(how) => {
                recovered.done.push(format!("'{}' is undone: {how}", fault.what));
                let how = format!("by recover: {how}");
                ledger::append_to(path, [LedgerEntry::Closed { id: fault.id, how }]);
            }
            Err(why) => recovered.failed.push(format!("'{}' could not be undone: {why}", fault.what)),
        }
    }
    if recovered.failed.is_empty() {
        ledger::append_to(path, [LedgerEntry::Over]);
    }
    recovered
}

/// Whether this is a directory as a guard makes it. Nothing else is deleted, whatever the ledger names.
fn is_run_directory(token: &str, directory: &Path) -> bool {
    !token.is_empty()
        && token.chars().all(|letter| letter.is_ascii_hexdigit())
        && directory.is_absolute()
        && directory.file_name().is_some_and(|name| name.to_str() == Some(&format!("cacheproof-{token}")))
        && !directory.is_symlink()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_that_a_guard_made_is_deleted() {
        assert!(is_run_directory("ab12", Path::new("/tmp/cacheproof-ab12")));
        for (token, directory) in
            [("", "/tmp/cacheproof-"), ("ab12", "/home"), ("ab12", "cacheproof-ab12"), ("..", "/tmp/cacheproof-..")]
        {
            assert!(!is_run_directory(token, Path::new(directory)), "{directory}");
        }
    }
}
