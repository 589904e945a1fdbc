//! The process of an instance: started in its own process group, and signalled only as long as its pid cannot be reused.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;

use super::TargetError;
use cacheproof_core::scenario::mask_passwords;
use cacheproof_supervise::{
    Process, RUN_VARIABLE, all_processes, has_environment, kill_by_environment, read_tail, signal_group,
    with_descendants_and_groups,
};

/// Every instance has its own port in it.
pub(super) const PORT_VARIABLE: &str = "PORT";

/// How to start an app. Contains URLs with passwords.
#[derive(Debug)]
pub(super) struct LaunchSpec {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The command for messages, without passwords.
    pub(super) shown: String,
    pub(super) log: PathBuf,
}

impl LaunchSpec {
    /// Starts a process.
    pub(super) fn spawn(&self) -> Result<Child, TargetError> {
        let log_error = |source| TargetError::Log { path: self.log.clone(), source };
        let out = File::options().create(true).append(true).open(&self.log).map_err(log_error)?;
        let err = out.try_clone().map_err(log_error)?;
        let program = self.command.first().map_or("", String::as_str);
        Command::new(program)
            .args(self.command.iter().skip(1))
            .envs(self.environment.iter().map(|(name, value)| (name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Its own group: so Ctrl-C at the terminal does not reach it, and its workers can be signalled.
            .process_group(0)
            .spawn()
            .map_err(|source| TargetError::Spawn { program: program.into(), source })
    }
}

/// A process that cacheproof started, and how to start it again.
#[derive(Debug)]
pub(super) struct AppProcess {
    pub(super) start: LaunchSpec,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) child: Child,
    /// A fault is active on it, so its death is expected.
    pub(super) faulted: bool,
}

impl AppProcess {
    pub(super) fn new(start: LaunchSpec, child: Child) -> Self {
        Self { start, state: Mutex::new(State { child, faulted: false }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its processes have in their environment, and those of no other instance: the run, first, and the port.
    pub(super) fn marks(&self) -> Vec<(&str, &str)> {
        let value = |of: &'static str| self.start.environment.iter().find(|(name, _)| *name == of);
        let found = [RUN_VARIABLE, PORT_VARIABLE].into_iter().filter_map(value);
        found.map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Its living processes that are not in its group: workers that made a session of their own, daemons. Only for a process
    /// that was not reaped.
    pub(super) fn outside_its_group(&self, first: u32) -> Vec<Process> {
        let marks = self.marks();
        // Without the run's own mark, every process would have all of them.
        let is_marked = |pid: u32| marks.iter().any(|(name, _)| *name == RUN_VARIABLE) && has_environment(pid, &marks);
        let all = all_processes();
        let members = with_descendants_and_groups(&all, |pid| pid == first || is_marked(pid));
        let in_group = |pid: &u32| all.iter().any(|process| process.pid == *pid && process.group == first);
        members.into_iter().filter(|pid| !in_group(pid)).filter_map(Process::find).collect()
    }

    /// Kills the workers of a process that has ended and was reaped. The numbers of the process and its group may be in
    /// use again, so the workers are found by their environment.
    pub(super) fn kill_workers(&self) {
        kill_by_environment(&self.marks());
    }

    pub(super) fn last_lines(&self) -> String {
        let secrets: Vec<&str> = (self.start.environment.iter())
            .filter(|(name, _)| name.ends_with("_URL"))
            .map(|(_, value)| value.as_str())
            .collect();
        last_lines(&self.start.log, &secrets)
    }
}

impl State {
    /// Whether it has ended and was reaped. Then its pid may be reused.
    pub(super) fn is_reaped(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Signals its group. Only for a process that was not reaped.
    pub(super) fn signal(&self, signal: Signal) -> nix::Result<()> {
        signal_group(self.child.id(), signal)
    }

    /// Kills its group and reaps it. Only for a process that was not reaped, running or not.
    pub(super) fn kill(&mut self) {
        let _gone = self.signal(Signal::SIGKILL);
        let _reaped = self.child.wait();
    }
}

/// Signals those that still live.
pub(super) fn signal_each(processes: &[Process], signal: Signal) {
    for process in processes {
        let _gone = process.signal(signal);
    }
}

/// The last lines of a log, with URLs and passwords masked.
fn last_lines(log: &Path, secrets: &[&str]) -> String {
    const BYTES: u64 = 4096;
    const LINES: usize = 8;
    let mut text = File::open(log).and_then(|mut file| read_tail(&mut file, 0, BYTES)).unwrap_or_default();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
        // The app may have logged the password alone. (URLs of Sentinel and Cluster have several hosts, which URL parsers
        // reject.)
        let user = secret.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        let password = user.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
        if let Some(password) = password.filter(|password| password.len() > 3) {
            text = text.replace(password, "***");
        }
    }
    let text = mask_passwords(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "(it wrote nothing)".into();
    }
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use cacheproof_supervise::is_process_alive;

    #[test]
    fn a_worker_that_left_its_session_and_its_marks_is_one_of_its_processes() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("worker");
        let worker = format!("sh -c 'echo $$ > {}; exec sleep 600'", pid_file.display());
        let start = LaunchSpec {
            command: ["sh", "-c", &format!("setsid env -u {RUN_VARIABLE} {worker} & sleep 600 & wait")]
                .map(str::to_owned)
                .into(),
            environment: vec![(RUN_VARIABLE, format!("{:016x}", rand::random::<u64>())), (PORT_VARIABLE, "1".into())],
            shown: "sh".into(),
            log: directory.path().join("log"),
        };
        let child = start.spawn().unwrap();
        let first = child.id();
        let process = AppProcess::new(start, child);
        let begun = Instant::now();
        let worker = loop {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<u32>() {
                break pid;
            }
            assert!(begun.elapsed() < Duration::from_secs(50), "the worker did not start");
            std::thread::yield_now();
        };
        let outside = process.outside_its_group(first);
        assert_eq!(outside.iter().map(|process| process.pid).collect::<Vec<_>>(), [worker]);
        process.state().kill();
        assert!(is_process_alive(worker), "the signal to the group did not reach it");
        assert!(outside[0].signal(Signal::SIGKILL));
    }

    #[test]
    fn a_worker_is_found_after_its_parent_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("worker");
        let start = LaunchSpec {
            command: ["sh", "-c", &format!("sleep 600 & echo $! > {}", pid_file.display())].map(str::to_owned).into(),
            environment: vec![(RUN_VARIABLE, format!("{:016x}", rand::random::<u64>())), (PORT_VARIABLE, "1".into())],
            shown: "sh".into(),
            log: directory.path().join("log"),
        };
        let child = start.spawn().unwrap();
        let process = AppProcess::new(start, child);
        process.state().child.wait().unwrap();
        let worker = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        assert!(is_process_alive(worker) && process.state().is_reaped());
        process.kill_workers();
        let start = Instant::now();
        while is_process_alive(worker) {
            assert!(start.elapsed() < Duration::from_secs(50), "the worker is still running");
            std::thread::yield_now();
        }
    }
}
