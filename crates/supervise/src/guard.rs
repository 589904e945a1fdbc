//! The guard: a child process that cleans up when cacheproof dies, however it dies.
//!
//! It holds the reading end of a pipe. When the pipe closes without a word of release, cacheproof is dead, and
//! the guard kills the processes, removes the containers and deletes the directory of the run, and takes back every
//! fault that is open. See
//! [`super::guard_process`] for what runs on the other side.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::SuperviseError;
use super::addresses::Addresses;
use super::process::Process;
use super::undo_record::Undo;
use cacheproof_core::scenario::mask_passwords;

/// Environment variable of every child of a run; its value is the run's token.
pub const RUN_VARIABLE: &str = "CACHEPROOF_RUN";

/// The environment variable that marks the user's own commands that break something, and what they started. Holds the run's token
/// as well.
pub const COMMAND_VARIABLE: &str = "CACHEPROOF_COMMAND";

/// Label of every container of a run; its value is the run's token.
pub const RUN_LABEL: &str = "cacheproof.run";

/// How long the guard may take to come up, and to clean up.
const GUARD_TIMEOUT: Duration = Duration::from_secs(15);

/// What cacheproof tells its guard, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GuardMessage {
    /// A process to kill.
    Process(Process),
    /// One of them that is a command of the user's which breaks something: to be killed before that is taken back.
    Command(Process),
    /// Containers are about to be created: look for the label from now on.
    Containers,
    /// A container to remove.
    Container(String),
    /// The run's undo ledger.
    Ledger(PathBuf),
    /// What commands of the user's are told. Kept in memory: it never goes into the ledger.
    Addresses(Addresses),
    /// A fault is about to be injected: its number, and what takes it back.
    Undo(u64, Undo),
    /// It was taken back.
    Undone(u64),
    /// Everything is down already.
    Release,
}

impl GuardMessage {
    pub(super) fn to_line(&self) -> String {
        match self {
            Self::Process(process) => format!("process {} {}\n", process.pid, process.started),
            Self::Command(process) => format!("command {} {}\n", process.pid, process.started),
            Self::Containers => "containers\n".into(),
            Self::Container(id) => format!("container {id}\n"),
            Self::Ledger(path) => format!("ledger {}\n", json(path)),
            Self::Addresses(addresses) => format!("addresses {}\n", json(addresses)),
            Self::Undo(id, undo) => format!("undo {id} {}\n", json(undo)),
            Self::Undone(id) => format!("undone {id}\n"),
            Self::Release => "release\n".into(),
        }
    }

    /// `None` for a line that cacheproof does not write, or was cut off while writing.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n')?;
        if let Some(path) = line.strip_prefix("ledger ") {
            return serde_json::from_str(path).ok().map(Self::Ledger);
        }
        if let Some(addresses) = line.strip_prefix("addresses ") {
            return serde_json::from_str(addresses).ok().map(Self::Addresses);
        }
        if let Some((id, undo)) = line.strip_prefix("undo ").and_then(|undo| undo.split_once(' ')) {
            return Some(Self::Undo(id.parse().ok()?, serde_json::from_str(undo).ok()?));
        }
        let mut words = line.split(' ');
        match (words.next()?, words.next(), words.next()) {
            (what @ ("process" | "command"), Some(pid), Some(started)) => {
                let process = Process { pid: pid.parse().ok()?, started: started.into() };
                Some(if what == "command" { Self::Command(process) } else { Self::Process(process) })
            }
            ("containers", None, None) => Some(Self::Containers),
            ("container", Some(id), None) => Some(Self::Container(id.into())),
            ("undone", Some(id), None) => Some(Self::Undone(id.parse().ok()?)),
            ("release", None, None) => Some(Self::Release),
            _ => None,
        }
    }
}

/// In one line: JSON writes line breaks in other characters.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A handle for telling the guard what to watch; cheap to clone.
#[derive(Clone, Debug)]
pub struct GuardHandle {
    pipe: Arc<Mutex<Option<ChildStdin>>>,
    has_containers: Arc<AtomicBool>,
    token: String,
}

impl GuardHandle {
    fn send(&self, message: &GuardMessage) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = pipe.as_mut().map(|pipe| pipe.write_all(message.to_line().as_bytes()));
        if let Some(Err(error)) = sent {
            let what = match message {
                // Nothing that would be left, and full of passwords.
                GuardMessage::Addresses(_) => return,
                message => mask_passwords(message.to_line().trim_end()),
            };
            tracing::warn!("the guard is gone ({error}): a crash of cacheproof would leave this behind: {what}");
        }
    }

    /// The run's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Has a process killed when cacheproof dies.
    pub fn register_process(&self, pid: u32) {
        if let Some(process) = Process::find(pid) {
            self.send(&GuardMessage::Process(process));
        }
    }

    fn register_command(&self, pid: u32) {
        if let Some(process) = Process::find(pid) {
            self.send(&GuardMessage::Command(process));
        }
    }

    /// Says that containers are about to be created.
    pub fn expect_containers(&self) {
        self.has_containers.store(true, Ordering::Relaxed);
        self.send(&GuardMessage::Containers);
    }

    /// Has a container removed when cacheproof dies.
    pub fn register_container(&self, id: &str) {
        self.send(&GuardMessage::Container(id.into()));
    }
}

/// The guard of one run, and the run's private temporary directory. Dropping it without [`Self::release`] makes
/// the guard clean up, and waits for that (at most 15 s).
#[derive(Debug)]
pub struct Guard {
    child: Child,
    guard_handle: GuardHandle,
    directory: PathBuf,
}

impl Guard {
    /// Starts `program guard TOKEN` in a process group of its own, so that Ctrl-C does not reach it, and waits
    /// until it stands.
    ///
    /// # Errors
    /// [`SuperviseError::Guard`] when it cannot be started or cannot make the directory.
    pub fn start(program: &Path) -> Result<Self, SuperviseError> {
        let failed = |why: String| SuperviseError::Guard(why);
        let token = format!("{:012x}", rand::random::<u64>() >> 16);
        let mut child = Command::new(program)
            .args(["guard", &token])
            .env_remove(RUN_VARIABLE)
            .env_remove(COMMAND_VARIABLE)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", program.display())))?;
        let pipe = child.stdin.take();
        let (send, receive) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                let read = BufReader::new(stdout).read_line(&mut line);
                let _ = send.send(read.map(|_| line));
            });
        }
        let answer = match receive.recv_timeout(GUARD_TIMEOUT) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => format!("error {error}"),
            Err(_) => "error it did not answer".into(),
        };
        let guard_handle = GuardHandle { pipe: Arc::new(Mutex::new(pipe)), has_containers: Arc::default(), token };
        match answer.trim_end().split_once(' ') {
            Some(("directory", directory)) => Ok(Self { child, guard_handle, directory: directory.into() }),
            other => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(other.map_or("it ended at once".into(), |(_, why)| why.into())))
            }
        }
    }

    /// The run's private temporary directory. Mode 0700; for root 0711, so that a server which runs as another
    /// user gets through to its own directory inside.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The run's token: in the directory's name, in [`RUN_VARIABLE`] of every child, in [`RUN_LABEL`] of every
    /// container.
    pub fn token(&self) -> &str {
        &self.guard_handle.token
    }

    /// Whether the run started containers, or tried to.
    pub fn has_containers(&self) -> bool {
        self.guard_handle.has_containers.load(Ordering::Relaxed)
    }

    /// Has a process killed when cacheproof dies. It is known by its number and its start time, so a process that
    /// gets the same number later is safe.
    pub fn watch_process(&self, pid: u32) {
        self.guard_handle.register_process(pid);
    }

    /// The same for a command of the user's that breaks something, before that is taken back.
    pub fn watch_command(&self, pid: u32) {
        self.guard_handle.register_command(pid);
    }

    /// Has a container removed when cacheproof dies.
    pub fn watch_container(&self, id: &str) {
        self.guard_handle.expect_containers();
        self.guard_handle.register_container(id);
    }

    /// Names the run's undo ledger, in which the guard notes what it undoes.
    pub fn watch_ledger(&self, path: &Path) {
        self.guard_handle.send(&GuardMessage::Ledger(path.to_owned()));
    }

    /// Has the commands that take faults back told where everything is.
    pub fn send_addresses(&self, addresses: &Addresses) {
        self.guard_handle.send(&GuardMessage::Addresses(addresses.clone()));
    }

    /// Has a fault taken back when cacheproof dies. To be told before it is injected.
    pub fn watch_fault(&self, id: u64, undo: &Undo) {
        self.guard_handle.send(&GuardMessage::Undo(id, undo.clone()));
    }

    /// A fault that was watched was taken back.
    pub fn fault_undone(&self, id: u64) {
        self.guard_handle.send(&GuardMessage::Undone(id));
    }

    /// A handle for telling it what to watch.
    pub fn guard_handle(&self) -> GuardHandle {
        self.guard_handle.clone()
    }

    /// The orderly end, when every server is down: the guard removes the directory (and whatever was left of the
    /// run against expectation), undoes what is still broken, and ends. Blocks for some milliseconds, in the worst
    /// case 15 s.
    ///
    /// # Errors
    /// [`SuperviseError::CleanupIncomplete`] when it did not end in time, or something is left.
    pub fn release(mut self) -> Result<(), SuperviseError> {
        self.guard_handle.send(&GuardMessage::Release);
        self.finish();
        let left = match self.child.try_wait() {
            Ok(Some(status)) if status.success() && !self.directory.exists() => return Ok(()),
            Ok(Some(_)) if self.directory.exists() => format!("{} could not be removed", self.directory.display()),
            Ok(Some(status)) => format!("the guard could not remove or undo all of it ({status})"),
            Ok(None) => format!("the guard is still at work after {} s", GUARD_TIMEOUT.as_secs()),
            Err(error) => format!("the guard could not be waited for: {error}"),
        };
        Err(SuperviseError::CleanupIncomplete(left))
    }

    /// Closes the pipe and waits, bounded, for the guard's end.
    fn finish(&mut self) {
        self.guard_handle.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let until = Instant::now() + GUARD_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_pipe_and_half_a_line_is_no_message() {
        let process = Process { pid: 4711, started: "815".into() };
        let undo = Undo::Command { run: "a\nb c".into(), directory: "/a b".into() };
        for message in [
            GuardMessage::Command(process.clone()),
            GuardMessage::Process(process),
            GuardMessage::Containers,
            GuardMessage::Container("abc".into()),
            GuardMessage::Ledger("/a b/c".into()),
            GuardMessage::Addresses(serde_json::from_str(r#"[["CACHEPROOF_REDIS_URL","redis://a b"]]"#).unwrap()),
            GuardMessage::Undo(7, undo),
            GuardMessage::Undone(7),
            GuardMessage::Release,
        ] {
            let line = message.to_line();
            assert_eq!(GuardMessage::parse(&line).as_ref(), Some(&message));
            assert_eq!(GuardMessage::parse(line.trim_end()), None);
        }
        assert_eq!(GuardMessage::parse("process 1\n"), None);
        assert_eq!(GuardMessage::parse("release now\n"), None);
    }
}
