//! Servers as local processes: they listen on loopback only, and keep their files in the run's temporary directory.

mod find;
mod postgres;
mod redis;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use crate::log::last_lines_of_file;
use crate::probe::ServerKind;
use crate::{StackError, StartFailure};
use cacheproof_supervise::{GuardHandle, Process, RUN_VARIABLE};

pub(super) use find::{Installed, Owner, installed, owner};
pub(super) use postgres::start as start_postgres;
pub(super) use redis::{LocalRedisSpec, start as start_redis};

/// How long a server may take to start, crash recovery on a slow disk included.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How many ports are tried.
const PORT_ATTEMPTS: usize = 10;

/// How long a server may take to shut down before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A server process, with what is needed to start it again.
#[derive(Debug)]
pub(super) struct LocalServer {
    kind: ServerKind,
    launch: Launch,
    child: Child,
    process: Option<Process>,
}

/// How a server is started.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    log: PathBuf,
    owner: Option<Owner>,
    url: String,
    guard_handle: GuardHandle,
}

impl Launch {
    fn spawn(&self) -> Result<Child, StackError> {
        let log = || OpenOptions::new().create(true).append(true).open(&self.log);
        let output = log().map_err(StackError::path("write", &self.log))?;
        let errors = log().map_err(StackError::path("write", &self.log))?;
        // Not killed on drop: a Postgres leaves shared memory behind when it is killed. The guard ends it properly.
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        prepare(&mut command, &self.directory, self.owner.as_ref(), self.guard_handle.token());
        let child = command.spawn().map_err(StackError::path("start", &self.program))?;
        if let Some(pid) = child.id() {
            self.guard_handle.register_process(pid);
        }
        Ok(child)
    }
}

/// Sets what every child process needs: its directory, its user, the run's token, an environment without the user's Postgres
/// settings, and a process group of its own, so that Ctrl-C reaches only cacheproof.
fn prepare(command: &mut Command, directory: &Path, owner: Option<&Owner>, token: &str) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).env(RUN_VARIABLE, token).env("LC_ALL", "C").process_group(0);
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
}

impl LocalServer {
    /// Starts a server and waits until it accepts connections.
    async fn start(kind: ServerKind, launch: Launch) -> Result<Self, StartFailure> {
        let log_length = std::fs::metadata(&launch.log).map_or(0, |data| data.len());
        let child = launch.spawn().map_err(StartFailure::Other)?;
        let process = child.id().and_then(Process::find);
        let mut server = Self { kind, launch, child, process };
        match server.ready(log_length).await {
            Ok(()) => Ok(server),
            Err(why) => {
                server.stop().await;
                Err(why)
            }
        }
    }

    /// Waits until it accepts connections.
    async fn ready(&mut self, log_from: u64) -> Result<(), StartFailure> {
        let begun = tokio::time::Instant::now();
        loop {
            let answer = self.kind.ping(&self.launch.url, Duration::from_secs(1)).await;
            // When the process has ended, the answer came from another program on its port.
            let ended =
                self.child.try_wait().map_err(|error| StartFailure::Other(self.start_failure(error.to_string())))?;
            let why = match (ended, answer) {
                (None, Ok(())) => return Ok(()),
                (Some(_), _)
                    if last_lines_of_file(&self.launch.log, log_from, 40).contains("Address already in use") =>
                {
                    return Err(StartFailure::PortTaken);
                }
                (Some(status), _) => {
                    format!(
                        "{} ended ({status}): {}",
                        self.program(),
                        last_lines_of_file(&self.launch.log, log_from, 6)
                    )
                }
                (None, Err(why)) if begun.elapsed() > STARTUP_TIMEOUT => {
                    let log = last_lines_of_file(&self.launch.log, log_from, 6);
                    format!("{} does not answer after {} s ({why}): {log}", self.program(), STARTUP_TIMEOUT.as_secs())
                }
                (None, Err(_)) => {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    continue;
                }
            };
            return Err(StartFailure::Other(self.start_failure(why)));
        }
    }

    fn start_failure(&self, why: String) -> StackError {
        let help = if why.contains("pg_stat_statements") {
            "install Postgres' contrib modules, which pg_stat_statements is part of: `sh scripts/setup.sh`"
        } else if why.contains("No space left") {
            "free some space in the temporary directory, or set TMPDIR to a directory with more space"
        } else {
            "look at the message above; `cacheproof doctor` says what this machine lacks"
        };
        StackError::StartFailure { what: self.kind.name().into(), why, help: help.into() }
    }

    fn program(&self) -> String {
        self.launch.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Sends SIGSTOP to the main process and all its descendants, and returns them. A stopped process can't fork, so none is
    /// missed.
    fn freeze(&self) -> Vec<Process> {
        let mut all: Vec<Process> = self.process.iter().cloned().collect();
        let mut next = 0;
        while next < all.len() {
            all[next].signal(Signal::SIGSTOP);
            let children = all[next].children();
            all.extend(children.into_iter().filter(|child| !all.contains(child)).collect::<Vec<_>>());
            next += 1;
        }
        all
    }

    /// SIGKILL to every process of the server. The next start of a Postgres frees its shared memory.
    pub(super) async fn kill(&mut self) -> String {
        let all = self.freeze();
        for process in &all {
            process.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait().await;
        while all.iter().any(Process::is_alive) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        format!("SIGKILL to {}", self.describe(&all))
    }

    /// Orderly shutdown: SIGTERM, or for Postgres SIGINT, its fast shutdown; the smart one waits for every client to disconnect.
    /// SIGKILL after [`STOP_LIMIT`].
    pub(super) async fn shut_down(&mut self) -> String {
        let (signal, name) = match self.kind {
            ServerKind::Redis | ServerKind::Valkey => (Signal::SIGTERM, "SIGTERM"),
            ServerKind::Postgres => (Signal::SIGINT, "SIGINT"),
        };
        self.resume();
        let described = self.describe(&[]);
        if let Some(process) = &self.process {
            process.signal(signal);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            return format!(
                "{name} to {described}, which did not end within {} s: {}",
                STOP_LIMIT.as_secs(),
                self.kill().await
            );
        }
        format!("{name} to {described}")
    }

    /// Deletes the data of a Redis that is down.
    pub(super) fn delete_data(&self) -> Result<(), StackError> {
        let deleted = |path: &Path, done: std::io::Result<()>| match done {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StackError::path("delete", path)(error)),
            _ => Ok(()),
        };
        let (file, directory) = (self.launch.directory.join("dump.rdb"), self.launch.directory.join("appendonlydir"));
        deleted(&file, std::fs::remove_file(&file))?;
        deleted(&directory, std::fs::remove_dir_all(&directory))
    }

    /// SIGSTOP to every process of the server.
    pub(super) fn pause(&self) -> String {
        let all = self.freeze();
        format!("SIGSTOP to {}", self.describe(&all))
    }

    /// SIGCONT to every process of the server.
    pub(super) fn resume(&self) -> String {
        let all = self.freeze();
        for process in all.iter().rev() {
            process.signal(Signal::SIGCONT);
        }
        format!("SIGCONT to {}", self.describe(&all))
    }

    fn describe(&self, all: &[Process]) -> String {
        let pid = self.process.as_ref().map_or_else(|| "gone".into(), |process| format!("pid {}", process.pid));
        let more = match all.len() {
            0 | 1 => String::new(),
            2 => " and its child".into(),
            count => format!(" and its {} children", count - 1),
        };
        format!("{} ({pid}){more}", self.program())
    }

    /// Starts it again on the same port.
    pub(super) async fn restart(&mut self) -> Result<String, StackError> {
        for _ in 0..PORT_ATTEMPTS {
            let log_length = std::fs::metadata(&self.launch.log).map_or(0, |data| data.len());
            self.child = self.launch.spawn()?;
            self.process = self.child.id().and_then(Process::find);
            match self.ready(log_length).await {
                Ok(()) => return Ok(format!("started {} again", self.describe(&[]))),
                Err(StartFailure::Other(error)) => return Err(error),
                // The socket of a client may hold the port for a moment.
                Err(StartFailure::PortTaken) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
        Err(StackError::NoPort(self.kind.name()))
    }

    /// Whether the process runs.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, with its last log lines. `None` while it runs.
    pub(super) fn exit_report(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let log = last_lines_of_file(&self.launch.log, 0, 4);
        Some(format!("{} ended unexpectedly ({status}); last log lines: {log}", self.describe(&[])))
    }

    /// Ends it, if necessary with SIGKILL, and deletes its directory.
    pub(super) async fn stop(&mut self) {
        self.resume();
        let signal = match self.kind {
            ServerKind::Redis | ServerKind::Valkey => Signal::SIGTERM,
            // Immediate shutdown: no checkpoint, because the data is deleted. Frees the shared memory.
            ServerKind::Postgres => Signal::SIGQUIT,
        };
        if let Some(process) = &self.process {
            process.signal(signal);
        }
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            self.kill().await;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.launch.directory) {
            tracing::debug!("{}: {error}", self.launch.directory.display());
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }
}

/// Makes a server's directory inside the run's directory.
fn make_directory(parent: &Path, name: &str, owner: Option<&Owner>) -> Result<PathBuf, StackError> {
    let directory = parent.join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(StackError::path("make", &directory))?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(&directory, Some(owner.uid), Some(owner.gid))
            .map_err(StackError::path("change the owner of", &directory))?;
    }
    Ok(directory)
}
