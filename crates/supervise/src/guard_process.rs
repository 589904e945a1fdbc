//! The guard process: waits for cacheproof's end, then undoes open faults and removes everything of the run.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
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
use crate::run_identity::RunIdentity;
use crate::undo::Undo;

/// How long the guard tries to remove what is left.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the guard keeps looking for new containers: Docker may still be creating one when cacheproof crashes.
const CONTAINER_SETTLE_TIME: Duration = Duration::from_millis(1500);

/// How long a process that was being started when cacheproof crashed may take until it has its marks: until then it is a copy of
/// cacheproof.
const PROCESS_SETTLE_TIME: Duration = Duration::from_millis(250);

/// How long a Postgres may take to stop on SIGQUIT, which frees its shared memory, before SIGKILL.
const POSTGRES_GRACE_PERIOD: Duration = Duration::from_millis(700);

/// How long the run's servers stay up for the user's commands that undo faults.
const UNDO_COMMAND_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Runs the guard of the run with this token: locks its ledger, makes the run's directory, writes its path to `output`, reads messages
/// until `input` ends, and cleans up. Call it before any other signal handler is installed. Returns false when something was left
/// behind.
///
/// # Errors
/// When the directory can't be made or `output` can't be written.
pub fn run_guard_process(
    token: &str,
    ledger: Option<&Path>,
    input: impl Read,
    mut output: impl Write,
) -> std::io::Result<bool> {
    // SIGINT, SIGHUP and SIGTERM are meant for cacheproof. The guard must outlive it.
    let _ = ctrlc::set_handler(|| {});
    let run = RunIdentity::of(token.into());
    let directory = run.directory().to_owned();
    let mut state = GuardState { token: token.into(), directory, ..GuardState::default() };
    if let Some(ledger) = ledger {
        state.take_ledger(ledger.to_owned());
    }
    if let Err(error) = make_directory(&state.directory) {
        writeln!(output, "error can't make {}: {error}", state.directory.display())?;
        return Err(error);
    }
    // When nobody listens any more, cacheproof has crashed already: then the input ends at once.
    let _closed = writeln!(output, "directory {}", state.directory.display()).and_then(|()| output.flush());
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
        match GuardMessage::parse(&String::from_utf8_lossy(&line)) {
            Some(GuardMessage::Process(process)) => state.processes.push(process),
            Some(GuardMessage::Command(process)) => state.commands.push(process),
            Some(GuardMessage::Containers) => state.has_containers = true,
            Some(GuardMessage::Container(id)) => state.containers.push(id),
            Some(GuardMessage::Ledger(path)) => state.take_ledger(path),
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

fn make_directory(directory: &Path) -> std::io::Result<()> {
    let root = nix::unistd::geteuid().is_root();
    std::fs::DirBuilder::new().mode(if root { 0o711 } else { 0o700 }).create(directory)
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

/// Removes what is left of a run whose cacheproof and guard have both ended. `processes`: those whose numbers still mean something.
///
/// # Errors
/// What is left, in words.
pub(crate) fn clean_up_run(run: &LedgerRun, processes: &[Process]) -> Result<(), String> {
    let token = &run.token;
    let docker = run.containers && docker::is_available();
    let state = GuardState {
        token: token.clone(),
        directory: run.directory.clone(),
        processes: processes.to_vec(),
        has_containers: docker,
        ..GuardState::default()
    };
    if !state.clean_up() {
        return Err(format!(
            "parts of the run {token} could not be removed: look at {} and at the processes whose environment has {RUN_VARIABLE}={token}",
            run.directory.display()
        ));
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
    /// Locks the run's ledger, so that `recover` waits for this guard instead of undoing the same faults.
    fn take_ledger(&mut self, path: PathBuf) {
        if self.ledger.as_ref() != Some(&path) {
            self.ledger_lock = ledger::lock_ledger(&path);
            self.ledger = Some(path);
        }
    }

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
        let processes_gone = self.end_processes(begun);
        let containers_gone = containers.is_none_or(|thread| thread.join().unwrap_or(false));
        let mut directory_gone = self.remove_directory();
        while !directory_gone && begun.elapsed() < CLEANUP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(50));
            self.kill_all();
            directory_gone = self.remove_directory();
        }
        let all_undone = undo_thread.join().unwrap_or(false);
        let clean = processes_gone && containers_gone && directory_gone && all_undone;
        if let Some(ledger) = self.ledger.as_deref().filter(|_| clean) {
            ledger::append_to(ledger, [LedgerEntry::Over]);
        }
        clean
    }

    /// Kills the run's processes until none is found any more. False when some are left after [`CLEANUP_TIMEOUT`].
    fn end_processes(&self, begun: Instant) -> bool {
        let mut quiet_since = Instant::now();
        while begun.elapsed() < CLEANUP_TIMEOUT {
            if self.kill_all() {
                quiet_since = Instant::now();
            } else if self.released || quiet_since.elapsed() >= PROCESS_SETTLE_TIME {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
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
    /// run's token in their environment: servers overwrite their environment to show a title. With them their descendants and the
    /// members of their process groups, whatever these have made of their environment.
    fn find(&self) -> Vec<Process> {
        let all = process::all_processes();
        let registered = self.processes.iter().chain(&self.commands);
        let registered: Vec<u32> = registered.filter(|process| process.is_alive()).map(|process| process.pid).collect();
        let marked = |pid: u32| registered.contains(&pid) || self.owns(pid);
        process::with_descendants_and_groups(&all, marked).into_iter().filter_map(Process::find).collect()
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
