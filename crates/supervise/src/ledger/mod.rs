//! The undo ledger, `faults.ndjson` in a run's directory: which faults were injected, and how each is undone. A fault is
//! injected only when its line is on the disk, so that a crash can't leave an unknown fault. The ledger is there before anything of the
//! run is started, and says what was.

mod file;
mod state;

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, boot_id};
use crate::process::Process;
use crate::run_identity::RunIdentity;
use crate::undo::Undo;
use cacheproof_core::secrets::Mask;

pub use file::LedgerError;
pub(crate) use state::shown;
pub use state::{LedgerRun, LedgerState, OpenFault, UnreadableLine};

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
        /// Whether the run started containers, in a ledger without [`Self::Containers`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        containers: bool,
        /// Where the run takes place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<Machine>,
    },
    /// A server or an instance of the app was started. Their children, and whatever was started just before a crash, are found by
    /// the run's token in their environment.
    Process {
        /// Its number.
        pid: u32,
        /// When it was started, in the words of the system.
        started: String,
    },
    /// Containers are about to be created: they have the token in a label.
    Containers,
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

/// Writes the ledger of a run. Every line about a fault is synced to disk before the call returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    run: RunIdentity,
    mask: Mask,
    writer: Mutex<LedgerWriter>,
}

#[derive(Debug)]
struct LedgerWriter {
    file: File,
    next: u64,
}

impl Ledger {
    /// Creates the ledger in a run's directory. Its first line is in it from the first moment on.
    ///
    /// # Errors
    /// The system's error, also when there is one already.
    pub fn create(directory: &Path, run: &RunIdentity) -> std::io::Result<Self> {
        let path = std::path::absolute(directory.join(LEDGER_FILE))?;
        if path.symlink_metadata().is_ok() {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        let pid = std::process::id();
        let entry = LedgerEntry::Run {
            token: run.token().to_owned(),
            directory: run.directory().to_owned(),
            pid,
            started: identity(pid),
            containers: false,
            machine: Some(Machine::here()),
        };
        let file = replace(&path, &line(&entry)?)?;
        // The directory entry must survive a power failure as well.
        File::open(directory)?.sync_all()?;
        let writer = Mutex::new(LedgerWriter { file, next: 1 });
        Ok(Self { path, run: run.clone(), mask: Mask::default(), writer })
    }

    /// Strikes these secrets out of everything but the commands, which must be run as they are.
    #[must_use]
    pub fn with_mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Whose ledger it is.
    pub fn run(&self) -> &RunIdentity {
        &self.run
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

fn line(entry: &LedgerEntry) -> std::io::Result<Vec<u8>> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut line = serde_json::to_vec(&LedgerLine { at, entry: entry.clone() })?;
    line.push(b'\n');
    Ok(line)
}

fn append(file: &mut File, entry: LedgerEntry) -> std::io::Result<()> {
    let mut line = line(&entry)?;
    if ends_in_partial_line(file)? {
        // Without it neither line could be parsed.
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    match entry {
        // No process survives a power failure.
        LedgerEntry::Process { .. } => Ok(()),
        _ => file.sync_data(),
    }
}

/// Writes a ledger beside its place first, so that it is never half written. A command that undoes a fault may hold a password, and
/// reports are given to others: so only the owner can read it.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<File> {
    let new = path.with_extension("new");
    let _from_a_crash = std::fs::remove_file(&new);
    let mut file = File::options().read(true).create_new(true).append(true).mode(0o600).open(&new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _never_there = std::fs::remove_file(&new);
    }
    written.map(|()| file)
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
    let started = Process::find(pid).map(|process| process.started).unwrap_or_default();
    format!("{started} {}", boot_id())
}

/// A lock on a ledger, so that a fault is never undone twice: the guard locks its run's ledger while it runs, and `recover` the
/// one that it works on. Released when dropped, and when its process ends.
#[derive(Debug)]
pub struct LedgerLock {
    _locked: Option<File>,
}

/// Locks a ledger. `None` when another process has locked it. Where files can't be locked, the lock is always granted.
pub fn lock_ledger(path: &Path) -> Option<LedgerLock> {
    let file = file::open(path, false).ok();
    match file.as_ref().map(File::try_lock) {
        Some(Err(TryLockError::WouldBlock)) => None,
        Some(Ok(())) => Some(LedgerLock { _locked: file }),
        Some(Err(TryLockError::Error(_))) | None => Some(LedgerLock { _locked: None }),
    }
}

/// Reads a ledger. What can't be read of it is in [`LedgerState::unreadable`].
///
/// # Errors
/// When the file is not this user's own, or can't be read at all.
pub fn read_ledger(path: &Path) -> Result<LedgerState, LedgerError> {
    Ok(LedgerState::parse(&file::read(path)?))
}

/// Appends lines to the ledger of another process. Errors are ignored: without the line, `recover` undoes the fault once more.
pub(crate) fn append_to(path: &Path, entries: impl IntoIterator<Item = LedgerEntry>) {
    // Not created: when the user has deleted the run's directory, it stays deleted.
    let Ok(mut file) = file::open(path, true) else { return };
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
/// The ledger can't be read or written. It is then as it was.
pub fn strike_out_of_ledger(path: &Path, mask: &Mask) -> Result<(), LedgerError> {
    if !path.exists() || !read_ledger(path)?.over {
        return Ok(());
    }
    let text = std::fs::read_to_string(path)?;
    let mut struck = String::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(LedgerLine { at, entry: LedgerEntry::Open { id, what, undo: Undo::Command { run, directory } } }) => {
                let undo = Undo::Command { run: mask.text(&run), directory };
                let line = LedgerLine { at, entry: LedgerEntry::Open { id, what, undo } };
                struck += &serde_json::to_string(&line).map_err(std::io::Error::from)?;
            }
            _ => struck += line,
        }
        struck.push('\n');
    }
    if struck == text {
        return Ok(());
    }
    replace(path, struck.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn open_faults_are_found_also_after_a_partial_line() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunIdentity::of("abc".into());
        let ledger = Ledger::create(directory.path(), &run).unwrap();
        ledger.write(LedgerEntry::Containers).unwrap();
        ledger.write(LedgerEntry::Process { pid: 7, started: "9".into() }).unwrap();
        let undo = Undo::Container("shop".into());
        let first = ledger.open("kill redis", &undo).unwrap();
        let second = ledger.open("pause postgres", &Undo::WithRun).unwrap();
        ledger.write(LedgerEntry::Injected { id: first }).unwrap();
        ledger.write(LedgerEntry::Closed { id: second, how: "undone".into() }).unwrap();
        File::options().append(true).open(ledger.path()).unwrap().write_all(b"{\"at\": 1, \"ent").unwrap();
        let left = read_ledger(ledger.path()).unwrap();
        assert_eq!(left.open, [OpenFault { id: first, what: "kill redis".into(), undo }]);
        assert!(left.alive && !left.over);
        assert_eq!(left.unreadable.len(), 1, "{left:?}");
        let process = Process { pid: 7, started: "9".into() };
        let LedgerRun { token, directory: place, machine, containers, processes } = left.run.unwrap();
        assert_eq!((token.as_str(), place.as_path(), containers), ("abc", run.directory(), true));
        assert_eq!((machine, processes), (Some(Machine::here()), vec![process]));
        append_to(ledger.path(), [LedgerEntry::Closed { id: first, how: "by recover".into() }]);
        assert!(read_ledger(ledger.path()).unwrap().open.is_empty(), "a line after a partial line counts");
        let mode = std::fs::metadata(ledger.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it may hold passwords");
        assert!(Ledger::create(directory.path(), &run).is_err(), "a ledger is never overwritten");
    }

    #[test]
    fn commands_keep_their_secrets_until_nothing_has_to_be_undone() {
        let directory = tempfile::tempdir().unwrap();
        let mask = Mask::of(["hush-1"]);
        let run = RunIdentity::of("abc".into());
        let ledger = Ledger::create(directory.path(), &run).unwrap().with_mask(mask.clone());
        let undo = Undo::Command { run: "undo hush-1".into(), directory: "/hush-1".into() };
        let id = ledger.open("run hush-1", &undo).unwrap();
        strike_out_of_ledger(ledger.path(), &mask).unwrap();
        let open = read_ledger(ledger.path()).unwrap();
        assert_eq!(open.open, [OpenFault { id, what: "run ***".into(), undo }]);
        assert_eq!(open.run.map(|run| run.token), Some("abc".into()));
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
