//! What the guard process does: waits for cacheproof's end, then leaves nothing of the run behind.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::docker;
use super::guard::{Message, RUN_VARIABLE};
use super::process::{self, Process};

/// After this the guard gives up on what can't be removed.
const LIMIT: Duration = Duration::from_secs(60);

/// A request to create a container may still be on its way through Docker when cacheproof is dead.
const CONTAINERS_MAY_APPEAR: Duration = Duration::from_millis(1500);

/// How long a Postgres may take to end by itself, which frees its shared memory.
const GRACE: Duration = Duration::from_millis(700);

/// Stands guard over the run with this token until `input` ends: makes the run's directory and says so on
/// `output`. Call it before any other signal handler is installed. Returns false when something was left behind.
///
/// # Errors
/// When the directory cannot be made or `output` cannot be written.
pub fn stand_guard(token: &str, input: impl Read, mut output: impl Write) -> std::io::Result<bool> {
    // Ctrl-C, a closed terminal and a polite kill are for cacheproof; the guard outlives them.
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

    let mut ward = Ward { token: token.into(), directory, ..Ward::default() };
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
        match Message::parse(&String::from_utf8_lossy(&line)) {
            Some(Message::Process(process)) => ward.processes.push(process),
            Some(Message::Containers) => ward.has_containers = true,
            Some(Message::Container(id)) => ward.containers.push(id),
            Some(Message::Release) => ward.released = true,
            None => {}
        }
        line.clear();
    }
    Ok(ward.clean_up())
}

/// A directory with a short path (the temporary directory's, or /tmp where another user can't get through to it).
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

/// What is guarded.
#[derive(Debug, Default)]
struct Ward {
    token: String,
    directory: PathBuf,
    processes: Vec<Process>,
    has_containers: bool,
    containers: Vec<String>,
    released: bool,
}

impl Ward {
    /// Sweeps until nothing is found any more. False when something is left at the limit.
    fn clean_up(&self) -> bool {
        let begun = Instant::now();
        let containers = self.has_containers.then(|| {
            let (token, ids) = (self.token.clone(), self.containers.clone());
            let settle = if self.released { Duration::ZERO } else { CONTAINERS_MAY_APPEAR };
            std::thread::spawn(move || docker::remove_all(&token, &ids, settle, LIMIT))
        });
        while self.kill_all() && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let containers_gone = containers.is_none_or(|thread| thread.join().unwrap_or(false));
        let mut directory_gone = self.remove_directory();
        while !directory_gone && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(50));
            self.kill_all();
            directory_gone = self.remove_directory();
        }
        containers_gone && directory_gone
    }

    fn remove_directory(&self) -> bool {
        std::fs::remove_dir_all(&self.directory).is_ok() || !self.directory.exists()
    }

    /// Kills every process of the run. Says whether there was any.
    fn kill_all(&self) -> bool {
        let found = self.find();
        // A Postgres that ends by itself gives its shared memory back; it takes its children with it.
        let masters: Vec<_> = found.iter().filter(|process| is_postmaster(process)).collect();
        for process in &found {
            process.signal(Signal::SIGCONT);
        }
        for master in &masters {
            master.signal(Signal::SIGQUIT);
        }
        let until = Instant::now() + GRACE;
        while masters.iter().any(|master| master.lives()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        for process in &found {
            process.signal(Signal::SIGKILL);
        }
        !found.is_empty()
    }

    /// The registered processes that still live, and all that have their working directory inside the run's
    /// directory or the run's token in their environment (servers overwrite theirs to show a title).
    fn find(&self) -> Vec<Process> {
        let mut found: Vec<_> = self.processes.iter().filter(|process| process.lives()).cloned().collect();
        for pid in process::all() {
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
        let here = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&self.directory));
        here || {
            let wanted = format!("{RUN_VARIABLE}={}", self.token);
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| OsStr::from_bytes(one) == OsStr::new(&wanted)))
        }
    }
}

/// Whether this is the first process of a Postgres: its parent is not one.
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
