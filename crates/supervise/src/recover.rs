//! What `cacheproof recover` does: ledgers that were left open are undone and closed. Again does no harm.

use std::path::{Path, PathBuf};

use super::addresses::Addresses;
use super::guard_process::clean_up_run;
use super::ledger::{self, LEDGER_FILE, LedgerEntry, LedgerState, read_ledger};

/// What became of one ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// What could not be done, a sentence each.
    pub failed: Vec<String>,
}

/// The ledgers in a directory of reports (or of one run) that were left open, with what they say; also those that can't
/// be read, which must not hide the others.
///
/// # Errors
/// When the directory can't be read.
pub fn find_open_ledgers(directory: &Path) -> std::io::Result<Vec<(PathBuf, std::io::Result<LedgerState>)>> {
    let mut paths = vec![directory.join(LEDGER_FILE)];
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // `latest` is one of the others.
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

/// Undoes what a ledger says is open, the last first, clears away what is left of its run, and closes it. For a run
/// whose cacheproof is gone. Blocks.
pub fn recover(path: &Path, left: &LedgerState) -> RecoveryReport {
    let mut recovered = RecoveryReport::default();
    // First, so that the user's command which broke something no longer runs when it is undone.
    if let Some(run) = &left.run {
        let directory = &run.directory;
        let was_there = directory.exists();
        if !is_of_run(&run.token, directory) {
            recovered.failed.push(format!("{} is no directory of a run", directory.display()));
        } else if let Err(why) = clean_up_run(run) {
            recovered.failed.push(why);
        } else if was_there {
            recovered.done.push(format!("cleared away what was left of the run in {}", directory.display()));
        }
    }
    for fault in left.open.iter().rev() {
        // Where they were is in no ledger: the URLs hold passwords.
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

/// Whether a ledger names what a guard makes: nothing else is ever deleted.
fn is_of_run(token: &str, directory: &Path) -> bool {
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
    fn only_a_directory_that_a_guard_made_is_ever_deleted() {
        assert!(is_of_run("ab12", Path::new("/tmp/cacheproof-ab12")));
        for (token, directory) in
            [("", "/tmp/cacheproof-"), ("ab12", "/home"), ("ab12", "cacheproof-ab12"), ("..", "/tmp/cacheproof-..")]
        {
            assert!(!is_of_run(token, Path::new(directory)), "{directory}");
        }
    }
}
