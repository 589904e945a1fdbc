//! Fails if the limits of cacheproof and its machine are told as the app's errors, or pass for it.

use std::process::Command;
use std::time::Duration;

use crate::support::{CACHEPROOF, completed_run, edited, eventually, root};

/// A run with at most this many open files.
fn run_with_files(limit: u32, sets: &[&str]) -> crate::support::CompletedRun {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let sets: String = sets.iter().map(|set| format!(" --set '{set}'")).collect();
    let scenario = root().join("tests/scenarios/shapes.toml");
    let script = format!(
        "ulimit -n {limit}; exec {CACHEPROOF} run {} --reports {}{sets}",
        scenario.display(),
        reports.path().display()
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(root()).output().expect("bash runs");
    completed_run(output, reports)
}

#[test]
fn a_run_whose_connections_need_more_files_than_are_allowed_is_refused() {
    let ran = run_with_files(64, &[]);
    assert_eq!(ran.code, Some(3), "{}", ran.said());
    assert!(ran.stderr.contains("may have only 64 files open") && ran.stderr.contains("ulimit -n"), "{}", ran.said());
}

#[test]
fn a_run_whose_connections_fit_is_run() {
    let ran = run_with_files(80, &["phase.steady.lasts=3s"]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
}

#[test]
fn a_limit_that_is_met_during_the_run_is_never_the_apps_failure() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    // The app closes a connection that is idle for a moment, so that new ones are opened all the time.
    let start = "target.start=[\"python3\", \"tests/fixtures/shapes/app.py\", \"{port}\", \"closing\"]".to_owned();
    let sets = [start, "phase.steady.lasts=8s".to_owned(), "traffic.rate=60/s".to_owned()];
    let mut command = crate::support::command(&root().join("tests/scenarios/reconnects.toml"), &sets, reports.path());
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    let journal = || {
        let run = std::fs::read_dir(reports.path()).ok()?.flatten().find(|entry| !entry.path().is_symlink())?;
        std::fs::read_to_string(run.path().join("events.jsonl")).ok()
    };
    eventually(Duration::from_secs(60), "requests are answered", || {
        journal().is_some_and(|journal| journal.contains("\"window\""))
    });
    let limited = Command::new("prlimit")
        .args(["--pid", &child.id().to_string(), "--nofile=12:12"])
        .status()
        .expect("prlimit is there");
    assert!(limited.success());
    let ran = completed_run(child.wait_with_output().expect("it ends"), reports);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("cacheproof could not send") && said.contains("may not open more files"), "{}", ran.said());
    let errors = ran.measurements().count(|key| key.outcome == cacheproof::journal::Outcome::Error);
    assert_eq!(errors, 0, "{}", ran.said());
}

/// A process that ends with the test, whatever happens.
struct Killed(Option<std::process::Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

#[test]
fn what_was_slow_while_cacheproof_itself_was_stopped_is_not_the_apps_failure() {
    let rules = ("rules = [\"stale == 0\", \"errors < 1%\"]", "rules = [\"max in steady < 1s\"]");
    let (_directory, scenario) = edited(&root().join("tests/honesty/versions.toml"), &[rules]);
    let reports = tempfile::tempdir().expect("a temporary directory");
    let mut command = crate::support::command(&scenario, &[], reports.path());
    let mut child = Killed(Some(
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it runs"),
    ));
    let journal = || {
        let run = std::fs::read_dir(reports.path()).ok()?.flatten().find(|entry| !entry.path().is_symlink())?;
        std::fs::read_to_string(run.path().join("events.jsonl")).ok()
    };
    eventually(Duration::from_secs(60), "requests are answered", || {
        journal().is_some_and(|journal| journal.matches("\"window\"").count() > 1)
    });
    let pid = child.0.as_ref().expect("it was not waited for").id();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
        assert!(sent.success());
    };
    signal("-STOP");
    // As long as the machine is to stand still.
    std::thread::sleep(Duration::from_millis(2_500));
    signal("-CONT");
    let child = child.0.take().expect("it was not waited for");
    let ran = completed_run(child.wait_with_output().expect("it ends"), reports);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("The machine stalled in 'steady'"), "{}", ran.said());
}

/// A run of reads only, with the app in this mode.
fn run_reads(mode: &str) -> crate::support::CompletedRun {
    let start = format!("target.start=[\"python3\", \"tests/fixtures/shapes/app.py\", \"{{port}}\", \"{mode}\"]");
    crate::support::run_scenario(&root().join("tests/scenarios/reconnects.toml"), &[start])
}

#[test]
fn a_read_that_met_the_end_of_its_connection_is_sent_once_more_and_counted() {
    let ran = run_reads("third");
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let reconnects: u64 = ran.measurements().reconnects.values().sum();
    let requests = ran.measurements().count(|_| true);
    // Every fourth request on a connection.
    assert!(reconnects * 8 > requests && reconnects * 3 < requests, "{reconnects} of {requests}");
    assert!(ran.stdout.contains("sent once more on a new connection"), "{}", ran.said());
}

#[test]
fn an_app_that_drops_answers_fails_all_the_same() {
    for mode in ["cut", "silent"] {
        let ran = run_reads(mode);
        assert_eq!(ran.code, Some(1), "{mode}: {}", ran.said());
    }
    let ran = run_reads("cut");
    assert_eq!(ran.measurements().reconnects.values().sum::<u64>(), 0, "an answer that began is not asked for again");
}
