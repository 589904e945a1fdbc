//! Would break if a stop, by Ctrl-C or by kill -9, left something running or lost what was measured.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{command, eventually, ran, root};

/// Starts the short scenario and waits until a phase runs that breaks Redis.
fn started(reports: &std::path::Path, provider: &str) -> (Child, String) {
    let sets = [format!("stack.redis.provider={provider:?}"), format!("stack.postgres.provider={provider:?}")];
    let mut command = command(&root().join("tests/scenarios/defects.toml"), &sets, reports);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if provider == "container" {
        command.env("CACHEPROOF_REDIS_IMAGE", "cacheproof-standin/redis:7");
        command.env("CACHEPROOF_POSTGRES_IMAGE", "cacheproof-standin/postgres:15");
    }
    let mut child = command.spawn().expect("the program runs");
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    while !said.contains("fault 'pause redis' injected") {
        let read = lines.read_line(&mut said).expect("it says something");
        assert!(read > 0, "it ended before the fault: {said}");
    }
    // The pipe must stay open, or the program's next word ends it.
    std::thread::spawn(move || lines.lines().for_each(drop));
    (child, said)
}

/// Processes with this run's mark in their environment or directory, by what /proc says; the guard among them.
fn marked() -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").filter_map(Result::ok) {
        let path = entry.path();
        let inside =
            std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.to_string_lossy().contains("/cacheproof"));
        let marked = std::fs::read(path.join("environ"))
            .is_ok_and(|environment| environment.windows(15).any(|word| word == b"CACHEPROOF_RUN="));
        if inside || marked {
            let name = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
            if !name.is_empty() {
                found.push(format!("{} {name}", entry.file_name().to_string_lossy()));
            }
        }
    }
    found
}

fn directories() -> Vec<String> {
    std::fs::read_dir(std::env::temp_dir())
        .expect("it reads")
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("cacheproof"))
        .collect()
}

fn containers() -> String {
    let output = std::process::Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", "label=cacheproof.run"])
        .output()
        .expect("docker is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_nothing_left() {
    let mut left = Vec::new();
    // 5 s is the promise; ten times that is the bound on a shared machine.
    eventually(Duration::from_secs(50), "no process and no directory is left", || {
        left = marked();
        left.extend(directories());
        left.is_empty()
    });
}

#[test]
fn ctrl_c_while_redis_is_frozen_leaves_nothing_and_reports_what_was_measured() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (child, _) = started(reports.path(), "local");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let ran = ran(child.wait_with_output().expect("it ends"), reports);
    assert_eq!(ran.code, Some(130), "{}", ran.said());
    assert!(ran.seen().count(|_| true) > 1000, "{}", ran.said());
    let report = std::fs::read_to_string(ran.directory().join("report.md")).expect("there is a report");
    assert!(report.contains("incomplete"), "{report}");
    assert_nothing_left();
}

#[test]
fn kill_9_while_redis_is_frozen_leaves_nothing() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (mut child, _) = started(reports.path(), "local");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it runs");
    let _status = child.wait().expect("it ends");
    assert_nothing_left();
}

#[test]
fn kill_9_while_a_container_is_paused_leaves_no_container() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (mut child, _) = started(reports.path(), "container");
    assert!(!containers().is_empty(), "the run's containers carry its label");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it runs");
    let _status = child.wait().expect("it ends");
    assert_nothing_left();
    eventually(Duration::from_secs(50), "no container is left", || containers().is_empty());
}
