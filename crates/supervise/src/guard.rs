//! The guard: a child process that cleans up after cacheproof, also when cacheproof was killed.
//!
//! The guard process reads from a pipe. When the pipe closes without [`GuardMessage::Release`], cacheproof has crashed. The guard
//! then undoes every open fault, kills the processes, and removes the containers and the directory of the run. This module is
//! cacheproof's side of the pipe; `guard_process` is the other.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::addresses::Addresses;
use crate::error::GuardError;
use crate::guard_message::GuardMessage;
use crate::ledger::{Ledger, LedgerEntry};
use crate::markers::{COMMAND_VARIABLE, RUN_VARIABLE};
use crate::process::Process;
use crate::run_identity::RunIdentity;
use crate::undo::Undo;
use cacheproof_core::scenario::mask_passwords;

/// How long the guard may take to start, and to clean up after an orderly end.
const GUARD_TIMEOUT: Duration = Duration::from_secs(15);

/// Tells the guard what to clean up after a crash, and the ledger, for when the guard is killed as well. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuardHandle {
    pipe: Arc<Mutex<Option<ChildStdin>>>,
    ledger: Option<Arc<Ledger>>,
    run: RunIdentity,
}

impl GuardHandle {
    fn send(&self, message: &GuardMessage) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = pipe.as_mut().map(|pipe| pipe.write_all(message.to_line().as_bytes()));
        if let Some(Err(error)) = sent {
            let what = match message {
                // Not something that is left behind, and full of passwords.
                GuardMessage::Addresses(_) => return,
                message => mask_passwords(message.to_line().trim_end()),
            };
            tracing::warn!(
                "the guard process has ended ({error}); after a crash of cacheproof this would be left behind: {what}"
            );
        }
    }

    fn record(&self, entry: LedgerEntry) {
        if let Some(Err(error)) = self.ledger.as_ref().map(|ledger| ledger.write(entry)) {
            tracing::warn!("the undo ledger could not be written: {error}");
        }
    }

    /// The run's token.
    pub fn token(&self) -> &str {
        self.run.token()
    }

    /// Lets the guard kill a process after a crash.
    pub fn register_process(&self, pid: u32) {
        if let Some(process) = Process::find(pid) {
            self.record(LedgerEntry::Process { pid, started: process.started.clone() });
            self.send(&GuardMessage::Process(process));
        }
    }

    fn register_command(&self, pid: u32) {
        if let Some(process) = Process::find(pid) {
            self.send(&GuardMessage::Command(process));
        }
    }

    /// Lets the guard look for containers with the run's label. To be called before the first one is created.
    pub fn expect_containers(&self) {
        self.record(LedgerEntry::Containers);
        self.send(&GuardMessage::Containers);
    }

    /// Lets the guard remove a container after a crash.
    pub fn register_container(&self, id: &str) {
        self.send(&GuardMessage::Container(id.into()));
    }
}

/// The guard process of one run, and the run's private temporary directory. When it is dropped without [`Self::release`], the
/// guard cleans up as after a crash; the drop waits for that, at most 15 s.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    guard_handle: GuardHandle,
}

impl Guard {
    /// The guard of a run without a ledger: should it be killed as well, nobody knows what is left.
    ///
    /// # Errors
    /// As [`Self::start_with_ledger`].
    pub fn start(program: &Path) -> Result<Self, GuardError> {
        Self::start_run(program, RunIdentity::new(), None)
    }

    /// Starts `program guard TOKEN LEDGER` and waits until it is ready. It has a process group of its own, so that Ctrl-C does not
    /// reach it. Everything that is registered with the guard is written to the ledger as well.
    ///
    /// # Errors
    /// [`GuardError::NotStarted`], also when it can't make the run's directory.
    pub fn start_with_ledger(program: &Path, ledger: &Arc<Ledger>) -> Result<Self, GuardError> {
        Self::start_run(program, ledger.run().clone(), Some(Arc::clone(ledger)))
    }

    fn start_run(program: &Path, run: RunIdentity, ledger: Option<Arc<Ledger>>) -> Result<Self, GuardError> {
        let mut child = Command::new(program)
            .args(["guard", run.token()])
            .args(ledger.as_ref().map(|ledger| ledger.path()))
            .env_remove(RUN_VARIABLE)
            .env_remove(COMMAND_VARIABLE)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| GuardError::NotStarted(format!("{}: {error}", program.display())))?;
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
        match answer.trim_end().split_once(' ') {
            Some(("directory", directory)) if Path::new(directory) == run.directory() => {
                Ok(Self { child, guard_handle: GuardHandle { pipe: Arc::new(Mutex::new(pipe)), ledger, run } })
            }
            other => {
                let _ = child.kill();
                let _ = child.wait();
                Err(GuardError::NotStarted(other.map_or("it ended at once".into(), |(_, why)| why.into())))
            }
        }
    }

    /// The run's private temporary directory. Its mode is 0700. For root it is 0711, so that a server that runs as another user
    /// can reach its own directory inside.
    pub fn directory(&self) -> &Path {
        self.guard_handle.run.directory()
    }

    /// The run's token.
    pub fn token(&self) -> &str {
        self.guard_handle.token()
    }

    /// The run.
    pub fn run(&self) -> &RunIdentity {
        &self.guard_handle.run
    }

    /// Lets the guard kill a process after a crash. It is known by its number and its start time, so a process that gets the
    /// same number later is not hit.
    pub fn watch_process(&self, pid: u32) {
        self.guard_handle.register_process(pid);
    }

    /// Lets the guard kill a command of the user that injects a fault, before it undoes that fault.
    pub fn watch_command(&self, pid: u32) {
        self.guard_handle.register_command(pid);
    }

    /// Gives the guard the run's undo ledger, in which it writes what it has undone.
    pub fn watch_ledger(&self, path: &Path) {
        self.guard_handle.send(&GuardMessage::Ledger(path.to_owned()));
    }

    /// Gives the guard the variables for commands that undo faults.
    pub fn send_addresses(&self, addresses: &Addresses) {
        self.guard_handle.send(&GuardMessage::Addresses(addresses.clone()));
    }

    /// Lets the guard undo a fault after a crash. To be called before the fault is injected.
    pub fn watch_fault(&self, id: u64, undo: &Undo) {
        self.guard_handle.send(&GuardMessage::Undo(id, undo.clone()));
    }

    /// Tells the guard that a fault was undone.
    pub fn fault_undone(&self, id: u64) {
        self.guard_handle.send(&GuardMessage::Undone(id));
    }

    /// A handle that does not borrow the guard.
    pub fn guard_handle(&self) -> GuardHandle {
        self.guard_handle.clone()
    }

    /// Ends the run in order, when every server is down: the guard removes the directory and anything else of the run that is
    /// still there, undoes open faults, and ends. Blocks for some milliseconds, at most 15 s.
    ///
    /// # Errors
    /// [`GuardError::CleanupIncomplete`] when it did not end in time, or something is left.
    pub fn release(mut self) -> Result<(), GuardError> {
        self.guard_handle.send(&GuardMessage::Release);
        self.finish();
        let left = match self.child.try_wait() {
            Ok(Some(status)) if status.success() && !self.directory().exists() => return Ok(()),
            Ok(Some(_)) if self.directory().exists() => format!("{} could not be removed", self.directory().display()),
            Ok(Some(status)) => format!("the guard could not remove or undo everything ({status})"),
            Ok(None) => format!("the guard is still working after {} s", GUARD_TIMEOUT.as_secs()),
            Err(error) => format!("waiting for the guard failed: {error}"),
        };
        Err(GuardError::CleanupIncomplete(left))
    }

    /// Closes the pipe and waits for the guard's end, at most [`GUARD_TIMEOUT`].
    fn finish(&mut self) {
        self.guard_handle.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + GUARD_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.finish();
    }
}
