//! Processes of this machine: whether they live, whose children they are, and how to signal exactly the one that is meant.

use std::collections::HashSet;
use std::path::Path;
#[cfg(not(target_os = "linux"))]
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
#[cfg(target_os = "linux")]
use procfs::process::{LimitValue, Stat};

/// A process, known by its number and its start time: another process that gets the same number later is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, as the system writes it.
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

    /// Sends a signal if it still lives. False when it has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && raw_signal(self.pid, signal)
    }

    /// Its living children.
    pub fn children(&self) -> Vec<Self> {
        children(self.pid).into_iter().filter_map(Self::find).collect()
    }
}

fn raw_signal(pid: u32, signal: Signal) -> bool {
    // 0 and negative numbers would mean whole groups, 1 is init.
    i32::try_from(pid).is_ok_and(|pid| pid > 1 && kill(Pid::from_raw(pid), signal).is_ok())
}

/// Signals the process group that this process leads. Call it only before the leader was waited for: afterwards its number
/// may belong to another group.
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

/// Whether a process lives. A zombie does not, though it still has its number.
pub fn is_process_alive(pid: u32) -> bool {
    start_time(pid).is_some()
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<Stat> {
    procfs::process::Process::new(pid.try_into().ok()?).ok()?.stat().ok()
}

#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<String> {
    let stat = stat(pid)?;
    (!matches!(stat.state, 'Z' | 'X')).then(|| stat.starttime.to_string())
}

#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> Option<String> {
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.split_whitespace().collect::<Vec<_>>().join("_"))
}

#[cfg(target_os = "linux")]
fn children(pid: u32) -> Vec<u32> {
    let is_child = |child: &u32| stat(*child).is_some_and(|stat| u32::try_from(stat.ppid) == Ok(pid));
    all_pids().into_iter().filter(is_child).collect()
}

#[cfg(not(target_os = "linux"))]
fn children(pid: u32) -> Vec<u32> {
    let Ok(output) = Command::new("pgrep").args(["-P", &pid.to_string()]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// How many files this process may have open. `None` where there is no limit, or no /proc.
pub fn max_open_files() -> Option<u64> {
    #[cfg(target_os = "linux")]
    if let LimitValue::Value(limit) = procfs::process::Process::myself().ok()?.limits().ok()?.max_open_files.soft_limit
    {
        return Some(limit);
    }
    None
}

/// Raises the limit on open files of this process to `wanted`, or as far as the system allows. What it starts later has the
/// same limit, so it is raised no further. Returns the limit; `None` where it is unknown.
pub fn raise_open_files(wanted: u64) -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = wanted.min(hard);
    if raised <= soft {
        return Some(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, raised, hard).map_or(Some(soft), |()| Some(raised))
}

/// Up to how many files this process may allow itself to open. `None` where it is unknown.
pub fn most_open_files() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard)
}

/// Whether a process was started with all of these variables in its environment. False where there is no /proc.
pub fn has_environment(pid: u32, variables: &[(&str, &str)]) -> bool {
    let Some(environment) = environment(pid) else { return false };
    let environment: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
    variables.iter().all(|(name, value)| environment.contains(&format!("{name}={value}").as_bytes()))
}

/// What a process was started with. `None` where there is no /proc, and where this process may not read it.
///
/// While the system puts a new program into a process, for some hundred microseconds or longer, its environment reads as empty
/// or ends in the middle. So it is read until it is as long as it should be.
#[cfg(target_os = "linux")]
fn environment(pid: u32) -> Option<Vec<u8>> {
    const LIMIT: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    loop {
        let stat = stat(pid)?;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        // 0 until the new program has an environment.
        let length = stat.env_end.filter(|end| *end > 0).zip(stat.env_start).map(|(end, start)| end - start);
        // Kernel threads and zombies have no memory, and never an environment.
        if stat.vsize == 0 || length == Some(environment.len() as u64) || begun.elapsed() > LIMIT {
            return Some(environment);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Only Linux has /proc.
#[cfg(not(target_os = "linux"))]
fn environment(_: u32) -> Option<Vec<u8>> {
    None
}

/// Kills every process that was started with all of these variables in its environment, except this one.
pub fn kill_by_environment(variables: &[(&str, &str)]) {
    // `Process::find` comes before the look at the environment: if the number is reused in between, the start time differs
    // and nothing is signalled.
    for process in all_pids().into_iter().filter(|pid| *pid != std::process::id()).filter_map(Process::find) {
        if !variables.is_empty() && has_environment(process.pid, variables) {
            process.signal(Signal::SIGKILL);
        }
    }
}

/// The numbers of all processes. Empty where there is no /proc.
pub(crate) fn all_pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process in the tree of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relatives {
    /// Its number.
    pub pid: u32,
    /// Its parent. 1 when the parent has ended.
    pub parent: u32,
    /// Its process group: the number of the process that leads it.
    pub group: u32,
    /// When it was started, in clock ticks since the boot.
    pub started: u64,
}

/// All processes of this machine that live. Empty where there is no /proc.
#[cfg(target_os = "linux")]
pub fn all_processes() -> Vec<Relatives> {
    let relatives = |pid: u32| {
        let stat = stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
        let (parent, group) = (stat.ppid.try_into().ok()?, stat.pgrp.try_into().ok()?);
        Some(Relatives { pid, parent, group, started: stat.starttime })
    };
    all_pids().into_iter().filter_map(relatives).collect()
}

/// Only Linux has /proc.
#[cfg(not(target_os = "linux"))]
pub fn all_processes() -> Vec<Relatives> {
    Vec::new()
}

/// Those of `all` that are `marked`, their descendants, and the members of the process groups that one of them leads: without this
/// process and its ancestors, init among them. A group whose leader has ended is not taken: its number may belong to another one.
pub fn with_descendants_and_groups(all: &[Relatives], marked: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut ancestors = vec![1];
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| !ancestors.contains(pid)) {
        ancestors.push(pid);
        next = all.iter().find(|process| process.pid == pid).map(|process| process.parent);
    }
    let candidates: Vec<&Relatives> = all.iter().filter(|process| !ancestors.contains(&process.pid)).collect();
    let mut found: HashSet<u32> = candidates.iter().map(|process| process.pid).filter(|pid| marked(*pid)).collect();
    loop {
        let more: Vec<u32> = candidates
            .iter()
            .filter(|process| found.contains(&process.parent) || found.contains(&process.group))
            .map(|process| process.pid)
            .filter(|pid| !found.contains(pid))
            .collect();
        if more.is_empty() {
            return candidates.iter().map(|process| process.pid).filter(|pid| found.contains(pid)).collect();
        }
        found.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

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
    fn a_child_is_found_among_its_parents_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let children = Process::find(std::process::id()).unwrap().children();
        assert!(children.iter().any(|process| process.pid == child.id()), "{children:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_processes_with_all_variables_are_killed() {
        let value = format!("{:032x}", rand::random::<u128>());
        let start = |port: &str| {
            Command::new("sleep").arg("60").env("CACHEPROOF_TEST", &value).env("PORT", port).spawn().unwrap()
        };
        let (mut ours, mut other) = (start("15001"), start("15002"));
        kill_by_environment(&[]);
        kill_by_environment(&[("CACHEPROOF_TEST", &value), ("PORT", "15001")]);
        assert_eq!(ours.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(other.try_wait().unwrap().is_none(), "it has only one of the variables");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// Between the start of a program and its first instruction, a process has no environment.
    #[test]
    fn the_environment_of_a_program_that_is_being_started_is_waited_for() {
        for round in 0..300 {
            // The shell says the number before its child becomes another program.
            let mut shell = Command::new("sh")
                .args(["-c", "sleep 60 > /dev/null 2>&1 & echo $!"])
                .env("CACHEPROOF_TEST", "started")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let process = Process::find(line.trim().parse().unwrap()).unwrap();
            let begun = Instant::now();
            let mut found = true;
            while found && begun.elapsed() < Duration::from_millis(2) {
                found = has_environment(process.pid, &[("CACHEPROOF_TEST", "started")]);
            }
            assert!(process.signal(Signal::SIGKILL));
            shell.wait().unwrap();
            assert!(found, "not found in round {round}");
        }
    }

    #[test]
    fn descendants_and_groups_are_found_but_never_init_or_this_process() {
        let process = |pid, parent, group| Relatives { pid, parent, group, started: 1 };
        let this = std::process::id();
        let (app, worker, grandchild, orphan, other) = (this + 1, this + 2, this + 3, this + 4, this + 5);
        let all = [
            process(1, 0, 1),
            process(this, 1, this),
            process(app, this, app),
            process(worker, app, app),
            process(grandchild, worker, grandchild),
            process(orphan, 1, app),
            process(other, 1, other),
        ];
        assert_eq!(with_descendants_and_groups(&all, |pid| pid == app), [app, worker, grandchild, orphan]);
        assert_eq!(with_descendants_and_groups(&all, |pid| pid == worker), [worker, grandchild]);
        assert!(with_descendants_and_groups(&all, |pid| pid == this || pid == 1).is_empty());
        // The leader of the orphan's group has ended.
        let all: Vec<Relatives> = all.into_iter().filter(|process| process.pid != app).collect();
        assert!(with_descendants_and_groups(&all, |pid| pid == app).is_empty());
    }

    #[test]
    fn groups_and_init_are_never_signalled() {
        assert!(!raw_signal(0, Signal::SIGCONT));
        assert!(!raw_signal(1, Signal::SIGCONT));
        assert!(!raw_signal(u32::MAX, Signal::SIGCONT));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_on_open_files_is_the_one_that_ulimit_shows() {
        let shown = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap().stdout;
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(max_open_files().map_or("unlimited".into(), |limit| limit.to_string()), shown.trim());
    }
}
