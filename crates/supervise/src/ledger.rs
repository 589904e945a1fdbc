//! The undo ledger, `faults.ndjson` in a run's directory: what was broken and what takes it back. A line stands on
//! the disk before anything is broken, so that nothing can be left broken and forgotten.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::guard::Guard;
use super::process::Process;
use super::undo_record::Undo;

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

/// What a line says.
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
        /// Counts the run's faults.
        id: u64,
        /// What it is: `kill redis`.
        what: String,
        /// What takes it back.
        undo: Undo,
    },
    /// It was injected.
    Injected {
        /// Which.
        id: u64,
    },
    /// It was taken back, or never came to be.
    Closed {
        /// Which.
        id: u64,
        /// By whom and how.
        how: String,
    },
    /// The last line: nothing of the run is left.
    Over,
}

/// Writes the ledger of a run. Every line is on the disk when the call returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    next: u64,
}

impl Ledger {
    /// Makes the ledger of a run in its directory. Its servers must be up: `guard` knows whether there are containers.
    ///
    /// # Errors
    /// What the system said.
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
        // What undoes a fault may hold a password, and reports are handed on.
        let file = File::options().read(true).create_new(true).append(true).mode(0o600).open(&path)?;
        // The entry in the directory must survive as well.
        File::open(directory)?.sync_all()?;
        let ledger = Self { path, inner: Mutex::new(Inner { file, next: 1 }) };
        let pid = std::process::id();
        let LedgerRun { token, directory, containers } = run;
        ledger.write(LedgerEntry::Run { token, directory, pid, started: identity(pid), containers })?;
        Ok(ledger)
    }

    /// Where it is, from the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens an entry; gives its number.
    ///
    /// # Errors
    /// What the system said; then nothing may be broken.
    pub fn open(&self, what: &str, undo: &Undo) -> std::io::Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.next;
        append(&mut inner.file, LedgerEntry::Open { id, what: what.to_owned(), undo: undo.clone() })?;
        inner.next += 1;
        Ok(id)
    }

    /// Writes any other line.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, entry: LedgerEntry) -> std::io::Result<()> {
        append(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).file, entry)
    }
}

fn append(file: &mut File, entry: LedgerEntry) -> std::io::Result<()> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut line = serde_json::to_vec(&LedgerLine { at, entry })?;
    line.push(b'\n');
    if ends_in_partial_line(file)? {
        // Else both would be lost.
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    file.sync_data()
}

/// Whether the last line was cut off: its writer died, or the disk was full.
fn ends_in_partial_line(file: &File) -> std::io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != *b"\n")
}

/// A process' start and the machine's boot, so that neither a reused number nor a reboot is taken for it.
fn identity(pid: u32) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let started = Process::find(pid).map(|process| process.started).unwrap_or_default();
    format!("{started} {}", boot.trim())
}

/// A ledger that is held: the guard holds its run's while it stands, and `recover` the one that it works on, so that
/// two never undo the same. Given back when dropped, and when its process ends.
#[derive(Debug)]
pub struct LedgerLock {
    _locked: Option<File>,
}

/// Takes a ledger for oneself. `None`: somebody else has it. Where files can't be locked everybody gets it.
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
    /// What takes it back.
    pub undo: Undo,
}

/// A run as its ledger names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRun {
    /// Marks its processes, containers and directory.
    pub token: String,
    /// Its temporary directory.
    pub directory: PathBuf,
    /// Whether it started containers.
    pub containers: bool,
}

/// A ledger as it was left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Whose it is; `None` when not even that was written.
    pub run: Option<LedgerRun>,
    /// What was not closed, in the order in which it was opened.
    pub open: Vec<OpenFault>,
    /// Whether it was closed: nothing of the run is left.
    pub over: bool,
    /// Whether the cacheproof that wrote it still runs.
    pub alive: bool,
}

/// Reads a ledger. A last line that was cut off is left out.
///
/// # Errors
/// What the system said.
pub fn read_ledger(path: &Path) -> std::io::Result<LedgerState> {
    // Cut off, it may end in the middle of a letter.
    let text = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let mut left = LedgerState::default();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<LedgerLine>(line) else { continue };
        match line.entry {
            LedgerEntry::Run { token, directory, pid, started, containers } => {
                left.alive = Process::find(pid).is_some() && identity(pid) == started;
                left.run = Some(LedgerRun { token, directory, containers });
            }
            LedgerEntry::Open { id, what, undo } => left.open.push(OpenFault { id, what, undo }),
            LedgerEntry::Injected { .. } => {}
            LedgerEntry::Closed { id, .. } => left.open.retain(|open| open.id != id),
            LedgerEntry::Over => left.over = true,
        }
    }
    Ok(left)
}

/// Appends lines to a ledger that somebody else wrote, as well as it can: what is missing is only told twice.
pub(super) fn append_to(path: &Path, entries: impl IntoIterator<Item = LedgerEntry>) {
    // Never made anew: a run's directory that was deleted stays deleted.
    let Ok(mut file) = File::options().read(true).append(true).open(path) else { return };
    for entry in entries {
        if append(&mut file, entry).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_not_closed_is_found_again_also_behind_half_a_line() {
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
        assert!(read_ledger(ledger.path()).unwrap().open.is_empty(), "what is written behind half a line counts");
        let mode = std::fs::metadata(ledger.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it may hold passwords");
        assert!(Ledger::of_run(directory.path(), run).is_err(), "a ledger is never overwritten");
    }
}
