//! The guard process: waits for cacheproof's end, then undoes open faults and removes everything of the run.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::addresses::Addresses;
use crate::docker;
use crate::guard_message::GuardMessage;
use crate::ledger::{self, LedgerEntry, LedgerRun};
use crate::markers::{COMMAND_VARIABLE, RUN_LABEL, RUN_VARIABLE};
use crate::process::{self, Process};
use crate::undo::Undo;

/// How long the guard tries to remove what is left.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the guard keeps looking for new containers: Docker may still be creating one when cacheproof crashes.
const CONTAINER_SETTLE_TIME: Duration = Duration::from_millis(1500);

/// How long a Postgres may take to stop on SIGQUIT, which frees its shared memory, before SIGKILL.
const POSTGRES_GRACE_PERIOD: Duration = Duration::from_millis(700);

/// How long the run's servers stay up for the user's commands that undo faults.
const UNDO_COMMAND_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Runs the guard of the run with this token: makes the run's directory, writes its path to `output`, reads messages until
/// `input` ends, and cleans up. Call it before any other signal handler is installed. Returns false when something was left
/// behind.
///
/// # Errors
/// When the directory can't be made or `output` can't be written.
pub fn run_guard_process(token: &str, input: impl Read, mut output: impl Write) -> std::io::Result<bool> {
    // SIGINT, SIGHUP and SIGTERM are meant for cacheproof. The guard must outlive it.
    let _ = ctrlc::set_handler(|| {});
    let directory = match make_directory(token) {
        Ok(directory) => directory,
        Err((path, error)) => {
            writeln!(output, "error can't make {}: {error}", path.display())?;
            return Err(error);
        }
    };
    writeln!(output, "directory {}", directory.display())?;
    output.flush()?;

    let mut state = GuardState { token: token.into(), directory, ..GuardState::default() };
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
        match GuardMessage::parse(&String::from_utf8_lossy(&line)) {
            Some(GuardMessage::Process(process)) => state.processes.push(process),
            Some(GuardMessage::Command(process)) => state.commands.push(process),
            Some(GuardMessage::Containers) => state.has_containers = true,
            Some(GuardMessage::Container(id)) => state.containers.push(id),
            Some(GuardMessage::Ledger(path)) => {
                // So that `recover` waits for this guard instead of undoing the same faults.
                state.ledger_lock = ledger::lock_ledger(&path);
                state.ledger = Some(path);
            }
            Some(GuardMessage::Addresses(addresses)) => state.addresses = addresses,
            Some(GuardMessage::Undo(id, undo)) => state.faults.push((id, undo)),
            Some(GuardMessage::Undone(id)) => state.faults.retain(|(open, _)| *open != id),
            Some(GuardMessage::Release) => state.released = true,
            None => {}
        }
        line.clear();
    }
    Ok(state.clean_up())
}

/// Makes the run's directory in the temporary directory. For root: in /tmp, where other users can't reach the temporary
/// directory, because servers run as another user.
fn make_directory(token: &str) -> Result<PathBuf, (PathBuf, std::io::Error)> {
    let root = nix::unistd::geteuid().is_root();
    let mut parent = std::env::temp_dir();
    if root && !parent.ancestors().all(|part| part.metadata().is_ok_and(|data| data.mode() & 0o001 != 0)) {
        parent = "/tmp".into();
    }
    let directory = parent.join(format!("cacheproof-{token}"));
    match std::fs::DirBuilder::new().mode(if root { 0o711 } else { 0o700 }).create(&directory) {
        Ok(()) => Ok(directory),
        Err(error) => Err((directory, error)),
    }
}

/// What the guard has to clean up.
#[derive(Debug, Default)]
struct GuardState {
    token: String,
    directory: PathBuf,
    processes: Vec<Process>,
    commands: Vec<Process>,
    has_containers: bool,
    containers: Vec<String>,
    released: bool,
    ledger: Option<PathBuf>,
    ledger_lock: Option<ledger::LedgerLock>,
    addresses: Addresses,
    /// Faults that are not undone, in the order of their injection.
    faults: Vec<(u64, Undo)>,
}

/// Removes what is left of a run whose cacheproof and guard have both ended.
///
/// # Errors
/// What is left, in words.
pub(crate) fn clean_up_run(run: &LedgerRun) -> Result<(), String> {
    let token = &run.token;
    let docker = run.containers && docker::is_available();
    let state = GuardState {
        token: token.clone(),
        directory: run.directory.clone(),
        has_containers: docker,
        // Nothing is left that could start another container.
        released: true,
        ..GuardState::default()
    };
    if !state.clean_up() {
        return Err(format!("parts of the run {token} could not be removed"));
    }
    if run.containers && !docker {
        // Containers do not count as removed when Docker can't be asked.
        return Err(format!(
            "Docker does not answer, so containers of the run may be left: start it, or look there with \
             `docker ps --all --filter label={RUN_LABEL}={token}`"
        ));
    }
    Ok(())
}

impl GuardState {
    /// Cleans up until nothing is found any more. False when something is left after [`CLEANUP_TIMEOUT`].
    fn clean_up(&self) -> bool {
        let begun = Instant::now();
        // Before the undo: a command that injects a fault must not run on while the fault is undone.
        for command in self.commands.iter().filter(|command| command.is_alive()) {
            command.signal(Signal::SIGKILL);
        }
        process::kill_by_environment(&[(COMMAND_VARIABLE, &self.token)]);
        let (faults, addresses, ledger) = (self.faults.clone(), self.addresses.clone(), self.ledger.clone());
        let undo_thread = std::thread::spawn(move || undo_all(&faults, &addresses, ledger.as_deref()));
        if self.faults.iter().any(|(_, undo)| undo.is_command()) {
            self.wait_for_undo_commands(&undo_thread);
        }
        let containers = self.has_containers.then(|| {
            let (token, ids) = (self.token.clone(), self.containers.clone());
            let settle = if self.released { Duration::ZERO } else { CONTAINER_SETTLE_TIME };
            std::thread::spawn(move || docker::remove_all(&token, &ids, settle, CLEANUP_TIMEOUT))
        });
        let mut processes_left = self.kill_all();
        while processes_left && begun.elapsed() < CLEANUP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
            processes_left = self.kill_all();
        }
        let containers_gone = containers.is_none_or(|thread| thread.join().unwrap_or(false));
        let mut directory_gone = self.remove_directory();
        while !directory_gone && begun.elapsed() < CLEANUP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(50));
            self.kill_all();
            directory_gone = self.remove_directory();
        }
        let all_undone = undo_thread.join().unwrap_or(false);
        let clean = containers_gone && directory_gone && all_undone;
        if let Some(ledger) = self.ledger.as_deref().filter(|_| clean) {
            ledger::append_to(ledger, [LedgerEntry::Over]);
        }
        clean
    }

    /// Keeps the run's servers and app up for a moment: a command that undoes a fault may have to reach them.
    fn wait_for_undo_commands(&self, undo_thread: &JoinHandle<bool>) {
        // A paused server would not answer.
        for process in self.find() {
            process.signal(Signal::SIGCONT);
        }
        let deadline = Instant::now() + UNDO_COMMAND_GRACE_PERIOD;
        while !undo_thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn remove_directory(&self) -> bool {
        std::fs::remove_dir_all(&self.directory).is_ok() || !self.directory.exists()
    }

    /// Kills every process of the run. True when there was one.
    fn kill_all(&self) -> bool {
        let found = self.find();
        // SIGQUIT lets a Postgres free its shared memory and end its children.
        let postmasters: Vec<_> = found.iter().filter(|process| is_postmaster(process)).collect();
        for process in &found {
            process.signal(Signal::SIGCONT);
        }
        for postmaster in &postmasters {
            postmaster.signal(Signal::SIGQUIT);
        }
        let deadline = Instant::now() + POSTGRES_GRACE_PERIOD;
        while postmasters.iter().any(|postmaster| postmaster.is_alive()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        for process in &found {
            process.signal(Signal::SIGKILL);
        }
        !found.is_empty()
    }

    /// The registered processes that still live, and all that have their working directory inside the run's directory or the
    /// run's token in their environment. Both are needed: servers overwrite their environment to show a title.
    fn find(&self) -> Vec<Process> {
        let registered = self.processes.iter().chain(&self.commands);
        let mut found: Vec<_> = registered.filter(|process| process.is_alive()).cloned().collect();
        for pid in process::all_pids() {
            if pid != std::process::id()
                && found.iter().all(|process| process.pid != pid)
                && self.owns(pid)
                && let Some(process) = Process::find(pid)
            {
                found.push(process);
            }
        }
        found
    }

    fn owns(&self, pid: u32) -> bool {
        let inside = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&self.directory));
        inside || process::has_environment(pid, &[(RUN_VARIABLE, &self.token)])
    }
}

/// Undoes every fault, the last one first, and writes that to the ledger. False when one could not be undone.
fn undo_all(faults: &[(u64, Undo)], addresses: &Addresses, ledger: Option<&Path>) -> bool {
    let mut all = true;
    for (id, undo) in faults.iter().rev() {
        match undo.perform(addresses) {
            Ok(how) => {
                if let Some(ledger) = ledger {
                    ledger::append_to(ledger, [LedgerEntry::Closed { id: *id, how: format!("by the guard: {how}") }]);
                }
            }
            Err(_) => all = false,
        }
    }
    all
}

/// Whether this is the postmaster, the first process of a Postgres.
fn is_postmaster(process: &Process) -> bool {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let data = |pid: u32| std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    name(process.pid).trim_end() == "postgres" && is_pid_file_of(&data(process.pid), process.pid)
}

/// A data directory's postmaster.pid begins with the postmaster's number.
fn is_pid_file_of(data: &Path, pid: u32) -> bool {
    std::fs::read_to_string(data.join("postmaster.pid"))
        .is_ok_and(|text| text.lines().next().and_then(|line| line.trim().parse().ok()) == Some(pid))
}
