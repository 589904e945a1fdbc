//! The process of an instance: started in a group of its own, and signalled only while its number is its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;

use super::TargetError;
use cacheproof_core::scenario::mask_passwords;
use cacheproof_supervise::{RUN_VARIABLE, kill_by_environment, read_tail, signal_group};

/// Has a port that no other instance has.
pub(super) const PORT_VARIABLE: &str = "PORT";

/// What an app is started with. Holds URLs with passwords.
#[derive(Debug)]
pub(super) struct LaunchSpec {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The command as it may be shown.
    pub(super) shown: String,
    pub(super) log: PathBuf,
}

impl LaunchSpec {
    /// A new process.
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
            // Its own group: Ctrl-C at the terminal is ours to handle, and its workers are found again.
            .process_group(0)
            .spawn()
            .map_err(|source| TargetError::Spawn { program: program.into(), source })
    }
}

/// A process that cacheproof started, with all that is needed to start it again.
#[derive(Debug)]
pub(super) struct AppProcess {
    pub(super) start: LaunchSpec,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) child: Child,
    /// Broken by us: its death is no surprise.
    pub(super) broken: bool,
}

impl AppProcess {
    pub(super) fn new(start: LaunchSpec, child: Child) -> Self {
        Self { start, state: Mutex::new(State { child, broken: false }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills what is left of a process that has ended and was waited for. Its number, and its group's, may be a
    /// stranger's by now, so its workers are found by what stands in their environment.
    pub(super) fn kill_workers(&self) {
        let variables: Vec<(&str, &str)> = (self.start.environment.iter())
            .filter(|(name, _)| [RUN_VARIABLE, PORT_VARIABLE].contains(name))
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        kill_by_environment(&variables);
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
    /// Whether it has ended and was waited for: then its number is no longer its own.
    pub(super) fn is_reaped(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Signals its group. Only for one that was not waited for.
    pub(super) fn signal(&self, signal: Signal) -> nix::Result<()> {
        signal_group(self.child.id(), signal)
    }

    /// Kills its group and waits for it. Only for one that was not waited for, whether it lives or not.
    pub(super) fn kill(&mut self) {
        let _gone = self.signal(Signal::SIGKILL);
        let _reaped = self.child.wait();
    }
}

/// The end of a log, with URLs that may hold passwords struck out.
fn last_lines(log: &Path, secrets: &[&str]) -> String {
    const BYTES: u64 = 4096;
    const LINES: usize = 8;
    let mut text = File::open(log).and_then(|mut file| read_tail(&mut file, 0, BYTES)).unwrap_or_default();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
        // The app may have taken the URL apart. (Those of Sentinel and Cluster name several hosts, which no parser of
        // URLs takes.)
        let user = secret.split_once("://").and_then(|(_, behind)| behind.rsplit_once('@'));
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
    fn a_worker_is_found_when_its_parent_is_long_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("worker");
        let start = LaunchSpec {
            command: ["sh", "-c", &format!("sleep 600 & echo $! > {}", mark.display())].map(str::to_owned).into(),
            environment: vec![(RUN_VARIABLE, format!("{:016x}", rand::random::<u64>())), (PORT_VARIABLE, "1".into())],
            shown: "sh".into(),
            log: directory.path().join("log"),
        };
        let child = start.spawn().unwrap();
        let process = AppProcess::new(start, child);
        process.state().child.wait().unwrap();
        let worker = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
        assert!(is_process_alive(worker) && process.state().is_reaped());
        process.kill_workers();
        let begun = Instant::now();
        while is_process_alive(worker) {
            assert!(begun.elapsed() < Duration::from_secs(50), "the worker lives on");
            std::thread::yield_now();
        }
    }
}
