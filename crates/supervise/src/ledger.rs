//! The undo ledger, `faults.ndjson` in a run's directory: which faults were injected, and how each is undone. A fault is
//! injected only when its line is on the disk, so that a crash can't leave an unknown fault.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::guard::Guard;
use crate::process::Process;
use crate::undo::Undo;
use cacheproof_core::secrets::Mask;

/// Name of the ledger in a run's directory.
pub const LEDGER_FILE: &str = "faults.ndjson";

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Seconds since 1970.
    pub at: u64,
    /// What happened.
    pub entry: LedgerEntry,
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerEntry {
    /// The first line: whose ledger it is.
    Run {
        /// Marks the run's processes, containers and directory.
        token: String,
        /// The run's temporary directory.
        directory: PathBuf,
        /// cacheproof's process.
        pid: u32,
        /// When that process was started, and on which boot of the machine.
        started: String,
        /// Whether the run started containers.
        #[serde(default)]
        containers: bool,
    },
    /// A fault is about to be injected.
    Open {
        /// The number of the fault, counted from 1.
        id: u64,
        /// What it is: `kill redis`.
        what: String,
        /// How it is undone.
        undo: Undo,
    },
    /// The fault was injected.
    Injected {
        /// Its number.
        id: u64,
    },
    /// The fault was undone, or was never injected.
    Closed {
        /// Its number.
        id: u64,
        /// By whom and how.
        how: String,
    },
    /// The last line: nothing of the run is left.
    Over,
}

/// Writes the ledger of a run. Every line is synced to disk before the call returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    mask: Mask,
    writer: Mutex<LedgerWriter>,
}

#[derive(Debug)]
struct LedgerWriter {
    file: File,
    next: u64,
}

impl Ledger {
    /// Creates the ledger in a run's directory. The servers must be up by then, because only then `guard` knows whether there are
    /// containers.
    ///
    /// # Errors
    /// The system's error.
    pub fn create(directory: &Path, guard: &Guard) -> std::io::Result<Self> {
        let run = LedgerRun {
            token: guard.token().to_owned(),
            directory: guard.directory().to_owned(),
            containers: guard.has_containers(),
        };
        Self::of_run(directory, run)
    }

    fn of_run(directory: &Path, run: LedgerRun) -> std::io::Result<Self> {
        let path = std::path::absolute(directory.join(LEDGER_FILE))?;
        // A command that undoes a fault may hold a password, and reports are given to others.
        let file = File::options().read(true).create_new(true).append(true).mode(0o600).open(&path)?;
        // The directory entry must survive a power failure as well.
        File::open(directory)?.sync_all()?;
        let ledger = Self { path, mask: Mask::default(), writer: Mutex::new(LedgerWriter { file, next: 1 }) };
        let pid = std::process::id();
        let LedgerRun { token, directory, containers } = run;
        ledger.write(LedgerEntry::Run { token, directory, pid, started: identity(pid), containers })?;
        Ok(ledger)
    }

    /// Strikes these secrets out of everything but the commands, which must be run as they are.
    #[must_use]
    pub fn with_mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes that a fault is about to be injected; returns its number.
    ///
    /// # Errors
    /// The system's error. The fault must then not be injected.
    pub fn open(&self, what: &str, undo: &Undo) -> std::io::Result<u64> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let id = writer.next;
        append(&mut writer.file, LedgerEntry::Open { id, what: self.mask.text(what), undo: undo.clone() })?;
        writer.next += 1;
        Ok(id)
    }

    /// Writes any other line.
    ///
    /// # Errors
    /// The system's error.
    pub fn write(&self, entry: LedgerEntry) -> std::io::Result<()> {
        let entry = match entry {
            LedgerEntry::Closed { id, how } => LedgerEntry::Closed { id, how: self.mask.text(&how) },
            entry => entry,
        };
        append(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner).file, entry)
    }
}

fn append(file: &mut File, entry: LedgerEntry) -> std::io::Result<()> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut line = serde_json::to_vec(&LedgerLine { at, entry })?;
    line.push(b'\n');
    if ends_in_partial_line(file)? {
        // Without it neither line could be parsed.
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    file.sync_data()
}

/// Whether the last line was cut off, by a crash or a full disk.
fn ends_in_partial_line(file: &File) -> std::io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != *b"\n")
}

/// The start time of a process and the boot of the machine: together they differ from those of a later process with the same number.
fn identity(pid: u32) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let started = Process::find(pid).map(|process| process.started).unwrap_or_default();
    format!("{started} {}", boot.trim())
}

/// A lock on a ledger, so that a fault is never undone twice: the guard locks its run's ledger while it runs, and `recover` the
/// one that it works on. Released when dropped, and when its process ends.
#[derive(Debug)]
pub struct LedgerLock {
    _locked: Option<File>,
}

/// Locks a ledger. `None` when another process has locked it. Where files can't be locked, the lock is always granted.
pub fn lock_ledger(path: &Path) -> Option<LedgerLock> {
    let file = File::open(path).ok();
    match file.as_ref().map(File::try_lock) {
        Some(Err(TryLockError::WouldBlock)) => None,
        Some(Ok(())) => Some(LedgerLock { _locked: file }),
        Some(Err(TryLockError::Error(_))) | None => Some(LedgerLock { _locked: None }),
    }
}

/// A fault that was not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFault {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub what: String,
    /// How it is undone.
    pub undo: Undo,
}

/// A run, from its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRun {
    /// Marks its processes, containers and directory.
    pub token: String,
    /// Its temporary directory.
    pub directory: PathBuf,
    /// Whether it started containers.
    pub containers: bool,
}

/// The state of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// The run; `None` when its line is missing.
    pub run: Option<LedgerRun>,
    /// The faults that were not closed, in the order in which they were opened.
    pub open: Vec<OpenFault>,
    /// Whether its last line was written: nothing of the run is left.
    pub over: bool,
    /// Whether the cacheproof that wrote it still runs.
    pub alive: bool,
}

/// Reads a ledger. Lines that were cut off are skipped.
///
/// # Errors
/// The system's error.
pub fn read_ledger(path: &Path) -> std::io::Result<LedgerState> {
    // A line that was cut off may end in the middle of a character.
    let text = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let mut state = LedgerState::default();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<LedgerLine>(line) else { continue };
        match line.entry {
            LedgerEntry::Run { token, directory, pid, started, containers } => {
                state.alive = Process::find(pid).is_some() && identity(pid) == started;
                state.run = Some(LedgerRun { token, directory, containers });
            }
            LedgerEntry::Open { id, what, undo } => state.open.push(OpenFault { id, what, undo }),
            LedgerEntry::Injected { .. } => {}
            LedgerEntry::Closed { id, .. } => state.open.retain(|open| open.id != id),
            LedgerEntry::Over => state.over = true,
        }
    }
    Ok(state)
}

/// Appends lines to the ledger of another process. Errors are ignored: without the line, `recover` undoes the fault once more.
pub(crate) fn append_to(path: &Path, entries: impl IntoIterator<Item = LedgerEntry>) {
    // Not created: when the user has deleted the run's directory, it stays deleted.
    let Ok(mut file) = File::options().read(true).append(true).open(path) else { return };
    for entry in entries {
        if append(&mut file, entry).is_err() {
            return;
        }
    }
}

/// Strikes the secrets out of the commands in a ledger, if nothing has to be undone any more. Nobody needs them then, and the
/// run's directory may be given to others.
///
/// # Errors
/// The system's error. The ledger is then as it was.
pub fn strike_out_of_ledger(path: &Path, mask: &Mask) -> std::io::Result<()> {
    if !path.exists() || !read_ledger(path)?.over {
        return Ok(());
    }
    let text = std::fs::read_to_string(path)?;
    let mut struck = String::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(LedgerLine { at, entry: LedgerEntry::Open { id, what, undo: Undo::Command { run, directory } } }) => {
                let undo = Undo::Command { run: mask.text(&run), directory };
                struck += &serde_json::to_string(&LedgerLine { at, entry: LedgerEntry::Open { id, what, undo } })?;
            }
            _ => struck += line,
        }
        struck.push('\n');
    }
    if struck == text {
        return Ok(());
    }
    // Beside it first, so that the ledger is never half written. Readable by the owner only, as the ledger is.
    let new = path.with_extension("new");
    let _from_a_crash = std::fs::remove_file(&new);
    File::options().write(true).create_new(true).mode(0o600).open(&new)?.write_all(struck.as_bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn open_faults_are_found_also_after_a_partial_line() {
        let directory = tempfile::tempdir().unwrap();
        let run = LedgerRun { token: "abc".into(), directory: "/tmp/x".into(), containers: true };
        let ledger = Ledger::of_run(directory.path(), run.clone()).unwrap();
        let undo = Undo::Container("shop".into());
        let first = ledger.open("kill redis", &undo).unwrap();
        let second = ledger.open("pause postgres", &Undo::WithRun).unwrap();
        ledger.write(LedgerEntry::Injected { id: first }).unwrap();
        ledger.write(LedgerEntry::Closed { id: second, how: "undone".into() }).unwrap();
        File::options().append(true).open(ledger.path()).unwrap().write_all(b"{\"at\": 1, \"ent").unwrap();
        let left = read_ledger(ledger.path()).unwrap();
        assert_eq!(left.open, [OpenFault { id: first, what: "kill redis".into(), undo }]);
        assert!(left.alive && !left.over);
        assert_eq!(left.run.as_ref(), Some(&run));
        append_to(ledger.path(), [LedgerEntry::Closed { id: first, how: "by recover".into() }]);
        assert!(read_ledger(ledger.path()).unwrap().open.is_empty(), "a line after a partial line counts");
        let mode = std::fs::metadata(ledger.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it may hold passwords");
        assert!(Ledger::of_run(directory.path(), run).is_err(), "a ledger is never overwritten");
    }

    #[test]
    fn commands_keep_their_secrets_until_nothing_has_to_be_undone() {
        let directory = tempfile::tempdir().unwrap();
        let run = LedgerRun { token: "abc".into(), directory: "/tmp/hush-1".into(), containers: false };
        let mask = Mask::of(["hush-1"]);
        let ledger = Ledger::of_run(directory.path(), run.clone()).unwrap().with_mask(mask.clone());
        let undo = Undo::Command { run: "undo hush-1".into(), directory: "/hush-1".into() };
        let id = ledger.open("run hush-1", &undo).unwrap();
        strike_out_of_ledger(ledger.path(), &mask).unwrap();
        let open = read_ledger(ledger.path()).unwrap();
        assert_eq!(open.open, [OpenFault { id, what: "run ***".into(), undo }]);
        assert_eq!(open.run, Some(run));
        ledger.write(LedgerEntry::Closed { id, how: "with hush-1".into() }).unwrap();
        ledger.write(LedgerEntry::Over).unwrap();
        strike_out_of_ledger(ledger.path(), &mask).unwrap();
        let text = std::fs::read_to_string(ledger.path()).unwrap();
        assert!(text.contains("\"undo ***\"") && text.contains("\"with ***\""), "{text}");
        assert!(read_ledger(ledger.path()).unwrap().over);
        let mode = std::fs::metadata(ledger.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
