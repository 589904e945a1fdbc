//! `cacheproof recover` reports only what it has undone, and never undoes what the guard is undoing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cacheproof::supervise::{Guard, GuardError, LEDGER_FILE, LedgerEntry, LedgerLine, Undo, read_ledger};
use tempfile::TempDir;

use crate::support::{CACHEPROOF, eventually};

/// The ledger of a run whose cacheproof has ended.
struct AbandonedRun {
    reports: TempDir,
    ledger: PathBuf,
    token: String,
}

impl AbandonedRun {
    fn new(containers: bool, entries: &[LedgerEntry]) -> Self {
        let reports = tempfile::tempdir().expect("a temporary directory");
        let (ledger, token) = Self::add(reports.path(), containers, entries);
        Self { reports, ledger, token }
    }

    /// Adds another run to a directory of reports.
    fn add(reports: &Path, containers: bool, entries: &[LedgerEntry]) -> (PathBuf, String) {
        let token = format!("{:012x}", rand::random::<u64>() >> 16);
        let run = reports.join(format!("run-{token}"));
        std::fs::create_dir(&run).expect("made");
        let directory = std::env::temp_dir().join(format!("cacheproof-{token}"));
        let first = LedgerEntry::Run {
            token: token.clone(),
            directory,
            pid: std::process::id(),
            started: "at another time".into(),
            containers,
        };
        let lines = std::iter::once(&first).chain(entries).map(|entry| {
            serde_json::to_string(&LedgerLine { at: 1, entry: entry.clone() }).expect("it is JSON") + "\n"
        });
        let ledger = run.join(LEDGER_FILE);
        std::fs::write(&ledger, lines.collect::<String>()).expect("written");
        (ledger, token)
    }

    fn recover(&self) -> Command {
        let mut command = Command::new(CACHEPROOF);
        command.arg("recover").arg(self.reports.path());
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn containers_do_not_count_as_removed_when_docker_does_not_answer() {
    for (containers, code, over) in [(true, 3, false), (false, 0, true)] {
        let left = AbandonedRun::new(containers, &[]);
        let output = left.recover().env("DOCKER_HOST", "unix:///nowhere.sock").output().expect("it runs");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("Docker does not answer"), containers, "{said}");
        assert_eq!(said.contains(&format!("label=cacheproof.run={}", left.token)), containers, "{said}");
        assert_eq!(read_ledger(&left.ledger).expect("it reads").over, over, "{said}");
    }
}

#[test]
fn a_command_with_a_variable_of_the_run_never_reaches_another_server() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let run = format!("echo $CACHEPROOF_DATABASE_URL >> {}", log.display());
    let undo = Undo::Command { run, directory: directory.path().into() };
    let left = AbandonedRun::new(false, &[LedgerEntry::Open { id: 1, what: "run".into(), undo }]);
    let output = left.recover().env("DATABASE_URL", "postgres://another").output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let message = "was not run: it needs CACHEPROOF_DATABASE_URL, which only the run knew";
    assert!(said(&output).contains(message), "{}", said(&output));
    assert!(!log.exists() && read_ledger(&left.ledger).expect("it reads").open.len() == 1);

    let output = left.recover().env("CACHEPROOF_DATABASE_URL", "postgres://there").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(&log).expect("it was undone"), "postgres://there\n");
    assert!(read_ledger(&left.ledger).expect("it reads").over);
}

#[test]
fn faults_that_a_guard_is_undoing_are_not_undone_twice() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, go) = (directory.path().join("log"), directory.path().join("go"));
    let run = format!("echo undone >> {}; until [ -e {} ]; do sleep 0.05; done", log.display(), go.display());
    let undo = Undo::Command { run, directory: directory.path().into() };
    let open = LedgerEntry::Open { id: 1, what: "run".into(), undo: undo.clone() };
    let left = AbandonedRun::new(false, &[open]);

    let mut guard = Command::new(CACHEPROOF)
        .args(["guard", &left.token])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut pipe = guard.stdin.take().expect("it is piped");
    write!(
        pipe,
        "ledger {}\nundo 1 {}\n",
        serde_json::to_string(&left.ledger).expect("JSON"),
        serde_json::to_string(&undo).expect("JSON")
    )
    .expect("it listens");
    // As when cacheproof is killed.
    drop(pipe);
    eventually(Duration::from_secs(50), "the guard is at work", || log.exists());

    let mut recover = left.recover().stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(recover.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    assert!(first.contains("its guard is still at work; waiting for it"), "{first}");
    std::fs::write(&go, "").expect("written");
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("its guard has undone what was left")), "{rest:?}");
    assert_eq!(recover.wait().expect("it ends").code(), Some(0));
    assert!(guard.wait().expect("it ends").success());
    let undone = std::fs::read_to_string(&log).expect("it was undone");
    assert_eq!(undone.lines().count(), 1, "undone once");
}

#[test]
fn an_unreadable_ledger_does_not_hide_the_others() {
    let left = AbandonedRun::new(false, &[]);
    let (unreadable, _) = AbandonedRun::add(left.reports.path(), false, &[]);
    std::fs::remove_file(&unreadable).expect("it was there");
    // It can be opened but not read, also by root.
    std::os::unix::fs::symlink("/proc/self/mem", &unreadable).expect("made");
    let output = left.recover().output().expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("{}: it can't be read", unreadable.display())), "{said}");
    assert!(read_ledger(&left.ledger).expect("it reads").over, "the other run is recovered: {said}");
}

#[test]
fn a_guard_that_could_not_undo_something_says_so_at_the_end() {
    let guard = Guard::start(Path::new(CACHEPROOF)).expect("it starts");
    guard.watch_fault(1, &Undo::Command { run: "exit 7".into(), directory: "/".into() });
    let error = guard.release().expect_err("it could not be undone");
    assert!(matches!(error, GuardError::CleanupIncomplete(_)), "{error}");
    assert!(error.to_string().contains("could not remove or undo everything"), "{error}");
}
