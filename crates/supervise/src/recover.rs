//! `cacheproof recover`: finds ledgers that were left open, undoes what is in them, and closes them. Safe to repeat. What can't be read
//! or trusted is told and left alone, and its ledger stays open.

use std::path::{Path, PathBuf};

use crate::addresses::Addresses;
use crate::guard_process::clean_up_run;
use crate::ledger::{
    self, LEDGER_FILE, LedgerEntry, LedgerError, LedgerRun, LedgerState, OpenFault, read_ledger, shown,
};
use crate::machine::Machine;
use crate::markers::{RUN_LABEL, RUN_VARIABLE};
use crate::run_identity::is_run_directory;
use crate::undo::Undo;
use cacheproof_core::secrets::mask_command;

/// How many unreadable lines of a ledger are told one by one.
const LINES_TOLD: usize = 5;

/// What [`recover()`] did about one ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// What could not be done, a sentence each.
    pub failed: Vec<String>,
    /// What to look for by hand, where the ledger does not tell everything.
    pub by_hand: Option<String>,
}

/// The open ledgers in a directory of reports or of one run, with what they hold. A ledger that can't be read is listed with
/// its error, so that it does not hide the others.
///
/// # Errors
/// When the directory can't be read.
pub fn find_open_ledgers(directory: &Path) -> std::io::Result<Vec<(PathBuf, Result<LedgerState, LedgerError>)>> {
    // It may be a link itself: the user has named it.
    let mut paths = vec![directory.join(LEDGER_FILE)];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_symlink() {
            paths.push(path.join(LEDGER_FILE));
        } else if !leads_beside(&path) && path.join(LEDGER_FILE).symlink_metadata().is_ok() {
            found.push((path.join(LEDGER_FILE), Err(LedgerError::Link(path))));
        }
    }
    for path in paths.into_iter().filter(|path| path.symlink_metadata().is_ok()) {
        let left = read_ledger(&path);
        if !left.as_ref().is_ok_and(|left| left.over) {
            found.push((path, left));
        }
    }
    found.sort_by(|(path, _), (other, _)| path.cmp(other));
    Ok(found)
}

/// Whether a link leads to another entry of its directory, as `latest` does.
fn leads_beside(link: &Path) -> bool {
    let parent = |path: &Path| path.canonicalize().ok()?.parent().map(Path::to_owned);
    let own = link.parent().and_then(|parent| parent.canonicalize().ok());
    own.is_some() && parent(link) == own
}

/// Where and when a ledger was written, seen from here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    /// On this machine, which was restarted since.
    Restarted,
    Elsewhere,
    /// It does not say.
    Unknown,
}

impl Place {
    fn of(machine: Option<&Machine>, here: &Machine) -> Self {
        match machine {
            None => Self::Unknown,
            Some(machine) if machine.id != here.id => Self::Elsewhere,
            Some(machine) if machine.boot != here.boot => Self::Restarted,
            Some(_) => Self::Here,
        }
    }
}

/// Undoes the open faults of a ledger, the last one first, removes what is left of its run, and closes it. Only for a run whose
/// cacheproof has ended. Blocks.
pub fn recover(path: &Path, left: &LedgerState) -> RecoveryReport {
    let mut report = RecoveryReport::default();
    let machine = left.run.as_ref().and_then(|run| run.machine.as_ref());
    let place = Place::of(machine, &Machine::here());
    if place == Place::Elsewhere {
        let host = machine.map_or_else(String::new, |machine| shown(&machine.host));
        report.failed.push(format!(
            "it was written on another machine, {host}, so nothing was undone here: run `cacheproof recover` there, or delete the ledger \
             if that machine is gone"
        ));
        return report;
    }
    tell_unreadable_lines(left, &mut report);
    // Before the undo: a command that injects a fault must not run on while the fault is undone.
    let cleaned = left.run.as_ref().map(|run| clean_up(run, place, &mut report));
    for fault in left.open.iter().rev() {
        undo(path, fault, place, cleaned == Some(true), &mut report);
    }
    if report.failed.is_empty() {
        ledger::append_to(path, [LedgerEntry::Over]);
    } else if !left.unreadable.is_empty() {
        report.by_hand = Some(look_by_hand(left.run.as_ref(), path));
    }
    report
}

fn tell_unreadable_lines(left: &LedgerState, report: &mut RecoveryReport) {
    for line in left.unreadable.iter().take(LINES_TOLD) {
        report.failed.push(format!("line {} can't be read: {}", line.number, line.why));
    }
    if let Some(more @ 1..) = left.unreadable.len().checked_sub(LINES_TOLD) {
        report.failed.push(format!("{more} more lines can't be read"));
    }
}

/// Ends the run's processes, and removes its containers and its directory. False when something may be left.
fn clean_up(run: &LedgerRun, place: Place, report: &mut RecoveryReport) -> bool {
    let directory = &run.directory;
    let existed = directory.exists();
    // After a restart their numbers belong to others.
    let processes = if place == Place::Here { run.processes.as_slice() } else { &[] };
    if !is_run_directory(&run.token, directory) {
        report.failed.push(format!(
            "{} is not the directory of a run of this user, so it was not deleted, and no process was ended",
            directory.display()
        ));
        return false;
    }
    if let Err(why) = clean_up_run(run, processes) {
        report.failed.push(why);
        return false;
    }
    if existed {
        report.done.push(format!("removed what was left of the run in {}", directory.display()));
    }
    true
}

fn undo(path: &Path, fault: &OpenFault, place: Place, cleaned: bool, report: &mut RecoveryReport) {
    let what = &fault.what;
    let needs = match &fault.undo {
        Undo::Command { run, .. } => Some(format!("`{}`", mask_command(run))),
        Undo::Container(id) => Some(format!("`docker unpause {id}` or `docker start {id}`")),
        Undo::Nothing | Undo::WithRun | Undo::WithCacheproof | Undo::Expires(_) => None,
    };
    let refused = match (needs, place) {
        (Some(needs), Place::Restarted) => Some(format!(
            "the machine was restarted since, so {needs} was not run. Run it by hand if it is still needed, and delete the ledger"
        )),
        (Some(needs), Place::Unknown | Place::Elsewhere) => Some(format!(
            "the ledger does not say on which machine it was written, so {needs} was not run. Run it by hand if it is still needed, and \
             delete the ledger"
        )),
        (None, _) if fault.undo == Undo::WithRun && !cleaned => {
            Some("it ends with the run's own servers and app, which may still be there".into())
        }
        _ => None,
    };
    if let Some(why) = refused {
        report.failed.push(format!("'{what}' was not undone: {why}"));
        return;
    }
    // The ledger does not hold the addresses, because their URLs hold passwords.
    match fault.undo.perform(&Addresses::default()) {
        Ok(how) => {
            report.done.push(format!("'{what}' is undone: {how}"));
            ledger::append_to(path, [LedgerEntry::Closed { id: fault.id, how: format!("by recover: {how}") }]);
        }
        Err(why) => report.failed.push(format!("'{what}' could not be undone: {why}")),
    }
}

/// Where to look for what an unreadable line may have named.
fn look_by_hand(run: Option<&LedgerRun>, path: &Path) -> String {
    let journal = path.with_file_name("events.jsonl");
    let token = run.map_or("TOKEN", |run| run.token.as_str());
    let (which, directory) = match run {
        Some(run) => (String::new(), run.directory.display().to_string()),
        None => (
            " (TOKEN stands for the run's token, which is in these names)".into(),
            "cacheproof-TOKEN in the temporary directory".into(),
        ),
    };
    format!(
        "what can't be read may be something that is still there. Look for faults in {} that were injected and not undone, for processes \
         with `grep -l {RUN_VARIABLE}={token} /proc/[0-9]*/environ`, for containers with `docker ps --all --filter \
         label={RUN_LABEL}={token}`, and for the directory {directory}{which}. Then delete the ledger. (A fault is injected only after its \
         line is whole on the disk: if cacheproof or the machine ended while it wrote the last line, the fault in it was not injected.)",
        journal.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: &str, boot: &str) -> Machine {
        Machine { id: id.into(), host: "h".into(), boot: boot.into() }
    }

    #[test]
    fn a_restart_and_another_machine_are_told_apart() {
        let here = machine("a", "1");
        for (written, place) in [
            (Some(machine("a", "1")), Place::Here),
            (Some(machine("a", "2")), Place::Restarted),
            (Some(machine("b", "1")), Place::Elsewhere),
            (None, Place::Unknown),
        ] {
            assert_eq!(Place::of(written.as_ref(), &here), place, "{written:?}");
        }
    }

    #[test]
    fn many_unreadable_lines_are_told_by_their_number() {
        let line = |number| ledger::UnreadableLine { number, why: "it is no text".into() };
        let left = LedgerState { unreadable: (1..=1000).map(line).collect(), ..LedgerState::default() };
        let mut report = RecoveryReport::default();
        tell_unreadable_lines(&left, &mut report);
        assert_eq!(report.failed.len(), 6);
        assert_eq!(report.failed[5], "995 more lines can't be read");
    }

    #[test]
    fn a_link_to_a_directory_elsewhere_is_told_and_not_followed() {
        let (reports, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(reports.path().join("run")).unwrap();
        for directory in [reports.path().join("run"), elsewhere.path().to_owned()] {
            std::fs::write(directory.join(LEDGER_FILE), "x\n").unwrap();
        }
        std::os::unix::fs::symlink("run", reports.path().join("latest")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), reports.path().join("there")).unwrap();
        let found = find_open_ledgers(reports.path()).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.is_ok() && found[0].0.starts_with(reports.path().join("run")));
        assert!(matches!(&found[1].1, Err(LedgerError::Link(path)) if path.ends_with("there")));
        assert_eq!(find_open_ledgers(&reports.path().join("latest")).unwrap().len(), 1, "the user has named it");
    }
}
