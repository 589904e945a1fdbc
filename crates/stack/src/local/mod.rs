//! Private server processes on loopback, in the run's temporary directory.

mod find;
mod postgres;
mod redis;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng as _;
use tokio::process::{Child, Command};

use super::probe::ServerKind;
use super::{StackError, StartFailure};
use cacheproof_supervise::Process;
use cacheproof_supervise::{GuardHandle, RUN_VARIABLE};

pub(super) use find::{Installed, Owner, installed, owner};
pub(super) use postgres::start as start_postgres;
pub(super) use redis::{LocalRedisSpec, start as start_redis};

/// How long a server may take to come up: initdb and crash recovery on a slow disk belong to it.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How many ports are tried.
const PORT_ATTEMPTS: usize = 10;

/// How long a server may take to stop in order before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A server process and all it takes to start it again.
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
        // Not killed on drop: a Postgres that is killed leaves shared memory behind, and the guard sees to its end.
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

/// What holds for every child: its directory, its user, the run's token, no settings of the user's own, and a
/// process group of its own so that Ctrl-C at the terminal reaches only cacheproof.
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
        let written = std::fs::metadata(&launch.log).map_or(0, |data| data.len());
        let child = launch.spawn().map_err(StartFailure::Other)?;
        let process = child.id().and_then(Process::find);
        let mut server = Self { kind, launch, child, process };
        match server.ready(written).await {
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
            // First the process, then the answer: whatever answers at the port of a dead process is somebody else.
            let ended = self.child.try_wait().map_err(|error| StartFailure::Other(self.not_up(error.to_string())))?;
            let why = match (ended, answer) {
                (None, Ok(())) => return Ok(()),
                (Some(_), _) if log_tail(&self.launch.log, log_from, 40).contains("Address already in use") => {
                    return Err(StartFailure::PortTaken);
                }
                (Some(status), _) => {
                    format!("{} ended ({status}): {}", self.program(), log_tail(&self.launch.log, log_from, 6))
                }
                (None, Err(why)) if begun.elapsed() > STARTUP_TIMEOUT => {
                    let log = log_tail(&self.launch.log, log_from, 6);
                    format!("{} does not answer after {} s ({why}): {log}", self.program(), STARTUP_TIMEOUT.as_secs())
                }
                (None, Err(_)) => {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    continue;
                }
            };
            return Err(StartFailure::Other(self.not_up(why)));
        }
    }

    fn not_up(&self, why: String) -> StackError {
        let help = if why.contains("pg_stat_statements") {
            "install Postgres' contrib modules (pg_stat_statements belongs to them): `sh scripts/setup.sh`"
        } else if why.contains("No space left") {
            "free some space in the temporary directory, or set TMPDIR to a directory with more"
        } else {
            "look at the message above; `cacheproof doctor` says what this machine lacks"
        };
        StackError::StartFailure { what: self.kind.name().into(), why, help: help.into() }
    }

    fn program(&self) -> String {
        self.launch.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its first process with all below it, stopped first so that none is forked meanwhile.
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

    /// SIGKILL to every process of the server. Postgres' shared memory is picked up again by the next start.
    pub(super) async fn kill(&mut self) -> String {
        let all = self.freeze();
        for process in &all {
            process.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait().await;
        while all.iter().any(Process::is_alive) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        format!("SIGKILL to {}", self.named(&all))
    }

    /// The orderly end: SIGTERM, for Postgres SIGINT (its fast shutdown: the slow one waits for every client to
    /// leave). SIGKILL after 10 s.
    pub(super) async fn shut_down(&mut self) -> String {
        let (signal, name) = match self.kind {
            ServerKind::Redis | ServerKind::Valkey => (Signal::SIGTERM, "SIGTERM"),
            ServerKind::Postgres => (Signal::SIGINT, "SIGINT"),
        };
        self.resume();
        let named = self.named(&[]);
        if let Some(process) = &self.process {
            process.signal(signal);
        }
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            return format!(
                "{name} to {named}, which did not end within {} s: {}",
                STOP_LIMIT.as_secs(),
                self.kill().await
            );
        }
        format!("{name} to {named}")
    }

    /// Deletes what a Redis that is down kept on its disk.
    pub(super) fn delete_data(&self) -> Result<(), StackError> {
        let gone = |path: &Path, done: std::io::Result<()>| match done {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StackError::path("delete", path)(error)),
            _ => Ok(()),
        };
        let (file, directory) = (self.launch.directory.join("dump.rdb"), self.launch.directory.join("appendonlydir"));
        gone(&file, std::fs::remove_file(&file))?;
        gone(&directory, std::fs::remove_dir_all(&directory))
    }

    /// SIGSTOP to every process of the server.
    pub(super) fn pause(&self) -> String {
        let all = self.freeze();
        format!("SIGSTOP to {}", self.named(&all))
    }

    /// SIGCONT to every process of the server.
    pub(super) fn resume(&self) -> String {
        let all = self.freeze();
        for process in all.iter().rev() {
            process.signal(Signal::SIGCONT);
        }
        format!("SIGCONT to {}", self.named(&all))
    }

    fn named(&self, all: &[Process]) -> String {
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
            let written = std::fs::metadata(&self.launch.log).map_or(0, |data| data.len());
            self.child = self.launch.spawn()?;
            self.process = self.child.id().and_then(Process::find);
            match self.ready(written).await {
                Ok(()) => return Ok(format!("started {} again", self.named(&[]))),
                Err(StartFailure::Other(error)) => return Err(error),
                // A client's socket may sit on the port for a moment.
                Err(StartFailure::PortTaken) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
        Err(StackError::NoPort(self.kind.name()))
    }

    /// Whether the process is there.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended and its last words. `None` while it runs.
    pub(super) fn exit_report(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let log = log_tail(&self.launch.log, 0, 4);
        Some(format!("{} died although nobody broke it ({status}); it said last: {log}", self.named(&[])))
    }

    /// Ends it: politely, then not.
    pub(super) async fn stop(&mut self) {
        self.resume();
        let polite = match self.kind {
            ServerKind::Redis | ServerKind::Valkey => Signal::SIGTERM,
            // Immediate shutdown: no checkpoint for data that nobody will read again, shared memory given back.
            ServerKind::Postgres => Signal::SIGQUIT,
        };
        if let Some(process) = &self.process {
            process.signal(polite);
        }
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            self.kill().await;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.launch.directory) {
            tracing::debug!("{}: {error}", self.launch.directory.display());
        }
    }

    /// Its first process and when that was started.
    pub(super) fn process(&self) -> Option<(u32, String)> {
        self.process.as_ref().map(|process| (process.pid, process.started.clone()))
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }
}

/// A server's own directory inside the run's.
fn make_directory(parent: &Path, name: &str, owner: Option<&Owner>) -> Result<PathBuf, StackError> {
    let directory = parent.join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(StackError::path("make", &directory))?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(&directory, Some(owner.uid), Some(owner.gid))
            .map_err(StackError::path("give away", &directory))?;
    }
    Ok(directory)
}

/// A port on 127.0.0.1 that is free now. Below the range from which the system takes ports for outgoing
/// connections where there is room: a client that keeps dialling a dead server in that range can be given the
/// server's own port, connects to itself, and blocks the restart.
pub fn free_port() -> std::io::Result<u16> {
    const LOWEST: u16 = 15_000;
    let outgoing: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768);
    for _ in 0..50 {
        let port = if outgoing > LOWEST + 1000 { rand::rng().random_range(LOWEST..outgoing) } else { 0 };
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?.port());
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A password that needs no escaping anywhere.
pub(super) fn password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The last lines of a log from a position on, in one line.
fn log_tail(log: &Path, from: u64, lines: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let end = file.metadata().map_or(0, |data| data.len());
        let start = from.max(end.saturating_sub(16 * 1024));
        if file.seek(SeekFrom::Start(start)).is_ok() {
            let _ = file.read_to_end(&mut text);
        }
    }
    tail(&String::from_utf8_lossy(&text), lines)
}

/// The last lines of a text, in one line.
pub(super) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if all.is_empty() {
        return "(nothing in its log)".into();
    }
    all[all.len().saturating_sub(lines)..].join(" | ")
}
