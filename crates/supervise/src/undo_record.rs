//! What takes a fault back when cacheproof itself no longer can: the guard does it when cacheproof dies, and
//! `cacheproof recover` when both did.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::addresses::Addresses;
use super::process::signal_group;
use super::undo::undo_container;
use cacheproof_core::scenario::mask_passwords;

/// How long a command may take to undo something.
const UNDO_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// What takes a fault back. It stands in the ledger as it is, to be run again: a command in it may hold a password, so
/// the ledger is for its owner alone, and what is said of it has passwords struck out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Nothing: it is over as soon as it is done.
    Nothing,
    /// The victim is the run's own and goes down with the run.
    WithRun,
    /// It ends with cacheproof: connections that cacheproof holds, or its proxy.
    WithCacheproof,
    /// It ends by itself, at this time in seconds since 1970.
    Expires(u64),
    /// A container of the user's own, by its id, is let run on or started again.
    Container(String),
    /// The user's own command, for `sh -c`.
    Command {
        /// The command.
        run: String,
        /// Where it is run.
        directory: PathBuf,
    },
}

impl Undo {
    /// Whether nobody has to do anything once the run is gone.
    pub fn ends_with_run(&self) -> bool {
        matches!(self, Self::Nothing | Self::WithRun | Self::WithCacheproof | Self::Expires(_))
    }

    /// Whether it is a command of the user's.
    pub(super) fn is_command(&self) -> bool {
        matches!(self, Self::Command { .. })
    }

    /// Does it; a command of the user's is told the `addresses`. Twice does no harm, unless that command has it otherwise. Blocks;
    /// not for async code.
    ///
    /// # Errors
    /// In words, what did not work; like what did, without the passwords of URLs.
    pub fn perform(&self, addresses: &Addresses) -> Result<String, String> {
        match self {
            Self::Nothing => Ok("there is nothing to undo".into()),
            Self::WithRun => Ok("its victim went down with the run".into()),
            Self::WithCacheproof => Ok("it ended with cacheproof".into()),
            Self::Expires(_) => Ok("what was written expires by itself".into()),
            Self::Container(id) => undo_container(id).map_err(|error| error.to_string()),
            Self::Command { run, directory } => {
                let shown = mask_passwords(run);
                if let Some(name) = addresses.find_undefined_variable(run) {
                    return Err(format!(
                        "`{shown}` was not run: it needs {name}, which only the run knew; set it to where that is now. If the run had brought \
                         it up, it is gone: undo by hand what else there is, and delete the ledger"
                    ));
                }
                match command(run, directory, addresses, UNDO_COMMAND_TIMEOUT) {
                    Ok(()) => Ok(format!("ran `{shown}`")),
                    Err(why) => Err(format!("`{shown}` {why}")),
                }
            }
        }
    }
}

/// Runs a command to its end; what has not ended in time is killed with all that it started. An error says how it
/// went, behind the command's name.
fn command(run: &str, directory: &Path, addresses: &Addresses, timeout: Duration) -> Result<(), String> {
    let here = if directory.is_dir() { directory } else { Path::new("/") };
    let mut child = Command::new("sh")
        .args(["-c", run])
        .current_dir(here)
        .envs(addresses.iter())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("can't be run: {error}"))?;
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

/// Kills a command with all that it started. It was not waited for yet, so its number is still its group's.
fn kill_group(child: &mut Child) {
    let _gone = signal_group(child.id(), Signal::SIGKILL);
    let _reaped = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_command_that_fails_is_not_taken_for_an_undo() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = Addresses::default();
        let undo = |run: &str| Undo::Command { run: run.into(), directory: directory.path().into() }.perform(&nowhere);
        assert_eq!(undo("echo done > mark"), Ok("ran `echo done > mark`".into()));
        assert!(directory.path().join("mark").exists(), "it ran in its directory");
        assert_eq!(undo("exit 3").unwrap_err(), "`exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let run = "sleep 600 & echo $! > started; wait";
        let why = command(run, directory.path(), &Addresses::default(), Duration::from_secs(2)).unwrap_err();
        assert_eq!(why, "did not end within 2 s");
        let started = std::fs::read_to_string(directory.path().join("started")).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        while Process::find(started).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(50), "process {started} lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_said_of_a_command_holds_no_password() {
        let nowhere = Addresses::default();
        let undo = |run: &str| Undo::Command { run: run.into(), directory: "/".into() }.perform(&nowhere);
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
