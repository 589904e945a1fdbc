//! `cacheproof recover [DIR]`: undoes the faults that a run left behind when cacheproof and its guard process were both
//! killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CommandResult, Exit, Failure, terminal};
use crate::supervise::{LedgerError, LedgerLock, LedgerState, find_open_ledgers, lock_ledger, read_ledger, recover};

/// How long to wait for a guard process that is still undoing. It gives up on a removal and on a command after one
/// minute each.
const GUARD_TIMEOUT: Duration = Duration::from_secs(150);

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// The reports directory, or the directory of one run
    #[arg(value_name = "DIR", default_value = "reports")]
    directory: PathBuf,
}

/// Finds open undo ledgers, undoes their entries and prints what was done.
///
/// # Errors
/// The directory can't be read, or something could not be undone.
pub fn run(arguments: &RecoverArgs) -> CommandResult {
    let open = open_ledgers_in(&arguments.directory).map_err(|error| {
        Failure::usage(miette::miette!(
            help = "name the directory with the reports: cacheproof recover DIR",
            "can't search {} for undo ledgers: {error}",
            arguments.directory.display()
        ))
    })?;
    let mut failed = 0;
    let mut still_running = 0;
    for (path, state) in &open {
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                failed += 1;
                terminal::print(&format!(
                    "{}: it can't be used, so nothing of its run was undone: {error}\n",
                    path.display()
                ));
                continue;
            }
        };
        if state.alive {
            still_running += 1;
            terminal::print(&format!("{}: its run is still going on; nothing was undone\n", path.display()));
            continue;
        }
        let Some(_lock) = wait_for_ledger(path) else {
            failed += 1;
            terminal::print(&format!(
                "{}: its guard is still at work; run `cacheproof recover` again later\n",
                path.display()
            ));
            continue;
        };
        // The previous holder of the lock may have undone some entries, or all.
        let now = match read_ledger(path) {
            Ok(now) => now,
            Err(error) => {
                failed += 1;
                terminal::print(&format!("{}: it can't be used any more: {error}\n", path.display()));
                continue;
            }
        };
        if now.over {
            terminal::print(&format!("{}: its guard has undone what was left\n", path.display()));
            continue;
        }
        let recovered = recover(path, &now);
        failed += recovered.failed.len();
        if recovered.done.is_empty() && recovered.failed.is_empty() {
            terminal::print(&format!("{}: nothing was left to undo\n", path.display()));
        }
        for done in &recovered.done {
            terminal::print(&format!("{}: {done}\n", path.display()));
        }
        for why in recovered.failed.iter().chain(&recovered.by_hand) {
            terminal::print(&format!("{}: {why}\n", path.display()));
        }
    }
    if failed > 0 {
        return Err(Failure::environment(miette::miette!(
            help = "fix the cause and run `cacheproof recover` again, or undo it by hand and delete the ledger",
            "{failed} of the above could not be read or undone"
        )));
    }
    if open.len() == still_running {
        terminal::print(&format!("nothing is left to undo in {}\n", arguments.directory.display()));
    }
    Ok(Exit::Pass)
}

/// Locks the ledger; waits for a guard process that holds the lock. `None` after [`GUARD_TIMEOUT`].
fn wait_for_ledger(path: &Path) -> Option<LedgerLock> {
    let start = Instant::now();
    let mut announced = false;
    loop {
        if let Some(lock) = lock_ledger(path) {
            return Some(lock);
        }
        if start.elapsed() > GUARD_TIMEOUT {
            return None;
        }
        if !announced {
            terminal::print(&format!(
                "{}: its guard is still at work; waiting for it, at most {} s\n",
                path.display(),
                GUARD_TIMEOUT.as_secs()
            ));
        }
        announced = true;
        std::thread::sleep(Duration::from_millis(100));
    }
}

type OpenLedgers = Vec<(PathBuf, Result<LedgerState, LedgerError>)>;

/// The open ledgers. A missing directory has none if it is the default.
fn open_ledgers_in(directory: &Path) -> std::io::Result<OpenLedgers> {
    match find_open_ledgers(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory == Path::new("reports") => {
            Ok(Vec::new())
        }
        found => found,
    }
}

/// For `doctor`: a sentence about open ledgers in ./reports whose runs have ended; `None` without any.
pub(super) fn open_ledgers_notice() -> Option<String> {
    let open = open_ledgers_in(Path::new("reports"))
        .ok()?
        .into_iter()
        .filter(|(_, state)| !state.as_ref().is_ok_and(|state| state.alive))
        .count();
    match open {
        0 => None,
        1 => Some("a run in reports/ left something behind: `cacheproof recover` undoes and removes it".into()),
        count => {
            Some(format!("{count} runs in reports/ left something behind: `cacheproof recover` undoes and removes it"))
        }
    }
}
