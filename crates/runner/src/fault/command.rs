//! A command of the user as a fault, and the command that undoes it.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::process::Command;

use super::FaultError;
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_core::secrets::{mask_command, mask_passwords};
use cacheproof_supervise::{
    Addresses, COMMAND_VARIABLE, Guard, RUN_VARIABLE, Undo, read_tail, shell_command, signal_group,
};

/// A fault by a command.
pub(super) struct CommandFault<'run> {
    run: String,
    undo: Option<String>,
    check: Option<String>,
    guard: &'run Guard,
    /// The timeout of each command.
    timeout: Duration,
    directory: PathBuf,
    addresses: &'run Addresses,
    started: bool,
    /// The check found the effect before the fault: it does not show the effect of this fault.
    found_before: bool,
}

impl<'run> CommandFault<'run> {
    pub(super) fn new(
        [run, undo, check]: [Option<&str>; 3],
        guard: &'run Guard,
        addresses: &'run Addresses,
        timeout: Duration,
    ) -> Self {
        Self {
            run: run.unwrap_or_default().to_owned(),
            undo: undo.map(str::to_owned),
            check: check.map(str::to_owned),
            guard,
            addresses,
            timeout,
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            started: false,
            found_before: false,
        }
    }

    /// Runs a command to its end. `dies_with_run`: the guard ends it and its children when the run ends.
    async fn execute(&self, command: &str, dies_with_run: bool) -> Result<(), FaultError> {
        let failed = |how: String| FaultError::Command { command: mask_command(command), how };
        // A file, not a pipe: it is complete when the command has ended, and its background processes can continue to
        // write.
        let mut output =
            tempfile::tempfile().map_err(|error| failed(format!("has no file for its output: {error}")))?;
        let stderr = output.try_clone().map_err(|error| failed(format!("has no file for its output: {error}")))?;
        let mut shell = Command::from(shell_command(command, &self.directory, self.addresses));
        shell.stderr(stderr).kill_on_drop(true);
        if dies_with_run {
            shell.env(RUN_VARIABLE, self.guard.token()).env(COMMAND_VARIABLE, self.guard.token());
        } else {
            shell.env_remove(RUN_VARIABLE).env_remove(COMMAND_VARIABLE);
        }
        let mut child = shell.spawn().map_err(|error| failed(format!("can't be run: {error}")))?;
        if let Some(pid) = child.id().filter(|_| dies_with_run) {
            self.guard.watch_command(pid);
        }
        let mut group_guard = ProcessGroupGuard(child.id());
        let status = tokio::time::timeout(self.timeout, child.wait()).await;
        if status.is_ok() {
            // Its background processes may be the fault itself.
            group_guard.0 = None;
        }
        drop(group_guard);
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let last = last_line(&mut output).map_or_else(String::new, |line| format!("; its last line: {line}"));
                Err(failed(format!("ended with {status}{last}")))
            }
            Ok(Err(error)) => Err(failed(format!("could not be waited for: {error}"))),
            Err(_) => Err(failed(format!("did not end within {} s", self.timeout.as_secs()))),
        }
    }
}

/// The process group of a running command. It is killed if the wait for its end is cancelled: by the timeout, or because
/// the run stops.
struct ProcessGroupGuard(Option<u32>);

impl Drop for ProcessGroupGuard {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _already_ended = signal_group(leader, Signal::SIGKILL);
        }
    }
}

/// The last line in the last 4 KiB of a file that is not blank, without passwords.
fn last_line(file: &mut File) -> Option<String> {
    let output = mask_passwords(read_tail(file, 0, 4096).ok()?.trim());
    output.lines().last().map(str::to_owned).filter(|line| !line.is_empty())
}

#[async_trait]
impl FaultInjector for CommandFault<'_> {
    fn undo_record(&self) -> Undo {
        match &self.undo {
            Some(undo) => Undo::Command { run: undo.clone(), directory: self.directory.clone() },
            None => Undo::Nothing,
        }
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        if let Some(check) = &self.check {
            self.found_before = self.execute(check, true).await.is_ok();
        }
        self.started = true;
        self.execute(&self.run, true).await?;
        let before = if self.found_before { "; `check` found the effect before it already" } else { "" };
        Ok(format!("ran `{}`{before}", mask_command(&self.run)).into())
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        let check = self.check.as_ref().filter(|_| self.started && !self.found_before)?;
        self.execute(check, true).await.ok().map(|()| "check ended with exit status 0".into())
    }

    async fn undo(&mut self, _stopping: bool) -> Result<ActionReport, FaultError> {
        match &self.undo {
            Some(undo) if self.started => {
                self.execute(undo, false).await?;
                Ok(format!("ran `{}`", mask_command(undo)).into())
            }
            _ => Ok("there is nothing to undo".to_owned().into()),
        }
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        // Without an undo the effect may last; waiting for its end would stretch the phase.
        let undone = self.undo.is_some() && !self.found_before;
        if let Some(check) = self.check.as_ref().filter(|_| undone) {
            return self.execute(check, true).await.is_err().then(|| "check no longer ended with exit status 0".into());
        }
        Some(match self.undo {
            Some(_) => "undo ended with exit status 0".into(),
            None => "there was nothing to undo".into(),
        })
    }
}
