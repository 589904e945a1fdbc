//! Processes of the system: who they are, whose children, and how to signal exactly the one that was meant.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A process with the time it was started, so that another process with the same number is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, as the system says it.
    pub started: String,
}

impl Process {
    /// The living process with this number. `None` when there is none, or only its zombie.
    pub fn find(pid: u32) -> Option<Self> {
        start_time(pid).map(|started| Self { pid, started })
    }

    /// Whether it still lives (a zombie does not).
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).as_deref() == Some(&self.started)
    }

    /// Sends a signal if it still lives. False when it was gone.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && raw_signal(self.pid, signal)
    }

    /// Its living children.
    pub fn children(&self) -> Vec<Self> {
        children(self.pid).into_iter().filter_map(Self::find).collect()
    }
}

fn raw_signal(pid: u32, signal: Signal) -> bool {
    // 0 and negative numbers would mean whole groups.
    i32::try_from(pid).is_ok_and(|pid| pid > 1 && kill(Pid::from_raw(pid), signal).is_ok())
}

/// Signals the process group that this process leads. Only while its leader was not waited for: then the number is still its own.
///
/// # Errors
/// The system's, also when there is no such group.
pub fn signal_group(leader: u32, signal: Signal) -> nix::Result<()> {
    i32::try_from(leader).map_or(Err(nix::Error::ESRCH), |leader| killpg(Pid::from_raw(leader), signal))
}

/// Whether the system has a /proc as Linux does.
pub fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// Fields of /proc/PID/stat behind the name (which may hold spaces and brackets): state, parent, …
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Some(stat[stat.rfind(')')? + 1..].split_whitespace().map(str::to_owned).collect())
}

fn start_time(pid: u32) -> Option<String> {
    if has_proc() {
        let fields = stat_fields(pid)?;
        let state = fields.first()?;
        return if state == "Z" || state == "X" { None } else { fields.get(19).cloned() };
    }
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.split_whitespace().collect::<Vec<_>>().join("_"))
}

/// Whether a process lives. One that has ended and was not waited for does not, and keeps its number.
pub fn is_process_alive(pid: u32) -> bool {
    start_time(pid).is_some()
}

/// Whether a process was started with all of these variables in its environment. False where there is no /proc.
pub fn has_environment(pid: u32, variables: &[(&str, &str)]) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    let there: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
    variables.iter().all(|(name, value)| there.contains(&format!("{name}={value}").as_bytes()))
}

/// Kills every process that was started with all of these variables in its environment, this one excepted.
pub fn kill_by_environment(variables: &[(&str, &str)]) {
    // Found first and looked at then: a number that is given to another in between is not signalled.
    for process in all_pids().into_iter().filter(|pid| *pid != std::process::id()).filter_map(Process::find) {
        if !variables.is_empty() && has_environment(process.pid, variables) {
            process.signal(Signal::SIGKILL);
        }
    }
}

/// Every process number there is. Empty where there is no /proc.
pub fn all_pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn children(pid: u32) -> Vec<u32> {
    if has_proc() {
        let parent = pid.to_string();
        return all_pids()
            .into_iter()
            .filter(|child| stat_fields(*child).is_some_and(|fields| fields.get(1) == Some(&parent)))
            .collect();
    }
    let Ok(output) = Command::new("pgrep").args(["-P", &pid.to_string()]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_reused_number_is_not_taken_for_the_process() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        let other = Process { pid: child.id(), started: "1".into() };
        assert!(process.is_alive());
        assert!(!other.signal(Signal::SIGKILL), "another start time means another process");
        assert!(child.try_wait().unwrap().is_none(), "it was not hit");
        assert!(process.signal(Signal::SIGKILL));
        while process.is_alive() {
            std::thread::yield_now();
        }
        assert!(Process::find(child.id()).is_none(), "a zombie is not alive");
        child.wait().unwrap();
    }

    #[test]
    fn only_what_bears_every_mark_is_killed() {
        let value = format!("{:032x}", rand::random::<u128>());
        let start = |port: &str| {
            Command::new("sleep").arg("60").env("CACHEPROOF_TEST", &value).env("PORT", port).spawn().unwrap()
        };
        let (mut ours, mut other) = (start("15001"), start("15002"));
        kill_by_environment(&[]);
        kill_by_environment(&[("CACHEPROOF_TEST", &value), ("PORT", "15001")]);
        assert_eq!(ours.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(other.try_wait().unwrap().is_none(), "it bears only one of the marks");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn groups_and_init_are_never_signalled() {
        assert!(!raw_signal(0, Signal::SIGCONT));
        assert!(!raw_signal(1, Signal::SIGCONT));
        assert!(!raw_signal(u32::MAX, Signal::SIGCONT));
    }
}
