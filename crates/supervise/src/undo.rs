//! How a fault is undone when the run that injected it no longer can: by the guard when cacheproof has crashed, and by
//! `cacheproof recover` when both have.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;
use crate::docker::resume_container;
use crate::process::signal_group;
use cacheproof_core::secrets::mask_command;

/// How long a command may take to undo something.
const UNDO_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How one fault is undone. The ledger holds it unchanged, so that it can be run later. A command in it may hold a password:
/// only the owner can read the ledger, and messages have passwords masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Nothing has to be done: the fault has no effect that lasts.
    Nothing,
    /// It hit a server or app that the run started, and which is removed with the run.
    WithRun,
    /// It ends with the process of cacheproof, which holds the connections or the proxy.
    WithCacheproof,
    /// What was written expires at this time, in seconds since 1970.
    Expires(u64),
    /// A container of the user, by its id, is unpaused or started again.
    Container(String),
    /// A command of the user, for `sh -c`.
    Command {
        /// The command.
        run: String,
        /// Its working directory.
        directory: PathBuf,
    },
}

impl Undo {
    /// Whether it is a command of the user.
    pub(crate) fn is_command(&self) -> bool {
        matches!(self, Self::Command { .. })
    }

    /// Undoes the fault; a command gets the `addresses` in its environment. Safe to call twice, unless the command is not.
    /// Blocks; not for async code.
    ///
    /// # Errors
    /// What did not work, in words. Like the success message it has the passwords of URLs masked.
    pub(crate) fn perform(&self, addresses: &Addresses) -> Result<String, String> {
        match self {
            Self::Nothing => Ok("there is nothing to undo".into()),
            Self::WithRun => Ok("its victim ended with the run".into()),
            Self::WithCacheproof => Ok("it ended with cacheproof".into()),
            Self::Expires(_) => Ok("what was written expires on its own".into()),
            Self::Container(id) => resume_container(id),
            Self::Command { run, directory } => {
                let shown = mask_command(run);
                if let Some(name) = addresses.find_undefined_variable(run) {
                    return Err(format!(
                        "`{shown}` was not run: it needs {name}, which only the run knew. If that server still runs, set {name} and call \
                         `cacheproof recover` again. If it was started by the run, it is gone: undo the rest by hand, and delete the ledger"
                    ));
                }
                match run_command(run, directory, addresses, UNDO_COMMAND_TIMEOUT) {
                    Ok(()) => Ok(format!("ran `{shown}`")),
                    Err(why) => Err(format!("`{shown}` {why}")),
                }
            }
        }
    }
}

/// A command of the user for `sh -c`, with the `addresses` in its environment, in a process group of its own, and without
/// input or output.
pub fn shell_command(run: &str, directory: &Path, addresses: &Addresses) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", run]).current_dir(directory).envs(addresses.iter()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a command to its end, and kills it with all that it started when it takes too long. The error says how it ended; the
/// command's name goes before it.
fn run_command(run: &str, directory: &Path, addresses: &Addresses, timeout: Duration) -> Result<(), String> {
    let directory = if directory.is_dir() { directory } else { Path::new("/") };
    let mut child =
        shell_command(run, directory, addresses).spawn().map_err(|error| format!("can't be run: {error}"))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) if begun.elapsed() > timeout => {
                kill_group(&mut child);
                return Err(format!("did not end within {} s", timeout.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(format!("could not be waited for: {error}")),
        }
    }
}

/// Kills a command with all that it started.
fn kill_group(child: &mut Child) {
    let _ended_already = signal_group(child.id(), Signal::SIGKILL);
    let _reaped = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_failed_command_does_not_count_as_undone() {
        let directory = tempfile::tempdir().unwrap();
        let addresses = Addresses::default();
        let undo =
            |run: &str| Undo::Command { run: run.into(), directory: directory.path().into() }.perform(&addresses);
        assert_eq!(undo("echo done > mark"), Ok("ran `echo done > mark`".into()));
        assert!(directory.path().join("mark").exists(), "it ran in its directory");
        assert_eq!(undo("exit 3").unwrap_err(), "`exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let run = "sleep 600 & echo $! > started; wait";
        let why = run_command(run, directory.path(), &Addresses::default(), Duration::from_secs(2)).unwrap_err();
        assert_eq!(why, "did not end within 2 s");
        let started = std::fs::read_to_string(directory.path().join("started")).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        while Process::find(started).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(50), "process {started} lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn messages_about_a_command_hold_no_password() {
        let addresses = Addresses::default();
        let undo = |run: &str| Undo::Command { run: run.into(), directory: "/".into() }.perform(&addresses);
        assert_eq!(undo("true redis://:s3cret@h/"), Ok("ran `true redis://:***@h/`".into()));
        assert_eq!(undo("false redis://:s3cret@h/").unwrap_err(), "`false redis://:***@h/` ended with exit status: 1");
    }

    #[test]
    fn an_undo_survives_being_written_and_read() {
        for undo in [
            Undo::Nothing,
            Undo::Expires(17),
            Undo::Container("a".into()),
            Undo::Command { run: "a \"b\"\nc".into(), directory: "/".into() },
        ] {
            let line = serde_json::to_string(&undo).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Undo>(&line).unwrap(), undo);
        }
    }
}
