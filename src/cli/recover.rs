//! `cacheproof recover [DIR]`: undoes what runs left broken when cacheproof and its guard both died.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CommandResult, Exit, Failure};
use crate::supervise::{LedgerLock, LedgerState, find_open_ledgers, lock_ledger, read_ledger, recover};

/// How long to wait for a guard that is still at work: it gives up on what it can't remove, and on a command, after a
/// minute each.
const GUARD_TIMEOUT: Duration = Duration::from_secs(150);

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// Where the reports are, or the directory of one run
    #[arg(default_value = "reports")]
    directory: PathBuf,
}

/// Looks for undo ledgers that were left open, undoes what stands in them, and tells.
///
/// # Errors
/// When the directory can't be read, or something could not be undone.
pub fn run(arguments: &RecoverArgs) -> CommandResult {
    let open = open_ledgers_in(&arguments.directory).map_err(|error| {
        Failure::usage(miette::miette!(
            help = "name the directory that holds the reports: cacheproof recover DIR",
            "can't look for undo ledgers in {}: {error}",
            arguments.directory.display()
        ))
    })?;
    let mut failed = 0;
    let mut left_alone = 0;
    for (path, left) in &open {
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                failed += 1;
                println!("{}: it can't be read, so nothing of its run was undone: {error}", path.display());
                continue;
            }
        };
        if left.alive {
            left_alone += 1;
            println!("{}: its run still goes on; left alone", path.display());
            continue;
        }
        let Some(_held) = wait_for_ledger(path) else {
            failed += 1;
            println!("{}: its guard is still at work; call `cacheproof recover` again when it is done", path.display());
            continue;
        };
        // Whoever held it has undone some of it, or all.
        let now = read_ledger(path).unwrap_or_else(|_| left.clone());
        if now.over {
            println!("{}: its guard has undone what was left", path.display());
            continue;
        }
        let recovered = recover(path, &now);
        failed += recovered.failed.len();
        if recovered.done.is_empty() && recovered.failed.is_empty() {
            println!("{}: nothing was left", path.display());
        }
        for done in &recovered.done {
            println!("{}: {done}", path.display());
        }
        for why in &recovered.failed {
            println!("{}: {why}", path.display());
        }
    }
    if failed > 0 {
        return Err(Failure::environment(miette::miette!(
            help = "mend what hinders it and call `cacheproof recover` again, or undo it by hand",
            "{failed} of the things above could not be undone"
        )));
    }
    if open.len() == left_alone {
        println!("nothing is left to undo in {}", arguments.directory.display());
    }
    Ok(Exit::Pass)
}

/// The ledger for ourselves; waits for a guard that works on it. `None` when that takes too long.
fn wait_for_ledger(path: &Path) -> Option<LedgerLock> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        if let Some(held) = lock_ledger(path) {
            return Some(held);
        }
        if begun.elapsed() > GUARD_TIMEOUT {
            return None;
        }
        if !told {
            println!(
                "{}: its guard is still at work; waiting for it, at most {} s",
                path.display(),
                GUARD_TIMEOUT.as_secs()
            );
        }
        told = true;
        std::thread::sleep(Duration::from_millis(100));
    }
}

type OpenLedgers = Vec<(PathBuf, std::io::Result<LedgerState>)>;

/// Ledgers that were left open. A directory that is not there has none, if nobody asked for it by name.
fn open_ledgers_in(directory: &Path) -> std::io::Result<OpenLedgers> {
    match find_open_ledgers(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory == Path::new("reports") => {
            Ok(Vec::new())
        }
        found => found,
    }
}

/// For `doctor`: a sentence about ledgers in ./reports that nobody works on, `None` where there are none.
pub(super) fn open_ledgers_notice() -> Option<String> {
    let open = open_ledgers_in(Path::new("reports"))
        .ok()?
        .into_iter()
        .filter(|(_, left)| !left.as_ref().is_ok_and(|left| left.alive))
        .count();
    match open {
        0 => None,
        1 => Some("a run in reports/ did not end in order: `cacheproof recover` undoes what it left broken".into()),
        count => Some(format!(
            "{count} runs in reports/ did not end in order: `cacheproof recover` undoes what they left broken"
        )),
    }
}
